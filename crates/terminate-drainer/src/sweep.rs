//! The sweep: finds waits from Auto Scaling's own state, because an event can be lost. It starts what
//! was never started, finishes what has ended, and keeps alive what still runs.
//!
//! AWS calls: `autoscaling:DescribeAutoScalingGroups`, `DescribeWarmPool`, `DescribeLifecycleHooks`,
//! `DescribeScalingActivities`; `ssm:ListCommandInvocations` once for all waits.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleHook};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};
use lifecycle_core::{Answer, Completion, Error, Invocation, Outcome, Transition, Wait};
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::Context;
use crate::commands::{Agent, Drain, Started};
use crate::policy::{self, Ending};
use crate::timers::HookTimers;

/// Groups that are looked at side by side. Auto Scaling's token bucket is the account's, not ours.
const GROUPS_AT_ONCE: usize = 4;

/// Waits that are dealt with side by side, each started this long after the one before: twenty calls a
/// second, which leaves the account's token bucket to others even when a thousand instances wait.
const WAITS_AT_ONCE: usize = 4;
const PACE: Duration = Duration::from_millis(50);

/// With less time than this nothing is begun for a wait: the next sweep finds it.
const SHORTEST_STEP: Duration = Duration::from_secs(1);

/// A scaling activity begins before its wait: by the load balancer's deregistration delay, of which this
/// is the default.
const DEREGISTRATION: Duration = Duration::from_secs(300);

/// Names of groups that one `DescribeAutoScalingGroups` takes.
const NAMES_AT_ONCE: usize = 50;

/// No wait is older: 48 hours, and an hour for the journey to the hook.
const OLDEST: TimeDelta = TimeDelta::hours(49);

/// An instance's present scaling activity.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    pub(crate) began: DateTime<Utc>,
    transition: Option<Transition>,
}

/// A wait that the sweep found, and what it must know of it.
#[derive(Debug, Clone)]
struct Found {
    wait: Wait,
    transition: Transition,
    began: DateTime<Utc>,
    timers: HookTimers,
}

/// What the sweep did with a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Did {
    Started,
    Completed,
    AlreadyFinished,
    Heartbeat,
    /// Nothing to do for it now.
    Waits,
    /// No time was left for it.
    Left,
}

impl Context {
    /// Looks after the named groups.
    pub(crate) async fn sweep(&self, invocation: &Invocation) -> Result<Answer, Error> {
        if self.config.groups.is_empty() {
            warn!("AUTO_SCALING_GROUPS is not set, so the sweep looks after no group");
        }
        let began = invocation.now();
        let groups = self.groups().await?;
        let count = groups.len();
        let looked: Vec<(String, Result<Vec<Found>, Error>)> = stream::iter(groups)
            .map(|group| async move {
                let name = group.auto_scaling_group_name().unwrap_or_default().to_owned();
                let found = self.waits_of(&name, &group, invocation).await;
                (name, found)
            })
            .buffer_unordered(GROUPS_AT_ONCE)
            .collect()
            .await;

        let mut failed = Vec::new();
        let mut waits = Vec::new();
        for (group, found) in looked {
            match found {
                Ok(found) => waits.extend(found),
                Err(error) => failed.push((group, error)),
            }
        }
        let mut done: BTreeMap<Did, usize> = BTreeMap::new();
        for (group, did) in self.deal_with(waits, invocation).await? {
            match did {
                Ok(did) => *done.entry(did).or_default() += 1,
                Err(error) => failed.push((group, error)),
            }
        }

        let did = |what| done.get(&what).copied().unwrap_or_default();
        if did(Did::Left) == 0 && failed.is_empty() {
            self.memory().last_sweep = Some(began);
        }
        for (group, error) in &failed {
            error!(asg.name = group, error.type = error.name(), "the sweep of {group} failed: {}", error.chain());
        }
        let handled: usize = done.values().sum();
        if handled == 0 && !failed.is_empty() {
            return Err(failed.swap_remove(0).1);
        }
        let answer = Answer { outcome: Outcome::Swept, fields: Map::new() }
            .with("groups", count)
            .with("waiting", handled)
            .with("started", did(Did::Started))
            .with("completed", did(Did::Completed))
            .with("already_finished", did(Did::AlreadyFinished))
            .with("heartbeats", did(Did::Heartbeat))
            .with("left", did(Did::Left));
        let failures =
            failed.iter().map(|(group, error)| json!({ "asg.name": group, "error": error.chain() }));
        Ok(if failed.is_empty() { answer } else { answer.with("failed", failures.collect::<Vec<Value>>()) })
    }

