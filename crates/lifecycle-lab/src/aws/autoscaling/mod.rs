//! EC2 Auto Scaling: groups, instances, lifecycle hooks with their clock, scaling activities, warm pools,
//! instance refreshes. This module holds the state; `capacity` decides what a group wants, `sources` what
//! it launches from, `launches` launches; `triggers` starts failures, schedules and other events, `engine` moves its instances,
//! `api` is its actions. The rules are AWS's as documented in the user guide; a comment says where
//! they are not documented and the lab had to choose.

mod api;
mod capacity;
mod engine;
mod launches;
mod sources;
mod triggers;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

pub(crate) use api::{call, like};
use sources::LaunchSource;
pub use sources::LaunchedFrom;

pub use crate::aws::throttle::Bucket;
use crate::aws::world::timestamp;

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
}

impl Group {
    fn running_refresh(&mut self) -> Option<&mut Refresh> {
        self.refreshes.last_mut().filter(|refresh| refresh.status == "InProgress")
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

/// A way that an instance goes, from one resting state to the next, past the hooks of its transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journey {
    Launch,
    IntoPool,
    OutOfPool,
    BackToPool,
    Terminate,
    TerminateInPool,
    /// A launch that was given up, or an instance of a group that is force-deleted: no hooks. Whether
    /// terminating hooks run after an abandoned launch is not documented.
    Discard,
}

/// The states of a journey, in order, as AWS spells them.
struct Stops {
    start: &'static str,
    wait: &'static str,
    proceed: &'static str,
}

impl Journey {
    fn stops(self) -> Stops {
        let (start, wait, proceed) = match self {
            Self::Launch | Self::OutOfPool => ("Pending", "Pending:Wait", "Pending:Proceed"),
            // Instances that return to the pool are documented to pause in this state for the
            // terminating action; what they show before it is not.
            Self::IntoPool | Self::BackToPool => {
                ("Warmed:Pending", "Warmed:Pending:Wait", "Warmed:Pending:Proceed")
            }
            Self::Terminate | Self::Discard => ("Terminating", "Terminating:Wait", "Terminating:Proceed"),
            Self::TerminateInPool => {
                ("Warmed:Terminating", "Warmed:Terminating:Wait", "Warmed:Terminating:Proceed")
            }
        };
        Stops { start, wait, proceed }
    }

    fn transition(self) -> Transition {
        match self {
            Self::Launch | Self::IntoPool | Self::OutOfPool => Transition::Launching,
            Self::BackToPool | Self::Terminate | Self::TerminateInPool | Self::Discard => {
                Transition::Terminating
            }
        }
    }

    fn origin(self) -> &'static str {
        match self {
            Self::Launch | Self::IntoPool => "EC2",
            Self::OutOfPool | Self::TerminateInPool => "WarmPool",
            Self::BackToPool | Self::Terminate | Self::Discard => "AutoScalingGroup",
        }
    }

    fn destination(self) -> &'static str {
        match self {
            Self::Launch | Self::OutOfPool => "AutoScalingGroup",
            Self::IntoPool | Self::BackToPool => "WarmPool",
            Self::Terminate | Self::TerminateInPool | Self::Discard => "EC2",
        }
    }
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
    instance_type: Option<String>,
    image_override: Option<String>,
    protected: bool,
    superseded: Option<Superseded>,
    journey: Option<Journey>,
    activity: Option<usize>,
}

impl Instance {
    /// Whether it counts towards the group's desired capacity.
    fn is_active(&self) -> bool {
        let states = ["Pending", "Pending:Wait", "Pending:Proceed", "InService"];
        states.contains(&self.state) && self.superseded.is_none()
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
        matches!(self.journey, Some(Journey::Terminate | Journey::TerminateInPool | Journey::Discard))
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
    reuse_on_scale_in: bool,
    deleting: bool,
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
    status: &'static str,
    started: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
    /// Why it failed.
    reason: Option<String>,
    skip_matching: bool,
    total: usize,
    to_replace: Vec<String>,
    min_healthy_percentage: u32,
}

/// A scaling activity.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// The group's name.
    pub group: String,
    /// The instance; empty when EC2 refused to launch one.
    pub instance: String,
    /// `Launching a new EC2 instance: i-…`
    pub description: String,
    /// Why, in AWS's words.
    pub cause: String,
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended.
    pub end: Option<DateTime<Utc>>,
    /// `InProgress`, `MidLifecycleAction`, `Successful`, `Cancelled` …
    pub status: &'static str,
    /// Why it failed.
    pub message: Option<String>,
    /// Percent.
    pub progress: u32,
    zone: String,
}

impl Activity {
    fn to_json(&self) -> Value {
        json!({
            "ActivityId": self.id,
            "AutoScalingGroupName": self.group,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": timestamp(self.start),
            "EndTime": self.end.map(timestamp),
            "StatusCode": self.status,
            "StatusMessage": self.message,
            "Progress": self.progress,
            "Details": json!({ "Availability Zone": self.zone }).to_string(),
        })
    }
}
