//! Systems Manager Run Command: agents and commands. This module holds the state; `agents` says how each agent is,
//! `engine` moves commands to the instances and back, `api` has the actions. The rules are what AWS was recorded
//! answering, and else what the user guide and the API reference say; `docs/lab.md` has the source of each.
//!
//! Every instance in Auto Scaling has an agent, which registers some time after the instance runs. The agent ends with
//! the instance.

mod agents;
mod api;
mod engine;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

pub use agents::Ping;
pub(crate) use api::call;
pub(crate) use engine::Timer;

use agents::Agents;

/// Documents that AWS owns and the lab plays, with their plugins' names.
const DOCUMENTS: [(&str, &str); 2] =
    [("AWS-RunShellScript", "aws:runShellScript"), ("AWS-RunPowerShellScript", "aws:runPowerShellScript")];

/// How long after both timeouts together AWS gives up a command that nothing was heard of: recorded as 12 to 15
/// seconds.
const EXPIRY_LATENESS: Duration = Duration::from_secs(15);

/// The least `executionTimeout` that an agent obeys, and what it takes in place of a smaller one. Recorded.
const LEAST_EXECUTION_TIMEOUT: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3_600)];

/// The service's state.
#[derive(Debug, Default)]
pub struct RunCommand {
    /// How agents are that [`RunCommand::set_agent`] says nothing about.
    pub default_agent: Ping,
    /// How commands go on instances that [`RunCommand::set_script`] says nothing about.
    pub default_script: Script,
    agents: Agents,
    scripts: BTreeMap<String, Script>,
    /// By a text in the command, the newest last.
    matched_scripts: Vec<(String, Script)>,
    documents: BTreeMap<String, Document>,
    commands: Vec<Command>,
    /// Commands of others that have ended, oldest first.
    foreign: Vec<Command>,
}

impl RunCommand {
    /// Lets commands that are delivered to this instance from now on go like this.
    pub fn set_script(&mut self, instance: &str, script: Script) {
        self.scripts.insert(instance.to_owned(), script);
    }

    /// Lets commands that are delivered from now on go like this, on every instance, if one of their lines contains
    /// `text` or their document has this name. The last one that fits counts, before [`RunCommand::set_script`].
    pub fn match_script(&mut self, text: &str, script: Script) {
        self.matched_scripts.push((text.to_owned(), script));
    }

    /// Adds a document of the account that takes `commands` and `executionTimeout`, and has one step.
    pub fn add_document(&mut self, name: &str) {
        self.put_document(name, Document::default());
    }

    /// Adds a document of the account, or replaces the one of this name.
    pub fn put_document(&mut self, name: &str, document: Document) {
        self.documents.insert(name.to_owned(), document);
    }

    /// Adds commands of others that ran with success, each on an instance of its own, spread evenly from `first` to
    /// `last`. Lists show them; [`RunCommand::commands`] does not.
    pub fn add_foreign_commands(
        &mut self,
        document: &str,
        count: u32,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
    ) {
        let step = (last - first) / i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        let known = self.foreign.len();
        self.foreign.extend((0..count).map(|n| {
            let requested = first + step * i32::try_from(n).unwrap_or(i32::MAX);
            let number = known + n as usize;
            let instance = format!("i-0f{number:015x}");
            let mut invocation = Invocation::new(&instance);
            (invocation.status, invocation.status_details, invocation.exit_code) = ("Success", "Success", 0);
            invocation.started = Some(requested + TimeDelta::seconds(1));
            invocation.ended = Some(requested + TimeDelta::seconds(3));
            Command {
                id: format!("f0000000-0000-4000-8000-{number:012x}"),
                document: document.to_owned(),
                comment: String::new(),
                instances: vec![instance],
                parameters: BTreeMap::new(),
                requested,
                delivery_timeout: Duration::from_secs(3_600),
                execution_timeout: Duration::from_secs(3_600),
                output_s3: None,
                output_log_group: None,
                steps: Vec::new(),
                invocations: vec![invocation],
            }
        }));
        self.foreign.sort_by_key(|command| command.requested);
    }

    /// Every command that was ever accepted, oldest first: the truth, whatever the API shows yet.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// What was ever sent to this instance, oldest first.
    pub fn invocations(&self, instance: &str) -> impl Iterator<Item = (&Command, &Invocation)> {
        invocations_on(&self.commands, instance)
    }

    fn script(&self, command: &Command, instance: &str) -> &Script {
        let lines = || command.parameters.get("commands").into_iter().flatten();
        let fits = |text: &str| command.document == text || lines().any(|line| line.contains(text));
        let matched =
            self.matched_scripts.iter().rev().find(|(text, _)| fits(text)).map(|(_, script)| script);
        matched.or_else(|| self.scripts.get(instance)).unwrap_or(&self.default_script)
    }
}

fn invocations_on<'a>(
    commands: &'a [Command],
    instance: &str,
) -> impl Iterator<Item = (&'a Command, &'a Invocation)> {
    commands.iter().filter_map(move |command| {
        let invocation = command.invocations.iter().find(|invocation| invocation.instance == instance);
        invocation.map(|invocation| (command, invocation))
    })
}

