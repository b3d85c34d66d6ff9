//! The agents: when they register, how AWS says they are, and what befalls them. An agent pings every five minutes,
//! whatever it does; AWS finds a lost connection only some minutes after the last ping.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::engine::Timer;
use super::{RunCommand, delta};
use crate::aws::ec2::InstanceState;
use crate::aws::world::World;

/// Time between two pings: the agent's default `HealthFrequencyMinutes`.
const PING_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// How an instance's agent is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ping {
    /// It takes commands.
    #[default]
    Online,
    /// It takes no commands and sends no pings, which AWS does not know yet: it says `Online` until
    /// [`Delays::connection_lost`](crate::Delays::connection_lost) after the last ping, then `ConnectionLost`.
    Silent,
    /// It was heard of once, but not lately: commands for it wait.
    ConnectionLost,
    /// As `ConnectionLost`. AWS no longer uses it.
    Inactive,
    /// SSM does not know it: commands for it are refused.
    Unregistered,
}

impl Ping {
    /// As AWS spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online | Self::Silent => "Online",
            Self::ConnectionLost => "ConnectionLost",
            Self::Inactive => "Inactive",
            Self::Unregistered => "Unregistered",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Agents {
    by_instance: BTreeMap<String, Agent>,
    /// By instance or group: how long after its instance runs an agent registers, or never.
    registrations: BTreeMap<String, Option<Duration>>,
    /// Whose agent was changed since the world last looked: it was done without the world's clock.
    news: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Agent {
    /// `None` is the default.
    ping: Option<Ping>,
    /// When it was last heard of, if it is not online.
    lost: Option<DateTime<Utc>>,
}

impl RunCommand {
    /// Lets an instance's agent be like this from now on, registered as soon as the instance runs. One that comes
    /// back online gets the commands that wait for it, and tells what became of those that it had.
    pub fn set_agent(&mut self, instance: &str, ping: Ping) {
        self.agents.by_instance.entry(instance.to_owned()).or_default().ping = Some(ping);
        self.agents.news.insert(instance.to_owned());
    }

    /// Lets the agent of an instance, or the agents of a group, register so long after their instances run; `None`
    /// is never. An instance's own setting counts before its group's, and both before
    /// [`Delays::agent_registration`](crate::Delays::agent_registration).
    pub fn set_registration(&mut self, instance_or_group: &str, after: Option<Duration>) {
        self.agents.registrations.insert(instance_or_group.to_owned(), after);
    }

    /// How an agent is that has registered, as far as its instance lets it.
    pub fn ping(&self, instance: &str) -> Ping {
        let set = self.agents.by_instance.get(instance).and_then(|agent| agent.ping);
        set.unwrap_or(self.default_agent)
    }

    pub(crate) fn has_agent_news(&self) -> bool {
        !self.agents.news.is_empty()
    }
}

impl World {
    /// How an instance's agent is. `None` where Systems Manager doesn't list it: it has not registered, or its
    /// instance is stopped or gone (recorded).
    pub fn agent(&self, instance: &str) -> Option<Ping> {
        let registered = self.registered(instance)?;
        if registered > self.now() {
            return None;
        }
        match (self.ec2.instance(instance)?.state, self.run_command.ping(instance)) {
            (InstanceState::Stopped | InstanceState::Terminated, _) | (_, Ping::Unregistered) => None,
            (InstanceState::ShuttingDown, Ping::Online) => Some(Ping::Silent),
            (_, Ping::Silent)
                if self.last_ping(instance) + delta(self.delays.connection_lost) <= self.now() =>
            {
                Some(Ping::ConnectionLost)
            }
            (_, ping) => Some(ping),
        }
    }

    /// Whether Systems Manager accepts a command for the instance: documented as not refused are agents that can't
    /// be reached, recorded as refused are stopped instances.
    pub(super) fn accepts_commands(&self, instance: &str) -> bool {
        let state = self.ec2.instance(instance).map(|instance| instance.state);
        state == Some(InstanceState::Running) && self.agent(instance).is_some()
    }

    /// When the agent was last heard of. Commands do not count as pings (recorded).
    pub(super) fn last_ping(&self, instance: &str) -> DateTime<Utc> {
        let now = self.now();
        let first = self.registered(instance).unwrap_or(now);
        let lost = self.run_command.agents.by_instance.get(instance).and_then(|agent| agent.lost);
        let heard = match self.run_command.ping(instance) {
            Ping::Online | Ping::Silent => {
                let until = lost.unwrap_or(now).max(first);
                let pings = (until - first).num_seconds() / PING_INTERVAL.num_seconds();
                first + PING_INTERVAL * i32::try_from(pings).unwrap_or(i32::MAX)
            }
            _ => lost.unwrap_or(first),
        };
        heard.min(now)
    }

    /// When the agent of an instance of Auto Scaling registers, or comes back after its instance was stopped.
    fn registered(&self, instance: &str) -> Option<DateTime<Utc>> {
        let group = &self.autoscaling.instance(instance)?.group;
        let runs = self.ec2.instance(instance)?.runs_since;
        let Agents { by_instance, registrations, .. } = &self.run_command.agents;
        if by_instance.get(instance).is_some_and(|agent| agent.ping.is_some()) {
            return Some(runs);
        }
        match registrations.get(instance).or_else(|| registrations.get(group)) {
            Some(after) => Some(runs + delta((*after)?)),
            None => {
                // Up to twice as long; by the id, since a random number would change all later ones.
                let share = u8::from_str_radix(instance.get(instance.len() - 2..)?, 16).unwrap_or_default();
                let after = self.delays.agent_registration.mul_f64(1.0 + f64::from(share) / 256.0);
                Some(runs + delta(after))
            }
        }
    }

    /// The agent falls silent for so long: see [`Ping::Silent`]. What it runs goes on.
    pub fn silence_agent(&mut self, instance: &str, duration: Duration) {
        self.run_command.set_agent(instance, Ping::Silent);
        self.hear_agents();
        self.later(duration, Timer::AgentBack(instance.to_owned()));
    }

    /// The agent is restarted, for example by an update: of what it runs nothing is ever heard again. Such a command
    /// stays `InProgress` for ever, and `Cancelling` once it is cancelled.
    /// <https://github.com/aws/amazon-ssm-agent/issues/430>
    pub fn restart_agent(&mut self, instance: &str) {
        for place in self.open_on(instance) {
            let invocation = self.invocation_mut(place);
            invocation.orphaned = invocation.started.is_some();
        }
    }

    pub(super) fn agent_back(&mut self, instance: &str) {
        if self.run_command.ping(instance) == Ping::Silent {
            self.run_command.set_agent(instance, Ping::Online);
            self.hear_agents();
        }
    }

    /// Notices what [`RunCommand::set_agent`] changed since the last time.
    pub(crate) fn hear_agents(&mut self) {
        for instance in std::mem::take(&mut self.run_command.agents.news) {
            let now = self.now();
            let online = self.run_command.ping(&instance) == Ping::Online;
            if let Some(agent) = self.run_command.agents.by_instance.get_mut(&instance) {
                agent.lost = if online { None } else { agent.lost.or(Some(now)) };
            }
            if online {
                for place in self.open_on(&instance) {
                    self.later(self.delays.command_delivery, Timer::Delivered(place));
                    self.report(place);
                }
            }
        }
    }
}
