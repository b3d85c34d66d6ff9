//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real clock, so what
//! takes AWS minutes is skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs;
use std::time::Duration;

use aws_sdk_ec2::types::RequestLaunchTemplateData as Data;
use common::{Scene, available, backup, backup_named, sample};
use lifecycle_lab::faults::CallFault::{AccessDenied, KillAfter, KillBefore};
use lifecycle_lab::{Code, Function, Lab, RunError};
use lt_ami_refresher::NAME;
use serde_json::{Value, json};

/// The scene at the machine's time, with the binary deployed.
async fn scene(variables: &[(&str, &str)]) -> Scene {
    let now = testkit::now();
    let scene = Scene::inside(Lab::new(now, 5), |scene| scene.data()).await;
    let all = [("EC2_INSTANCE_NAME", "web"), ("LAUNCH_TEMPLATE_NAME", "web")].iter().chain(variables);
    scene.lab.add_function(Function {
        name: NAME.to_owned(),
        code: Code::Binary {
            path: env!("CARGO_BIN_EXE_lt-ami-refresher").into(),
            variables: all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        },
        time_limit: Duration::from_secs(30),
    });
    scene
}

/// The outcome of a run, or the name of its error.
async fn outcome(scene: &Scene, payload: Value) -> String {
    match scene.invoke(payload).await {
        Ok(answer) => answer["outcome"].as_str().unwrap().to_owned(),
        Err(error) => error.error_type().to_owned(),
    }
}

#[tokio::test]
async fn the_newest_backup_becomes_the_default_once() {
    let scene = scene(&[]).await;
    assert_eq!(outcome(&scene, sample("scheduled")).await, "version-created");
    assert_eq!(outcome(&scene, sample("scheduled")).await, "up-to-date");
    assert_eq!((scene.default_version(), scene.versions().len()), (2, 2));
    let newest = backup(&scene.lab, scene.lab.now() - Duration::from_secs(60));
    assert_eq!(outcome(&scene, available(&newest, scene.lab.now())).await, "version-created");
    assert_eq!(scene.version(3)["ImageId"], json!(newest));
}

#[tokio::test]
async fn a_payload_says_what_the_variables_do_not() {
    let scene = scene(&[("MAX_IMAGE_AGE", "1h")]).await;
    assert_eq!(outcome(&scene, json!({})).await, "StaleImage");
    let payload = json!({
        "launchTemplateId": scene.template,
        "securityGroupIds": [scene.admin],
        "maxImageAge": "30d",
        "sourceVersion": 1,
        "keepVersions": 1,
        "instanceRefresh": true,
    });
    assert_eq!(outcome(&scene, payload).await, "version-created");
    // The run's source stays.
    assert_eq!(scene.versions(), ["1: OLD", "2: NEW"]);
    assert_eq!(outcome(&scene, json!({ "instanceName": "api" })).await, "NoImageFound");
}

/// The failure that the function exists for, over TCP.
#[tokio::test]
async fn groups_by_name_are_replaced_and_nothing_else_is() {
    let scene = scene(&[]).await;
    let create = scene.ec2.create_launch_template_version().launch_template_id(&scene.template);
    create.launch_template_data(scene.bare().security_groups("web").build()).send().await.unwrap();
    scene.make_default(2).await;
    assert_eq!(outcome(&scene, json!({ "securityGroupIds": [scene.admin] })).await, "version-created");
    let mut expected = scene.version(2);
    expected.as_object_mut().unwrap().remove("SecurityGroup");
    expected["ImageId"] = json!(scene.new);
    expected["SecurityGroupId"] = json!([scene.admin]);
    assert_eq!((scene.default_version(), scene.version(3)), (3, expected));
}

#[tokio::test]
async fn a_template_that_would_fail_is_refused_and_a_denied_call_is_an_error() {
    let scene = scene(&[("SG_IDS", "sg-0123456789abcdef0")]).await;
    let error = scene.invoke(json!({})).await.unwrap_err();
    assert_eq!(
        (error.error_type(), error.error_message().as_str()),
        ("UnusableTemplate", "the security group sg-0123456789abcdef0 does not exist")
    );
    scene.lab.faults().script("CreateLaunchTemplateVersion", [AccessDenied]);
    let error = scene.invoke(json!({ "securityGroupIds": [scene.admin] })).await.unwrap_err();
    assert_eq!(error.error_type(), "AwsError");
    assert!(error.error_message().contains("UnauthorizedOperation"), "{}", error.error_message());
    assert_eq!((scene.default_version(), scene.versions().len()), (1, 1));
}

#[tokio::test]
async fn every_bad_variable_is_named_at_once() {
    let bad = [
        ("EC2_INSTANCE_NAME", ""),
        ("LAUNCH_TEMPLATE_ID", "web"),
        ("SG_IDS", "web"),
        ("AMI_NAME_PREFIXES", ","),
        ("SOURCE_VERSION", "latest"),
        ("MAX_IMAGE_AGE", "1"),
        ("KEEP_VERSIONS", "all"),
        ("INSTANCE_REFRESH", "True"),
    ];
    let scene = scene(&bad).await;
    let error = scene.invoke(json!({})).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidConfig");
    for (name, _) in bad.iter().chain(&[("LAUNCH_TEMPLATE_NAME", "")]) {
        assert!(error.error_message().contains(&format!("{name}: ")), "{name} in {}", error.error_message());
    }
}

