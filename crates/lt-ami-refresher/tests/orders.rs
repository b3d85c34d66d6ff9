//! What a run is told: the variables, a payload's keys in their place, and the news of images.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use expect_test::{Expect, expect};
use lambda_kit::Configuration;
use lambda_kit::Error;
use lt_ami_refresher::Config;
use lt_ami_refresher::order::{Order, Request};
use serde_json::{Value, json};

const COMPLETE: [(&str, &str); 2] =
    [("EC2_INSTANCE_NAME", "web"), ("LAUNCH_TEMPLATE_ID", "lt-0123456789abcdef0")];

fn config(variables: &[(&str, &str)]) -> Result<Config, Error> {
    Config::parse(&variables.iter().copied().collect())
}

fn line(error: &Error) -> String {
    format!("{}: {}", error.name(), error.chain())
}

/// Reads the variables; compares the settings, or the error.
fn check_variables(variables: &[(&str, &str)], expected: Expect) {
    let found = match config(variables) {
        Ok(config) => format!("{:#?}", config.settings),
        Err(error) => line(&error).replace("; ", "\n"),
    };
    expected.assert_eq(&(found + "\n"));
}

/// Reads a payload with these variables.
fn read(variables: &[(&str, &str)], payload: Value) -> Result<Request, Error> {
    Request::read(payload, &config(variables).unwrap())
}

/// The same; compares what an order would change, or what became of it.
fn check(variables: &[(&str, &str)], payload: Value, expected: Expect) {
    let found = match read(variables, payload) {
        Ok(Request::Run(order)) => {
            let Order { template, settings, announced, dry_run } = *order;
            let announced = announced.map(|announced| announced.id);
            let prefixes = settings.prefixes();
            let (images, tags) = (settings.image_source, settings.image_tags);
            let of = [settings.instance, settings.source_instance].map(Option::unwrap_or_default).join(" ");
            let (groups, source) = (settings.security_groups, settings.source);
            let (max_age, keep, refresh) = (settings.max_age, settings.keep, settings.refresh);
            format!(
                "{images} {of} {tags:?} {template:?} announced {announced:?} dry {dry_run}\ngroups {groups:?} prefixes {prefixes:?}\nsource \
                 {source} max age {max_age:?} keep {keep:?} refresh {refresh}"
            )
        }
        Ok(Request::Ignore(why)) => format!("ignored: {why}"),
        Err(error) => line(&error),
    };
    expected.assert_eq(&(found + "\n"));
}

