//! The rules' patterns, tried with every sample of `events/`: which of them reach which function.

use std::fs;

use expect_test::{Expect, expect};
use lifecycle_lab::ACCOUNT;
use lifecycle_lab::pattern::Pattern;
use serde_json::{Value, json};

use crate::path;
use fleet::template::Template;

/// The hooks of the samples: a stack that answers to all of them.
const HOOKS: (&str, &str) = ("LifecycleHooks", "record-launch,drain,born,dying");

/// Compares the samples that reach the function, each with the rule that lets it through.
fn check(function: &str, parameters: &[(&str, &str)], expected: Expect) {
    let reached: String =
        samples().into_iter().flat_map(|(name, event)| lines(function, parameters, &name, &event)).collect();
    expected.assert_eq(&reached);
}

fn lines(function: &str, parameters: &[(&str, &str)], name: &str, event: &Value) -> Vec<String> {
    let rules = Template::of(function).deploy(parameters).patterns();
    let matching = rules.iter().filter(|(_, pattern)| Pattern::parse(pattern).unwrap().matches(event));
    matching.map(|(rule, _)| format!("{rule}: {name}\n")).collect()
}

/// Every sample that EventBridge delivers: `function/sample`.
fn samples() -> Vec<(String, Value)> {
    let mut samples = Vec::new();
    for folder in fs::read_dir(path("events")).unwrap() {
        let folder = folder.unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().path();
            let sample: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            if sample.get("detail-type").is_some() {
                let (function, name) = (folder.file_name(), file.file_stem().unwrap().to_owned());
                samples.push((format!("{}/{}", function.display(), name.display()), sample));
            }
        }
    }
    samples.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(samples.len() > 20, "only {} samples were found", samples.len());
    samples
}

