//! Groups that keep instances whose termination was abandoned, and the ways out of `Terminating:Retained`.

use aws_sdk_autoscaling::types::{
    InstanceLifecyclePolicy, RetentionAction, RetentionTriggers, builders::LifecycleHookSpecificationBuilder,
};

use crate::scene::*;

/// A group that keeps instances whose termination was abandoned, with one of them in `Terminating:Wait`.
async fn retaining(hook: LifecycleHookSpecificationBuilder) -> (Scene, String) {
    let scene = Scene::empty();
    let create = scene.create([hook]).desired_capacity(1);
    create.instance_lifecycle_policy(policy(RetentionAction::Retain)).send().await.unwrap();
    let id = scene.any_in("InService").await;
    scene.terminate(&id).await;
    scene.reaches(&id, "Terminating:Wait").await;
    (scene, id)
}

/// As [`retaining`], and the instance is retained.
async fn retained() -> (Scene, String) {
    let (scene, id) = retaining(terminating("drain")).await;
    scene.complete("drain", &id, "ABANDON").await.unwrap();
    assert_eq!(scene.state(&id), "Terminating:Retained");
    (scene, id)
}

fn policy(action: RetentionAction) -> InstanceLifecyclePolicy {
    let triggers = RetentionTriggers::builder().terminate_hook_abandon(action).build();
    InstanceLifecyclePolicy::builder().retention_triggers(triggers).build()
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
async fn the_activity_of_a_retained_instance_is_over() {
    let (scene, id) = retaining(terminating("drain")).await;
    let token = scene.wait(&id, "drain").token;
    let waiting = scene.activities().await.into_iter().find(|one| one.description().unwrap().contains(&id));
    scene.complete("drain", &id, "ABANDON").await.unwrap();

    let message = format!(
        "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {token} was abandoned: \
         Lifecycle Action Completed with ABANDON Result"
    );
    let activities = scene.activities().await;
    let ended = activities.iter().find(|one| one.status_message() == Some(&message)).unwrap();
    assert_eq!(ended.cause(), waiting.as_ref().unwrap().cause());
    assert_eq!((ended.status_code().unwrap().as_str(), ended.progress()), ("Cancelled", Some(100)));
    let retained = scene.entered(&id, "Terminating:Retained");
    assert_eq!(ended.end_time().unwrap().secs(), retained.timestamp());
    let described = format!("Terminating EC2 instance: {id}.  Status Reason: {message}");
    assert_eq!(ended.description(), Some(&*described));

    let detail = scene.events("EC2 Instance Terminate Unsuccessful").remove(0)["detail"].take();
    assert_eq!(detail["EC2InstanceId"], id);
    assert_eq!(detail["ActivityId"].as_str(), ended.activity_id());
    assert_eq!(
        [&detail["StatusCode"], &detail["StatusMessage"], &detail["Description"]],
        ["MidTerminatingLifecycleAction", "", &format!("Terminating EC2 instance: {id}")],
        "the event shows the activity as it was"
    );

    let (late, id) = retaining(terminating("drain").default_result("ABANDON")).await;
    late.reaches(&id, "Terminating:Retained").await;
    let activities = late.activities().await;
    assert!(activities.iter().any(|one| {
        one.status_message().is_some_and(|text| text.ends_with("was abandoned: Heartbeat Timeout"))
    }));
}

#[tokio::test(start_paused = true)]
async fn terminating_a_retained_instance_begins_a_new_wait_which_can_be_abandoned_again() {
    let (scene, id) = retained().await;
    let first = scene.events(TERMINATE_EVENT)[0]["detail"]["LifecycleActionToken"].clone();
    scene.sleep(3600).await;

    let terminate = scene.aws.terminate_instance_in_auto_scaling_group().instance_id(&id);
    let answer = terminate.should_decrement_desired_capacity(false).send().await.unwrap().activity.unwrap();
    let asked = scene.lab.now();
    assert_eq!((answer.status_code().unwrap().as_str(), answer.progress()), ("InProgress", Some(0)));
    let cause = format!("At T instance {id} was taken out of service in response to a user request.");
    assert_eq!(timeless(answer.cause().unwrap()), cause);
    assert_eq!(scene.state(&id), "Terminating");
    scene.reaches(&id, "Terminating:Wait").await;
    assert_eq!(scene.entered(&id, "Terminating:Wait") - asked, seconds(1));
    let again = scene.events(TERMINATE_EVENT)[1]["detail"]["LifecycleActionToken"].clone();
    assert_ne!(first, again);

    scene.complete("drain", &id, "ABANDON").await.unwrap();
    assert_eq!(scene.state(&id), "Terminating:Retained");
    scene.terminate(&id).await;
    scene.reaches(&id, "Terminating:Wait").await;
    scene.complete("drain", &id, "CONTINUE").await.unwrap();
    scene.is_gone(&id).await;
    assert_eq!(scene.events(TERMINATE_EVENT).len(), 3);
    assert_eq!(scene.events("EC2 Instance Terminate Unsuccessful").len(), 2);
    assert_eq!(scene.events("EC2 Instance Terminate Successful").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retained_instance_is_not_terminated_while_the_group_shrinks() {
    let (scene, id) = retained().await;

    let terminate = scene.aws.terminate_instance_in_auto_scaling_group().instance_id(&id);
    let refused = refusal(terminate.should_decrement_desired_capacity(true).send().await);

    let text = format!(
        "The instance {id} is in a Retained state and can't be terminated while decreasing desired capacity. To \
         terminate these instances, retry without decreasing the Auto Scaling group's desired capacity."
    );
    assert_eq!(refused, validation(text));
    assert_eq!(scene.state(&id), "Terminating:Retained");
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_of_a_retained_instance_and_what_changes_nothing() {
    let (scene, id) = retained().await;

    let standby = scene.aws.enter_standby().auto_scaling_group_name(GROUP).instance_ids(&id);
    let refused = refusal(standby.should_decrement_desired_capacity(false).send().await);
    assert_eq!(refused, validation(format!("The instance {id} is not in InService.")));
    let protect = scene.aws.set_instance_protection().auto_scaling_group_name(GROUP).instance_ids(&id);
    let refused = refusal(protect.protected_from_scale_in(true).send().await);
    let text = format!("The instance {id} is not in InService or EnteringStandby or Standby.");
    assert_eq!(refused, validation(text));
    let late = refusal(scene.complete("drain", &id, "CONTINUE").await);
    assert_eq!(late, validation(format!("No active Lifecycle Action found with instance ID {id}")));

    scene.aws.set_instance_health().instance_id(&id).health_status("Healthy").send().await.unwrap();
    let update = scene.aws.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    update.instance_lifecycle_policy(policy(RetentionAction::Terminate)).send().await.unwrap();
    scene.sleep(3600).await;
    assert_eq!(scene.state(&id), "Terminating:Retained", "another policy releases nothing");
    let describe = scene.aws.describe_auto_scaling_instances().instance_ids(&id).send().await.unwrap();
    let seen = &describe.auto_scaling_instances()[0];
    assert_eq!((seen.health_status(), seen.protected_from_scale_in()), (Some("HEALTHY"), Some(false)));
}

#[tokio::test(start_paused = true)]
async fn a_retained_instance_can_be_detached_past_no_hook() {
    let (scene, id) = retained().await;
    let detach = scene.aws.detach_instances().auto_scaling_group_name(GROUP).instance_ids(&id);
    detach.should_decrement_desired_capacity(false).send().await.unwrap();
    assert_eq!(scene.state(&id), "Detaching");
    scene.is_gone(&id).await;

    assert_eq!(scene.events(TERMINATE_EVENT).len(), 1);
    let running = scene.lab.world(|world| world.ec2.instance(&id).unwrap().state.as_str());
    assert_eq!(running, "running");
    let causes = scene.causes().await;
    assert!(
        causes.contains(&format!("At T instance {id} was detached in response to a user request.")),
        "{causes:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_that_retains_is_not_force_deleted() {
    let (scene, id) = retained().await;
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true);

    let text = "You can't force delete this Auto Scaling group because the TerminateHookAbandon retention trigger is \
                set to retain. Change the retention trigger to terminate and try again.";
    assert_eq!(refusal(delete.clone().send().await), validation(text));

    let update = scene.aws.update_auto_scaling_group().auto_scaling_group_name(GROUP);
    update.instance_lifecycle_policy(policy(RetentionAction::Terminate)).send().await.unwrap();
    delete.send().await.unwrap();
    scene.reaches(&id, "Terminating:Wait").await;
    scene.complete("drain", &id, "ABANDON").await.unwrap();
    scene.is_gone(&id).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_group_that_retains_is_deleted_without_force_only() {
    let scene = Scene::empty();
    scene.create([]).instance_lifecycle_policy(policy(RetentionAction::Retain)).send().await.unwrap();
    let delete = scene.aws.delete_auto_scaling_group().auto_scaling_group_name(GROUP);

    assert_eq!(refusal(delete.clone().force_delete(true).send().await).0, "ValidationError");
    delete.send().await.unwrap();
}
