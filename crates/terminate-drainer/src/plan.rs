//! Decides the next step for one wait: a pure function of the observations, the configuration and the time. Lifecycle
//! event, status event and sweep all decide here. Some steps only observe more; then the function decides again. It
//! also maps the end of a drain to the action's result, and to the failure that is told.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lambda_kit::{Error, Failure};
use lifecycle_core::pending::Found;
use lifecycle_core::{ActionResult, LifecycleAction, Transition};

use crate::config::{Config, WaitMode};
use crate::drain::{Agent, Command, End};
use crate::outcome::{DRAIN_FAILED, UNREACHABLE};

/// The minimum heartbeat timeout of a hook. The wait of an older event may have ended, and then a warm pool's
/// instance may be in service again, where no commands may run.
pub(crate) const MIN_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long after `TimeoutSeconds` Run Command may still show `Pending` for a command that the agent has just picked
/// up.
const DELIVERY_GRACE_PERIOD: Duration = Duration::from_secs(5);

/// How long after the start of its scaling activity a sweep leaves a wait to its event. The event arrives within
/// seconds, and Run Command lists its command a second later. A sweep that does not see it would send another one.
const EVENT_TIME: Duration = Duration::from_secs(15);

/// The first pause between two polls of a command. Each pause is 1.5 times the one before.
const INITIAL_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The longest pause between two polls: the longest delay of a completion.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// What started the work for the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The lifecycle event.
    Event,
    /// The status event of the command's end.
    StatusEvent {
        /// Whether the commands were sent a second time since.
        is_outdated: bool,
    },
    /// A sweep.
    Reconcile {
        /// The hook's heartbeat timeout.
        heartbeat: Duration,
        /// Whether this sweep should send a heartbeat.
        due: bool,
        /// Whether the wait ends before the next sweep.
        ends: Ends,
    },
}

/// Whether a wait ends before the next sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It ends later.
    Later,
    /// It ends before the next sweep, unless a heartbeat prolongs it.
    Soon,
    /// It ends before the next sweep, because its global timeout ends.
    ForGood,
}

/// Why it is no failure that an instance can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// There is none: it is a failure.
    None,
    /// The instance dies in its warm pool, where it may be stopped.
    InPool,
    /// Auto Scaling reports the instance as unhealthy: it was killed, or fails its checks.
    Unhealthy,
    /// The launch of the instance was abandoned.
    LaunchAbandoned,
}

/// The observations of a wait.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) trigger: Trigger,
    /// Which way the instance is going.
    pub(crate) transition: Transition,
    /// The event's time, or a time before the start of the wait.
    pub(crate) began: DateTime<Utc>,
    /// The start of the heartbeat timeout: the start of the wait, or the last heartbeat.
    pub(crate) prolonged: DateTime<Utc>,
    /// Whether the wait was seen in Auto Scaling's state.
    pub(crate) is_verified: bool,
    /// Whether an earlier `ABANDON` retained the instance; `None` before it is looked up.
    pub(crate) was_retained: Option<bool>,
    /// Whether no time is left for a second sending.
    pub(crate) is_late: bool,
    /// Whether the run that cancels commands is another one, which also sends them again: a sweep, or one that polls.
    pub(crate) leaves_cancelled: bool,
    /// Why it is no failure that the instance can't be reached; `None` before it is looked up.
    pub(crate) excuse: Option<Excuse>,
    /// The instance's agent; `None` before it is looked up. It does not matter after a command was sent.
    pub(crate) agent: Option<Agent>,
    /// Whether the commands of the wait were looked up.
    pub(crate) has_looked: bool,
    /// The last command that was sent for the wait.
    pub(crate) command: Option<Command>,
    /// Whether this run sent the command.
    pub(crate) sent: bool,
    /// Whether this run cancelled the command.
    pub(crate) cancelled: bool,
    /// The end on which this run completes the action.
    pub(crate) ending: Option<Ending>,
    /// The error that a sweep gives up for.
    pub(crate) error: Option<String>,
    /// The state of polling, if this run polls.
    pub(crate) polling: Option<Polling>,
}

/// The state of a run that polls for a command's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Polling {
    /// The hook's heartbeat timeout.
    pub(crate) heartbeat: Duration,
    /// The time at which polling ends: the rest of the run is reserved for the completion.
    pub(crate) until: DateTime<Utc>,
    /// The pause before the last poll.
    pub(crate) pause: Duration,
}

