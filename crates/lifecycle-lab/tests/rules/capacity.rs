//! Why instances come and go, in the words of scaling activities.

use aws_sdk_autoscaling::types::RefreshPreferences;

use crate::scene::*;

const STARTED: &str = "At T an instance was started in response to a difference between desired and actual capacity, \
                       increasing the capacity from";
const TAKEN: &str = "At T an instance was taken out of service in response to";

fn shrunk(why: &str, from: u32, to: u32, id: &str) -> String {
    format!(
        "At T {why} changing the desired capacity from {from} to {to}.  {TAKEN} a difference between desired and \
         actual capacity, shrinking the capacity from {from} to {to}.  At T instance {id} was selected for termination."
    )
}

#[tokio::test(start_paused = true)]
async fn the_first_instances_come_from_the_groups_creation() {
    let (scene, _) = Scene::in_service(2, []).await;

    let launch = "At T a user request created an AutoScalingGroup changing the desired capacity from 0 to 2.";
    assert_eq!(scene.causes().await, [0, 1].map(|_| format!("{launch}  {STARTED} 0 to 2.")));
}

#[tokio::test(start_paused = true)]
async fn a_group_takes_five_seconds_to_follow_its_desired_capacity() {
    let (scene, ids) = Scene::in_service(1, []).await;
    scene.sleep(10).await;
    scene.set_desired(0).await;
    scene.is_gone(&ids[0]).await;

    assert_eq!(scene.entered(&ids[0], "Terminating") - scene.called("SetDesiredCapacity"), seconds(5));
}

