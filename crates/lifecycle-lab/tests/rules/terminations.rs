//! How terminations go past their hooks, and which deaths no hook holds.

use serde_json::json;

use crate::scene::*;

#[tokio::test(start_paused = true)]
async fn a_termination_goes_through_with_either_result() {
    for result in ["CONTINUE", "ABANDON"] {
        let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
        scene.set_desired(0).await;
        scene.reaches(&ids[0], "Terminating:Wait").await;

        scene.complete("drain", &ids[0], result).await.unwrap();
        scene.is_gone(&ids[0]).await;

        let end = ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminated"];
        assert_eq!(scene.path(&ids[0])[2..], end, "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn abandon_on_termination_stops_the_other_hooks() {
    let (scene, ids) = Scene::in_service(1, [terminating("a"), terminating("b")]).await;
    scene.set_desired(0).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;

    scene.complete("a", &ids[0], "ABANDON").await.unwrap();
    let other = refusal(scene.complete("b", &ids[0], "CONTINUE").await);
    scene.is_gone(&ids[0]).await;

    assert_eq!(other, validation(format!("No active Lifecycle Action found with instance ID {}", ids[0])));
    let wait = scene.entered(&ids[0], "Terminating:Proceed") - scene.entered(&ids[0], "Terminating:Wait");
    assert!(wait < seconds(1), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn continue_waits_for_the_other_hooks() {
    let (scene, ids) = Scene::in_service(1, [terminating("a"), terminating("b")]).await;
    scene.set_desired(0).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 2, "all hooks begin at once");

    scene.complete("a", &ids[0], "CONTINUE").await.unwrap();
    scene.is_gone(&ids[0]).await;

    let wait = scene.entered(&ids[0], "Terminating:Proceed") - scene.entered(&ids[0], "Terminating:Wait");
    assert_eq!(wait, seconds(300));
}

#[tokio::test(start_paused = true)]
async fn deregistration_comes_before_the_terminating_hook() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.set_desired(0).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;

    let deregistration = scene.entered(&ids[0], "Terminating:Wait") - scene.entered(&ids[0], "Terminating");

    assert_eq!(deregistration, seconds(5));
}

#[tokio::test(start_paused = true)]
async fn the_activity_tells_of_the_hook_before_the_instance_waits() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.terminate(&ids[0]).await;

    assert_eq!(scene.state(&ids[0]), "Terminating");
    let activity = scene.activities().await.remove(0);
    assert_eq!(activity.status_code().unwrap().as_str(), "MidTerminatingLifecycleAction");
}

#[tokio::test(start_paused = true)]
async fn the_activity_of_a_termination_says_that_a_hook_runs() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.set_desired(0).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;

    let waiting = scene.activities().await.remove(0);
    assert_eq!(waiting.activity_id().map(str::len), Some(36));
    assert_eq!(waiting.description().unwrap(), format!("Terminating EC2 instance: {}", ids[0]));
    assert_eq!(waiting.status_code().unwrap().as_str(), "MidTerminatingLifecycleAction");
    assert_eq!(waiting.progress(), Some(60));
    assert_eq!(waiting.end_time(), None);

    scene.complete("drain", &ids[0], "CONTINUE").await.unwrap();
    scene.sleep(15).await;
    assert_eq!(scene.state(&ids[0]), "Terminating:Proceed");
    let proceeding = scene.activities().await.remove(0);
    assert_eq!(proceeding.status_code(), waiting.status_code(), "until EC2 has terminated the instance");
    scene.is_gone(&ids[0]).await;
    let ended = scene.activities().await.remove(0);
    assert_eq!(ended.activity_id(), waiting.activity_id());
    assert_eq!(ended.status_code().unwrap().as_str(), "Successful");
    assert_eq!(ended.progress(), Some(100));
    let gone = scene.entered(&ids[0], "Terminated");
    assert_eq!(ended.end_time().unwrap().to_millis().unwrap(), gone.timestamp() * 1000, "to the second");
    let lasted = gone - scene.entered(&ids[0], "Terminating:Proceed");
    assert!((21..=32).contains(&lasted.num_seconds()), "{lasted}");
    let events = scene.events("EC2 Instance Terminate Successful");
    let [event] = events.as_slice() else { panic!("{events:?}") };
    let expected = json!({
        "ActivityId": ended.activity_id(),
        "RequestId": ended.activity_id(),
        "AutoScalingGroupName": "web",
        "EC2InstanceId": ids[0],
        "Description": ended.description(),
        "Cause": ended.cause(),
        "StartTime": event["detail"]["StartTime"],
        "EndTime": event["detail"]["EndTime"],
        "StatusCode": "MidTerminatingLifecycleAction",
        "StatusMessage": "",
        "Details": { "Availability Zone": "us-east-1a", "Availability Zone ID": "use1-az6" },
        "Origin": "AutoScalingGroup",
        "Destination": "EC2",
        "Action": "Terminate",
    });
    assert_eq!(event["detail"], expected, "the activity as it was before its end");
}

