//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real
//! clock.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{API, JOBS, LOGS, Scene, WEB, sample};
use ecs_scheduler::NAME;
use lifecycle_lab::faults::CallFault::{Contention, Hang, KillAfter, KillBefore, Throttle};
use lifecycle_lab::{Code, Function, RunError};
use serde_json::{Value, json};

/// The shop at the machine's time, `web` at 2/6 and `api` at 1/4, with the built binary in its account.
async fn scene(variables: &[(&str, &str)]) -> Scene {
    let scene = Scene::at(&testkit::now().to_rfc3339());
    scene.register(WEB, 2, 6).await;
    scene.register(API, 1, 4).await;
    let resources = format!("{WEB},{API}");
    let all = [("RESOURCE_IDS", resources.as_str())].into_iter().chain(variables.iter().copied());
    scene.lab.add_function(Function {
        name: NAME.to_owned(),
        code: Code::Binary {
            path: env!("CARGO_BIN_EXE_ecs-scheduler").into(),
            variables: all.map(|(name, value)| (name.into(), value.into())).collect::<BTreeMap<_, _>>(),
        },
        time_limit: Duration::from_secs(5),
    });
    scene
}

/// In how many lines there is this text.
fn count(logs: &[String], text: &str) -> usize {
    logs.iter().filter(|line| line.contains(text)).count()
}

fn bounds(scene: &Scene) -> [String; 2] {
    [scene.bounds(WEB), scene.bounds(API)]
}

