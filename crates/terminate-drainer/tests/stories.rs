//! Drains from the event to the instance's end, in the lab and under paused time: by event, by polling,
//! by the sweep.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{LIFECYCLE_EVENT, STATUS_EVENT, Setting, commands};
use expect_test::{Expect, expect};
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{Moment, What};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

const HOUR: Duration = Duration::from_secs(3_600);

fn takes(seconds: u64) -> Script {
    Script { duration: Duration::from_secs(seconds), ..Script::default() }
}

/// Waits until a run with such an event ends. Returns its outcome.
async fn outcome_of(kind: &str, moments: &mut UnboundedReceiver<Moment>) -> Value {
    let ended = async {
        loop {
            if let What::Ended(run, result) = moments.recv().await.unwrap().what
                && run.payload["detail-type"] == kind
            {
                break result.unwrap()["outcome"].clone();
            }
        }
    };
    tokio::time::timeout(3 * HOUR, ended).await.unwrap()
}

/// Scales in and waits for the end; compares the function's calls with AWS.
async fn check_calls(setting: Setting, expected: Expect) {
    let scene = setting.scene().await;
    scene.scale_in().await;
    scene.released(50 * HOUR).await.unwrap();
    expected.assert_eq(&(scene.calls().join("\n") + "\n"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_starts_with_four_calls_and_finishes_with_two() {
    // DescribeLifecycleHooks is the look at the hook's timers, once for each hook and process.
    check_calls(
        Setting::default(),
        expect![[r#"
            DescribeScalingActivities: ok
            DescribeInstanceInformation: ok
            ListCommandInvocations: ok
            SendCommand: ok
            DescribeLifecycleHooks: ok
            ListCommandInvocations: ok
            CompleteLifecycleAction: ok
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn names_that_do_not_fit_the_comment_cost_two_calls_more() {
    let setting = Setting { group: "g".repeat(255), hook: "h".repeat(255), ..Setting::default() };
    check_calls(
        setting,
        expect![[r#"
            DescribeScalingActivities: ok
            DescribeInstanceInformation: ok
            ListCommandInvocations: ok
            SendCommand: ok
            DescribeLifecycleHooks: ok
            ListCommandInvocations: ok
            DescribeAutoScalingInstances: ok
            DescribeLifecycleHooks: ok
            CompleteLifecycleAction: ok
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_whole_conversation_of_a_drain() {
    let scene = Setting::default().scene().await;
    scene.scale_in().await;
    scene.released(HOUR).await.unwrap();
    let tokenless = |text: String| {
        let token = text.split("LifecycleActionToken=").nth(1).unwrap()[..36].to_owned();
        let command = text.split("CommandId=").nth(1).unwrap()[..36].to_owned();
        text.replace(&token, "TOKEN").replace(&scene.instance, "INSTANCE").replace(&command, "COMMAND")
    };
    expect![[r#"
        POST autoscaling DescribeScalingActivities
          AutoScalingGroupName=web
          Filters.member.1.Name=Status
          Filters.member.1.Values.member.1=Cancelled
          => ok
        POST ssm DescribeInstanceInformation
          Filters.1.Key=InstanceIds
          Filters.1.Values.1=INSTANCE
          => ok
        POST ssm ListCommandInvocations
          Details=true
          Filters.1.key=InvokedAfter
          Filters.1.value=2026-11-21T08:00:39Z
          InstanceId=INSTANCE
          => ok
        POST ssm SendCommand
          Comment=terminating 8d9fd447 TOKEN drain web
          DocumentName=AWS-RunShellScript
          InstanceIds.1=INSTANCE
          Parameters.commands.1=systemctl stop application
          Parameters.executionTimeout.1=3300
          TimeoutSeconds=120
          => ok
        POST autoscaling DescribeLifecycleHooks
          AutoScalingGroupName=web
          => ok
        POST ssm ListCommandInvocations
          CommandId=COMMAND
          Details=true
          InstanceId=INSTANCE
          => ok
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=INSTANCE
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=TOKEN
          LifecycleHookName=drain
          => ok
    "#]]
    .assert_eq(&tokenless(scene.lab.transcript(terminate_drainer::NAME)));
}

#[tokio::test(start_paused = true)]
async fn the_instance_goes_when_the_commands_have_ended_and_not_before() {
    for seconds in [2, 90, 3 * 3_600] {
        let setting =
            Setting { script: takes(seconds), ..Setting::default() }.with("DRAIN_TIMEOUT", "4h").swept();
        let scene = setting.scene().await;
        scene.scale_in().await;
        let waited = scene.released(5 * HOUR).await.unwrap();
        let [(_, Some(ended))] = commands(&scene)[..] else { panic!("one command that ended") };
        let after = (scene.lab.now() - ended).num_seconds();
        assert!((0..5).contains(&after), "{seconds} s: released {after} s after the end, {waited} s in all");
        assert_eq!(scene.completions(), ["CONTINUE"]);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_and_late_commands_go_by_on_failure() {
    for (script, variables) in
        [(Script { exit_code: 3, ..takes(5) }, vec![]), (takes(7_200), vec![("DRAIN_TIMEOUT", "10m")])]
    {
        for (name, result) in [("ON_FAILURE", "ABANDON"), ("ON_UNREACHABLE", "ABANDON")] {
            let mut setting = Setting { script: script.clone(), ..Setting::default() }.with(name, result);
            for (name, value) in &variables {
                setting = setting.with(name, value);
            }
            let scene = setting.scene().await;
            scene.scale_in().await;
            scene.released(HOUR).await.unwrap();
            assert_eq!(scene.completions(), [if name == "ON_FAILURE" { "ABANDON" } else { "CONTINUE" }]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_an_agent_is_released_at_once() {
    let scene = Setting::default().with("ON_UNREACHABLE", "ABANDON").scene().await;
    scene.lab.world(|world| world.run_command.set_agent(&scene.instance, Ping::Unregistered));
    scene.scale_in().await;
    let waited = scene.released(HOUR).await.unwrap();
    assert!(waited < 15, "{waited} s");
    assert_eq!(scene.completions(), ["ABANDON"]);
    assert_eq!(commands(&scene), []);
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_finds_the_first_command() {
    let scene = Setting::default().scene().await;
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Doubled]);
    scene.lab.faults().script_events(STATUS_EVENT, [EventFault::Doubled; 3]);
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    assert_eq!(outcome_of(LIFECYCLE_EVENT, &mut moments).await, "command-sent");
    assert_eq!(outcome_of(LIFECYCLE_EVENT, &mut moments).await, "command-running");
    scene.released(HOUR).await.unwrap();
    assert_eq!(commands(&scene).len(), 1);
    assert_eq!(scene.completions().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_to_a_warm_process_finds_a_command_that_was_not_listed_at_once() {
    let scene = Setting::default().scene().await;
    scene.lab.world(|world| world.delays.command_listed = Duration::from_secs(1));
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Doubled]);
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    assert_eq!(outcome_of(LIFECYCLE_EVENT, &mut moments).await, "command-sent");
    assert_eq!(outcome_of(LIFECYCLE_EVENT, &mut moments).await, "command-running");
    scene.released(HOUR).await.unwrap();
    assert_eq!((commands(&scene).len(), scene.completions().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_event_three_times_in_a_batch_sends_once() {
    let scene = Setting::default().scene().await;
    let mut moments = scene.lab.observe();
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
    scene.scale_in().await;
    let event = loop {
        if let What::Sent(event) = moments.recv().await.unwrap().what
            && event["detail-type"] == LIFECYCLE_EVENT
        {
            break event.to_string();
        }
    };
    let records: Vec<_> = (0..3).map(|n| json!({ "messageId": n.to_string(), "body": event })).collect();
    let answer = scene.invoke(json!({ "Records": records })).await.unwrap();
    assert_eq!((answer, commands(&scene).len()), (json!({ "batchItemFailures": [] }), 1));
}

#[tokio::test(start_paused = true)]
async fn the_sweep_starts_what_was_never_started() {
    let scene = Setting::default().swept().scene().await;
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
    scene.scale_in().await;
    let waited = scene.released(HOUR).await.unwrap();
    assert!((90..420).contains(&waited), "{waited} s");
    assert_eq!((commands(&scene).len(), scene.completions()), (1, vec!["CONTINUE".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_the_sweep_starts_late_gets_the_hooks_full_time() {
    for late in [250, 560] {
        let setting = Setting { heartbeat: 600, script: takes(500), ..Setting::default() };
        let scene = setting.with("AUTO_SCALING_GROUPS", "web").scene().await;
        scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
        assert_eq!(scene.invoke(json!({ "action": "reconcile" })).await.unwrap()["waiting"], 0);
        scene.scale_in().await;
        scene.lab.sleep(Duration::from_secs(late)).await;
        assert_eq!(scene.invoke(json!({ "action": "reconcile" })).await.unwrap()["started"], 1);
        scene.released(HOUR).await.unwrap();
        assert_eq!(scene.completions(), ["CONTINUE"], "{late} s late, and not the hook's timeout");
    }
}

#[tokio::test(start_paused = true)]
async fn the_sweep_finishes_what_has_ended() {
    let scene = Setting::default().swept().scene().await;
    scene.lab.faults().script_events(STATUS_EVENT, [EventFault::Lost; 9]);
    scene.scale_in().await;
    let waited = scene.released(HOUR).await.unwrap();
    assert!((90..420).contains(&waited), "{waited} s");
    assert_eq!((commands(&scene).len(), scene.completions()), (1, vec!["CONTINUE".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_late_event_finds_the_command_of_the_sweep() {
    let scene = Setting { script: takes(2_400), ..Setting::default() }.swept().scene().await;
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Delayed]);
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    assert_eq!(outcome_of(LIFECYCLE_EVENT, &mut moments).await, "command-running");
    scene.released(2 * HOUR).await.unwrap();
    assert_eq!(commands(&scene).len(), 1);
    let sent = scene.calls().iter().filter(|call| call.starts_with("SendCommand")).count();
    assert_eq!(sent, 1);
}

#[tokio::test(start_paused = true)]
async fn the_sweeps_heartbeats_keep_a_hook_alive_that_is_shorter_than_the_drain() {
    let setting = Setting { heartbeat: 1_200, script: takes(40_000), ..Setting::default() };
    let scene = setting.with("DRAIN_TIMEOUT", "12h").swept().scene().await;
    scene.scale_in().await;
    let waited = scene.released(20 * HOUR).await.unwrap();
    assert!((40_000..40_030).contains(&waited), "{waited} s");
    let beats = scene.calls().iter().filter(|call| *call == "RecordLifecycleActionHeartbeat: ok").count();
    assert!((40..110).contains(&beats), "{beats} heartbeats: about one in a third of the hook's timeout");
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_48_hours_needs_no_running_function() {
    // Less ten minutes: 48 hours is what a hook waits at most, and what would end before the next sweep is answered.
    let seconds = 48 * 3_600 - 600;
    let setting = Setting { heartbeat: 7_200, script: takes(seconds), ..Setting::default() };
    let scene = setting.with("DRAIN_TIMEOUT", &format!("{seconds}s")).swept().scene().await;
    scene.scale_in().await;
    let waited = scene.released(60 * HOUR).await.unwrap();
    assert!((172_200..172_260).contains(&waited), "{waited} s");
    assert_eq!(scene.completions(), ["CONTINUE"]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_someone_else_completed_ends_quietly_and_gets_no_more_heartbeats() {
    let setting = Setting { heartbeat: 600, script: takes(7_000), ..Setting::default() };
    let scene = setting.with("DRAIN_TIMEOUT", "3h").swept().scene().await;
    scene.scale_in().await;
    scene.lab.sleep(Duration::from_secs(1_000)).await;
    let complete = scene.operator.complete_lifecycle_action().auto_scaling_group_name("web");
    let complete = complete.lifecycle_hook_name("drain").instance_id(&scene.instance);
    complete.lifecycle_action_result("CONTINUE").send().await.unwrap();
    let beats = || scene.calls().iter().filter(|call| call.starts_with("RecordLifecycleAction")).count();
    let before = beats();
    assert!(before > 0, "{:#?}", scene.calls());
    scene.lab.sleep(3 * HOUR).await;
    assert_eq!(beats(), before);
    assert_eq!(scene.lab.failures(), []);
}

#[tokio::test(start_paused = true)]
async fn polling_completes_within_the_longest_pause_of_the_end() {
    for seconds in [2, 10, 120] {
        let setting =
            Setting { script: takes(seconds), time_limit: Duration::from_secs(900), ..Setting::default() };
        let scene = setting.with("WAIT", "poll").scene().await;
        scene.lab.faults().script_events(STATUS_EVENT, [EventFault::Lost; 9]);
        scene.scale_in().await;
        scene.released(HOUR).await.unwrap();
        let [(_, Some(ended))] = commands(&scene)[..] else { panic!("one command that ended") };
        let after = (scene.lab.now() - ended).num_seconds();
        assert!((0..=16).contains(&after), "{seconds} s: {after} s after the end");
    }
}

#[tokio::test(start_paused = true)]
async fn polling_cancels_a_command_that_stays_pending_sends_it_once_more_and_gives_up() {
    let setting = Setting { time_limit: Duration::from_secs(900), ..Setting::default() };
    let scene = setting.with("WAIT", "poll").with("ON_UNREACHABLE", "ABANDON").scene().await;
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    while !matches!(moments.recv().await.unwrap().what, What::Called(call) if call.action == "SendCommand") {}
    scene.lab.world(|world| world.run_command.set_agent(&scene.instance, Ping::ConnectionLost));
    let waited = scene.released(HOUR).await.unwrap();
    assert!((250..300).contains(&waited), "{waited} s: twice the delivery timeout");
    assert_eq!((scene.completions(), commands(&scene).len()), (vec!["ABANDON".to_owned()], 2));
}

#[tokio::test(start_paused = true)]
async fn polling_sends_heartbeats_to_a_short_hook_and_leaves_a_long_drain_to_the_sweep() {
    let setting = Setting {
        heartbeat: 60,
        script: takes(1_500),
        time_limit: Duration::from_secs(900),
        ..Setting::default()
    };
    let scene = setting.with("WAIT", "poll").scene().await;
    scene.lab.faults().script_events(STATUS_EVENT, [EventFault::Lost; 9]);
    let mut moments = scene.lab.observe();
    scene.scale_in().await;
    let answer = loop {
        if let What::Ended(_, result) = moments.recv().await.unwrap().what {
            break result.unwrap();
        }
    };
    assert_eq!(answer["outcome"], "left-to-sweep");
    assert_eq!(scene.state(), "Terminating:Wait");
    let beats = scene.calls().iter().filter(|call| *call == "RecordLifecycleActionHeartbeat: ok").count();
    assert!((20..35).contains(&beats), "{beats}");
}

#[tokio::test(start_paused = true)]
async fn a_launching_hook_runs_bootstrap_commands_and_abandons_what_fails() {
    for (exit_code, result) in [(0, "CONTINUE"), (1, "ABANDON")] {
        let setting = Setting {
            transition: "autoscaling:EC2_INSTANCE_LAUNCHING",
            script: Script { exit_code, ..takes(20) },
            ..Setting::default()
        };
        let scene = setting.with("DRAIN_COMMANDS", "install\nconfigure").scene().await;
        scene.released(HOUR).await.unwrap();
        assert_eq!(scene.completions()[0], result);
    }
}

#[tokio::test(start_paused = true)]
async fn a_booting_instances_agent_may_take_until_the_registration_timeout_to_register() {
    let setting =
        Setting { transition: "autoscaling:EC2_INSTANCE_LAUNCHING", script: takes(5), ..Setting::default() };
    let scene = setting.scene().await;
    scene.lab.world(|world| world.run_command.set_agent(&scene.instance, Ping::Unregistered));
    scene.lab.sleep(Duration::from_secs(50)).await;
    assert_eq!((scene.state(), scene.completions().len()), ("Pending:Wait", 0));
    scene.lab.world(|world| world.run_command.set_agent(&scene.instance, Ping::Online));
    scene.released(HOUR).await.unwrap();
    assert_eq!(scene.completions(), ["CONTINUE"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_event_starts_nothing_on_an_instance_that_no_longer_waits() {
    let scene = Setting { heartbeat: 60, ..Setting::default() }.scene().await;
    let mut moments = scene.lab.observe();
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
    scene.scale_in().await;
    let event = loop {
        if let What::Sent(event) = moments.recv().await.unwrap().what
            && event["detail-type"] == LIFECYCLE_EVENT
        {
            break event;
        }
    };
    scene.lab.sleep(Duration::from_secs(120)).await;
    assert_eq!(scene.invoke(event).await.unwrap()["outcome"], "already-finished");
    assert_eq!(scene.calls(), ["DescribeAutoScalingInstances: ok"]);
}

#[tokio::test(start_paused = true)]
async fn foreign_and_unended_commands_are_ignored() {
    let scene = Setting::default().scene().await;
    let status = |status: &str| {
        json!({
            "source": "aws.ssm",
            "detail-type": STATUS_EVENT,
            "time": "2026-11-21T08:00:00Z",
            "detail": { "command-id": "c", "document-name": "d", "instance-id": scene.instance, "status": status },
        })
    };
    for unended in ["Pending", "InProgress", "Delayed", "Cancelling"] {
        assert_eq!(scene.invoke(status(unended)).await.unwrap()["outcome"], "ignored");
    }
    assert!(scene.calls().is_empty(), "no call is made for a command that still runs");
    let ssm = aws_sdk_ssm::Client::new(&scene.lab.sdk_config("operator"));
    let send = ssm.send_command().document_name("AWS-RunShellScript").instance_ids(&scene.instance);
    let send = send.parameters("commands", vec!["uptime".to_owned()]).comment("somebody's");
    let mut moments = scene.lab.observe();
    send.send().await.unwrap();
    while scene.calls().is_empty() {
        assert_eq!(outcome_of(STATUS_EVENT, &mut moments).await, "ignored");
    }
    assert_eq!(scene.calls(), ["ListCommandInvocations: ok"]);
}

#[tokio::test(start_paused = true)]
async fn a_warm_pool_instance_is_drained_again_on_its_next_return() {
    let scene = Setting { script: takes(30), ..Setting::default() }.swept().scene().await;
    let pool = scene
        .operator
        .put_warm_pool()
        .auto_scaling_group_name("web")
        .min_size(0)
        .max_group_prepared_capacity(1);
    let reuse = aws_sdk_autoscaling::types::InstanceReusePolicy::builder().reuse_on_scale_in(true).build();
    pool.instance_reuse_policy(reuse).send().await.unwrap();
    for returns in 1..=2 {
        // The second time the event is lost: the sweep must not take the first command for this wait's.
        if returns == 2 {
            scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
        }
        scene.scale_in().await;
        let rests = |world: &lifecycle_lab::World| {
            world
                .autoscaling
                .instance(&scene.instance)
                .is_some_and(|instance| instance.state == "Warmed:Stopped")
        };
        assert!(scene.lab.until(HOUR, rests).await, "{}", scene.state());
        assert_eq!(commands(&scene).len(), returns);
        let out = scene.operator.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(1);
        out.send().await.unwrap();
        let serves = |world: &lifecycle_lab::World| {
            world.autoscaling.instance(&scene.instance).is_some_and(|instance| instance.state == "InService")
        };
        assert!(scene.lab.until(HOUR, serves).await, "{}", scene.state());
    }
    assert_eq!(scene.completions(), ["CONTINUE", "CONTINUE"]);
}

#[tokio::test(start_paused = true)]
async fn without_named_hooks_the_sweep_leaves_groups_with_two_terminating_hooks_alone() {
    let scene = Setting::default().swept().scene().await;
    let other =
        scene.operator.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("other");
    let other = other.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").heartbeat_timeout(1_200);
    other.send().await.unwrap();
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost; 2]);
    scene.scale_in().await;
    scene.lab.sleep(Duration::from_secs(1_000)).await;
    assert_eq!((scene.state(), commands(&scene)), ("Terminating:Wait", vec![]));
    let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["waiting"]), (&json!("swept"), &json!(0)));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_fails_does_not_stop_the_sweep_of_the_others() {
    let scene = Setting::default().with("AUTO_SCALING_GROUPS", "web,api").scene().await;
    let api =
        scene.operator.create_auto_scaling_group().auto_scaling_group_name("api").min_size(1).max_size(1);
    api.launch_configuration_name("api").availability_zones("us-east-1a").send().await.unwrap();
    scene.lab.sleep(Duration::from_secs(120)).await;
    let hook =
        scene.operator.put_lifecycle_hook().auto_scaling_group_name("api").lifecycle_hook_name("drain");
    hook.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").send().await.unwrap();
    scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost; 2]);
    scene.scale_in().await;
    let api = scene
        .operator
        .update_auto_scaling_group()
        .auto_scaling_group_name("api")
        .min_size(0)
        .desired_capacity(0);
    api.send().await.unwrap();
    scene.lab.sleep(Duration::from_secs(60)).await;
    let denied = [lifecycle_lab::faults::CallFault::AccessDenied];
    scene.lab.faults().script("DescribeLifecycleHooks", denied);
    let answer = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    assert_eq!((&answer["started"], answer["failed"].as_array().map(Vec::len)), (&json!(1), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waits_are_swept_inside_aws_token_bucket() {
    let setting =
        Setting { script: takes(20_000), time_limit: Duration::from_secs(300), ..Setting::default() };
    let scene = setting.with("DRAIN_TIMEOUT", "10h").swept().scene().await;
    let grow = scene.operator.update_auto_scaling_group().auto_scaling_group_name("web").max_size(1_000);
    grow.desired_capacity(1_000).send().await.unwrap();
    let all = |world: &lifecycle_lab::World| {
        world.autoscaling.instances().filter(|instance| instance.state == "InService").count() == 1_000
    };
    assert!(scene.lab.until(HOUR, all).await);
    scene.scale_in().await;
    scene.lab.sleep(Duration::from_secs(900)).await;
    // Everybody else in the account has this bucket too.
    scene
        .lab
        .world(|world| world.autoscaling.bucket = Some(lifecycle_lab::autoscaling::Bucket::new(100.0, 25.0)));
    let before = scene.calls().len();
    scene.lab.sleep(Duration::from_secs(1_300)).await;
    let calls = scene.calls();
    let new = &calls[before..];
    let throttled = new.iter().filter(|call| call.ends_with("Throttling")).count();
    let beats = new.iter().filter(|call| *call == "RecordLifecycleActionHeartbeat: ok").count();
    assert_eq!(throttled, 0, "of {} calls", new.len());
    assert!(beats >= 1_000, "{beats} heartbeats in 1,300 s for 1,000 waits, each due in every 1,200 s");
    assert_eq!(scene.state(), "Terminating:Wait");
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_sweep_counts_what_it_did() {
    let scene = Setting::default().swept().scene().await;
    let answer: Value = scene.invoke(json!({ "action": "reconcile" })).await.unwrap();
    let expected = json!({
        "outcome": "swept", "groups": 1, "waiting": 0, "started": 0, "completed": 0, "already_finished": 0,
        "heartbeats": 0, "left": 0,
    });
    assert_eq!(answer, expected);
    assert_eq!(scene.calls(), ["DescribeAutoScalingGroups: ok"]);
}
