//! What once went wrong: waits held for nothing, commands that never end or never arrive, silent agents, busy
//! accounts, forged commands, false alarms. Each case says what is answered and what is told.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use aws_sdk_autoscaling::types::{InstanceLifecyclePolicy, RetentionAction, RetentionTriggers};
use aws_sdk_ssm::Client as Ssm;
use common::{LAUNCH_EVENT, LIFECYCLE_EVENT, STATUS_EVENT, Setting, commands};
use lambda_kit::{Invocation, Output};
use lifecycle_lab::What;
use lifecycle_lab::faults::CallFault::{AccessDenied, Hang, Refused, Throttle};
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::{Document, Ping, Script, Step};
use serde_json::{Value, json};
use terminate_drainer::{Context, NAME};
use testkit::{LAUNCHING, Scene};
use tokio::sync::mpsc::unbounded_channel;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn takes(seconds: u64) -> Script {
    Script { duration: Duration::from_secs(seconds), ..Script::default() }
}

fn sweep() -> Value {
    json!({ "action": "reconcile" })
}

/// A hook at launch, which the sweep serves each minute.
fn launching(heartbeat: i32) -> Setting {
    let setting = Setting { transition: LAUNCHING, heartbeat, script: takes(5), ..Setting::default() };
    let setting = setting.with("LIFECYCLE_HOOKS", "drain").swept();
    Setting { sweep: Some(MINUTE), ..setting }
}

