//! The variables of terminate-drainer.

use std::time::Duration;

use lifecycle_core::config::{self, Names, Parser, Variables, duration_within, list, names};
use lifecycle_core::{ActionResult, Error};

/// Variable: the commands, one a line.
pub const DRAIN_COMMANDS: &str = "DRAIN_COMMANDS";
/// Variable: the Systems Manager document that runs them.
pub const SSM_DOCUMENT: &str = "SSM_DOCUMENT";
/// Variable: longest run on the instance.
pub const DRAIN_TIMEOUT: &str = "DRAIN_TIMEOUT";
/// Variable: longest wait for the agent to pick the commands up.
pub const DELIVERY_TIMEOUT: &str = "DELIVERY_TIMEOUT";
/// Variable: `event` or `poll`.
pub const WAIT: &str = "WAIT";
/// Variable: result when the commands failed or timed out.
pub const ON_FAILURE: &str = "ON_FAILURE";
/// Variable: result when the agent can't be reached.
pub const ON_UNREACHABLE: &str = "ON_UNREACHABLE";
/// Variable: groups that the sweep looks after.
pub const AUTO_SCALING_GROUPS: &str = "AUTO_SCALING_GROUPS";
/// Variable: hooks that the sweep may act on.
pub const LIFECYCLE_HOOKS: &str = "LIFECYCLE_HOOKS";

/// Run Command's own limit for `executionTimeout`.
const LONGEST_RUN: Duration = Duration::from_secs(48 * 3_600);

/// Run Command's own limits for `TimeoutSeconds`.
const DELIVERY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(2_592_000));

/// How the end of the commands is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitMode {
    /// The status event of Systems Manager wakes the function.
    Event,
    /// The function stays and asks.
    Poll,
}

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed function's name.
    pub function: String,
    /// The commands.
    pub commands: Vec<String>,
    /// The document that runs them.
    pub document: String,
    /// Longest run on the instance.
    pub drain_timeout: Duration,
    /// Longest wait for the agent.
    pub delivery_timeout: Duration,
    /// How the end is noticed.
    pub wait: WaitMode,
    /// Result of a failed drain; by transition where it is not set.
    pub on_failure: Option<ActionResult>,
    /// Result where the agent can't be reached; as `on_failure` where it is not set.
    pub on_unreachable: Option<ActionResult>,
    /// Groups that the sweep looks after.
    pub groups: Names,
    /// Hooks that it may act on.
    pub hooks: Option<Vec<String>>,
}

impl Config {
    /// Reads every variable before it refuses one.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every bad variable.
    pub fn parse(variables: &Variables) -> Result<Self, Error> {
        let mut parser = Parser::new(variables);
        let result = |text: &str| text.parse().map(Some);
        let config = Self {
            function: parser.get(config::FUNCTION_NAME, crate::NAME.to_owned(), str::parse),
            commands: parser.get(DRAIN_COMMANDS, vec!["systemctl stop application".to_owned()], commands),
            document: parser.get(SSM_DOCUMENT, "AWS-RunShellScript".to_owned(), document),
            drain_timeout: parser.get(
                DRAIN_TIMEOUT,
                Duration::from_secs(55 * 60),
                duration_within(Duration::from_secs(1), LONGEST_RUN),
            ),
            delivery_timeout: parser.get(
                DELIVERY_TIMEOUT,
                Duration::from_secs(120),
                duration_within(DELIVERY.0, DELIVERY.1),
            ),
            wait: parser.get(WAIT, WaitMode::Event, wait_mode),
            on_failure: parser.get(ON_FAILURE, None, result),
            on_unreachable: parser.get(ON_UNREACHABLE, None, result),
            groups: parser.get(AUTO_SCALING_GROUPS, Names::default(), names),
            hooks: parser.get(LIFECYCLE_HOOKS, None, |text| list(text).map(Some)),
        };
        parser.finish(config)
    }
}

fn commands(text: &str) -> Result<Vec<String>, String> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.iter().all(|line| line.trim().is_empty()) {
        Err("holds no command".to_owned())
    } else {
        Ok(lines)
    }
}

fn document(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("names no document".to_owned()) } else { Ok(text.to_owned()) }
}

fn wait_mode(text: &str) -> Result<WaitMode, String> {
    match text {
        "event" => Ok(WaitMode::Event),
        "poll" => Ok(WaitMode::Poll),
        _ => Err(format!("{text:?} is neither event nor poll")),
    }
}
