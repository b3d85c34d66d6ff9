//! Requests and answers, the same for all protocols: parameters as a tree, read as the type of the action, and an
//! answer as a tree.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::ApiError;

/// What an action answers. `Ok(None)` is an answer without a result element.
pub(crate) type Answer = Result<Option<Value>, ApiError>;

/// A request: the action, and its parameters as a tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// HTTP's.
    pub(crate) method: String,
    /// For example `CompleteLifecycleAction`.
    pub(crate) action: String,
    /// Each parameter as it came, for transcripts: `HookName=x`, sorted.
    pub(crate) lines: Vec<String>,
    /// The tree.
    pub(crate) parameters: Value,
}

/// Why parameters are not what an action takes.
pub(crate) enum Misfit {
    /// The lab does not model this parameter.
    Unknown(String),
    /// This one is required.
    Missing(String),
    /// A value is wrong.
    Wrong(String),
}

/// The parameters as the type that an action takes. A parameter that the type does not know is one that
/// the lab does not model.
pub(crate) fn read<T: DeserializeOwned>(parameters: Value) -> Result<T, Misfit> {
    serde_json::from_value(parameters).map_err(|error| {
        let text = error.to_string();
        let field = |prefix| text.strip_prefix(prefix)?.split('`').next().map(str::to_owned);
        if let Some(name) = field("unknown field `") {
            return Misfit::Unknown(name);
        }
        field("missing field `").map_or(Misfit::Wrong(text), Misfit::Missing)
    })
}

/// [`read`], with refusals in the words of Auto Scaling.
///
/// # Errors
/// AWS's `ValidationError`, or [`ApiError::not_modelled`].
pub(crate) fn parameters<T: DeserializeOwned>(action: &str, parameters: Value) -> Result<T, ApiError> {
    read(parameters).map_err(|misfit| match misfit {
        Misfit::Unknown(name) => ApiError::not_modelled(format!("the parameter {name} of {action}")),
        Misfit::Missing(name) => ApiError::missing(&name),
        Misfit::Wrong(text) => ApiError::validation(format!("1 validation error detected: {text}")),
    })
}

/// A number or a boolean that travels as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A list. In the AWS Query protocol an empty one travels as empty text.
pub(crate) fn list<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        list => serde_json::from_value(list).map_err(D::Error::custom),
    }
}
