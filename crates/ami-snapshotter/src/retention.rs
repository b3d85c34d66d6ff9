//! Retention: deletes this function's old images and their snapshots, unless they are in use.
//!
//! AWS calls, only if an image is old enough: `ec2:DescribeInstances`, `ec2:DescribeLaunchTemplates`,
//! `ec2:DescribeLaunchTemplateVersions`, `ec2:DeregisterImage` (which needs `ec2:DeleteSnapshot`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, SnapshotReturnCodes};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::{Answer, Error, Invocation, Warning};
use serde_json::{Map, Value};
use tracing::debug;

use crate::image::{Image, Standing};
use crate::outcome::RETENTION_FAILED;

/// Maximum of values in one filter.
const MAX_FILTER_VALUES: usize = 200;

/// Minimum time to delete another image. With less, the next sweep continues.
const MIN_DELETION_TIME: Duration = Duration::from_secs(2);

/// A look at the images in use costs one call per launch template of the account. With more templates than this, an
/// image that was in use counts as such for an hour.
const MANY_TEMPLATES: usize = 50;
const MAX_USE_AGE: TimeDelta = TimeDelta::hours(1);

/// Maximum of images that a list in the answer names, and of failures that one sweep tells.
const MAX_LISTED: usize = 10;

/// Deletes old images.
#[derive(Debug)]
pub(crate) struct Retention {
    client: Client,
    /// The old images that were in use, and when that was seen.
    used: Mutex<BTreeMap<String, DateTime<Utc>>>,
}

/// The deleted images and the failures.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    images: Vec<String>,
    snapshots: usize,
    in_use: Vec<String>,
    /// The failures that the sweep reports.
    pub(crate) failed: Vec<Warning>,
}

impl Removed {
    /// Adds the results of the retention to the sweep's answer.
    pub(crate) fn explain(self, answer: Answer) -> Answer {
        let answer =
            answer.with("images_removed", listed(self.images)).with("snapshots_removed", self.snapshots);
        let in_use = listed(self.in_use);
        let answer = if in_use.is_empty() { answer } else { answer.with("images_in_use", in_use) };
        let failed: Vec<_> = self.failed.into_iter().map(|warning| warning.text).collect();
        if failed.is_empty() { answer } else { answer.with("retention_failed", failed) }
    }
}

