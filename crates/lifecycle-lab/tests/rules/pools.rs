//! Warm pools: two pauses on the way into service, one on the way back, one at the end.

use aws_sdk_autoscaling::types::{
    InstanceLifecyclePolicy, InstanceReusePolicy, RetentionAction, RetentionTriggers, WarmPoolState,
};
use serde_json::json;

use crate::scene::*;

/// A group of at most one instance, which rests in the warm pool past its hooks.
async fn pooled() -> (Scene, String) {
    let scene = Scene::empty();
    scene.create([launching("boot"), terminating("drain")]).max_size(1).send().await.unwrap();
    let reuse = InstanceReusePolicy::builder().reuse_on_scale_in(true).build();
    let put = scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).instance_reuse_policy(reuse);
    put.send().await.unwrap();
    let id = scene.any_in("Warmed:Pending:Wait").await;
    scene.complete("boot", &id, "CONTINUE").await.unwrap();
    scene.reaches(&id, "Warmed:Stopped").await;
    (scene, id)
}

/// As [`pooled`], and the instance went on into service.
async fn in_service_from_pool() -> (Scene, String) {
    let (scene, id) = pooled().await;
    scene.set_desired(1).await;
    scene.all_in_service(1).await;
    (scene, id)
}

/// Origin and destination of each event of this detail-type.
fn moves(scene: &Scene, kind: &str) -> Vec<serde_json::Value> {
    let events = scene.events(kind);
    events.iter().map(|event| json!([event["detail"]["Origin"], event["detail"]["Destination"]])).collect()
}

