//! Reconcile: finds the waits of the groups and handles each, as if its event had just arrived. The steps are the
//! same for every function: find the waits, handle them at a pace that AWS's shared token bucket allows, send
//! heartbeats, and count the results for the answer. The function itself decides what to do for a wait.
//!
//! AWS calls: those of `pending`, and `autoscaling:RecordLifecycleActionHeartbeat`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};
use lambda_kit::config::Names;
use lambda_kit::{Answer, Error, Invocation, Warning};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use crate::outcome::{SWEEP_INCOMPLETE, SWEPT};
use crate::pending::{Asgs, Found};
use crate::{Actions, Completion, Transition, Wait};

/// Maximum of groups that are read concurrently. All callers of the account share Auto Scaling's token bucket.
const MAX_CONCURRENT_GROUPS: usize = 4;

/// Maximum of waits that are handled concurrently, and the pause between their starts: twenty calls a second, which
/// leaves tokens for other callers even if a thousand instances wait.
const MAX_CONCURRENT_WAITS: usize = 4;
const WAIT_START_INTERVAL: Duration = Duration::from_millis(50);

/// Minimum time to begin work for a wait. With less, the wait is left to the next sweep.
const MIN_WAIT_TIME: Duration = Duration::from_secs(1);

/// Maximum time for one wait. Otherwise a wait in lasting contention would keep its place until the end of the run.
/// The next sweep tries again.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum of errors in the answer. Each error also has a warning of its own; thousands of them in one line would be
/// longer than CloudWatch Logs accepts.
const MAX_FAILED_IN_ANSWER: usize = 10;

/// The time until the next sweep, as long as a process has run only one.
const DEFAULT_SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// A sweep that follows sooner is not the schedule's, which has whole minutes.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// How many times between sweeps a process remembers. The second longest counts: one may be longer because a run came
/// late or in another process, and some shorter because of retries and runs by hand.
const MAX_GAPS: usize = 5;

/// How much later than planned the next sweep may deal with a wait.
const SWEEP_JITTER: TimeDelta = TimeDelta::seconds(10);

/// The load balancer's default deregistration delay: the time from the start of a scaling activity to its wait.
pub const DEFAULT_DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);

/// What the run did for a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    /// It started the wait's work.
    Started,
    /// It completed the action.
    Completed,
    /// The action had already ended.
    AlreadyFinished,
    /// It sent a heartbeat.
    Heartbeat,
    /// There was nothing to do now.
    Waits,
    /// No time was left for the wait.
    Left,
}

/// What the run did for a wait, and what went wrong with it.
#[derive(Debug)]
pub struct Handled {
    /// What it did.
    pub did: Did,
    /// The failure to report.
    pub warning: Option<Warning>,
}

impl From<Did> for Handled {
    fn from(did: Did) -> Self {
        Self { did, warning: None }
    }
}

impl From<Completion> for Did {
    fn from(completion: Completion) -> Self {
        match completion {
            Completion::Completed => Self::Completed,
            Completion::AlreadyFinished => Self::AlreadyFinished,
        }
    }
}

/// Reconciles groups whose events may have been lost.
#[derive(Debug, Clone)]
pub struct Reconciler {
    asgs: Asgs,
    actions: Actions,
    hooks: Option<Vec<String>>,
    unnamed: Transition,
    patience: Duration,
    memory: Arc<Mutex<Memory>>,
}

/// Facts that only a warm process knows. A cold process works without them.
#[derive(Debug, Default)]
struct Memory {
    /// Hooks, by group and name, that were reported as too short for the sweep's interval.
    warned: BTreeSet<(String, String)>,
    /// The start of the last sweep.
    began: Option<DateTime<Utc>>,
    /// The times between the last sweeps.
    gaps: VecDeque<Duration>,
    /// The start of the last sweep that handled every wait.
    last: Option<DateTime<Utc>>,
    /// When this process sent the last heartbeat of each present wait.
    heartbeats: HashMap<Wait, DateTime<Utc>>,
}

