//! ECS: clusters, services, and the number of their tasks. This module holds the state; `engine` starts and stops
//! tasks and sizes the group, `api` has the actions. The rules are AWS's as documented in the developer guide and the
//! API reference; a comment marks where they are not documented, or where the lab chose otherwise.
//!
//! Tasks are only counted: there are no task definitions, and a deployment that rolls out takes its time without
//! replacing tasks. In a cluster without a capacity provider there is room for every task.

mod api;
mod engine;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

pub(crate) use api::{call, is_name};
pub(crate) use engine::Timer;

use crate::aws::world::{ACCOUNT, REGION};

/// A service's key: its cluster's name and its own.
type Key = (String, String);

/// The service's state.
#[derive(Debug, Default)]
pub struct Ecs {
    clusters: BTreeMap<String, Cluster>,
    services: BTreeMap<Key, Service>,
    history: Vec<Counts>,
    /// The last id that a task or a deployment got.
    ids: u64,
}

impl Ecs {
    /// The service of this name, whether it is active or not.
    pub fn service(&self, cluster: &str, service: &str) -> Option<&Service> {
        self.services.get(&(cluster.to_owned(), service.to_owned()))
    }

    /// The service of a scalable target's resource id.
    pub(crate) fn service_of(&self, resource: &str) -> Option<&Service> {
        let (cluster, service) = resource.strip_prefix("service/")?.split_once('/')?;
        self.service(cluster, service)
    }

    /// All services, those that were deleted included.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Every change of a service's counts, oldest first.
    pub fn history(&self) -> &[Counts] {
        &self.history
    }
}

/// The counts of a service from one moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The moment.
    pub at: DateTime<Utc>,
    /// The cluster.
    pub cluster: String,
    /// The service.
    pub service: String,
    /// How many tasks it should have.
    pub desired: u32,
    /// How many run.
    pub running: u32,
}

/// How a service decides how many tasks it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// As many as its desired count says.
    Replica,
    /// One on each instance of the cluster's capacity provider.
    Daemon,
}

impl Scheduling {
    fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "REPLICA",
            Self::Daemon => "DAEMON",
        }
    }
}

#[derive(Debug)]
struct Cluster {
    provider: Option<Provider>,
}

/// What ties a cluster to a group: an Auto Scaling group capacity provider with managed scaling.
#[derive(Debug, Clone)]
struct Provider {
    group: String,
    tasks_per_instance: u32,
    /// The id in the names of its alarms and its policy.
    id: String,
    /// How the number of instances that the tasks need compares with the group's desired capacity.
    needed: Ordering,
    /// Since when it does.
    since: DateTime<Utc>,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its cluster's name.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// How it decides how many tasks it should have.
    pub scheduling: Scheduling,
    /// `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub status: &'static str,
    /// How many tasks it should have.
    pub desired: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    created: DateTime<Utc>,
    pub(crate) deleted: Option<DateTime<Utc>>,
    fargate: bool,
    /// The newest first: the `PRIMARY` one, and behind it those that it replaces.
    deployments: Vec<Deployment>,
    /// Since when as many tasks run as should, and none is starting or stopping.
    settled: Option<DateTime<Utc>>,
    tasks: Vec<Task>,
    /// The desired count and the running count that were last seen.
    seen: Option<(u32, u32)>,
}

impl Service {
    /// How many tasks run. One that is being stopped runs until it has stopped.
    pub fn running(&self) -> u32 {
        self.tasks.iter().filter(|task| matches!(task.state, State::Running | State::Stopping)).count() as u32
    }

    /// How many tasks are on their way to run, or wait for an instance.
    pub fn pending(&self) -> u32 {
        self.tasks.iter().filter(|task| matches!(task.state, State::Pending | State::Provisioning)).count()
            as u32
    }

    /// How many tasks wait for an instance.
    pub fn provisioning(&self) -> u32 {
        self.tasks.iter().filter(|task| task.state == State::Provisioning).count() as u32
    }

    /// Whether a deployment replaces another one.
    pub fn is_rolling(&self) -> bool {
        self.deployments.len() > 1
    }

    pub(crate) fn arn(&self) -> String {
        arn("service", &format!("{}/{}", self.cluster, self.name))
    }
}

#[derive(Debug, Clone)]
struct Deployment {
    id: u64,
    task_definition: String,
    /// The service's desired count as the deployment shows it: it follows some time later.
    desired: u32,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
    /// When it has replaced the tasks of those before it.
    rolled_out: DateTime<Utc>,
    completed: bool,
}

#[derive(Debug, Clone)]
struct Task {
    id: u64,
    state: State,
    /// The instance that it is on: none where it needs none, or waits for one.
    host: Option<String>,
}

/// The states of a task that the lab tells apart, in the order in which tasks are kept when there are
/// too many of them. Which ones ECS stops first is documented for running ones only, by Availability
/// Zone; here it is what runs that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Running,
    Pending,
    Provisioning,
    Stopping,
}

fn arn(kind: &str, name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{name}")
}