/// A document of the account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Names of the parameters that it takes besides `commands` and `executionTimeout`. None of them is required.
    pub parameters: Vec<String>,
    /// Its steps in order, all of which take `executionTimeout`. Without any it is of schema 1.2 and has one plugin.
    pub steps: Vec<Step>,
}

/// A step of a document of schema 2.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, which answers give as the plugin's.
    pub name: String,
    /// Whether it is for another platform, for example Windows: it is skipped, which AWS reports as a success with
    /// exit code 0. Another step goes as the [`Script`] says.
    pub skipped: bool,
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
    /// The status details that they end with, whatever the exit code, for example `Undeliverable`, `Terminated`,
    /// `AccessDenied` or `Cancelled`.
    pub ends: Option<&'static str>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(2),
            exit_code: 0,
            output: String::new(),
            shell: false,
            ends: None,
        }
    }
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
    /// How long each step may run: the document's `executionTimeout`.
    pub execution_timeout: Duration,
    /// The bucket that keeps the whole output, and the prefix.
    pub output_s3: Option<(String, String)>,
    /// The log group that keeps the whole output.
    pub output_log_group: Option<String>,
    /// The document's steps.
    pub steps: Vec<Step>,
    /// How it goes on each of the instances.
    pub invocations: Vec<Invocation>,
}

impl Command {
    /// The command is not delivered after this time.
    fn deliverable_until(&self) -> DateTime<Utc> {
        self.requested + delta(self.delivery_timeout)
    }

    /// `ExpiresAfter`: both timeouts together. The timeouts of several steps add up.
    fn expires(&self) -> DateTime<Utc> {
        let steps = i32::try_from(self.steps.len().max(1)).unwrap_or(i32::MAX);
        self.deliverable_until() + delta(self.execution_timeout) * steps
    }

    /// How long the agent lets it run.
    fn time_limit(&self) -> Duration {
        let [least, instead] = LEAST_EXECUTION_TIMEOUT;
        if self.execution_timeout < least { instead } else { self.execution_timeout }
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
        // Commands that ran out of time count as errors (recorded), those that were never delivered do not.
        if self.invocations.iter().any(|invocation| invocation.is_error()) {
            return "Failed";
        }
        ["TimedOut", "Cancelled", "Failed"].into_iter().find(|status| any(status)).unwrap_or("Success")
    }

    /// As the status, or the detail of the only invocation.
    fn status_details(&self) -> &'static str {
        match self.invocations.as_slice() {
            [only] if !only.is_error() => only.status_details,
            _ => self.status(),
        }
    }

    /// Whether all invocations are final.
    pub fn is_over(&self) -> bool {
        self.invocations.iter().all(|invocation| invocation.ended.is_some())
    }

    /// The plugins' names: one for each step.
    fn plugins(&self) -> impl Iterator<Item = (&str, bool)> {
        let known = DOCUMENTS.iter().find(|(document, _)| *document == self.document);
        let only = known.map_or("aws:runShellScript", |(_, plugin)| plugin);
        let only = self.steps.is_empty().then_some((only, false));
        only.into_iter().chain(self.steps.iter().map(|step| (step.name.as_str(), step.skipped)))
    }
}

/// A command on one instance.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The instance.
    pub instance: String,
    /// `Pending`, `InProgress`, `Cancelling`, `Success`, `Failed`, `TimedOut`, `Cancelled`.
    pub status: &'static str,
    /// As the status, or `Delayed`, `DeliveryTimedOut`, `ExecutionTimedOut`, or another of [`Script::ends`].
    pub status_details: &'static str,
    /// When the instance began to run it: `None` means that it was never run.
    pub started: Option<DateTime<Utc>>,
    /// When the status became final.
    pub ended: Option<DateTime<Utc>>,
    /// How the commands exited; 137 where they were killed; -1 until then, and where they did not run.
    pub exit_code: i32,
    /// What they wrote to standard output, once it is known.
    pub output: String,
    /// What they wrote to standard error, once it is known.
    pub error_output: String,
    /// What the agent has to tell.
    result: Option<Outcome>,
    /// Whether it is to be cancelled: it does not begin any more.
    cancelled: bool,
    /// Whether the agent was restarted while it ran, and knows nothing of it any more.
    orphaned: bool,
}

impl Invocation {
    fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            status: "Pending",
            status_details: "Pending",
            started: None,
            ended: None,
            exit_code: -1,
            output: String::new(),
            error_output: String::new(),
            result: None,
            cancelled: false,
            orphaned: false,
        }
    }

    /// Whether it counts against the command's `MaxErrors`.
    fn is_error(&self) -> bool {
        matches!(self.status_details, "Failed" | "ExecutionTimedOut")
    }
}

/// How the commands went on the instance.
#[derive(Debug, Clone)]
struct Outcome {
    exit_code: i32,
    output: String,
    error_output: String,
    /// The status details to end with.
    ends: &'static str,
    /// Whether they have come so far.
    over: bool,
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
