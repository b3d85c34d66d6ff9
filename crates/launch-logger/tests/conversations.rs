//! What launch-logger says to AWS, to its log pipe and to Lambda, for each kind of event: whole
//! conversations with the lab, in this process and under paused time.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use common::{NAME, sample, scene_accepted_after, scene_at};
use expect_test::{Expect, expect};
use lambda_kit::{Configuration, Invocation, Output};
use launch_logger::{AUTO_SCALING_GROUPS, Config, Context, LIFECYCLE_HOOKS, ON_FAILURE};
use lifecycle_lab::Lab;
use lifecycle_lab::faults::CallFault::{
    self, AccessDenied, Contention, CutAfter, CutBefore, Hang, ServerError, Throttle,
};
use serde_json::{Value, json};
use testkit::Scene;
use tokio::sync::mpsc::unbounded_channel;

/// A second after the samples' time.
fn eight_o_clock() -> DateTime<Utc> {
    "2026-11-21T08:00:01Z".parse().unwrap()
}

/// Invokes the function with ten seconds' time and describes everything that it did.
async fn play(scene: &Scene, variables: &[(&str, &str)], payload: Value) -> String {
    let (sender, mut written) = unbounded_channel();
    let played = play_into(Output::Channel(sender), scene, variables, payload).await;
    let mut lines = String::new();
    while let Ok(line) = written.try_recv() {
        lines += &format!("writes {line}\n");
    }
    played + &lines
}

/// The same, writing records and metrics to `output`.
async fn play_into(output: Output, scene: &Scene, variables: &[(&str, &str)], payload: Value) -> String {
    let context = testkit::running::<Context>(&scene.lab, variables, output);
    let invocation = Invocation::new(scene.lab.now(), Duration::from_secs(10));
    let answer = match context.invoke(payload, &invocation).await {
        Ok(answer) => format!("answer: {answer}"),
        Err(error) => format!("{}: {}", error.name(), error.chain()),
    };
    let conversation = scene.lab.transcript("launch-logger");
    format!("{conversation}{answer}\nafter {:.1?}\n", invocation.elapsed())
}

/// A full disk behind standard output.
fn full() -> Output {
    Output::File(Arc::new(File::options().write(true).open("/dev/full").unwrap()))
}

/// Plays a sample against an instance that waits, and compares the whole conversation.
async fn check(name: &str, expected: Expect) {
    let scene = scene_at(eight_o_clock()).await;
    expected.assert_eq(&play(&scene, &[], sample(name, &scene)).await);
}

/// Plays `launch.json` while AWS misbehaves; compares the outcomes of the calls and the answer.
async fn check_faults(faults: &[CallFault], expected: Expect) {
    let scene = scene_at(eight_o_clock()).await;
    scene.lab.faults().script("CompleteLifecycleAction", faults.iter().copied());
    check_outcomes(&scene, expected).await;
}

/// Plays `launch.json` and compares the outcomes of the calls, the answer, and how long it took.
async fn check_outcomes(scene: &Scene, expected: Expect) {
    let played = play(scene, &[], sample("launch", scene)).await;
    let outcomes = played.lines().filter(|line| {
        ["  =>", "answer", "after", "AwsError", "Timeout"].iter().any(|start| line.starts_with(start))
    });
    expected.assert_eq(&outcomes.map(|line| format!("{line}\n")).collect::<String>());
}

