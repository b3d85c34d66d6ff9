//! The variables of terminate-drainer, and its name.

use std::collections::BTreeSet;
use std::time::Duration;

use lambda_kit::Configuration;
use lambda_kit::config::{Names, Parser, duration_within, list, names};
use lifecycle_core::ActionResult;
use serde_json::json;
use sha2::{Digest, Sha256};

/// The name of the crate, the binary and the template.
pub const NAME: &str = "terminate-drainer";

/// Variable: the commands, one per line.
pub const DRAIN_COMMANDS: &str = "DRAIN_COMMANDS";
/// Variable: the Systems Manager document that runs the commands.
pub const SSM_DOCUMENT: &str = "SSM_DOCUMENT";
/// Variable: the document's parameters that are sent.
pub const DOCUMENT_PARAMETERS: &str = "DOCUMENT_PARAMETERS";
/// Variable: maximum run time of the commands.
pub const DRAIN_TIMEOUT: &str = "DRAIN_TIMEOUT";
/// Variable: maximum time until the agent picks the commands up.
pub const DELIVERY_TIMEOUT: &str = "DELIVERY_TIMEOUT";
/// Variable: maximum time until the agent of a launching instance registers.
pub const REGISTRATION_TIMEOUT: &str = "REGISTRATION_TIMEOUT";
/// Variable: `event` or `poll`.
pub const WAIT: &str = "WAIT";
/// Variable: result when the commands failed or timed out.
pub const ON_FAILURE: &str = "ON_FAILURE";
/// Variable: result when the agent is unreachable.
pub const ON_UNREACHABLE: &str = "ON_UNREACHABLE";
/// Variable: groups that the sweep reconciles.
pub const AUTO_SCALING_GROUPS: &str = "AUTO_SCALING_GROUPS";
/// Variable: hooks that the sweep may act on.
pub const LIFECYCLE_HOOKS: &str = "LIFECYCLE_HOOKS";

/// The minimum of `executionTimeout`. The agent replaces a shorter one by an hour (recorded).
const MIN_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Run Command's maximum of `executionTimeout`.
const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(48 * 3_600);

/// Run Command's minimum of `TimeoutSeconds`.
const MIN_DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Run Command's maximum of `TimeoutSeconds`.
const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(2_592_000);

/// Maximum of `REGISTRATION_TIMEOUT`: a hook's longest global timeout.
const MAX_REGISTRATION_TIMEOUT: Duration = Duration::from_secs(48 * 3_600);

/// How long after both timeouts a drain counts as lost. Run Command reports an end some seconds after them, and its
/// status event arrives within a minute.
const CLOCK_RESERVE: Duration = Duration::from_secs(300);

/// A parameter of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parameter {
    /// `commands`: the commands, one string a line. The other parameters are one string.
    Commands,
    /// `executionTimeout`: `DRAIN_TIMEOUT` in seconds.
    ExecutionTimeout,
    /// `group`: the Auto Scaling group's name.
    Group,
    /// `hook`: the lifecycle hook's name.
    Hook,
    /// `instance`: the instance's id.
    Instance,
    /// `transition`: `autoscaling:EC2_INSTANCE_TERMINATING` or `autoscaling:EC2_INSTANCE_LAUNCHING`.
    Transition,
    /// `origin`: `EC2`, `AutoScalingGroup` or `WarmPool`; empty if only the event knows it.
    Origin,
    /// `destination`: as `origin`.
    Destination,
    /// `action`: the action's id, eight characters; empty if the sweep sends.
    Action,
}

impl Parameter {
    const ALL: [Self; 9] = [
        Self::Commands,
        Self::ExecutionTimeout,
        Self::Group,
        Self::Hook,
        Self::Instance,
        Self::Transition,
        Self::Origin,
        Self::Destination,
        Self::Action,
    ];

    /// Its name in the document and in the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::ExecutionTimeout => "executionTimeout",
            Self::Group => "group",
            Self::Hook => "hook",
            Self::Instance => "instance",
            Self::Transition => "transition",
            Self::Origin => "origin",
            Self::Destination => "destination",
            Self::Action => "action",
        }
    }
}

