//! Finds waits in Auto Scaling's own state: groups, hooks and their timers, instances in a wait state, and the
//! scaling activities that show an instance's direction and cause.
//!
//! AWS calls: `autoscaling:DescribeAutoScalingGroups`, `DescribeWarmPool`, `DescribeLifecycleHooks`,
//! `DescribeScalingActivities`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::{
    Activity as AwsActivity, AutoScalingGroup, Filter, Instance, LifecycleHook, ScalingActivityStatusCode,
};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::aws::time;
use lambda_kit::config::Names;
use lambda_kit::error::cut;
use lambda_kit::{Error, Warning};
use serde_json::json;
use tracing::debug;

use crate::outcome::SWEEP_INCOMPLETE;
use crate::{Transition, Wait};

/// Maximum age of a wait's scaling activity: 48 hours of waiting, and an hour from the start of the activity to the
/// hook.
pub const MAX_WAIT_AGE: TimeDelta = TimeDelta::hours(49);

/// Maximum of group names in one `DescribeAutoScalingGroups`.
const MAX_NAMES_PER_CALL: usize = 50;

/// Maximum of groups in one page of `DescribeAutoScalingGroups`.
const MAX_GROUPS_PER_PAGE: i32 = 100;

/// A hook's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookTimers {
    /// The heartbeat timeout.
    pub heartbeat: Duration,
    /// The global timeout.
    pub global: Duration,
}

impl HookTimers {
    /// Reads the timers of a hook. A missing value is AWS's default.
    pub fn of(hook: &LifecycleHook) -> Self {
        let seconds = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let heartbeat = hook.heartbeat_timeout().map_or(Duration::from_secs(3_600), seconds);
        let longest = Duration::from_secs(48 * 3_600).min(heartbeat * 100);
        Self { heartbeat, global: hook.global_timeout().map_or(longest, seconds) }
    }
}

/// A scaling activity of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// The start of the activity. Its wait begins later, after the load balancer's deregistration delay.
    pub began: DateTime<Utc>,
    /// The direction of the instance, if the description shows it.
    pub transition: Option<Transition>,
    /// The cause in AWS's words; may be empty.
    pub cause: String,
}

/// A wait that was found without its event.
#[derive(Debug, Clone)]
pub struct Found {
    /// The wait, without a token: only events have tokens.
    pub wait: Wait,
    /// The direction of the instance.
    pub transition: Transition,
    /// Whether the instance goes into the warm pool: for the first time, or back to it.
    pub to_pool: bool,
    /// Whether the instance dies in its warm pool, where it may be stopped.
    pub dies_in_pool: bool,
    /// Whether the instance lives on, because only its root volume is replaced.
    pub replaces_root_volume: bool,
    /// Whether an earlier `ABANDON` retained the instance, which now terminates again.
    pub was_retained: bool,
    /// Whether Auto Scaling reports the instance as unhealthy.
    pub is_unhealthy: bool,
    /// The scaling activity of the wait, if one was found.
    pub activity: Option<Activity>,
    /// The timers of the hook.
    pub timers: HookTimers,
}

impl Found {
    /// A time before the start of the wait.
    pub fn since(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.activity.as_ref().map_or(now - MAX_WAIT_AGE, |activity| activity.began)
    }
}

/// The waits of one group.
#[derive(Debug, Default)]
pub struct Waits {
    /// The waits in hooks that a reconciliation acts on.
    pub found: Vec<Found>,
    /// What could not be read or is not known.
    pub warnings: Vec<Warning>,
}

impl Waits {
    /// Tells what the sweep could not deal with.
    fn unclear(&mut self, group: &str, instance: Option<&str>, text: String) {
        let about = json!({ "asg.name": group, "instance.id": instance });
        let about = about.as_object().cloned().unwrap_or_default();
        self.warnings.push(Warning { failure: SWEEP_INCOMPLETE, text, about });
    }
}

