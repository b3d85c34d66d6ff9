//! EC2 Auto Scaling: groups, instances, lifecycle hooks with their clock, scaling activities, warm pools,
//! instance refreshes. This module holds the state; `capacity` decides what a group wants, `pool` what its warm pool
//! does, `refresh` what its instance refreshes do, `sources` what it launches from, `launches` launches; `triggers`
//! starts failures, schedules and other events, `engine` moves its instances, `activity` reports what happened, `api`
//! is its actions. `docs/lab.md` says where each rule comes from.

mod activity;
mod api;
mod capacity;
mod engine;
mod journey;
mod launches;
mod pool;
mod refresh;
mod sources;
mod triggers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use activity::Activity;
use journey::Journey;

pub(crate) use api::{call, like};
use sources::LaunchSource;
pub use sources::LaunchedFrom;

pub use crate::aws::throttle::Bucket;

/// No wait lasts longer than this, whatever its heartbeats.
const MAX_GLOBAL_TIMEOUT: Duration = Duration::from_secs(48 * 3600);

/// Nor longer than this many heartbeat timeouts.
const MAX_HEARTBEAT_TIMEOUTS: u32 = 100;

/// The service's state.
#[derive(Debug, Default)]
pub struct AutoScaling {
    /// The token bucket of all callers and actions; without one there are no throttles.
    pub bucket: Option<Bucket>,
    groups: BTreeMap<String, Group>,
    instances: BTreeMap<String, Instance>,
    activities: Vec<Activity>,
    launched: u64,
    /// Queues and topics that hooks name and that are gone.
    lost_targets: BTreeSet<String>,
}

impl AutoScaling {
    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Every instance that the service still knows, oldest first.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let mut instances: Vec<_> = self.instances.values().collect();
        instances.sort_by_key(|instance| instance.order);
        instances.into_iter()
    }

    /// The instance of this id.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// Every scaling activity, oldest first.
    pub fn activities(&self) -> &[Activity] {
        &self.activities
    }
}

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timer {
    /// The group compares its capacity with what it should have.
    Reconcile { group: String },
    /// Booting, deregistration or starting is over: the hooks begin.
    Arrived { instance: String, journey: Journey },
    /// A hook's wait may be over.
    WaitOver { instance: String, token: String },
    /// The `…:Proceed` state is over.
    Proceeded { instance: String, journey: Journey },
    /// A health check finds the instance unhealthy.
    Unhealthy { instance: String, finding: &'static str },
    /// A state without a hook is over: the instance leaves `Detaching`, `EnteringStandby` or `RootVolumeReplaced`.
    Passed { instance: String, state: &'static str },
    /// A deleted group's record disappears.
    GroupGone { group: String },
}

/// An Auto Scaling group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// Smallest desired capacity.
    pub min: u32,
    /// Largest desired capacity.
    pub max: u32,
    /// How many instances it should have.
    pub desired: u32,
    /// Its hooks by name.
    pub hooks: BTreeMap<String, Hook>,
    zones: Vec<String>,
    /// The subnets that it names, one in each zone at most; without them, the default ones.
    subnets: Vec<String>,
    launch_source: LaunchSource,
    /// Its tags by key: the value, and whether instances get them.
    tags: BTreeMap<String, (String, bool)>,
    /// The processes that are suspended, and since when.
    suspended: BTreeMap<String, DateTime<Utc>>,
    health_check: (String, u32),
    cooldown: u32,
    retain_abandoned: bool,
    protect_new: bool,
    warm_pool: Option<WarmPool>,
    /// Its instance refreshes, the newest last.
    refreshes: Vec<Refresh>,
    deleting: bool,
    reconcile_due: bool,
    /// Why the desired capacity was last changed, until the group has it.
    change: Option<String>,
    /// The words for the next launches that are replacements and not growth, oldest first.
    replacements: VecDeque<String>,
    /// Launches in a row that came to nothing.
    launches_failed: u32,
    no_launch_before: Option<DateTime<Utc>>,
    /// Whether an activity says already that only protected instances are left to scale in.
    stuck: bool,
}

impl Group {
    fn is_suspended(&self, process: &str) -> bool {
        self.suspended.contains_key(process)
    }

    fn running_refresh(&mut self) -> Option<&mut Refresh> {
        self.refreshes.last_mut().filter(|refresh| refresh.status == "InProgress")
    }

    /// What it launches from now.
    fn source(&self) -> &LaunchSource {
        let running = self.refreshes.last().filter(|refresh| refresh.status == "InProgress");
        running.and_then(|refresh| refresh.desired.as_ref()).unwrap_or(&self.launch_source)
    }

    fn hooks_of(&self, transition: Transition) -> Vec<Hook> {
        self.hooks.values().filter(|hook| hook.transition == transition).cloned().collect()
    }
}

/// Which way an instance goes through a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`
    Terminating,
}

impl Transition {
    fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// The instance goes on.
    Continue,
    /// A launch is given up; a termination no longer waits for other hooks.
    Abandon,
}

impl HookResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// A lifecycle hook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// The transition that it pauses.
    pub transition: Transition,
    /// How long a wait lasts without a heartbeat.
    pub heartbeat_timeout: Duration,
    /// How a wait ends that is not completed.
    pub default_result: HookResult,
    metadata: Option<String>,
    target: Option<String>,
    role: Option<String>,
}

