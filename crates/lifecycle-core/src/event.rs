//! The events that reach the lifecycle functions, as strict types, and the envelopes they come in.
//! What a decision rests on is required, so a wrong event fails with the path of its field; what only
//! decorates a record is optional.
//!
//! Shapes: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-event-reference.html>
//! and <https://docs.aws.amazon.com/autoscaling/ec2/userguide/prepare-for-lifecycle-notifications.html>.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{Error, Wait};

/// Which way the instance is going.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`: it was born.
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`: it is about to die, or to return to the warm pool.
    Terminating,
    /// A transition that AWS did not have when this was written.
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
    /// As AWS spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
            Self::Other(text) => text,
        }
    }
}

/// An instance of a group waits in a hook, and somebody must say how it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleAction {
    /// Which way the instance is going.
    pub transition: Transition,
    /// Which instance waits where; the token is always known here.
    pub wait: Wait,
    /// When AWS sent the event.
    pub time: DateTime<Utc>,
    /// The text that the hook's owner attached to it; up to 4,000 characters.
    pub metadata: Option<String>,
    /// Where the instance comes from: `EC2`, `AutoScalingGroup` or `WarmPool`.
    pub origin: Option<String>,
    /// Where it goes: `EC2`, `AutoScalingGroup` or `WarmPool`.
    pub destination: Option<String>,
    /// The event's id, or the notification's request id.
    pub event_id: Option<String>,
    /// The AWS account, 12 digits.
    pub account: Option<String>,
    /// The Region; a hook notification does not say it.
    pub region: Option<String>,
    /// The ARNs that the event is about: the group's, and for some events the instance's.
    pub resources: Vec<String>,
}

/// One message, out of its envelopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A lifecycle action.
    Action(Box<LifecycleAction>),
    /// The message that AWS sends when a hook with a notification target is made.
    Test,
    /// Time for the sweep: a scheduled event, or `{"action":"reconcile"}`.
    Sweep,
    /// An event of another kind, which the function may know.
    Event(Box<Event>),
    /// A notification of another kind: its name.
    Notification(String),
}

impl Message {
    /// When AWS sent it, where it says so.
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
            Self::Action(action) => f.write_str(action.transition.as_str()),
            Self::Test => f.write_str("a hook's test notification"),
            Self::Sweep => f.write_str("a scheduled run"),
            Self::Event(event) => write!(f, "an event {:?} of {:?}", event.detail_type, event.source),
            Self::Notification(name) => write!(f, "a notification {name:?}"),
        }
    }
}

/// What a function was invoked with.
#[derive(Debug)]
pub enum Payload {
    /// One message: an event, or an SNS notification of one record.
    Single(Value),
    /// An SQS batch.
    Batch(Vec<QueueRecord>),
}

/// A message of an SQS batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueRecord {
    /// Names the message in the answer, if it failed.
    pub message_id: String,
    /// A JSON text. Not required here, so that a record without it fails alone.
    #[serde(default)]
    pub body: Value,
}

impl QueueRecord {
    /// The message in the body.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`].
    pub fn message(&self) -> Result<Message, Error> {
        in_field("body", nested(&self.body))
    }
}

impl Payload {
    /// Opens the outermost envelope.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`].
    pub fn parse(payload: Value) -> Result<Self, Error> {
        let Some(records) = payload.get("Records").and_then(Value::as_array) else {
            return Ok(Self::Single(payload));
        };
        let is_sns = |record: &Value| record.get("EventSource").is_some_and(|source| source == "aws:sns");
        if !records.iter().any(is_sns) {
            #[derive(Deserialize)]
            struct Batch {
                #[serde(rename = "Records")]
                records: Vec<QueueRecord>,
            }
            return Ok(Self::Batch(strict::<Batch>(payload)?.records));
        }
        let [record] = records.as_slice() else {
            return Err(invalid("Records", "SNS delivers one record at a time"));
        };
        record.get("Sns").cloned().map(Self::Single).ok_or_else(|| invalid("Records[0].Sns", "missing"))
    }
}

