//! Reads the order of a run: the payload, with the configuration as defaults.

use std::fmt;

use lambda_kit::Error;
use lambda_kit::error::cut;
use lambda_kit::event::{Event, invalid, strict};
use serde::Deserialize;
use serde_json::Value;

use crate::action::Action;
use crate::config::{Config, RESOURCE_IDS, WORKING_HOURS, check_resource, each_once};

/// The order of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The action.
    pub action: Action,
    /// The resources that the payload names, each once, at least one. `None` is all that the configuration names.
    pub resources: Option<Vec<String>>,
    /// Whether to only report the changes.
    pub dry_run: bool,
    /// The id of the event. A repeat of the same event has the same id.
    pub event: Option<String>,
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
        let mut id = None;
        let payload = if object.contains_key("detail-type") {
            let event: Event = strict(payload)?;
            if !event.is_scheduled() {
                return Err(Error::UnsupportedEvent(format!(
                    "{} handles scheduled events and payloads of its own, not {event}; correct the rule that sent it",
                    crate::config::NAME
                )));
            }
            id = event.id;
            Payload { action: None, resource_ids: None, dry_run: None }
        } else {
            strict(payload)?
        };

        let action = payload.action.unwrap_or(config.action);
        if action == Action::Converge && config.hours.is_none() && config.discover.is_none() {
            return Err(invalid("action", format!("converge needs {WORKING_HOURS}, which is not set")));
        }
        let resources = payload.resource_ids.map(|ids| check(ids, config)).transpose()?;
        Ok(Self { action, resources, dry_run: payload.dry_run.unwrap_or(false), event: id })
    }

    /// The error of a resource that the configuration does not name.
    pub(crate) fn not_named(index: usize, id: &str, by: &str) -> Error {
        invalid(&format!("resourceIds[{index}]"), format!("{:?} is not a service of {by}", cut(id)))
    }
}

/// Checks the ids of a payload. With a tag that names the services, only reading the tags shows which ones it names.
fn check(ids: Vec<String>, config: &Config) -> Result<Vec<String>, Error> {
    if ids.is_empty() {
        return Err(invalid("resourceIds", "is empty"));
    }
    for (index, id) in ids.iter().enumerate() {
        let checked = check_resource(&config.namespace, id);
        checked.map_err(|why| invalid(&format!("resourceIds[{index}]"), why))?;
        if config.discover.is_none() && !config.names(id) {
            return Err(Order::not_named(index, id, RESOURCE_IDS));
        }
    }
    Ok(each_once(ids))
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.dry_run { "a dry run of " } else { "" };
        match &self.resources {
            Some(named) => write!(f, "{kind}{} for {} resource(s)", self.action, named.len()),
            None => write!(f, "{kind}{}", self.action),
        }
    }
}
