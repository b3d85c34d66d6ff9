//! Conversations with AWS, word for word: each test plays one payload and compares every call and the
//! answer. That a call was not made shows too.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::{Setting, create_group};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

const TOKEN: &str = "87654321-4321-4321-4321-210987654321";

/// What differs from run to run of nothing but the lab's seed: ids stay, because the seed is fixed.
fn played(scene: &common::Scene, answer: &Value) -> String {
    format!("{}{answer}\n", scene.lab.transcript(ami_snapshotter::NAME))
}

/// Lets the instance of a scene die of an EC2 health check and plays the event of its wait.
async fn check_termination(setting: Setting, expected: Expect) {
    let scene = Setting { rules: false, ..setting }.scene().await;
    let event = scene.termination().await;
    let answer = scene.invoke(event).await.unwrap();
    expected.assert_eq(&played(&scene, &answer));
}

async fn check_sample(setting: Setting, sample: &str, expected: Expect) {
    let scene = Setting { rules: false, ..setting }.scene().await;
    create_group(&scene.operator, "web-2026", 0, 1_800, false).await;
    let answer = scene.invoke(serde_json::from_str(sample).unwrap()).await;
    let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
    let text = played(&scene, &answer);
    assert!(!answer.to_string().contains(TOKEN), "{answer}");
    expected.assert_eq(&text);
}