impl Memory {
    /// The time between two sweeps, if it is known.
    fn interval(&self) -> Option<Duration> {
        let mut gaps: Vec<_> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        gaps.iter().rev().nth(1).or(gaps.first()).copied()
    }

    /// Learns from the start of a sweep.
    fn sweep(&mut self, began: DateTime<Utc>) {
        let gap = self.began.and_then(|last| (began - last).to_std().ok());
        if gap.is_some_and(|gap| gap < MIN_SWEEP_INTERVAL) {
            return;
        }
        self.began = Some(began);
        self.gaps.truncate(MAX_GAPS - 1);
        if let Some(gap) = gap {
            self.gaps.push_front(gap);
        }
    }
}

/// One run: the waits that it found and the results.
#[derive(Debug, Default)]
pub struct Round {
    /// The groups.
    pub groups: Vec<AutoScalingGroup>,
    /// The waits in the groups.
    pub waits: Vec<Found>,
    began: DateTime<Utc>,
    done: BTreeMap<Did, usize>,
    /// What could not be dealt with, by the fields that identify it.
    failed: Vec<(Map<String, Value>, Error)>,
    warnings: Vec<Warning>,
}

impl Reconciler {
    /// Acts on the hooks named in `hooks`, or, without names, on the waits of transition `unnamed` in groups with
    /// exactly one hook of it.
    pub fn new(asgs: Asgs, actions: Actions, hooks: Option<Vec<String>>, unnamed: Transition) -> Self {
        Self { asgs, actions, hooks, unnamed, patience: Duration::ZERO, memory: Arc::default() }
    }

    /// A sweep that leaves waits to their events for this long needs longer hooks, and warns of shorter ones.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Finds the waits in the groups with these names. An error of one group doesn't stop the others.
    ///
    /// # Errors
    /// The groups themselves could not be read.
    pub async fn look(&self, names: &Names, invocation: &Invocation) -> Result<Round, Error> {
        let began = invocation.now();
        let groups = self.asgs.named(names).await?;
        // Groups that take long to read leave half of the time to the waits of the others.
        let until = Instant::now() + invocation.time_left() / 2;
        let looked: Vec<_> = stream::iter(groups)
            .map(|group| async move {
                let waits = self.asgs.waits(&group, self.hooks.as_deref(), &self.unnamed, began);
                let found = tokio::time::timeout_at(until, waits).await.unwrap_or_else(|_| {
                    Err(Error::Timeout("the group's waits could not be read in time".to_owned()))
                });
                (group, found)
            })
            .buffer_unordered(MAX_CONCURRENT_GROUPS)
            .collect()
            .await;
        let mut round = Round { began, ..Round::default() };
        for (group, found) in looked {
            match found {
                Ok(waits) => {
                    round.waits.extend(waits.found);
                    round.warnings.extend(waits.warnings);
                }
                Err(error) => round.fail(group.auto_scaling_group_name().unwrap_or_default(), error),
            }
            round.groups.push(group);
        }
        let mut memory = self.memory();
        memory.sweep(began);
        let present: HashSet<&Wait> = round.waits.iter().map(|found| &found.wait).collect();
        memory.heartbeats.retain(|wait, _| present.contains(wait));
        drop(memory);
        for found in &round.waits {
            self.warn_about_interval(found);
        }
        Ok(round)
    }

    /// Warns about a hook whose timeout is too short for the sweep, once its interval is known: after two sweeps in
    /// this process. Schedules have whole minutes, and runs begin some seconds early or late.
    fn warn_about_interval(&self, found: &Found) {
        let Wait { group, hook, .. } = &found.wait;
        let heartbeat = found.timers.heartbeat;
        let mut memory = self.memory();
        let Some(interval) = memory.interval() else { return };
        let interval = Duration::from_secs((interval.as_secs() + 30) / 60 * 60);
        let needed = interval * 2 + self.patience;
        if heartbeat < needed && memory.warned.insert((group.clone(), hook.clone())) {
            warn!(
                asg.name = group,
                hook.name = hook,
                "{hook} of {group}: the hook's heartbeat timeout of {} s is shorter than twice the sweep's interval of \
                 {} s{}; sweep more often, or raise the timeout",
                heartbeat.as_secs(),
                interval.as_secs(),
                match self.patience.as_secs() {
                    0 => String::new(),
                    patience => format!(" and the {patience} s that a wait is left to its event"),
                }
            );
        }
    }

