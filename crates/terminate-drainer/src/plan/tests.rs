//! The decisions as tables: each row is what was observed, and the next step.

use chrono::TimeDelta;
use lambda_kit::error::AwsFailure;
use lambda_kit::{Configuration, Failure};

use super::*;
use crate::drain::NO_RESPONSE;
use ActionResult::{Abandon, Continue};
use Step::*;
use Transition::{Launching, Terminating};

const EVENT: Trigger = Trigger::Event;
const STATUS_EVENT: Trigger = Trigger::StatusEvent { is_outdated: false };
const OUTDATED: Trigger = Trigger::StatusEvent { is_outdated: true };
const HEARTBEAT: Duration = Duration::from_secs(300);
const SWEEP: Trigger = Trigger::Reconcile { heartbeat: HEARTBEAT, due: false, ends: Ends::Later };
const DUE: Trigger = Trigger::Reconcile { heartbeat: HEARTBEAT, due: true, ends: Ends::Later };
const LAST: Trigger = Trigger::Reconcile { heartbeat: HEARTBEAT, due: false, ends: Ends::Soon };
const END: Trigger = Trigger::Reconcile { heartbeat: HEARTBEAT, due: true, ends: Ends::ForGood };

fn config(variables: &[(&str, &str)]) -> Config {
    Config::parse(&variables.iter().copied().collect()).unwrap()
}

fn ago(seconds: f64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH - TimeDelta::milliseconds((seconds * 1_000.0) as i64)
}

fn decide_now(seen: &Observed, config: &Config) -> Step {
    decide(seen, config, DateTime::UNIX_EPOCH)
}

/// A wait that began this many seconds ago, still lasts, and is no failure's fault.
fn wait(trigger: Trigger, transition: Transition, age: f64) -> Observed {
    let seen = Observed::new(trigger, transition, ago(age));
    Observed { is_verified: true, was_retained: Some(false), excuse: Some(Excuse::None), ..seen }
}

/// Its command, requested this many seconds ago.
fn command(status: &str, detail: &str, age: f64) -> Option<Command> {
    let (status, detail) = (status.to_owned(), detail.to_owned());
    let (id, requested, exit_code) = ("c-1".to_owned(), ago(age), NO_RESPONSE);
    Some(Command { id, requested, again: false, status, detail, exit_code, has_begun: false })
}

fn again(command: Option<Command>) -> Option<Command> {
    command.map(|command| Command { again: true, ..command })
}

#[test]
fn an_event_looks_before_it_acts() {
    use Agent::*;
    // Age, whether the wait was seen, whether retention was looked up, the agent, whether commands were looked up.
    for (trigger, transition, age, verified, retained, agent, looked, expected) in [
        (EVENT, Terminating, 30.0, false, None, None, false, LookForRetention),
        (EVENT, Terminating, 30.1, false, None, None, false, Verify),
        (EVENT, Launching, 30.1, false, None, None, false, Verify),
        (EVENT, Terminating, 30.1, true, None, None, false, LookForRetention),
        (EVENT, Terminating, 9.0, false, Some(true), None, false, Complete(Ending::Retained)),
        (EVENT, Terminating, 9.0, false, Some(false), None, false, LookAtAgent),
        (EVENT, Launching, 9.0, false, None, None, false, LookAtAgent),
        (EVENT, Terminating, 9.0, false, Some(false), Some(Online), false, Send { again: false }),
        (EVENT, Terminating, 9.0, false, Some(false), Some(Unregistered), false, LookForCommand),
        (EVENT, Terminating, 9.0, false, Some(false), Some(Unregistered), true, LookForExcuse),
        (SWEEP, Terminating, 9_999.0, true, Some(true), None, false, Complete(Ending::Retained)),
        (SWEEP, Terminating, 9_999.0, true, Some(false), None, false, LookForCommand),
        (SWEEP, Terminating, 9_999.0, true, Some(false), None, true, LookAtAgent),
        (SWEEP, Terminating, 9_999.0, true, Some(false), Some(Online), true, Send { again: false }),
        // Its event may be on its way.
        (SWEEP, Terminating, 14.9, true, Some(false), Some(Online), true, LeaveToSweep),
        (SWEEP, Terminating, 15.0, true, Some(false), Some(Online), true, Send { again: false }),
    ] {
        let seen = Observed {
            is_verified: verified,
            was_retained: retained,
            has_looked: looked,
            agent,
            ..Observed::new(trigger, transition, ago(age))
        };
        assert_eq!(decide_now(&seen, &config(&[])), expected, "{seen:?}");
    }
}

