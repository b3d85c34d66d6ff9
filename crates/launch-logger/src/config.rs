//! The variables of launch-logger, and its name.

use lambda_kit::Configuration;
use lambda_kit::config::{Names, Parser, list, names};
use lifecycle_core::ActionResult;

/// The name of the crate, the binary and the template.
pub const NAME: &str = "launch-logger";

/// Variable: result of a launch without a record, `ABANDON` or `CONTINUE`.
pub const ON_FAILURE: &str = "ON_FAILURE";
/// Variable: groups that the sweep reconciles.
pub const AUTO_SCALING_GROUPS: &str = "AUTO_SCALING_GROUPS";
/// Variable: hooks that the sweep may act on.
pub const LIFECYCLE_HOOKS: &str = "LIFECYCLE_HOOKS";

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed name of the function, for the metric.
    pub function: String,
    /// Result of a launch without a record.
    pub on_failure: ActionResult,
    /// Groups that the sweep reconciles.
    pub groups: Names,
    /// Hooks that it may act on.
    pub hooks: Option<Vec<String>>,
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        Self {
            function: parser.function(NAME),
            on_failure: parser.get(ON_FAILURE, "ABANDON", str::parse),
            groups: parser.optional(AUTO_SCALING_GROUPS, names).unwrap_or_default(),
            hooks: parser.optional(LIFECYCLE_HOOKS, list),
        }
    }

    fn function(&self) -> &str {
        &self.function
    }
}