#[tokio::test(start_paused = true)]
async fn a_cause_tells_the_time_to_the_second() {
    let (scene, ids) = Scene::in_service(1, []).await;

    let cause = scene.activities().await.remove(0).cause.unwrap();

    let launched = scene.entered(&ids[0], "Pending").to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert!(cause.starts_with("At 2026-03-01T12:00:00Z a user request created"), "{cause}");
    assert!(cause.contains(&format!(".  At {launched} an instance was started")), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_user_sets_the_desired_capacity() {
    let (scene, ids) = Scene::in_service(1, []).await;
    scene.set_desired(2).await;
    let ids = [ids, scene.all_in_service(2).await[1..].to_vec()].concat();
    scene.set_desired(1).await;
    scene.is_gone(&ids[0]).await;

    let why = "a user request explicitly set group desired capacity";
    let grown = format!("At T {why} changing the desired capacity from 1 to 2.  {STARTED} 1 to 2.");
    assert_eq!(scene.causes().await[1..], [grown, shrunk(why, 2, 1, &ids[0])]);
}

#[tokio::test(start_paused = true)]
async fn a_change_explains_all_that_it_leads_to_and_no_more() {
    let (scene, first) = Scene::in_service(1, [launching("boot")]).await;
    scene.set_desired(2).await;
    let second = scene.any_in("Pending:Wait").await;
    scene.set_desired(0).await;
    scene.is_gone(&first[0]).await;
    scene.complete("boot", &second, "CONTINUE").await.unwrap();
    scene.is_gone(&second).await;

    let causes = scene.causes().await;
    let shrinking = "At T a user request explicitly set group desired capacity changing the desired capacity from 2 to 0.";
    assert!(causes[2].starts_with(shrinking), "{}", causes[2]);
    assert!(causes[3].starts_with(shrinking), "the second could not go at once: {}", causes[3]);

    let (scene, ids) = Scene::in_service(2, []).await;
    scene.set_desired(1).await;
    scene.reaches(&ids[0], "Terminating").await;
    scene.terminate(&ids[1]).await;
    scene.any_in("Pending").await;
    assert_eq!(scene.causes().await[4], format!("{STARTED} 0 to 1."));
}

#[tokio::test(start_paused = true)]
async fn a_user_updates_the_groups_constraints() {
    let (scene, _) = Scene::in_service(0, []).await;
    let update = scene.aws.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    update.min_size(1).max_size(5).desired_capacity(1).send().await.unwrap();
    scene.all_in_service(1).await;

    assert_eq!(
        scene.causes().await,
        [format!(
            "At T a user request update of AutoScalingGroup constraints to min: 1, max: 5, desired: 1 changing the \
             desired capacity from 0 to 1.  {STARTED} 0 to 1."
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_action_and_an_alarm_say_who_they_are() {
    let (scene, ids) = Scene::in_service(2, []).await;
    scene.lab.world(|world| world.run_scheduled_action(GROUP, 1));
    scene.is_gone(&ids[0]).await;
    scene.lab.world(|world| world.raise_alarm(GROUP, "cpu low", "shrink", 0));
    scene.is_gone(&ids[1]).await;

    let scheduled =
        "a scheduled action update of AutoScalingGroup constraints to min: 0, max: 10, desired: 1";
    let alarm = "a monitor alarm cpu low in state ALARM triggered policy shrink";
    assert_eq!(scene.causes().await[2..], [shrunk(scheduled, 2, 1, &ids[0]), shrunk(alarm, 1, 0, &ids[1])]);
}

#[tokio::test(start_paused = true)]
async fn a_health_check_says_what_it_found_and_the_replacement_why_it_came() {
    type Harm = fn(&mut lifecycle_lab::World, &str);
    let harms: [(Harm, &str); 2] = [
        (
            |world, id| world.fail_instance(id),
            "an EC2 health check indicating it has been terminated or stopped",
        ),
        (|world, id| world.fail_load_balancer_check(id), "an ELB system health check failure"),
    ];
    for (harm, finding) in harms {
        let (scene, ids) = Scene::in_service(1, []).await;
        scene.lab.world(|world| harm(world, &ids[0]));
        let harmed = scene.lab.now();
        scene.is_gone(&ids[0]).await;

        assert_eq!(scene.entered(&ids[0], "Terminating") - harmed, seconds(45));
        assert_eq!(
            scene.causes().await[1..],
            [
                format!("{TAKEN} {finding}."),
                "At T an instance was launched in response to an unhealthy instance needing to be replaced."
                    .to_owned(),
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_instance_is_replaced_while_its_hook_still_holds_it() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.lab.world(|world| world.fail_instance(&ids[0]));
    scene.reaches(&ids[0], "Terminating:Wait").await;
    let replacement = scene.any_in("InService").await;

    assert_eq!(scene.entered(&replacement, "Pending") - scene.entered(&ids[0], "Terminating"), seconds(2));
    assert_eq!(scene.state(&ids[0]), "Terminating:Wait");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ec2_lost_is_unhealthy_in_its_terminating_wait_and_any_other_is_healthy() {
    type Harm = fn(&mut lifecycle_lab::World, &str);
    let lost: [(Option<Harm>, &str); 3] = [
        (Some(|world, id| world.fail_instance(id)), "Unhealthy"),
        (Some(|world, id| world.terminate_in_ec2(id)), "Unhealthy"),
        (None, "Healthy"),
    ];
    for (harm, expected) in lost {
        let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
        match harm {
            Some(harm) => scene.lab.world(|world| harm(world, &ids[0])),
            None => scene.terminate(&ids[0]).await,
        }
        let health = async || {
            let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
            let instances = groups.auto_scaling_groups()[0].instances().iter();
            let mut mine = instances.filter(|one| one.instance_id() == Some(&ids[0]));
            mine.next().unwrap().health_status().unwrap().to_owned()
        };
        scene.reaches(&ids[0], "Terminating:Wait").await;
        assert_eq!(health().await, expected);
        scene.complete("drain", &ids[0], "CONTINUE").await.unwrap();
        assert_eq!((scene.state(&ids[0]), &*health().await), ("Terminating:Proceed", expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_users_health_check_is_a_failure() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    let set = scene.aws.set_instance_health().instance_id(&ids[0]);
    set.clone().health_status("Healthy").send().await.unwrap();
    scene.sleep(60).await;
    assert_eq!(scene.state(&ids[0]), "InService");

    let health = async || {
        let describe = scene.aws.describe_auto_scaling_instances().instance_ids(&ids[0]);
        describe.send().await.unwrap().auto_scaling_instances.unwrap().remove(0).health_status.unwrap()
    };
    set.clone().health_status("Unhealthy").send().await.unwrap();
    assert_eq!((scene.state(&ids[0]), &*health().await), ("InService", "UNHEALTHY"));
    set.clone().health_status("Healthy").send().await.unwrap();
    scene.sleep(60).await;
    assert_eq!((scene.state(&ids[0]), &*health().await), ("InService", "HEALTHY"), "the user took it back");
    set.health_status("Unhealthy").send().await.unwrap();
    scene.reaches(&ids[0], "Terminating:Wait").await;

    assert_eq!(scene.entered(&ids[0], "Terminating") - scene.called("SetInstanceHealth"), seconds(15));
    assert_eq!(health().await, "UNHEALTHY");
    assert_eq!(scene.causes().await[1], format!("{TAKEN} a user health-check."));
}

#[tokio::test(start_paused = true)]
async fn a_user_terminates_an_instance_and_the_group_replaces_it() {
    let (scene, ids) = Scene::in_service(1, []).await;
    let terminate = scene.aws.terminate_instance_in_auto_scaling_group().instance_id(&ids[0]);
    let answer = terminate.should_decrement_desired_capacity(false).send().await.unwrap().activity.unwrap();
    scene.is_gone(&ids[0]).await;
    scene.all_in_service(1).await;

    assert_eq!(answer.status_code().unwrap().as_str(), "InProgress");
    assert_eq!(answer.progress(), Some(0));
    assert_eq!(
        scene.causes().await[1..],
        [
            format!("At T instance {} was taken out of service in response to a user request.", ids[0]),
            format!("{STARTED} 0 to 1."),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_terminates_an_instance_and_the_group_shrinks() {
    let (scene, ids) = Scene::in_service(2, []).await;
    let terminate = scene.aws.terminate_instance_in_auto_scaling_group().instance_id(&ids[0]);
    terminate.should_decrement_desired_capacity(true).send().await.unwrap();
    scene.sleep(600).await;

    assert_eq!(scene.instances(|_| true), [ids[1].as_str()]);
    assert_eq!(
        scene.causes().await[2..],
        [format!(
            "At T instance {} was taken out of service in response to a user request, shrinking the capacity from 2 to 1.",
            ids[0]
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_does_not_shrink_below_its_minimum() {
    let scene = Scene::empty();
    scene.create([]).min_size(1).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("InService").await;
    let terminate = scene.aws.terminate_instance_in_auto_scaling_group().instance_id(&id);

    let refused = refusal(terminate.should_decrement_desired_capacity(true).send().await);

    assert_eq!(refused.0, "ValidationError");
    assert_eq!(scene.state(&id), "InService");
}

#[tokio::test(start_paused = true)]
async fn protected_instances_are_not_scaled_in_and_one_activity_says_so() {
    let scene = Scene::empty();
    scene.create([]).desired_capacity(1).new_instances_protected_from_scale_in(true).send().await.unwrap();
    let id = scene.any_in("InService").await;

    scene.set_desired(0).await;
    scene.sleep(3600).await;

    assert_eq!(scene.state(&id), "InService");
    let activities = scene.activities().await;
    assert_eq!(activities.len(), 2, "it says so once");
    let stuck = &activities[0];
    let what =
        "Could not scale to desired capacity because all remaining instances are protected from scale-in.";
    assert_eq!(stuck.description(), Some(what));
    assert_eq!((stuck.status_code().unwrap().as_str(), stuck.progress()), ("Cancelled", Some(100)));
    assert_eq!(stuck.details(), Some("{}"));
    let cause = "At T a user request explicitly set group desired capacity changing the desired capacity from 1 to 0.  \
                 At T group reached equilibrium.";
    assert_eq!(timeless(stuck.cause().unwrap()), cause);

    let protect = scene.aws.set_instance_protection().auto_scaling_group_name(GROUP).instance_ids(&id);
    protect.protected_from_scale_in(false).send().await.unwrap();
    scene.is_gone(&id).await;
    let cause = format!(
        "{TAKEN} a difference between desired and actual capacity, shrinking the capacity from 1 to 0.  At T instance \
         {id} was selected for termination."
    );
    assert_eq!(scene.causes().await[2], cause, "the user's request stands in the activity before");
}

#[tokio::test(start_paused = true)]
async fn a_sick_instance_goes_for_its_health_whatever_the_desired_capacity() {
    let scene = Scene::empty();
    scene.create([]).desired_capacity(1).new_instances_protected_from_scale_in(true).send().await.unwrap();
    let id = scene.any_in("InService").await;
    scene.aws.set_instance_health().instance_id(&id).health_status("Unhealthy").send().await.unwrap();
    scene.set_desired(0).await;
    scene.is_gone(&id).await;

    assert_eq!(scene.causes().await[1..], [format!("{TAKEN} a user health-check.")]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_refresh_fires_terminating_and_launching_hooks() {
    let hooks = [launching("boot"), terminating("drain")];
    let (scene, old) = Scene::in_service(2, hooks.map(|hook| hook.default_result("CONTINUE"))).await;
    let start = scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP);
    let id = start.clone().send().await.unwrap().instance_refresh_id.unwrap();
    assert_eq!(
        refusal(start.send().await),
        (
            "InstanceRefreshInProgress".to_owned(),
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."
                .to_owned()
        )
    );
    for old in &old {
        scene.reaches(old, "Terminating:Wait").await;
        let (out, new) = (scene.entered(old, "Terminating"), scene.any_in("Pending:Wait").await);
        assert_eq!(
            scene.entered(&new, "Pending") - out,
            seconds(2),
            "it does not wait for the old one's hook"
        );
    }
    scene.sleep(700).await;

    let describe = scene.aws.describe_instance_refreshes().auto_scaling_group_name(GROUP);
    let refresh = describe.send().await.unwrap().instance_refreshes.unwrap().remove(0);
    assert_eq!(refresh.instance_refresh_id(), Some(id.as_str()));
    assert_eq!(refresh.status().unwrap().as_str(), "Successful");
    assert_eq!(refresh.percentage_complete(), Some(100));
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 2);
    assert_eq!(scene.events(LAUNCH_EVENT).len(), 4);
    let out = |id| format!("{TAKEN} an instance refresh.  At T instance {id} was selected for termination.");
    assert_eq!(
        scene.events("EC2 Auto Scaling Instance Refresh Succeeded")[0]["detail"]["InstanceRefreshId"],
        id
    );
    let new = "At T an instance was launched in response to an instance refresh.".to_owned();
    assert_eq!(scene.causes().await[2..], [out(&old[0]), new.clone(), out(&old[1]), new]);
    let (first, second) = (scene.entered(&old[0], "Terminating"), scene.entered(&old[1], "Terminating"));
    assert!(second - first > seconds(300), "the second waits until the first's replacement is in service");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_keeps_all_healthy_launches_before_it_terminates() {
    let (scene, old) = Scene::in_service(1, [launching("boot"), terminating("drain")]).await;
    let start = scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP);
    let whole = RefreshPreferences::builder().min_healthy_percentage(100).max_healthy_percentage(100).build();
    start.preferences(whole).send().await.unwrap();
    let new = scene.any_in("Pending:Wait").await;
    scene.sleep(200).await;
    assert_eq!(scene.state(&old[0]), "InService", "until its replacement serves");
    scene.complete("boot", &new, "CONTINUE").await.unwrap();
    scene.reaches(&old[0], "Terminating:Wait").await;

    assert_eq!(scene.state(&new), "InService");
    let launched = "At T an instance was launched in response to an instance refresh.".to_owned();
    assert_eq!(scene.causes().await[1..], [launched, format!("{TAKEN} an instance refresh.")]);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_an_empty_group_is_over_at_once() {
    let (scene, _) = Scene::in_service(0, []).await;
    scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP).send().await.unwrap();

    let describe = scene.aws.describe_instance_refreshes().auto_scaling_group_name(GROUP);
    let refresh = describe.send().await.unwrap().instance_refreshes.unwrap().remove(0);
    assert_eq!(refresh.status().unwrap().as_str(), "Successful");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_replaces_as_many_at_once_as_may_be_unhealthy() {
    let (scene, old) = Scene::in_service(4, [terminating("drain")]).await;
    let start = scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP);
    let half = RefreshPreferences::builder().min_healthy_percentage(50).build();
    start.preferences(half).send().await.unwrap();
    scene.any_in("Terminating:Wait").await;

    assert_eq!(scene.instances(|instance| instance.state == "Terminating:Wait"), old[..2]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_refresh_replaces_no_more() {
    let (scene, old) = Scene::in_service(2, []).await;
    let start = scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP);
    start.send().await.unwrap();
    scene.reaches(&old[0], "Terminating").await;
    let cancel = scene.aws.cancel_instance_refresh().auto_scaling_group_name(GROUP);
    cancel.clone().send().await.unwrap();
    scene.sleep(3600).await;

    assert_eq!(scene.state(&old[0]), "gone");
    assert_eq!(scene.state(&old[1]), "InService");
    assert_eq!(refusal(cancel.send().await).0, "ActiveInstanceRefreshNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_passes_over_what_died_meanwhile() {
    let (scene, old) = Scene::in_service(2, []).await;
    scene.aws.start_instance_refresh().auto_scaling_group_name(GROUP).send().await.unwrap();
    scene.reaches(&old[0], "Terminating").await;
    scene.terminate(&old[1]).await;
    scene.sleep(600).await;

    let describe = scene.aws.describe_instance_refreshes().auto_scaling_group_name(GROUP);
    let refresh = describe.send().await.unwrap().instance_refreshes.unwrap().remove(0);
    assert_eq!(refresh.status().unwrap().as_str(), "Successful");
    let causes = scene.causes().await;
    let refreshed = causes.iter().filter(|cause| cause.starts_with(&format!("{TAKEN} an instance refresh")));
    assert_eq!(refreshed.count(), 1, "{causes:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_is_no_longer_wanted_explains_no_later_launch() {
    let (scene, ids) = Scene::in_service(2, []).await;
    scene.aws.set_instance_health().instance_id(&ids[0]).health_status("Unhealthy").send().await.unwrap();
    scene.set_desired(1).await;
    scene.is_gone(&ids[0]).await;
    scene.set_desired(2).await;
    scene.all_in_service(2).await;

    let why = "a user request explicitly set group desired capacity";
    let grown = format!("At T {why} changing the desired capacity from 1 to 2.  {STARTED} 1 to 2.");
    assert_eq!(scene.causes().await[2..], [format!("{TAKEN} a user health-check."), grown]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_says_what_it_was_launched_from_and_not_what_the_group_has_now() {
    let (scene, ids) = Scene::in_service(1, []).await;
    let update = scene.aws.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    update.launch_configuration_name("newer").send().await.unwrap();
    let described = scene.aws.describe_auto_scaling_instances().instance_ids(&ids[0]).send().await.unwrap();
    assert_eq!(described.auto_scaling_instances()[0].launch_configuration_name(), Some("web"));
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    let group = &groups.auto_scaling_groups()[0];
    assert_eq!(group.launch_configuration_name(), Some("newer"));
    assert_eq!(group.instances()[0].launch_configuration_name(), Some("web"));
}
