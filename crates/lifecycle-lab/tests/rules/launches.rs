//! How launches go past their hooks.

use lifecycle_lab::autoscaling::Instance;
use lifecycle_lab::{Sight, What};

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn a_launch_pauses_once_and_goes_into_service() {
    let (scene, ids) = Scene::in_service(1, [launching("boot"), terminating("drain")]).await;

    assert_eq!(scene.path(&ids[0]), ["Pending", "Pending:Wait", "Pending:Proceed", "InService"]);
    assert_eq!(scene.events(LAUNCH_EVENT).len(), 1);
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_hook_a_launch_does_not_pause() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;

    assert_eq!(scene.path(&ids[0]), ["Pending", "InService"]);
}

#[tokio::test(start_paused = true)]
async fn a_launch_continues_when_all_of_its_hooks_have() {
    let scene = Scene::empty();
    scene.create([launching("a"), launching("b")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;

    scene.complete("a", &id, "CONTINUE").await.unwrap();
    scene.sleep(60).await;
    assert_eq!(scene.state(&id), "Pending:Wait");

    scene.complete("b", &id, "CONTINUE").await.unwrap();
    scene.reaches(&id, "InService").await;
}

#[tokio::test(start_paused = true)]
async fn abandoning_a_launch_terminates_the_instance_and_launches_a_replacement() {
    let scene = Scene::empty();
    scene.create([launching("boot"), terminating("drain")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;

    scene.complete("boot", &id, "ABANDON").await.unwrap();
    scene.reaches(&id, "Terminating:Wait").await;
    let seen = scene.aws.describe_auto_scaling_instances().instance_ids(&id).send().await.unwrap();
    assert_eq!(seen.auto_scaling_instances()[0].health_status(), Some("HEALTHY"));
    let replacement = scene.any_in("Pending:Wait").await;
    scene.is_gone(&id).await;

    let end = ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminated"];
    assert_eq!(scene.path(&id)[2..], end);
    let event = scene.events(TERMINATE_EVENT).remove(0)["detail"].take();
    assert_eq!(
        [&event["Origin"], &event["Destination"]],
        ["AutoScalingGroup", "EC2"],
        "though it never served"
    );
    assert_ne!(replacement, id);
    assert_eq!(scene.entered(&replacement, "Pending") - scene.entered(&id, "Terminating"), seconds(2));
    assert_eq!(
        scene.causes().await[1..3],
        [
            "At T an instance was taken out of service in response to a launch failure.",
            "At T an instance was started in response to a difference between desired and actual capacity, \
             increasing the capacity from 0 to 1.",
        ],
        "the desired capacity did not change, so nobody's request is named"
    );
}

#[tokio::test(start_paused = true)]
async fn abandoning_one_launching_hook_stops_the_others() {
    let scene = Scene::empty();
    scene.create([launching("a"), launching("b")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;

    scene.complete("a", &id, "ABANDON").await.unwrap();

    let other = refusal(scene.complete("b", &id, "CONTINUE").await);
    assert_eq!(other, validation(format!("No active Lifecycle Action found with instance ID {id}")));
}

#[tokio::test(start_paused = true)]
async fn the_activity_of_a_launch_says_where_it_is_and_how_it_ended() {
    let scene = Scene::empty();
    scene.create([launching("boot")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let (started, token) = (scene.entered(&id, "Pending"), scene.wait(&id, "boot").token);

    let waiting = scene.activities().await.remove(0);
    assert_eq!(waiting.activity_id().map(str::len), Some(36));
    assert!(waiting.cause().unwrap().starts_with("At 2026-03-01T12:00:"), "{waiting:?}");
    assert_eq!(waiting.description().unwrap(), format!("Launching a new EC2 instance: {id}"));
    assert_eq!(waiting.status_code().unwrap().as_str(), "MidLifecycleAction");
    assert_eq!(waiting.start_time().unwrap().secs(), started.timestamp());
    assert_eq!(waiting.end_time(), None);
    assert_eq!(waiting.progress(), Some(40));
    let details = r#"{"Availability Zone":"us-east-1a","Availability Zone ID":"use1-az6"}"#;
    assert_eq!(waiting.details(), Some(details), "a launch configuration names no subnet");
    assert_eq!(waiting.auto_scaling_group_state(), Some("InService"));
    let arn = scene.lab.world(|world| world.autoscaling.group(GROUP).unwrap().arn.clone());
    assert_eq!(waiting.auto_scaling_group_arn(), Some(&*arn));

    scene.complete("boot", &id, "ABANDON").await.unwrap();
    let message = format!(
        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {token} was abandoned: \
         Lifecycle Action Completed with ABANDON Result"
    );
    let abandoned = scene.activities().await.remove(1);
    assert_eq!(abandoned.activity_id(), waiting.activity_id());
    assert_eq!(abandoned.cause(), waiting.cause());
    assert_eq!(abandoned.status_code().unwrap().as_str(), "Cancelled");
    assert_eq!(abandoned.progress(), Some(100));
    assert_eq!(abandoned.status_message(), Some(message.as_str()));
    assert_eq!(
        abandoned.description().unwrap(),
        format!("Launching a new EC2 instance: {id}.  Status Reason: {message}")
    );
    assert_eq!(
        abandoned.end_time().unwrap().to_millis().unwrap(),
        scene.entered(&id, "Terminating").timestamp() * 1000,
        "to the second, so that an end can lie before its start"
    );

    let failed = scene.events("EC2 Instance Launch Unsuccessful");
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["detail"]["StatusMessage"], message);
    assert_eq!(failed[0]["detail"]["StatusCode"], "Cancelled");
    assert_eq!(failed[0]["detail"]["RequestId"].as_str(), abandoned.activity_id());
    assert_eq!(failed[0]["detail"]["EC2InstanceId"], id);
    assert_eq!(failed[0]["resources"][1], format!("arn:aws:ec2:us-east-1:123456789012:instance/{id}"));
}

#[tokio::test(start_paused = true)]
async fn the_activity_of_a_launch_counts_up() {
    for (hooks, states) in [
        (vec![], vec![("InProgress", 50)]),
        (vec![launching("boot")], vec![("PreInService", 30), ("MidLifecycleAction", 40), ("InProgress", 50)]),
    ] {
        let (scene, _) = Scene::in_service(1, hooks).await;

        let seen = scene.moments().into_iter().filter_map(|moment| match moment.what {
            What::Seen(Sight::Activity(activity)) => Some((activity.status, activity.progress)),
            _ => None,
        });
        let seen: Vec<_> = seen.collect();
        assert_eq!(seen[0], ("InProgress", 0));
        assert_eq!(seen[1..], [states, vec![("Successful", 100)]].concat());
        let event = scene.events("EC2 Instance Launch Successful").remove(0)["detail"].take();
        assert_eq!(event["StatusCode"], "InProgress", "the event shows it as it was before its end");
        assert_eq!(
            [&event["Origin"], &event["Destination"], &event["Action"]],
            ["EC2", "AutoScalingGroup", "Launch"]
        );
        assert!(event.get("Progress").is_none(), "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_whose_hook_timed_out_says_so() {
    let scene = Scene::empty();
    scene.create([launching("boot")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let token = scene.wait(&id, "boot").token;

    scene.is_gone(&id).await;

    let first = scene.activities().await.pop().unwrap();
    let message = format!(
        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {token} was abandoned: \
         Heartbeat Timeout"
    );
    assert_eq!(first.status_message(), Some(message.as_str()));
}

#[tokio::test(start_paused = true)]
async fn launches_slow_down_while_hooks_keep_failing() {
    let scene = Scene::empty();
    scene.create([launching("boot").heartbeat_timeout(30)]).desired_capacity(1).send().await.unwrap();
    scene.sleep(3500).await;

    let launched = scene.times("Pending");

    let gaps: Vec<_> = launched.windows(2).map(|pair| (pair[1] - pair[0]).num_seconds()).collect();
    assert_eq!(gaps, [32, 60, 90, 150, 270, 510, 930, 930], "30 s in the hook, then the pause");
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_succeeds_ends_the_slowness() {
    let scene = Scene::empty();
    scene.create([launching("boot").heartbeat_timeout(30)]).desired_capacity(1).send().await.unwrap();
    scene.sleep(200).await;
    let ids = scene.all_in_service(1).await;
    scene.terminate(&ids[0]).await;
    let before = scene.times("Pending").len();
    scene.sleep(60).await;

    let launched = scene.times("Pending");

    assert_eq!(launched.len(), before + 2);
    assert_eq!(launched[before + 1] - launched[before], seconds(32));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_may_not_launch_yet_still_scales_in() {
    let (scene, ids) = Scene::in_service(1, [launching("boot").heartbeat_timeout(30)]).await;
    scene.set_desired(2).await;
    scene.sleep(230).await;
    let counted = |one: &Instance| !one.state.starts_with("Terminating");
    assert_eq!(scene.instances(counted), ids, "the launches are held");

    scene.set_desired(0).await;
    scene.is_gone(&ids[0]).await;

    assert_eq!(scene.entered(&ids[0], "Terminating") - scene.called("SetDesiredCapacity"), seconds(5));
}