/// An instance that waits in a hook, as its group shows it.
struct Waiting {
    instance: String,
    state: String,
    is_unhealthy: bool,
}

/// Reads groups, hooks and activities from Auto Scaling.
#[derive(Debug, Clone)]
pub struct Asgs(Client);

impl Asgs {
    /// Uses this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The existing groups with these names.
    ///
    /// # Errors
    /// `DescribeAutoScalingGroups` failed.
    pub async fn named(&self, names: &Names) -> Result<Vec<AutoScalingGroup>, Error> {
        let requests: Vec<Option<Vec<String>>> = match names.whole() {
            Some(names) => names.chunks(MAX_NAMES_PER_CALL).map(|names| Some(names.to_vec())).collect(),
            None => vec![None],
        };
        let mut groups = Vec::new();
        for some in requests {
            let request = self.0.describe_auto_scaling_groups().set_auto_scaling_group_names(some);
            let request = request.max_records(MAX_GROUPS_PER_PAGE);
            let mut pages = request.into_paginator().items().send();
            while let Some(group) = pages.next().await {
                let group = group.map_err(|error| Error::aws("DescribeAutoScalingGroups", &error))?;
                if group.auto_scaling_group_name().is_some_and(|name| names.contain(name)) {
                    groups.push(group);
                }
            }
        }
        Ok(groups)
    }

    /// The hooks of a group.
    ///
    /// # Errors
    /// `DescribeLifecycleHooks` failed.
    pub async fn hooks(&self, group: &str) -> Result<Vec<LifecycleHook>, Error> {
        let answer = self.0.describe_lifecycle_hooks().auto_scaling_group_name(group).send().await;
        let answer = answer.map_err(|error| Error::aws("DescribeLifecycleHooks", &error))?;
        Ok(answer.lifecycle_hooks.unwrap_or_default())
    }

    /// The waits of one group: in the hooks `named`, or, without names, the waits of transition `unnamed` in a group
    /// with exactly one hook of it.
    ///
    /// # Errors
    /// One of the calls failed.
    pub async fn waits(
        &self,
        group: &AutoScalingGroup,
        named: Option<&[String]>,
        unnamed: &Transition,
        now: DateTime<Utc>,
    ) -> Result<Waits, Error> {
        let name = group.auto_scaling_group_name().unwrap_or_default();
        let mut waiting: Vec<Waiting> = group.instances().iter().filter_map(waiting).collect();
        if group.warm_pool_configuration().is_some() {
            let request = self.0.describe_warm_pool().auto_scaling_group_name(name);
            let mut pages = request.into_paginator().items().send();
            while let Some(instance) = pages.next().await {
                let instance = instance.map_err(|error| Error::aws("DescribeWarmPool", &error))?;
                waiting.extend(self::waiting(&instance));
            }
        }
        let mut waits = Waits::default();
        if waiting.is_empty() {
            return Ok(waits);
        }
        let hooks = self.hooks(name).await?;
        let instances = waiting.iter().map(|waiting| waiting.instance.as_str()).collect();
        let mut activities = match self.running_activities(name, &instances, now - MAX_WAIT_AGE).await {
            Ok(activities) => activities,
            // Without activities, the traces of an earlier wait look like those of this one. Instances of a warm pool
            // have had an earlier wait.
            Err(error) if error.is_transient() || group.warm_pool_configuration().is_some() => {
                return Err(error);
            }
            Err(error) => {
                let text = format!("the scaling activities of {name} can't be read: {}", error.chain());
                waits.unclear(name, None, text);
                BTreeMap::new()
            }
        };
        let mut retained = None;
        for Waiting { instance, state, is_unhealthy } in waiting {
            let activity = activities.remove(&instance);
            let transition = match state.as_str() {
                "Pending:Wait" => Some(Transition::Launching),
                "Terminating:Wait" | "Warmed:Terminating:Wait" | "ReplacingRootVolume:Wait" => {
                    Some(Transition::Terminating)
                }
                // Into the pool for the first time, or back to it: only the activity shows which.
                "Warmed:Pending:Wait" => {
                    let transition = activity.as_ref().and_then(|activity| activity.transition.clone());
                    if transition.is_none() {
                        let text = format!("{instance} is {state} without a scaling activity that says why");
                        waits.unclear(name, Some(&instance), text);
                    }
                    transition
                }
                _ => {
                    let text =
                        format!("{instance} is {}, a state that this version does not know", cut(&state));
                    waits.unclear(name, Some(&instance), text);
                    None
                }
            };
            let Some(transition) = transition else { continue };
            let acted_on = hooks_to_act_on(&hooks, named, unnamed, &transition);
            if transition == Transition::Terminating && retained.is_none() && !acted_on.is_empty() {
                retained = Some(self.retained(name).await?);
            }
            let began = activity.as_ref().map_or(now, |activity| activity.began);
            let was_retained = transition == Transition::Terminating
                && retained.as_ref().is_some_and(|retained| retained.contains(&instance, began));
            for hook in acted_on {
                let wait = Wait {
                    group: name.to_owned(),
                    hook: hook.lifecycle_hook_name().unwrap_or_default().to_owned(),
                    instance: instance.clone(),
                    token: None,
                };
                waits.found.push(Found {
                    wait,
                    transition: transition.clone(),
                    to_pool: state == "Warmed:Pending:Wait",
                    dies_in_pool: state == "Warmed:Terminating:Wait",
                    replaces_root_volume: state == "ReplacingRootVolume:Wait",
                    was_retained,
                    is_unhealthy,
                    activity: activity.clone(),
                    timers: HookTimers::of(hook),
                });
            }
        }
        Ok(waits)
    }

