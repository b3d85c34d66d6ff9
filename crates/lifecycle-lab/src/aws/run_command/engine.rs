//! Moves commands over time: delivery to the agents, the end of the commands, timeouts, cancellation, and the events
//! about it.

use std::collections::BTreeMap;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;

use super::{Command, EXPIRY_LATENESS, Invocation, Outcome, Ping, Script, delta};
use crate::aws::world::{ACCOUNT, Effect, REGION, Sight, World, timestamp};

/// SSM keeps this much of what commands write, in characters.
const MAX_OUTPUT_CHARS: usize = 2_500;

/// From `SendCommand` until the command shows as `InProgress`: less than a call takes.
const ACCEPTANCE: Duration = Duration::from_millis(20);

/// Time between two tries to deliver a command to an agent that does not answer. AWS gives no number.
const DELIVERY_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The exit code of what the agent killed: at the execution timeout, or when it was cancelled.
const KILLED: i32 = 137;

/// One command on one instance: the indices of the command and of its invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    command: usize,
    invocation: usize,
}

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The command shows as begun, whether or not an agent has it.
    Accepted(Place),
    /// The agent gets the command, if it is there.
    Delivered(Place),
    /// The commands end on the instance, or run out of time.
    Over(Place),
    /// A command of which nothing was heard is given up.
    Expired(Place),
    /// A cancellation has reached the instance.
    Stopped(Place),
    /// The agent of this instance is no longer silent.
    AgentBack(String),
}

/// A command as it was sent.
pub(super) struct Order {
    pub(super) document: String,
    pub(super) comment: String,
    pub(super) instances: Vec<String>,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) delivery_timeout: Duration,
    pub(super) execution_timeout: Duration,
    pub(super) output_s3: Option<(String, String)>,
    pub(super) output_log_group: Option<String>,
}