    /// Whether the wait ends before the next sweep, if nothing prolongs it. Then its policy has to decide now. One that
    /// lasts longer than its hook's timeout was prolonged by another process, and its end is not known.
    pub fn ends_before_next(&self, found: &Found, now: DateTime<Utc>) -> bool {
        let Some(activity) = &found.activity else { return false };
        let timeout = found.timers.heartbeat;
        let age = (now - activity.began).to_std().unwrap_or_default();
        // An earlier wait of the instance looks the same.
        let last = self.memory().heartbeats.get(&found.wait).copied().filter(|last| *last >= activity.began);
        let ends = match last {
            None if age > timeout + DEFAULT_DEREGISTRATION_DELAY => false,
            last => self.is_before_next(last.unwrap_or(activity.began), timeout, now),
        };
        ends || self.ends_for_good(found, now)
    }

    /// Whether the wait ends before the next sweep, because its global timeout ends, which no heartbeat prolongs.
    pub fn ends_for_good(&self, found: &Found, now: DateTime<Utc>) -> bool {
        let began = found.activity.as_ref().map(|activity| activity.began);
        began.is_some_and(|began| self.is_before_next(began, found.timers.global, now))
    }

    /// Whether `timeout` after `since` is before the next sweep.
    fn is_before_next(&self, since: DateTime<Utc>, timeout: Duration, now: DateTime<Utc>) -> bool {
        let interval = self.memory().interval().unwrap_or(DEFAULT_SWEEP_INTERVAL);
        let span = |time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        since + span(timeout) <= now + span(interval) + SWEEP_JITTER
    }

    /// Whether this sweep should send a heartbeat. Each wait gets one heartbeat per third of its hook's timeout, with
    /// an offset per instance, so that a thousand waits that began together don't get their heartbeats together. A
    /// sweep that does not know the time of the last one sends a heartbeat to all, up to the global timeout.
    pub fn is_due(&self, found: &Found, now: DateTime<Utc>) -> bool {
        is_due(found, self.memory().last, now)
    }

    /// Sends a heartbeat if it is due.
    ///
    /// # Errors
    /// As [`Actions::heartbeat`].
    pub async fn keep_alive(&self, found: &Found, invocation: &Invocation) -> Result<Did, Error> {
        if !self.is_due(found, invocation.now()) {
            return Ok(Did::Waits);
        }
        Ok(match self.prolong(found, invocation).await? {
            Completion::Completed => Did::Heartbeat,
            Completion::AlreadyFinished => Did::AlreadyFinished,
        })
    }

    /// Sends a heartbeat, and remembers its time.
    ///
    /// # Errors
    /// As [`Actions::heartbeat`].
    pub async fn prolong(&self, found: &Found, invocation: &Invocation) -> Result<Completion, Error> {
        let completion = self.actions.heartbeat(&found.wait, invocation).await?;
        if completion == Completion::Completed {
            self.memory().heartbeats.insert(found.wait.clone(), invocation.now());
        }
        Ok(completion)
    }