/// Reads one message out of an event, a hook notification, or the SNS notification around either.
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
    } else if object.get("Type").is_some_and(|kind| kind == "Notification") && has("Message") {
        in_field("Message", nested(&object["Message"]))
    } else if let Some(event) = object.get("Event") {
        match event.as_str() {
            Some("autoscaling:TEST_NOTIFICATION") => Ok(Message::Test),
            Some(other) => Ok(Message::Notification(other.to_owned())),
            None => Err(invalid("Event", "not a text")),
        }
    } else if has("LifecycleTransition") || has("LifecycleHookName") || has("LifecycleActionToken") {
        notification(value)
    } else if object.get("action").is_some_and(|action| action == "reconcile") {
        Ok(Message::Sweep)
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
}

impl Detail {
    fn action(self, time: DateTime<Utc>) -> LifecycleAction {
        LifecycleAction {
            transition: self.lifecycle_transition,
            wait: Wait {
                group: self.auto_scaling_group_name,
                hook: self.lifecycle_hook_name,
                instance: self.instance_id,
                token: Some(self.lifecycle_action_token),
            },
            time,
            metadata: self.notification_metadata,
            origin: self.origin,
            destination: self.destination,
            event_id: None,
            account: None,
            region: None,
            resources: Vec::new(),
        }
    }
}

/// An event in EventBridge's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// For example `aws.autoscaling`.
    pub source: String,
    /// What kind of event it is.
    pub detail_type: String,
    /// When AWS sent it.
    pub time: DateTime<Utc>,
    detail: Value,
    id: Option<String>,
    account: Option<String>,
    region: Option<String>,
    resources: Option<Vec<String>>,
}

impl Event {
    /// The ARNs that the event is about.
    pub fn resources(&self) -> &[String] {
        self.resources.as_deref().unwrap_or_default()
    }

    /// What the event says.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] with the path of the field.
    pub fn detail<T: DeserializeOwned>(&self) -> Result<T, Error> {
        in_field("detail", strict(self.detail.clone()))
    }
}

/// When AWS sent an event, without a look at the rest of it; `None` where the payload is no event.
pub fn time(payload: &Value) -> Option<DateTime<Utc>> {
    payload.get("detail-type")?;
    payload.get("time")?.as_str()?.parse().ok()
}

fn event_bridge(event: Event) -> Result<Message, Error> {
    let announced = match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.autoscaling", "EC2 Instance-launch Lifecycle Action") => Transition::Launching,
        ("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action") => Transition::Terminating,
        (_, "Scheduled Event") => return Ok(Message::Sweep),
        _ => return Ok(Message::Event(Box::new(event))),
    };
    let detail: Detail = event.detail()?;
    let contradicts = match detail.lifecycle_transition {
        // Refused by name, by the function.
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
        event_id: event.id,
        account: event.account,
        region: event.region,
        resources: event.resources.unwrap_or_default(),
        ..detail.action(event.time)
    })))
}

fn notification(value: Value) -> Result<Message, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Envelope {
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

/// A message that travels as a JSON text inside another.
fn nested(text: &Value) -> Result<Message, Error> {
    let text = text.as_str().ok_or_else(|| invalid(".", "not a text"))?;
    message(serde_json::from_str(text).map_err(|error| invalid(".", format!("not JSON: {error}")))?)
}

/// Deserializes with the path of the field in the error. A text in the wrong place is not quoted: it
/// may hold the token.
///
/// # Errors
/// [`Error::InvalidPayload`].
pub fn strict<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.inner().to_string();
        if let Some(field) = reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            let path = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
            return invalid(&path, "missing");
        }
        let reason = match (reason.strip_prefix("invalid type: string "), reason.rsplit_once(", expected ")) {
            (Some(_), Some((_, expected))) => format!("invalid type: string, expected {expected}"),
            _ => reason,
        };
        invalid(&path, reason)
    })
}

fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Err(D::Error::custom("is empty")) } else { Ok(text) }
}

fn invalid(path: &str, reason: impl Into<String>) -> Error {
    Error::InvalidPayload { path: path.to_owned(), reason: reason.into() }
}

/// Puts `field` in front of the path of an error from inside it.
fn in_field<T>(field: &str, result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|error| match error {
        Error::InvalidPayload { path, reason } if path == "." => invalid(field, reason),
        Error::InvalidPayload { path, reason } => invalid(&format!("{field}.{path}"), reason),
        other => other,
    })
}

/// At most ten names of fields, each cut to 40 characters: enough to recognize a payload, and nothing
/// of its content.
fn keys(object: &Map<String, Value>) -> String {
    let names: Vec<String> = object.keys().take(10).map(|key| key.chars().take(40).collect()).collect();
    names.join(", ")
}