/// How a drain ended, which decides the action's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The commands succeeded.
    Succeeded,
    /// The commands failed, timed out, were cancelled, or were refused on the instance.
    Failed,
    /// The commands have not ended by the function's own clock.
    Overdue,
    /// The wait ends before the next sweep, whatever its drain does.
    Cut,
    /// AWS refused a call until the wait was about to end.
    Refused,
    /// The agent can't be reached, or never picked the commands up.
    Unreachable,
    /// An earlier `ABANDON` retained the instance. Another one would retain it again, for ever.
    Retained,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look whether the instance still waits; then decide again.
    Verify,
    /// Look up whether the instance was retained before; then decide again.
    LookForRetention,
    /// Look up the commands of the wait; then decide again.
    LookForCommand,
    /// Look up the agent; then decide again.
    LookAtAgent,
    /// Look up whether it is a failure that the instance can't be reached; then decide again.
    LookForExcuse,
    /// Send the commands, unless they were sent before; then decide again.
    Send {
        /// Whether the last command was not delivered.
        again: bool,
    },
    /// Cancel the command that no agent picks up, and see what becomes of it; then decide again.
    Cancel,
    /// Send a heartbeat, then decide again: the command gets the full heartbeat timeout.
    Prolong,
    /// Poll the command after this pause, then decide again.
    Ask(Duration),
    /// End: complete the action.
    Complete(Ending),
    /// End: the command runs, and the wait gets a heartbeat.
    KeepAlive,
    /// End: the command runs, and the status event of its end starts the function again.
    AwaitEvent,
    /// End: the agent is not there yet. The sweep looks again.
    AwaitAgent,
    /// End: there is nothing more to do now. The next sweep continues.
    LeaveToSweep,
    /// End: AWS does not show yet what this event needs, so Lambda retries the event.
    RunAgain,
}

impl Observed {
    /// A wait with nothing observed but the trigger.
    pub(crate) fn new(trigger: Trigger, transition: Transition, began: DateTime<Utc>) -> Self {
        Self {
            trigger,
            transition,
            began,
            prolonged: began,
            is_verified: false,
            was_retained: None,
            is_late: false,
            leaves_cancelled: false,
            excuse: None,
            agent: None,
            has_looked: false,
            command: None,
            sent: false,
            cancelled: false,
            ending: None,
            error: None,
            polling: None,
        }
    }

    /// The observations of a lifecycle event.
    pub(crate) fn of_event(action: &LifecycleAction) -> Self {
        let seen = Self::new(Trigger::Event, action.transition.clone(), action.time);
        let dies_in_pool = action.from_pool() && action.transition == Transition::Terminating;
        Self { excuse: dies_in_pool.then_some(Excuse::InPool), ..seen }
    }

    /// The observations of a sweep.
    pub(crate) fn of_found(found: &Found, due: bool, ends: Ends, now: DateTime<Utc>) -> Self {
        let trigger = Trigger::Reconcile { heartbeat: found.timers.heartbeat, due, ends };
        let seen = Self::new(trigger, found.transition.clone(), found.since(now));
        let cause = found.activity.as_ref().map(|activity| activity.cause.as_str()).unwrap_or_default();
        Self {
            prolonged: found.activity.as_ref().map_or(now, |activity| activity.began),
            is_verified: true,
            was_retained: Some(found.was_retained),
            excuse: Some(Excuse::of(found.dies_in_pool, found.is_unhealthy, cause)),
            ..seen
        }
    }

    fn ends(&self) -> Ends {
        match self.trigger {
            Trigger::Reconcile { ends, .. } => ends,
            _ => Ends::Later,
        }
    }
}

impl Excuse {
    /// Reads the state of a terminating instance and the cause of its scaling activity. The cause of an abandoned
    /// launch is recorded only as text.
    pub(crate) fn of(dies_in_pool: bool, is_unhealthy: bool, cause: &str) -> Self {
        let is_launch_failure = cause.split("At ").any(|sentence| {
            let (_, what) = sentence.trim_end().split_once(' ').unwrap_or_default();
            what == "an instance was taken out of service in response to a launch failure."
        });
        match (dies_in_pool, is_unhealthy, is_launch_failure) {
            (true, ..) => Self::InPool,
            (_, true, _) => Self::Unhealthy,
            (.., true) => Self::LaunchAbandoned,
            _ => Self::None,
        }
    }
}

/// Decides the next step for a wait.
pub(crate) fn decide(seen: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    match &seen.command {
        None => without_command(seen, config, now),
        Some(command) => with_command(seen, command, config, now),
    }
}