#[tokio::test(start_paused = true)]
async fn a_launch_is_recorded_and_continues_with_one_call() {
    check("launch", expect![[r#"
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-045c261ad9e6221b6
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=b934252f-607e-416b-a00e-74db785397a7
          LifecycleHookName=record-launch
          => ok
        answer: {"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"completed"}
        after 40.0ms
        writes {"account":"123456789012","action":"Launch","action.id":"b934252f","asg.name":"web","destination":"AutoScalingGroup","event.age_ms":1121,"event.id":"12345678-1234-1234-1234-123456789012","event.time":"2026-11-21T08:00:00Z","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","notification.metadata":"team=web","notification.metadata_length":8,"origin":"EC2","record":"launch","region":"us-east-1","resources":["arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:042cba90-ad2f-431c-9b4d-6d9055bcc9fb:autoScalingGroupName/web"],"time":"2026-11-21T08:00:01.121Z","transition":"autoscaling:EC2_INSTANCE_LAUNCHING"}
        writes {"EventToCompletion":1161,"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"},{"Name":"EventToCompletion","Unit":"Milliseconds"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001161},"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","calls":{"CompleteLifecycleAction":1},"duration_ms":40,"function":"launch-logger","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","level":"INFO","outcome":"completed"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_with_the_failed_messages_only() {
    check("sqs-batch-one-bad", expect![[r#"
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-045c261ad9e6221b6
          LifecycleActionResult=CONTINUE
          LifecycleActionToken=b934252f-607e-416b-a00e-74db785397a7
          LifecycleHookName=record-launch
          => ok
        answer: {"batchItemFailures":[{"itemIdentifier":"059f36b4-87a3-44ab-83d2-66197587d204"}]}
        after 40.0ms
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001121},"calls":{},"duration_ms":0,"error":"body: not JSON: EOF while parsing a string at line 1 column 33","function":"launch-logger","level":"INFO","outcome":"InvalidPayload"}
        writes {"account":"123456789012","action":"Launch","action.id":"b934252f","asg.name":"web","destination":"AutoScalingGroup","event.age_ms":1121,"event.id":"5d858daa-5692-135e-98ca-ef04118c2ab5","event.time":"2026-11-21T08:00:00Z","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","notification.metadata":null,"notification.metadata_length":null,"origin":"EC2","record":"launch","region":null,"resources":[],"time":"2026-11-21T08:00:01.121Z","transition":"autoscaling:EC2_INSTANCE_LAUNCHING"}
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001121},"calls":{},"duration_ms":0,"function":"launch-logger","level":"INFO","outcome":"ignored","reason":"a hook's test notification"}
        writes {"EventToCompletion":1161,"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"},{"Name":"EventToCompletion","Unit":"Milliseconds"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001161},"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","calls":{"CompleteLifecycleAction":1},"duration_ms":40,"function":"launch-logger","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","level":"INFO","outcome":"completed"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_terminating_action_is_refused_and_never_completed() {
    check("terminate-refused", expect![[r#"
        UnsupportedEvent: launch-logger handles launching lifecycle actions and scheduled runs, not autoscaling:EC2_INSTANCE_TERMINATING; correct the rule or the hook that sent it
        after 0.0ns
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001121},"action.id":"b934252f","asg.name":"web","calls":{},"duration_ms":0,"error":"launch-logger handles launching lifecycle actions and scheduled runs, not autoscaling:EC2_INSTANCE_TERMINATING; correct the rule or the hook that sent it","function":"launch-logger","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","level":"INFO","outcome":"UnsupportedEvent"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_account_is_refused_and_never_completed() {
    check("foreign-refused", expect![[r#"
        UnsupportedEvent: the event is of account 210987654321 in us-west-2, and this function of account 123456789012 in us-east-1; correct the rule that sent it
        after 0.0ns
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001121},"action.id":"b934252f","asg.name":"web","calls":{},"duration_ms":0,"error":"the event is of account 210987654321 in us-west-2, and this function of account 123456789012 in us-east-1; correct the rule that sent it","function":"launch-logger","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","level":"INFO","outcome":"UnsupportedEvent"}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_completes_a_launch_by_its_instance_id_and_then_records_it() {
    let scene = scene_at(eight_o_clock()).await;
    scene.lab.sleep(Duration::from_secs(60)).await;
    let variables = [(AUTO_SCALING_GROUPS, "web")];
    expect![[r#"
        POST autoscaling DescribeAutoScalingGroups
          AutoScalingGroupNames.member.1=web
          MaxRecords=100
          => ok
        POST autoscaling DescribeLifecycleHooks
          AutoScalingGroupName=web
          => ok
        POST autoscaling DescribeScalingActivities
          AutoScalingGroupName=web
          => ok
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-045c261ad9e6221b6
          LifecycleActionResult=CONTINUE
          LifecycleHookName=record-launch
          => ok
        answer: {"already_finished":0,"completed":1,"groups":1,"heartbeats":0,"left":0,"outcome":"swept","started":0,"waiting":1}
        after 196.0ms
        writes {"account":"123456789012","asg.name":"web","destination":"AutoScalingGroup","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","record":"launch","region":"us-east-1","resources":["arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:4e9d34e8-247e-4f86-87c2-e0e96aa8fbbe:autoScalingGroupName/web"],"source":"sweep","time":"2026-11-21T08:01:01.317Z","transition":"autoscaling:EC2_INSTANCE_LAUNCHING"}
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248061317},"already_finished":0,"calls":{"CompleteLifecycleAction":1,"DescribeAutoScalingGroups":1,"DescribeLifecycleHooks":1,"DescribeScalingActivities":1},"completed":1,"duration_ms":196,"function":"launch-logger","groups":1,"heartbeats":0,"left":0,"level":"INFO","outcome":"swept","started":0,"waiting":1}
    "#]].assert_eq(&play(&scene, &variables, sample("scheduled", &scene)).await);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_without_groups_asks_nothing() {
    check("reconcile", expect![[r#"
        answer: {"already_finished":0,"completed":0,"groups":0,"heartbeats":0,"left":0,"outcome":"swept","started":0,"waiting":0}
        after 0.0ns
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001121},"already_finished":0,"calls":{},"completed":0,"duration_ms":0,"function":"launch-logger","groups":0,"heartbeats":0,"left":0,"level":"INFO","outcome":"swept","started":0,"waiting":0}
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_description_holds_every_variable_and_makes_no_call() {
    let scene = scene_at(eight_o_clock()).await;
    let variables = [(AUTO_SCALING_GROUPS, "web, api-*")];
    expect![[r#"
        answer: {"configuration":{"AUTO_SCALING_GROUPS":"web, api-*","LIFECYCLE_HOOKS":null,"ON_FAILURE":"ABANDON"},"function":"launch-logger","outcome":"described","version":"0.1.0"}
        after 0.0ns
    "#]].assert_eq(&play(&scene, &variables, sample("describe", &scene)).await);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_field_is_named_with_its_path() {
    check("malformed-refused", expect![[r#"
        InvalidPayload: detail.EC2InstanceId: invalid type: integer `17`, expected a string
        after 0.0ns
        writes {"Outcomes":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function","outcome"]],"Metrics":[{"Name":"Outcomes","Unit":"Count"}],"Namespace":"LifecycleFunctions"}],"Timestamp":1795248001121},"calls":{},"duration_ms":0,"error":"detail.EC2InstanceId: invalid type: integer `17`, expected a string","function":"launch-logger","level":"INFO","outcome":"InvalidPayload"}
    "#]]).await;
}

/// Every sample of `events/launch-logger`, and what becomes of it.
const SAMPLES: [(&str, &str); 22] = [
    ("launch", "completed"),
    ("launch-into-warm-pool", "completed"),
    ("launch-from-warm-pool", "completed"),
    ("replace-root-volume", "completed"),
    ("sqs-hook-notification", "completed"),
    ("sqs-event", "completed"),
    ("sns-hook-notification", "completed"),
    ("sns-event", "completed"),
    ("sns-in-sqs", "completed"),
    ("sqs-batch-one-bad", "completed"),
    ("pipes", "completed"),
    ("failure-record", "completed"),
    ("sqs-failure-record", "completed"),
    ("sns-test-notification", "ignored"),
    ("sns-subscription-confirmation", "ignored"),
    ("sqs-test-notification", "ignored"),
    ("scheduled", "swept"),
    ("reconcile", "swept"),
    ("describe", "described"),
    ("terminate-refused", "UnsupportedEvent"),
    ("foreign-refused", "UnsupportedEvent"),
    ("malformed-refused", "InvalidPayload"),
];

#[tokio::test(start_paused = true)]
async fn every_sample_is_dealt_with_as_documented() {
    for (name, outcome) in SAMPLES {
        let scene = scene_at(eight_o_clock()).await;
        let played = play(&scene, &[], sample(name, &scene)).await;
        assert!(played.contains(&format!(r#""outcome":"{outcome}""#)), "{name}: {played}");
        let state = if outcome == "completed" { "Pending:Proceed" } else { "Pending:Wait" };
        assert_eq!(scene.state(), state, "{name}");
    }
    let mut files: Vec<_> =
        testkit::events(NAME).read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut names: Vec<_> =
        SAMPLES.map(|(name, _)| testkit::events(NAME).join(name).with_extension("json")).into();
    names.sort();
    assert_eq!(files, names);
}

#[tokio::test(start_paused = true)]
async fn a_record_tells_a_warm_pools_two_pauses_and_a_replaced_root_volume_apart() {
    for (name, way) in [
        ("launch", ["EC2", "AutoScalingGroup", "Launch"]),
        ("launch-into-warm-pool", ["EC2", "WarmPool", "Launch"]),
        ("launch-from-warm-pool", ["WarmPool", "AutoScalingGroup", "Launch"]),
        ("replace-root-volume", ["AutoScalingGroup", "AutoScalingGroup", "ReplaceRootVolume"]),
    ] {
        let scene = scene_at(eight_o_clock()).await;
        let record = record(&play(&scene, &[], sample(name, &scene)).await);
        assert_eq!(
            ["origin", "destination", "action"].map(|field| &record[field]),
            way.map(|word| json!(word)).each_ref()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn long_metadata_is_cut_and_its_length_is_recorded() {
    for length in [199, 200, 201, 4_000] {
        let scene = scene_at(eight_o_clock()).await;
        let mut event = sample("launch", &scene);
        event["detail"]["NotificationMetadata"] = json!("\u{fc}".repeat(length));
        let record = record(&play(&scene, &[], event).await);
        assert_eq!(record["notification.metadata"], "\u{fc}".repeat(length.min(200)));
        assert_eq!(record["notification.metadata_length"], length);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_in_an_event_makes_a_long_record() {
    let long = "x".repeat(1_000_000);
    let scene = scene_at(eight_o_clock()).await;
    let mut event = sample("launch", &scene);
    for field in ["NotificationMetadata", "Origin", "Destination", "Action"] {
        event["detail"][field] = json!(long);
    }
    event["id"] = json!(long);
    event["resources"] = json!(vec![&long; 6]);
    let played = play(&scene, &[], event).await;
    let written: Vec<_> = played.lines().filter(|line| line.starts_with("writes ")).collect();
    assert_eq!(written.len(), 2, "{played}");
    assert!(written[0].contains(&"x".repeat(200)) && written[0].len() < 4_096, "{}", written[0].len());
    assert_eq!(scene.state(), "Pending:Proceed");
}

/// With names of 20 characters and no metadata, as AWS sends them.
#[tokio::test(start_paused = true)]
async fn an_event_that_ends_well_writes_at_most_1300_bytes_and_its_own_line_has_at_most_700() {
    let (group, hook) = ("twenty-characters-wb", "twenty-characters-hk");
    let lab = Lab::new(eight_o_clock(), 7);
    testkit::deploy::<Context>(&lab, &[], Duration::from_secs(10));
    lab.add_rule(&json!({ "detail-type": [common::LAUNCH_EVENT] }), NAME).unwrap();
    let operator = Client::new(&lab.sdk_config("operator"));
    testkit::create_group(&operator, group, 1, &[(hook, testkit::LAUNCHING, 300, "ABANDON")]).await;
    lab.sleep(Duration::from_secs(120)).await;
    let logs = lab.logs();
    let [record, line] = &logs[..] else { panic!("{logs:#?}") };
    assert!(
        record.contains(group) && line.contains(hook) && line.contains(r#""outcome":"completed""#),
        "{logs:#?}"
    );
    // With its line break.
    assert!(line.len() < 700, "{} bytes: {line}", line.len() + 1);
    assert!(record.len() + line.len() < 1_299, "{} bytes: {logs:#?}", record.len() + line.len() + 2);
}

/// The record among what was played.
fn record(played: &str) -> Value {
    let mut lines = played.lines().filter_map(|line| line.strip_prefix("writes "));
    let record = lines.find(|line| line.contains(r#""record":"launch""#)).unwrap();
    serde_json::from_str(record).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_could_not_be_recorded_is_abandoned() {
    let scene = scene_at(eight_o_clock()).await;
    expect![[r#"
        POST autoscaling CompleteLifecycleAction
          AutoScalingGroupName=web
          InstanceId=i-045c261ad9e6221b6
          LifecycleActionResult=ABANDON
          LifecycleActionToken=b934252f-607e-416b-a00e-74db785397a7
          LifecycleHookName=record-launch
          => ok
        answer: {"action.id":"b934252f","action.result":"ABANDON","asg.name":"web","failure":"not-recorded","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"completed","reason":"the launch could not be recorded: No space left on device (os error 28)"}
        after 40.0ms
    "#]].assert_eq(&play_into(full(), &scene, &[], sample("launch", &scene)).await);
}

#[tokio::test(start_paused = true)]
async fn an_unrecorded_launch_continues_where_the_operator_says_so() {
    let scene = scene_at(eight_o_clock()).await;
    let played = play_into(full(), &scene, &[(ON_FAILURE, "CONTINUE")], sample("launch", &scene)).await;
    assert!(
        played.contains("LifecycleActionResult=CONTINUE") && played.contains(r#""failure":"not-recorded""#),
        "{played}"
    );
    assert_eq!(scene.state(), "Pending:Proceed");
}

#[tokio::test(start_paused = true)]
async fn throttles_contention_5xx_and_cut_connections_are_tried_again() {
    check_faults(&[Throttle, Throttle], expect![[r#"
          => Throttling
          => Throttling
          => ok
        answer: {"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"completed"}
        after 1.0s
    "#]]).await;
    check_faults(&[ServerError, Contention, CutBefore], expect![[r#"
          => InternalFailure
          => ResourceContention
          => connection cut before the call took effect
          => ok
        answer: {"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"completed"}
        after 2.6s
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_was_lost_has_happened() {
    check_faults(&[CutAfter], expect![[r#"
          => ok, but the answer was lost
          => ValidationError
          => ValidationError
          => ValidationError
          => ValidationError
          => ValidationError
        answer: {"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"completed"}
        after 3.0s
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_denied_call_is_an_error_with_awss_own_words() {
    check_faults(&[AccessDenied], expect![[r#"
          => AccessDenied
        AwsError: CompleteLifecycleAction failed: AccessDenied: User: arn:aws:sts::123456789012:assumed-role/launch-logger/launch-logger is not authorized to perform: autoscaling:CompleteLifecycleAction because no identity-based policy allows the autoscaling:CompleteLifecycleAction action (request launch-logger-1)
        after 40.0ms
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_given_up_before_the_deadline() {
    check_faults(&[Hang, Hang, Hang], expect![[r#"
          => no answer
          => no answer
        Timeout: CompleteLifecycleAction had no answer in time: request has timed out: operation attempt timeout (single attempt) occurred after 4.266s
        after 9.5s
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_throttle_without_end_is_reported_as_awss_answer() {
    check_faults(
        &[Throttle; 100],
        expect![[r#"
              => Throttling
              => Throttling
              => Throttling
              => Throttling
              => Throttling
              => Throttling
              => Throttling
            AwsError: CompleteLifecycleAction failed: Throttling: Rate exceeded (request launch-logger-7)
            after 9.2s
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_hanging_message_does_not_touch_the_others() {
    let scene = scene_at(eight_o_clock()).await;
    let good = sample("sqs-hook-notification", &scene)["Records"][0].clone();
    let mut hanging = good.clone();
    hanging["messageId"] = json!("hangs");
    for nth in [1, 3, 4, 5] {
        scene.lab.faults().at_call("launch-logger", nth, Hang);
    }
    let played = play(&scene, &[], json!({ "Records": [hanging, good] })).await;
    assert!(played.contains(r#"answer: {"batchItemFailures":[{"itemIdentifier":"hangs"}]}"#), "{played}");
    assert_eq!(scene.state(), "InService");
}

#[tokio::test(start_paused = true)]
async fn a_second_delivery_is_a_quiet_success() {
    let scene = scene_at(eight_o_clock()).await;
    play(&scene, &[], sample("launch", &scene)).await;
    check_outcomes(&scene, expect![[r#"
          => ok
          => ValidationError
          => ValidationError
          => ValidationError
          => ValidationError
          => ValidationError
        answer: {"action.id":"b934252f","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"already-finished"}
        after 3.0s
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_action_that_ended_long_ago_is_asked_for_once() {
    let scene = scene_at(eight_o_clock()).await;
    scene.lab.sleep(Duration::from_secs(600)).await;
    assert_eq!(scene.state(), "gone");
    check_outcomes(&scene, expect![[r#"
          => ValidationError
        answer: {"action.id":"b934252f","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"already-finished"}
        after 40.0ms
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_ahead_of_its_action_is_asked_again() {
    let scene = scene_at(eight_o_clock()).await;
    let started =
        scene.lab.world(|world| world.autoscaling.instances().next().unwrap().waits[common::HOOK].started);
    let two_seconds_more = (scene.lab.now() - started).to_std().unwrap() + Duration::from_secs(2);
    let scene = scene_accepted_after(eight_o_clock(), two_seconds_more).await;
    check_outcomes(&scene, expect![[r#"
          => ValidationError
          => ValidationError
          => ValidationError
          => ValidationError
          => ok
        answer: {"action.id":"b934252f","action.result":"CONTINUE","asg.name":"web","hook.name":"record-launch","instance.id":"i-045c261ad9e6221b6","outcome":"completed"}
        after 3.1s
    "#]]).await;
}

#[test]
fn every_bad_variable_is_named_and_an_unknown_value_is_never_a_default() {
    for bad in ["abandon", "", "RETRY", " CONTINUE"] {
        let error = Config::parse(&[(ON_FAILURE, bad)].into_iter().collect()).unwrap_err();
        assert_eq!(error.name(), "InvalidConfig");
        assert_eq!(error.chain(), format!("ON_FAILURE: {bad:?} is neither CONTINUE nor ABANDON"));
    }
    let bad = [(ON_FAILURE, "no"), (AUTO_SCALING_GROUPS, "a*b"), (LIFECYCLE_HOOKS, "a,,b")];
    let error = Config::parse(&bad.into_iter().collect()).unwrap_err().chain();
    let expected = [ON_FAILURE, AUTO_SCALING_GROUPS, LIFECYCLE_HOOKS];
    assert!(expected.iter().all(|name| error.contains(&format!("{name}: "))), "{error}");
}
