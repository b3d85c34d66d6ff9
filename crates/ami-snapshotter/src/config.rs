//! The variables of ami-snapshotter.

use std::collections::BTreeSet;
use std::time::Duration;

use lambda_kit::Configuration;
use lambda_kit::config::{Names, Parser, digits, duration, list, names, truth};
use lifecycle_core::ActionResult;

use crate::cause::Cause;

/// The name of the crate, the binary and the template.
pub const NAME: &str = "ami-snapshotter";

/// Variable: the stored group. The function writes it itself and reads it from its configuration. The environment of
/// a running process is out of date.
pub const CURRENT_ASG_NAME: &str = "CURRENT_ASG_NAME";
/// Variable: whether the instance keeps running while EC2 makes the image.
pub const NO_REBOOT: &str = "NO_REBOOT";
/// Variable: what completes the action of an unplanned termination.
pub const COMPLETE_ON: &str = "COMPLETE_ON";
/// Variable: whether launching actions are completed.
pub const COMPLETE_LAUNCH: &str = "COMPLETE_LAUNCH";
/// Variable: causes of planned terminations in the stored group.
pub const SKIP_CAUSES: &str = "SKIP_CAUSES";
/// Variable: result when no image could be made.
pub const ON_FAILURE: &str = "ON_FAILURE";
/// Variable: maximum of images per group and hour.
pub const MAX_IMAGES_PER_HOUR: &str = "MAX_IMAGES_PER_HOUR";
/// Variable: age at which images are deleted.
pub const IMAGE_RETENTION: &str = "IMAGE_RETENTION";
/// Variable: groups that the sweep reconciles in addition to the stored group.
pub const AUTO_SCALING_GROUPS: &str = "AUTO_SCALING_GROUPS";
/// Variable: hooks that the sweep may act on.
pub const LIFECYCLE_HOOKS: &str = "LIFECYCLE_HOOKS";

/// The causes that are planned by default.
const DEFAULT_SKIP_CAUSES: &str = "instance-refresh,scheduled-action,user-request,max-lifetime";

/// What completes the action of an unplanned termination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompleteOn {
    /// The end of the image: it is available or has failed.
    Available,
    /// The acceptance of the image by EC2.
    Requested,
    /// The hook's timeout.
    Timeout,
}

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed name of the function, whose configuration holds the stored group.
    pub function: String,
    /// Whether the instance keeps running while EC2 makes the image.
    pub no_reboot: bool,
    /// What completes the action of an unplanned termination.
    pub complete_on: CompleteOn,
    /// Whether launching actions are completed.
    pub complete_launch: bool,
    /// Causes of planned terminations.
    pub skip_causes: BTreeSet<Cause>,
    /// Result when no image could be made.
    pub on_failure: ActionResult,
    /// Maximum of images per group and hour.
    pub max_images_per_hour: usize,
    /// Age at which images are deleted.
    pub image_retention: Option<Duration>,
    /// Groups that the sweep reconciles in addition to the stored group.
    pub groups: Names,
    /// Hooks that it may act on.
    pub hooks: Option<Vec<String>>,
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        Self {
            function: parser.function(NAME),
            no_reboot: parser.get(NO_REBOOT, "true", truth),
            complete_on: parser.get(COMPLETE_ON, "available", complete_on),
            complete_launch: parser.get(COMPLETE_LAUNCH, "false", truth),
            skip_causes: parser.get(SKIP_CAUSES, DEFAULT_SKIP_CAUSES, causes),
            on_failure: parser.get(ON_FAILURE, "CONTINUE", str::parse),
            max_images_per_hour: parser.get(MAX_IMAGES_PER_HOUR, "10", count),
            image_retention: parser.optional(IMAGE_RETENTION, retention),
            groups: parser.optional(AUTO_SCALING_GROUPS, names).unwrap_or_default(),
            hooks: parser.optional(LIFECYCLE_HOOKS, list),
        }
    }

    fn function(&self) -> &str {
        &self.function
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

/// Parses names of causes. An empty value means that no termination is planned.
fn causes(text: &str) -> Result<BTreeSet<Cause>, String> {
    if text.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (known, wrong): (Vec<_>, Vec<_>) = list(text)?
        .iter()
        .map(|name| match name.parse() {
            Ok(Cause::Unknown) => {
                Err("unknown: a termination without a known cause is never planned".to_owned())
            }
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
    if age.is_zero() { Err(format!("{text:?} would delete every image at once")) } else { Ok(age) }
}