#[test]
fn an_agent_that_may_yet_come_is_waited_for_and_no_other() {
    let config = config(&[("DELIVERY_TIMEOUT", "30m"), ("REGISTRATION_TIMEOUT", "10m")]);
    let unreachable = Complete(Ending::Unreachable);
    let silent = |seconds: f64| Agent::Silent { heard: ago(seconds) };
    for (trigger, transition, age, agent, expected) in [
        // A silent one is waited for until it has not been heard of for DELIVERY_TIMEOUT.
        (EVENT, Terminating, 9.0, silent(1_799.9), AwaitAgent),
        (EVENT, Terminating, 9.0, silent(1_800.0), unreachable),
        (SWEEP, Terminating, 9_999.0, silent(1_799.9), LeaveToSweep),
        (SWEEP, Terminating, 9_999.0, silent(1_800.0), unreachable),
        (SWEEP, Launching, 9_999.0, silent(1_799.9), LeaveToSweep),
        (SWEEP, Launching, 9_999.0, silent(1_800.0), unreachable),
        // From a warm pool: it was last heard of before the instance started.
        (EVENT, Launching, 599.9, silent(9_999.0), AwaitAgent),
        (SWEEP, Launching, 600.0, silent(9_999.0), unreachable),
        // One that is not registered, only at a launch.
        (EVENT, Terminating, 9.0, Agent::Unregistered, unreachable),
        (SWEEP, Terminating, 9.0, Agent::Unregistered, unreachable),
        (EVENT, Launching, 599.9, Agent::Unregistered, AwaitAgent),
        (EVENT, Launching, 600.0, Agent::Unregistered, unreachable),
        (SWEEP, Launching, 599.9, Agent::Unregistered, LeaveToSweep),
        (SWEEP, Launching, 600.0, Agent::Unregistered, unreachable),
        (EVENT, Terminating, 9.0, Agent::Refused, unreachable),
        (EVENT, Launching, 599.9, Agent::Refused, AwaitAgent),
        (SWEEP, Launching, 600.0, Agent::Refused, unreachable),
        // The hook ends before the next sweep.
        (LAST, Terminating, 9_999.0, silent(9.0), unreachable),
        (LAST, Launching, 9.0, Agent::Unregistered, unreachable),
        (LAST, Launching, 9.0, Agent::Online, Send { again: false }),
        (END, Launching, 9.0, Agent::Online, Complete(Ending::Cut)),
        (END, Terminating, 9.0, silent(9.0), Complete(Ending::Cut)),
    ] {
        let seen = Observed { agent: Some(agent), has_looked: true, ..wait(trigger, transition, age) };
        assert_eq!(decide_now(&seen, &config), expected, "{seen:?}");
        let in_pool = Observed { excuse: Some(Excuse::InPool), ..seen };
        if in_pool.transition == Terminating && agent != Agent::Online && trigger != END {
            assert_eq!(decide_now(&in_pool, &config), unreachable, "{in_pool:?}");
        }
    }
}

/// Who prolongs what: a wait without a command is never prolonged.
#[test]
fn a_wait_is_prolonged_only_for_a_command_that_runs_by_the_functions_own_clock() {
    use Agent::*;
    let config = config(&[("DELIVERY_TIMEOUT", "2m"), ("DRAIN_TIMEOUT", "5m")]);
    for trigger in [EVENT, STATUS_EVENT, SWEEP, DUE, LAST, END] {
        for agent in [None, Some(Online), Some(Unregistered), Some(Refused)] {
            for (transition, looked) in [(Launching, false), (Launching, true), (Terminating, true)] {
                let seen = Observed { agent, has_looked: looked, ..wait(trigger, transition, 250.0) };
                let step = decide_now(&seen, &config);
                assert!(![Prolong, KeepAlive].contains(&step), "{seen:?}: {step:?}");
            }
        }
    }
    // Twelve minutes after the sending, the drain is over.
    for (trigger, sent, prolonged, age, expected) in [
        (SWEEP, false, 9_999.0, 719.9, LeaveToSweep),
        (DUE, false, 9_999.0, 719.9, KeepAlive),
        (LAST, false, 9_999.0, 719.9, KeepAlive),
        (LAST, true, 0.0, 0.1, KeepAlive),
        (DUE, true, 100.0, 0.1, LeaveToSweep),
        (SWEEP, true, 100.1, 0.1, KeepAlive),
        (END, false, 9_999.0, 719.9, Complete(Ending::Cut)),
        (DUE, false, 9_999.0, 720.1, Complete(Ending::Overdue)),
        (LAST, false, 9_999.0, 720.1, Complete(Ending::Overdue)),
        (EVENT, false, 30.0, 719.9, AwaitEvent),
        (EVENT, false, 30.1, 719.9, Prolong),
        (EVENT, true, 30.1, 0.1, Prolong),
        (EVENT, false, 9_999.0, 720.1, Complete(Ending::Overdue)),
        (STATUS_EVENT, false, 9_999.0, 720.1, RunAgain),
        (STATUS_EVENT, true, 30.1, 0.1, Prolong),
        (STATUS_EVENT, true, 0.0, 0.1, AwaitEvent),
        (OUTDATED, false, 9_999.0, 9.0, AwaitEvent),
    ] {
        for status in ["InProgress", "Cancelling", "Dreaming"] {
            let command = command(status, status, age);
            let seen =
                Observed { command, sent, prolonged: ago(prolonged), ..wait(trigger, Terminating, 9_999.0) };
            assert_eq!(decide_now(&seen, &config), expected, "{seen:?}");
        }
    }
}

