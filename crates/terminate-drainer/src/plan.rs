//! Decides the next step for one wait: a pure function of the observations, the configuration and the time. Lifecycle
//! event, status event and sweep all decide here. Some steps only observe more; then the function decides again. It
//! also maps the end of a drain to the action's result.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lifecycle_core::{ActionResult, LifecycleAction, Transition};

use crate::config::{Config, WaitMode};
use crate::drain::{Agent, Command, Ending};

/// The minimum heartbeat timeout of a hook. The wait of an older event may have ended, and then a warm pool's
/// instance may be in service again, where no commands may run.
pub(crate) const MIN_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long after `TimeoutSeconds` Run Command may still show `Pending` for a command that the agent has just picked
/// up.
const DELIVERY_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The first pause between two polls of a command. Each pause is 1.5 times the one before.
const INITIAL_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The longest pause between two polls: the longest delay of a completion.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// What started the work for the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The lifecycle event.
    Event {
        /// Whether the instance comes from a warm pool. Its agent is already registered and starts again.
        from_pool: bool,
    },
    /// The status event of the command's end.
    StatusEvent,
    /// A sweep.
    Reconcile {
        /// The hook's heartbeat timeout.
        heartbeat: Duration,
        /// Whether this sweep should send a heartbeat.
        due: bool,
    },
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
    /// The instance's agent; `None` before it is looked up. It does not matter after a command was sent.
    pub(crate) agent: Option<Agent>,
    /// The first command that was sent for the wait.
    pub(crate) command: Option<Command>,
    /// Whether this run sent the command.
    pub(crate) sent: bool,
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

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send a heartbeat, then decide again: either the wait has ended, or it gets the full heartbeat timeout.
    Prolong,
    /// Look up the agent and, if it can't take commands, a command that was sent before; then decide again.
    Look,
    /// Send the commands, unless they were sent before; then decide again.
    Send,
    /// Poll the command after this pause, then decide again.
    Ask(Duration),
    /// End: complete the action.
    Complete(ActionResult),
    /// End: the command runs, and the wait gets a heartbeat.
    KeepAlive,
    /// End: the command runs, and the status event of its end starts the function again.
    AwaitEvent,
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
            agent: None,
            command: None,
            sent: false,
            polling: None,
        }
    }

    /// The observations of a lifecycle event.
    pub(crate) fn of_event(action: &LifecycleAction) -> Self {
        let from_pool = action.origin.as_deref() == Some("WarmPool");
        Self::new(Trigger::Event { from_pool }, action.transition.clone(), action.time)
    }
}

/// Decides the next step for a wait.
pub(crate) fn decide(seen: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    match &seen.command {
        None => without_command(seen, config, now),
        Some(command) => match ending(command, config, now) {
            Some(ending) => Step::Complete(result(&seen.transition, ending, config)),
            None => while_it_runs(seen, config, now),
        },
    }
}

fn without_command(seen: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let unproven = since(seen.prolonged, now);
    match (seen.trigger, seen.agent) {
        (Trigger::Event { .. }, None) if unproven > MIN_HEARTBEAT_TIMEOUT => Step::Prolong,
        (_, None) => Step::Look,
        // Part of the heartbeat timeout is over. The drain gets all of it, if the wait still lasts. A third is the
        // longest time between two heartbeats of the sweep.
        (Trigger::Reconcile { heartbeat, .. }, Some(Agent::Online)) if unproven > heartbeat / 3 => {
            Step::Prolong
        }
        (_, Some(Agent::Online)) => Step::Send,
        (trigger, Some(agent)) if may_yet_register(seen, agent, config, now) => match trigger {
            Trigger::Reconcile { .. } => Step::LeaveToSweep,
            Trigger::Event { .. } | Trigger::StatusEvent => Step::RunAgain,
        },
        (_, Some(_)) => Step::Complete(result(&seen.transition, Ending::Unreachable, config)),
    }
}

/// Whether an agent that can't take commands may register soon: on a newly booted instance it needs some time.
fn may_yet_register(seen: &Observed, agent: Agent, config: &Config, now: DateTime<Utc>) -> bool {
    let boots = match (seen.trigger, agent) {
        (_, Agent::Unregistered) => true,
        (Trigger::Event { .. }, Agent::Refused) => true,
        (Trigger::Event { from_pool }, _) => from_pool,
        _ => false,
    };
    boots && seen.transition == Transition::Launching && since(seen.began, now) < config.delivery_timeout
}

