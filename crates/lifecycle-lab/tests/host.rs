//! How events travel and functions run: rules, queues and topics, Lambda's retries, time limits and
//! failure queue, the Runtime API, and the faults of all of them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use chrono::{DateTime, Utc};
use lifecycle_lab::faults::{CallFault, Chaos, EventFault};
use lifecycle_lab::{
    Code, Condition, Envelope, Function, FunctionError, Lab, RunError, What, World, running_request,
};
use serde_json::{Value, json};

fn lab() -> Lab {
    lab_of(1)
}

fn lab_of(seed: u64) -> Lab {
    Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), seed)
}

/// What a function was invoked with, and when.
type Seen = Arc<Mutex<Vec<(DateTime<Utc>, Value)>>>;

/// Adds a function in this process that notes its payloads and gives the answers in turn, the last one
/// for ever.
fn add(lab: &Lab, name: &str, answers: Vec<Result<Value, &'static str>>) -> Seen {
    let seen = Seen::default();
    let (noted, clock) = (seen.clone(), lab.clone());
    lab.add_function(Function {
        name: name.to_owned(),
        time_limit: Duration::from_secs(10),
        code: Code::handler(move |payload, _| {
            let mut noted = noted.lock().unwrap();
            let answer = answers[noted.len().min(answers.len() - 1)].clone();
            noted.push((clock.now(), payload));
            async move { answer.map_err(|kind| FunctionError::new(kind, "")) }
        }),
    });
    seen
}

fn seconds(seen: &Seen) -> Vec<i64> {
    let start: DateTime<Utc> = "2026-11-21T08:00:00Z".parse().unwrap();
    seen.lock().unwrap().iter().map(|(at, _)| (*at - start).num_seconds()).collect()
}

fn event(kind: &str) -> Value {
    json!({ "source": "test", "detail-type": kind, "detail": {} })
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_invocation_is_retried_after_about_one_and_two_minutes_and_then_kept() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Err("Broken")]);
    lab.invoke_async("f", json!({ "n": 1 })).await;
    assert_eq!(seconds(&seen), [0, 53, 173]);
    let [failure] = lab.failures().try_into().unwrap();
    assert_eq!(
        (failure.payload, failure.error, failure.attempts),
        (json!({ "n": 1 }), RunError::Function(FunctionError::new("Broken", "")), 3)
    );
}