#[test]
fn what_was_not_delivered_is_sent_once_more_while_there_is_time() {
    let unreachable = Complete(Ending::Unreachable);
    let second = Send { again: true };
    for trigger in [EVENT, STATUS_EVENT, SWEEP, DUE, LAST] {
        for (status, detail) in [
            ("TimedOut", "DeliveryTimedOut"),
            ("TimedOut", "Undeliverable"),
            ("Failed", "Undeliverable"),
            ("Cancelled", "Cancelled"),
        ] {
            let seen =
                Observed { command: command(status, detail, 200.0), ..wait(trigger, Terminating, 9_999.0) };
            let check = |seen: Observed, expected| {
                assert_eq!(decide_now(&seen, &config(&[])), expected, "{seen:?}");
            };
            check(seen.clone(), second);
            check(Observed { command: again(seen.command.clone()), ..seen.clone() }, unreachable);
            check(Observed { is_late: true, ..seen.clone() }, unreachable);
            check(Observed { excuse: Some(Excuse::InPool), ..seen.clone() }, unreachable);
            check(Observed { agent: Some(Agent::Refused), ..seen.clone() }, unreachable);
            check(Observed { excuse: None, is_late: true, ..seen.clone() }, LookForExcuse);
            check(Observed { is_verified: false, ..seen.clone() }, Verify);
            // Whoever cancels it sends it again.
            let left = if status == "Cancelled" { LeaveToSweep } else { second };
            check(Observed { leaves_cancelled: true, ..seen.clone() }, left);
            check(Observed { trigger: END, ..seen }, unreachable);
        }
    }
}

#[test]
fn what_no_agent_picks_up_is_cancelled_before_it_is_sent_again() {
    let config = config(&[("DELIVERY_TIMEOUT", "2m"), ("DRAIN_TIMEOUT", "5m")]);
    let unreachable = Complete(Ending::Unreachable);
    for (status, detail) in [("Pending", "Pending"), ("Pending", "Delayed"), ("Delayed", "Delayed")] {
        for (trigger, age, cancelled, second, expected) in [
            (SWEEP, 125.0, false, false, LeaveToSweep),
            (SWEEP, 125.1, false, false, Cancel),
            (LAST, 125.1, false, false, Cancel),
            (EVENT, 125.1, false, false, AwaitEvent),
            // The cancellation does not show yet.
            (SWEEP, 130.0, true, false, LeaveToSweep),
            (DUE, 130.0, true, false, LeaveToSweep),
            (LAST, 130.0, true, false, unreachable),
            // The second one is the last one.
            (SWEEP, 125.0, false, true, LeaveToSweep),
            (SWEEP, 125.1, false, true, unreachable),
            (EVENT, 125.1, false, true, unreachable),
            (END, 125.1, false, false, unreachable),
            (SWEEP, 720.1, true, false, unreachable),
            // According to the event it has ended.
            (STATUS_EVENT, 125.1, false, false, RunAgain),
        ] {
            let command = command(status, detail, age);
            let command = if second { again(command) } else { command };
            let seen = Observed { command, cancelled, ..wait(trigger, Terminating, 9_999.0) };
            assert_eq!(decide_now(&seen, &config), expected, "{seen:?}");
            let mut polls = config.clone();
            polls.wait = WaitMode::Poll;
            if trigger == EVENT && expected == AwaitEvent {
                assert_eq!(decide_now(&seen, &polls), Cancel, "{seen:?}");
            }
        }
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
        let command = command("InProgress", "InProgress", 99.0);
        let prolonged = ago(prolonged);
        let seen = Observed { command, prolonged, polling, ..wait(EVENT, Terminating, 9_999.0) };
        let row = format!("{polling:?}, prolonged at {prolonged}");
        assert_eq!(decide_now(&seen, &config(&[("WAIT", "poll")])), expected, "{row}");
    }
    let command = command("InProgress", "InProgress", 99.0);
    let seen = Observed { command, prolonged: ago(9.0), ..wait(EVENT, Terminating, 9_999.0) };
    assert_eq!(decide_now(&seen, &config(&[("WAIT", "poll")])), Ask(Duration::ZERO));
}