fn without_command(seen: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    if may_have_ended(seen, now) {
        return Step::Verify;
    }
    match seen.was_retained {
        None if seen.transition == Transition::Terminating => return Step::LookForRetention,
        Some(true) => return Step::Complete(Ending::Retained),
        _ => {}
    }
    match (seen.trigger, seen.agent) {
        (Trigger::Reconcile { .. }, _) if !seen.has_looked => Step::LookForCommand,
        // No time is left for any work.
        (Trigger::Reconcile { ends: Ends::ForGood, .. }, _) => Step::Complete(Ending::Cut),
        (_, None) => Step::LookAtAgent,
        (Trigger::Reconcile { ends: Ends::Later, .. }, Some(Agent::Online))
            if since(seen.began, now) < EVENT_TIME =>
        {
            Step::LeaveToSweep
        }
        (_, Some(Agent::Online)) => Step::Send { again: false },
        (_, Some(_)) if !seen.has_looked => Step::LookForCommand,
        (trigger, Some(agent)) if may_yet_come(seen, agent, config, now) => match trigger {
            Trigger::Reconcile { ends: Ends::Later, .. } => Step::LeaveToSweep,
            Trigger::Reconcile { .. } => unreachable(seen),
            Trigger::Event | Trigger::StatusEvent { .. } => Step::AwaitAgent,
        },
        (_, Some(_)) => unreachable(seen),
    }
}

/// Whether the wait of an event may have ended. A sweep has just seen its waits.
fn may_have_ended(seen: &Observed, now: DateTime<Utc>) -> bool {
    !seen.is_verified && since(seen.began, now) > MIN_HEARTBEAT_TIMEOUT
}

/// Whether an agent that can't take commands may come (back): one that has reported lately, or one of a launching
/// instance that has not registered since the start of the wait.
fn may_yet_come(seen: &Observed, agent: Agent, config: &Config, now: DateTime<Utc>) -> bool {
    let launches = seen.transition == Transition::Launching;
    match agent {
        _ if seen.excuse == Some(Excuse::InPool) => false,
        Agent::Silent { heard } if !launches || heard >= seen.prolonged => {
            since(heard, now) < config.delivery_timeout
        }
        _ => launches && since(seen.prolonged, now) < config.registration_timeout,
    }
}

/// Completes the action by `ON_UNREACHABLE`, as soon as it is known whether that is a failure.
fn unreachable(seen: &Observed) -> Step {
    match seen.excuse {
        None => Step::LookForExcuse,
        Some(_) => Step::Complete(Ending::Unreachable),
    }
}

fn with_command(seen: &Observed, command: &Command, config: &Config, now: DateTime<Utc>) -> Step {
    let age = since(command.requested, now);
    match command.end() {
        Some(End::Succeeded) => Step::Complete(Ending::Succeeded),
        Some(End::Failed) => Step::Complete(Ending::Failed),
        Some(End::NotDelivered) => undelivered(seen, command, now),
        // The command has ended according to the event.
        None if matches!(seen.trigger, Trigger::StatusEvent { .. }) => while_it_runs(seen, config, now),
        // Run Command shows it for both timeouts together, although no agent picks it up after the first.
        None if command.is_pending() && age > config.delivery_timeout + DELIVERY_GRACE_PERIOD => {
            pending(seen, command, age, config, now)
        }
        None if age > config.max_drain_age() => Step::Complete(Ending::Overdue),
        None => while_it_runs(seen, config, now),
    }
}

/// The step after a command that was not delivered: it is sent once more while there is time.
fn undelivered(seen: &Observed, command: &Command, now: DateTime<Utc>) -> Step {
    let is_last = command.again || seen.is_late || seen.ends() == Ends::ForGood;
    if is_last || seen.excuse == Some(Excuse::InPool) || seen.agent == Some(Agent::Refused) {
        unreachable(seen)
    } else if seen.leaves_cancelled && command.status == "Cancelled" {
        Step::LeaveToSweep
    } else if may_have_ended(seen, now) {
        Step::Verify
    } else {
        Step::Send { again: true }
    }
}

/// The step after a command that no agent has picked up. It must not run beside a second one, so it is cancelled
/// first.
fn pending(seen: &Observed, command: &Command, age: Duration, config: &Config, now: DateTime<Utc>) -> Step {
    let is_last = command.again || seen.ends() == Ends::ForGood || age > config.max_drain_age();
    match seen.trigger {
        _ if is_last => unreachable(seen),
        // Only one run may send a second command, so a second delivery of the event leaves the first one alone.
        Trigger::Event if config.wait == WaitMode::Event => Step::AwaitEvent,
        _ if !seen.cancelled => Step::Cancel,
        // Run Command does not show the cancellation yet.
        Trigger::Reconcile { ends: Ends::Later, .. } => Step::LeaveToSweep,
        Trigger::Reconcile { .. } => unreachable(seen),
        _ => while_it_runs(seen, config, now),
    }
}

