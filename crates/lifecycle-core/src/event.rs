//! The events of the lifecycle functions as strict types, and their envelopes. Fields that decisions depend on are
//! required, so a wrong event fails with the path of the field. Fields that only go into records are optional.
//!
//! Shapes: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html>
//! and <https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html>.

use std::fmt;

use chrono::{DateTime, Utc};
use lambda_kit::error::cut;
use lambda_kit::event::{Event, Origin, in_field, invalid, strict};
use lambda_kit::{Error, Payload, Received};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{ActionToken, Wait};

/// The longest name of a group or a hook.
const MAX_NAME_CHARS: usize = 255;

/// The largest batch of SQS and of EventBridge Pipes. Each message writes a log line, so a larger batch, which nobody
/// sends, would make a log much longer than itself.
const MAX_BATCH_MESSAGES: usize = 10_000;

/// The direction of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`: on its way into service or into the warm pool.
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`: on its way to its end, or back to the warm pool.
    Terminating,
    /// A transition that this code does not know.
    Other(String),
}

impl From<String> for Transition {
    fn from(text: String) -> Self {
        match text.as_str() {
            "autoscaling:EC2_INSTANCE_LAUNCHING" => Self::Launching,
            "autoscaling:EC2_INSTANCE_TERMINATING" => Self::Terminating,
            _ => Self::Other(text),
        }
    }
}

impl Transition {
    /// The spelling of AWS.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
            Self::Other(text) => text,
        }
    }
}

/// A lifecycle action: an instance waits in a hook until the action is completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleAction {
    /// The direction of the instance.
    pub transition: Transition,
    /// The wait. Its token is always known.
    pub wait: Wait,
    /// When AWS sent the event.
    pub time: DateTime<Utc>,
    /// The hook's notification metadata, up to 4,000 characters.
    pub metadata: Option<String>,
    /// The instance's origin: `EC2`, `AutoScalingGroup` or `WarmPool`.
    pub origin: Option<String>,
    /// The instance's destination: `EC2`, `AutoScalingGroup` or `WarmPool`.
    pub destination: Option<String>,
    /// `Launch`, `Terminate` or `ReplaceRootVolume`. AWS sends it with every action; older events lack it.
    pub action: Option<String>,
    /// The event's id, or the notification's request id.
    pub event_id: Option<String>,
    /// The AWS account, 12 digits.
    pub account: Option<String>,
    /// The Region. Hook notifications don't have it.
    pub region: Option<String>,
    /// The ARNs of the event's resources: the group, and in some events the instance.
    pub resources: Vec<String>,
}

impl LifecycleAction {
    /// Whether the instance lives on, because only its root volume is replaced. `Action` alone does not show it: AWS
    /// sends one with every lifecycle action.
    pub fn replaces_root_volume(&self) -> bool {
        let within = |place: &Option<String>| place.as_deref() == Some("AutoScalingGroup");
        self.action.as_deref() == Some("ReplaceRootVolume")
            && within(&self.origin)
            && within(&self.destination)
    }

    /// Whether the instance goes into the warm pool: for the first time, or back to it.
    pub fn to_pool(&self) -> bool {
        self.destination.as_deref() == Some("WarmPool")
    }

    /// Whether the instance comes from the warm pool.
    pub fn from_pool(&self) -> bool {
        self.origin.as_deref() == Some("WarmPool")
    }
}

/// A message without its envelopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A lifecycle action.
    Action(Box<LifecycleAction>),
    /// A message that needs no work, with the reason: the test of a hook's notification target, or SNS's confirmation
    /// of a subscription.
    Notice(&'static str),
    /// A request to reconcile: a scheduled event, or `{"action":"reconcile"}`.
    Reconcile,
    /// An event of another kind, which a function may handle.
    Event(Box<Event>),
    /// The name of a notification of another kind.
    Notification(String),
}

impl Message {
    /// When AWS sent the message, if it has a time.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Action(action) => Some(action.time),
            Self::Event(event) => Some(event.time),
            _ => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action) => f.write_str(&cut(action.transition.as_str())),
            Self::Notice(reason) => f.write_str(reason),
            Self::Reconcile => f.write_str("a scheduled run"),
            Self::Event(event) => event.fmt(f),
            Self::Notification(name) => write!(f, "a notification {:?}", cut(name)),
        }
    }
}

/// Opens a payload's envelopes. The payload is one event, one notification, or a batch of SQS, which EventBridge Pipes
/// delivers as an array. Any of these can be in a record of the function's own failure queue.
///
/// # Errors
/// [`Error::InvalidPayload`] if the outermost envelope can't be read.
pub fn read(payload: Value) -> Result<Payload<Message>, Error> {
    match failed_payload(&payload) {
        Some(failed) if is_batch(&failed) => in_field("requestPayload", read_batch(failed)),
        _ if is_batch(&payload) => read_batch(payload),
        _ => Ok(Payload::One(received(open(payload)))),
    }
}

/// Whether the payload is a batch of SQS, or an array of EventBridge Pipes.
fn is_batch(payload: &Value) -> bool {
    let is_sns = |record: &Value| record.get("EventSource").is_some_and(|source| source == "aws:sns");
    match payload.get("Records").and_then(Value::as_array) {
        Some(records) => !records.iter().any(is_sns),
        None => payload.as_array().is_some_and(|records| !records.is_empty()),
    }
}

fn read_batch(payload: Value) -> Result<Payload<Message>, Error> {
    let Batch { records } = batch(payload)?;
    if records.len() > MAX_BATCH_MESSAGES {
        return Err(invalid(".", format!("a batch of more than {MAX_BATCH_MESSAGES} messages")));
    }
    let messages = records.into_iter().map(|record| {
        let content = within("body", nested(&record.body));
        (record.message_id, received(content))
    });
    Ok(Payload::Batch(messages.collect()))
}

fn batch(payload: Value) -> Result<Batch, Error> {
    if payload.is_array() { Ok(Batch { records: strict(payload)? }) } else { strict(payload) }
}

/// A batch of SQS.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<QueueRecord>,
}

/// A message of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueRecord {
    /// Identifies a failed message in the answer.
    message_id: String,
    /// A JSON text. Optional, so that a record without it fails alone.
    #[serde(default)]
    body: Value,
}

/// What is inside the envelopes, and the fields that lead there, the innermost first.
struct Content {
    value: Value,
    fields: Vec<&'static str>,
}

/// The content that was opened in `field`.
fn within(field: &'static str, content: Result<Content, Error>) -> Result<Content, Error> {
    let mut content = in_field(field, content)?;
    content.fields.push(field);
    Ok(content)
}

/// Reads the content of the envelopes.
fn received(content: Result<Content, Error>) -> Received<Message> {
    let mut origin = content.as_ref().map(|content| Origin::of(&content.value)).unwrap_or_default();
    let message = content.and_then(|Content { value, fields }| {
        fields.into_iter().fold(message(value), |read, field| in_field(field, read))
    });
    // A notice is ignored wherever it comes from.
    if matches!(message, Ok(Message::Notice(_))) {
        origin = Origin::default();
    }
    let about = match &message {
        Ok(Message::Action(action)) => action.wait.fields(),
        _ => Map::new(),
    };
    Received { time: message.as_ref().ok().and_then(Message::time), origin, message, about }
}

/// Opens the envelopes around one event or hook notification: SNS (alone, as Lambda delivers it, or in a queue), the
/// record of a failure queue, and in that a batch of one message.
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
fn open(value: Value) -> Result<Content, Error> {
    if let Some(failed) = failed_payload(&value) {
        return within("requestPayload", open(failed));
    }
    if is_batch(&value) {
        let Batch { records } = batch(value)?;
        let [record] = records.as_slice() else {
            return Err(invalid(
                ".",
                "a batch of several messages in an envelope; invoke the function with it",
            ));
        };
        return within("body", nested(&record.body));
    }
    if let Some(records) = value.get("Records").and_then(Value::as_array) {
        let [record] = records.as_slice() else {
            return Err(invalid("Records", "SNS delivers one record at a time"));
        };
        let content = record.get("Sns").cloned().ok_or_else(|| invalid("Records[0].Sns", "missing"))?;
        return open(content);
    }
    match value.get("Message") {
        Some(message) if value.get("Type").is_some_and(|kind| kind == "Notification") => {
            within("Message", nested(message))
        }
        _ => Ok(Content { value, fields: Vec::new() }),
    }
}

/// The payload of the failed run, if `value` is a record of a failure queue. A run that Lambda never started has no
/// `responseContext`.
fn failed_payload(value: &Value) -> Option<Value> {
    value.get("requestContext")?;
    value.get("requestPayload").cloned()
}

/// Opens a JSON text inside an envelope.
fn nested(text: &Value) -> Result<Content, Error> {
    let text = text.as_str().ok_or_else(|| invalid(".", "not a text"))?;
    open(serde_json::from_str(text).map_err(|error| invalid(".", format!("not JSON: {error}")))?)
}

/// Reads one event or hook notification.
///
/// # Errors
/// [`Error::InvalidPayload`] with the path of the field.
pub fn message(value: Value) -> Result<Message, Error> {
    let Some(object) = value.as_object() else {
        return Err(invalid(".", "not a JSON object"));
    };
    let has = |key| object.contains_key(key);
    if has("detail-type") {
        event_bridge(strict(value)?)
    } else if object.get("Type").is_some_and(|kind| kind == "SubscriptionConfirmation") {
        Ok(Message::Notice("SNS's confirmation of a subscription"))
    } else if let Some(event) = object.get("Event") {
        match event.as_str() {
            Some("autoscaling:TEST_NOTIFICATION") => Ok(Message::Notice("a hook's test notification")),
            Some(other) => Ok(Message::Notification(other.to_owned())),
            None => Err(invalid("Event", "not a text")),
        }
    } else if has("LifecycleTransition") || has("LifecycleHookName") || has("LifecycleActionToken") {
        notification(value)
    } else if object.get("action").is_some_and(|action| action == "reconcile") {
        Ok(Message::Reconcile)
    } else {
        Err(invalid(
            ".",
            format!("neither an event nor a hook notification; its fields are: {}", keys(object)),
        ))
    }
}

/// The fields that events and hook notifications share.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Detail {
    lifecycle_transition: Transition,
    #[serde(deserialize_with = "filled")]
    auto_scaling_group_name: String,
    #[serde(deserialize_with = "filled")]
    lifecycle_hook_name: String,
    #[serde(rename = "EC2InstanceId", deserialize_with = "filled")]
    instance_id: String,
    #[serde(deserialize_with = "filled")]
    lifecycle_action_token: String,
    notification_metadata: Option<String>,
    origin: Option<String>,
    destination: Option<String>,
    action: Option<String>,
}

impl Detail {
    fn action(self, time: DateTime<Utc>) -> LifecycleAction {
        LifecycleAction {
            transition: self.lifecycle_transition,
            wait: Wait {
                group: self.auto_scaling_group_name,
                hook: self.lifecycle_hook_name,
                instance: self.instance_id,
                token: Some(ActionToken::from(self.lifecycle_action_token)),
            },
            time,
            metadata: self.notification_metadata,
            origin: self.origin,
            destination: self.destination,
            action: self.action,
            event_id: None,
            account: None,
            region: None,
            resources: Vec::new(),
        }
    }
}

fn event_bridge(event: Event) -> Result<Message, Error> {
    let announced = match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.autoscaling", "EC2 Instance-launch Lifecycle Action") => Transition::Launching,
        ("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action") => Transition::Terminating,
        _ if event.is_scheduled() => return Ok(Message::Reconcile),
        _ => return Ok(Message::Event(Box::new(event))),
    };
    let detail: Detail = event.detail()?;
    let contradicts = match detail.lifecycle_transition {
        // The function refuses it by name.
        Transition::Other(_) => false,
        ref known => *known != announced,
    };
    if contradicts {
        let (found, expected) = (detail.lifecycle_transition.as_str(), announced.as_str());
        return Err(invalid(
            "detail.LifecycleTransition",
            format!("{found:?} under a detail-type that announces {expected:?}"),
        ));
    }
    Ok(Message::Action(Box::new(LifecycleAction {
        resources: event.resources().to_vec(),
        event_id: event.id,
        account: event.account,
        region: event.region,
        ..detail.action(event.time)
    })))
}

fn notification(value: Value) -> Result<Message, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope {
        #[serde(deserialize_with = "lambda_kit::event::plausible_time")]
        time: DateTime<Utc>,
        request_id: Option<String>,
        account_id: Option<String>,
    }
    let envelope: Envelope = strict(value.clone())?;
    let detail: Detail = strict(value)?;
    Ok(Message::Action(Box::new(LifecycleAction {
        event_id: envelope.request_id,
        account: envelope.account_id,
        ..detail.action(envelope.time)
    })))
}

fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match String::deserialize(deserializer)? {
        text if text.is_empty() => Err(D::Error::custom("is empty")),
        text if text.chars().count() > MAX_NAME_CHARS => {
            Err(D::Error::custom(format!("has more than {MAX_NAME_CHARS} characters")))
        }
        text => Ok(text),
    }
}

/// At most ten field names, each cut to 40 characters: enough to recognize a payload, without its content.
fn keys(object: &Map<String, Value>) -> String {
    let names: Vec<String> = object.keys().take(10).map(|key| key.chars().take(40).collect()).collect();
    names.join(", ")
}
