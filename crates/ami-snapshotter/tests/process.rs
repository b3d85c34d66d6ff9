//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real
//! clock, so what takes AWS minutes is skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use ami_snapshotter::NAME;
use aws_sdk_autoscaling::Client;
use lifecycle_lab::ec2::Image;
use lifecycle_lab::faults::CallFault::{AccessDenied, KillAfter, KillBefore};
use lifecycle_lab::{Lab, RunError};
use serde_json::{Value, json};
use testkit::Scene;

/// After this an image is in the lists of images.
const IMAGE_LISTED: Duration = Duration::from_millis(600);

/// An instance of the stored group waits in a terminating hook after a health check found it dead, the
/// lab's time is close behind the machine's, and the binary is deployed.
async fn scene(variables: &[(&str, &str)]) -> Scene {
    let lab = Lab::new(testkit::now() - Duration::from_secs(140), 3);
    let variables = [&[("CURRENT_ASG_NAME", "web"), ("TEAM", "fleet")], variables].concat();
    let path = env!("CARGO_BIN_EXE_ami-snapshotter");
    testkit::deploy_binary(&lab, NAME, path, &variables, Duration::from_secs(20));
    let operator = Client::new(&lab.sdk_config("operator"));
    testkit::create_group(&operator, "web", 1, &[("dying", testkit::TERMINATING, 1_800, "ABANDON")]).await;
    lab.skip(Duration::from_secs(60));
    let mut scene = Scene::new(lab, operator, NAME, "web");
    let mut moments = scene.lab.observe();
    scene.fail();
    scene.lab.skip(Duration::from_secs(70));
    scene.event = testkit::lifecycle_event(&mut moments).await;
    scene
}

fn images(scene: &Scene) -> Vec<Image> {
    scene.lab.world(|world| world.ec2.images().into_iter().cloned().collect())
}

fn launch(scene: &Scene, group: &str) -> Value {
    let mut event = scene.event.clone();
    event["detail-type"] = "EC2 Instance-launch Lifecycle Action".into();
    event["detail"]["LifecycleTransition"] = testkit::LAUNCHING.into();
    event["detail"]["AutoScalingGroupName"] = group.into();
    event
}

/// EC2's event of the only image.
fn image_event(scene: &Scene, state: &str) -> Value {
    json!({
        "source": "aws.ec2",
        "detail-type": "EC2 AMI State Change",
        "time": scene.lab.now(),
        "detail": { "ImageId": images(scene)[0].id, "State": state, "RequestId": "1", "ErrorMessage": "" },
    })
}