#[tokio::test(start_paused = true)]
async fn the_failure_queue_gets_lambdas_record_and_all_attempts_have_one_request_id() {
    let lab = lab();
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = ids.clone();
    let code = Code::handler(move |_, _| {
        let noted = noted.clone();
        async move {
            noted.lock().unwrap().push(running_request().unwrap());
            Err(FunctionError::new("Broken", "why"))
        }
    });
    lab.add_function(Function { name: "f".to_owned(), time_limit: Duration::from_secs(3), code });
    lab.invoke_async("f", json!({ "n": 1 })).await;
    let ids = ids.lock().unwrap().clone();
    assert_eq!(ids, [ids[0].as_str(); 3]);
    let [failure] = lab.failures().try_into().unwrap();
    assert_eq!(
        failure.record(),
        json!({
            "version": "1.0",
            "timestamp": "2026-11-21T08:02:53.500Z",
            "requestContext": {
                "requestId": ids[0],
                "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": { "n": 1 },
            "responseContext": { "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" },
            "responsePayload": { "errorType": "Broken", "errorMessage": "why" },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn the_greatest_age_of_an_event_is_checked_before_a_wait() {
    for (age, begun) in [(60, vec![0]), (90, vec![0, 53]), (173, vec![0, 53]), (21_600, vec![0, 53, 173])] {
        let lab = lab();
        let seen = add(&lab, "f", vec![Err("Broken")]);
        lab.limit_events("f", 2, Duration::from_secs(age));
        lab.invoke_async("f", json!({})).await;
        assert_eq!(seconds(&seen), begun, "{age} s");
        let [failure] = lab.failures().try_into().unwrap();
        let waited = (lab.now() - "2026-11-21T08:00:00Z".parse::<DateTime<Utc>>().unwrap()).num_seconds();
        assert_eq!(waited, *begun.last().unwrap(), "{age} s: given up at once");
        let old = if age < 1_000 { Condition::EventAgeExceeded } else { Condition::RetriesExhausted };
        assert_eq!((failure.condition, failure.attempts as usize), (Some(old), begun.len()));
        assert_eq!(
            failure.record()["responsePayload"]["errorType"],
            "Broken",
            "it ran, so it has a response"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_has_as_many_retries_as_it_is_set() {
    for (retries, begun) in [(0, vec![0]), (1, vec![0, 53])] {
        let lab = lab();
        let seen = add(&lab, "f", vec![Err("Broken")]);
        lab.limit_events("f", retries, Duration::from_secs(3_600));
        lab.invoke_async("f", json!({})).await;
        assert_eq!(seconds(&seen), begun);
        assert_eq!(lab.failures()[0].condition, Some(Condition::RetriesExhausted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_number_of_retries_does_not_stop_a_retry_that_waits_already() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Err("Broken")]);
    let limit = async {
        lab.sleep(Duration::from_secs(10)).await;
        lab.limit_events("f", 0, Duration::from_secs(3_600));
    };
    tokio::join!(lab.invoke_async("f", json!({})), limit);
    assert_eq!(seconds(&seen), [0, 53]);
    assert_eq!(lab.failures()[0].condition, Some(Condition::RetriesExhausted));
}

#[tokio::test(start_paused = true)]
async fn events_of_a_function_whose_permission_is_gone_are_dead_letters_at_once() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Ok(json!(null))]);
    lab.add_rule(&json!({ "source": ["test"] }), "f").unwrap();
    lab.forbid_rules("f");
    lab.publish(event("one"));
    lab.sleep(Duration::from_secs(2)).await;
    let [letter] = lab.dead_letters().try_into().unwrap();
    assert_eq!(
        (letter.function.as_str(), letter.error_code, letter.event),
        ("f", "NO_PERMISSIONS", event("one"))
    );
    assert_eq!((seen.lock().unwrap().len(), lab.failures()), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn events_say_their_account_and_region_and_those_of_others_can_be_put() {
    let lab = lab();
    let mut moments = lab.observe();
    let own = add(&lab, "own", vec![Ok(json!(null))]);
    let all = add(&lab, "all", vec![Ok(json!(null))]);
    let pattern = json!({ "source": ["aws.autoscaling"], "account": [lifecycle_lab::ACCOUNT], "region": ["us-east-1"] });
    lab.add_rule(&pattern, "own").unwrap();
    lab.add_rule(&json!({ "source": ["aws.autoscaling"] }), "all").unwrap();
    notifying(&lab, "").await;
    let event = loop {
        if let What::Sent(event) = moments.recv().await.unwrap().what
            && event["detail-type"] == "EC2 Instance-launch Lifecycle Action"
        {
            break event;
        }
    };
    assert_eq!((&event["account"], &event["region"]), (&json!("123456789012"), &json!("us-east-1")));
    let before = (own.lock().unwrap().len(), all.lock().unwrap().len());
    for (key, value) in [("account", "210987654321"), ("region", "eu-west-1")] {
        let mut foreign = event.clone();
        foreign[key] = json!(value);
        lab.publish(foreign);
    }
    lab.sleep(Duration::from_secs(2)).await;
    let after = (own.lock().unwrap().len(), all.lock().unwrap().len());
    assert_eq!(after, (before.0, before.1 + 2));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_succeeds_at_the_second_attempt_is_not_kept() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Err("Broken"), Ok(json!("fine"))]);
    lab.invoke_async("f", json!({})).await;
    assert_eq!(seconds(&seen), [0, 53]);
    assert_eq!(lab.failures(), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_outlasts_its_time_limit_is_ended() {
    let lab = lab();
    lab.add_function(Function {
        name: "f".to_owned(),
        time_limit: Duration::from_secs(3),
        code: Code::handler(|_, _| std::future::pending()),
    });
    let error = lab.invoke("f", json!({}), 1).await.unwrap_err();
    assert_eq!(error, RunError::TimedOut(Duration::from_secs(3)));
    assert_eq!(
        error.answered("8e9c"),
        FunctionError::new("Sandbox.Timedout", "RequestId: 8e9c Error: Task timed out after 3.00 seconds")
    );
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_not_there_is_an_error() {
    let error = lab().invoke("f", json!({}), 1).await.unwrap_err();
    assert_eq!(error, RunError::NotFound("f".to_owned()));
    assert_eq!(error.to_string(), "ResourceNotFoundException: Function not found: f");
}

#[tokio::test(start_paused = true)]
async fn a_rule_sends_what_matches_its_pattern_to_its_function() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Ok(json!(null))]);
    lab.add_rule(&json!({ "detail-type": ["wanted"] }), "f").unwrap();
    lab.publish(event("wanted"));
    lab.publish(event("unwanted"));
    lab.sleep(Duration::from_secs(5)).await;
    let kinds: Vec<_> = seen.lock().unwrap().iter().map(|(_, event)| event["detail-type"].clone()).collect();
    assert_eq!(kinds, ["wanted"]);
    assert!(lab.add_rule(&json!({ "detail": { "n": [{ "numeric": [">", 1] }] } }), "f").is_err());
}

#[tokio::test(start_paused = true)]
async fn events_are_lost_doubled_delayed_and_overtaken_on_request() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Ok(json!(null))]);
    lab.add_rule(&json!({ "source": ["test"] }), "f").unwrap();
    lab.faults().script_events("lost", [EventFault::Lost]);
    lab.faults().script_events("doubled", [EventFault::Doubled]);
    lab.faults().script_events("delayed", [EventFault::Delayed]);
    lab.faults().script_events("overtaken", [EventFault::Reordered]);
    for kind in ["lost", "doubled", "delayed", "overtaken", "last"] {
        lab.publish(event(kind));
    }
    lab.sleep(Duration::from_secs(6)).await;
    let order =
        seen.lock().unwrap().iter().map(|(_, event)| event["detail-type"].clone()).collect::<Vec<_>>();
    assert_eq!(order.last(), Some(&json!("overtaken")));
    let kinds = || -> Vec<String> {
        let mut kinds: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, event)| event["detail-type"].as_str().unwrap().to_owned())
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(), ["doubled", "doubled", "last", "overtaken"]);
    lab.sleep(Duration::from_secs(600)).await;
    assert_eq!(kinds(), ["delayed", "doubled", "doubled", "last", "overtaken"]);
}

/// A group whose hook notifies a target, and one instance on its way into the hook.
async fn notifying(lab: &Lab, target: &str) {
    let operator = Client::new(&lab.sdk_config("operator"));
    operator
        .create_auto_scaling_group()
        .auto_scaling_group_name("web")
        .launch_configuration_name("web")
        .availability_zones("us-east-1a")
        .min_size(1)
        .max_size(1)
        .send()
        .await
        .unwrap();
    operator
        .put_lifecycle_hook()
        .auto_scaling_group_name("web")
        .lifecycle_hook_name("hook")
        .lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING")
        .notification_target_arn(target)
        .role_arn("arn:aws:iam::123456789012:role/hook")
        .send()
        .await
        .unwrap();
    lab.sleep(Duration::from_secs(50)).await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_notifies_queues_and_topics_first_with_a_test() {
    for (target, envelope, message) in [
        ("arn:aws:sqs:us-east-1:123456789012:q", Envelope::Sqs, "/Records/0/body"),
        ("arn:aws:sns:us-east-1:123456789012:t", Envelope::Sns, "/Records/0/Sns/Message"),
        ("arn:aws:sns:us-east-1:123456789012:t", Envelope::SnsInSqs, "/Records/0/body"),
    ] {
        let lab = lab();
        let seen = add(&lab, "f", vec![Ok(json!({ "batchItemFailures": [] }))]);
        lab.subscribe(target, "f", envelope);
        notifying(&lab, target).await;
        let messages: Vec<Value> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, payload)| {
                let text = payload.pointer(message).unwrap().as_str().unwrap();
                let message: Value = serde_json::from_str(text).unwrap();
                match envelope {
                    Envelope::SnsInSqs => serde_json::from_str(message["Message"].as_str().unwrap()).unwrap(),
                    _ => message,
                }
            })
            .collect();
        assert_eq!(messages.len(), 2, "{envelope:?}");
        assert_eq!(messages[0]["Event"], "autoscaling:TEST_NOTIFICATION");
        assert_eq!(messages[1]["LifecycleTransition"], "autoscaling:EC2_INSTANCE_LAUNCHING");
        assert_eq!(messages[1]["LifecycleActionToken"].as_str().unwrap().len(), 36);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_a_function_reports_as_failed_comes_again_and_is_kept_at_last() {
    let lab = lab();
    let failed = json!({ "batchItemFailures": [{ "itemIdentifier": "x" }] });
    let seen = add(&lab, "f", vec![Ok(json!({ "batchItemFailures": [] })), Ok(failed.clone())]);
    lab.subscribe("arn:aws:sqs:us-east-1:123456789012:q", "f", Envelope::Sqs);
    notifying(&lab, "arn:aws:sqs:us-east-1:123456789012:q").await;
    lab.sleep(Duration::from_secs(120)).await;
    assert_eq!(seen.lock().unwrap().len(), 4, "the test, and three receives of the notification");
    let [failure] = lab.failures().try_into().unwrap();
    assert_eq!((failure.error.clone(), failure.attempts), (RunError::MessagesFailed(failed), 3));
    assert_eq!(failure.condition, None);
    assert_eq!(failure.record()["LifecycleHookName"], "hook", "SQS keeps the message itself");
}

/// Describes groups once. Returns the result.
async fn describe(lab: &Lab, caller: &str) -> String {
    let config = lab.sdk_config(caller).into_builder().retry_config(RetryConfig::disabled()).build();
    let call = Client::new(&config).describe_auto_scaling_groups().send();
    match tokio::time::timeout(Duration::from_secs(2), call).await {
        Err(_) => "hangs".to_owned(),
        Ok(Ok(_)) => "ok".to_owned(),
        Ok(Err(error)) => match error.raw_response() {
            Some(answer) => {
                let text = std::str::from_utf8(answer.body().bytes().unwrap()).unwrap();
                let code = text.split("<Code>").nth(1).unwrap().split('<').next().unwrap();
                format!("{} {code}", answer.status().as_u16())
            }
            None => "cut".to_owned(),
        },
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_call_has_awss_shape() {
    for (fault, shape) in [
        (CallFault::Throttle, "400 Throttling"),
        (CallFault::ServerError, "500 InternalFailure"),
        (CallFault::Contention, "500 ResourceContention"),
        (CallFault::AccessDenied, "403 AccessDenied"),
        (CallFault::Hang, "hangs"),
        (CallFault::CutBefore, "cut"),
        (CallFault::CutAfter, "cut"),
    ] {
        let lab = lab();
        lab.faults().script("DescribeAutoScalingGroups", [fault]);
        assert_eq!(describe(&lab, "f").await, shape);
        assert_eq!(describe(&lab, "f").await, "ok", "a scripted fault happens once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_is_killed_at_the_call_that_was_chosen() {
    for (fault, made) in [(CallFault::KillBefore, 0), (CallFault::KillAfter, 1)] {
        let lab = lab();
        let client = Client::new(&lab.sdk_config("f"));
        lab.add_function(Function {
            name: "f".to_owned(),
            time_limit: Duration::from_secs(10),
            code: Code::handler(move |_, _| {
                let client = client.clone();
                async move {
                    client.describe_auto_scaling_groups().send().await.unwrap();
                    let hook = client
                        .create_auto_scaling_group()
                        .auto_scaling_group_name("web")
                        .min_size(0)
                        .max_size(1);
                    hook.launch_configuration_name("web")
                        .availability_zones("us-east-1a")
                        .send()
                        .await
                        .unwrap();
                    Ok(json!("done"))
                }
            }),
        });
        lab.faults().at_call("f", 2, fault);
        let error = lab.invoke("f", json!({}), 1).await.unwrap_err();
        assert_eq!(error, RunError::Killed);
        assert_eq!(error.to_string(), "Runtime.ExitError: Runtime exited with error: signal: killed");
        let groups = lab.world(|world| usize::from(world.autoscaling.group("web").is_some()));
        assert_eq!(groups, made, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays_exactly_and_another_one_differs() {
    async fn story(seed: u64) -> Vec<String> {
        let lab = lab_of(seed);
        let chaos = "throttle=0.2,5xx=0.1,answer-lost=0.1,event-doubled=0.2,event-lost=0.1,event-delayed=0.1";
        lab.faults().chaos(chaos.parse::<Chaos>().unwrap());
        let mut moments = lab.observe();
        let client = Client::new(&lab.sdk_config("f"));
        add(&lab, "g", vec![Err("Broken"), Ok(json!(null))]);
        lab.add_rule(&json!({ "source": ["aws.autoscaling"] }), "g").unwrap();
        notifying(&lab, "").await;
        for _ in 0..20 {
            // Faults are the point here.
            let _ = client.describe_auto_scaling_groups().send().await;
        }
        lab.sleep(Duration::from_secs(900)).await;
        let mut story = Vec::new();
        while let Ok(moment) = moments.try_recv() {
            story.push(format!("{moment:?}"));
        }
        story
    }
    let first = story(1).await;
    assert!(first.len() > 40);
    assert_eq!(first, story(1).await);
    assert_ne!(first, story(2).await);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_invokes_again_and_again() {
    let lab = lab();
    let seen = add(&lab, "f", vec![Ok(json!(null))]);
    lab.schedule(Duration::from_secs(300), "f", json!({ "action": "reconcile" }));
    lab.sleep(Duration::from_secs(1_000)).await;
    assert_eq!(seconds(&seen), [300, 600, 900]);
}

#[tokio::test(start_paused = true)]
async fn faults_of_events_leave_the_worlds_ids_alone() {
    /// The ids of what happens under these faults, and the faults that were met.
    async fn ids(faults: Vec<EventFault>) -> (Vec<String>, Vec<EventFault>) {
        let lab = lab();
        let mut moments = lab.observe();
        add(&lab, "f", vec![Ok(json!(null))]);
        lab.add_rule(&json!({ "source": ["aws.autoscaling"] }), "f").unwrap();
        lab.faults().script_events("EC2 Instance Launch Successful", faults);
        for _ in 0..2 {
            notifying_now(&lab).await;
            lab.sleep(Duration::from_secs(60)).await;
            let delete = Client::new(&lab.sdk_config("operator")).delete_auto_scaling_group();
            delete.auto_scaling_group_name("web").force_delete(true).send().await.unwrap();
            lab.sleep(Duration::from_secs(60)).await;
        }
        let mut met = Vec::new();
        while let Ok(moment) = moments.try_recv() {
            if let What::Faulted(fault, _) = moment.what {
                met.push(fault);
            }
        }
        let activities =
            |world: &mut World| world.autoscaling.activities().iter().map(|one| one.id.clone()).collect();
        (lab.world(activities), met)
    }
    let faults = vec![EventFault::Doubled, EventFault::Lost];
    let (undisturbed, none) = ids(vec![]).await;
    assert_eq!((undisturbed.len(), none), (4, vec![]), "two launches, two ends");
    assert_eq!(ids(faults.clone()).await, (undisturbed, faults));
}

#[test]
fn chaos_is_read_by_name_and_refused_by_name() {
    assert!("throttle=0.1, event-lost=0.02".parse::<Chaos>().is_ok());
    for (text, error) in [
        ("throttle", "\"throttle\" is not name=probability"),
        ("throttle=2", "\"2\" is not a probability from 0 to 1"),
        ("gremlins=0.1", "\"gremlins\" is no fault; faults are throttle, 5xx, "),
    ] {
        assert!(text.parse::<Chaos>().unwrap_err().starts_with(error));
    }
}

/// A bootstrap in shell that takes one event from the Runtime API and then does `what`.
fn bootstrap(name: &str, what: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let script = format!(
        "#!/bin/bash\nexec 3<>\"/dev/tcp/${{AWS_LAMBDA_RUNTIME_API/://}}\"\n\
         printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n' >&3\nread -r line <&3\n\
         echo \"$line\"\n{what}\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn process(lab: &Lab, path: std::path::PathBuf) {
    lab.add_function(Function {
        name: "f".to_owned(),
        time_limit: Duration::from_secs(1),
        code: Code::Binary { path, variables: BTreeMap::new() },
    });
}

#[tokio::test]
async fn a_process_that_outlasts_its_time_limit_is_killed_and_its_logs_are_kept() {
    let lab = lab();
    process(&lab, bootstrap("slow", "exec sleep 60"));
    let error = lab.invoke("f", json!({}), 1).await.unwrap_err();
    assert_eq!(error, RunError::TimedOut(Duration::from_secs(1)));
    assert!(lab.logs()[0].starts_with("HTTP/1.1 200"), "{:?}", lab.logs());
}

#[tokio::test]
async fn a_process_that_ends_without_an_answer_is_an_exit_error() {
    let lab = lab();
    process(&lab, bootstrap("crash", "exit 3"));
    let error = lab.invoke("f", json!({}), 1).await.unwrap_err();
    assert_eq!(error, RunError::Exited("exit status: 3".to_owned()));
    let text = "RequestId: 8e9c Error: Runtime exited with error: exit status 3";
    assert_eq!(error.answered("8e9c"), FunctionError::new("Runtime.ExitError", text));
    process(&lab, bootstrap("quit", "exit 0"));
    let error = lab.invoke("f", json!({}), 1).await.unwrap_err();
    let text = "RequestId: 8e9c Error: Runtime exited without providing a reason";
    assert_eq!(error.answered("8e9c"), FunctionError::new("Runtime.ExitError", text));
    process(&lab, "/no/such/bootstrap".into());
    let error = lab.invoke("f", json!({}), 1).await.unwrap_err();
    assert!(matches!(error, RunError::NotStarted(_)), "{error:?}");
    assert_eq!(error.error_type(), "Runtime.StartError");
}

#[tokio::test]
async fn the_clock_can_be_skipped_ahead() {
    let lab = lab();
    let before = lab.now();
    let mut moments = lab.observe();
    notifying_now(&lab).await;
    lab.skip(Duration::from_secs(3600));
    assert!(lab.now() - before >= chrono::TimeDelta::hours(1));
    let mut states = Vec::new();
    while let Ok(moment) = moments.try_recv() {
        if let What::Seen(lifecycle_lab::Sight::State { state, .. }) = moment.what {
            states.push((state, (moment.at - before).num_seconds()));
        }
    }
    assert_eq!(states[0].0, "Pending");
    assert_eq!(states.last().unwrap().0, "InService");
    assert!(states.last().unwrap().1 < 60, "each change has the time at which it was due: {states:?}");
}

async fn notifying_now(lab: &Lab) {
    let operator = Client::new(&lab.sdk_config("operator"));
    let group = operator.create_auto_scaling_group().auto_scaling_group_name("web").min_size(1).max_size(1);
    group.launch_configuration_name("web").availability_zones("us-east-1a").send().await.unwrap();
}