    /// The answer of the run, after all waits.
    ///
    /// # Errors
    /// The only one, if nothing succeeded.
    pub fn answer(&self, mut round: Round) -> Result<Answer, Error> {
        let did = |what| round.done.get(&what).copied().unwrap_or_default();
        if did(Did::Left) == 0 && round.failed.is_empty() {
            self.memory().last = Some(round.began);
        }
        let handled: usize = round.done.values().sum();
        // Run again, where the error alone says everything.
        if handled == 0 && round.failed.len() == 1 && round.warnings.is_empty() {
            return Err(round.failed.swap_remove(0).1);
        }
        let answer = Answer::new(SWEPT)
            .with("groups", round.groups.len())
            .with("waiting", handled)
            .with("started", did(Did::Started))
            .with("completed", did(Did::Completed))
            .with("already_finished", did(Did::AlreadyFinished))
            .with("heartbeats", did(Did::Heartbeat))
            .with("left", did(Did::Left));
        if did(Did::Left) > 0 {
            let text = format!("the time of the run was over before {} wait(s)", did(Did::Left));
            round.warnings.push(Warning { failure: SWEEP_INCOMPLETE, text, about: Map::new() });
        }
        for (about, error) in &round.failed {
            let subject = about.get("instance.id").or_else(|| about.get("asg.name"));
            let subject = subject.and_then(Value::as_str).unwrap_or_default();
            let text = format!("the sweep could not deal with {subject}: {}", error.chain());
            let mut about = about.clone();
            about.insert("error.type".to_owned(), error.name().into());
            round.warnings.push(Warning { failure: SWEEP_INCOMPLETE, text, about });
        }
        let failed = round.failed.iter().take(MAX_FAILED_IN_ANSWER);
        let failed =
            failed.map(|(about, error)| json!({ "asg.name": about.get("asg.name"), "error": error.chain() }));
        let failed: Vec<Value> = failed.collect();
        let answer = if failed.is_empty() { answer } else { answer.with("failed", failed) };
        Ok(answer.failures(round.warnings))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    /// Handles `items` in order, each of which belongs to a wait, and counts the results.
    pub async fn for_each<T, F, H>(
        &mut self,
        items: Vec<T>,
        wait: impl Fn(&T) -> &Wait,
        invocation: &Invocation,
        handle: impl Fn(T, Invocation) -> F,
    ) where
        F: Future<Output = Result<H, Error>>,
        H: Into<Handled>,
    {
        let mut pace = tokio::time::interval(WAIT_START_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clock = *invocation;
        let paced = stream::unfold((items.into_iter(), pace), |(mut items, mut pace)| async move {
            let next = items.next()?;
            // Without time, items are only counted.
            if clock.time_left() > MIN_WAIT_TIME {
                pace.tick().await;
            }
            Some((next, (items, pace)))
        });
        let (wait, handle) = (&wait, &handle);
        let done: Vec<_> = paced
            .map(|item| async move {
                let about = wait(&item).fields();
                if clock.time_left() < MIN_WAIT_TIME {
                    return (about, Ok(Did::Left.into()));
                }
                // A call that hangs until the run is cut off would take the results of all waits with it.
                let work = handle(item, clock.at_most(WAIT_TIMEOUT));
                let handled = tokio::time::timeout(clock.time_left(), work).await.unwrap_or_else(|_| {
                    Err(Error::Timeout("the time of the run was over before AWS answered".to_owned()))
                });
                (about, handled.map(Into::into))
            })
            .buffer_unordered(MAX_CONCURRENT_WAITS)
            .collect()
            .await;
        for (about, handled) in done {
            match handled {
                Ok(Handled { did, warning }) => {
                    self.count(did);
                    self.warnings.extend(warning);
                }
                Err(error) => self.failed.push((about, error)),
            }
        }
    }

    /// Counts a wait that needs no call.
    pub fn count(&mut self, did: Did) {
        *self.done.entry(did).or_default() += 1;
    }

    /// Tells a failure.
    pub fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    /// Records an error of `group`.
    pub fn fail(&mut self, group: &str, error: Error) {
        self.failed.push((Map::from_iter([("asg.name".to_owned(), group.into())]), error));
    }
}

/// The position of a wait among equally urgent ones. It differs in each sweep, so that the same wait is not always
/// the last.
pub fn turn(wait: &Wait, now: DateTime<Utc>) -> u64 {
    hash(&(&wait.instance, now.timestamp()))
}

fn is_due(found: &Found, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let age = found.activity.as_ref().map(|activity| (now - activity.began).to_std().unwrap_or_default());
    if age.is_some_and(|age| age > found.timers.global + DEFAULT_DEREGISTRATION_DELAY) {
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