impl World {
    pub(crate) fn run_command_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Accepted(place) => self.accept(place),
            Timer::Delivered(place) => self.deliver(place),
            Timer::Over(place) => {
                if let Some(result) = &mut self.invocation_mut(place).result {
                    result.over = true;
                }
                self.report(place);
            }
            // What has expired, AWS says, gets this status from `InProgress` too.
            Timer::Expired(place) => {
                let Invocation { ended, orphaned, .. } = self.invocation(place);
                if ended.is_none() && !orphaned {
                    self.change(place, "TimedOut", "DeliveryTimedOut");
                }
            }
            Timer::Stopped(place) => self.stopped(place),
            Timer::AgentBack(instance) => self.agent_back(&instance),
        }
    }

    pub(super) fn open_on(&self, instance: &str) -> Vec<Place> {
        let commands = self.run_command.commands.iter().enumerate();
        let places = commands.flat_map(|(command, all)| {
            let mine = all.invocations.iter().enumerate();
            let mine = mine.filter(|(_, one)| one.instance == instance && one.ended.is_none());
            mine.map(move |(invocation, _)| Place { command, invocation })
        });
        places.collect()
    }

    /// Accepts a command; answers its index.
    pub(super) fn order(&mut self, order: Order) -> usize {
        let document = self.run_command.documents.get(&order.document);
        let steps = document.map(|document| document.steps.clone()).unwrap_or_default();
        let id = self.uuid();
        // The lab's clock has milliseconds, AWS's more digits: the rest is made of the id.
        let rest = i64::from_str_radix(&id[..8], 16).unwrap_or_default() % 1_000_000;
        let command = Command {
            steps,
            id,
            document: order.document,
            comment: order.comment,
            invocations: order.instances.iter().map(|instance| Invocation::new(instance)).collect(),
            instances: order.instances,
            parameters: order.parameters,
            requested: self.now() - TimeDelta::nanoseconds(rest),
            delivery_timeout: order.delivery_timeout,
            execution_timeout: order.execution_timeout,
            output_s3: order.output_s3,
            output_log_group: order.output_log_group,
        };
        let index = self.run_command.commands.len();
        let expired = command.expires() - command.requested + delta(EXPIRY_LATENESS);
        let expired = expired.to_std().unwrap_or(Duration::MAX);
        let places = (0..command.invocations.len()).map(|invocation| Place { command: index, invocation });
        self.run_command.commands.push(command);
        for place in places {
            self.tell(place);
            self.later(ACCEPTANCE, Timer::Accepted(place));
            self.later(self.delays.command_delivery, Timer::Delivered(place));
            self.later(expired, Timer::Expired(place));
        }
        index
    }

    /// For a moment every command is `InProgress`, although no agent may have it (recorded).
    fn accept(&mut self, place: Place) {
        let Invocation { status_details, .. } = self.invocation(place);
        if *status_details == "Pending" {
            self.change(place, "InProgress", "InProgress");
        }
    }

    /// The agent gets the command and begins, if it is there and in time. If not, the command is `Delayed`, and
    /// delivered again later.
    fn deliver(&mut self, place: Place) {
        let now = self.now();
        let command = &self.run_command.commands[place.command];
        let invocation = &command.invocations[place.invocation];
        if invocation.started.is_some() || invocation.ended.is_some() || invocation.cancelled {
            return;
        }
        let in_time = now <= command.deliverable_until();
        let script = self.run_command.script(command, &invocation.instance);
        let reached = self.agent(&invocation.instance) == Some(Ping::Online);
        if let (true, Some(details @ ("Undeliverable" | "InvalidPlatform" | "AccessDenied"))) =
            (reached, script.ends)
        {
            return self.change(place, "Failed", details);
        }
        if !in_time || !reached || script.ends == Some("DeliveryTimedOut") {
            if invocation.status_details != "Delayed" {
                self.change(place, "Pending", "Delayed");
            }
            if in_time {
                self.later(DELIVERY_RETRY_INTERVAL, Timer::Delivered(place));
            }
            return;
        }
        let lasts = script.duration.min(command.time_limit());
        let result = run(script, command);
        let invocation = self.invocation_mut(place);
        invocation.started = Some(now);
        invocation.result = Some(result);
        if invocation.status != "InProgress" {
            self.change(place, "InProgress", "InProgress");
        }
        self.later(lasts, Timer::Over(place));
    }

    /// The agent reports the end of the commands, if they have ended or are cancelled, and it is online and knows
    /// of them.
    pub(super) fn report(&mut self, place: Place) {
        let invocation = self.invocation(place);
        let reached = self.agent(&invocation.instance) == Some(Ping::Online);
        let told = invocation.result.clone().filter(|result| result.over || invocation.cancelled);
        let (Some(result), true) = (told, reached && invocation.ended.is_none() && !invocation.orphaned)
        else {
            return;
        };
        let cancelled = invocation.cancelled;
        let invocation = self.invocation_mut(place);
        invocation.output = result.output;
        invocation.error_output = result.error_output;
        invocation.exit_code = if cancelled { KILLED } else { result.exit_code };
        let details = if cancelled { "Cancelled" } else { result.ends };
        let status = match details {
            "DeliveryTimedOut" | "ExecutionTimedOut" => "TimedOut",
            "Success" | "Cancelled" => details,
            _ => "Failed",
        };
        self.change(place, status, details);
    }

    /// Begins to cancel a command on these of its instances, as far as it has not ended there. What runs shows
    /// `InProgress` until its agent has stopped it (recorded); where the agent does not answer, `Cancelling`.
    pub(super) fn cancel(&mut self, command: usize, instances: &[String]) {
        for invocation in 0..self.run_command.commands[command].invocations.len() {
            let place = Place { command, invocation };
            let invocation = self.invocation_mut(place);
            if invocation.ended.is_none() && !invocation.cancelled && instances.contains(&invocation.instance)
            {
                invocation.cancelled = true;
                self.later(self.delays.command_delivery, Timer::Stopped(place));
            }
        }
    }

    /// A cancellation has come to its end on the instance, or has not reached it.
    fn stopped(&mut self, place: Place) {
        if self.invocation(place).started.is_some() {
            self.report(place);
            if self.invocation(place).ended.is_none() {
                self.change(place, "Cancelling", "Cancelling");
            }
        } else if self.invocation(place).ended.is_none() {
            self.change(place, "Cancelled", "Cancelled");
        }
    }

    fn change(&mut self, place: Place, status: &'static str, details: &'static str) {
        let now = self.now();
        let invocation = self.invocation_mut(place);
        invocation.status = status;
        invocation.status_details = details;
        if matches!(status, "Success" | "Failed" | "TimedOut" | "Cancelled") {
            invocation.ended = Some(now);
        }
        self.tell(place);
        let command = &self.run_command.commands[place.command];
        if command.is_over() {
            let detail = json!({
                "command-id": command.id,
                "document-name": command.document,
                "expire-after": timestamp(command.expires()),
                "parameters": command.parameters,
                "requested-date-time": timestamp(command.requested),
                "status": command.status(),
            });
            let instances = command.instances.iter().map(|instance| arn(instance)).collect();
            self.send_event("aws.ssm", "EC2 Command Status-change Notification", instances, detail);
        }
    }

    /// Tells everybody of an invocation's status.
    fn tell(&mut self, place: Place) {
        let command = &self.run_command.commands[place.command];
        let invocation = &command.invocations[place.invocation];
        let sight = Sight::Command {
            instance: invocation.instance.clone(),
            command: command.id.clone(),
            status: invocation.status,
        };
        let resources = vec![arn(&invocation.instance)];
        // The same time has up to nine digits in the first messages and three in the last (recorded).
        let requested = match invocation.ended {
            Some(_) => timestamp(command.requested),
            None => {
                let text = command.requested.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
                format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
            }
        };
        let detail = json!({
            "command-id": command.id,
            "document-name": command.document,
            "instance-id": invocation.instance,
            "requested-date-time": requested,
            "status": invocation.status,
        });
        self.send(Effect::Seen(sight));
        self.send_event("aws.ssm", "EC2 Command Invocation Status-change Notification", resources, detail);
    }

    pub(super) fn later(&mut self, delay: Duration, timer: Timer) {
        self.after(delay, crate::aws::world::Timer::RunCommand(timer));
    }

    fn invocation(&self, place: Place) -> &Invocation {
        &self.run_command.commands[place.command].invocations[place.invocation]
    }

    pub(super) fn invocation_mut(&mut self, place: Place) -> &mut Invocation {
        &mut self.run_command.commands[place.command].invocations[place.invocation]
    }
}