#[tokio::test(start_paused = true)]
async fn detach_and_standby_fire_no_hook() {
    let (scene, ids) = Scene::in_service(2, [terminating("drain")]).await;
    let detach = scene.aws.detach_instances().auto_scaling_group_name(GROUP).instance_ids(&ids[0]);
    let detached = detach.should_decrement_desired_capacity(true).send().await.unwrap();
    let activity = &detached.activities()[0];
    assert_eq!((activity.status_code().unwrap().as_str(), activity.progress()), ("InProgress", Some(50)));
    assert_eq!(scene.state(&ids[0]), "Detaching");
    let standby = scene.aws.enter_standby().auto_scaling_group_name(GROUP).instance_ids(&ids[1]);
    standby.should_decrement_desired_capacity(true).send().await.unwrap();
    scene.sleep(600).await;

    let tags = scene.lab.world(|world| world.ec2.instance(&ids[0]).unwrap().tags.clone());
    assert!(!tags.contains_key("aws:autoscaling:groupName"), "{tags:?}");
    assert!(scene.activities().await.iter().all(|one| one.status_code().unwrap().as_str() == "Successful"));
    assert_eq!(scene.path(&ids[0]), ["Pending", "InService", "Detaching", "Detached"]);
    assert_eq!(scene.path(&ids[1]), ["Pending", "InService", "EnteringStandby", "Standby"]);
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 0);
    let shrinking = |verb, id, from, to| {
        format!(
            "At T instance {id} was {verb} in response to a user request, shrinking the capacity from {from} to {to}."
        )
    };
    assert_eq!(
        scene.causes().await[2..],
        [shrinking("detached", &ids[0], 2, 1), shrinking("moved to standby", &ids[1], 1, 0)]
    );

    let exit = scene.aws.exit_standby().auto_scaling_group_name(GROUP).instance_ids(&ids[1]);
    exit.send().await.unwrap();
    assert_eq!(scene.state(&ids[1]), "InService");
    scene.sleep(600).await;
    assert_eq!(scene.instances(|_| true), [ids[1].as_str()]);
}

#[tokio::test(start_paused = true)]
async fn a_spot_reclaim_is_not_held_by_a_hook() {
    let (scene, ids) = Scene::in_service(2, [terminating("drain")]).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;

    scene.lab.world(|world| ids.iter().for_each(|id| world.reclaim_spot(id)));
    let reclaimed = scene.lab.now();
    for id in &ids {
        scene.is_gone(id).await;
        assert_eq!(scene.entered(id, "Terminated") - reclaimed, seconds(4));
    }

    let late = refusal(scene.complete("drain", &ids[0], "CONTINUE").await);
    assert_eq!(late, validation(format!("No active Lifecycle Action found with instance ID {}", ids[0])));
    let replacements = scene.all_in_service(2).await;
    assert!(!ids.iter().any(|id| replacements.contains(id)));
}

#[tokio::test(start_paused = true)]
async fn terminating_an_instance_in_a_launching_hook_runs_its_terminating_hooks() {
    let scene = Scene::empty();
    scene.create([launching("boot"), terminating("drain")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;

    scene.terminate(&id).await;
    scene.reaches(&id, "Terminating:Wait").await;

    let late = refusal(scene.complete("boot", &id, "CONTINUE").await);
    assert_eq!(late, validation(format!("No active Lifecycle Action found with instance ID {id}")));
    let launch = scene.activities().await.pop().unwrap();
    assert_eq!(launch.status_code().unwrap().as_str(), "Cancelled");
}

#[tokio::test(start_paused = true)]
async fn terminating_twice_starts_the_hooks_once() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;

    scene.terminate(&ids[0]).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    scene.terminate(&ids[0]).await;
    scene.sleep(20).await;

    assert_eq!(scene.events(TERMINATE_EVENT).len(), 1);
    assert_eq!(scene.path(&ids[0])[2..], ["Terminating", "Terminating:Wait"]);
}
