//! Reads the order of a run: the payload, with the configuration as defaults.

use std::fmt;

use lambda_kit::Error;
use lambda_kit::event::{Event, invalid, strict};
use serde::Deserialize;
use serde_json::Value;

use crate::action::Action;
use crate::config::{Config, WORKING_HOURS, check_resource, each_once};

/// The order of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The action.
    pub action: Action,
    /// The resources, each once, at least one.
    pub resources: Vec<String>,
    /// Whether to only report the changes.
    pub dry_run: bool,
}

/// A payload of this function.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payload {
    action: Option<Action>,
    resource_ids: Option<Vec<String>>,
    dry_run: Option<bool>,
}

impl Order {
    /// Reads a payload. A scheduled event has the configuration's order.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] with the path of the field, or [`Error::UnsupportedEvent`] for another kind of
    /// event.
    pub fn read(payload: Value, config: &Config) -> Result<Self, Error> {
        let Some(object) = payload.as_object() else {
            return Err(invalid(".", "not a JSON object"));
        };
        let payload = if object.contains_key("detail-type") {
            let event: Event = strict(payload)?;
            if !event.is_scheduled() {
                return Err(Error::UnsupportedEvent(format!(
                    "{} handles scheduled events and payloads of its own, not {event}; correct the rule that sent it",
                    crate::config::NAME
                )));
            }
            Payload { action: None, resource_ids: None, dry_run: None }
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