    /// The instances of a group that an `ABANDON` once retained. Their termination is `Cancelled`, and its message, if it
    /// has one, says that an action was abandoned. The filter keeps the answer short; what it lets through is checked again.
    ///
    /// # Errors
    /// `DescribeScalingActivities` failed in a way that passes. Where it is refused for good, nothing counts as
    /// retained.
    pub async fn retained(&self, group: &str) -> Result<Retained, Error> {
        let cancelled = Filter::builder().name("Status").values("Cancelled").build();
        let request = self.0.describe_scaling_activities().auto_scaling_group_name(group).filters(cancelled);
        let mut pages = request.into_paginator().items().send();
        let mut retained = Retained::default();
        while let Some(activity) = pages.next().await {
            let activity = match activity.map_err(|error| Error::aws("DescribeScalingActivities", &error)) {
                Ok(activity) => activity,
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    debug!(asg.name = group, error = error.chain(), "retained instances can't be read");
                    break;
                }
            };
            let is_cancelled = activity.status_code() == Some(&ScalingActivityStatusCode::Cancelled);
            let is_abandoned = activity.status_message().is_none_or(|text| text.contains("abandoned"));
            let transition = read(&activity).transition;
            if is_cancelled && is_abandoned && transition == Some(Transition::Terminating) {
                retained.0.push(activity);
            }
        }
        Ok(retained)
    }

    /// The running scaling activity of each of these instances, if it began after `since`.
    ///
    /// # Errors
    /// `DescribeScalingActivities` failed.
    pub async fn running_activities(
        &self,
        group: &str,
        instances: &BTreeSet<&str>,
        since: DateTime<Utc>,
    ) -> Result<BTreeMap<String, Activity>, Error> {
        let request = self.0.describe_scaling_activities().auto_scaling_group_name(group);
        let mut pages = request.into_paginator().items().send();
        let mut found = BTreeMap::new();
        while found.len() < instances.len()
            && let Some(activity) = pages.next().await
        {
            let activity = activity.map_err(|error| Error::aws("DescribeScalingActivities", &error))?;
            if began(&activity) < since {
                break;
            }
            let id = instances.iter().find(|id| is_about(&activity, id));
            if let Some(id) = id.filter(|_| activity.end_time().is_none()) {
                found.entry((*id).to_owned()).or_insert_with(|| read(&activity));
            }
        }
        Ok(found)
    }

    /// The newest scaling activity that terminates this instance, began after `since` and had not ended at `waited`.
    /// An earlier one belongs to another wait.
    ///
    /// # Errors
    /// `DescribeScalingActivities` failed.
    pub async fn termination(
        &self,
        group: &str,
        instance: &str,
        since: DateTime<Utc>,
        waited: DateTime<Utc>,
    ) -> Result<Option<Activity>, Error> {
        let request = self.0.describe_scaling_activities().auto_scaling_group_name(group);
        let mut pages = request.into_paginator().items().send();
        while let Some(activity) = pages.next().await {
            let activity = activity.map_err(|error| Error::aws("DescribeScalingActivities", &error))?;
            if began(&activity) < since {
                break;
            }
            let is_over = activity.end_time().and_then(time).is_some_and(|end| end < waited);
            let found = Some(read(&activity)).filter(|_| is_about(&activity, instance) && !is_over);
            if found.as_ref().and_then(|found| found.transition.as_ref()) == Some(&Transition::Terminating) {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The terminations of a group that ended in the retention of their instance.
#[derive(Debug, Default)]
pub struct Retained(Vec<AwsActivity>);

impl Retained {
    /// Whether this instance was retained before `began`, the start of its present termination.
    pub fn contains(&self, instance: &str, began: DateTime<Utc>) -> bool {
        self.0.iter().any(|activity| is_about(activity, instance) && self::began(activity) < began)
    }
}

fn began(activity: &AwsActivity) -> DateTime<Utc> {
    activity.start_time().and_then(time).unwrap_or_default()
}

/// Whether the description, a sentence of AWS, names this instance.
fn is_about(activity: &AwsActivity, instance: &str) -> bool {
    let in_id = |character: char| character.is_ascii_alphanumeric() || character == '-';
    activity.description().unwrap_or_default().split(|c| !in_id(c)).any(|word| word == instance)
}

fn read(activity: &AwsActivity) -> Activity {
    Activity {
        id: activity.activity_id().unwrap_or_default().to_owned(),
        began: began(activity),
        transition: match activity.description().unwrap_or_default() {
            text if text.starts_with("Launching") => Some(Transition::Launching),
            text if text.starts_with("Terminating") => Some(Transition::Terminating),
            // Back to the warm pool, as AWS was recorded to describe it.
            text if text.starts_with("Scaling in EC2 instance into warm pool") => {
                Some(Transition::Terminating)
            }
            _ => None,
        },
        cause: activity.cause().unwrap_or_default().to_owned(),
    }
}

/// The instance, if it waits in a hook.
fn waiting(instance: &Instance) -> Option<Waiting> {
    let state = instance.lifecycle_state()?.as_str();
    state.ends_with(":Wait").then(|| Waiting {
        instance: instance.instance_id().unwrap_or_default().to_owned(),
        state: state.to_owned(),
        is_unhealthy: instance.health_status().is_some_and(|health| health.eq_ignore_ascii_case("unhealthy")),
    })
}

/// The hooks of a group that a reconciliation acts on: the hooks `named`, or, without names, the group's only hook of
/// the transition `unnamed`.
pub fn hooks_to_act_on<'a>(
    hooks: &'a [LifecycleHook],
    named: Option<&[String]>,
    unnamed: &Transition,
    transition: &Transition,
) -> Vec<&'a LifecycleHook> {
    let of_transition: Vec<_> =
        hooks.iter().filter(|hook| hook.lifecycle_transition() == Some(transition.as_str())).collect();
    match named {
        Some(named) => {
            let is_named = |hook: &&LifecycleHook| {
                hook.lifecycle_hook_name().is_some_and(|name| named.iter().any(|known| known == name))
            };
            of_transition.into_iter().filter(is_named).collect()
        }
        None if transition == unnamed && of_transition.len() == 1 => of_transition,
        None => Vec::new(),
    }
}
