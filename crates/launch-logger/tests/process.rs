//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real
//! clock, so what takes AWS minutes is skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::{NAME, sample, scene_at};
use lifecycle_lab::Outcome;
use lifecycle_lab::faults::CallFault::{AccessDenied, Hang, KillAfter, KillBefore, Throttle};
use serde_json::{Value, json};
use testkit::Scene;

/// A scene with the built binary in its account.
async fn scene(variables: &[(&str, &str)]) -> Scene {
    scene_of(Duration::from_secs(10), variables).await
}

/// The same with another time limit.
async fn scene_of(time_limit: Duration, variables: &[(&str, &str)]) -> Scene {
    let scene = scene_at(testkit::now()).await;
    testkit::deploy_binary(&scene.lab, NAME, env!("CARGO_BIN_EXE_launch-logger"), variables, time_limit);
    scene
}

/// A sample, sent just now.
fn fresh(name: &str, scene: &Scene) -> Value {
    let text = sample(name, scene).to_string();
    let time = testkit::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let text = text.replace("2026-11-21T08:00:00.000Z", &time).replace("2026-11-21T08:00:00Z", &time);
    serde_json::from_str(&text).unwrap()
}

/// What each call to AWS came to.
fn outcomes(scene: &Scene) -> Vec<Outcome> {
    scene.lab.calls().into_iter().filter(|call| call.caller == NAME).map(|call| call.outcome).collect()
}

#[tokio::test]
async fn a_launch_is_recorded_and_continues() {
    let scene = scene(&[]).await;
    let answer = scene.invoke(fresh("launch", &scene)).await.unwrap();
    assert_eq!(answer["outcome"], "completed");
    assert_eq!(answer["action.result"], "CONTINUE");
    assert_eq!(scene.state(), "Pending:Proceed");
    assert_eq!(outcomes(&scene), [Outcome::OK]);
    scene.lab.skip(Duration::from_secs(10));
    assert_eq!(scene.state(), "InService");

    let logs = testkit::logs_with(&scene.lab, &[r#""record":"launch""#, r#""outcome":"completed""#]).await;
    let json_lines: Vec<Value> = logs.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let record = json_lines.iter().find(|line| line["record"] == "launch").unwrap();
    assert_eq!(record["instance.id"], scene.instance.as_str());
    assert_eq!(record["action.id"], scene.token()[..8]);
    let metric = json_lines.iter().find(|line| line["_aws"].is_object()).unwrap();
    assert_eq!((&metric["outcome"], &metric["function"]), (&json!("completed"), &json!(NAME)));
    for line in logs {
        assert!(!line.contains(scene.token()), "a log line holds the whole token: {line}");
    }
}

#[tokio::test]
async fn a_second_delivery_is_a_quiet_success() {
    let scene = scene(&[]).await;
    let payload = fresh("launch", &scene);
    assert_eq!(scene.invoke(payload.clone()).await.unwrap()["outcome"], "completed");
    assert_eq!(scene.invoke(payload).await.unwrap()["outcome"], "already-finished");
    assert_eq!(scene.state(), "InService");
}

#[tokio::test]
async fn two_throttles_cost_two_more_calls() {
    let scene = scene(&[]).await;
    scene.lab.faults().script("CompleteLifecycleAction", [Throttle, Throttle]);
    assert_eq!(scene.invoke(fresh("launch", &scene)).await.unwrap()["outcome"], "completed");
    assert_eq!(
        outcomes(&scene),
        [Outcome::Answered(Err("Throttling")), Outcome::Answered(Err("Throttling")), Outcome::OK]
    );
}

#[tokio::test]
async fn a_denied_call_is_tried_again_by_lambda_and_then_kept() {
    let scene = scene(&[]).await;
    scene.lab.faults().script("CompleteLifecycleAction", [AccessDenied; 3]);
    let lab = scene.lab.clone();
    let payload = fresh("launch", &scene);
    let invocation = tokio::spawn(async move { lab.invoke_async(NAME, payload).await });
    while outcomes(&scene).len() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        scene.lab.skip(Duration::from_secs(5));
    }
    invocation.await.unwrap();
    let [failure] = scene.lab.failures().try_into().unwrap();
    assert_eq!((failure.error.error_type(), failure.attempts), ("AwsError", 3));
    assert!(failure.error.error_message().contains("AccessDenied"), "{}", failure.error.error_message());
}

#[tokio::test]
async fn an_action_that_ended_long_ago_is_asked_for_once() {
    let scene = scene(&[]).await;
    scene.lab.skip(Duration::from_secs(600));
    // `launch.json` itself is older than the thirty seconds within which it would be asked for again.
    let mut payload = sample("launch", &scene);
    payload["time"] = json!(testkit::now() - Duration::from_secs(60));
    assert_eq!(scene.invoke(payload).await.unwrap()["outcome"], "already-finished");
    assert_eq!(outcomes(&scene), [Outcome::Answered(Err("ValidationError"))]);
}

#[tokio::test]
async fn a_malformed_event_is_an_error_and_the_next_one_is_handled() {
    let scene = scene(&[]).await;
    let error = scene.invoke(fresh("malformed-refused", &scene)).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidPayload");
    assert!(error.error_message().starts_with("detail.EC2InstanceId: "), "{}", error.error_message());
    assert!(outcomes(&scene).is_empty());
    assert_eq!(scene.invoke(fresh("launch", &scene)).await.unwrap()["outcome"], "completed");
}

#[tokio::test]
async fn a_bad_configuration_is_an_init_error_that_names_the_variable() {
    let scene = scene(&[("ON_FAILURE", "abandon")]).await;
    let error = scene.invoke(fresh("launch", &scene)).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidConfig");
    assert_eq!(error.error_message(), r#"ON_FAILURE: "abandon" is neither CONTINUE nor ABANDON"#);
    testkit::logs_with(&scene.lab, &["ON_FAILURE"]).await;
    assert_eq!(scene.state(), "Pending:Wait");
}

#[tokio::test]
async fn a_batch_with_one_bad_record_completes_the_good_one() {
    let scene = scene(&[]).await;
    let payload = fresh("sqs-batch-one-bad", &scene);
    let bad = payload["Records"][0]["messageId"].clone();
    let answer = scene.invoke(payload).await.unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": bad }] }));
    assert_eq!(scene.state(), "Pending:Proceed");
}

/// Kills the process at its only call, before and after AWS has played it, and lets Lambda run the event
/// again: AWS ends as without the kill.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_ends_the_same() {
    for fault in [KillBefore, KillAfter] {
        let scene = scene(&[]).await;
        scene.lab.faults().at_call(NAME, 1, fault);
        let lab = scene.lab.clone();
        let payload = fresh("launch", &scene);
        let invocation = tokio::spawn(async move { lab.invoke_async(NAME, payload).await });
        while !invocation.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            scene.lab.skip(Duration::from_secs(1));
        }
        assert!(outcomes(&scene)[0].is_kill(), "{:?}", outcomes(&scene));
        assert!(scene.lab.failures().is_empty(), "{fault:?}");
        scene.lab.skip(Duration::from_secs(10));
        assert_eq!(scene.state(), "InService", "{fault:?}");
    }
}