    /// The groups that the configuration names.
    async fn groups(&self) -> Result<Vec<AutoScalingGroup>, Error> {
        let requests: Vec<Option<Vec<String>>> = match self.config.groups.whole() {
            Some(names) => names.chunks(NAMES_AT_ONCE).map(|names| Some(names.to_vec())).collect(),
            None => vec![None],
        };
        let mut groups = Vec::new();
        for names in requests {
            let request = self.autoscaling.describe_auto_scaling_groups().set_auto_scaling_group_names(names);
            let mut pages = request.into_paginator().items().send();
            while let Some(group) = pages.next().await {
                let group = group.map_err(|error| Error::aws("DescribeAutoScalingGroups", &error))?;
                if group.auto_scaling_group_name().is_some_and(|name| self.config.groups.contain(name)) {
                    groups.push(group);
                }
            }
        }
        Ok(groups)
    }

    /// The waits of one group that the sweep may act on.
    async fn waits_of(
        &self,
        name: &str,
        group: &AutoScalingGroup,
        invocation: &Invocation,
    ) -> Result<Vec<Found>, Error> {
        let of_group = group.instances().iter();
        let mut waiting: Vec<(String, String)> = of_group.filter_map(waiting_state).collect();
        if group.warm_pool_configuration().is_some() {
            let request = self.autoscaling.describe_warm_pool().auto_scaling_group_name(name);
            let mut pages = request.into_paginator().items().send();
            while let Some(instance) = pages.next().await {
                let instance = instance.map_err(|error| Error::aws("DescribeWarmPool", &error))?;
                waiting.extend(waiting_state(&instance));
            }
        }
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let hooks = self.hooks(name).await?;
        let ids = waiting.iter().map(|(id, _)| id.as_str()).collect();
        let activities = self.activities(name, &ids, invocation.now() - OLDEST).await?;
        let mut found = Vec::new();
        for (instance, state) in &waiting {
            let activity = activities.get(instance);
            let transition = match state.as_str() {
                "Pending:Wait" => Some(Transition::Launching),
                "Terminating:Wait" | "Warmed:Terminating:Wait" => Some(Transition::Terminating),
                // Into the pool, or back to it: only the activity tells.
                _ => activity.and_then(|activity| activity.transition.clone()),
            };
            let Some(transition) = transition else {
                warn!(
                    asg.name = name,
                    instance.id = instance,
                    "{instance} is {state} without a scaling activity"
                );
                continue;
            };
            for hook in self.hooks_to_act_on(&hooks, &transition) {
                let timers = HookTimers::of(hook);
                self.warn_about_period(name, hook, timers, invocation.now());
                found.push(Found {
                    wait: Wait {
                        group: name.to_owned(),
                        hook: hook.lifecycle_hook_name().unwrap_or_default().to_owned(),
                        instance: instance.clone(),
                        token: None,
                    },
                    transition: transition.clone(),
                    began: activity.map_or(invocation.now() - OLDEST, |activity| activity.began),
                    timers,
                });
            }
        }
        Ok(found)
    }