impl Hook {
    /// How long a wait can last with heartbeats: 48 h or 100 heartbeat timeouts, whichever is less.
    pub fn global_timeout(&self) -> Duration {
        MAX_GLOBAL_TIMEOUT.min(self.heartbeat_timeout * MAX_HEARTBEAT_TIMEOUTS)
    }
}

/// One instance's wait in one hook.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The hook as it was when the wait began. AWS does not say whether changing a hook changes running
    /// waits; here it does not.
    pub hook: Hook,
    /// The lifecycle action token.
    pub token: String,
    /// When the wait began.
    pub started: DateTime<Utc>,
    /// When it ends by itself, unless a heartbeat comes first.
    pub ends: DateTime<Utc>,
    /// Before this, `CompleteLifecycleAction` does not find it yet.
    accepted_from: DateTime<Utc>,
}

/// An instance of a group.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its group's name.
    pub group: String,
    /// Its Auto Scaling lifecycle state, as AWS spells it.
    pub state: &'static str,
    /// Its Availability Zone.
    pub zone: String,
    /// Whether health checks find it healthy.
    pub healthy: bool,
    /// Its running waits by hook name.
    pub waits: BTreeMap<String, Wait>,
    /// What it was launched from.
    pub launched_from: LaunchedFrom,
    order: u64,
    /// The state before this one, and when it ended.
    was: (&'static str, DateTime<Utc>),
    instance_type: Option<String>,
    image_override: Option<String>,
    protected: bool,
    superseded: Option<Superseded>,
    /// What a health check found, until the instance goes for it.
    finding: Option<&'static str>,
    journey: Option<Journey>,
    activity: Option<usize>,
}

impl Instance {
    /// Whether it counts towards the group's desired capacity.
    fn is_active(&self) -> bool {
        let states = ["Pending", "Pending:Wait", "Pending:Proceed", "InService"];
        (states.contains(&self.state) || self.is_replacing_root_volume()) && self.superseded.is_none()
    }

    fn is_replacing_root_volume(&self) -> bool {
        self.state.starts_with("ReplacingRootVolume") || self.state == "RootVolumeReplaced"
    }

    /// Whether its termination was abandoned, and the group keeps it.
    fn is_retained(&self) -> bool {
        self.state.ends_with(":Retained")
    }

    /// Whether it belongs to the warm pool, in whatever state.
    fn is_warmed(&self) -> bool {
        self.state.starts_with("Warmed:")
    }

    /// Whether it is in the warm pool, or on its way into it.
    fn is_pooled(&self) -> bool {
        matches!(
            self.state,
            "Warmed:Pending"
                | "Warmed:Pending:Wait"
                | "Warmed:Pending:Proceed"
                | "Warmed:Stopped"
                | "Warmed:Running"
                | "Warmed:Hibernated"
        )
    }

    /// Whether it is on its way out of the group and out of the pool.
    fn is_leaving_for_good(&self) -> bool {
        matches!(self.journey, Some(Journey::Terminate | Journey::TerminateInPool | Journey::Reclaim))
    }

    /// Whether it rests in the warm pool and can be taken out.
    fn is_ready_in_pool(&self) -> bool {
        matches!(self.state, "Warmed:Stopped" | "Warmed:Running" | "Warmed:Hibernated")
    }
}

/// Why another instance is launched before this one goes.
#[derive(Debug, Clone)]
enum Superseded {
    /// In response to this.
    For { why: &'static str },
    /// For the balance of Availability Zones; `launched` tells of the launch.
    ByZone { launched: String },
}

/// A warm pool.
#[derive(Debug, Clone)]
struct WarmPool {
    min_size: u32,
    max_prepared: Option<u32>,
    state: PoolState,
    reuse_on_scale_in: Option<bool>,
    deleting: bool,
    /// Why its size was last changed, until it has that size.
    change: Option<String>,
}

/// What the instances of a warm pool rest as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PoolState {
    Stopped,
    Running,
    Hibernated,
}

impl PoolState {
    fn as_str(self) -> &'static str {
        &self.lifecycle_state()["Warmed:".len()..]
    }

    fn lifecycle_state(self) -> &'static str {
        match self {
            Self::Stopped => "Warmed:Stopped",
            Self::Running => "Warmed:Running",
            Self::Hibernated => "Warmed:Hibernated",
        }
    }
}

/// An instance refresh.
#[derive(Debug, Clone)]
struct Refresh {
    id: String,
    strategy: Strategy,
    status: &'static str,
    started: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
    /// Why it failed.
    reason: Option<String>,
    /// What the group launches from while it runs, and for good when it has succeeded.
    desired: Option<LaunchSource>,
    skip_matching: bool,
    total: usize,
    to_replace: Vec<String>,
    min_healthy_percentage: u32,
}

/// How an instance refresh renews instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// It launches others.
    Rolling,
    /// They stay, with another root volume.
    ReplaceRootVolume,
}

impl Strategy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "Rolling",
            Self::ReplaceRootVolume => "ReplaceRootVolume",
        }
    }
}
