//! The variables of ami-snapshotter.

use std::collections::BTreeSet;
use std::time::Duration;

use lambda_kit::Configuration;
use lambda_kit::config::{Names, Parser, digits, duration, list, names, truth};
use lifecycle_core::ActionResult;

use crate::cause::Cause;

/// The name of the crate, the binary and the template.
pub const NAME: &str = "ami-snapshotter";

/// Variable: the stored groups, separated by commas. The function writes it itself and reads it from its
/// configuration. The environment of a running process is out of date.
pub const CURRENT_ASG_NAME: &str = "CURRENT_ASG_NAME";
/// Variable: whether the instance keeps running while EC2 makes the image.
pub const NO_REBOOT: &str = "NO_REBOOT";
/// Variable: what completes the action of an unplanned termination.
pub const COMPLETE_ON: &str = "COMPLETE_ON";
/// Variable: whether launching actions are completed.
pub const COMPLETE_LAUNCH: &str = "COMPLETE_LAUNCH";
/// Variable: causes of planned terminations.
pub const SKIP_CAUSES: &str = "SKIP_CAUSES";
/// Variable: result when no image could be made.
pub const ON_FAILURE: &str = "ON_FAILURE";
/// Variable: maximum of images per group and hour.
pub const MAX_IMAGES_PER_HOUR: &str = "MAX_IMAGES_PER_HOUR";
/// Variable: how long an image may be pending.
pub const IMAGE_TIMEOUT: &str = "IMAGE_TIMEOUT";
/// Variable: age at which images are deleted.
pub const IMAGE_RETENTION: &str = "IMAGE_RETENTION";
/// Variable: further tags of images and snapshots.
pub const EXTRA_TAGS: &str = "EXTRA_TAGS";
/// Variable: groups that the sweep reconciles in addition to the stored groups. An entry that ends in `*` is a
/// succession.
pub const AUTO_SCALING_GROUPS: &str = "AUTO_SCALING_GROUPS";
/// Variable: hooks that the sweep may act on.
pub const LIFECYCLE_HOOKS: &str = "LIFECYCLE_HOOKS";

/// The causes that are planned by default.
const DEFAULT_SKIP_CAUSES: &str =
    "instance-refresh,scheduled-action,user-request,max-lifetime,launch-failure";

/// The value of `SKIP_CAUSES` that makes no termination planned.
const NO_CAUSE: &str = "none";

/// EC2's maximum of tags of a resource is 50. The function writes up to nine of its own.
const MAX_EXTRA_TAGS: usize = 40;

/// EC2's maximum of characters in a tag's key and in its value.
const MAX_TAG_KEY_CHARS: usize = 128;
const MAX_TAG_VALUE_CHARS: usize = 256;

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
    /// The deployed name of the function, whose configuration holds the stored groups.
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
    /// How long an image may be pending.
    pub image_timeout: Duration,
    /// Age at which images are deleted.
    pub image_retention: Option<Duration>,
    /// Further tags of images and snapshots.
    pub extra_tags: Vec<(String, String)>,
    /// Groups that the sweep reconciles in addition to the stored groups.
    pub groups: Names,
    /// Hooks that it may act on.
    pub hooks: Option<Vec<String>>,
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        // For the description only: the function reads it anew in each run, since it writes it itself.
        parser.optional(CURRENT_ASG_NAME, |text| Ok::<_, String>(text.to_owned()));
        Self {
            function: parser.function(NAME),
            no_reboot: parser.get(NO_REBOOT, "true", truth),
            complete_on: parser.get(COMPLETE_ON, "available", complete_on),
            complete_launch: parser.get(COMPLETE_LAUNCH, "false", truth),
            skip_causes: parser.get(SKIP_CAUSES, DEFAULT_SKIP_CAUSES, causes),
            on_failure: parser.get(ON_FAILURE, "CONTINUE", str::parse),
            max_images_per_hour: parser.get(MAX_IMAGES_PER_HOUR, "10", count),
            image_timeout: parser.get(IMAGE_TIMEOUT, "6h", |text| longer_than_zero(text, "end")),
            image_retention: parser.optional(IMAGE_RETENTION, |text| longer_than_zero(text, "delete")),
            extra_tags: parser.optional(EXTRA_TAGS, tags).unwrap_or_default(),
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

/// Parses names of causes. `none`, or an empty value, means that no cause is planned.
fn causes(text: &str) -> Result<BTreeSet<Cause>, String> {
    if text.is_empty() || text == NO_CAUSE {
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

fn longer_than_zero(text: &str, what: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err(format!("{text:?} would {what} every image at once")) } else { Ok(time) }
}

/// Parses `Key=value` pairs.
fn tags(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for pair in list(text)? {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not Key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        let reserved = ["lifecycle/", "aws:"]
            .into_iter()
            .find(|prefix| key.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
        if let Some(prefix) = reserved {
            return Err(format!("{key:?}: keys under {prefix} are reserved"));
        }
        if key.is_empty() || key.chars().count() > MAX_TAG_KEY_CHARS {
            return Err(format!("{pair:?}: a key has 1 to {MAX_TAG_KEY_CHARS} characters"));
        }
        if value.chars().count() > MAX_TAG_VALUE_CHARS {
            return Err(format!("{key:?}: a value has at most {MAX_TAG_VALUE_CHARS} characters"));
        }
        if tags.iter().any(|(known, _)| known == key) {
            return Err(format!("{key:?} is there twice"));
        }
        tags.push((key.to_owned(), value.to_owned()));
    }
    if tags.len() > MAX_EXTRA_TAGS {
        return Err(format!(
            "{} tags, and at most {MAX_EXTRA_TAGS} fit beside the function's own",
            tags.len()
        ));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_tags_are_pairs_under_keys_that_nobody_else_owns() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = vec![pair("CostCenter", "42"), pair("Url", "a=b"), pair("Empty", "")];
        assert_eq!(tags("CostCenter=42, Url=a=b,Empty="), Ok(expected));
        let long = format!("{}=x", "k".repeat(129));
        for wrong in
            ["", "a", "a=b,", "=b", "a=1,a=2", "lifecycle/x=1", "Lifecycle/x=1", "aws:x=1", "AWS:x=1", &long]
        {
            assert!(tags(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn none_is_no_cause_and_stands_alone() {
        assert_eq!((causes("none"), causes("")), (Ok(BTreeSet::new()), Ok(BTreeSet::new())));
        for wrong in ["none,user-request", "user-request,none", "None", "unknown"] {
            assert!(causes(wrong).is_err(), "{wrong}");
        }
    }
}