impl Retention {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, used: Mutex::default() }
    }

    /// Deletes those of this function's `images` that are older than `age` and not in use. A failure is reported and
    /// does not fail the sweep. The next sweep tries again.
    pub(crate) async fn apply(
        &self,
        images: Result<Vec<Image>, Error>,
        age: Duration,
        invocation: &Invocation,
    ) -> Removed {
        let mut removed = Removed::default();
        let images = match images {
            Ok(images) => images,
            Err(error) => {
                removed.failed.push(failure(None, "the images can't be read", &error));
                return removed;
            }
        };
        let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let Some(expires) = invocation.now().checked_sub_signed(age) else {
            return removed;
        };
        let mut old: Vec<&Image> = images
            .iter()
            .filter(|image| image.created < expires && image.standing != Standing::Pending)
            .collect();
        let limit = invocation.time_left().saturating_sub(MIN_DELETION_TIME);
        if old.is_empty() || limit.is_zero() {
            return removed;
        }
        // Images that can't be deleted are not always the first.
        let turn = usize::try_from(invocation.now().timestamp()).unwrap_or_default() % old.len();
        old.rotate_left(turn);
        let read =
            tokio::time::timeout(limit, self.used(&old, invocation.now())).await.unwrap_or_else(|_| {
                Err(Error::Timeout("the run was too short to read the account's launch templates".to_owned()))
            });
        let used = match read {
            Ok(used) => used,
            Err(error) => {
                removed.failed.push(failure(None, "no old image was deleted", &error));
                return removed;
            }
        };
        for image in old {
            if used.contains(&image.id) {
                removed.in_use.push(image.id.clone());
                continue;
            }
            if invocation.time_left() < MIN_DELETION_TIME || removed.failed.len() >= MAX_LISTED {
                break;
            }
            match self.remove(image).await {
                Ok((deleted, kept)) => {
                    removed.images.push(image.id.clone());
                    removed.snapshots += deleted;
                    removed.failed.extend(kept);
                }
                Err(error) => {
                    let what = format!("{} was not deleted", image.id);
                    removed.failed.push(failure(Some(image), &what, &error));
                }
            }
        }
        removed
    }

    /// The images that an instance or a launch template version uses.
    async fn used(&self, images: &[&Image], now: DateTime<Utc>) -> Result<BTreeSet<String>, Error> {
        let mut used = self.remembered(now);
        let unknown: Vec<_> = images.iter().filter(|image| !used.contains(&image.id)).collect();
        if unknown.is_empty() {
            return Ok(used);
        }
        let mut templates = Vec::new();
        let mut pages = self.client.describe_launch_templates().into_paginator().items().send();
        while let Some(template) = pages.next().await {
            templates.push(template.map_err(|error| Error::aws("DescribeLaunchTemplates", &error))?);
        }
        for some in unknown.chunks(MAX_FILTER_VALUES) {
            let ids = some.iter().map(|image| image.id.clone()).collect();
            let with_image = Filter::builder().name("image-id").set_values(Some(ids)).build();
            let mut pages =
                self.client.describe_instances().filters(with_image.clone()).into_paginator().items().send();
            while let Some(reservation) = pages.next().await {
                let reservation = reservation.map_err(|error| Error::aws("DescribeInstances", &error))?;
                let instances = reservation.instances().iter();
                used.extend(instances.filter_map(|instance| instance.image_id().map(str::to_owned)));
            }
            for template in &templates {
                let versions = self.client.describe_launch_template_versions();
                let versions = versions.set_launch_template_id(template.launch_template_id.clone());
                let mut pages = versions.filters(with_image.clone()).into_paginator().items().send();
                while let Some(version) = pages.next().await {
                    let version =
                        version.map_err(|error| Error::aws("DescribeLaunchTemplateVersions", &error))?;
                    used.extend(version.launch_template_data.and_then(|data| data.image_id));
                }
            }
        }
        if templates.len() > MANY_TEMPLATES {
            let mut seen = self.seen();
            used.iter().for_each(|image| _ = seen.entry(image.clone()).or_insert(now));
        }
        Ok(used)
    }

    /// The images that were in use a short time ago.
    fn remembered(&self, now: DateTime<Utc>) -> BTreeSet<String> {
        let mut seen = self.seen();
        seen.retain(|_, at| *at > now - MAX_USE_AGE);
        seen.keys().cloned().collect()
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, DateTime<Utc>>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deregisters an image and deletes its snapshots. Returns how many, and which ones EC2 failed to delete and why.
    /// A snapshot that another image uses stays.
    async fn remove(&self, image: &Image) -> Result<(usize, Vec<Warning>), Error> {
        let answer =
            self.client.deregister_image().image_id(&image.id).delete_associated_snapshots(true).send().await;
        let answer = answer.map_err(|error| Error::aws("DeregisterImage", &error))?;
        let (deleted, kept): (Vec<_>, Vec<_>) = answer
            .delete_snapshot_results()
            .iter()
            .map(|result| (result.snapshot_id().unwrap_or_default(), result.return_code()))
            .partition(|(_, code)| matches!(code, Some(SnapshotReturnCodes::Success)));
        debug!(
            asg.name = image.wait.group,
            instance.id = image.wait.instance,
            image.id = image.id,
            "deregistered {} of {} and deleted its {} snapshot(s): older than IMAGE_RETENTION",
            image.id,
            image.created.format("%F"),
            deleted.len()
        );
        let kept = kept.into_iter().filter_map(|(snapshot, code)| {
            let why = match code {
                Some(code) if code.as_str() == "skipped" => {
                    debug!("{snapshot} of {} was kept: another image uses it", image.id);
                    return None;
                }
                Some(SnapshotReturnCodes::ErrorMissingPermissions) => {
                    "missing permissions; delete it by hand"
                }
                _ => "EC2 failed; delete it by hand",
            };
            Some(warning(Some(image), format!("{snapshot} of {} was kept: {why}", image.id)))
        });
        Ok((deleted.len(), kept.collect()))
    }
}

/// A list for the answer: the first items, and how many more there are.
fn listed(mut items: Vec<String>) -> Vec<String> {
    let more = items.len().saturating_sub(MAX_LISTED);
    items.truncate(MAX_LISTED);
    items.extend((more > 0).then(|| format!("and {more} more")));
    items
}

fn failure(image: Option<&Image>, what: &str, error: &Error) -> Warning {
    warning(image, format!("{what}: {}", error.chain()))
}

fn warning(image: Option<&Image>, text: String) -> Warning {
    let about = image.map(|image| ("image.id".to_owned(), Value::from(image.id.as_str())));
    Warning { failure: RETENTION_FAILED, text, about: Map::from_iter(about) }
}
