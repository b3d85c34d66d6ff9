//! The sweep's own steps, the same for every function that waits for an event: looking at the groups,
//! dealing with many waits at a pace that AWS's shared token bucket bears, heartbeats, and the answer.
//! What is done for a wait is the function's.
//!
//! AWS calls: those of `waits`, and `autoscaling:RecordLifecycleActionHeartbeat`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

use crate::config::Names;
use crate::waits::{Found, Groups};
use crate::{Actions, Answer, Completion, Error, Invocation, Outcome, Wait};

/// Groups that are looked at side by side. Auto Scaling's token bucket is the account's, not ours.
const GROUPS_AT_ONCE: usize = 4;

/// Waits that are dealt with side by side, each started this long after the one before: twenty calls a
/// second, which leaves the account's token bucket to others even when a thousand instances wait.
const WAITS_AT_ONCE: usize = 4;
const PACE: Duration = Duration::from_millis(50);

/// With less time than this nothing is begun for a wait: the next sweep finds it.
const SHORTEST_STEP: Duration = Duration::from_secs(1);

/// Longest time for one wait. A wait in lasting contention would otherwise hold its place to the end of
/// the run; the next sweep asks again.
const LONGEST_STEP: Duration = Duration::from_secs(10);

/// EventBridge runs nothing more often.
const SHORTEST_PERIOD: Duration = Duration::from_secs(60);

/// A scaling activity begins before its wait: by the load balancer's deregistration delay, of which this
/// is the default.
const DEREGISTRATION: Duration = Duration::from_secs(300);

/// What the sweep did with a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    /// Its work was begun.
    Started,
    /// Its action was completed.
    Completed,
    /// Its action had ended.
    AlreadyFinished,
    /// It was prolonged.
    Heartbeat,
    /// Nothing had to be done for it now.
    Waits,
    /// No time was left for it.
    Left,
}

impl From<Completion> for Did {
    fn from(completion: Completion) -> Self {
        match completion {
            Completion::Completed => Self::Completed,
            Completion::AlreadyFinished => Self::AlreadyFinished,
        }
    }
}

/// Looks after groups whose events may have been lost.
#[derive(Debug, Clone)]
pub struct Sweep {
    groups: Groups,
    actions: Actions,
    hooks: Option<Vec<String>>,
    memory: Arc<Mutex<Memory>>,
}

/// What a warm process knows and a cold one can do without.
#[derive(Debug, Default)]
struct Memory {
    /// Hooks, by group and name, whose timeout was found too short for the sweep's period.
    warned: BTreeSet<(String, String)>,
    /// When the last whole sweep began.
    last: Option<DateTime<Utc>>,
}

/// One run of the sweep: what it found, and what came of it.
#[derive(Debug, Default)]
pub struct Round {
    /// The groups.
    pub groups: Vec<AutoScalingGroup>,
    /// What waits in them.
    pub waits: Vec<Found>,
    began: DateTime<Utc>,
    done: BTreeMap<Did, usize>,
    failed: Vec<(String, Error)>,
}

impl Sweep {
    /// A sweep that acts on the hooks named in `hooks`, or without names on the terminating waits of
    /// groups with exactly one terminating hook.
    pub fn new(groups: Groups, actions: Actions, hooks: Option<Vec<String>>) -> Self {
        Self { groups, actions, hooks, memory: Arc::default() }
    }

    /// Finds what waits in the groups of these names. A group that can't be looked at doesn't stop the
    /// others.
    ///
    /// # Errors
    /// The groups themselves could not be read.
    pub async fn look(&self, names: &Names, invocation: &Invocation) -> Result<Round, Error> {
        let began = invocation.now();
        let groups = self.groups.named(names).await?;
        let looked: Vec<_> = stream::iter(groups)
            .map(|group| async move {
                let found = self.groups.waits(&group, self.hooks.as_deref(), began).await;
                (group, found)
            })
            .buffer_unordered(GROUPS_AT_ONCE)
            .collect()
            .await;
        let mut round = Round { began, ..Round::default() };
        for (group, found) in looked {
            match found {
                Ok(found) => round.waits.extend(found),
                Err(error) => round.fail(group.auto_scaling_group_name().unwrap_or_default(), error),
            }
            round.groups.push(group);
        }
        for found in &round.waits {
            self.warn_about_period(found, began);
        }
        Ok(round)
    }

    /// A hook that times out between two sweeps is not kept alive by them. How often the sweep runs is
    /// known once it has run twice in this process; until then, that it is no more often than a schedule can.
    fn warn_about_period(&self, found: &Found, now: DateTime<Utc>) {
        let Wait { group, hook, .. } = &found.wait;
        let heartbeat = found.timers.heartbeat;
        let mut memory = self.memory();
        let period = memory.last.and_then(|last| (now - last).to_std().ok());
        let period = period.unwrap_or_default().max(SHORTEST_PERIOD);
        if heartbeat < period * 2 && memory.warned.insert((group.clone(), hook.clone())) {
            warn!(
                asg.name = group,
                hook.name = hook,
                "{hook} of {group}: the hook's heartbeat timeout of {} s is shorter than twice the sweep's period of {} s; \
                 sweep more often, or lengthen the timeout",
                heartbeat.as_secs(),
                period.as_secs()
            );
        }
    }