#[test]
fn launch_logger_gets_launches() {
    check(
        "launch-logger",
        &[("AutoScalingGroups", "web*"), HOOKS],
        expect![[r#"
            LaunchRule: ami-snapshotter/launch
            LaunchRule: launch-logger/launch
            LaunchRule: launch-logger/launch-from-warm-pool
            LaunchRule: launch-logger/launch-into-warm-pool
            LaunchRule: launch-logger/malformed-refused
            LaunchRule: launch-logger/replace-root-volume
            LaunchRule: terminate-drainer/launch
        "#]],
    );
}

#[test]
fn terminate_drainer_gets_both_transitions_and_commands_that_ended() {
    check(
        "terminate-drainer",
        &[("AutoScalingGroups", "web*"), HOOKS],
        expect![[r#"
            LifecycleRule: ami-snapshotter/launch
            LifecycleRule: ami-snapshotter/replace-root-volume
            LifecycleRule: ami-snapshotter/return-to-warm-pool
            LifecycleRule: ami-snapshotter/terminate
            LifecycleRule: ami-snapshotter/terminate-in-warm-pool
            LifecycleRule: ecs-scheduler/lifecycle-event-refused
            LifecycleRule: launch-logger/launch
            LifecycleRule: launch-logger/launch-from-warm-pool
            LifecycleRule: launch-logger/launch-into-warm-pool
            LifecycleRule: launch-logger/malformed-refused
            LifecycleRule: launch-logger/replace-root-volume
            LifecycleRule: launch-logger/terminate-refused
            CommandRule: terminate-drainer/command-success
            CommandRule: terminate-drainer/command-timed-out
            LifecycleRule: terminate-drainer/launch
            LifecycleRule: terminate-drainer/replace-root-volume
            LifecycleRule: terminate-drainer/return-to-warm-pool
            LifecycleRule: terminate-drainer/terminate
        "#]],
    );
}

#[test]
fn ami_snapshotter_gets_both_transitions_and_images_that_ended() {
    check(
        "ami-snapshotter",
        &[("AutoScalingGroups", "web*"), HOOKS],
        expect![[r#"
            ImageRule: ami-snapshotter/image-available
            ImageRule: ami-snapshotter/image-failed
            LifecycleRule: ami-snapshotter/launch
            LifecycleRule: ami-snapshotter/replace-root-volume
            LifecycleRule: ami-snapshotter/return-to-warm-pool
            LifecycleRule: ami-snapshotter/terminate
            LifecycleRule: ami-snapshotter/terminate-in-warm-pool
            LifecycleRule: ecs-scheduler/lifecycle-event-refused
            LifecycleRule: launch-logger/launch
            LifecycleRule: launch-logger/launch-from-warm-pool
            LifecycleRule: launch-logger/launch-into-warm-pool
            LifecycleRule: launch-logger/malformed-refused
            LifecycleRule: launch-logger/replace-root-volume
            LifecycleRule: launch-logger/terminate-refused
            ImageRule: lt-ami-refresher/image-available
            ImageRule: terminate-drainer/ami-refused
            LifecycleRule: terminate-drainer/launch
            LifecycleRule: terminate-drainer/replace-root-volume
            LifecycleRule: terminate-drainer/return-to-warm-pool
            LifecycleRule: terminate-drainer/terminate
        "#]],
    );
}

#[test]
fn lt_ami_refresher_gets_backups_and_copies_that_ended() {
    check(
        "lt-ami-refresher",
        &[("Ec2InstanceName", "web"), ("LaunchTemplateName", "web")],
        expect![[r#"
            BackupRule: lt-ami-refresher/backup-completed
            BackupRule: lt-ami-refresher/copy-completed
        "#]],
    );
}

/// Each backup would be an error, or, with the image of a parameter, mean nothing.
#[test]
fn lt_ami_refresher_gets_events_only_where_they_can_lead_to_a_run() {
    let template = ("LaunchTemplateId", "lt-0123456789abcdef0");
    let incomplete: [&[(&str, &str)]; 6] = [
        &[],
        &[("Ec2InstanceName", "web")],
        &[template],
        &[template, ("ImageTags", "Role=web")],
        &[template, ("ImageSource", "tagged")],
        &[template, ("ImageSource", "ssm:golden"), ("Ec2InstanceName", "web")],
    ];
    for parameters in incomplete {
        check("lt-ami-refresher", parameters, expect![[r#""#]]);
    }
    let complete: [&[(&str, &str)]; 2] = [
        &[template, ("SourceInstanceId", "i-0123456789abcdef0")],
        &[template, ("ImageSource", "tagged"), ("ImageTags", "Role=web")],
    ];
    for parameters in complete {
        check(
            "lt-ami-refresher",
            parameters,
            expect![[r#"
                BackupRule: lt-ami-refresher/backup-completed
                BackupRule: lt-ami-refresher/copy-completed
            "#]],
        );
    }
}

/// EventBridge Scheduler wakes it, not a rule.
#[test]
fn ecs_scheduler_gets_no_event() {
    check("ecs-scheduler", &[("ResourceIds", "service/shop/web")], expect![[r#""#]]);
}

#[test]
fn groups_and_hooks_that_are_not_named_don_t_match() {
    let event = |group: &str, hook: &str| {
        json!({
            "source": "aws.autoscaling",
            "account": ACCOUNT,
            "detail-type": "EC2 Instance-launch Lifecycle Action",
            "detail": { "AutoScalingGroupName": group, "LifecycleHookName": hook },
        })
    };
    for (groups, group, hook, reaches) in [
        ("web, api-*", "web", "launch-logger", true),
        ("web, api-*", "web-2", "launch-logger", false),
        ("web, api-*", "api-2", "launch-logger", true),
        ("web, api-*", "my-api-2", "launch-logger", false),
        ("*", "any group", "launch-logger", true),
        ("*", "any group", "another-hook", false),
    ] {
        let reached = lines("launch-logger", &[("AutoScalingGroups", groups)], "launch", &event(group, hook));
        assert_eq!(!reached.is_empty(), reaches, "{group} and {hook}, of {groups}");
    }
}

#[test]
fn another_document_s_commands_don_t_match() {
    let ended = |document: &str| {
        json!({
            "source": "aws.ssm",
            "account": ACCOUNT,
            "detail-type": "EC2 Command Invocation Status-change Notification",
            "detail": { "document-name": document, "status": "Success" },
        })
    };
    for (document, of_event, reaches) in [
        ("", "AWS-RunShellScript", true),
        ("", "AWS-RunPatchBaseline", false),
        ("Drain", "Drain", true),
        ("Drain", "AWS-RunShellScript", false),
    ] {
        let parameters = [("AutoScalingGroups", "web"), ("SsmDocument", document)];
        let reached = lines("terminate-drainer", &parameters, "ended", &ended(of_event));
        assert_eq!(!reached.is_empty(), reaches, "{of_event}, of {document:?}");
    }
}