#[tokio::test]
async fn a_termination_is_imaged_and_released_by_the_images_event() {
    let scene = scene(&[]).await;
    let requested = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!(
        (&requested["outcome"], &requested["cause"]),
        (&json!("image-requested"), &json!("health-check-ec2"))
    );
    scene.lab.skip(IMAGE_LISTED);
    let again = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!((&again["outcome"], &again["image.id"]), (&json!("image-pending"), &requested["image.id"]));
    scene.lab.skip(Duration::from_secs(200));
    assert_eq!(scene.state(), "Terminating:Wait");
    let done = scene.invoke(image_event(&scene, "available")).await.unwrap();
    assert_eq!((&done["outcome"], &done["action.result"]), (&json!("completed"), &json!("CONTINUE")));
    assert_eq!((scene.state(), images(&scene).len()), ("Terminating:Proceed", 1));
    let logs = testkit::logs_with(&scene.lab, &[r#""outcome":"completed""#]).await;
    let token = scene.token();
    assert!(logs.iter().any(|line| line.contains(&token[..8])), "{logs:#?}");
    assert!(!logs.iter().any(|line| line.contains(token)), "{logs:#?}");
}

#[tokio::test]
async fn a_launch_is_stored_and_the_next_process_goes_by_it() {
    let scene = scene(&[("AUTO_SCALING_GROUPS", "web*")]).await;
    testkit::create_group(&scene.operator, "web-2", 1, &[]).await;
    scene.lab.skip(Duration::from_secs(90));
    assert_eq!(scene.invoke(launch(&scene, "web-2")).await.unwrap()["outcome"], "group-stored");
    assert_eq!(scene.invoke(launch(&scene, "web-2")).await.unwrap()["outcome"], "group-unchanged");
    assert_eq!(scene.invoke(launch(&scene, "web")).await.unwrap()["outcome"], "group-unchanged");
    let variables = scene.lab.world(|world| world.functions.get(NAME).unwrap().variables.clone());
    assert_eq!((&*variables["CURRENT_ASG_NAME"], &*variables["TEAM"]), ("web-2", "fleet"));
    // A termination in the old group, which wants no instance any more, is now planned.
    scene.scale_in().await;
    let answer = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!(answer["outcome"], "completed", "{answer}");
    assert!(answer["reason"].as_str().unwrap().starts_with("planned: web-2 is in service"), "{answer}");
    assert!(images(&scene).is_empty());
}

#[tokio::test]
async fn the_sweep_takes_an_image_and_releases_the_instance() {
    let scene = scene(&[]).await;
    let sweep = || scene.invoke(json!({ "action": "reconcile" }));
    assert_eq!(sweep().await.unwrap()["started"], 1);
    scene.lab.skip(IMAGE_LISTED);
    assert_eq!(sweep().await.unwrap()["started"], 0);
    scene.lab.skip(Duration::from_secs(200));
    assert_eq!(sweep().await.unwrap()["completed"], 1);
    assert_eq!((scene.state(), images(&scene).len()), ("Terminating:Proceed", 1));
}

#[tokio::test]
async fn a_refused_image_goes_by_on_failure_and_a_configuration_that_cannot_be_read_is_an_error() {
    let refused = scene(&[("ON_FAILURE", "ABANDON")]).await;
    refused.lab.faults().script("CreateImage", [AccessDenied]);
    let answer = refused.invoke(refused.event.clone()).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["action.result"]), (&json!("completed"), &json!("ABANDON")));
    assert_eq!(answer["failure"], "image-refused", "{answer}");
    let told = r#""failure":"image-refused""#;
    testkit::logs_with(&refused.lab, &[r#""Failures":1"#, told]).await;
    assert!(answer["reason"].as_str().unwrap().contains("UnauthorizedOperation"), "{answer}");

    let denied = scene(&[]).await;
    denied.lab.faults().script("GetFunctionConfiguration", [AccessDenied]);
    let error = denied.invoke(denied.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type(), "AwsError");
    assert!(error.error_message().contains("AccessDeniedException"), "{}", error.error_message());
    assert_eq!(denied.state(), "Terminating:Wait");
}

#[tokio::test]
async fn every_bad_variable_is_named_at_once() {
    let bad = [
        ("NO_REBOOT", "yes"),
        ("COMPLETE_ON", "Available"),
        ("COMPLETE_LAUNCH", "1"),
        ("SKIP_CAUSES", "instance-refresh,sunspots"),
        ("ON_FAILURE", "continue"),
        ("MAX_IMAGES_PER_HOUR", "-1"),
        ("IMAGE_TIMEOUT", "0s"),
        ("IMAGE_RETENTION", "30"),
        ("EXTRA_TAGS", "aws:x=1"),
        ("AUTO_SCALING_GROUPS", "a,,b"),
        ("LIFECYCLE_HOOKS", ""),
    ];
    let scene = scene(&bad).await;
    let error = scene.invoke(scene.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidConfig");
    for (name, _) in bad {
        assert!(error.error_message().contains(&format!("{name}: ")), "{name} in {}", error.error_message());
    }
}

/// Kills the process at each of the calls of a death, before and after AWS has played it, and runs the
/// event again: one image, as without the kill.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_takes_one_image() {
    let undisturbed = scene(&[]).await;
    undisturbed.invoke(undisturbed.event.clone()).await.unwrap();
    let calls: Vec<_> = undisturbed.lab.calls().into_iter().filter(|call| call.caller == NAME).collect();
    // An image is looked for before the group's images are counted, because the time that the scene skipped has made
    // the event a late one.
    assert_eq!(
        calls.iter().map(|call| call.action.as_str()).collect::<Vec<_>>(),
        [
            "DescribeImages",
            "GetFunctionConfiguration",
            "DescribeScalingActivities",
            "DescribeScalingActivities",
            "DescribeImages",
            "DescribeAutoScalingInstances",
            "CreateImage",
        ]
    );
    for nth in 1..=calls.len() as u64 {
        for fault in [KillBefore, KillAfter] {
            let scene = scene(&[]).await;
            scene.lab.faults().at_call(NAME, nth, fault);
            let killed = scene.invoke(scene.event.clone()).await.unwrap_err();
            assert_eq!(killed, RunError::Killed);
            scene.invoke(scene.event.clone()).await.unwrap();
            assert_eq!(images(&scene).len(), 1, "call {nth}, {fault:?}");
        }
    }
}

/// Every sample of `events/ami-snapshotter`, and the outcome where nothing of it is true in AWS.
#[tokio::test]
async fn every_sample_is_dealt_with_as_documented() {
    let samples = [
        ("describe", "described"),
        ("failure-record", "already-finished"),
        ("image-available", "ignored"),
        ("image-deregistered", "ignored"),
        ("image-failed", "ignored"),
        ("launch", "group-unchanged"),
        ("malformed-refused", "InvalidPayload"),
        ("reconcile", "swept"),
        ("replace-root-volume", "already-finished"),
        ("return-to-warm-pool", "already-finished"),
        ("scheduled", "swept"),
        ("sqs-hook-notification", ""),
        ("stopped-refused", "UnsupportedEvent"),
        ("terminate-in-warm-pool", "already-finished"),
        ("terminate", "already-finished"),
    ];
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/ami-snapshotter"));
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, samples.map(|(name, _)| folder.join(name).with_extension("json")));
    let scene = scene(&[]).await;
    for (name, expected) in samples {
        let text = fs::read_to_string(folder.join(name).with_extension("json")).unwrap();
        let outcome = match scene.invoke(serde_json::from_str(&text).unwrap()).await {
            Ok(answer) if answer["batchItemFailures"] == json!([]) => String::new(),
            Ok(answer) => answer["outcome"].as_str().unwrap().to_owned(),
            Err(error) => error.error_type().to_owned(),
        };
        assert_eq!(outcome, expected, "{name}");
    }
}