    /// Prolongs a wait if this sweep should. Each wait gets a heartbeat in every third of its hook's
    /// timeout, at an offset of its own, so that a thousand waits that began together are not prolonged
    /// together. A sweep that does not know when the last one ran prolongs all, up to the hook's global
    /// timeout.
    ///
    /// # Errors
    /// As [`Actions::heartbeat`].
    pub async fn keep_alive(&self, found: &Found, invocation: &Invocation) -> Result<Did, Error> {
        let last = self.memory().last;
        if !is_due(found, last, invocation.now()) {
            return Ok(Did::Waits);
        }
        Ok(match self.actions.heartbeat(&found.wait, invocation).await? {
            Completion::Completed => Did::Heartbeat,
            Completion::AlreadyFinished => Did::AlreadyFinished,
        })
    }

    /// The answer to the run, once everything was tried.
    ///
    /// # Errors
    /// The first one, if nothing succeeded.
    pub fn answer(&self, mut round: Round) -> Result<Answer, Error> {
        let did = |what| round.done.get(&what).copied().unwrap_or_default();
        if did(Did::Left) == 0 && round.failed.is_empty() {
            self.memory().last = Some(round.began);
        }
        for (group, error) in &round.failed {
            error!(asg.name = group, error.type = error.name(), "the sweep of {group} failed: {}", error.chain());
        }
        let handled: usize = round.done.values().sum();
        if handled == 0 && !round.failed.is_empty() {
            return Err(round.failed.swap_remove(0).1);
        }
        let answer = Answer::new(Outcome::Swept)
            .with("groups", round.groups.len())
            .with("waiting", handled)
            .with("started", did(Did::Started))
            .with("completed", did(Did::Completed))
            .with("already_finished", did(Did::AlreadyFinished))
            .with("heartbeats", did(Did::Heartbeat))
            .with("left", did(Did::Left));
        let failures = round.failed.iter();
        let failures = failures.map(|(group, error)| json!({ "asg.name": group, "error": error.chain() }));
        Ok(if round.failed.is_empty() {
            answer
        } else {
            answer.with("failed", failures.collect::<Vec<Value>>())
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    /// Deals with `items`, each of which belongs to a wait, in their order, and counts what was done.
    pub async fn deal_with<T, F>(
        &mut self,
        items: Vec<T>,
        wait: impl Fn(&T) -> &Wait,
        invocation: &Invocation,
        deal: impl Fn(T, Invocation) -> F,
    ) where
        F: Future<Output = Result<Did, Error>>,
    {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clock = *invocation;
        let paced = stream::unfold((items.into_iter(), pace), |(mut items, mut pace)| async move {
            let next = items.next()?;
            // What no time is left for is only counted.
            if clock.time_left() > SHORTEST_STEP {
                pace.tick().await;
            }
            Some((next, (items, pace)))
        });
        let (wait, deal) = (&wait, &deal);
        let done: Vec<_> = paced
            .map(|item| async move {
                let group = wait(&item).group.clone();
                if clock.time_left() < SHORTEST_STEP {
                    return (group, Ok(Did::Left));
                }
                (group, deal(item, clock.at_most(LONGEST_STEP)).await)
            })
            .buffer_unordered(WAITS_AT_ONCE)
            .collect()
            .await;
        for (group, did) in done {
            match did {
                Ok(did) => *self.done.entry(did).or_default() += 1,
                Err(error) => self.failed.push((group, error)),
            }
        }
    }

    /// Says that something for `group` failed.
    pub fn fail(&mut self, group: &str, error: Error) {
        self.failed.push((group.to_owned(), error));
    }
}

/// A place in the order in which a sweep takes waits that are equally urgent: another one in each sweep,
/// so that what one had no time for is not always the last.
pub fn turn(wait: &Wait, now: DateTime<Utc>) -> u64 {
    hash(&(&wait.instance, now.timestamp()))
}

fn is_due(found: &Found, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let age = found.activity.as_ref().map(|activity| (now - activity.began).to_std().unwrap_or_default());
    if age.is_some_and(|age| age > found.timers.global + DEREGISTRATION) {
        return false;
    }
    let Some(last) = last else {
        return true;
    };
    let third = (found.timers.heartbeat.as_secs() / 3).max(1).cast_signed();
    let offset = (hash(&found.wait.instance) % third.cast_unsigned()).cast_signed();
    let slot = |time: DateTime<Utc>| (time.timestamp() + offset).div_euclid(third);
    slot(now) != slot(last)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
