//! Least privilege, by execution: each function makes every call that it can make, and its template's policy
//! must allow all of them and grant nothing that was not needed.

use std::collections::BTreeSet;

use crate::policy::{Policy, Request};
use crate::requests::{self, group, image, instance, snapshot};
use crate::scenes::{self, LONG_GROUP, Played};
use crate::template::Template;

/// Actions for which AWS knows no resource.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
const UNSCOPED: [&str; 13] = [
    "application-autoscaling:DescribeScalableTargets",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeLifecycleHooks",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeWarmPool",
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ssm:DescribeInstanceInformation",
    "ssm:GetCommandInvocation",
    "ssm:ListCommandInvocations",
];

/// Nothing called is denied, nothing allowed is unused.
fn check(played: &Played) {
    let policy = Policy::of(&played.stack);
    let mut unused = policy.grants();
    let mut denied = BTreeSet::new();
    for call in &played.record.calls {
        for request in requests::of(call, &played.record) {
            let allowing = policy.allow(&request);
            if allowing.is_empty() {
                denied
                    .insert(format!("{} on {} with {:?}", request.action, request.resource, request.context));
            }
            unused.retain(|grant| !allowing.contains(grant));
        }
    }
    assert!(denied.is_empty(), "called, but denied: {denied:#?}");
    assert!(unused.is_empty(), "allowed, but not used: {unused:#?}");
    for action in policy.unscoped() {
        assert!(UNSCOPED.contains(&action.as_str()), "{action} is allowed on every resource");
    }
}

#[tokio::test(start_paused = true)]
async fn launch_logger_may_do_what_it_does() {
    check(&scenes::launches(&[("AutoScalingGroups", "web")]).await);
    check(&scenes::launches(&[("AutoScalingGroups", "we*"), ("OnFailure", "CONTINUE")]).await);
}

#[tokio::test(start_paused = true)]
async fn terminate_drainer_may_do_what_it_does() {
    let groups = format!("web, {LONG_GROUP}");
    for parameters in [
        &[("AutoScalingGroups", groups.as_str())][..],
        &[("AutoScalingGroups", &groups), ("Wait", "poll"), ("SsmDocument", "AWS-RunPowerShellScript")],
    ] {
        check(&scenes::drains(parameters).await);
    }
}

#[tokio::test(start_paused = true)]
async fn ami_snapshotter_may_do_what_it_does() {
    for parameters in [
        &[("AutoScalingGroups", "web")][..],
        &[("AutoScalingGroups", "w*"), ("ImageRetention", "3h"), ("CompleteLaunch", "true")],
    ] {
        check(&scenes::deaths(parameters).await);
    }
}

#[tokio::test(start_paused = true)]
async fn ecs_scheduler_may_do_what_it_does() {
    let services = ("ResourceIds", "service/shop/web, service/shop/api");
    for parameters in [
        &[services][..],
        &[
            services,
            ("WorkingHours", "MON-FRI 09:00-18:00"),
            ("Rolearn", "arn:aws:iam::123456789012:role/scaling"),
        ],
    ] {
        check(&scenes::schedules(parameters).await);
    }
}

#[test]
fn what_is_not_theirs_is_out_of_reach() {
    let of_group = |action, key: &str, name: &str| {
        Request::new(action, instance("i-0123456789abcdef0")).with(key, [name])
    };
    let complete = |name: &str| Request::new("autoscaling:CompleteLifecycleAction", group(name));
    let elsewhere = complete("web").with("aws:RequestedRegion", ["eu-west-1"]);
    let drain = |group| of_group("ssm:SendCommand", "ssm:resourceTag/aws:autoscaling:groupName", group);
    let image_of = |group| of_group("ec2:CreateImage", "aws:ResourceTag/aws:autoscaling:groupName", group);
    let remove = |function| {
        let request = Request::new("ec2:DeregisterImage", image("ami-0123456789abcdef0"));
        request.with("aws:ResourceTag/lifecycle/function", [function])
    };
    let untag = |key| {
        let target = "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/0ec5";
        Request::new("application-autoscaling:UntagResource", target).with("aws:TagKeys", [key])
    };
    let memory = |function| {
        let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:{function}");
        Request::new("lambda:UpdateFunctionConfiguration", arn)
    };
    for (function, request, allowed) in [
        ("launch-logger", complete("web"), true),
        ("launch-logger", complete("web-2"), false),
        ("launch-logger", elsewhere, false),
        ("terminate-drainer", drain("web"), true),
        ("terminate-drainer", drain("web-2"), false),
        ("ami-snapshotter", image_of("web"), true),
        ("ami-snapshotter", image_of("web-2"), false),
        ("ami-snapshotter", memory("ami-snapshotter"), true),
        ("ami-snapshotter", memory("launch-logger"), false),
        ("ami-snapshotter", remove("ami-snapshotter"), true),
        ("ami-snapshotter", remove("another"), false),
        ("ami-snapshotter", Request::new("ec2:DeleteSnapshot", snapshot()), false),
        ("ami-snapshotter", Request::new("ec2:CreateTags", image("ami-0123456789abcdef0")), false),
        ("ecs-scheduler", untag("keep-awake-until"), true),
        ("ecs-scheduler", untag("team"), false),
    ] {
        let parameters: &[(&str, &str)] = match function {
            "ecs-scheduler" => &[("ResourceIds", "service/shop/web")],
            "ami-snapshotter" => &[("AutoScalingGroups", "web"), ("ImageRetention", "30d")],
            _ => &[("AutoScalingGroups", "web")],
        };
        let policy = Policy::of(&Template::of(function).deploy(parameters));
        assert_eq!(!policy.allow(&request).is_empty(), allowed, "{function}: {request:?}");
    }
}
