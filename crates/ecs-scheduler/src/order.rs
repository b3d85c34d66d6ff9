//! What a run is asked for: the payload, with the configuration where it says nothing.

use std::fmt;
use std::str::FromStr;

use lifecycle_core::event::{self, strict};
use lifecycle_core::{Error, Message};
use serde::Deserialize;
use serde_json::Value;

use crate::Config;
use crate::config::{WORKING_HOURS, check_resource, each_once};

/// What to do with the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// Bring them on.
    Start,
    /// Put them to sleep.
    Stop,
    /// The opposite of what the first one is.
    Toggle,
    /// What the working hours say.
    Converge,
}

impl Action {
    /// As the payload and the variable spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Toggle => "toggle",
            Self::Converge => "converge",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Start, Self::Stop, Self::Toggle, Self::Converge];
        let found = all.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of start, stop, toggle, converge"))
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What one run is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub action: Action,
    /// With which resources, each once, at least one.
    pub resources: Vec<String>,
    /// Whether to change nothing, and only say what would be changed.
    pub dry_run: bool,
}

/// The payload of our own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    action: Option<Action>,
    resource_ids: Option<Vec<String>>,
    dry_run: Option<bool>,
}

impl Order {
    /// Reads a payload. A scheduled event asks for what the configuration says.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] with the path of the field, or [`Error::UnsupportedEvent`] for an event of
    /// another kind.
    pub fn read(payload: Value, config: &Config) -> Result<Self, Error> {
        let Some(object) = payload.as_object() else {
            return Err(invalid(".", "not a JSON object"));
        };
        let payload = if object.contains_key("detail-type") {
            match event::message(payload)? {
                Message::Sweep => Payload { action: None, resource_ids: None, dry_run: None },
                other => {
                    return Err(Error::UnsupportedEvent(format!(
                        "{} handles scheduled events and payloads of its own, not {other}; correct the rule that \
                         sent it",
                        crate::NAME
                    )));
                }
            }
        } else {
            strict(payload)?
        };

        let action = payload.action.unwrap_or(config.action);
        if action == Action::Converge && config.hours.is_none() {
            return Err(invalid("action", format!("converge needs {WORKING_HOURS}, which is not set")));
        }
        let resources = match payload.resource_ids {
            None => config.resources.clone(),
            Some(ids) if ids.is_empty() => return Err(invalid("resourceIds", "is empty")),
            Some(ids) => {
                for (index, id) in ids.iter().enumerate() {
                    check_resource(&config.namespace, id)
                        .map_err(|why| invalid(&format!("resourceIds[{index}]"), why))?;
                }
                each_once(ids)
            }
        };
        Ok(Self { action, resources, dry_run: payload.dry_run.unwrap_or(false) })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.dry_run { "a dry run of " } else { "" };
        write!(f, "{kind}{} for {} target(s)", self.action, self.resources.len())
    }
}

fn invalid(path: &str, reason: impl Into<String>) -> Error {
    Error::InvalidPayload { path: path.to_owned(), reason: reason.into() }
}
