//! Which resources a run handles: those that the variables name, all of a cluster, or those that carry a tag.

use std::collections::BTreeMap;

use lambda_kit::error::cut;
use lambda_kit::{Error, Invocation};
use tracing::warn;

use crate::action::Action;
use crate::config::{Config, DISCOVER_TAG};
use crate::hours::{self, WorkingHours};
use crate::order::Order;
use crate::services::Services;

/// One part in this many of the time that is left, for calls whose failure does not end the run.
pub(crate) const SIDE_SHARE: u32 = 4;

/// A resource of the run.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) resource: String,
    /// Whether the configuration or the payload names it in full.
    pub(crate) named: bool,
    /// When it should be on.
    pub(crate) hours: Option<WorkingHours>,
}

/// The resources of a run.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// In order, each once.
    pub(crate) items: Vec<Item>,
    /// What can't be handled, and why. It counts as a failed target.
    pub(crate) failed: Vec<String>,
    /// With discovered services, all resources that carry the tag, whatever its value.
    pub(crate) tagged: Vec<String>,
}

impl Scope {
    /// The resources of this order.
    pub(crate) async fn of(
        order: &Order,
        config: &Config,
        services: &Services,
        invocation: &Invocation,
    ) -> Result<Self, Error> {
        match &config.discover {
            Some(key) => Self::discovered(key, order, config, services, invocation).await,
            None => Ok(Self::named(order, config, services, invocation).await),
        }
    }

    async fn named(order: &Order, config: &Config, services: &Services, invocation: &Invocation) -> Self {
        let mut scope = Self::default();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for pattern in order.resources.as_ref().unwrap_or(&config.resources) {
            let cluster = pattern.strip_prefix("service/").and_then(|rest| rest.strip_suffix("/*"));
            let found = match cluster.filter(|_| config.is_ecs()) {
                Some(cluster) => {
                    let limited = invocation.at_most(invocation.time_left() / SIDE_SHARE);
                    services.list(cluster, &limited).await
                }
                None => Ok(vec![pattern.clone()]),
            };
            match found {
                Ok(found) => {
                    for resource in found {
                        let index = *known.entry(resource.clone()).or_insert(scope.items.len());
                        if index == scope.items.len() {
                            scope.items.push(Item { resource, named: false, hours: config.hours.clone() });
                        }
                        scope.items[index].named |= cluster.is_none();
                    }
                }
                Err(error) => scope.failed.push(format!("{pattern}: {}", error.chain())),
            }
        }
        scope
    }

    /// The services that carry the tag, in the order of their resource ids.
    async fn discovered(
        key: &str,
        order: &Order,
        config: &Config,
        services: &Services,
        invocation: &Invocation,
    ) -> Result<Self, Error> {
        let tagged = services.tagged(key, invocation).await?;
        let mut tagged: Vec<_> = tagged.into_iter().map(|(arn, value)| (resource(&arn), value)).collect();
        tagged.sort();
        tagged.dedup_by(|(one, _), (other, _)| one == other);
        let mut scope =
            Self { tagged: tagged.iter().map(|(resource, _)| resource.clone()).collect(), ..Self::default() };
        for (index, id) in order.resources.iter().flatten().enumerate() {
            if !scope.tagged.contains(id) {
                return Err(Order::not_named(index, id, DISCOVER_TAG));
            }
        }
        let asked = |resource: &String| order.resources.as_ref().is_none_or(|ids| ids.contains(resource));
        for (resource, value) in tagged.into_iter().filter(|(resource, _)| asked(resource)) {
            match hours(&resource, &value, order.action, config) {
                Ok(hours) => {
                    let named = order.resources.is_some();
                    scope.items.push(Item { resource, named, hours });
                }
                Err(why) => scope.failed.push(format!("{resource}: its tag {key}={:?}: {why}", cut(&value))),
            }
        }
        Ok(scope)
    }
}

/// The hours in the value of a service's tag.
fn hours(
    resource: &str,
    value: &str,
    action: Action,
    config: &Config,
) -> Result<Option<WorkingHours>, String> {
    if resource.split('/').count() != 3 {
        return Err("its ARN has the old format, without the cluster".to_owned());
    }
    if value.trim().is_empty() {
        return match (&config.hours, action) {
            (None, Action::Converge) => {
                Err("without a value it needs WORKING_HOURS, which is not set".to_owned())
            }
            (hours, _) => Ok(hours.clone()),
        };
    }
    let (windows, zone) = hours::tag(value, &config.zone)?;
    for gap in hours::gaps(&windows) {
        warn!(resource.id = resource, "{resource}: {}", hours::gap_text(&gap));
    }
    Ok(Some(WorkingHours { windows, zone, holidays: config.holidays.clone() }))
}

/// The resource id of a service's ARN, which is its end.
fn resource(arn: &str) -> String {
    arn.splitn(6, ':').nth(5).unwrap_or(arn).to_owned()
}
