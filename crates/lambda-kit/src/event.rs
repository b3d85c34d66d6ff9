//! EventBridge's envelope and strict JSON. Fields that decisions depend on are required, so a wrong payload fails
//! with the path of the field.

use chrono::{DateTime, Datelike, Utc};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::Error;
use crate::error::cut;

/// An event in EventBridge's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// For example `aws.autoscaling`.
    pub source: String,
    /// The `detail-type`.
    pub detail_type: String,
    /// When AWS sent it.
    #[serde(deserialize_with = "plausible_time")]
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
        write!(f, "an event {:?} of {:?}", cut(&self.detail_type), cut(&self.source))
    }
}

/// The `time` of an event, without reading the rest. `None` if the payload is not an event.
pub fn time(payload: &Value) -> Option<DateTime<Utc>> {
    payload.get("detail-type")?;
    payload.get("time")?.as_str()?.parse().ok()
}

/// Reads a time that an event can have. A far one would overflow the range of times when it is reckoned with.
///
/// # Errors
/// Not an RFC 3339 time of the years 1970 to 9999.
pub fn plausible_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let time = DateTime::deserialize(deserializer)?;
    match time.year() {
        1970..=9_999 => Ok(time),
        year => Err(D::Error::custom(format!("{year} is no year of an event"))),
    }
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
    Error::InvalidPayload { path: cut(path), reason: cut(&reason.into()) }
}

/// The account and the Region that a message comes from. A notification that a group sends itself has no Region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The account, 12 digits.
    pub account: Option<String>,
    /// The Region.
    pub region: Option<String>,
}

impl Origin {
    /// The origin of an event or of a hook notification, without reading the rest.
    pub fn of(payload: &Value) -> Self {
        let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
        if Event::is_one(payload) {
            Self { account: text("account"), region: text("region") }
        } else {
            Self { account: text("AccountId"), region: None }
        }
    }

    /// The origin that an ARN names: `None` if it names no account, as under `cargo lambda watch`.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let [region, account] = arn.split(':').skip(3).take(2).collect::<Vec<_>>().try_into().ok()?;
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        is_account.then(|| Self { account: Some(account.to_owned()), region: Some(region.to_owned()) })
    }

    /// Whether nothing that both know differs.
    fn fits(&self, home: &Self) -> bool {
        let same = |here: &Option<String>, there: &Option<String>| {
            here.is_none() || there.is_none() || here == there
        };
        same(&self.account, &home.account) && same(&self.region, &home.region)
    }

    /// Checks that a message is of the function's own account and Region, `home`.
    ///
    /// # Errors
    /// [`Error::UnsupportedEvent`] that names both.
    pub(crate) fn check(&self, home: &Self) -> Result<(), Error> {
        if self.fits(home) {
            return Ok(());
        }
        Err(Error::UnsupportedEvent(format!(
            "the event is of {self}, and this function of {home}; correct the rule that sent it"
        )))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "account {}", cut(self.account.as_deref().unwrap_or("unknown")))?;
        match &self.region {
            Some(region) => write!(f, " in {}", cut(region)),
            None => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_events_of_the_functions_own_account_and_region_count() {
        let home = Origin::of_arn("arn:aws:lambda:eu-central-1:123456789012:function:drainer").unwrap();
        let event = |account, region| json!({ "detail-type": "", "account": account, "region": region });
        for (payload, fits) in [
            (event("123456789012", "eu-central-1"), true),
            (event("210987654321", "eu-central-1"), false),
            (event("123456789012", "us-west-2"), false),
            (json!({ "detail-type": "" }), true),
            (json!({ "AccountId": "123456789012", "region": "us-west-2" }), true),
            (json!({ "AccountId": "210987654321" }), false),
            (json!({ "action": "reconcile" }), true),
        ] {
            assert_eq!(Origin::of(&payload).check(&home).is_ok(), fits, "{payload}");
        }
        let foreign = Origin::of(&event("210987654321", "us-west-2")).check(&home).unwrap_err().chain();
        for named in ["210987654321", "us-west-2", "123456789012", "eu-central-1"] {
            assert!(foreign.contains(named), "{foreign}");
        }
        for arn in ["function-arn", "arn:aws:lambda:eu-central-1:local:function:f", ""] {
            assert_eq!(Origin::of_arn(arn), None, "{arn}");
        }
    }
}
