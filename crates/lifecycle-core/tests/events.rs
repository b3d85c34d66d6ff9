//! The parsers of events: what goes in comes out, whatever the envelope; what is no event is refused
//! with the path of its field; and nothing makes them panic.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use chrono::{DateTime, Utc};
use lambda_kit::{Error, Payload};
use lifecycle_core::event::{message, read};
use lifecycle_core::{ActionToken, LifecycleAction, Message, Transition, Wait};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Names as AWS allows them, and worse.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9/_-]{1,255}", "\\PC{1,40}", Just("\"\\\n\u{0}".to_owned())]
}

fn action() -> impl Strategy<Value = LifecycleAction> {
    let names = (name(), name(), name(), name());
    let extras = (option::of(".{0,60}"), option::of(name()), option::of(name()), option::of(name()));
    (any::<bool>(), names, extras, 0i64..4_000_000_000_000).prop_map(
        |(launching, (group, hook, instance, token), (metadata, origin, destination, action), time)| {
            LifecycleAction {
                transition: if launching { Transition::Launching } else { Transition::Terminating },
                wait: Wait { group, hook, instance, token: Some(ActionToken::from(token)) },
                time: DateTime::from_timestamp_millis(time).unwrap_or_default(),
                metadata,
                origin,
                destination,
                action,
                event_id: Some("id".to_owned()),
                account: Some("123456789012".to_owned()),
                region: None,
                resources: Vec::new(),
            }
        },
    )
}

fn fields(action: &LifecycleAction) -> Value {
    json!({
        "LifecycleActionToken": action.wait.token.as_ref().map(ActionToken::expose),
        "AutoScalingGroupName": action.wait.group,
        "LifecycleHookName": action.wait.hook,
        "EC2InstanceId": action.wait.instance,
        "LifecycleTransition": action.transition.as_str(),
        "NotificationMetadata": action.metadata,
        "Origin": action.origin,
        "Destination": action.destination,
        "Action": action.action,
    })
}

fn event(action: &LifecycleAction) -> Value {
    let kind = if action.transition == Transition::Launching { "launch" } else { "terminate" };
    json!({
        "id": "id",
        "account": "123456789012",
        "source": "aws.autoscaling",
        "detail-type": format!("EC2 Instance-{kind} Lifecycle Action"),
        "time": action.time,
        "detail": fields(action),
    })
}

fn notification(action: &LifecycleAction) -> Value {
    let mut notification = fields(action);
    notification["Service"] = json!("AWS Auto Scaling");
    notification["Time"] = json!(action.time);
    notification["RequestId"] = json!("id");
    notification["AccountId"] = json!("123456789012");
    notification
}

fn in_sns(message: &Value) -> Value {
    json!({ "Type": "Notification", "Message": message.to_string() })
}

fn sns_record(message: &Value) -> Value {
    json!({ "Records": [{ "EventSource": "aws:sns", "Sns": in_sns(message) }] })
}

fn sqs_batch(bodies: &[Value]) -> Value {
    let records = bodies.iter().enumerate().map(
        |(n, body)| json!({ "eventSource": "aws:sqs", "messageId": n.to_string(), "body": body.to_string() }),
    );
    json!({ "Records": records.collect::<Vec<_>>() })
}

/// What EventBridge Pipes delivers: the records of a batch.
fn piped(body: &Value) -> Value {
    sqs_batch(std::slice::from_ref(body))["Records"].clone()
}

/// A record of the failure queue.
fn failed(payload: &Value) -> Value {
    json!({ "requestContext": { "condition": "RetriesExhausted" }, "requestPayload": payload })
}

