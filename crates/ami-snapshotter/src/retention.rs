//! Retention: this function's images go when they are old enough, and their snapshots with them, unless
//! somebody uses them. AWS calls, only where an image is old enough: `ec2:DescribeInstances`,
//! `ec2:DescribeLaunchTemplates`, `ec2:DescribeLaunchTemplateVersions`, `ec2:DeregisterImage` (which
//! needs `ec2:DeleteSnapshot`).

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;
use chrono::TimeDelta;
use lifecycle_core::{Answer, Error, Invocation};
use tracing::{error, info, warn};

use crate::images::{Image, Standing};

/// Values that one filter takes.
const VALUES_AT_ONCE: usize = 200;

/// With less time than this no further image is removed: the next sweep goes on.
const SHORTEST_STEP: Duration = Duration::from_secs(2);

/// Removes old images.
#[derive(Debug, Clone)]
pub(crate) struct Retention(Client);

/// What was removed, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    images: Vec<String>,
    snapshots: usize,
    in_use: Vec<String>,
    failed: Vec<String>,
}

impl Removed {
    /// The answer of the sweep with what the retention did.
    pub(crate) fn explain(self, answer: Answer) -> Answer {
        let answer = answer.with("images_removed", self.images).with("snapshots_removed", self.snapshots);
        let answer = if self.in_use.is_empty() { answer } else { answer.with("images_in_use", self.in_use) };
        if self.failed.is_empty() { answer } else { answer.with("retention_failed", self.failed) }
    }
}

impl Retention {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// Removes those of `images` that are older than `age` and that nobody uses. A failure is reported
    /// and doesn't fail the sweep: the next one tries again.
    pub(crate) async fn apply(&self, images: &[Image], age: Duration, invocation: &Invocation) -> Removed {
        let mut removed = Removed::default();
        let expires = invocation.now() - TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
        let old: Vec<&Image> = images
            .iter()
            .filter(|image| image.created < expires && image.standing != Standing::Pending)
            .collect();
        if old.is_empty() {
            return removed;
        }
        let used = match self.used(&old).await {
            Ok(used) => used,
            Err(error) => {
                removed.failed.push(failure("old images were left alone", &error));
                return removed;
            }
        };
        for image in old {
            if used.contains(&image.id) {
                removed.in_use.push(image.id.clone());
                continue;
            }
            if invocation.time_left() < SHORTEST_STEP {
                break;
            }
            match self.remove(image).await {
                Ok(snapshots) => {
                    removed.images.push(image.id.clone());
                    removed.snapshots += snapshots;
                }
                Err(error) => removed.failed.push(failure(&format!("{} was not removed", image.id), &error)),
            }
        }
        removed
    }

    /// Those of the images that an instance or a version of a launch template uses.
    async fn used(&self, images: &[&Image]) -> Result<BTreeSet<String>, Error> {
        let mut used = BTreeSet::new();
        for some in images.chunks(VALUES_AT_ONCE) {
            let ids = some.iter().map(|image| image.id.clone()).collect();
            let with_image = Filter::builder().name("image-id").set_values(Some(ids)).build();
            let mut pages =
                self.0.describe_instances().filters(with_image.clone()).into_paginator().items().send();
            while let Some(reservation) = pages.next().await {
                let reservation = reservation.map_err(|error| Error::aws("DescribeInstances", &error))?;
                let instances = reservation.instances().iter();
                used.extend(instances.filter_map(|instance| instance.image_id().map(str::to_owned)));
            }
            let mut templates = self.0.describe_launch_templates().into_paginator().items().send();
            while let Some(template) = templates.next().await {
                let template = template.map_err(|error| Error::aws("DescribeLaunchTemplates", &error))?;
                let versions = self.0.describe_launch_template_versions();
                let versions = versions.set_launch_template_id(template.launch_template_id);
                let mut pages = versions.filters(with_image.clone()).into_paginator().items().send();
                while let Some(version) = pages.next().await {
                    let version =
                        version.map_err(|error| Error::aws("DescribeLaunchTemplateVersions", &error))?;
                    used.extend(version.launch_template_data.and_then(|data| data.image_id));
                }
            }
        }
        Ok(used)
    }

    /// Deregisters an image and deletes its snapshots; says how many.
    async fn remove(&self, image: &Image) -> Result<usize, Error> {
        let answer =
            self.0.deregister_image().image_id(&image.id).delete_associated_snapshots(true).send().await;
        let answer = answer.map_err(|error| Error::aws("DeregisterImage", &error))?;
        let results = answer.delete_snapshot_results();
        let (deleted, kept): (Vec<_>, Vec<_>) = results.iter().partition(|result| {
            result.return_code().is_some_and(|code| code.as_str().eq_ignore_ascii_case("success"))
        });
        info!(
            asg.name = image.wait.group,
            instance.id = image.wait.instance,
            image.id = image.id,
            "deregistered {} of {} and deleted its {} snapshot(s): older than IMAGE_RETENTION",
            image.id,
            image.created.format("%F"),
            deleted.len()
        );
        for result in kept {
            let snapshot = result.snapshot_id().unwrap_or_default();
            let code = result.return_code().map_or("no reason", |code| code.as_str());
            warn!(
                image.id = image.id,
                "{snapshot} of {} was not deleted: {code}; delete it by hand", image.id
            );
        }
        Ok(deleted.len())
    }
}

fn failure(what: &str, error: &Error) -> String {
    error!(error.type = error.name(), "the retention failed: {what}: {}", error.chain());
    format!("{what}: {}", error.chain())
}
