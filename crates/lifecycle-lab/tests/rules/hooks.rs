//! Hooks themselves: their limits and defaults, their deletion, and what they tell whom.

use aws_sdk_autoscaling::types::LifecycleHook;
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::scene::*;

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:hooks";

async fn described(scene: &Scene, name: &str) -> LifecycleHook {
    let describe = scene.aws.describe_lifecycle_hooks().auto_scaling_group_name(GROUP);
    let hooks = describe.lifecycle_hook_names(name).send().await.unwrap().lifecycle_hooks.unwrap();
    assert_eq!(hooks.len(), 1);
    hooks[0].clone()
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn group_arn(scene: &Scene) -> String {
    scene.lab.world(|world| world.autoscaling.group(GROUP).unwrap().arn.clone())
}

#[tokio::test(start_paused = true)]
async fn the_default_result_is_abandon_and_the_default_timeout_one_hour() {
    let (scene, _) = Scene::in_service(0, []).await;
    let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("drain");
    put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").send().await.unwrap();

    let hook = described(&scene, "drain").await;

    assert_eq!(hook.default_result(), Some("ABANDON"));
    assert_eq!(hook.heartbeat_timeout(), Some(3600));
    assert_eq!(hook.lifecycle_transition(), Some("autoscaling:EC2_INSTANCE_TERMINATING"));
}

#[tokio::test(start_paused = true)]
async fn the_global_timeout_is_48_hours_or_one_hundred_heartbeat_timeouts() {
    let timeouts = [("short", 30, 3000), ("middle", 1728, 172_800), ("long", 7200, 172_800)];
    let hooks = timeouts.map(|(name, timeout, _)| launching(name).heartbeat_timeout(timeout));
    let (scene, _) = Scene::in_service(0, hooks).await;

    for (name, _, global) in timeouts {
        assert_eq!(described(&scene, name).await.global_timeout(), Some(global), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_timeout_is_30_to_7200_seconds() {
    let (scene, _) = Scene::in_service(0, []).await;
    let put = |timeout| {
        let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("boot");
        put.lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING").heartbeat_timeout(timeout).send()
    };

    for timeout in [29, 7201] {
        let text = format!("HeartbeatTimeout must be between 30 and 7200 seconds, not {timeout}");
        assert_eq!(refusal(put(timeout).await), validation(text));
    }
    for timeout in [30, 7200] {
        put(timeout).await.unwrap();
        assert_eq!(described(&scene, "boot").await.heartbeat_timeout(), Some(timeout));
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_has_at_most_50_hooks() {
    let (scene, _) = Scene::in_service(0, (1..=50).map(|n| launching(&format!("hook-{n}")))).await;
    let put = |name: &str| {
        let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name(name);
        put.lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING").send()
    };

    assert_eq!(refusal(put("hook-51").await).0, "LimitExceeded");
    put("hook-50").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn names_of_groups_and_hooks_can_have_255_characters() {
    let scene = Scene::empty();
    let (longest, too_long) = ("n".repeat(255), "n".repeat(256));

    scene.create([launching(&longest)]).auto_scaling_group_name(&longest).send().await.unwrap();

    let group = scene.create([]).auto_scaling_group_name(&too_long).send().await;
    let hook = scene.create([launching(&too_long)]).send().await;
    let named = scene.create([launching("with space")]).send().await;
    for (code, text) in [refusal(group), refusal(hook), refusal(named)] {
        assert_eq!(code, "ValidationError");
        assert!(text.starts_with("1 validation error detected: Value '"), "{text}");
    }
    assert!(scene.lab.world(|world| world.autoscaling.group(GROUP).is_none()), "refused, and yet made");
}

#[tokio::test(start_paused = true)]
async fn changing_a_hook_leaves_what_is_not_passed() {
    let before = launching("boot").default_result("CONTINUE").notification_metadata("blue");
    let (scene, _) = Scene::in_service(0, [before]).await;
    let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("boot");
    put.heartbeat_timeout(60).send().await.unwrap();

    let hook = described(&scene, "boot").await;

    assert_eq!(hook.heartbeat_timeout(), Some(60));
    assert_eq!(hook.lifecycle_transition(), Some("autoscaling:EC2_INSTANCE_LAUNCHING"));
    assert_eq!(hook.default_result(), Some("CONTINUE"));
    assert_eq!(hook.notification_metadata(), Some("blue"));
}

#[tokio::test(start_paused = true)]
async fn a_new_hook_needs_a_transition() {
    let (scene, _) = Scene::in_service(0, []).await;
    let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("boot");

    assert_eq!(refusal(put.send().await).0, "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn a_launching_hook_sends_this_event() {
    let scene = Scene::empty();
    scene.create([launching("boot").notification_metadata("blue")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let wait = scene.wait(&id, "boot");

    let events = scene.events(LAUNCH_EVENT);

    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["id"].as_str().map(str::len), Some(36));
    assert_eq!(
        events[0],
        json!({
            "version": "0",
            "id": events[0]["id"],
            "detail-type": "EC2 Instance-launch Lifecycle Action",
            "source": "aws.autoscaling",
            "account": "123456789012",
            "time": written(wait.started),
            "region": "us-east-1",
            "resources": [group_arn(&scene)],
            "detail": {
                "LifecycleActionToken": wait.token,
                "AutoScalingGroupName": "web",
                "LifecycleHookName": "boot",
                "EC2InstanceId": id,
                "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
                "NotificationMetadata": "blue",
                "Origin": "EC2",
                "Destination": "AutoScalingGroup",
                "Action": "Launch",
            },
        })
    );
    assert_eq!(wait.token.len(), 36);
    assert_eq!(wait.started, scene.entered(&id, "Pending:Wait"));
}

#[tokio::test(start_paused = true)]
async fn a_terminating_hook_sends_this_event() {
    let (scene, ids) = Scene::in_service(1, [terminating("drain")]).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;
    let wait = scene.wait(&ids[0], "drain");

    let events = scene.events(TERMINATE_EVENT);

    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["source"], "aws.autoscaling");
    assert_eq!(events[0]["time"], written(wait.started));
    assert_eq!(events[0]["resources"], json!([group_arn(&scene)]));
    assert_eq!(
        events[0]["detail"],
        json!({
            "LifecycleActionToken": wait.token,
            "AutoScalingGroupName": "web",
            "LifecycleHookName": "drain",
            "EC2InstanceId": ids[0],
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            "Origin": "AutoScalingGroup",
            "Destination": "EC2",
            "Action": "Terminate",
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_hook_with_a_target_notifies_it_instead_of_the_bus() {
    let scene = Scene::empty();
    let hook = launching("boot").notification_target_arn(QUEUE).notification_metadata("blue");
    scene.create([hook]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;
    let wait = scene.wait(&id, "boot");

    let sent = scene.sent();

    assert_eq!(sent.len(), 2, "the test notification and the action: {sent:#?}");
    assert_eq!(sent[1]["RequestId"].as_str().map(str::len), Some(36));
    assert_eq!(
        sent[1],
        json!({
            "LifecycleActionToken": wait.token,
            "AutoScalingGroupName": "web",
            "LifecycleHookName": "boot",
            "EC2InstanceId": id,
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
            "NotificationMetadata": "blue",
            "Origin": "EC2",
            "Destination": "AutoScalingGroup",
            "Action": "Launch",
            "Service": "AWS Auto Scaling",
            "Time": written(wait.started),
            "RequestId": sent[1]["RequestId"],
            "AccountId": "123456789012",
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_gets_a_test_notification_when_it_is_given() {
    let (scene, _) = Scene::in_service(0, []).await;
    let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("drain");
    let put = put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING");

    put.clone().notification_target_arn(QUEUE).send().await.unwrap();
    let sent = scene.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["RequestId"].as_str().map(str::len), Some(36));
    assert_eq!(
        sent[0],
        json!({
            "AccountId": "123456789012",
            "RequestId": sent[0]["RequestId"],
            "AutoScalingGroupARN": group_arn(&scene),
            "AutoScalingGroupName": "web",
            "Service": "AWS Auto Scaling",
            "Event": "autoscaling:TEST_NOTIFICATION",
            "Time": written(scene.called("PutLifecycleHook")),
        })
    );

    put.clone().heartbeat_timeout(60).send().await.unwrap();
    assert_eq!(described(&scene, "drain").await.notification_target_arn(), Some(QUEUE));
    put.notification_target_arn("").send().await.unwrap();
    assert_eq!(described(&scene, "drain").await.notification_target_arn(), None);
    assert_eq!(scene.sent().len(), 1, "only a target that is given is tested");
}

#[tokio::test(start_paused = true)]
async fn deleting_a_launching_hook_abandons_its_actions() {
    let scene = Scene::empty();
    scene.create([launching("boot").default_result("CONTINUE")]).desired_capacity(1).send().await.unwrap();
    let id = scene.any_in("Pending:Wait").await;

    delete(&scene, "boot").await;
    scene.is_gone(&id).await;

    assert_eq!(scene.path(&id), ["Pending", "Pending:Wait", "Terminating", "Terminated"]);
    assert_eq!(scene.entered(&id, "Terminating"), scene.called("DeleteLifecycleHook"));
}

#[tokio::test(start_paused = true)]
async fn deleting_a_terminating_hook_lets_its_actions_continue() {
    let abandoning = terminating("first").default_result("ABANDON");
    let (scene, ids) = Scene::in_service(1, [abandoning, terminating("second")]).await;
    scene.terminate(&ids[0]).await;
    scene.reaches(&ids[0], "Terminating:Wait").await;

    delete(&scene, "first").await;
    scene.sleep(60).await;
    assert_eq!(scene.state(&ids[0]), "Terminating:Wait", "an ABANDON would have stopped the second hook");

    delete(&scene, "second").await;
    scene.is_gone(&ids[0]).await;
    assert_eq!(scene.entered(&ids[0], "Terminating:Proceed"), scene.called("DeleteLifecycleHook"));
}

#[tokio::test(start_paused = true)]
async fn deleting_a_hook_that_is_not_there_is_refused() {
    let (scene, _) = Scene::in_service(0, []).await;
    let delete = scene.aws.delete_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("boot");

    let (code, text) = refusal(delete.send().await);

    assert_eq!(code, "ValidationError");
    assert!(text.starts_with("No Lifecycle Hook found"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_hook_whose_target_is_gone_ends_its_waits_at_once() {
    let boot = launching("boot").notification_target_arn(QUEUE).default_result("CONTINUE");
    let drain = terminating("drain").notification_target_arn(QUEUE).default_result("CONTINUE");
    let (scene, _) = Scene::in_service(0, [boot, drain]).await;
    let sent = scene.sent().len();
    scene.lab.world(|world| world.lose_notification_target(QUEUE));

    scene.set_desired(1).await;
    let id = scene.any_in("InService").await;
    scene.terminate(&id).await;
    scene.is_gone(&id).await;

    let wait = |state, next| scene.entered(&id, next) - scene.entered(&id, state);
    assert_eq!(wait("Pending:Wait", "Pending:Proceed"), seconds(2));
    assert_eq!(wait("Terminating:Wait", "Terminating:Proceed"), seconds(2));
    let hooks = |message: &&serde_json::Value| message.get("LifecycleHookName").is_some();
    assert_eq!(scene.sent()[sent..].iter().filter(hooks).count(), 0, "nothing reaches the target");

    let put = scene.aws.put_lifecycle_hook().auto_scaling_group_name(GROUP).lifecycle_hook_name("again");
    let put = put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").role_arn("role");
    let text = format!(
        "Unable to publish test message to notification target {QUEUE} using IAM role role. Please check your target \
         and role configuration and try to put lifecycle hook again."
    );
    assert_eq!(refusal(put.notification_target_arn(QUEUE).send().await), validation(text));
}

async fn delete(scene: &Scene, hook: &str) {
    let delete = scene.aws.delete_lifecycle_hook().auto_scaling_group_name(GROUP);
    delete.lifecycle_hook_name(hook).send().await.unwrap();
}
