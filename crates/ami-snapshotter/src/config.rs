//! The variables of ami-snapshotter.

use std::collections::BTreeSet;
use std::time::Duration;

use lifecycle_core::config::{self, Names, Parser, Variables, digits, duration, list, names, truth};
use lifecycle_core::{ActionResult, Error};

use crate::cause::Cause;

/// Variable: the group in service now. The function writes it itself and reads it from its own
/// configuration, never from the environment, which is as old as the process.
pub const CURRENT_ASG_NAME: &str = "CURRENT_ASG_NAME";
/// Variable: whether the instance keeps running while its image is taken.
pub const NO_REBOOT: &str = "NO_REBOOT";
/// Variable: what completes the action of an unexpected death.
pub const COMPLETE_ON: &str = "COMPLETE_ON";
/// Variable: whether launching actions are completed.
pub const COMPLETE_LAUNCH: &str = "COMPLETE_LAUNCH";
/// Variable: causes of a death in the current group that count as planned.
pub const SKIP_CAUSES: &str = "SKIP_CAUSES";
/// Variable: result when no image could be made.
pub const ON_FAILURE: &str = "ON_FAILURE";
/// Variable: images of one group in an hour.
pub const MAX_IMAGES_PER_HOUR: &str = "MAX_IMAGES_PER_HOUR";
/// Variable: age at which images are removed.
pub const IMAGE_RETENTION: &str = "IMAGE_RETENTION";
/// Variable: groups that the sweep looks after besides the stored one.
pub const AUTO_SCALING_GROUPS: &str = "AUTO_SCALING_GROUPS";
/// Variable: hooks that the sweep may act on.
pub const LIFECYCLE_HOOKS: &str = "LIFECYCLE_HOOKS";

/// What completes the action of an unexpected death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompleteOn {
    /// The image is usable, or has failed.
    Available,
    /// EC2 has accepted the image.
    Requested,
    /// Nothing: the hook's timeout ends the wait.
    Timeout,
}

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed function's name: whose configuration remembers the group in service.
    pub function: String,
    /// Whether the instance keeps running while its image is taken.
    pub no_reboot: bool,
    /// What completes the action of an unexpected death.
    pub complete_on: CompleteOn,
    /// Whether launching actions are completed.
    pub complete_launch: bool,
    /// Causes that count as planned.
    pub skip_causes: BTreeSet<Cause>,
    /// Result when no image could be made.
    pub on_failure: ActionResult,
    /// Images of one group in an hour.
    pub max_images_per_hour: usize,
    /// Age at which images are removed.
    pub image_retention: Option<Duration>,
    /// Groups that the sweep looks after besides the stored one.
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
        let planned =
            [Cause::InstanceRefresh, Cause::ScheduledAction, Cause::UserRequest, Cause::MaxLifetime];
        let config = Self {
            function: parser.get(config::FUNCTION_NAME, crate::NAME.to_owned(), str::parse),
            no_reboot: parser.get(NO_REBOOT, true, truth),
            complete_on: parser.get(COMPLETE_ON, CompleteOn::Available, complete_on),
            complete_launch: parser.get(COMPLETE_LAUNCH, false, truth),
            skip_causes: parser.get(SKIP_CAUSES, planned.into(), causes),
            on_failure: parser.get(ON_FAILURE, ActionResult::Continue, str::parse),
            max_images_per_hour: parser.get(MAX_IMAGES_PER_HOUR, 10, count),
            image_retention: parser.get(IMAGE_RETENTION, None, |text| retention(text).map(Some)),
            groups: parser.get(AUTO_SCALING_GROUPS, Names::default(), names),
            hooks: parser.get(LIFECYCLE_HOOKS, None, |text| list(text).map(Some)),
        };
        parser.finish(config)
    }
}

fn complete_on(text: &str) -> Result<CompleteOn, String> {
    match text {
        "available" => Ok(CompleteOn::Available),
        "requested" => Ok(CompleteOn::Requested),
        "timeout" => Ok(CompleteOn::Timeout),
        _ => Err(format!("{text:?} is neither available, requested nor timeout")),
    }
}

/// Names of causes; nothing at all is an empty list, with which every death is unexpected.
fn causes(text: &str) -> Result<BTreeSet<Cause>, String> {
    if text.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (known, wrong): (Vec<_>, Vec<_>) = list(text)?
        .iter()
        .map(|name| match name.parse() {
            Ok(Cause::Unknown) => Err("unknown: what has no known cause can't have been planned".to_owned()),
            other => other,
        })
        .partition(Result::is_ok);
    match wrong.is_empty() {
        true => Ok(known.into_iter().flatten().collect()),
        false => Err(wrong.into_iter().filter_map(Result::err).collect::<Vec<_>>().join(", ")),
    }
}

fn count(text: &str) -> Result<usize, String> {
    digits(text).ok_or_else(|| format!("{text:?} is not a number of images"))
}

fn retention(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age.is_zero() { Err(format!("{text:?} would remove every image at once")) } else { Ok(age) }
}