fn while_it_runs(seen: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    match (seen.trigger, config.wait, seen.polling) {
        // The command has ended according to the event, so the list lags behind.
        (Trigger::StatusEvent, ..) => Step::RunAgain,
        (Trigger::Reconcile { due: true, .. }, ..) if !seen.sent => Step::KeepAlive,
        (Trigger::Reconcile { .. }, ..) => Step::LeaveToSweep,
        (Trigger::Event { .. }, WaitMode::Event, _) => Step::AwaitEvent,
        (Trigger::Event { .. }, WaitMode::Poll, None) => Step::Ask(Duration::ZERO),
        (_, _, Some(polling)) if now >= polling.until => Step::LeaveToSweep,
        (_, _, Some(polling)) if since(seen.prolonged, now) >= polling.heartbeat / 2 => Step::Prolong,
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

/// How a command ended; `None` while it may still run. Run Command can show a command as pending or delayed until its
/// execution timeout, although no agent picks it up after `TimeoutSeconds`. Such a command was never delivered.
pub(crate) fn ending(command: &Command, config: &Config, now: DateTime<Utc>) -> Option<Ending> {
    let undelivered = ["Pending", "Delayed"].contains(&command.status.as_str())
        && since(command.requested, now) > config.delivery_timeout + DELIVERY_GRACE_PERIOD;
    Ending::of(&command.status, &command.detail).or(undelivered.then_some(Ending::Unreachable))
}

/// The result that completes the action, from the end of the drain.
fn result(transition: &Transition, ending: Ending, config: &Config) -> ActionResult {
    let by_transition = match transition {
        Transition::Launching => ActionResult::Abandon,
        _ => ActionResult::Continue,
    };
    let on_failure = config.on_failure.unwrap_or(by_transition);
    match ending {
        Ending::Succeeded => ActionResult::Continue,
        Ending::Failed => on_failure,
        Ending::Unreachable => config.on_unreachable.unwrap_or(on_failure),
    }
}

fn since(time: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - time).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use lambda_kit::Configuration;

    use super::*;
    use ActionResult::{Abandon, Continue};
    use Step::*;
    use Transition::{Launching, Terminating};

    const EVENT: Trigger = Trigger::Event { from_pool: false };
    const FROM_POOL: Trigger = Trigger::Event { from_pool: true };
    const STATUS_EVENT: Trigger = Trigger::StatusEvent;
    const RECONCILE: Trigger = Trigger::Reconcile { heartbeat: Duration::from_secs(300), due: false };
    const DUE: Trigger = Trigger::Reconcile { heartbeat: Duration::from_secs(300), due: true };

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::parse(&variables.iter().copied().collect()).unwrap()
    }

    fn ago(seconds: f64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH - TimeDelta::milliseconds((seconds * 1_000.0) as i64)
    }

    fn decide_now(seen: &Observed, config: &Config) -> Step {
        decide(seen, config, DateTime::UNIX_EPOCH)
    }

    /// A wait that began this many seconds ago.
    fn wait(trigger: Trigger, transition: Transition, age: f64) -> Observed {
        Observed::new(trigger, transition, ago(age))
    }

    /// Its command, requested this many seconds ago.
    fn command(status: &str, detail: &str, age: f64) -> Option<Command> {
        let (status, detail) = (status.to_owned(), detail.to_owned());
        Some(Command { id: "c-1".to_owned(), requested: ago(age), status, detail, exit_code: None })
    }

    #[test]
    fn without_a_command_the_agent_decides() {
        use Agent::*;
        let config = config(&[("DELIVERY_TIMEOUT", "120s"), ("ON_UNREACHABLE", "ABANDON")]);
        for (trigger, transition, age, agent, expected) in [
            // An event whose wait may have ended.
            (EVENT, Terminating, 30.0, None, Look),
            (EVENT, Terminating, 30.1, None, Prolong),
            // An agent that can take commands.
            (EVENT, Terminating, 9.0, Some(Online), Send),
            (EVENT, Terminating, 9_999.0, Some(Online), Send),
            (RECONCILE, Terminating, 100.0, Some(Online), Send),
            (RECONCILE, Terminating, 100.1, Some(Online), Prolong),
            (DUE, Launching, 9.0, Some(Online), Send),
            // One that can't, on an instance that terminates.
            (EVENT, Terminating, 9.0, Some(Silent), Complete(Abandon)),
            (EVENT, Terminating, 9.0, Some(Unregistered), Complete(Abandon)),
            (EVENT, Terminating, 9.0, Some(Refused), Complete(Abandon)),
            (FROM_POOL, Terminating, 9.0, Some(Silent), Complete(Abandon)),
            (RECONCILE, Terminating, 9.0, Some(Silent), Complete(Abandon)),
            (RECONCILE, Terminating, 9.0, Some(Unregistered), Complete(Abandon)),
            (RECONCILE, Terminating, 9.0, Some(Refused), Complete(Abandon)),
            // One that can't, on an instance that boots.
            (EVENT, Launching, 119.9, Some(Unregistered), RunAgain),
            (EVENT, Launching, 120.0, Some(Unregistered), Complete(Abandon)),
            (EVENT, Launching, 119.9, Some(Refused), RunAgain),
            (EVENT, Launching, 120.0, Some(Refused), Complete(Abandon)),
            (EVENT, Launching, 119.9, Some(Silent), Complete(Abandon)),
            (FROM_POOL, Launching, 119.9, Some(Silent), RunAgain),
            (FROM_POOL, Launching, 120.0, Some(Silent), Complete(Abandon)),
            (RECONCILE, Launching, 119.9, Some(Unregistered), LeaveToSweep),
            (RECONCILE, Launching, 120.0, Some(Unregistered), Complete(Abandon)),
            (RECONCILE, Launching, 119.9, Some(Silent), Complete(Abandon)),
            (RECONCILE, Launching, 119.9, Some(Refused), Complete(Abandon)),
        ] {
            let row = format!("{trigger:?} {transition:?} {age} {agent:?}");
            let seen = Observed { agent, ..wait(trigger, transition, age) };
            assert_eq!(decide_now(&seen, &config), expected, "{row}");
        }
    }

    #[test]
    fn a_wait_that_was_just_prolonged_is_not_prolonged_again() {
        for (trigger, agent, expected) in [(EVENT, None, Look), (RECONCILE, Some(Agent::Online), Send)] {
            let seen = Observed { agent, prolonged: ago(0.0), ..wait(trigger, Terminating, 9_999.0) };
            assert_eq!(decide_now(&seen, &config(&[])), expected, "{trigger:?}");
        }
    }

    #[test]
    fn while_the_command_runs_whoever_looks_next_decides() {
        for (trigger, mode, sent, expected) in [
            (EVENT, "event", true, AwaitEvent),
            (EVENT, "event", false, AwaitEvent),
            (EVENT, "poll", true, Ask(Duration::ZERO)),
            (EVENT, "poll", false, Ask(Duration::ZERO)),
            (STATUS_EVENT, "event", false, RunAgain),
            (STATUS_EVENT, "poll", false, RunAgain),
            (RECONCILE, "event", true, LeaveToSweep),
            (RECONCILE, "poll", false, LeaveToSweep),
            (DUE, "event", true, LeaveToSweep),
            (DUE, "event", false, KeepAlive),
            (DUE, "poll", false, KeepAlive),
        ] {
            let command = command("InProgress", "InProgress", 99.0);
            let seen = Observed { command, sent, ..wait(trigger, Terminating, 9_999.0) };
            assert_eq!(decide_now(&seen, &config(&[("WAIT", mode)])), expected, "{trigger:?} {mode} {sent}");
        }
    }

    #[test]
    fn polling_asks_ever_more_rarely_sends_heartbeats_and_ends_in_time() {
        let (long, short) = (3_600, 40);
        // The heartbeat timeout, seconds since the last heartbeat, seconds left, the last pause.
        for (heartbeat, prolonged, left, pause, expected) in [
            (long, 0.0, 60.0, 0, Ask(Duration::from_millis(500))),
            (long, 0.0, 60.0, 500, Ask(Duration::from_millis(750))),
            (long, 0.0, 60.0, 12_000, Ask(Duration::from_secs(15))),
            (short, 0.0, 60.0, 12_000, Ask(Duration::from_secs(10))),
            (long, 0.0, 0.1, 750, Ask(Duration::from_millis(100))),
            (long, 0.0, 0.0, 750, LeaveToSweep),
            (long, 1_799.9, 60.0, 12_000, Ask(Duration::from_secs(15))),
            (long, 1_800.0, 60.0, 12_000, Prolong),
            (short, 20.0, 60.0, 0, Prolong),
            (short, 20.0, 0.0, 0, LeaveToSweep),
        ] {
            let polling = Some(Polling {
                heartbeat: Duration::from_secs(heartbeat),
                until: ago(-left),
                pause: Duration::from_millis(pause),
            });
            let command = command("InProgress", "InProgress", 9_999.0);
            let prolonged = ago(prolonged);
            let seen = Observed { command, prolonged, polling, ..wait(EVENT, Terminating, 9_999.0) };
            let row = format!("{polling:?}, prolonged at {prolonged}");
            assert_eq!(decide_now(&seen, &config(&[("WAIT", "poll")])), expected, "{row}");
        }
    }

    #[test]
    fn whoever_finds_that_the_command_has_ended_completes_the_action() {
        let config = config(&[("DELIVERY_TIMEOUT", "120s"), ("ON_UNREACHABLE", "ABANDON")]);
        let polling = Polling {
            heartbeat: Duration::from_secs(30),
            until: DateTime::UNIX_EPOCH,
            pause: Duration::from_secs(15),
        };
        for (trigger, polling) in [
            (EVENT, None),
            (EVENT, Some(polling)),
            (FROM_POOL, None),
            (STATUS_EVENT, None),
            (RECONCILE, None),
            (DUE, None),
        ] {
            for (status, detail, age, expected) in [
                ("Success", "Success", 9.0, Continue),
                ("Failed", "Failed", 9.0, Continue),
                ("TimedOut", "DeliveryTimedOut", 9.0, Abandon),
                // No agent picks it up after the delivery timeout, whatever Run Command shows.
                ("Pending", "Pending", 150.1, Abandon),
                ("Delayed", "Delayed", 150.1, Abandon),
            ] {
                let command = command(status, detail, age);
                let seen = Observed { command, polling, ..wait(trigger, Terminating, 9_999.0) };
                assert_eq!(decide_now(&seen, &config), Complete(expected), "{trigger:?} {status} {detail}");
            }
        }
        for (status, age) in [("Pending", 150.0), ("Delayed", 150.0), ("InProgress", 9_999.0)] {
            assert_eq!(ending(&command(status, status, age).unwrap(), &config, ago(0.0)), None, "{status}");
        }
    }

    #[test]
    fn the_result_follows_the_transition_unless_the_operator_says_otherwise() {
        use Ending::*;
        for (variables, transition, ending, expected) in [
            (&[][..], Terminating, Succeeded, Continue),
            (&[], Terminating, Failed, Continue),
            (&[], Terminating, Unreachable, Continue),
            (&[], Launching, Succeeded, Continue),
            (&[], Launching, Failed, Abandon),
            (&[], Launching, Unreachable, Abandon),
            (&[("ON_FAILURE", "ABANDON")], Terminating, Succeeded, Continue),
            (&[("ON_FAILURE", "ABANDON")], Terminating, Failed, Abandon),
            (&[("ON_FAILURE", "ABANDON")], Terminating, Unreachable, Abandon),
            (&[("ON_UNREACHABLE", "ABANDON")], Terminating, Failed, Continue),
            (&[("ON_UNREACHABLE", "ABANDON")], Terminating, Unreachable, Abandon),
            (&[("ON_FAILURE", "CONTINUE")], Launching, Failed, Continue),
            (&[("ON_FAILURE", "CONTINUE")], Launching, Unreachable, Continue),
            (&[("ON_FAILURE", "CONTINUE"), ("ON_UNREACHABLE", "ABANDON")], Launching, Unreachable, Abandon),
        ] {
            assert_eq!(
                result(&transition, ending, &config(variables)),
                expected,
                "{variables:?} {transition:?} {ending:?}"
            );
        }
    }
}