#[tokio::test(start_paused = true)]
async fn an_unplanned_termination() {
    check_termination(Setting::default(), expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeScalingActivities
          AutoScalingGroupName=web
          => ok
        POST autoscaling DescribeScalingActivities
          AutoScalingGroupName=web
          Filters.member.1.Name=Status
          Filters.member.1.Values.member.1=Cancelled
          => ok
        POST ec2 DescribeImages
          Filter.1.Name=name
          Filter.1.Value.1=lifecycle/web/*
          Filter.2.Name=creation-date
          Filter.2.Value.1=2026-11-21T*
          Filter.3.Name=tag:lifecycle/function
          Filter.3.Value.1=ami-snapshotter
          IncludeDisabled=true
          Owner.1=self
          => ok
        POST autoscaling DescribeAutoScalingInstances
          InstanceIds.member.1=i-0412a4de2c53d7454
          => ok
        POST ec2 CreateImage
          Description=Taken before i-0412a4de2c53d7454 was terminated: health-check-ec2
          InstanceId=i-0412a4de2c53d7454
          Name=lifecycle/web/i-0412a4de2c53d7454/84aa1604d18a8f58
          NoReboot=true
          TagSpecification.1.ResourceType=image
          TagSpecification.1.Tag.1.Key=lifecycle/function
          TagSpecification.1.Tag.1.Value=ami-snapshotter
          TagSpecification.1.Tag.2.Key=lifecycle/group
          TagSpecification.1.Tag.2.Value=web
          TagSpecification.1.Tag.3.Key=lifecycle/hook
          TagSpecification.1.Tag.3.Value=dying
          TagSpecification.1.Tag.4.Key=lifecycle/instance
          TagSpecification.1.Tag.4.Value=i-0412a4de2c53d7454
          TagSpecification.1.Tag.5.Key=lifecycle/action
          TagSpecification.1.Tag.5.Value=63f8fe17-7f55-44a4-a46d-13fb359a76c9
          TagSpecification.1.Tag.6.Key=lifecycle/cause
          TagSpecification.1.Tag.6.Value=health-check-ec2
          TagSpecification.1.Tag.7.Key=lifecycle/cause-text
          TagSpecification.1.Tag.7.Value=At 2026-11-21T08:01:19Z an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.
          TagSpecification.1.Tag.8.Key=lifecycle/time
          TagSpecification.1.Tag.8.Value=2026-11-21T08:01:24Z
          TagSpecification.2.ResourceType=snapshot
          TagSpecification.2.Tag.1.Key=lifecycle/function
          TagSpecification.2.Tag.1.Value=ami-snapshotter
          TagSpecification.2.Tag.2.Key=lifecycle/group
          TagSpecification.2.Tag.2.Value=web
          TagSpecification.2.Tag.3.Key=lifecycle/hook
          TagSpecification.2.Tag.3.Value=dying
          TagSpecification.2.Tag.4.Key=lifecycle/instance
          TagSpecification.2.Tag.4.Value=i-0412a4de2c53d7454
          TagSpecification.2.Tag.5.Key=lifecycle/action
          TagSpecification.2.Tag.5.Value=63f8fe17-7f55-44a4-a46d-13fb359a76c9
          TagSpecification.2.Tag.6.Key=lifecycle/cause
          TagSpecification.2.Tag.6.Value=health-check-ec2
          TagSpecification.2.Tag.7.Key=lifecycle/cause-text
          TagSpecification.2.Tag.7.Value=At 2026-11-21T08:01:19Z an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.
          TagSpecification.2.Tag.8.Key=lifecycle/time
          TagSpecification.2.Tag.8.Value=2026-11-21T08:01:24Z
          => ok
        {"action.id":"63f8fe17","asg.name":"web","cause":"health-check-ec2","hook.name":"dying","image.id":"ami-09bc3246c7d5b1f08","instance.id":"i-0412a4de2c53d7454","outcome":"image-requested"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_termination_in_a_group_that_was_replaced() {
    let setting = Setting::default().with("CURRENT_ASG_NAME", "web-2").succession();
    let scene = Setting { rules: false, ..setting }.scene().await;
    create_group(&scene.operator, "web-2", 1, 1_800, false).await;
    let event = scene.termination().await;
    scene.scale_in().await;
    let answer = scene.invoke(event).await.unwrap();
    expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=web
          AutoScalingGroupNames.member.2=web-2
          MaxRecords=100
          => ok
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-0412a4de2c53d7454
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=30ab56b6-843e-4f22-8335-531e5ff6006a
          LifecycleHookName=dying
          => ok
        {"action.id":"30ab56b6","action.result":"CONTINUE","asg.name":"web","hook.name":"dying","instance.id":"i-0412a4de2c53d7454","outcome":"completed","reason":"planned: web-2 is in service in place of web"}
    "#]].assert_eq(&played(&scene, &answer));
}

#[tokio::test(start_paused = true)]
async fn a_planned_termination() {
    let setting = Setting::default().with("SKIP_CAUSES", "health-check-ec2");
    check_termination(setting, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeScalingActivities
          AutoScalingGroupName=web
          => ok
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-0412a4de2c53d7454
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=63f8fe17-7f55-44a4-a46d-13fb359a76c9
          LifecycleHookName=dying
          => ok
        {"action.id":"63f8fe17","action.result":"CONTINUE","asg.name":"web","cause":"health-check-ec2","hook.name":"dying","instance.id":"i-0412a4de2c53d7454","outcome":"completed","reason":"planned: health-check-ec2"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_launch() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default().fresh(), sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=web-2026
          MaxRecords=100
          => ok
        PUT lambda UpdateFunctionConfiguration
          Environment.Variables.CURRENT_ASG_NAME=web-2026
          Environment.Variables.TEAM=fleet
          FunctionName=ami-snapshotter
          RevisionId=c4f8a6d3-153c-4ead-b03f-3917744f10b1
          => ok
        {"action.id":"87654321","asg.name":"web-2026","hook.name":"born","instance.id":"i-1234567890abcdef0","outcome":"group-stored"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_launch_of_a_younger_group() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default(), sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=web-2026
          AutoScalingGroupNames.member.2=web
          MaxRecords=100
          => ok
        PUT lambda UpdateFunctionConfiguration
          Environment.Variables.CURRENT_ASG_NAME=web,web-2026
          Environment.Variables.TEAM=fleet
          FunctionName=ami-snapshotter
          RevisionId=c4f8a6d3-153c-4ead-b03f-3917744f10b1
          => ok
        {"action.id":"87654321","asg.name":"web-2026","hook.name":"born","instance.id":"i-1234567890abcdef0","outcome":"group-stored"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_launch_of_a_successor() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default().succession(), sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=web-2026
          AutoScalingGroupNames.member.2=web
          MaxRecords=100
          => ok
        PUT lambda UpdateFunctionConfiguration
          Environment.Variables.AUTO_SCALING_GROUPS=web*
          Environment.Variables.CURRENT_ASG_NAME=web-2026
          Environment.Variables.TEAM=fleet
          FunctionName=ami-snapshotter
          RevisionId=c4f8a6d3-153c-4ead-b03f-3917744f10b1
          => ok
        {"action.id":"87654321","asg.name":"web-2026","hook.name":"born","instance.id":"i-1234567890abcdef0","outcome":"group-stored"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_launch_of_a_group_that_is_not_named() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    let setting = Setting::default().with("AUTO_SCALING_GROUPS", "api");
    check_sample(setting, sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=api
          AutoScalingGroupNames.member.2=web-2026
          AutoScalingGroupNames.member.3=web
          MaxRecords=100
          => ok
        {"action.id":"87654321","asg.name":"web-2026","hook.name":"born","instance.id":"i-1234567890abcdef0","outcome":"group-unchanged","reason":"AUTO_SCALING_GROUPS names neither web-2026 nor another group of its succession"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_root_volume_that_is_replaced() {
    let sample = include_str!("../../../events/ami-snapshotter/replace-root-volume.json");
    check_sample(Setting::default(), sample, expect![[r#"
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-1234567890abcdef0
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=87654321-4321-4321-4321-210987654321
          LifecycleHookName=dying
          => ValidationError
        {"action.id":"87654321","asg.name":"web","hook.name":"dying","instance.id":"i-1234567890abcdef0","outcome":"already-finished","reason":"only the root volume is replaced, and the instance lives on"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_launch_in_the_stored_group() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default().with("CURRENT_ASG_NAME", "web-2026"), sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        {"action.id":"87654321","asg.name":"web-2026","hook.name":"born","instance.id":"i-1234567890abcdef0","outcome":"group-unchanged"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_return_to_the_warm_pool() {
    let sample = include_str!("../../../events/ami-snapshotter/return-to-warm-pool.json");
    check_sample(Setting::default(), sample, expect![[r#"
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-1234567890abcdef0
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=87654321-4321-4321-4321-210987654321
          LifecycleHookName=dying
          => ValidationError
        {"action.id":"87654321","asg.name":"web","hook.name":"dying","instance.id":"i-1234567890abcdef0","outcome":"already-finished","reason":"the instance returns to the warm pool"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_image() {
    let sample = include_str!("../../../events/ami-snapshotter/image-available.json");
    check_sample(
        Setting::default(),
        sample,
        expect![[r#"
            POST ec2 DescribeImages
              ImageId.1=ami-0123456789abcdef0
              IncludeDisabled=true
              Owner.1=self
              => InvalidAMIID.NotFound
            {"image.id":"ami-0123456789abcdef0","outcome":"ignored","reason":"EC2 does not know the image"}
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_deregistered() {
    let sample = include_str!("../../../events/ami-snapshotter/image-deregistered.json");
    check_sample(
        Setting::default(),
        sample,
        expect![[r#"
            {"image.id":"ami-0123456789abcdef0","image.state":"deregistered","outcome":"ignored","reason":"the image is neither available nor failed"}
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_finds_nothing() {
    let sample = include_str!("../../../events/ami-snapshotter/reconcile.json");
    check_sample(Setting::default(), sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=web
          MaxRecords=100
          => ok
        {"already_finished":0,"completed":0,"groups":1,"heartbeats":0,"left":0,"outcome":"swept","started":0,"waiting":0}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_without_a_group() {
    let sample = include_str!("../../../events/ami-snapshotter/scheduled.json");
    check_sample(Setting::default().fresh(), sample, expect![[r#"
        GET lambda GetFunctionConfiguration
          FunctionName=ami-snapshotter
          => ok
        {"already_finished":0,"completed":0,"groups":0,"heartbeats":0,"left":0,"outcome":"swept","started":0,"waiting":0}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_kind() {
    let sample = include_str!("../../../events/ami-snapshotter/stopped-refused.json");
    check_sample(Setting::default(), sample, expect![[r#"
        {"error":{"errorMessage":"ami-snapshotter handles lifecycle actions, state changes of images and scheduled runs, not an event \"EC2 Instance State-change Notification\" of \"aws.ec2\"; correct the rule or the hook that sent it","errorType":"UnsupportedEvent"}}
    "#]]).await;
}