#[tokio::test]
async fn services_sleep_and_wake_as_they_were() {
    let scene = scene(&[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")]).await;
    let stopped = scene.invoke(sample("stop")).await.unwrap();
    assert_eq!((&stopped["outcome"], &stopped["action"]), (&json!("scheduled"), &json!("stop")));
    assert_eq!(bounds(&scene), ["0/0", "0/0"]);
    assert_eq!(scene.memory(WEB).as_deref(), Some("min=2:max=6"));

    let started = scene.invoke(sample("start")).await.unwrap();
    assert_eq!(started["targets"][0]["result"], "started");
    assert_eq!(bounds(&scene), ["2/6", "1/4"]);
    assert_eq!(scene.memory(WEB), None);

    let logs =
        testkit::logs_until(&scene.lab, |logs| count(logs, "handled: ") == 2 && count(logs, "_aws") == 2)
            .await;
    for line in [
        "accepted: stop",
        "service/shop/web: registered as 0/0",
        "service/shop/web: registered as 2/6",
        "handled: scheduled, asked to start: 2 started",
    ] {
        assert_eq!(count(&logs, line), 1, "{line} in {logs:#?}");
    }
    let metric = logs.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let metric: Vec<_> = metric.filter(|line| line["_aws"].is_object()).collect();
    assert_eq!(metric.len(), 2);
    assert_eq!((&metric[0]["outcome"], &metric[0]["function"]), (&json!("scheduled"), &json!(NAME)));
}

#[tokio::test]
async fn a_scheduled_event_means_the_configured_action() {
    let scene = scene(&[("ACTION", "stop")]).await;
    for name in ["scheduled", "scheduler"] {
        assert_eq!(scene.invoke(sample(name)).await.unwrap()["action"], "stop", "{name}");
    }
    assert_eq!(bounds(&scene), ["0/0", "0/0"]);
}

#[tokio::test]
async fn converging_goes_by_the_machines_clock() {
    for (hours, expected) in [("MON-SUN 00:00-24:00", ["2/6", "1/4"]), ("HOLIDAY", ["0/0", "0/0"])] {
        let around: Vec<_> = (-1..=1)
            .map(|days| (testkit::now() + chrono::TimeDelta::days(days)).format("%F").to_string())
            .collect();
        let around = around.join(",");
        let mut variables = vec![("ACTION", "converge"), ("WORKING_HOURS", "MON-SUN 00:00-24:00")];
        if hours == "HOLIDAY" {
            variables.push(("HOLIDAYS", &around));
        }
        let scene = scene(&variables).await;
        let answer = scene.invoke(json!({})).await.unwrap();
        assert_eq!(bounds(&scene), expected, "{answer}");
        let calls = scene.calls().len();
        scene.invoke(json!({})).await.unwrap();
        // The targets, the services, and the tags of both.
        assert_eq!(scene.calls().len(), calls + 4, "the second run looks and has nothing to do");
    }
}

#[tokio::test]
async fn failing_targets_are_named_and_the_others_are_done() {
    let resources = [LOGS, WEB, "service/shop/nowhere", API].join(",");
    let scene = scene(&[("RESOURCE_IDS", &resources)]).await;
    let error = scene.invoke(sample("stop")).await.unwrap_err();
    assert_eq!(error.error_type(), "TargetsFailed");
    for name in [LOGS, "service/shop/nowhere"] {
        assert!(error.error_message().contains(name), "{}", error.error_message());
    }
    assert_eq!(bounds(&scene), ["0/0", "0/0"]);
}

#[tokio::test]
async fn a_busy_aws_is_asked_again_and_a_denied_call_is_an_error() {
    let busy = scene(&[]).await;
    busy.lab.faults().script("DescribeScalableTargets", [Throttle]);
    busy.lab.faults().script("RegisterScalableTarget", [Contention, Throttle]);
    busy.invoke(sample("stop")).await.unwrap();
    assert_eq!(bounds(&busy), ["0/0", "0/0"]);
    let mut refused: Vec<_> = busy.calls().into_iter().filter(|call| !call.ends_with(": ok")).collect();
    // Two targets at a time.
    refused.sort_unstable();
    assert_eq!(
        refused,
        [
            "DescribeScalableTargets: ThrottlingException",
            "RegisterScalableTarget: ConcurrentUpdateException",
            "RegisterScalableTarget: ThrottlingException",
        ]
    );

    let denied = scene(&[]).await;
    denied.lab.faults().deny("TagResource");
    let error = denied.invoke(sample("stop")).await.unwrap_err();
    assert_eq!(error.error_type(), "TargetsFailed");
    assert!(error.error_message().contains("AccessDeniedException"), "{}", error.error_message());
    assert_eq!(bounds(&denied), ["2/6", "1/4"]);
}

#[tokio::test]
async fn a_call_that_hangs_is_answered_before_the_time_limit() {
    let scene = scene(&[]).await;
    scene.lab.faults().script("DescribeScalableTargets", [Hang; 9]);
    let error = scene.invoke(sample("stop")).await.unwrap_err();
    assert_eq!(error.error_type(), "Timeout", "not Sandbox.Timedout, which is Lambda's kill");
}

/// Kills the process at each of its calls, before and after AWS has played it, and runs the event again:
/// targets end as without the kill, and a memory that a start left behind harms no later night.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_ends_the_same() {
    for fault in [KillBefore, KillAfter] {
        // The looks at the targets and at the services, and three calls for each target.
        for nth in 1..=8 {
            let scene = scene(&[]).await;
            scene.lab.faults().at_call(NAME, nth, fault);
            assert_eq!(scene.invoke(sample("stop")).await.unwrap_err(), RunError::Killed);
            scene.invoke(sample("stop")).await.unwrap();
            assert_eq!(bounds(&scene), ["0/0", "0/0"], "call {nth}, {fault:?}");
            assert_eq!(scene.memory(WEB).as_deref(), Some("min=2:max=6"), "call {nth}, {fault:?}");

            let before = scene.calls().len() as u64;
            scene.lab.faults().at_call(NAME, before + nth, fault);
            assert_eq!(scene.invoke(sample("start")).await.unwrap_err(), RunError::Killed);
            scene.invoke(sample("start")).await.unwrap();
            assert_eq!(bounds(&scene), ["2/6", "1/4"], "call {nth}, {fault:?}");
            scene.invoke(sample("stop")).await.unwrap();
            scene.invoke(sample("start")).await.unwrap();
            assert_eq!(bounds(&scene), ["2/6", "1/4"], "call {nth}, {fault:?}");
            assert!(scene.tags(WEB).is_empty() && scene.tags(API).is_empty(), "call {nth}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn every_bad_variable_is_named_at_once_before_the_first_event() {
    let bad = [
        ("RESOURCE_IDS", "shop/web"),
        ("MIN_CAPACITY", "5"),
        ("REMEMBER_CAPACITY", "yes"),
        ("ACTION", "sleep"),
        ("WORKING_HOURS", "weekdays"),
        ("TIMEZONE", "Berlin"),
        ("HOLIDAYS", "Christmas"),
    ];
    let scene = scene(&bad).await;
    let error = scene.invoke(sample("stop")).await.unwrap_err();
    assert_eq!(error.error_type(), "InvalidConfig");
    for (name, _) in bad {
        assert!(error.error_message().contains(&format!("{name}: ")), "{name} in {}", error.error_message());
    }
    assert!(scene.calls().is_empty());
}

#[tokio::test]
async fn hours_that_leave_out_a_minute_are_warned_of() {
    let scene = scene(&[("WORKING_HOURS", "MON 20:00-23:59; TUE 00:00-06:00")]).await;
    scene.invoke(sample("start")).await.unwrap();
    let warning = "WORKING_HOURS: MON 23:59 is outside the working hours for one minute";
    testkit::logs_with(&scene.lab, &[warning]).await;
}

#[tokio::test]
async fn logs_are_json_where_the_functions_log_format_says_so() {
    let scene = scene(&[
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
        ("RESOURCE_IDS", JOBS),
    ])
    .await;
    scene.invoke(sample("stop")).await.unwrap();
    let logs = testkit::logs_until(&scene.lab, |logs| count(logs, "_aws") == 1).await;
    let lines: Vec<Value> = logs.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |text: &str| {
        let found = |line: &&Value| line["message"].as_str().is_some_and(|message| message.starts_with(text));
        lines.iter().find(found).unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"))
    };
    of("accepted: stop");
    let registered = of("service/shop/jobs: registered as 0/0");
    assert_eq!(
        (&registered["resource.id"], &registered["capacity.min"], &registered["capacity.max"]),
        (&json!(JOBS), &json!(0), &json!(0))
    );
    let handled = lines.iter().find(|line| line["_aws"].is_object()).unwrap();
    assert_eq!((&handled["outcome"], handled["duration_ms"].is_u64()), (&json!("scheduled"), true));
}
