//! How AWS itself replaces instances and CloudFormation groups, when others can read of it, and in what
//! words.

use std::time::Duration;

use lifecycle_lab::{World, scenarios};

use crate::scene::*;

const TAKEN: &str = "At T an instance was taken out of service in response to";

#[tokio::test(start_paused = true)]
async fn an_impaired_or_an_old_instance_is_replaced_past_its_hooks() {
    type Trigger = fn(&mut World, &str);
    let lifetime = "the maximum instance lifetime";
    let triggers: [(Trigger, &str, &str); 2] = [
        (
            |world, id| world.fail_status_check(id),
            "an EC2 instance status checks failure",
            "an unhealthy instance needing to be replaced",
        ),
        (|world, id| world.expire_lifetime(id), lifetime, lifetime),
    ];
    for (trigger, why, launch) in triggers {
        let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
        scene.lab.world(|world| trigger(world, &ids[0]));
        scene.reaches(&ids[0], "Terminating:Wait").await;
        scene.all_in_service(1).await;

        let launch = format!("At T an instance was launched in response to {launch}.");
        assert_eq!(scene.causes().await[1..], [format!("{TAKEN} {why}."), launch]);
    }
}

#[tokio::test(start_paused = true)]
async fn capacity_rebalancing_launches_before_it_terminates() {
    let (scene, ids) = Scene::in_service(2, [launching("boot"), terminating("drain")]).await;
    scene.lab.world(|world| world.recommend_rebalance(&ids[0]));
    let event = scene.events("EC2 Instance Rebalance Recommendation").remove(0);
    assert_eq!(
        (&event["source"], &event["detail"]["instance-id"]),
        (&"aws.ec2".into(), &ids[0].as_str().into())
    );

    let new = scene.any_in("Pending:Wait").await;
    scene.sleep(200).await;
    assert_eq!(scene.state(&ids[0]), "InService", "it waits for its replacement");
    scene.complete("boot", &new, "CONTINUE").await.unwrap();
    scene.reaches(&ids[0], "Terminating:Wait").await;
    scene.is_gone(&ids[0]).await;
    scene.sleep(600).await;

    assert_eq!(scene.instances(|_| true), [ids[1].clone(), new]);
    let why = "an EC2 instance rebalance recommendation";
    let launch = format!("At T an instance was launched in response to {why}.");
    assert_eq!(scene.causes().await[2..], [launch, format!("{TAKEN} {why}.")]);
}

#[tokio::test(start_paused = true)]
async fn zone_rebalancing_launches_before_it_terminates() {
    let scene = Scene::empty();
    let zones = ["us-east-1a", "us-east-1b"].map(str::to_owned).to_vec();
    scene.create([]).set_availability_zones(Some(zones)).desired_capacity(2).send().await.unwrap();
    let ids = scene.all_in_service(2).await;
    scene.lab.world(|world| world.rebalance_zones(&ids[0]));
    scene.is_gone(&ids[0]).await;
    scene.sleep(600).await;

    assert_eq!(scene.all_in_service(2).await[0], ids[1]);
    assert_eq!(
        scene.causes().await[2..],
        [
            "At T availability zones us-east-1a us-east-1b had 1 1 instances respectively. An instance was launched to \
             aid in balancing the group's zones."
                .to_owned(),
            format!(
                "At T instances were launched to balance instances in zones us-east-1a us-east-1b with other zones \
                 resulting in more than desired number of instances in the group.  {TAKEN} a difference between \
                 desired and actual capacity, shrinking the capacity from 3 to 2.  At T instance {} was selected for \
                 termination.",
                ids[0]
            ),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_spot_reclaim_shows_as_a_failed_health_check() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.lab.world(|world| world.reclaim_spot(&ids[0]));
    scene.is_gone(&ids[0]).await;

    let cause = "an EC2 health check indicating it has been terminated or stopped";
    assert_eq!(scene.causes().await[1], format!("{TAKEN} {cause}."));
    assert_eq!(scene.events("EC2 Instance Terminate Successful").len(), 1);
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_activity_may_be_seen_only_after_a_while() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.lab.world(|world| world.delays.activity_visible = Duration::from_secs(30));
    scene.sleep(60).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    assert_eq!(scene.activities().await.len(), 1);
    scene.sleep(30).await;
    assert_eq!(scene.activities().await.len(), 3, "its own, and its replacement's");
}

#[tokio::test(start_paused = true)]
async fn a_stack_update_fills_the_new_group_before_it_empties_the_old_one() {
    let hooks = [launching("boot"), terminating("drain")];
    let (scene, old) = Scene::in_service(1, hooks.map(|hook| hook.default_result("CONTINUE"))).await;

    scene.lab.world(|world| world.tag_as_stack_resource(GROUP, "shop", "Fleet"));

    assert_eq!(scenarios::replace_group(&scene.lab, GROUP, "web-2").await, Ok(true));

    let describe = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    let [group] = describe.auto_scaling_groups() else { panic!("{describe:?}") };
    assert_eq!((group.auto_scaling_group_name(), group.desired_capacity()), (Some("web-2"), Some(1)));
    assert_eq!(group.launch_configuration_name(), Some("web"));
    assert_eq!(group.tags()[0].key(), Some("aws:cloudformation:logical-id"));
    let hooks = scene.aws.describe_lifecycle_hooks().auto_scaling_group_name("web-2").send().await.unwrap();
    assert_eq!(hooks.lifecycle_hooks().len(), 2);
    let new = group.instances()[0].instance_id().unwrap();
    assert!(scene.entered(&old[0], "Terminating") > scene.entered(new, "InService"));
    assert_eq!(scene.path(&old[0]).last(), Some(&"Terminated"));
    let old_groups = scene.aws.describe_scaling_activities().include_deleted_groups(true);
    let activities = old_groups.auto_scaling_group_name(GROUP).send().await.unwrap();
    assert_eq!(
        timeless(activities.activities()[0].cause().unwrap()),
        format!(
            "At T a user request update of AutoScalingGroup constraints to min: 0, max: 0, desired: 0 changing the \
             desired capacity from 1 to 0.  {TAKEN} a difference between desired and actual capacity, shrinking the \
             capacity from 1 to 0.  At T instance {} was selected for termination.",
            old[0]
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_stack_update_that_fails_leaves_the_old_group_alone() {
    let hooks = [launching("boot").heartbeat_timeout(60)];
    let (scene, old) = Scene::in_service(1, hooks).await;

    let timeout = Duration::from_secs(900);
    assert_eq!(scenarios::roll_back_group(&scene.lab, GROUP, "web-2", timeout).await, Ok(true));

    assert_eq!(scene.state(&old[0]), "InService");
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    assert_eq!(groups.auto_scaling_groups().len(), 1);
    let launches = scene.events(LAUNCH_EVENT);
    let in_new = launches.iter().filter(|event| event["detail"]["AutoScalingGroupName"] == "web-2");
    assert!(in_new.count() > 1, "its launches were abandoned and tried again");
    let missing = scenarios::replace_group(&scene.lab, "none", "web-3").await.unwrap_err();
    assert_eq!(missing.code, "ValidationError");
}