#[test]
fn whoever_finds_that_the_command_has_ended_completes_the_action() {
    for trigger in [EVENT, STATUS_EVENT, OUTDATED, SWEEP, DUE, LAST, END] {
        for (status, detail, expected) in [
            ("Success", "Success", Ending::Succeeded),
            ("Failed", "Failed", Ending::Failed),
            ("TimedOut", "ExecutionTimedOut", Ending::Failed),
        ] {
            let seen = Observed { command: command(status, detail, 9.0), ..wait(trigger, Terminating, 99.0) };
            assert_eq!(decide_now(&seen, &config(&[])), Complete(expected), "{trigger:?} {status} {detail}");
        }
    }
}

#[test]
fn a_sweep_answers_by_policy_what_aws_refuses_until_the_end() {
    let refused = Error::AwsError { call: "SendCommand", source: AwsFailure::of("InvalidDocument") };
    let passing = Error::Timeout("no answer".to_owned());
    let (running, waiting) = (command("InProgress", "InProgress", 9.0), command("Pending", "Delayed", 200.0));
    // Age, whether the commands were looked up.
    for (trigger, age, looked, command, error, expected) in [
        (EVENT, 299.0, true, None, &refused, None),
        (SWEEP, 299.0, true, None, &refused, None),
        (LAST, 299.0, true, None, &refused, Some(Ending::Refused)),
        (LAST, 299.0, true, None, &passing, Some(Ending::Refused)),
        (LAST, 299.0, false, None, &passing, Some(Ending::Refused)),
        (LAST, 299.0, false, None, &refused, Some(Ending::Refused)),
        // It was prolonged, so a drain may run.
        (LAST, 300.1, false, None, &passing, None),
        (LAST, 299.0, true, running.clone(), &passing, None),
        (LAST, 299.0, true, running, &refused, Some(Ending::Refused)),
        (LAST, 299.0, true, waiting, &refused, Some(Ending::Unreachable)),
    ] {
        let seen = Observed { has_looked: looked, command, ..wait(trigger, Terminating, age) };
        assert_eq!(give_up(&seen, error, DateTime::UNIX_EPOCH), expected, "{seen:?}: {error:?}");
        let ending = Observed { ending: Some(Ending::Succeeded), ..seen };
        assert_eq!(give_up(&ending, error, DateTime::UNIX_EPOCH), None, "its completion failed");
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
        (&[], Launching, Overdue, Abandon),
        (&[], Launching, Cut, Abandon),
        (&[], Launching, Refused, Abandon),
        (&[], Launching, Unreachable, Abandon),
        (&[("ON_FAILURE", "ABANDON")], Terminating, Succeeded, Continue),
        (&[("ON_FAILURE", "ABANDON")], Terminating, Retained, Continue),
        (&[("ON_FAILURE", "ABANDON")], Terminating, Failed, Abandon),
        (&[("ON_FAILURE", "ABANDON")], Terminating, Unreachable, Abandon),
        (&[("ON_UNREACHABLE", "ABANDON")], Terminating, Failed, Continue),
        (&[("ON_UNREACHABLE", "ABANDON")], Terminating, Retained, Continue),
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

#[test]
fn failures_are_told_but_not_where_nobody_could_have_drained() {
    use Ending::*;
    for (ending, excuse, expected) in [
        (Succeeded, Excuse::None, None),
        (Retained, Excuse::None, None),
        (Failed, Excuse::None, Some("drain-failed")),
        (Failed, Excuse::Unhealthy, Some("drain-failed")),
        (Overdue, Excuse::None, Some("drain-failed")),
        (Cut, Excuse::None, Some("drain-failed")),
        (Refused, Excuse::None, Some("drain-failed")),
        (Unreachable, Excuse::None, Some("unreachable")),
        (Unreachable, Excuse::InPool, None),
        (Unreachable, Excuse::Unhealthy, None),
        (Unreachable, Excuse::LaunchAbandoned, None),
    ] {
        assert_eq!(failure(ending, Some(excuse)).map(Failure::as_str), expected, "{ending:?} {excuse:?}");
    }
    let launch =
        "At 2026-09-27T05:34:22Z an instance was taken out of service in response to a launch failure.";
    let alarm = "At 2026-09-27T05:34:22Z a monitor alarm in response to a launch failure. in state ALARM triggered \
                 policy x changing the desired capacity from 1 to 0.";
    for (cause, expected) in [
        (launch.to_owned(), Excuse::LaunchAbandoned),
        (
            format!("{launch}  At 2026-09-27T05:34:22Z instance i-1 was selected for termination."),
            Excuse::LaunchAbandoned,
        ),
        (alarm.to_owned(), Excuse::None),
        (String::new(), Excuse::None),
    ] {
        assert_eq!(Excuse::of(false, false, &cause), expected, "{cause}");
    }
}