/// The lines that the function wrote, after everything that was sent has been read.
async fn lines(scene: &Scene) -> Vec<Value> {
    scene.lab.sleep(Duration::from_millis(1)).await;
    scene.lab.logs().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The outcomes of the function's runs, in order; of an error its name.
async fn outcomes(scene: &Scene) -> Vec<String> {
    let lines = lines(scene).await;
    lines.iter().filter_map(|line| Some(line["outcome"].as_str()?.to_owned())).collect()
}

/// The failures that the function told, in order. Each is a warning that is a metric.
async fn failures(scene: &Scene) -> Vec<String> {
    let lines = lines(scene).await;
    assert!(lines.iter().any(|line| line["outcome"].is_string()), "the function has written nothing");
    let told = lines.iter().filter(|line| line["Failures"] == 1);
    let words = told.map(|line| {
        assert_eq!((&line["level"], &line["function"]), (&json!("WARN"), &json!(NAME)), "{line}");
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"], "Failures", "{line}");
        line["failure"].as_str().unwrap().to_owned()
    });
    words.collect()
}

fn count(scene: &Scene, call: &str) -> usize {
    scene.calls().iter().filter(|made| made.starts_with(call)).count()
}

/// Scales in; returns as soon as the command was sent.
async fn drain_begins(scene: &Scene) {
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    while !matches!(moments.recv().await.unwrap().what, What::Called(call) if call.action == "SendCommand") {}
}

fn set_agent(scene: &Scene, ping: Ping) {
    scene.lab.world(|world| world.run_command.set_agent(&scene.instance, ping));
}

/// The comments of the commands on the instance, without their tokens.
fn comments(scene: &Scene) -> Vec<String> {
    scene.lab.world(|world| {
        let sent = world.run_command.invocations(&scene.instance);
        sent.map(|(command, _)| command.comment.split(' ').next().unwrap().to_owned()).collect()
    })
}

#[tokio::test(start_paused = true)]
async fn nothing_is_prolonged_for_a_command_that_cannot_be_sent() {
    let faults = ["InvalidDocument", "UnsupportedPlatformType", "MaxDocumentSizeExceeded"].map(Refused);
    for fault in faults.into_iter().chain([AccessDenied, Throttle, Hang]) {
        let setting = Setting::default().with("ON_FAILURE", "ABANDON").with("AUTO_SCALING_GROUPS", "web");
        let scene = setting.scene().await;
        scene.lab.faults().always("SendCommand", Some(fault));
        scene.scale_in().await;
        scene.waits().await;
        let began = scene.lab.now();
        let mut answers = Vec::new();
        while scene.state() == "Terminating:Wait" {
            scene.lab.sleep(5 * MINUTE).await;
            answers.push(scene.invoke(sweep()).await);
        }
        let waited = (scene.lab.now() - began).num_seconds();
        assert!((3_000..3_600).contains(&waited), "{fault:?}: {waited} s");
        assert_eq!(scene.completions(), ["ABANDON"], "{fault:?}: by policy, before the hook's timeout");
        assert_eq!(count(&scene, "RecordLifecycleActionHeartbeat"), 0, "{fault:?}");
        let last = answers.pop().unwrap().unwrap();
        assert_eq!((&last["failures"], &last["completed"]), (&json!({ "drain-failed": 1 }), &json!(1)));
        // While nothing else succeeds, a sweep is an error.
        assert!(answers.iter().all(Result::is_err), "{fault:?}: {answers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_fails_is_told_although_others_succeed() {
    let setting = Setting::default().with("AUTO_SCALING_GROUPS", "web,api");
    let scene = setting.scene().await;
    testkit::create_group(&scene.operator, "api", 1, &[("drain", testkit::TERMINATING, 3_600, "CONTINUE")])
        .await;
    scene.lab.sleep(2 * MINUTE).await;
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost; 2]);
    scene.scale_in().await;
    testkit::resize(&scene.operator, "api", 0).await;
    scene.lab.sleep(MINUTE).await;
    scene.lab.faults().script("SendCommand", [Refused("InvalidDocument")]);
    let answer = scene.invoke(sweep()).await.unwrap();
    assert_eq!((&answer["started"], &answer["failures"]), (&json!(1), &json!({ "sweep-incomplete": 1 })));
    assert!(failures(&scene).await.contains(&"sweep-incomplete".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_command_of_which_nothing_more_is_heard_ends_by_the_functions_own_clock() {
    let setting = Setting { script: takes(200), ..Setting::default() }.with("DRAIN_TIMEOUT", "5m");
    let scene = setting.with("ON_FAILURE", "ABANDON").swept().scene().await;
    drain_begins(&scene).await;
    scene.lab.sleep(MINUTE).await;
    scene.lab.world(|world| world.restart_agent(&scene.instance));
    let waited = scene.released(4 * HOUR).await.unwrap();
    // Delivery 2 min, drain 5 min, 5 min more, and the sweep's 5 min; a minute is over.
    assert!((650..980).contains(&waited), "{waited} s");
    assert_eq!((scene.completions(), commands(&scene).len()), (vec!["ABANDON".to_owned()], 1));
    assert_eq!(failures(&scene).await, ["drain-failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_account_costs_a_sweep_nothing() {
    let setting =
        Setting { heartbeat: 1_200, script: takes(40_000), time_limit: MINUTE, ..Setting::default() };
    let scene = setting.with("DRAIN_TIMEOUT", "12h").swept().scene().await;
    scene.lab.world(|world| {
        world.delays.page = Duration::from_millis(80);
        let now = world.now();
        let end = now + Duration::from_secs(40_000);
        world.run_command.add_foreign_commands("AWS-RunShellScript", 40_000, now, end);
    });
    scene.scale_in().await;
    let waited = scene.released(20 * HOUR).await.unwrap();
    assert!((40_000..40_030).contains(&waited), "{waited} s");
    assert_eq!((scene.completions(), failures(&scene).await.len()), (vec!["CONTINUE".to_owned()], 0));
    let swept: Vec<_> = lines(&scene).await.into_iter().filter(|line| line["outcome"] == "swept").collect();
    assert!(swept.len() > 120, "{} sweeps", swept.len());
    for line in swept {
        let calls: u64 = line["calls"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert!(calls <= 8, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_hangs_costs_no_other_wait_its_heartbeat() {
    let setting =
        Setting { heartbeat: 1_200, script: takes(7_000), time_limit: MINUTE, ..Setting::default() };
    let scene = setting.with("DRAIN_TIMEOUT", "3h").with("AUTO_SCALING_GROUPS", "web").scene().await;
    let grow = scene.operator.update_auto_scaling_group().auto_scaling_group_name("web").max_size(20);
    grow.desired_capacity(20).send().await.unwrap();
    scene.lab.sleep(5 * MINUTE).await;
    scene.scale_in().await;
    scene.lab.sleep(5 * MINUTE).await;
    scene.lab.faults().script("ListCommandInvocations", [Hang; 9]);
    let answer = scene.invoke(sweep()).await.unwrap();
    assert!(answer["heartbeats"].as_u64().unwrap() >= 15, "{answer}");
    assert!(answer["failures"]["sweep-incomplete"].as_u64().unwrap() >= 1, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn what_no_agent_picks_up_is_cancelled_and_sent_once_more_by_the_sweep() {
    for (comes_back, expected) in [(true, "CONTINUE"), (false, "ABANDON")] {
        let setting = Setting::default().with("ON_UNREACHABLE", "ABANDON").swept();
        let scene = Setting { sweep: Some(MINUTE), ..setting }.scene().await;
        drain_begins(&scene).await;
        set_agent(&scene, Ping::Silent);
        scene.lab.sleep(200 * MINUTE / 60).await;
        assert_eq!(comments(&scene), ["terminating", "terminating-again"], "{:#?}", scene.calls());
        if comes_back {
            set_agent(&scene, Ping::Online);
        }
        let waited = scene.released(HOUR).await.unwrap();
        assert!(waited < 200, "{waited} s");
        assert_eq!((scene.completions(), count(&scene, "CancelCommand")), (vec![expected.to_owned()], 1));
        let ran = scene.lab.world(|world| {
            let sent = world.run_command.invocations(&scene.instance);
            sent.filter(|(_, run)| run.started.is_some()).count()
        });
        assert_eq!(ran, usize::from(comes_back), "one of the two runs, or none");
        let told: &[&str] = if comes_back { &[] } else { &["unreachable"] };
        assert_eq!(failures(&scene).await, told);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_sweep_the_status_event_sends_once_more() {
    for (ends, first_end) in [("Undeliverable", 5), ("DeliveryTimedOut", 440)] {
        let script = Script { ends: Some(ends), ..takes(30) };
        let setting = Setting { script, ..Setting::default() }.with("DRAIN_TIMEOUT", "5m");
        let scene = setting.with("ON_UNREACHABLE", "ABANDON").scene().await;
        drain_begins(&scene).await;
        scene.lab.sleep(Duration::from_secs(first_end)).await;
        assert_eq!(comments(&scene), ["terminating", "terminating-again"], "{ends}: {:#?}", scene.calls());
        let beats = count(&scene, "RecordLifecycleActionHeartbeat: ok");
        assert_eq!(
            beats,
            usize::from(first_end > 30),
            "{ends}: the second command gets the hook's whole time"
        );
        assert!(scene.lab.until(HOUR, |world| world.autoscaling.instances().next().is_none()).await);
        assert_eq!(
            (scene.completions(), failures(&scene).await),
            (vec!["ABANDON".to_owned()], vec!["unreachable".to_owned()])
        );
        assert_eq!(commands(&scene).len(), 2, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_command_counts_as_undelivered_only_if_it_never_began() {
    for (agent, expected) in [(Ping::Silent, 2), (Ping::Online, 1)] {
        let setting = Setting { script: takes(600), ..Setting::default() }.with("ON_FAILURE", "ABANDON");
        let scene = setting.scene().await;
        drain_begins(&scene).await;
        set_agent(&scene, agent);
        scene.lab.sleep(Duration::from_secs(20)).await;
        let ssm = Ssm::new(&scene.lab.sdk_config("operator"));
        let id = scene.lab.world(|world| world.run_command.commands()[0].id.clone());
        ssm.cancel_command().command_id(id).send().await.unwrap();
        scene.lab.sleep(Duration::from_secs(20)).await;
        assert_eq!(commands(&scene).len(), expected, "{agent:?}");
        let told: &[&str] = if expected == 1 { &["drain-failed"] } else { &[] };
        assert_eq!(failures(&scene).await, told, "{agent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_a_second_time_while_the_first_cannot_be_cancelled() {
    let setting = Setting { heartbeat: 1_200, ..Setting::default() }.with("ON_UNREACHABLE", "ABANDON");
    let scene = setting.with("AUTO_SCALING_GROUPS", "web,api").scene().await;
    testkit::create_group(&scene.operator, "api", 1, &[("drain", testkit::TERMINATING, 3_600, "CONTINUE")])
        .await;
    scene.lab.sleep(2 * MINUTE).await;
    scene.lab.world(|world| world.run_command.set_script(&scene.instance, takes(9)));
    drain_begins(&scene).await;
    set_agent(&scene, Ping::Silent);
    scene.lab.world(|world| world.run_command.default_script = takes(3_000));
    testkit::resize(&scene.operator, "api", 0).await;
    scene.lab.faults().deny("CancelCommand");
    scene.lab.sleep(3 * MINUTE).await;
    let mut told = 0;
    while scene.state() == "Terminating:Wait" {
        let answer = scene.invoke(sweep()).await.unwrap();
        told += answer["failures"]["sweep-incomplete"].as_u64().unwrap_or_default();
        scene.lab.sleep(3 * MINUTE).await;
    }
    assert!(told >= 2, "{told}");
    assert_eq!(
        (comments(&scene), scene.completions()[0].as_str()),
        (vec!["terminating".to_owned()], "ABANDON")
    );
    assert!(failures(&scene).await.contains(&"unreachable".to_owned()));
    let beats = scene.lab.calls().into_iter().filter(|call| {
        call.action == "RecordLifecycleActionHeartbeat"
            && call.parameter("AutoScalingGroupName") == Some("web")
    });
    assert_eq!(beats.count(), 0, "nothing runs in web");
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_waited_for_and_then_drained() {
    let setting = Setting { sweep: Some(MINUTE), ..Setting::default() }.with("DELIVERY_TIMEOUT", "30m");
    let scene = Setting { sweep: Some(MINUTE), ..setting.swept() }.scene().await;
    set_agent(&scene, Ping::ConnectionLost);
    scene.scale_in().await;
    scene.waits().await;
    scene.lab.sleep(4 * MINUTE).await;
    assert_eq!((scene.state(), commands(&scene).len()), ("Terminating:Wait", 0));
    assert!(outcomes(&scene).await.contains(&"left-to-sweep".to_owned()));
    set_agent(&scene, Ping::Online);
    let waited = scene.released(HOUR).await.unwrap();
    assert!(waited < 160, "{waited} s: a sweep's minute and the commands");
    assert_eq!((scene.completions(), commands(&scene).len()), (vec!["CONTINUE".to_owned()], 1));
    assert_eq!((failures(&scene).await.len(), scene.lab.failures().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_silent_is_given_up_after_the_delivery_timeout() {
    for ping in [Ping::ConnectionLost, Ping::Inactive] {
        let setting =
            Setting::default().with("ON_UNREACHABLE", "ABANDON").with("DELIVERY_TIMEOUT", "10m").swept();
        let scene = Setting { sweep: Some(MINUTE), ..setting }.scene().await;
        set_agent(&scene, ping);
        scene.scale_in().await;
        let waited = scene.released(HOUR).await.unwrap();
        assert!((500..670).contains(&waited), "{ping:?}: {waited} s");
        assert_eq!((scene.completions(), commands(&scene)), (vec!["ABANDON".to_owned()], vec![]));
        assert_eq!(failures(&scene).await, ["unreachable"], "{ping:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_sweep_the_error_says_who_looks_again() {
    let scene = Setting::default().with("DELIVERY_TIMEOUT", "30m").scene().await;
    set_agent(&scene, Ping::ConnectionLost);
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    let error = loop {
        if let What::Ended(_, Err(error)) = moments.recv().await.unwrap().what {
            break error;
        }
    };
    assert_eq!(error.error_type(), "Timeout");
    let text = error.error_message();
    assert!(text.contains("twice more within about three minutes") && text.contains("nobody"), "{text}");
    assert_eq!(scene.completions().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_registers_late_rings_nothing_and_is_drained_within_a_minute() {
    for late in [40, 480] {
        let scene = launching(1_800).scene().await;
        scene.lab.world(|world| {
            world.run_command.set_registration("web", Some(Duration::from_secs(late)));
        });
        let mut moments = scene.lab.observe();
        scene.waits().await;
        let began = scene.lab.now();
        let sent = loop {
            let moment = moments.recv().await.unwrap();
            if matches!(moment.what, What::Called(call) if call.action == "SendCommand") {
                break (moment.at - began).num_seconds();
            }
        };
        let late = i64::try_from(late).unwrap();
        assert!((late - 30..late + 75).contains(&sent), "registered after {late} s, sent after {sent} s");
        scene.released(HOUR).await.unwrap();
        assert_eq!(scene.completions(), ["CONTINUE"]);
        let outcomes = outcomes(&scene).await;
        assert!(outcomes.contains(&"left-to-sweep".to_owned()), "{outcomes:?}");
        assert!(
            outcomes.iter().all(|outcome| outcome.chars().next().unwrap().is_lowercase()),
            "{outcomes:?}"
        );
        assert_eq!((failures(&scene).await.len(), scene.lab.failures().len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_register_is_given_up_after_the_registration_timeout() {
    for (timeout, heartbeat, least, most) in [("10m", 1_800, 590, 670), ("30m", 900, 560, 900)] {
        let setting = launching(heartbeat).with("REGISTRATION_TIMEOUT", timeout);
        let scene = setting.scene().await;
        scene.lab.world(|world| world.run_command.set_registration("web", None));
        let waited = scene.released(HOUR).await.unwrap();
        assert!((least..most).contains(&waited), "{timeout}, hook {heartbeat} s: {waited} s");
        assert_eq!(
            (scene.completions()[0].as_str(), failures(&scene).await[0].as_str()),
            ("ABANDON", "unreachable")
        );
        assert_eq!(count(&scene, "RecordLifecycleActionHeartbeat"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_is_ahead_of_the_status_event_rings_nothing() {
    let setting = Setting::default().swept();
    let scene = Setting { sweep: Some(MINUTE), ..setting }.scene().await;
    scene.lab.faults().script_events(STATUS_EVENT, [EventFault::Delayed; 4]);
    scene.scale_in().await;
    scene.released(HOUR).await.unwrap();
    scene.lab.sleep(HOUR).await;
    let outcomes = outcomes(&scene).await;
    assert!(outcomes.contains(&"already-finished".to_owned()), "{outcomes:?}");
    assert_eq!((failures(&scene).await.len(), scene.lab.failures().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_status_event_that_is_ahead_of_the_list_waits_for_it() {
    let scene = Setting { script: takes(1), ..Setting::default() }.scene().await;
    scene.lab.world(|world| world.delays.command_listed = Duration::from_secs(5));
    scene.scale_in().await;
    assert!(scene.released(HOUR).await.unwrap() < 20);
    assert_eq!(scene.completions(), ["CONTINUE"]);
    assert_eq!((failures(&scene).await.len(), scene.lab.failures().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_killed_is_let_go_at_once_and_is_no_failure() {
    for by_event in [true, false] {
        let setting = Setting::default().with("ON_UNREACHABLE", "ABANDON").swept();
        let scene = Setting { sweep: Some(MINUTE), ..setting }.scene().await;
        if !by_event {
            scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
        }
        scene.fail();
        set_agent(&scene, Ping::Unregistered);
        // The look at its health is throttled, which makes no failure of it.
        scene.lab.faults().script("DescribeAutoScalingInstances", [Throttle; 5]);
        let waited = scene.released(HOUR).await.unwrap();
        assert!(waited < if by_event { 20 } else { 90 }, "{waited} s");
        assert_eq!((scene.completions(), commands(&scene).len()), (vec!["ABANDON".to_owned()], 0));
        assert_eq!(failures(&scene).await.len(), 0);
        let completed = lines(&scene).await.into_iter().find(|line| line["outcome"] == "completed");
        if by_event {
            let reason = completed.unwrap()["reason"].as_str().unwrap().to_owned();
            assert!(reason.contains("reports the instance as unhealthy"), "{reason}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_be_reached_without_an_excuse_is_a_failure() {
    let scene = Setting::default().scene().await;
    set_agent(&scene, Ping::Unregistered);
    scene.scale_in().await;
    let waited = scene.released(HOUR).await.unwrap();
    assert!(waited < 15, "{waited} s");
    assert_eq!(failures(&scene).await, ["unreachable"]);
    let completed = lines(&scene).await.into_iter().find(|line| line["outcome"] == "completed").unwrap();
    assert_eq!(
        (&completed["failure"], &completed["reason"]),
        (&json!("unreachable"), &json!("the agent is not registered"))
    );
}

#[tokio::test(start_paused = true)]
async fn commands_that_fail_are_told_with_the_exit_code_of_the_step_that_failed() {
    for mode in ["event", "poll"] {
        let script = Script { exit_code: 7, ..takes(20) };
        let setting = Setting { script, time_limit: 15 * MINUTE, ..Setting::default() };
        let scene = setting.with("SSM_DOCUMENT", "Drain").with("WAIT", mode).scene().await;
        let step = |name: &str, skipped| Step { name: name.to_owned(), skipped };
        let steps = vec![step("windows", true), step("linux", false)];
        scene.lab.world(|world| {
            world.run_command.put_document("Drain", Document { steps, ..Document::default() });
        });
        scene.scale_in().await;
        scene.released(HOUR).await.unwrap();
        scene.lab.sleep(MINUTE).await;
        let lines = lines(&scene).await;
        let completed = lines.iter().find(|line| line["outcome"] == "completed").unwrap();
        assert_eq!(
            (&completed["exit_code"], &completed["failure"]),
            (&json!(7), &json!("drain-failed")),
            "{mode}"
        );
        assert_eq!(
            (failures(&scene).await, scene.completions()),
            (vec!["drain-failed".to_owned()], vec!["CONTINUE".to_owned()])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_gets_the_parameters_that_it_is_said_to_take() {
    let all = "commands,executionTimeout,group,hook,instance,transition,origin,destination,action";
    for by_event in [true, false] {
        let setting = Setting::default().with("SSM_DOCUMENT", "Drain").with("DOCUMENT_PARAMETERS", all);
        let scene = setting.with("AUTO_SCALING_GROUPS", "web").scene().await;
        let parameters = all.split(',').skip(2).map(str::to_owned).collect();
        scene.lab.world(|world| {
            world.run_command.put_document("Drain", Document { parameters, ..Document::default() });
        });
        let mut moments = scene.lab.observe();
        if !by_event {
            scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
        }
        scene.scale_in().await;
        let event = testkit::lifecycle_event(&mut moments).await;
        let token = event["detail"]["LifecycleActionToken"].as_str().unwrap();
        scene.lab.sleep(Duration::from_secs(20)).await;
        if !by_event {
            assert_eq!(scene.invoke(sweep()).await.unwrap()["started"], 1);
        }
        let sent = scene.lab.world(|world| json!(world.run_command.commands()[0].parameters));
        let only_event = |text: &str| if by_event { text.to_owned() } else { String::new() };
        let expected = json!({
            "commands": ["systemctl stop application"],
            "executionTimeout": ["3300"],
            "group": ["web"],
            "hook": ["drain"],
            "instance": [scene.instance],
            "transition": ["autoscaling:EC2_INSTANCE_TERMINATING"],
            "origin": [only_event("AutoScalingGroup")],
            "destination": [only_event("EC2")],
            "action": [only_event(&token[..8])],
        });
        assert_eq!(sent, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_gets_no_parameter_that_is_not_named() {
    let scene = Setting::default()
        .with("SSM_DOCUMENT", "Drain")
        .with("DOCUMENT_PARAMETERS", "instance")
        .scene()
        .await;
    let document = Document { parameters: vec!["instance".to_owned()], ..Document::default() };
    scene.lab.world(|world| world.run_command.put_document("Drain", document));
    drain_begins(&scene).await;
    let sent = scene.lab.world(|world| json!(world.run_command.commands()[0].parameters));
    assert_eq!(sent, json!({ "instance": [scene.instance] }));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_this_functions_only_if_document_comment_and_instance_fit() {
    let scene =
        Setting::default().with("SSM_DOCUMENT", "Drain").with("AUTO_SCALING_GROUPS", "web").scene().await;
    scene.lab.world(|world| world.run_command.add_document("Drain"));
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
    scene.scale_in().await;
    scene.waits().await;
    // Somebody who may send commands knows the comment that a sweep writes.
    let ssm = Ssm::new(&scene.lab.sdk_config("operator"));
    let comment = "terminating 8d9fd447 - drain web";
    let send = ssm.send_command().document_name("AWS-RunShellScript").instance_ids(&scene.instance);
    let send = send.parameters("commands", vec!["true".to_owned()]).comment(comment);
    send.send().await.unwrap();
    scene.lab.sleep(MINUTE).await;
    assert_eq!((scene.state(), scene.completions().len()), ("Terminating:Wait", 0));
    let answer = scene.invoke(sweep()).await.unwrap();
    assert_eq!(
        (&answer["started"], &answer["completed"]),
        (&json!(1), &json!(0)),
        "its end completes nothing"
    );
    let ours = scene.lab.world(|world| world.run_command.commands()[1].comment.clone());
    assert_eq!(ours, comment, "the comment was ours, but for the document");
}

#[tokio::test(start_paused = true)]
async fn a_late_event_sends_the_commands_and_then_prolongs_the_wait() {
    let scene = Setting { heartbeat: 600, script: takes(500), ..Setting::default() }.scene().await;
    let mut moments = scene.lab.observe();
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
    scene.scale_in().await;
    let event = testkit::lifecycle_event(&mut moments).await;
    scene.lab.sleep(Duration::from_secs(560)).await;
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "command-sent");
    let calls = scene.calls();
    let nth = |call: &str| calls.iter().position(|made| made == call).unwrap();
    assert!(nth("SendCommand: ok") < nth("RecordLifecycleActionHeartbeat: ok"), "{calls:#?}");
    scene.released(HOUR).await.unwrap();
    assert_eq!(scene.completions(), ["CONTINUE"], "after the drain, and not at the hook's timeout");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_outlasts_the_global_timeout_is_answered_before_it() {
    let setting = Setting { heartbeat: 30, script: takes(7_000), ..Setting::default() };
    let setting = setting.with("DRAIN_TIMEOUT", "2h").with("ON_FAILURE", "ABANDON").swept();
    let scene = Setting { sweep: Some(Duration::from_secs(10)), ..setting }.scene().await;
    scene.scale_in().await;
    let waited = scene.released(3 * HOUR).await.unwrap();
    assert!((2_940..3_000).contains(&waited), "{waited} s: the global timeout is 100 times 30 s");
    assert_eq!(
        (scene.completions(), failures(&scene).await),
        (vec!["ABANDON".to_owned()], vec!["drain-failed".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_root_volume_is_replaced_is_drained_kept_alive_and_healed() {
    for event in [None, Some(EventFault::Lost)] {
        let setting = Setting { heartbeat: 600, script: takes(2_000), ..Setting::default() };
        let scene = setting.with("ON_FAILURE", "ABANDON").swept().scene().await;
        scene.lab.faults().script_events(LIFECYCLE_EVENT, event);
        scene.lab.faults().script_events(STATUS_EVENT, event.into_iter().cycle().take(9));
        scene.lab.world(|world| world.replace_root_volume(&scene.instance));
        scene.waits().await;
        assert_eq!(scene.state(), "ReplacingRootVolume:Wait");
        scene.released(HOUR).await.unwrap();
        assert_eq!((scene.completions(), commands(&scene).len()), (vec!["CONTINUE".to_owned()], 1));
        assert!(count(&scene, "RecordLifecycleActionHeartbeat: ok") >= 3, "{:#?}", scene.calls());
        assert_eq!((failures(&scene).await.len(), scene.lab.failures().len()), (0, 0));
        let serves = |world: &lifecycle_lab::World| {
            world.autoscaling.instance(&scene.instance).is_some_and(|one| one.state == "InService")
        };
        assert!(scene.lab.until(HOUR, serves).await, "{}", scene.state());
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_retained_before_goes_on_and_gets_nothing() {
    for event in [None, Some(EventFault::Lost)] {
        let setting = Setting { script: Script { exit_code: 1, ..takes(5) }, ..Setting::default() };
        let scene = setting.with("ON_FAILURE", "ABANDON").swept().scene().await;
        let triggers = RetentionTriggers::builder().terminate_hook_abandon(RetentionAction::Retain).build();
        let policy = InstanceLifecyclePolicy::builder().retention_triggers(triggers).build();
        let update = scene.operator.update_auto_scaling_group().auto_scaling_group_name("web");
        update.instance_lifecycle_policy(policy).send().await.unwrap();
        scene.scale_in().await;
        let is = |state: &'static str| {
            let id = scene.instance.clone();
            move |world: &lifecycle_lab::World| {
                world.autoscaling.instance(&id).is_some_and(|one| one.state == state)
            }
        };
        assert!(scene.lab.until(HOUR, is("Terminating:Retained")).await, "{}", scene.state());
        scene.lab.faults().script_events(LIFECYCLE_EVENT, event);
        let end = scene.operator.terminate_instance_in_auto_scaling_group().instance_id(&scene.instance);
        end.should_decrement_desired_capacity(false).send().await.unwrap();
        assert!(scene.lab.until(HOUR, is("Terminating:Proceed")).await, "{}", scene.state());
        assert_eq!(
            (scene.completions(), commands(&scene).len()),
            (vec!["ABANDON".to_owned(), "CONTINUE".to_owned()], 1)
        );
        assert_eq!(failures(&scene).await, ["drain-failed"], "of the first termination");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_launch_was_abandoned_rings_nothing() {
    for event in [None, Some(EventFault::Lost)] {
        let setting = Setting::default().swept();
        let scene = Setting { sweep: Some(MINUTE), ..setting }.scene().await;
        scene.lab.faults().script_events(LAUNCH_EVENT, [EventFault::Lost; 9]);
        scene.lab.faults().script_events(LIFECYCLE_EVENT, event);
        scene.lab.world(|world| world.run_command.set_registration("web", None));
        let boot =
            scene.operator.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("boot");
        let boot = boot.lifecycle_transition(LAUNCHING).heartbeat_timeout(30).default_result("ABANDON");
        boot.send().await.unwrap();
        testkit::resize(&scene.operator, "web", 2).await;
        let done = scene.lab.until(HOUR, |_| !scene.completions().is_empty()).await;
        assert!(done, "{:#?}", scene.calls());
        assert_eq!((scene.completions()[0].as_str(), failures(&scene).await.len()), ("CONTINUE", 0));
        if event.is_none() {
            let lines = lines(&scene).await;
            let completed = lines.iter().find(|line| line["outcome"] == "completed").unwrap();
            assert!(
                completed["reason"].as_str().unwrap().contains("the launch was abandoned"),
                "{completed}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_stopped_in_its_warm_pool_goes_at_once_and_rings_nothing() {
    for event in [None, Some(EventFault::Lost)] {
        let setting = Setting::default().with("DELIVERY_TIMEOUT", "30m").swept();
        let scene = Setting { sweep: Some(MINUTE), ..setting }.scene().await;
        let pool =
            scene.operator.put_warm_pool().auto_scaling_group_name("web").max_group_prepared_capacity(2);
        pool.send().await.unwrap();
        let rests = |world: &lifecycle_lab::World| {
            world.autoscaling.instances().any(|instance| instance.state == "Warmed:Stopped")
        };
        assert!(scene.lab.until(HOUR, rests).await);
        scene.lab.faults().script_events(LIFECYCLE_EVENT, event);
        scene.operator.delete_warm_pool().auto_scaling_group_name("web").send().await.unwrap();
        let waits = |world: &lifecycle_lab::World| {
            world.autoscaling.instances().any(|instance| instance.state == "Warmed:Terminating:Wait")
        };
        assert!(scene.lab.until(HOUR, waits).await);
        let began = scene.lab.now();
        assert!(scene.lab.until(HOUR, |world| !waits(world)).await);
        let waited = (scene.lab.now() - began).num_seconds();
        assert!(waited < if event.is_none() { 10 } else { 75 }, "{waited} s");
        assert_eq!((scene.completions(), count(&scene, "SendCommand")), (vec!["CONTINUE".to_owned()], 0));
        assert_eq!((failures(&scene).await.len(), scene.lab.failures().len()), (0, 0));
    }
}

/// Two processes get one event, `apart` milliseconds after one another. Returns how often the commands are sent.
async fn sendings(lag: u64, apart: u64, in_one_process: bool) -> usize {
    let scene = Setting::default().scene().await;
    scene.lab.world(|world| world.delays.command_listed = Duration::from_millis(lag));
    let mut moments = scene.lab.observe();
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
    scene.scale_in().await;
    let event = testkit::lifecycle_event(&mut moments).await;
    let (lines, _written) = unbounded_channel();
    let process = || testkit::running::<Context>(&scene.lab, &[], Output::Channel(lines.clone()));
    let (one, other) = (process(), process());
    let second = if in_one_process { &one } else { &other };
    let (first, late) = tokio::join!(
        async { one.invoke(event.clone(), &Invocation::new(scene.lab.now(), MINUTE)).await },
        async {
            tokio::time::sleep(Duration::from_millis(apart)).await;
            second.invoke(event.clone(), &Invocation::new(scene.lab.now(), MINUTE)).await
        },
    );
    assert!(first.is_ok() && late.is_ok(), "{first:?} {late:?}");
    commands(&scene).len()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_two_processes_get_is_drained_once_if_the_second_comes_after_the_lists_lag() {
    for lag in [500, 1_000, 5_000] {
        let mut twice = Vec::new();
        for apart in (0..=6_000).step_by(250) {
            match sendings(lag, apart, false).await {
                1 => {}
                2 => twice.push(apart),
                other => panic!("{other} commands"),
            }
            assert_eq!(sendings(lag, apart, true).await, 1, "one process, lag {lag} ms, {apart} ms apart");
        }
        let last = *twice.last().unwrap();
        println!("a list that lags by {lag} ms: two commands if the deliveries are up to {last} ms apart");
        assert!(last <= lag, "lag {lag} ms: twice at {twice:?} ms");
    }
}
