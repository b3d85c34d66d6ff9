//! How terminations go past their hooks, and which deaths no hook holds.

use aws_sdk_autoscaling::types::{
    InstanceLifecyclePolicy, RetentionAction, RetentionTriggers, builders::LifecycleHookSpecificationBuilder,
};

use crate::scene::*;

/// A group that keeps instances whose termination was abandoned, with one of them in `Terminating:Wait`.
async fn retaining(hook: LifecycleHookSpecificationBuilder) -> (Scene, String) {
    let scene = Scene::empty();
    let triggers = RetentionTriggers::builder().terminate_hook_abandon(RetentionAction::Retain).build();
    let policy = InstanceLifecyclePolicy::builder().retention_triggers(triggers).build();
    scene.create([hook]).desired_capacity(1).instance_lifecycle_policy(policy).send().await.unwrap();
    let id = scene.any_in("InService").await;
    scene.terminate(&id).await;
    scene.reaches(&id, "Terminating:Wait").await;
    (scene, id)
}

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
    let wait = scene.entered(&ids[0], "Terminated") - scene.entered(&ids[0], "Terminating:Wait");
    assert!(wait < seconds(5), "{wait}");
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
    scene.is_gone(&ids[0]).await;
    let ended = scene.activities().await.remove(0);
    assert_eq!(ended.activity_id(), waiting.activity_id());
    assert_eq!(ended.status_code().unwrap().as_str(), "Successful");
    assert_eq!(ended.progress(), Some(100));
    assert_eq!(scene.events("EC2 Instance Terminate Successful").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_termination_is_retained_where_the_group_says_so() {
    let (scene, id) = retaining(terminating("drain")).await;
    scene.complete("drain", &id, "ABANDON").await.unwrap();

    let (late, overdue) = retaining(terminating("drain").default_result("ABANDON")).await;
    late.sleep(301).await;

    for (scene, id) in [(&scene, &id), (&late, &overdue)] {
        scene.sleep(7 * 24 * 3600).await;
        assert_eq!(scene.path(id)[2..], ["Terminating", "Terminating:Wait", "Terminating:Retained"]);
        let in_service = scene.instances(|instance| instance.state == "InService");
        assert_eq!(in_service.len(), 1, "a retained instance is outside the desired capacity");
    }
}

#[tokio::test(start_paused = true)]
async fn a_continued_termination_is_never_retained() {
    let (scene, id) = retaining(terminating("drain")).await;
    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.is_gone(&id).await;

    let (scene, id) = retaining(terminating("drain").default_result("CONTINUE")).await;
    scene.is_gone(&id).await;

    assert!(!scene.path(&id).contains(&"Terminating:Retained"));
}

#[tokio::test(start_paused = true)]
async fn without_the_policy_nothing_is_retained() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain").default_result("ABANDON")]).await;
    scene.set_desired(0).await;

    scene.is_gone(&ids[0]).await;
}

#[tokio::test(start_paused = true)]
async fn terminating_a_retained_instance_ends_it() {
    let (scene, id) = retaining(terminating("drain")).await;
    scene.complete("drain", &id, "ABANDON").await.unwrap();
    scene.reaches(&id, "Terminating:Retained").await;
    let events = scene.events(TERMINATE_EVENT).len();

    scene.terminate(&id).await;
    scene.is_gone(&id).await;

    assert_eq!(scene.events(TERMINATE_EVENT).len(), events, "its hook had its turn");
    assert_eq!(scene.all_in_service(1).await.len(), 1);
    let terminations = scene.events("EC2 Instance Terminate Successful");
    assert_eq!(terminations.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn detach_and_standby_fire_no_hook() {
    let (scene, ids) = Scene::in_service(2, [terminating("drain")]).await;
    let detach = scene.aws.detach_instances().auto_scaling_group_name(GROUP).instance_ids(&ids[0]);
    detach.should_decrement_desired_capacity(true).send().await.unwrap();
    let standby = scene.aws.enter_standby().auto_scaling_group_name(GROUP).instance_ids(&ids[1]);
    standby.should_decrement_desired_capacity(true).send().await.unwrap();
    scene.sleep(600).await;

    assert_eq!(scene.path(&ids[0]), ["Pending", "InService", "Detached"]);
    assert_eq!(scene.path(&ids[1]), ["Pending", "InService", "Standby"]);
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
async fn force_delete_fires_no_hook() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true);
    delete.send().await.unwrap();
    scene.is_gone(&ids[0]).await;

    assert_eq!(scene.path(&ids[0]), ["Pending", "InService", "Terminating", "Terminated"]);
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 0);
    assert_eq!(scene.events("EC2 Instance Launch Successful").len(), 1, "its launch ended long ago");
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