/// Kills the process at each of its calls, before and after AWS has played it, and runs the event again: one
/// version, as without the kill.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_makes_one_version() {
    let variables = [("KEEP_VERSIONS", "2"), ("INSTANCE_REFRESH", "true")];
    let prepare = async || {
        let scene = scene(&variables).await;
        scene.add_version(1, Data::builder().key_name("old")).await;
        scene
    };
    let undisturbed = prepare().await;
    undisturbed.invoke(sample("scheduled")).await.unwrap();
    let calls = undisturbed.calls().len() as u64;
    assert_eq!(calls, 11, "{:#?}", undisturbed.calls());
    for nth in 1..=calls {
        for fault in [KillBefore, KillAfter] {
            let scene = prepare().await;
            scene.lab.faults().at_call(NAME, nth, fault);
            let killed = scene.invoke(sample("scheduled")).await.unwrap_err();
            assert_eq!(killed, RunError::Killed);
            scene.invoke(sample("scheduled")).await.unwrap();
            let found = (scene.default_version(), scene.versions());
            assert_eq!(found, (3, vec!["2: OLD".to_owned(), "3: NEW".to_owned()]), "call {nth}, {fault:?}");
        }
    }
}

/// Every sample of `events/lt-ami-refresher`, and the outcome where nothing of it is true in AWS.
#[tokio::test]
async fn every_sample_is_dealt_with_as_documented() {
    let samples = [
        ("backup-completed", "ignored"),
        ("backup-running", "ignored"),
        ("copy-completed", "ignored"),
        ("describe", "described"),
        ("dry-run", "version-created"),
        ("image-available", "ignored"),
        ("image-deregistered", "ignored"),
        ("instance-state-refused", "UnsupportedEvent"),
        ("overrides", "NoImageFound"),
        // The parameter does not exist.
        ("public-parameter", "AwsError"),
        ("scheduled", "version-created"),
        ("unknown-key-refused", "InvalidPayload"),
    ];
    let mut files: Vec<_> =
        testkit::events(NAME).read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, samples.map(|(name, _)| testkit::events(NAME).join(name).with_extension("json")));
    let scene = scene(&[]).await;
    for (name, expected) in samples {
        assert_eq!(outcome(&scene, sample(name)).await, expected, "{name}");
    }
}

#[tokio::test]
async fn no_line_of_the_log_holds_the_user_data() {
    let scene = scene(&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")]).await;
    scene.add_group("pinned", "1", 0).await;
    scene.invoke(json!({})).await.unwrap();
    let logs = testkit::logs_with(&scene.lab, &["handled: version-created", "_aws"]).await;
    assert!(logs.iter().any(|line| line.starts_with("DEBUG")), "{logs:#?}");
    for (text, expected) in [
        ("made version 2 the default of", 1),
        // The warning, and the line about the event.
        ("pinned is pinned to version 1 of", 2),
        ("handled: version-created", 1),
        ("IyEvYmluL3No", 0),
    ] {
        let found = logs.iter().filter(|line| line.contains(text)).count();
        assert_eq!(found, expected, "{text}");
    }
}

/// With a name as AWS Backup gives it, in answer to AWS's event.
#[tokio::test]
async fn the_line_of_an_event_that_ends_well_has_at_most_700_bytes() {
    let scene = scene(&[]).await;
    let name = "AwsBackup_i-0123456789abcdef0_01234567-89ab-cdef-0123-456789abcdef";
    let mut image = backup_named(name, scene.lab.now() - Duration::from_secs(60));
    image.source_instance = Some("i-0123".to_owned());
    let image = scene.lab.world(|world| world.add_image(image));
    for expected in ["version-created", "up-to-date"] {
        assert_eq!(outcome(&scene, available(&image, scene.lab.now())).await, expected);
    }
    let whole = |logs: &[String]| logs.iter().filter(|line| line.contains("_aws")).count() == 2;
    let logs = testkit::logs_until(&scene.lab, whole).await;
    assert!(logs.iter().any(|line| line.contains("EventToCompletion")), "{logs:#?}");
    // With its line break.
    let longest = logs.iter().map(String::len).max().unwrap();
    assert!(longest < 700, "{} bytes: {logs:#?}", longest + 1);
    assert_eq!(logs.len(), 2, "one line for one event: {logs:#?}");
}

/// 5,000 images over 50 pages, the newest on the last: found, and in the memory of one page.
#[tokio::test]
async fn memory_stays_flat_over_fifty_pages() {
    let scene = scene(&[("MARK", "memory-of-the-binary")]).await;
    scene.lab.world(|world| world.ec2.page_size = 100);
    let oldest = scene.lab.now() - Duration::from_secs(86_400 * 2);
    let add = |count| {
        for n in 0..count {
            backup(&scene.lab, oldest - Duration::from_secs(n));
        }
    };
    add(98);
    scene.invoke(json!({})).await.unwrap();
    let one_page = peak_memory("MARK=memory-of-the-binary");
    add(4_899);
    let mut newest = backup_named("AwsBackup_newest", scene.lab.now() - Duration::from_secs(60));
    // Pages come in the order of ids.
    newest.id = "ami-fffffffffffffffff".to_owned();
    scene.lab.world(|world| world.add_image(newest));
    scene.invoke(json!({})).await.unwrap();
    assert_eq!(scene.version(3)["ImageId"], "ami-fffffffffffffffff");
    assert_eq!(scene.calls().iter().filter(|call| *call == "DescribeImages: ok").count(), 51);
    let fifty_pages = peak_memory("MARK=memory-of-the-binary");
    println!("peak memory: {one_page} KiB with one page of images, {fifty_pages} KiB with fifty");
    assert!(fifty_pages < one_page + 1_024, "{fifty_pages} KiB, and {one_page} KiB with one page");
}

/// The peak memory, in KiB, of the process with this variable.
fn peak_memory(variable: &str) -> u64 {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |process: &std::path::PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|line| line == variable.as_bytes())
    };
    let process = processes.into_iter().find(is_ours).unwrap();
    let status = fs::read_to_string(process.join("status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim_end_matches("kB").trim().parse().unwrap()
}
