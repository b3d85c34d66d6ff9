//! EventBridge's envelope and strict JSON. Fields that decisions depend on are required, so a wrong payload fails
//! with the path of the field.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;

/// An event in EventBridge's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// For example `aws.autoscaling`.
    pub source: String,
    /// The `detail-type`.
    pub detail_type: String,
    /// When AWS sent it.
    pub time: DateTime<Utc>,
    /// The event's id.
    pub id: Option<String>,
    /// The AWS account, 12 digits.
    pub account: Option<String>,
    /// The Region.
    pub region: Option<String>,
    resources: Option<Vec<String>>,
    detail: Value,
}

impl Event {
    /// Whether the payload looks like an event. Only reading it shows whether the event is valid.
    pub fn is_one(payload: &Value) -> bool {
        payload.get("detail-type").is_some()
    }

    /// Whether a schedule sent it: a scheduled rule or EventBridge Scheduler.
    pub fn is_scheduled(&self) -> bool {
        self.detail_type == "Scheduled Event"
    }

    /// The ARNs of the event's resources.
    pub fn resources(&self) -> &[String] {
        self.resources.as_deref().unwrap_or_default()
    }

    /// The event's `detail`.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] with the path of the field.
    pub fn detail<T: DeserializeOwned>(&self) -> Result<T, Error> {
        in_field("detail", strict(self.detail.clone()))
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an event {:?} of {:?}", self.detail_type, self.source)
    }
}

/// The `time` of an event, without reading the rest. `None` if the payload is not an event.
pub fn time(payload: &Value) -> Option<DateTime<Utc>> {
    payload.get("detail-type")?;
    payload.get("time")?.as_str()?.parse().ok()
}

/// Deserializes with the path of the field in the error. The error does not quote a misplaced text, because it may
/// hold the token.
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

/// The error of a payload that is wrong at this path. `.` is the whole payload.
pub fn invalid(path: &str, reason: impl Into<String>) -> Error {
    Error::InvalidPayload { path: path.to_owned(), reason: reason.into() }
}

/// Prefixes the path of an error with `field`.
///
/// # Errors
/// The error of `result`.
pub fn in_field<T>(field: &str, result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|error| match error {
        Error::InvalidPayload { path, reason } if path == "." => invalid(field, reason),
        Error::InvalidPayload { path, reason } => invalid(&format!("{field}.{path}"), reason),
        other => other,
    })
}