    /// The hooks named in the configuration; without them the one terminating hook of a group that has
    /// exactly one.
    fn hooks_to_act_on<'a>(
        &self,
        hooks: &'a [LifecycleHook],
        transition: &Transition,
    ) -> Vec<&'a LifecycleHook> {
        let of_transition: Vec<_> =
            hooks.iter().filter(|hook| hook.lifecycle_transition() == Some(transition.as_str())).collect();
        match &self.config.hooks {
            Some(named) => {
                let is_named = |hook: &&LifecycleHook| {
                    hook.lifecycle_hook_name().is_some_and(|name| named.iter().any(|known| known == name))
                };
                of_transition.into_iter().filter(is_named).collect()
            }
            None if *transition == Transition::Terminating && of_transition.len() == 1 => of_transition,
            None => Vec::new(),
        }
    }

    /// The running scaling activity of each of these instances, as far as it began after `since`.
    pub(crate) async fn activities(
        &self,
        group: &str,
        instances: &BTreeSet<&str>,
        since: DateTime<Utc>,
    ) -> Result<BTreeMap<String, Activity>, Error> {
        let request = self.autoscaling.describe_scaling_activities().auto_scaling_group_name(group);
        let mut pages = request.into_paginator().items().send();
        let mut found = BTreeMap::new();
        while found.len() < instances.len()
            && let Some(activity) = pages.next().await
        {
            let activity = activity.map_err(|error| Error::aws("DescribeScalingActivities", &error))?;
            let began = activity
                .start_time()
                .and_then(|time| DateTime::from_timestamp(time.secs(), time.subsec_nanos()));
            let began = began.unwrap_or_default();
            if began < since - OLDEST {
                break;
            }
            if activity.end_time().is_some() {
                continue;
            }
            let description = activity.description().unwrap_or_default();
            let Some(id) = instances.iter().find(|id| description.contains(**id)) else {
                continue;
            };
            let transition = match description {
                text if text.starts_with("Launching") => Some(Transition::Launching),
                text if text.starts_with("Terminating") => Some(Transition::Terminating),
                _ => None,
            };
            found.entry((*id).to_owned()).or_insert(Activity { began, transition });
        }
        Ok(found)
    }

    /// Deals with every wait, at a pace that leaves AWS's token bucket to others; what has ended comes
    /// first.
    async fn deal_with(
        &self,
        waits: Vec<Found>,
        invocation: &Invocation,
    ) -> Result<Vec<(String, Result<Did, Error>)>, Error> {
        let Some(oldest) = waits.iter().map(|found| found.began).min() else {
            return Ok(Vec::new());
        };
        let mut drains = self.commands.since(&self.config.document, oldest).await?;
        let mut waits: Vec<(Found, Option<Drain>)> = waits
            .into_iter()
            .map(|found| {
                let on_instance = drains.get_mut(&found.wait.instance);
                let drain = on_instance.and_then(|drains| {
                    let ours = drains.iter().filter(|drain| drain.belongs_to(&found.wait, found.began));
                    ours.min_by_key(|drain| drain.requested).cloned()
                });
                (found, drain)
            })
            .collect();
        let unstarted = waits.iter().filter(|(_, drain)| drain.is_none());
        let unstarted: Vec<String> = unstarted.map(|(found, _)| found.wait.instance.clone()).collect();
        let agents = self.commands.agents(&unstarted).await?;
        let now = invocation.now();
        waits.sort_by_key(|(_, drain)| match drain.as_ref().map(|drain| drain.ending(&self.config, now)) {
            Some(Some(_)) => 0,
            None => 1,
            Some(None) => 2,
        });

        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clock = *invocation;
        let paced = stream::unfold((waits.into_iter(), pace), |(mut waits, mut pace)| async move {
            let next = waits.next()?;
            // What no time is left for is only counted.
            if clock.time_left() > SHORTEST_STEP {
                pace.tick().await;
            }
            Some((next, (waits, pace)))
        });
        let agents = &agents;
        Ok(paced
            .map(|(found, drain)| async move {
                let agent = agents.get(&found.wait.instance).copied();
                (found.wait.group.clone(), self.deal_with_one(&found, drain, agent, invocation).await)
            })
            .buffer_unordered(WAITS_AT_ONCE)
            .collect()
            .await)
    }

    async fn deal_with_one(
        &self,
        found: &Found,
        drain: Option<Drain>,
        agent: Option<Agent>,
        invocation: &Invocation,
    ) -> Result<Did, Error> {
        let Found { wait, transition, began, timers } = found;
        if invocation.time_left() < SHORTEST_STEP {
            return Ok(Did::Left);
        }
        let now = invocation.now();
        let drain = if drain.is_none() && agent != Some(Agent::Online) {
            // A command of another document, from before a deployment, may still run.
            self.commands.first(wait, *began).await?
        } else {
            drain
        };
        let (drain, ending) = match (drain, agent) {
            (Some(drain), _) => {
                let ending = drain.ending(&self.config, now);
                (Some(drain), ending)
            }
            (None, Some(Agent::Online)) => {
                match self.start_drain(transition, wait, *began, invocation).await? {
                    Started::Now(_) => {
                        // Much of the hook's time may be gone: the drain gets all of it.
                        if (now - *began).to_std().unwrap_or_default() > timers.heartbeat / 2 {
                            self.actions.heartbeat(wait, invocation).await?;
                        }
                        return Ok(Did::Started);
                    }
                    Started::Before(drain) => {
                        let ending = drain.ending(&self.config, now);
                        (Some(drain), ending)
                    }
                    Started::Refused => (None, Some(Ending::Unreachable)),
                }
            }
            (None, Some(Agent::Unregistered))
                if *transition == Transition::Launching
                    && (now - *began).to_std().unwrap_or_default() < self.config.delivery_timeout =>
            {
                return Ok(Did::Waits);
            }
            (None, _) => (None, Some(Ending::Unreachable)),
        };
        if let Some(ending) = ending {
            let result = policy::result(transition, ending, &self.config);
            let detail = drain.as_ref().map_or("the agent can't be reached", |drain| drain.detail.as_str());
            info!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                command.status = detail,
                exit_code = drain.as_ref().and_then(|drain| drain.exit_code),
                "{}: found by the sweep, {detail}",
                wait.instance
            );
            return Ok(match self.actions.complete(wait, result, None, invocation).await? {
                Completion::Completed => Did::Completed,
                Completion::AlreadyFinished => Did::AlreadyFinished,
            });
        }
        let last_sweep = self.memory().last_sweep;
        if !heartbeat_is_due(found, last_sweep, now) {
            return Ok(Did::Waits);
        }
        Ok(match self.actions.heartbeat(wait, invocation).await? {
            Completion::Completed => Did::Heartbeat,
            Completion::AlreadyFinished => Did::AlreadyFinished,
        })
    }

    /// A hook that times out between two sweeps is not kept alive by them. How often the sweep runs is
    /// known once it has run twice in this process.
    fn warn_about_period(&self, group: &str, hook: &LifecycleHook, timers: HookTimers, now: DateTime<Utc>) {
        let name = hook.lifecycle_hook_name().unwrap_or_default();
        let mut memory = self.memory();
        let Some(period) = memory.last_sweep.and_then(|last| (now - last).to_std().ok()) else {
            return;
        };
        let key = (format!("sweep of {group}"), name.to_owned());
        if timers.heartbeat < period * 2 && memory.checked.insert(key) {
            warn!(
                asg.name = group,
                hook.name = name,
                "{name} of {group}: the hook's heartbeat timeout of {} s is shorter than twice the sweep's period of {} s; \
                 sweep more often, or lengthen the timeout",
                timers.heartbeat.as_secs(),
                period.as_secs()
            );
        }
    }
}

/// An instance's id and state, if it waits in a hook.
fn waiting_state(instance: &aws_sdk_autoscaling::types::Instance) -> Option<(String, String)> {
    let state = instance.lifecycle_state()?.as_str();
    state
        .ends_with(":Wait")
        .then(|| (instance.instance_id().unwrap_or_default().to_owned(), state.to_owned()))
}

/// Whether this sweep should prolong the wait. Each wait gets a heartbeat in every third of its hook's
/// timeout, at an offset of its own, so that a thousand waits that began together are not prolonged
/// together. A sweep that does not know when the last one ran prolongs all.
fn heartbeat_is_due(found: &Found, last_sweep: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let age = now - found.began;
    if age.to_std().unwrap_or_default() > found.timers.global + DEREGISTRATION {
        return false;
    }
    let Some(last_sweep) = last_sweep else {
        return true;
    };
    let third = (found.timers.heartbeat.as_secs() / 3).max(1).cast_signed();
    let mut hasher = DefaultHasher::new();
    found.wait.instance.hash(&mut hasher);
    let offset = (hasher.finish() % third.cast_unsigned()).cast_signed();
    let slot = |time: DateTime<Utc>| (time.timestamp() + offset).div_euclid(third);
    slot(now) != slot(last_sweep)
}
