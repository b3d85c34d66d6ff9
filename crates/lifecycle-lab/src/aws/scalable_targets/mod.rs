//! Application Auto Scaling's scalable targets of ECS services: their bounds, and the clamp of each registration.
//! This module holds the state, `api` has the actions, `tags` the rules of tags. The lab models no scaling policies
//! and no scheduled actions: only a registration moves a service into its bounds.

mod api;
mod tags;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

pub(crate) use api::call;

use crate::aws::error::ApiError;
use crate::aws::throttle::Bucket;

/// The service's state.
#[derive(Debug, Default)]
pub struct ScalableTargets {
    /// The token bucket of all callers and actions; without one there are no throttles.
    pub bucket: Option<Bucket>,
    /// Whether tags may hold only the characters that all of AWS's services take: letters, numbers,
    /// spaces and `_ . : / = + - @`. The guide points to them, but this API has no pattern for tags.
    pub strict_tags: bool,
    targets: BTreeMap<String, Target>,
    history: Vec<Registration>,
}

impl ScalableTargets {
    /// The target of a resource: `service/CLUSTER/SERVICE`.
    pub fn target(&self, resource: &str) -> Option<&Target> {
        self.targets.get(resource)
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
    /// Its ARN.
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

/// The refusal of an update while another one is under way.
pub(crate) fn concurrent_update() -> ApiError {
    ApiError::new(
        "ConcurrentUpdateException",
        "You already have a pending update to an Auto Scaling resource.",
    )
}
