//! Systems Manager Run Command: agents and commands. This module holds the state; `engine` moves commands to the
//! instances and back, `api` has the actions. The rules are AWS's as documented in the user guide and the API
//! reference; a comment marks where they are not documented, or where the lab chose otherwise.
//!
//! Every instance in Auto Scaling has an agent. The agent ends with the instance.

mod api;
mod engine;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

pub(crate) use api::call;
pub(crate) use engine::Timer;

/// Documents that AWS owns and the lab plays, with their plugins' names.
const DOCUMENTS: [(&str, &str); 2] =
    [("AWS-RunShellScript", "aws:runShellScript"), ("AWS-RunPowerShellScript", "aws:runPowerShellScript")];

/// The service's state.
#[derive(Debug, Default)]
pub struct RunCommand {
    /// How agents are that [`RunCommand::set_agent`] says nothing about.
    pub default_agent: Ping,
    /// How commands go on instances that [`RunCommand::set_script`] says nothing about.
    pub default_script: Script,
    /// When a command that no agent has picked up is given up.
    pub expiry: Expiry,
    agents: BTreeMap<String, Agent>,
    scripts: BTreeMap<String, Script>,
    documents: BTreeSet<String>,
    commands: Vec<Command>,
    /// Whose agent was changed since the world last looked: it was done without the world's clock.
    agent_news: BTreeSet<String>,
}

impl RunCommand {
    /// Lets an instance's agent be like this from now on. One that comes back online gets the commands
    /// that wait for it, and tells what became of those that it had.
    pub fn set_agent(&mut self, instance: &str, ping: Ping) {
        self.agents.entry(instance.to_owned()).or_default().ping = Some(ping);
        self.agent_news.insert(instance.to_owned());
    }

    /// Lets commands that are delivered to this instance from now on go like this.
    pub fn set_script(&mut self, instance: &str, script: Script) {
        self.scripts.insert(instance.to_owned(), script);
    }

    /// Adds a document of the account that takes `commands` and `executionTimeout`.
    pub fn add_document(&mut self, name: &str) {
        self.documents.insert(name.to_owned());
    }

    /// Every command that was ever accepted, oldest first: the truth, whatever the API shows yet.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// What was ever sent to this instance, oldest first.
    pub fn invocations(&self, instance: &str) -> impl Iterator<Item = (&Command, &Invocation)> {
        self.commands.iter().filter_map(move |command| {
            let invocation = command.invocations.iter().find(|invocation| invocation.instance == instance);
            invocation.map(|invocation| (command, invocation))
        })
    }

    pub(crate) fn has_agent_news(&self) -> bool {
        !self.agent_news.is_empty()
    }

    /// How this instance's agent is, as SSM would tell it of an instance that is there.
    pub fn ping(&self, instance: &str) -> Ping {
        self.agents.get(instance).and_then(|agent| agent.ping).unwrap_or(self.default_agent)
    }

    fn script(&self, instance: &str) -> &Script {
        self.scripts.get(instance).unwrap_or(&self.default_script)
    }
}

/// How an instance's agent is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ping {
    /// It takes commands.
    #[default]
    Online,
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
            Self::Online => "Online",
            Self::ConnectionLost => "ConnectionLost",
            Self::Inactive => "Inactive",
            Self::Unregistered => "Unregistered",
        }
    }
}

#[derive(Debug, Default)]
struct Agent {
    /// `None` is the default.
    ping: Option<Ping>,
    /// When it was last heard of, if it is not online.
    lost: Option<DateTime<Utc>>,
}

/// How the commands go on an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How long they run.
    pub duration: Duration,
    /// How they exit; 0 is success.
    pub exit_code: i32,
    /// What they write to standard output.
    pub output: String,
    /// Whether they are really run, on this machine: by `sh -c`, all at once at their delivery, while
    /// the lab stands still. Exit code and output are then theirs.
    pub shell: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self { duration: Duration::from_secs(2), exit_code: 0, output: String::new(), shell: false }
    }
}

/// When a command that no agent has picked up gets `DeliveryTimedOut`. It is not run after
/// `TimeoutSeconds` either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expiry {
    /// After `TimeoutSeconds`.
    #[default]
    Delivery,
    /// After `TimeoutSeconds` and `executionTimeout` together, which is what the user guide says.
    Total,
}

/// A command.
#[derive(Debug, Clone)]
pub struct Command {
    /// Its id.
    pub id: String,
    /// The document's name.
    pub document: String,
    /// The comment, empty if there was none.
    pub comment: String,
    /// The instances that it was sent to.
    pub instances: Vec<String>,
    /// The document's parameters.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// When it was accepted.
    pub requested: DateTime<Utc>,
    /// How long it may wait for an agent: `TimeoutSeconds`.
    pub delivery_timeout: Duration,
    /// How long it may run: the document's `executionTimeout`.
    pub execution_timeout: Duration,
    /// How it goes on each of the instances.
    pub invocations: Vec<Invocation>,
}

impl Command {
    /// The command is not delivered after this time.
    fn deliverable_until(&self) -> DateTime<Utc> {
        self.requested + delta(self.delivery_timeout)
    }

    /// AWS's total timeout: the end of a command without an answer of its instance.
    fn expires(&self) -> DateTime<Utc> {
        self.deliverable_until() + delta(self.execution_timeout)
    }

    /// The status of all invocations together.
    pub fn status(&self) -> &'static str {
        let any = |status| self.invocations.iter().any(|invocation| invocation.status == status);
        let all = |status| self.invocations.iter().all(|invocation| invocation.status == status);
        if all("Pending") {
            return "Pending";
        }
        if any("Cancelling") {
            return "Cancelling";
        }
        if !self.is_over() {
            return "InProgress";
        }
        ["Failed", "TimedOut", "Cancelled"].into_iter().find(|status| any(status)).unwrap_or("Success")
    }

    /// Whether all invocations are final.
    pub fn is_over(&self) -> bool {
        self.invocations.iter().all(|invocation| invocation.ended.is_some())
    }

    fn plugin(&self) -> &'static str {
        let known = DOCUMENTS.iter().find(|(document, _)| *document == self.document);
        known.map_or("aws:runShellScript", |(_, plugin)| plugin)
    }
}

/// A command on one instance.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The instance.
    pub instance: String,
    /// `Pending`, `InProgress`, `Cancelling`, `Success`, `Failed`, `TimedOut`, `Cancelled`.
    pub status: &'static str,
    /// As the status, or `DeliveryTimedOut` or `ExecutionTimedOut`.
    pub status_details: &'static str,
    /// When the instance began to run it: `None` means that it was never run.
    pub started: Option<DateTime<Utc>>,
    /// When the status became final.
    pub ended: Option<DateTime<Utc>>,
    /// How the commands exited; -1 until then, and where they did not.
    pub exit_code: i32,
    /// What they wrote to standard output, once it is known.
    pub output: String,
    /// What they wrote to standard error, once it is known.
    pub error_output: String,
    /// What the agent has to tell.
    result: Option<Outcome>,
}

/// How the commands went on the instance.
#[derive(Debug, Clone)]
struct Outcome {
    exit_code: i32,
    output: String,
    error_output: String,
    timed_out: bool,
    /// Whether they have come so far.
    over: bool,
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
