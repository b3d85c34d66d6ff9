//! Application Auto Scaling's scalable targets of ECS services: their bounds, and the clamp of each registration.
//! This module holds the state, `api` has the actions, `activities` the clamp and what is told of it, `tags` the rules
//! of tags. The lab models no scaling policies and no scheduled actions: only a registration moves a service into its
//! bounds.

mod activities;
mod api;
mod tags;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

pub(crate) use activities::Timer;
pub(crate) use api::call;

use crate::aws::error::ApiError;
use crate::aws::throttle::Bucket;
use activities::Activity;

/// The service's state.
#[derive(Debug)]
pub struct ScalableTargets {
    /// The token bucket of all callers and actions; without one there are no throttles.
    pub bucket: Option<Bucket>,
    /// Whether tags may hold only the characters that all of AWS's services take: letters, numbers,
    /// spaces and `_ . : / = + - @`. The guide points to them, but this API has no pattern for tags. On from the
    /// start.
    pub strict_tags: bool,
    /// Whether new bounds do not reduce the desired count of a service while one deployment replaces another. AWS
    /// documents this of scaling policies; of bounds nothing is recorded. Off from the start.
    pub deployments_hold_scale_in: bool,
    targets: BTreeMap<String, Target>,
    history: Vec<Registration>,
    activities: Vec<Activity>,
    /// The activities of a resource that have not ended, by their places, the oldest first.
    open: BTreeMap<String, Vec<usize>>,
}

impl Default for ScalableTargets {
    fn default() -> Self {
        Self {
            bucket: None,
            strict_tags: true,
            deployments_hold_scale_in: false,
            targets: BTreeMap::new(),
            history: Vec::new(),
            activities: Vec::new(),
            open: BTreeMap::new(),
        }
    }
}

impl ScalableTargets {
    /// The target of a resource: `service/CLUSTER/SERVICE`.
    pub fn target(&self, resource: &str) -> Option<&Target> {
        self.targets.get(resource)
    }

    /// Makes this target one that was registered before targets had ARNs: it has none, and no tags.
    pub fn forget_arn(&mut self, resource: &str) {
        if let Some(target) = self.targets.get_mut(resource) {
            target.arn.clear();
            target.tags.clear();
        }
    }

    /// Removes the target of a service that is deleted. Its activities stay.
    pub(crate) fn remove(&mut self, (cluster, service): &(String, String)) {
        self.targets.remove(&resource_of(cluster, service));
    }

    /// Every registration and update, oldest first.
    pub fn history(&self) -> &[Registration] {
        &self.history
    }
}

/// A registration or an update of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// When.
    pub at: DateTime<Utc>,
    /// The resource.
    pub resource: String,
    /// The minimum capacity from then on.
    pub min: u32,
    /// The maximum capacity from then on.
    pub max: u32,
}

/// A scalable target.
#[derive(Debug, Clone)]
pub struct Target {
    /// The resource: `service/CLUSTER/SERVICE`.
    pub resource: String,
    /// Its ARN: empty if it was registered before targets had one.
    pub arn: String,
    /// Its minimum capacity.
    pub min: u32,
    /// Its maximum capacity.
    pub max: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    suspended: Suspended,
    created: DateTime<Utc>,
    /// Until then another update is refused.
    updating: DateTime<Utc>,
}

/// What is suspended: `None` is nothing said.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Suspended {
    dynamic_scaling_in_suspended: Option<bool>,
    dynamic_scaling_out_suspended: Option<bool>,
    scheduled_scaling_suspended: Option<bool>,
}

/// The resource id of a service.
fn resource_of(cluster: &str, service: &str) -> String {
    format!("service/{cluster}/{service}")
}

/// The cluster and the service of a target's resource id.
fn parts(resource: &str) -> (&str, &str) {
    let service = resource.strip_prefix("service/").and_then(|rest| rest.split_once('/'));
    service.unwrap_or_default()
}

/// The refusal of an update while another one is under way.
pub(crate) fn concurrent_update() -> ApiError {
    ApiError::new(
        "ConcurrentUpdateException",
        "You already have a pending update to an Auto Scaling resource.",
    )
}
