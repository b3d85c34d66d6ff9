//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real
//! clock, so what takes AWS minutes is skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use lifecycle_lab::faults::CallFault::{AccessDenied, KillAfter, KillBefore};
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{Lab, RunError};
use serde_json::{Value, json};
use terminate_drainer::NAME;
use testkit::Scene;

const STATUS_EVENT: &str = "EC2 Command Invocation Status-change Notification";

/// An instance waits in a terminating hook, the lab's time is close behind the machine's, and the binary
/// is deployed.
async fn scene(variables: &[(&str, &str)], seconds: u64) -> Scene {
    let lab = Lab::new(testkit::now() - Duration::from_secs(140), 3);
    lab.world(|world| {
        world.run_command.default_script =
            Script { duration: Duration::from_secs(seconds), ..Script::default() };
    });
    let path = env!("CARGO_BIN_EXE_terminate-drainer");
    testkit::deploy_binary(&lab, NAME, path, variables, Duration::from_secs(20));
    let operator = Client::new(&lab.sdk_config("operator"));
    testkit::create_group(&operator, "web", 1, &[("drain", testkit::TERMINATING, 3_600, "ABANDON")]).await;
    lab.skip(Duration::from_secs(80));
    let mut scene = Scene::new(lab, operator, NAME, "web");
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    scene.lab.skip(Duration::from_secs(40));
    scene.event = testkit::lifecycle_event(&mut moments).await;
    scene
}

fn commands(scene: &Scene) -> usize {
    scene.lab.world(|world| world.run_command.commands().len())
}

/// The event of the end of the only command.
fn ended(scene: &Scene) -> Value {
    let command = scene.lab.world(|world| world.run_command.commands()[0].id.clone());
    json!({
        "source": "aws.ssm",
        "detail-type": STATUS_EVENT,
        "time": scene.lab.now(),
        "detail": { "command-id": command, "document-name": "AWS-RunShellScript", "instance-id": scene.instance, "status": "Success" },
    })
}

#[tokio::test]
async fn a_drain_is_started_by_its_event_and_finished_by_the_commands_end() {
    let scene = scene(&[], 60).await;
    let sent = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!(sent["outcome"], "command-sent");
    let again = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!((&again["outcome"], &again["command.id"]), (&json!("command-running"), &sent["command.id"]));
    scene.lab.skip(Duration::from_secs(70));
    assert_eq!(scene.state(), "Terminating:Wait");
    let done = scene.invoke(ended(&scene)).await.unwrap();
    assert_eq!(
        (&done["outcome"], &done["action.result"], &done["exit_code"]),
        (&json!("completed"), &json!("CONTINUE"), &json!(0))
    );
    assert_eq!((scene.state(), commands(&scene)), ("Terminating:Proceed", 1));
    let logs = testkit::logs_with(&scene.lab, &[r#""outcome":"completed""#]).await;
    let token = scene.token();
    assert!(logs.iter().any(|line| line.contains(&token[..8])), "{logs:#?}");
    assert!(!logs.iter().any(|line| line.contains(token)), "{logs:#?}");
}

#[tokio::test]
async fn polling_finishes_in_one_run() {
    let scene = scene(&[("WAIT", "poll")], 2).await;
    let done = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!((&done["outcome"], &done["command.status"]), (&json!("completed"), &json!("Success")));
}

#[tokio::test]
async fn the_sweep_starts_and_finishes() {
    let scene = scene(&[("AUTO_SCALING_GROUPS", "w*")], 60).await;
    let sweep = || scene.invoke(json!({ "action": "reconcile" }));
    assert_eq!(sweep().await.unwrap()["started"], 1);
    let second = sweep().await.unwrap();
    assert_eq!(
        (&second["waiting"], &second["started"], &second["completed"]),
        (&json!(1), &json!(0), &json!(0))
    );
    scene.lab.skip(Duration::from_secs(70));
    assert_eq!(sweep().await.unwrap()["completed"], 1);
    assert_eq!((scene.state(), commands(&scene)), ("Terminating:Proceed", 1));
}

#[tokio::test]
async fn an_instance_without_an_agent_is_released_and_a_denied_call_is_an_error() {
    let unreachable = scene(&[("ON_UNREACHABLE", "ABANDON")], 60).await;
    unreachable.lab.world(|world| world.run_command.set_agent(&unreachable.instance, Ping::Unregistered));
    let answer = unreachable.invoke(unreachable.event.clone()).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["action.result"]), (&json!("completed"), &json!("ABANDON")));

    let denied = scene(&[], 60).await;
    denied.lab.faults().script("SendCommand", [AccessDenied]);
    let error = denied.invoke(denied.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type(), "AwsError");
    assert!(error.error_message().contains("AccessDeniedException"), "{}", error.error_message());
    assert_eq!(denied.state(), "Terminating:Wait");
}

