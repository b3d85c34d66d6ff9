//! Moves commands over time: delivery to the agents, the end of the commands, timeouts, cancellation, agents that go
//! offline and come back, and the events about it.

use std::collections::BTreeMap;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Command, Expiry, Invocation, Outcome, Ping, Script};
use crate::aws::world::{ACCOUNT, Effect, REGION, Sight, World, timestamp};

/// SSM keeps this much of what commands write, in characters.
const MAX_OUTPUT_CHARS: usize = 2_500;

/// One command on one instance: the indices of the command and of its invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    command: usize,
    invocation: usize,
}

/// Something that will happen by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The agent gets the command, if it is there.
    Delivered(Place),
    /// The commands end on the instance, or run out of time.
    Over(Place),
    /// A command that waits for its delivery is given up.
    Undelivered(Place),
    /// A command of which nothing was heard is given up.
    Expired(Place),
    /// A cancellation has reached the instance.
    Stopped(Place),
}

/// A command as it was sent.
pub(super) struct Order {
    pub(super) document: String,
    pub(super) comment: String,
    pub(super) instances: Vec<String>,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) delivery_timeout: Duration,
    pub(super) execution_timeout: Duration,
}

impl World {
    pub(crate) fn run_command_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Delivered(place) => self.deliver(place),
            Timer::Over(place) => {
                if let Some(result) = &mut self.invocation_mut(place).result {
                    result.over = true;
                }
                self.report(place);
            }
            Timer::Undelivered(place) if self.invocation(place).status == "Pending" => {
                self.change(place, "TimedOut", "DeliveryTimedOut");
            }
            // What has expired, AWS says, gets this status from `InProgress` too.
            Timer::Expired(place) if self.invocation(place).ended.is_none() => {
                self.change(place, "TimedOut", "DeliveryTimedOut");
            }
            Timer::Stopped(place) if self.invocation(place).ended.is_none() => {
                self.change(place, "Cancelled", "Cancelled");
            }
            Timer::Undelivered(_) | Timer::Expired(_) | Timer::Stopped(_) => {}
        }
    }

    /// How an instance's agent is; `None` if the instance is gone.
    pub(super) fn agent(&self, instance: &str) -> Option<Ping> {
        self.autoscaling.instance(instance).map(|_| self.run_command.ping(instance))
    }

    /// Notices what [`super::RunCommand::set_agent`] changed since the last time.
    pub(crate) fn hear_agents(&mut self) {
        for instance in std::mem::take(&mut self.run_command.agent_news) {
            let now = self.now();
            let online = self.agent(&instance) == Some(Ping::Online);
            if let Some(agent) = self.run_command.agents.get_mut(&instance) {
                agent.lost = if online { None } else { agent.lost.or(Some(now)) };
            }
            if !online {
                continue;
            }
            for place in self.open_on(&instance) {
                match self.invocation(place).status {
                    "Pending" => self.later(self.delays.command_delivery, Timer::Delivered(place)),
                    _ => self.report(place),
                }
            }
        }
    }

    fn open_on(&self, instance: &str) -> Vec<Place> {
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
        let invocation = |instance: &String| Invocation {
            instance: instance.clone(),
            status: "Pending",
            status_details: "Pending",
            started: None,
            ended: None,
            exit_code: -1,
            output: String::new(),
            error_output: String::new(),
            result: None,
        };
        let command = Command {
            id: self.uuid(),
            document: order.document,
            comment: order.comment,
            invocations: order.instances.iter().map(invocation).collect(),
            instances: order.instances,
            parameters: order.parameters,
            requested: self.now(),
            delivery_timeout: order.delivery_timeout,
            execution_timeout: order.execution_timeout,
        };
        let index = self.run_command.commands.len();
        let total = command.delivery_timeout + command.execution_timeout;
        let given_up = match self.run_command.expiry {
            Expiry::Delivery => command.delivery_timeout,
            Expiry::Total => total,
        };
        let places = (0..command.invocations.len()).map(|invocation| Place { command: index, invocation });
        self.run_command.commands.push(command);
        for place in places {
            self.tell(place);
            self.later(self.delays.command_delivery, Timer::Delivered(place));
            self.later(given_up, Timer::Undelivered(place));
            self.later(total, Timer::Expired(place));
        }
        index
    }

    /// The agent gets the command and begins, if it is there and in time. If not, [`World::hear_agents`]
    /// brings the command again.
    fn deliver(&mut self, place: Place) {
        let now = self.now();
        let command = &self.run_command.commands[place.command];
        let invocation = &command.invocations[place.invocation];
        let reached = self.agent(&invocation.instance) == Some(Ping::Online);
        if !reached || invocation.status != "Pending" || now > command.deliverable_until() {
            return;
        }
        let script = self.run_command.script(&invocation.instance);
        let timed_out = script.duration > command.execution_timeout;
        let lasts = script.duration.min(command.execution_timeout);
        let result = run(script, command, timed_out);
        let invocation = self.invocation_mut(place);
        invocation.started = Some(now);
        invocation.result = Some(result);
        self.change(place, "InProgress", "InProgress");
        self.later(lasts, Timer::Over(place));
    }

    /// The agent reports the end of the commands, if they have ended and the agent is online.
    fn report(&mut self, place: Place) {
        let invocation = self.invocation(place);
        let reached = self.agent(&invocation.instance) == Some(Ping::Online);
        let Some(result) = invocation.result.clone().filter(|result| result.over) else {
            return;
        };
        if !reached || invocation.status != "InProgress" {
            return;
        }
        let invocation = self.invocation_mut(place);
        invocation.output = result.output;
        invocation.error_output = result.error_output;
        invocation.exit_code = result.exit_code;
        match result {
            Outcome { timed_out: true, .. } => self.change(place, "TimedOut", "ExecutionTimedOut"),
            Outcome { exit_code: 0, .. } => self.change(place, "Success", "Success"),
            _ => self.change(place, "Failed", "Failed"),
        }
    }

    /// Begins to cancel a command on these of its instances, as far as it has not ended there.
    pub(super) fn cancel(&mut self, command: usize, instances: &[String]) {
        for invocation in 0..self.run_command.commands[command].invocations.len() {
            let place = Place { command, invocation };
            let Invocation { instance, status, .. } = self.invocation(place);
            if matches!(*status, "Pending" | "InProgress") && instances.contains(instance) {
                self.change(place, "Cancelling", "Cancelling");
                self.later(self.delays.command_delivery, Timer::Stopped(place));
            }
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
        let detail = json!({
            "command-id": command.id,
            "document-name": command.document,
            "instance-id": invocation.instance,
            "requested-date-time": timestamp(command.requested),
            "status": invocation.status,
        });
        self.send(Effect::Seen(sight));
        self.send_event("aws.ssm", "EC2 Command Invocation Status-change Notification", resources, detail);
    }

    fn later(&mut self, delay: Duration, timer: Timer) {
        self.after(delay, crate::aws::world::Timer::RunCommand(timer));
    }

    fn invocation(&self, place: Place) -> &Invocation {
        &self.run_command.commands[place.command].invocations[place.invocation]
    }

    fn invocation_mut(&mut self, place: Place) -> &mut Invocation {
        &mut self.run_command.commands[place.command].invocations[place.invocation]
    }
}

fn arn(instance: &str) -> String {
    format!("arn:aws:ec2:{}:{}:instance/{instance}", REGION, ACCOUNT)
}

/// What will become of the commands.
fn run(script: &Script, command: &Command, timed_out: bool) -> Outcome {
    let mut outcome = Outcome {
        exit_code: script.exit_code,
        output: script.output.clone(),
        error_output: String::new(),
        timed_out,
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
        outcome.exit_code = -1;
    } else if outcome.exit_code != 0 {
        outcome.error_output += &format!("failed to run commands: exit status {}", outcome.exit_code);
    }
    outcome.output = outcome.output.chars().take(MAX_OUTPUT_CHARS).collect();
    outcome.error_output = outcome.error_output.chars().take(MAX_OUTPUT_CHARS).collect();
    outcome
}