fn arn(instance: &str) -> String {
    format!("arn:aws:ec2:{}:{}:instance/{instance}", REGION, ACCOUNT)
}

/// What will become of the commands.
fn run(script: &Script, command: &Command) -> Outcome {
    let timed_out = script.duration > command.time_limit();
    let mut outcome = Outcome {
        exit_code: script.exit_code,
        output: script.output.clone(),
        error_output: String::new(),
        ends: "ExecutionTimedOut",
        over: false,
    };
    if script.shell {
        let text = command.parameters.get("commands").map(|lines| lines.join("\n")).unwrap_or_default();
        match Process::new("sh").arg("-c").arg(text).stdin(Stdio::null()).output() {
            Ok(output) => {
                // Without a code a signal killed it; the agent then answers -1.
                outcome.exit_code = output.status.code().unwrap_or(-1);
                outcome.output = String::from_utf8_lossy(&output.stdout).into_owned();
                outcome.error_output = String::from_utf8_lossy(&output.stderr).into_owned();
            }
            Err(error) => {
                outcome.exit_code = 127;
                outcome.error_output = format!("sh: {error}\n");
            }
        }
    }
    if timed_out {
        outcome.exit_code = KILLED;
    } else {
        outcome.ends = if outcome.exit_code == 0 { "Success" } else { "Failed" };
        if outcome.exit_code != 0 {
            outcome.error_output += &format!("failed to run commands: exit status {}", outcome.exit_code);
        }
    }
    outcome.ends = script.ends.unwrap_or(outcome.ends);
    outcome.output = outcome.output.chars().take(MAX_OUTPUT_CHARS).collect();
    outcome.error_output = outcome.error_output.chars().take(MAX_OUTPUT_CHARS).collect();
    outcome
}