/// Every message of a payload.
fn open(payload: Value) -> Result<Vec<Result<Message, Error>>, Error> {
    Ok(match read(payload)? {
        Payload::One(received) => vec![received.message],
        Payload::Batch(records) => records.into_iter().map(|(_, received)| received.message).collect(),
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("Records".to_owned()),
        Just("detail".to_owned()),
        Just("detail-type".to_owned()),
        Just("Type".to_owned()),
        Just("Message".to_owned()),
        Just("Event".to_owned()),
        Just("LifecycleTransition".to_owned()),
        Just("EventSource".to_owned()),
        Just("requestContext".to_owned()),
        Just("requestPayload".to_owned()),
        "\\PC{0,5}",
    ];
    let text = prop_oneof![
        Just("EC2 Instance-launch Lifecycle Action".to_owned()),
        Just("aws.autoscaling".to_owned()),
        Just("aws:sns".to_owned()),
        Just("Notification".to_owned()),
        ".{0,20}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(key.clone(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn an_action_survives_every_envelope(action in action()) {
        let (event, notification) = (event(&action), notification(&action));
        let expected = Message::Action(Box::new(action));
        for payload in [
            event.clone(),
            sns_record(&event),
            sns_record(&notification),
            sqs_batch(std::slice::from_ref(&event)),
            sqs_batch(std::slice::from_ref(&notification)),
            sqs_batch(&[in_sns(&notification)]),
            sqs_batch(&[in_sns(&event)]),
            piped(&event),
            piped(&in_sns(&notification)),
            failed(&event),
            failed(&piped(&notification)),
            sqs_batch(&[failed(&sns_record(&event))]),
        ] {
            let messages = open(payload).unwrap();
            prop_assert_eq!(messages.len(), 1);
            prop_assert_eq!(messages[0].as_ref().unwrap(), &expected);
        }
    }

    #[test]
    fn nothing_makes_the_parsers_panic(payload in any_json()) {
        // Wrong payloads are the rule here: only a panic can fail this.
        let _ = open(payload.clone());
        let _ = open(sqs_batch(&[payload]));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".*") {
        let batch = json!({ "Records": [{ "messageId": "1", "body": text }] });
        prop_assert!(open(batch).unwrap()[0].is_err());
    }

    #[test]
    fn an_action_id_is_the_tokens_beginning_and_never_all_of_it(token in "\\PC{9,60}") {
        prop_assert!(token.starts_with(ActionToken::from(token.clone()).id()));
        prop_assert_eq!(ActionToken::from(token.clone()).id().chars().count(), 8);
    }

    #[test]
    fn without_any_required_field_the_error_names_it(action in action(), nth in 0usize..5) {
        let field = [
            "LifecycleActionToken",
            "AutoScalingGroupName",
            "LifecycleHookName",
            "EC2InstanceId",
            "LifecycleTransition",
        ][nth];
        let mut event = event(&action);
        event["detail"].as_object_mut().unwrap().remove(field);
        let error = message(event).unwrap_err();
        prop_assert_eq!(error.name(), "InvalidPayload");
        prop_assert_eq!(error.chain(), format!("detail.{field}: missing"));
    }
}

fn example() -> LifecycleAction {
    LifecycleAction {
        transition: Transition::Launching,
        wait: Wait {
            group: "web".to_owned(),
            hook: "hook".to_owned(),
            instance: "i-1".to_owned(),
            token: Some(ActionToken::from("87654321-4321-4321-4321-210987654321".to_owned())),
        },
        time: DateTime::<Utc>::UNIX_EPOCH,
        metadata: None,
        origin: None,
        destination: None,
        action: None,
        event_id: None,
        account: None,
        region: None,
        resources: Vec::new(),
    }
}

#[test]
fn what_is_no_event_is_refused_with_the_path_of_its_field() {
    let refused = |payload: Value, expected: &str| {
        let error = open(payload).and_then(|mut messages| messages.remove(0)).unwrap_err();
        assert_eq!((error.name(), error.chain().as_str()), ("InvalidPayload", expected));
    };
    let changed = |path: &str, value: Value| {
        let mut event = event(&example());
        *event.pointer_mut(path).unwrap() = value;
        event
    };
    refused(Value::Null, ".: not a JSON object");
    refused(json!([]), ".: not a JSON object");
    refused(json!({ "a": 1, "b": 2 }), ".: neither an event nor a hook notification; its fields are: a, b");
    refused(changed("/time", json!("yesterday")), "time: input contains invalid characters");
    refused(changed("/detail/EC2InstanceId", json!("")), "detail.EC2InstanceId: is empty");
    refused(
        changed("/detail/LifecycleTransition", json!("autoscaling:EC2_INSTANCE_TERMINATING")),
        "detail.LifecycleTransition: \"autoscaling:EC2_INSTANCE_TERMINATING\" under a detail-type that announces \
         \"autoscaling:EC2_INSTANCE_LAUNCHING\"",
    );
    refused(
        sqs_batch(&[in_sns(&json!({ "a": 1 }))]),
        "body.Message: neither an event nor a hook notification; its fields are: a",
    );
    refused(json!({ "Records": [{ "messageId": "1" }] }), "body: not a text");
    refused(json!({ "Records": [{ "body": "{}" }] }), "Records[0].messageId: missing");
    refused(json!({ "Records": [{ "EventSource": "aws:sns" }] }), "Records[0].Sns: missing");
    refused(json!([{ "body": "{}" }]), "[0].messageId: missing");
    refused(
        failed(&json!({ "a": 1 })),
        "requestPayload: neither an event nor a hook notification; its fields are: a",
    );
    refused(
        failed(&json!({ "Records": [{ "body": "{}" }] })),
        "requestPayload.Records[0].messageId: missing",
    );
    let many = vec![json!({ "messageId": "m" }); 10_001];
    refused(json!({ "Records": many }), ".: a batch of more than 10000 messages");
}

#[test]
fn a_text_in_the_wrong_place_is_not_quoted_because_it_may_hold_the_token() {
    let mut event = event(&example());
    event["detail"] = json!(event["detail"].to_string());
    let error = message(event).unwrap_err().chain();
    assert_eq!(error, "detail: invalid type: string, expected struct Detail");
}

#[test]
fn an_unknown_transition_is_kept_by_name() {
    let mut notification = notification(&example());
    notification["LifecycleTransition"] = json!("autoscaling:EC2_INSTANCE_DREAMING");
    let Ok(Message::Action(action)) = message(notification) else { panic!("not an action") };
    assert_eq!(action.transition, Transition::Other("autoscaling:EC2_INSTANCE_DREAMING".to_owned()));
}

#[test]
fn other_events_are_told_apart_from_nonsense() {
    let other = |value: Value| match message(value).unwrap() {
        known @ (Message::Event(_) | Message::Notification(_)) => known.to_string(),
        unknown => panic!("{unknown:?}"),
    };
    let event = json!({ "source": "aws.ec2", "detail-type": "EC2 AMI State Change", "time": "2026-01-01T00:00:00Z", "detail": {} });
    assert_eq!(other(event), "an event \"EC2 AMI State Change\" of \"aws.ec2\"");
    assert_eq!(
        other(json!({ "Event": "autoscaling:EC2_INSTANCE_LAUNCH" })),
        "a notification \"autoscaling:EC2_INSTANCE_LAUNCH\""
    );
    assert_eq!(message(json!({ "action": "reconcile" })).unwrap(), Message::Reconcile);
    let notice = |value| matches!(message(value).unwrap(), Message::Notice(_));
    assert!(notice(json!({ "Event": "autoscaling:TEST_NOTIFICATION" })));
    assert!(notice(json!({ "Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe" })));
}

#[test]
fn the_same_event_is_read_through_every_envelope() {
    let event = sample();
    let action = message(event.clone()).unwrap();
    let in_sqs =
        |body: &Value| json!({ "messageId": "m", "eventSource": "aws:sqs", "body": body.to_string() });
    let notification = json!({ "Type": "Notification", "Message": event.to_string() });
    let sns = json!({ "Records": [{ "EventSource": "aws:sns", "Sns": notification }] });
    for alone in [event.clone(), notification.clone(), sns.clone(), failed(&event), failed(&sns)] {
        let Payload::One(received) = read(alone.clone()).unwrap() else { panic!("{alone}") };
        assert_eq!(received.message.unwrap(), action, "{alone}");
        assert_eq!(received.origin.account.as_deref(), Some("123456789012"), "{alone}");
    }
    let failed_batch = failed(&json!({ "Records": [in_sqs(&event)] }));
    let failed_pipe = failed(&json!([in_sqs(&notification)]));
    let several = failed(&json!([in_sqs(&event), in_sqs(&event)]));
    let batch = [event.clone(), notification, failed(&event), failed(&sns), failed_batch, failed_pipe];
    let batch = batch.each_ref().map(in_sqs);
    for payload in [json!({ "Records": batch }), json!(batch)] {
        let Payload::Batch(messages) = read(payload).unwrap() else { panic!("no batch") };
        assert_eq!(messages.len(), 6);
        for (id, received) in messages {
            assert_eq!((id.as_str(), received.message.unwrap()), ("m", action.clone()));
        }
    }
    // One message of a queue is one result.
    let Payload::Batch(mut messages) = read(json!([in_sqs(&several)])).unwrap() else { panic!("no batch") };
    let error = messages.remove(0).1.message.unwrap_err().to_string();
    assert!(error.starts_with("body.requestPayload: a batch of several messages"), "{error}");
}

#[test]
fn a_notice_has_no_origin_because_it_is_ignored_wherever_it_comes_from() {
    let test = json!({ "Event": "autoscaling:TEST_NOTIFICATION", "AccountId": "123456789012" });
    let other = json!({ "Event": "autoscaling:EC2_INSTANCE_LAUNCH", "AccountId": "123456789012" });
    for (payload, account) in [(test, None), (other, Some("123456789012"))] {
        let Payload::One(received) = read(payload.clone()).unwrap() else { panic!("{payload}") };
        assert_eq!(received.origin.account.as_deref(), account, "{payload}");
    }
}

#[test]
fn a_name_longer_than_aws_allows_is_refused_before_it_reaches_a_log() {
    let mut event = sample();
    event["detail"]["AutoScalingGroupName"] = "x".repeat(256).into();
    let error = message(event).unwrap_err().chain();
    assert_eq!(error, "detail.AutoScalingGroupName: has more than 255 characters");
}

#[test]
fn only_a_replaced_root_volume_lets_the_instance_live_on() {
    for (kind, origin, destination, lives_on) in [
        ("ReplaceRootVolume", "AutoScalingGroup", "AutoScalingGroup", true),
        ("ReplaceRootVolume", "AutoScalingGroup", "EC2", false),
        ("Terminate", "AutoScalingGroup", "AutoScalingGroup", false),
        ("Launch", "EC2", "AutoScalingGroup", false),
    ] {
        let mut event = sample();
        event["detail"]["Action"] = kind.into();
        event["detail"]["Origin"] = origin.into();
        event["detail"]["Destination"] = destination.into();
        let Message::Action(action) = message(event).unwrap() else { panic!("not an action") };
        assert_eq!((action.action.as_deref(), action.replaces_root_volume()), (Some(kind), lives_on));
    }
}

fn sample() -> Value {
    serde_json::from_str(include_str!("../../../events/launch-logger/launch.json")).unwrap()
}

#[test]
fn a_time_that_no_event_can_have_is_refused() {
    for (time, is_read) in [
        ("1970-01-01T00:00:00Z", true),
        ("9999-12-31T23:59:59Z", true),
        ("0001-01-01T00:00:00Z", false),
        ("-262143-01-01T00:00:00Z", false),
        ("+262142-12-31T23:59:59Z", false),
    ] {
        let event =
            json!({ "source": "aws.ec2", "detail-type": "EC2 AMI State Change", "time": time, "detail": {} });
        assert_eq!(message(event).is_ok(), is_read, "{time}");
    }
}