/// How the function learns of the end of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitMode {
    /// The status event of Systems Manager starts the function again.
    Event,
    /// The function keeps running and polls.
    Poll,
}

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed name of the function.
    pub function: String,
    /// The commands.
    pub commands: Vec<String>,
    /// The document that runs them.
    pub document: String,
    /// The document's parameters that are sent.
    pub parameters: BTreeSet<Parameter>,
    /// Maximum run time of the commands.
    pub drain_timeout: Duration,
    /// Maximum time until the agent picks the commands up.
    pub delivery_timeout: Duration,
    /// Maximum time until the agent of a launching instance registers.
    pub registration_timeout: Duration,
    /// How the function learns of the end of the commands.
    pub wait: WaitMode,
    /// Result of a failed drain. The default depends on the transition.
    pub on_failure: Option<ActionResult>,
    /// Result when the agent is unreachable. The default is `on_failure`.
    pub on_unreachable: Option<ActionResult>,
    /// Groups that the sweep reconciles.
    pub groups: Names,
    /// Hooks that it may act on.
    pub hooks: Option<Vec<String>>,
}

impl Config {
    /// How long after its command was sent a drain lasts at most, whatever Run Command shows.
    pub(crate) fn max_drain_age(&self) -> Duration {
        self.delivery_timeout + self.drain_timeout + CLOCK_RESERVE
    }
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        let commands = parser.get(DRAIN_COMMANDS, "systemctl stop application", commands);
        // The commands may hold secrets.
        let sha256 = Sha256::digest(commands.join("\n"));
        let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        parser.describe(DRAIN_COMMANDS, json!({ "count": commands.len(), "sha256": sha256 }));
        let config = Self {
            function: parser.function(NAME),
            commands,
            document: parser.get(SSM_DOCUMENT, "AWS-RunShellScript", document),
            parameters: parser.get(DOCUMENT_PARAMETERS, "commands,executionTimeout", parameters),
            drain_timeout: parser.get(
                DRAIN_TIMEOUT,
                "55m",
                duration_within(MIN_DRAIN_TIMEOUT, MAX_DRAIN_TIMEOUT),
            ),
            delivery_timeout: parser.get(
                DELIVERY_TIMEOUT,
                "2m",
                duration_within(MIN_DELIVERY_TIMEOUT, MAX_DELIVERY_TIMEOUT),
            ),
            registration_timeout: parser.get(
                REGISTRATION_TIMEOUT,
                "10m",
                duration_within(Duration::ZERO, MAX_REGISTRATION_TIMEOUT),
            ),
            wait: parser.get(WAIT, "event", wait_mode),
            on_failure: parser.optional(ON_FAILURE, str::parse),
            on_unreachable: parser.optional(ON_UNREACHABLE, str::parse),
            groups: parser.optional(AUTO_SCALING_GROUPS, names).unwrap_or_default(),
            hooks: parser.optional(LIFECYCLE_HOOKS, list),
        };
        if config.on_failure.is_none() {
            parser.describe(ON_FAILURE, "CONTINUE when terminating, ABANDON when launching");
        }
        if config.on_unreachable.is_none() {
            parser.describe(ON_UNREACHABLE, format!("as {ON_FAILURE}"));
        }
        config
    }

    fn function(&self) -> &str {
        &self.function
    }
}

fn commands(text: &str) -> Result<Vec<String>, String> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.iter().all(|line| line.trim().is_empty()) {
        Err("contains no command".to_owned())
    } else {
        Ok(lines)
    }
}

fn document(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("names no document".to_owned()) } else { Ok(text.to_owned()) }
}

fn parameters(text: &str) -> Result<BTreeSet<Parameter>, String> {
    let names = list(text)?.into_iter().map(|name| {
        let known = Parameter::ALL.into_iter().find(|known| known.as_str() == name);
        known.ok_or_else(|| {
            let known = Parameter::ALL.map(Parameter::as_str).join(", ");
            format!("{name:?} is none of {known}")
        })
    });
    names.collect()
}

fn wait_mode(text: &str) -> Result<WaitMode, String> {
    match text {
        "event" => Ok(WaitMode::Event),
        "poll" => Ok(WaitMode::Poll),
        _ => Err(format!("{text:?} is neither event nor poll")),
    }
}