#[tokio::test]
async fn every_bad_variable_is_named_at_once() {
    let bad = [
        ("DRAIN_COMMANDS", " "),
        ("DOCUMENT_PARAMETERS", "commands,Group"),
        ("DRAIN_TIMEOUT", "4s"),
        ("DELIVERY_TIMEOUT", "10s"),
        ("REGISTRATION_TIMEOUT", "10"),
        ("WAIT", "Poll"),
        ("ON_FAILURE", "continue"),
        ("AUTO_SCALING_GROUPS", "a,,b"),
    ];
    let scene = scene(&bad, 60).await;
    let error = scene.invoke(scene.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidConfig");
    for (name, _) in bad {
        assert!(error.error_message().contains(&format!("{name}: ")), "{name} in {}", error.error_message());
    }
}

/// Kills the process at each of the calls that start a drain, before and after AWS has played it, and
/// runs the event again: one command, as without the kill.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_sends_one_command() {
    let undisturbed = scene(&[], 60).await;
    undisturbed.invoke(undisturbed.event.clone()).await.unwrap();
    let calls = undisturbed.calls().len() as u64;
    assert!(calls >= 4);
    for nth in 1..=calls {
        for fault in [KillBefore, KillAfter] {
            let scene = scene(&[], 60).await;
            scene.lab.faults().at_call(NAME, nth, fault);
            let killed = scene.invoke(scene.event.clone()).await.unwrap_err();
            assert_eq!(killed, RunError::Killed);
            // Lambda runs it again after about a minute. By then Run Command lists the command.
            scene.lab.skip(Duration::from_secs(2));
            scene.invoke(scene.event.clone()).await.unwrap();
            assert_eq!(commands(&scene), 1, "call {nth}, {fault:?}");
        }
    }
}

/// Every sample of `events/terminate-drainer`, and the outcome where nothing of it is true in AWS.
#[tokio::test]
async fn every_sample_is_dealt_with_as_documented() {
    let samples = [
        ("ami-refused", "UnsupportedEvent"),
        ("command-in-progress", "ignored"),
        ("command-success", "Timeout"),
        ("command-timed-out", "Timeout"),
        ("describe", "described"),
        ("failure-record", "already-finished"),
        ("foreign-refused", "UnsupportedEvent"),
        ("launch", "already-finished"),
        ("malformed-refused", "InvalidPayload"),
        ("reconcile", "swept"),
        ("replace-root-volume", "already-finished"),
        ("return-to-warm-pool", "already-finished"),
        ("scheduled", "swept"),
        ("sqs-hook-notification", ""),
        ("terminate", "already-finished"),
    ];
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/terminate-drainer"));
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, samples.map(|(name, _)| folder.join(name).with_extension("json")));
    let scene = scene(&[], 60).await;
    for (name, expected) in samples {
        let text = fs::read_to_string(folder.join(name).with_extension("json")).unwrap();
        let outcome = match scene.invoke(serde_json::from_str(&text).unwrap()).await {
            Ok(answer) if answer["batchItemFailures"] == json!([]) => String::new(),
            Ok(answer) => answer["outcome"].as_str().unwrap().to_owned(),
            Err(error) => error.error_type().to_owned(),
        };
        assert_eq!(outcome, expected, "{name}");
    }
    assert_eq!((commands(&scene), scene.state()), (0, "Terminating:Wait"));
}

#[tokio::test]
async fn timers_that_cannot_work_are_warned_about_once_and_output_stays_out_of_the_log() {
    let scene = scene(&[("DRAIN_TIMEOUT", "48h")], 8).await;
    scene.lab.world(|world| world.run_command.default_script.output = "the password".to_owned());
    scene.invoke(scene.event.clone()).await.unwrap();
    scene.invoke(scene.event.clone()).await.unwrap();
    scene.lab.skip(Duration::from_secs(10));
    assert_eq!(scene.invoke(ended(&scene)).await.unwrap()["outcome"], "completed");
    let logs = testkit::logs_with(&scene.lab, &[r#""exit_code":0"#, r#""outcome":"completed""#]).await;
    let warnings: Vec<_> =
        logs.iter().filter(|line| line.contains("drain of web: DELIVERY_TIMEOUT 120 s")).collect();
    assert_eq!(warnings.len(), 1, "{logs:#?}");
    assert!(warnings[0].contains("is longer than the hook's global timeout of 172800 s"), "{}", warnings[0]);
    assert!(!logs.iter().any(|line| line.contains("the password")), "{logs:#?}");
}