#[test]
fn nothing_is_required_at_the_start() {
    check_variables(
        &[],
        expect![[r#"
            Settings {
                instance: None,
                source_instance: None,
                image_source: AwsBackup,
                image_tags: [],
                template: None,
                security_groups: None,
                prefixes: None,
                source: Default,
                max_age: None,
                keep: None,
                refresh: false,
            }
        "#]],
    );
}

#[test]
fn every_variable_is_read() {
    check_variables(
        &[
            ("EC2_INSTANCE_NAME", "web server"),
            ("SOURCE_INSTANCE_ID", "i-0123456789abcdef0"),
            ("IMAGE_SOURCE", "tagged"),
            ("IMAGE_TAGS", "Role=web, Stage="),
            ("LAUNCH_TEMPLATE_NAME", "web"),
            ("SG_IDS", "sg-1, sg-2,sg-1"),
            ("AMI_NAME_PREFIXES", "nightly-"),
            ("SOURCE_VERSION", "7"),
            ("MAX_IMAGE_AGE", "26h"),
            ("KEEP_VERSIONS", "5"),
            ("INSTANCE_REFRESH", "true"),
        ],
        expect![[r#"
            Settings {
                instance: Some(
                    "web server",
                ),
                source_instance: Some(
                    "i-0123456789abcdef0",
                ),
                image_source: Tagged,
                image_tags: [
                    (
                        "Role",
                        "web",
                    ),
                    (
                        "Stage",
                        "",
                    ),
                ],
                template: Some(
                    Name(
                        "web",
                    ),
                ),
                security_groups: Some(
                    [
                        "sg-1",
                        "sg-2",
                    ],
                ),
                prefixes: Some(
                    [
                        "nightly-",
                    ],
                ),
                source: Number(
                    7,
                ),
                max_age: Some(
                    93600s,
                ),
                keep: Some(
                    5,
                ),
                refresh: true,
            }
        "#]],
    );
}

#[test]
fn every_bad_variable_is_named_at_once() {
    check_variables(
        &[
            ("EC2_INSTANCE_NAME", ""),
            ("SOURCE_INSTANCE_ID", "web"),
            ("IMAGE_SOURCE", "backup"),
            ("IMAGE_TAGS", "Role"),
            ("LAUNCH_TEMPLATE_ID", "web"),
            ("LAUNCH_TEMPLATE_NAME", "web"),
            ("SG_IDS", "sg-1,web"),
            ("AMI_NAME_PREFIXES", "a,,b"),
            ("SOURCE_VERSION", "$default"),
            ("MAX_IMAGE_AGE", "1"),
            ("KEEP_VERSIONS", "-1"),
            ("INSTANCE_REFRESH", "yes"),
        ],
        expect![[r#"
            InvalidConfig: LAUNCH_TEMPLATE_ID: "web" is not the id of a launch template, such as lt-0123456789abcdef0
            LAUNCH_TEMPLATE_NAME: set together with LAUNCH_TEMPLATE_ID: set only one of the two
            EC2_INSTANCE_NAME: is empty
            SOURCE_INSTANCE_ID: "web" is not the id of an instance, such as i-0123456789abcdef0
            IMAGE_SOURCE: "backup" is not aws-backup, tagged or ssm: with the name of a parameter
            IMAGE_TAGS: "Role" is not a key and a value, such as Role=web
            SG_IDS: "web" is not the id of a security group, such as sg-0123456789abcdef0 (names don't work in a VPC)
            AMI_NAME_PREFIXES: "a,,b" has an empty item
            SOURCE_VERSION: "$default" is not $Default, $Latest or a number
            MAX_IMAGE_AGE: "1" is not a duration with a unit, such as 90s, 55m, 2h or 30d
            KEEP_VERSIONS: "-1" is not a number of versions from 1 to 9999
            INSTANCE_REFRESH: "yes" is neither true nor false
        "#]],
    );
}

#[test]
fn sources_of_images_and_numbers_of_versions() {
    let refused = |name: &str, value: &str| config(&[(name, value)]).is_err();
    let source =
        |text| config(&[("IMAGE_SOURCE", text)]).map(|config| config.settings.image_source.to_string());
    for text in ["aws-backup", "tagged", "ssm:golden", "ssm:/aws/service/ami-amazon-linux-latest/al2023:3"] {
        assert_eq!(source(text).unwrap(), text);
    }
    for text in ["", "AWS-Backup", "ssm:", "ssm: golden", "ssm", "ami-1"] {
        assert!(refused("IMAGE_SOURCE", text), "{text:?}");
    }
    for text in ["", "0", "10000", "+1"] {
        assert!(refused("KEEP_VERSIONS", text), "{text:?}");
    }
    for text in ["1", "9999"] {
        assert!(!refused("KEEP_VERSIONS", text), "{text:?}");
    }
    for text in ["", "Role", "=web", "Role=a,", "Role=a,Role=b"] {
        assert!(refused("IMAGE_TAGS", text), "{text:?}");
    }
    let tags = config(&[("IMAGE_TAGS", "Role=a=b")]).unwrap().settings.image_tags;
    assert_eq!(tags, [("Role".to_owned(), "a=b".to_owned())]);
}

/// What is in force without a value of its own.
#[test]
fn the_prefixes_of_aws_backup_are_the_default_for_its_images_only() {
    for (source, expected) in
        [("aws-backup", &["AWSbackup_", "AwsBackup_"][..]), ("tagged", &[]), ("ssm:golden", &[])]
    {
        let read = |variables: &[(&str, &str)]| config(variables).unwrap().settings.prefixes();
        assert_eq!(read(&[("IMAGE_SOURCE", source)]), expected);
        assert_eq!(read(&[("IMAGE_SOURCE", source), ("AMI_NAME_PREFIXES", "a")]), ["a"]);
    }
}

#[test]
fn each_source_of_images_needs_to_know_which_are_meant() {
    for (source, needed) in [
        ("aws-backup", &["instanceName", "sourceInstanceId"][..]),
        ("tagged", &["instanceName", "sourceInstanceId", "imageTags"]),
        ("ssm:golden", &[]),
    ] {
        for key in ["instanceName", "sourceInstanceId", "imageTags"] {
            let value = if key == "sourceInstanceId" { "i-1" } else { "a=b" };
            let mut payload = json!({ "imageSource": source, "launchTemplateName": "web" });
            assert_eq!(read(&[], payload.clone()).is_ok(), needed.is_empty(), "{source}");
            payload[key] = json!(value);
            let expected = needed.is_empty() || needed.contains(&key);
            assert_eq!(read(&[], payload).is_ok(), expected, "{source} with {key}");
        }
    }
}

#[test]
fn source_versions() {
    let parsed = |text| config(&[("SOURCE_VERSION", text)]).map(|config| config.settings.source.to_string());
    for text in ["$Default", "$Latest", "1", "10000"] {
        assert_eq!(parsed(text).unwrap(), text);
    }
    for text in ["", "0", "-1", "+1", "1.5", "Latest", "$LATEST"] {
        assert!(parsed(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_scheduled_event_asks_for_what_the_variables_say() {
    let event = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "time": "2026-11-21T08:00:00Z", "detail": {} });
    check(
        &COMPLETE,
        event,
        expect![[r#"
            aws-backup web  [] Id("lt-0123456789abcdef0") announced None dry false
            groups None prefixes ["AWSbackup_", "AwsBackup_"]
            source $Default max age None keep None refresh false
        "#]],
    );
    check(
        &COMPLETE,
        json!({}),
        expect![[r#"
            aws-backup web  [] Id("lt-0123456789abcdef0") announced None dry false
            groups None prefixes ["AWSbackup_", "AwsBackup_"]
            source $Default max age None keep None refresh false
        "#]],
    );
}

#[test]
fn a_payload_takes_the_place_of_the_variables() {
    let all = json!({
        "instanceName": "api",
        "sourceInstanceId": "i-1",
        "imageSource": "tagged",
        "imageTags": ["Role=web", "Stage=a"],
        "launchTemplateName": "api",
        "securityGroupIds": ["sg-1", "sg-2"],
        "amiNamePrefixes": ["a", "b"],
        "sourceVersion": 3,
        "maxImageAge": "2d",
        "keepVersions": 4,
        "instanceRefresh": true,
        "dryRun": true,
    });
    check(
        &COMPLETE,
        all.clone(),
        expect![[r#"
            tagged api i-1 [("Role", "web"), ("Stage", "a")] Name("api") announced None dry true
            groups Some(["sg-1", "sg-2"]) prefixes ["a", "b"]
            source 3 max age Some(172800s) keep Some(4) refresh true
        "#]],
    );
    check(
        &[],
        all,
        expect![[r#"
            tagged api i-1 [("Role", "web"), ("Stage", "a")] Name("api") announced None dry true
            groups Some(["sg-1", "sg-2"]) prefixes ["a", "b"]
            source 3 max age Some(172800s) keep Some(4) refresh true
        "#]],
    );
    let as_variables = json!({
        "launchTemplateId": "lt-1",
        "securityGroupIds": "sg-1,sg-2",
        "amiNamePrefixes": "a",
        "sourceVersion": "$Latest",
        "keepVersions": "4",
        "instanceRefresh": "true",
        "maxImageAge": null,
    });
    let variables = [("EC2_INSTANCE_NAME", "web"), ("LAUNCH_TEMPLATE_NAME", "web"), ("MAX_IMAGE_AGE", "26h")];
    check(
        &variables,
        as_variables,
        expect![[r#"
            aws-backup web  [] Id("lt-1") announced None dry false
            groups Some(["sg-1", "sg-2"]) prefixes ["a"]
            source $Latest max age Some(93600s) keep Some(4) refresh true
        "#]],
    );
}

#[test]
fn a_wrong_payload_is_refused_by_the_name_of_its_key() {
    for (payload, expected) in [
        (
            json!({ "imageAge": "1d" }),
            expect![[r#"
                InvalidPayload: imageAge: unknown; the keys of a payload are instanceName, sourceInstanceId, imageSource, imageTags, launchTemplateId, launchTemplateName, securityGroupIds, amiNamePrefixes, sourceVersion, maxImageAge, keepVersions, instanceRefresh, dryRun
            "#]],
        ),
        (
            json!({ "Records": [] }),
            expect![[r#"
                InvalidPayload: Records: unknown; the keys of a payload are instanceName, sourceInstanceId, imageSource, imageTags, launchTemplateId, launchTemplateName, securityGroupIds, amiNamePrefixes, sourceVersion, maxImageAge, keepVersions, instanceRefresh, dryRun
            "#]],
        ),
        (
            json!({ "dryRun": "yes" }),
            expect![[r#"
                InvalidPayload: dryRun: is neither true nor false
            "#]],
        ),
        (
            json!({ "imageTags": ["Role"] }),
            expect![[r#"
            InvalidPayload: imageTags: "Role" is not a key and a value, such as Role=web
        "#]],
        ),
        (
            json!({ "instanceName": "" }),
            expect![[r#"
            InvalidPayload: instanceName: is empty
        "#]],
        ),
        (
            json!({ "instanceName": ["web"] }),
            expect![[r#"
            InvalidPayload: instanceName: takes no such list
        "#]],
        ),
        (
            json!({ "keepVersions": true }),
            expect![[r#"
            InvalidPayload: keepVersions: takes no true or false
        "#]],
        ),
        (
            json!({ "keepVersions": 1.5 }),
            expect![[r#"
                InvalidPayload: keepVersions: "1.5" is not a number of versions from 1 to 9999
            "#]],
        ),
        (
            json!({ "instanceRefresh": 1 }),
            expect![[r#"
            InvalidPayload: instanceRefresh: takes no number
        "#]],
        ),
        (
            json!({ "securityGroupIds": [] }),
            expect![[r#"
            InvalidPayload: securityGroupIds: "" has an empty item
        "#]],
        ),
        (
            json!({ "securityGroupIds": [7] }),
            expect![[r#"
            InvalidPayload: securityGroupIds: takes no such list
        "#]],
        ),
        (
            json!({ "sourceVersion": "x", "maxImageAge": "x" }),
            expect![[r#"
                InvalidPayload: sourceVersion: "x" is not $Default, $Latest or a number; maxImageAge: "x" is not a duration with a unit, such as 90s, 55m, 2h or 30d
            "#]],
        ),
        (
            json!({ "launchTemplateId": "lt-1", "launchTemplateName": "web" }),
            expect![[r#"
                InvalidPayload: launchTemplateName: set together with launchTemplateId: set only one of the two
            "#]],
        ),
        (
            json!(["web"]),
            expect![[r#"
            InvalidPayload: .: not a JSON object
        "#]],
        ),
        (
            json!("web"),
            expect![[r#"
            InvalidPayload: .: not a JSON object
        "#]],
        ),
    ] {
        check(&COMPLETE, payload, expected);
    }
}

#[test]
fn what_is_missing_is_named_where_it_can_be_said() {
    let scheduled = json!({ "source": "aws.events", "detail-type": "Scheduled Event", "time": "2026-11-21T08:00:00Z", "detail": {} });
    check(
        &[],
        json!({}),
        expect![[r#"
            InvalidPayload: instanceName or sourceInstanceId: missing, and EC2_INSTANCE_NAME or SOURCE_INSTANCE_ID is not set; launchTemplateId or launchTemplateName: missing, and LAUNCH_TEMPLATE_ID or LAUNCH_TEMPLATE_NAME is not set
        "#]],
    );
    check(
        &[],
        json!({ "instanceName": "web" }),
        expect![[r#"
        InvalidPayload: launchTemplateId or launchTemplateName: missing, and LAUNCH_TEMPLATE_ID or LAUNCH_TEMPLATE_NAME is not set
    "#]],
    );
    check(
        &[],
        scheduled.clone(),
        expect![[r#"
            InvalidConfig: EC2_INSTANCE_NAME or SOURCE_INSTANCE_ID: not set, and this event can't replace it; LAUNCH_TEMPLATE_ID or LAUNCH_TEMPLATE_NAME: not set, and this event can't replace it
        "#]],
    );
    check(
        &[("LAUNCH_TEMPLATE_NAME", "web")],
        scheduled,
        expect![[r#"
            InvalidConfig: EC2_INSTANCE_NAME or SOURCE_INSTANCE_ID: not set, and this event can't replace it
        "#]],
    );
}

fn event(source: &str, kind: &str, resources: &[&str], detail: Value) -> Value {
    json!({
        "source": source,
        "detail-type": kind,
        "time": "2026-11-21T08:00:00Z",
        "resources": resources,
        "detail": detail,
    })
}

#[test]
fn the_news_of_images() {
    let image =
        |state| event("aws.ec2", "EC2 AMI State Change", &[], json!({ "ImageId": "ami-1", "State": state }));
    check(
        &COMPLETE,
        image("available"),
        expect![[r#"
            aws-backup web  [] Id("lt-0123456789abcdef0") announced Some("ami-1") dry false
            groups None prefixes ["AWSbackup_", "AwsBackup_"]
            source $Default max age None keep None refresh false
        "#]],
    );
    check(
        &COMPLETE,
        image("failed"),
        expect![[r#"
        ignored: ami-1 is failed, not available
    "#]],
    );
    check(
        &COMPLETE,
        image("deregistered"),
        expect![[r#"
        ignored: ami-1 is deregistered, not available
    "#]],
    );
    let malformed = event("aws.ec2", "EC2 AMI State Change", &[], json!({ "State": "available" }));
    check(
        &COMPLETE,
        malformed,
        expect![[r#"
        InvalidPayload: detail.ImageId: missing
    "#]],
    );
}

#[test]
fn the_news_of_backup_jobs() {
    let job = |kind: &str, resources: &[&str], state, of: &str, copy: Value| {
        let detail = json!({ "state": state, "resourceType": of, "destinationRecoveryPointArn": copy });
        event("aws.backup", kind, resources, detail)
    };
    let (backup, copy) = ("Backup Job State Change", "Copy Job State Change");
    let ami = ["arn:aws:ec2:us-east-1::image/ami-1"];
    let recovery_point = ["arn:aws:backup:us-east-1:111122223333:recovery-point:1"];
    let other = json!("arn:aws:ec2:us-east-1::image/ami-2");
    for (event, expected) in [
        (
            job(backup, &ami, "COMPLETED", "EC2", Value::Null),
            expect![[r#"
                aws-backup web  [] Id("lt-0123456789abcdef0") announced Some("ami-1") dry false
                groups None prefixes ["AWSbackup_", "AwsBackup_"]
                source $Default max age None keep None refresh false
            "#]],
        ),
        (
            job(backup, &recovery_point, "COMPLETED", "EC2", Value::Null),
            expect![[r#"
                aws-backup web  [] Id("lt-0123456789abcdef0") announced None dry false
                groups None prefixes ["AWSbackup_", "AwsBackup_"]
                source $Default max age None keep None refresh false
            "#]],
        ),
        (
            job(backup, &[], "RUNNING", "EC2", Value::Null),
            expect![[r#"
            ignored: the job is RUNNING, not COMPLETED
        "#]],
        ),
        (
            job(backup, &[], "COMPLETED", "EBS", Value::Null),
            expect![[r#"
            ignored: a backup of EBS makes no image
        "#]],
        ),
        (
            job(copy, &ami, "COMPLETED", "EC2", other),
            expect![[r#"
                aws-backup web  [] Id("lt-0123456789abcdef0") announced Some("ami-2") dry false
                groups None prefixes ["AWSbackup_", "AwsBackup_"]
                source $Default max age None keep None refresh false
            "#]],
        ),
        (
            job(copy, &ami, "FAILED", "EC2", json!({})),
            expect![[r#"
            ignored: the job is FAILED, not COMPLETED
        "#]],
        ),
        (
            job("Restore Job State Change", &ami, "COMPLETED", "EC2", Value::Null),
            expect![[r#"
                UnsupportedEvent: lt-ami-refresher handles scheduled events, payloads of its own, and state changes of images and of backup jobs, not an event "Restore Job State Change" of "aws.backup"; correct the rule that sent it
            "#]],
        ),
    ] {
        check(&COMPLETE, event, expected);
    }
}

#[test]
fn events_that_have_nothing_to_do_with_images_are_refused() {
    let state = event("aws.ec2", "EC2 Instance State-change Notification", &[], json!({}));
    check(
        &COMPLETE,
        state,
        expect![[r#"
            UnsupportedEvent: lt-ami-refresher handles scheduled events, payloads of its own, and state changes of images and of backup jobs, not an event "EC2 Instance State-change Notification" of "aws.ec2"; correct the rule that sent it
        "#]],
    );
}