#[tokio::test(start_paused = true)]
async fn a_launching_hook_pauses_twice_on_the_way_through_the_pool() {
    let (scene, id) = pooled().await;
    let first = scene.events(LAUNCH_EVENT)[0]["detail"]["LifecycleActionToken"].clone();
    scene.set_desired(1).await;
    scene.reaches(&id, "Pending:Wait").await;

    let complete = scene.aws.complete_lifecycle_action().auto_scaling_group_name(GROUP);
    let complete = complete.lifecycle_hook_name("boot").instance_id(&id).lifecycle_action_result("CONTINUE");
    let old_token = complete.clone().lifecycle_action_token(first.as_str().unwrap()).send().await;
    assert_eq!(refusal(old_token).0, "ValidationError", "the first pause's token is not the second's");
    complete.send().await.unwrap();
    scene.reaches(&id, "InService").await;

    assert_eq!(
        scene.path(&id),
        [
            "Warmed:Pending",
            "Warmed:Pending:Wait",
            "Warmed:Pending:Proceed",
            "Warmed:Stopped",
            "Pending",
            "Pending:Wait",
            "Pending:Proceed",
            "InService"
        ]
    );
    let moved = [json!(["EC2", "WarmPool"]), json!(["WarmPool", "AutoScalingGroup"])];
    assert_eq!(moves(&scene, LAUNCH_EVENT), moved);
    let activities = scene.activities().await;
    let descriptions: Vec<_> =
        activities.iter().rev().map(|activity| activity.description().unwrap()).collect();
    assert_eq!(
        descriptions,
        [
            format!("Launching a new EC2 instance into warm pool: {id}"),
            format!("Launching a new EC2 instance from warm pool: {id}"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn with_a_reuse_policy_a_scale_in_returns_the_instance_to_the_pool() {
    let (scene, id) = in_service_from_pool().await;
    scene.set_desired(0).await;
    scene.reaches(&id, "Warmed:Pending:Wait").await;
    let activity = scene.activities().await.remove(0);
    assert_eq!(activity.description(), Some(&*format!("Scaling in EC2 instance into warm pool: {id}")));
    assert_eq!(activity.status_code().unwrap().as_str(), "MidTerminatingLifecycleAction");
    let cause = timeless(activity.cause().unwrap());
    assert!(
        cause.ends_with(&format!("At T instance {id} was selected for scale in to warm pool.")),
        "{cause}"
    );
    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.reaches(&id, "Warmed:Stopped").await;
    assert_eq!(moves(&scene, "EC2 Instance Terminate Successful"), [json!(["AutoScalingGroup", "WarmPool"])]);
    scene.sleep(3600).await;

    let back = ["Warmed:Pending", "Warmed:Pending:Wait", "Warmed:Pending:Proceed", "Warmed:Stopped"];
    assert_eq!(scene.path(&id)[8..], back);
    assert_eq!(moves(&scene, TERMINATE_EVENT), [json!(["AutoScalingGroup", "WarmPool"])]);
    assert_eq!(scene.events(LAUNCH_EVENT).len(), 2, "the return is no launch");

    scene.set_desired(1).await;
    scene.reaches(&id, "Pending:Wait").await;
    assert_eq!(scene.events(LAUNCH_EVENT).len(), 3, "the next way into service is");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_pool_takes_half_a_minute_to_stop_an_instance_and_a_running_one_none() {
    let (scene, id) = pooled().await;
    let stopping = scene.entered(&id, "Warmed:Stopped") - scene.entered(&id, "Warmed:Pending:Proceed");
    assert!((21..=32).contains(&stopping.num_seconds()), "{stopping}");

    let scene = Scene::empty();
    scene.create([launching("boot")]).max_size(1).send().await.unwrap();
    let put = scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).pool_state(WarmPoolState::Running);
    put.send().await.unwrap();
    let id = scene.any_in("Warmed:Pending:Wait").await;
    scene.complete("boot", &id, "CONTINUE").await.unwrap();
    scene.reaches(&id, "Warmed:Running").await;
    assert_eq!(
        scene.entered(&id, "Warmed:Running") - scene.entered(&id, "Warmed:Pending:Proceed"),
        seconds(2)
    );
}

#[tokio::test(start_paused = true)]
async fn while_launches_are_suspended_a_prepared_instance_stays_in_the_pool() {
    let (scene, id) = pooled().await;
    let processes = "Launch";
    let suspend = scene.aws.suspend_processes().auto_scaling_group_name(GROUP).scaling_processes(processes);
    suspend.send().await.unwrap();
    scene.set_desired(1).await;
    scene.sleep(62).await;
    assert_eq!(scene.state(&id), "Warmed:Stopped");

    let resume = scene.aws.resume_processes().auto_scaling_group_name(GROUP).scaling_processes(processes);
    resume.send().await.unwrap();
    scene.reaches(&id, "Pending:Wait").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_reuse_policy_a_scale_in_terminates() {
    let (scene, id) = in_service_from_pool().await;
    let reuse = InstanceReusePolicy::builder().reuse_on_scale_in(false).build();
    let put = scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).instance_reuse_policy(reuse);
    put.send().await.unwrap();

    scene.set_desired(0).await;
    scene.reaches(&id, "Terminating:Wait").await;

    assert_eq!(moves(&scene, TERMINATE_EVENT), [json!(["AutoScalingGroup", "EC2"])]);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_return_to_the_pool_goes_on_all_the_same() {
    let (scene, id) = in_service_from_pool().await;
    scene.set_desired(0).await;
    scene.reaches(&id, "Warmed:Pending:Wait").await;

    scene.complete("drain", &id, "ABANDON").await.unwrap();
    scene.reaches(&id, "Warmed:Stopped").await;
    assert_eq!(scene.activities().await[0].status_code().unwrap().as_str(), "Successful");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_return_is_retained_where_the_group_says_so() {
    let (scene, id) = in_service_from_pool().await;
    retain(&scene).await;
    scene.set_desired(0).await;
    scene.reaches(&id, "Warmed:Pending:Wait").await;

    scene.complete("drain", &id, "ABANDON").await.unwrap();

    assert_eq!(scene.state(&id), "Warmed:Pending:Retained");
    assert_eq!(scene.activities().await[0].status_code().unwrap().as_str(), "Cancelled");
    assert_eq!(
        moves(&scene, "EC2 Instance Terminate Unsuccessful"),
        [json!(["AutoScalingGroup", "WarmPool"])]
    );
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_launch_into_the_pool_runs_the_terminating_hooks() {
    let scene = Scene::empty();
    scene.create([launching("boot"), terminating("drain")]).max_size(1).send().await.unwrap();
    scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    let id = scene.any_in("Warmed:Pending:Wait").await;
    scene.complete("boot", &id, "ABANDON").await.unwrap();
    scene.reaches(&id, "Warmed:Terminating:Wait").await;

    assert_eq!(moves(&scene, TERMINATE_EVENT), [json!(["WarmPool", "EC2"])]);
    let activities = scene.activities().await;
    let end = activities.iter().find(|one| one.description().unwrap().starts_with("Terminating")).unwrap();
    assert_eq!(end.description(), Some(&*format!("Terminating EC2 instance from warm pool: {id}")));
    let cause = format!(
        "At T an instance was taken out of service in response to a launch failure.  At T instance {id} was selected \
         for termination."
    );
    assert_eq!(timeless(end.cause().unwrap()), cause);
}

#[tokio::test(start_paused = true)]
async fn a_retained_instance_of_the_pool_is_terminated_through_its_hooks() {
    let (scene, id) = pooled().await;
    retain(&scene).await;
    scene
        .aws
        .put_warm_pool()
        .auto_scaling_group_name(GROUP)
        .max_group_prepared_capacity(0)
        .send()
        .await
        .unwrap();
    scene.reaches(&id, "Warmed:Terminating:Wait").await;
    scene.complete("drain", &id, "ABANDON").await.unwrap();
    scene.sleep(3600).await;
    assert_eq!(scene.state(&id), "Warmed:Terminating:Retained");

    scene.terminate(&id).await;
    scene.reaches(&id, "Warmed:Terminating:Wait").await;
    assert_eq!(moves(&scene, TERMINATE_EVENT), [json!(["WarmPool", "EC2"]), json!(["WarmPool", "EC2"])]);
    let last = scene.activities().await.remove(0);
    assert_eq!(last.description(), Some(&*format!("Terminating EC2 instance from warm pool: {id}")));
    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.is_gone(&id).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_being_deleted_ends_what_it_retains_again_and_again() {
    let (scene, id) = pooled().await;
    retain(&scene).await;
    scene.aws.delete_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    for _ in 0..2 {
        scene.reaches(&id, "Warmed:Terminating:Wait").await;
        scene.complete("drain", &id, "ABANDON").await.unwrap();
        assert_eq!(scene.state(&id), "Warmed:Terminating:Retained");
    }

    scene.reaches(&id, "Warmed:Terminating:Wait").await;
    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.is_gone(&id).await;
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 3, "without any request in between");
}

/// Lets the group keep what is abandoned on its way out.
async fn retain(scene: &Scene) {
    let triggers = RetentionTriggers::builder().terminate_hook_abandon(RetentionAction::Retain).build();
    let policy = InstanceLifecyclePolicy::builder().retention_triggers(triggers).build();
    let update = scene.aws.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    update.instance_lifecycle_policy(policy).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_size_of_the_pool_is_explained() {
    let scene = Scene::empty();
    scene.create([]).max_size(1).send().await.unwrap();
    let put = scene.aws.put_warm_pool().auto_scaling_group_name(GROUP);
    put.clone().max_group_prepared_capacity(1).send().await.unwrap();
    let id = scene.any_in("Warmed:Stopped").await;
    put.clone().max_group_prepared_capacity(0).send().await.unwrap();
    scene.is_gone(&id).await;
    put.max_group_prepared_capacity(1).send().await.unwrap();
    let next = scene.any_in("Warmed:Stopped").await;

    let started = "At T an instance was started in response to a difference between desired and actual capacity, \
                   increasing the capacity from 0 to 1.";
    let (causes, activities) = (scene.causes().await, scene.activities().await);
    assert_eq!(
        causes,
        [
            format!(
                "At T a user request put a new WarmPool with MinSize: 0 and MaxGroupPreparedCapacity: 1 changing the \
                 capacity of WarmPool from 0 to 1.  {started}"
            ),
            format!(
                "At T a user request update of WarmPool MaxGroupPreparedCapacity from max: 1 to max: 0 changing the \
                 capacity of WarmPool from 1 to 0.  At T an instance was taken out of service in response to a \
                 difference between desired and actual capacity, shrinking the capacity.  At T instance {id} was \
                 selected for termination."
            ),
            format!(
                "At T a user request update of WarmPool MaxGroupPreparedCapacity from max: 0 to max: 1 changing the \
                 capacity of WarmPool from 0 to 1.  {started}"
            ),
        ]
    );
    let what = format!("Launching a new EC2 instance into warm pool: {next}");
    assert_eq!(activities[0].description(), Some(&*what));

    let unbounded = Scene::empty();
    unbounded.create([]).max_size(1).send().await.unwrap();
    unbounded.aws.put_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    unbounded.any_in("Warmed:Stopped").await;
    let cause = unbounded.causes().await.remove(0);
    assert!(cause.contains("with MinSize: 0 and MaxGroupPreparedCapacity: null changing"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_launch_into_the_pool_is_tried_again_more_slowly_each_time() {
    let scene = Scene::empty();
    scene.create([launching("boot").heartbeat_timeout(30)]).max_size(1).send().await.unwrap();
    scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    let first = scene.any_in("Warmed:Pending:Wait").await;
    scene.sleep(200).await;

    let launched = scene.times("Warmed:Pending");

    let gaps: Vec<_> = launched.windows(2).map(|pair| (pair[1] - pair[0]).num_seconds()).collect();
    assert_eq!(gaps, [32, 60, 90]);
    let end = ["Warmed:Pending", "Warmed:Pending:Wait", "Warmed:Terminating", "Warmed:Terminated"];
    assert_eq!(scene.path(&first), end, "there is no terminating hook");
}

#[tokio::test(start_paused = true)]
async fn deleting_the_pool_runs_the_terminating_hook_of_its_instances() {
    let (scene, id) = pooled().await;
    scene.aws.delete_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    scene.reaches(&id, "Warmed:Terminating:Wait").await;
    let describe = scene.aws.describe_warm_pool().auto_scaling_group_name(GROUP);
    let pool = describe.clone().send().await.unwrap().warm_pool_configuration.unwrap();
    assert_eq!(pool.status().unwrap().as_str(), "PendingDelete");

    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.is_gone(&id).await;
    scene.sleep(10).await;

    let end =
        ["Warmed:Terminating", "Warmed:Terminating:Wait", "Warmed:Terminating:Proceed", "Warmed:Terminated"];
    assert_eq!(scene.path(&id)[4..], end);
    assert_eq!(moves(&scene, TERMINATE_EVENT), [json!(["WarmPool", "EC2"])]);
    assert_eq!(describe.send().await.unwrap().warm_pool_configuration(), None);
    let last = scene.activities().await.remove(0);
    assert_eq!(last.description().unwrap(), format!("Terminating EC2 instance from warm pool: {id}"));
}

#[tokio::test(start_paused = true)]
async fn force_deleting_the_pool_runs_the_hooks_too() {
    let (scene, id) = pooled().await;
    let delete = scene.aws.delete_warm_pool().auto_scaling_group_name(GROUP);
    delete.force_delete(true).send().await.unwrap();
    let deleted = scene.lab.now();
    scene.reaches(&id, "Warmed:Terminating:Wait").await;

    assert_eq!(scene.entered(&id, "Warmed:Terminating:Wait") - deleted, seconds(1));
    let ec2 = scene.lab.world(|world| world.ec2.instance(&id).unwrap().state.as_str());
    assert_eq!(ec2, "stopped", "no command can run there");
    let cause = format!(
        "At T an instance was taken out of service in response to a group deletion.  At T instance {id} was selected \
         for termination."
    );
    assert_eq!(timeless(scene.activities().await[0].cause().unwrap()), cause);
    scene.is_gone(&id).await;
    assert_eq!(moves(&scene, TERMINATE_EVENT), [json!(["WarmPool", "EC2"])]);
}

#[tokio::test(start_paused = true)]
async fn the_pool_holds_what_the_group_could_still_grow_by() {
    let scene = Scene::empty();
    scene.create([]).max_size(5).desired_capacity(2).send().await.unwrap();
    let put = scene.aws.put_warm_pool().auto_scaling_group_name(GROUP).pool_state(WarmPoolState::Running);
    let size = async || {
        scene.sleep(60).await;
        scene.instances(|instance| instance.state == "Warmed:Running").len()
    };

    put.clone().send().await.unwrap();
    assert_eq!(size().await, 3, "up to the group's maximum");
    put.clone().max_group_prepared_capacity(3).send().await.unwrap();
    assert_eq!(size().await, 1, "up to the prepared capacity");
    put.clone().min_size(2).send().await.unwrap();
    assert_eq!(size().await, 2, "at least the pool's minimum");
    put.max_group_prepared_capacity(-1).send().await.unwrap();
    assert_eq!(size().await, 3, "-1 removes the prepared capacity");
}

#[tokio::test(start_paused = true)]
async fn pool_instances_are_described_with_the_pool_and_not_with_the_group() {
    let (scene, id) = pooled().await;

    let pool = scene.aws.describe_warm_pool().auto_scaling_group_name(GROUP).send().await.unwrap();
    let pooled = &pool.instances()[0];
    assert_eq!(
        (pooled.instance_id(), pooled.lifecycle_state().unwrap().as_str()),
        (Some(&*id), "Warmed:Stopped")
    );
    let configuration = pool.warm_pool_configuration().unwrap();
    assert_eq!(configuration.max_group_prepared_capacity(), None);
    assert_eq!(configuration.instance_reuse_policy().unwrap().reuse_on_scale_in(), Some(true));
    let groups = scene.aws.describe_auto_scaling_groups().send().await.unwrap();
    assert!(groups.auto_scaling_groups()[0].instances().is_empty());
    assert_eq!(groups.auto_scaling_groups()[0].warm_pool_size(), Some(1));
    let instances = scene.aws.describe_auto_scaling_instances().send().await.unwrap();
    assert_eq!(instances.auto_scaling_instances()[0].lifecycle_state(), Some("Warmed:Stopped"));

    let terminate = scene.aws.terminate_instance_in_auto_scaling_group().instance_id(&id);
    let refused = refusal(terminate.should_decrement_desired_capacity(false).send().await);
    assert_eq!(refused.0, "ValidationError", "it can't be called on instances in a warm pool");
    assert_eq!(scene.state(&id), "Warmed:Stopped");
}