#[tokio::test]
async fn logs_are_json_where_the_functions_log_format_says_so() {
    let scene = scene(&[("AWS_LAMBDA_LOG_FORMAT", "JSON")]).await;
    scene.invoke(fresh("launch", &scene)).await.unwrap();
    let logs = testkit::logs_with(&scene.lab, &[r#""record":"launch""#, r#""outcome":"completed""#]).await;
    let lines: Vec<Value> = logs.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Nothing besides the record and the line about the event.
    let [record, handled] = lines.as_slice() else { panic!("{lines:#?}") };
    for line in &lines {
        assert_eq!((&line["asg.name"], &line["hook.name"]), (&json!("web"), &json!("record-launch")));
        assert_eq!(line["instance.id"], scene.instance.as_str());
    }
    assert_eq!(record["record"], "launch");
    assert_eq!((&handled["outcome"], &handled["action.result"]), (&json!("completed"), &json!("CONTINUE")));
    assert!(handled["duration_ms"].is_u64());
}

#[tokio::test]
async fn a_call_that_hangs_is_answered_before_the_time_limit() {
    let scene = scene_of(Duration::from_secs(2), &[]).await;
    scene.lab.faults().script("CompleteLifecycleAction", [Hang; 9]);
    let error = scene.invoke(fresh("launch", &scene)).await.unwrap_err();
    assert_eq!(error.error_type(), "Timeout", "not Sandbox.Timedout, which is Lambda's kill");
}

#[tokio::test]
async fn a_name_with_a_line_break_writes_no_log_line_of_its_own() {
    let scene = scene(&[]).await;
    let mut event = fresh("launch", &scene);
    event["detail"]["AutoScalingGroupName"] = json!("web\nERROR forged");
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "already-finished");
    let logs = testkit::logs_with(&scene.lab, &[r#""outcome":"already-finished""#]).await;
    assert!(logs.iter().any(|line| line.contains("forged")), "{logs:?}");
    assert!(!logs.iter().any(|line| line.trim_start().starts_with("ERROR")), "{logs:?}");
}

#[tokio::test]
async fn a_sweep_completes_and_records_what_has_waited_for_a_minute() {
    // The lab is half a minute behind the machine's clock, and catches up: the launch began 87 s before.
    let scene = scene_at(testkit::now() - Duration::from_secs(30)).await;
    let variables = [("AUTO_SCALING_GROUPS", "web"), ("LIFECYCLE_HOOKS", "record-launch")];
    let binary = env!("CARGO_BIN_EXE_launch-logger");
    testkit::deploy_binary(&scene.lab, NAME, binary, &variables, Duration::from_secs(30));
    scene.lab.skip(Duration::from_secs(30));
    let answer = scene.invoke(fresh("scheduled", &scene)).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["completed"]), (&json!("swept"), &json!(1)), "{answer}");
    assert_eq!(scene.state(), "Pending:Proceed");
    let logs = testkit::logs_with(&scene.lab, &[r#""source":"sweep""#, r#""outcome":"swept""#]).await;
    assert!(logs.iter().all(|line| !line.contains("WARN")), "{logs:#?}");
}

#[tokio::test]
async fn an_event_of_another_account_or_region_is_refused_by_the_arn_of_the_function() {
    let scene = scene(&[]).await;
    let error = scene.invoke(fresh("foreign-refused", &scene)).await.unwrap_err();
    assert_eq!(error.error_type(), "UnsupportedEvent");
    for named in ["210987654321", "us-west-2", "123456789012", "us-east-1"] {
        assert!(error.error_message().contains(named), "{}", error.error_message());
    }
    assert!(outcomes(&scene).is_empty());
    assert_eq!(scene.state(), "Pending:Wait");
    // A notification has no Region: its account counts.
    assert_eq!(
        scene.invoke(fresh("sqs-hook-notification", &scene)).await.unwrap(),
        json!({ "batchItemFailures": [] })
    );
    assert_eq!(scene.state(), "Pending:Proceed");
}

#[tokio::test]
async fn an_event_comes_back_from_the_failure_queue_and_from_pipes() {
    for name in ["failure-record", "sqs-failure-record", "pipes"] {
        let scene = scene(&[]).await;
        scene.invoke(fresh(name, &scene)).await.unwrap();
        assert_eq!(scene.state(), "Pending:Proceed", "{name}");
    }
}

#[tokio::test]
async fn a_description_is_the_configuration_of_the_binary() {
    let scene = scene(&[("LIFECYCLE_HOOKS", "record")]).await;
    let expected = json!({
        "outcome": "described", "function": NAME, "version": env!("CARGO_PKG_VERSION"),
        "configuration": { "ON_FAILURE": "ABANDON", "AUTO_SCALING_GROUPS": null, "LIFECYCLE_HOOKS": "record" },
    });
    assert_eq!(scene.invoke(fresh("describe", &scene)).await.unwrap(), expected);
    assert!(outcomes(&scene).is_empty());
}

/// What standard output does not take, the metric of the failure included, is on standard error.
#[tokio::test]
async fn a_launch_that_could_not_be_recorded_is_told_although_standard_output_is_full() {
    let scene = scene_at(testkit::now()).await;
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("full");
    fs::write(&script, format!("#!/bin/sh\nexec {} >/dev/full\n", env!("CARGO_BIN_EXE_launch-logger")))
        .unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    testkit::deploy_binary(&scene.lab, NAME, script.to_str().unwrap(), &[], Duration::from_secs(10));
    let answer = scene.invoke(fresh("launch", &scene)).await.unwrap();
    let answered = ["outcome", "action.result", "failure"].map(|field| answer[field].as_str().unwrap());
    assert_eq!(answered, ["completed", "ABANDON", "not-recorded"]);
    let logs = testkit::logs_with(&scene.lab, &[r#""Failures":1"#, r#""Outcomes":1"#]).await;
    let lines: Vec<Value> = logs.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [warning, handled] = &lines[..] else { panic!("{logs:#?}") };
    assert_eq!((&warning["level"], &warning["failure"]), (&json!("WARN"), &json!("not-recorded")));
    assert_eq!((&handled["level"], &handled["outcome"]), (&json!("INFO"), &json!("completed")));
}