fn while_it_runs(seen: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let unproven = since(seen.prolonged, now);
    match (seen.trigger, config.wait, seen.polling) {
        (Trigger::StatusEvent { .. }, ..) if seen.sent && unproven > MIN_HEARTBEAT_TIMEOUT => Step::Prolong,
        (Trigger::StatusEvent { is_outdated }, ..) if seen.sent || is_outdated => Step::AwaitEvent,
        // The command has ended according to the event, so the list lags behind.
        (Trigger::StatusEvent { .. }, ..) => Step::RunAgain,
        (Trigger::Reconcile { ends: Ends::ForGood, .. }, ..) => Step::Complete(Ending::Cut),
        (Trigger::Reconcile { ends: Ends::Soon, .. }, ..) => Step::KeepAlive,
        // Part of the heartbeat timeout is over. The drain gets all of it. A third is the longest time between two
        // heartbeats of the sweep.
        (Trigger::Reconcile { heartbeat, .. }, ..) if seen.sent && unproven > heartbeat / 3 => {
            Step::KeepAlive
        }
        (Trigger::Reconcile { due: true, .. }, ..) if !seen.sent => Step::KeepAlive,
        (Trigger::Reconcile { .. }, ..) => Step::LeaveToSweep,
        (Trigger::Event, _, None) if unproven > MIN_HEARTBEAT_TIMEOUT && !seen.cancelled => Step::Prolong,
        (Trigger::Event, WaitMode::Event, _) => Step::AwaitEvent,
        (Trigger::Event, WaitMode::Poll, None) => Step::Ask(Duration::ZERO),
        (_, _, Some(polling)) if now >= polling.until => Step::LeaveToSweep,
        (_, _, Some(polling)) if unproven >= polling.heartbeat / 2 => Step::Prolong,
        (_, _, Some(polling)) => Step::Ask(polling.next_pause().min(since(now, polling.until))),
    }
}

impl Polling {
    fn next_pause(&self) -> Duration {
        match self.pause {
            Duration::ZERO => INITIAL_POLL_INTERVAL,
            pause => (pause * 3 / 2).min(MAX_POLL_INTERVAL).min(self.heartbeat / 4),
        }
    }
}

/// The end of a wait that a sweep could not deal with because of `error`, if the wait ends before the next sweep. No
/// error ends a drain that may still run: a wait that is older than its heartbeat timeout was prolonged for one.
pub(crate) fn give_up(seen: &Observed, error: &Error, now: DateTime<Utc>) -> Option<Ending> {
    let Trigger::Reconcile { heartbeat, ends, .. } = seen.trigger else { return None };
    let was_prolonged = !seen.has_looked && since(seen.prolonged, now) > heartbeat;
    let may_run = was_prolonged || error.is_transient() && seen.command.is_some();
    if ends == Ends::Later || seen.ending.is_some() || may_run {
        return None;
    }
    let is_undelivered = seen
        .command
        .as_ref()
        .is_some_and(|command| command.is_pending() || command.end() == Some(End::NotDelivered));
    Some(if is_undelivered { Ending::Unreachable } else { Ending::Refused })
}

/// The result that completes the action, from the end of the drain.
pub(crate) fn result(transition: &Transition, ending: Ending, config: &Config) -> ActionResult {
    let by_transition = match transition {
        Transition::Launching => ActionResult::Abandon,
        _ => ActionResult::Continue,
    };
    let on_failure = config.on_failure.unwrap_or(by_transition);
    match ending {
        Ending::Succeeded | Ending::Retained => ActionResult::Continue,
        Ending::Failed | Ending::Overdue | Ending::Cut | Ending::Refused => on_failure,
        Ending::Unreachable => config.on_unreachable.unwrap_or(on_failure),
    }
}

/// The failure that is told of the end of a drain.
pub(crate) fn failure(ending: Ending, excuse: Option<Excuse>) -> Option<Failure> {
    match ending {
        Ending::Succeeded | Ending::Retained => None,
        Ending::Failed | Ending::Overdue | Ending::Cut | Ending::Refused => Some(DRAIN_FAILED),
        Ending::Unreachable => match excuse {
            None | Some(Excuse::None) => Some(UNREACHABLE),
            Some(Excuse::InPool | Excuse::Unhealthy | Excuse::LaunchAbandoned) => None,
        },
    }
}

fn since(time: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - time).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests;
