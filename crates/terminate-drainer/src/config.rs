//! The variables of terminate-drainer, and its name.

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
/// Variable: maximum run time of the commands.
pub const DRAIN_TIMEOUT: &str = "DRAIN_TIMEOUT";
/// Variable: maximum time until the agent picks the commands up.
pub const DELIVERY_TIMEOUT: &str = "DELIVERY_TIMEOUT";
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

/// Run Command's maximum of `executionTimeout`.
const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(48 * 3_600);

/// Run Command's minimum of `TimeoutSeconds`.
const MIN_DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Run Command's maximum of `TimeoutSeconds`.
const MAX_DELIVERY_TIMEOUT: Duration = Duration::from_secs(2_592_000);

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
    /// Maximum run time of the commands.
    pub drain_timeout: Duration,
    /// Maximum time until the agent picks the commands up.
    pub delivery_timeout: Duration,
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
            drain_timeout: parser.get(
                DRAIN_TIMEOUT,
                "55m",
                duration_within(Duration::from_secs(1), MAX_DRAIN_TIMEOUT),
            ),
            delivery_timeout: parser.get(
                DELIVERY_TIMEOUT,
                "2m",
                duration_within(MIN_DELIVERY_TIMEOUT, MAX_DELIVERY_TIMEOUT),
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

fn wait_mode(text: &str) -> Result<WaitMode, String> {
    match text {
        "event" => Ok(WaitMode::Event),
        "poll" => Ok(WaitMode::Poll),
        _ => Err(format!("{text:?} is neither event nor poll")),
    }
}
