//! Images: takes the image of a wait once and finds it again. `name` makes its name, `tags` its tags.
//!
//! AWS calls: `ec2:CreateImage`, `ec2:DescribeImages`.

mod name;
mod tags;

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Config as Ec2Config;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_image::CreateImageError;
use aws_sdk_ec2::types::{Filter, Image as Ec2Image, ImageState, ResourceType, Tag, TagSpecification};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::aws::literal;
use lambda_kit::retry::pauses;
use lambda_kit::transient::is_transient;
use lambda_kit::{Error, Invocation};
use lifecycle_core::Wait;
use tracing::debug;

use crate::cause::Termination;

/// Maximum clock skew between a wait and its image, whose times come from different services. An image that looks
/// this much older than a wait may belong to it.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// The time limit of one `CreateImage`, which takes a second or two, and longer with many volumes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Minimum pause before a second look: a new image can be invisible for a moment.
const MIN_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The state of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Pending,
    Ready,
    Failed,
}

/// An image that this function made.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) standing: Standing,
    /// Why the image failed, in EC2's words.
    pub(crate) reason: Option<String>,
    pub(crate) created: DateTime<Utc>,
    /// The wait that the image was taken for. Without a token if the sweep took it.
    pub(crate) wait: Wait,
}

impl Image {
    /// Whether this is the image of `wait`, which did not begin before `began`: the tokens are equal, or, if either
    /// token is unknown, group and hook are equal and the image is not older than the wait.
    pub(crate) fn belongs_to(&self, wait: &Wait, began: DateTime<Utc>) -> bool {
        let same_token = match (&self.wait.token, &wait.token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.created >= began - MAX_CLOCK_SKEW,
        };
        let named = |wait: &Wait| [&wait.group, &wait.hook, &wait.instance].map(|name| tags::value(name));
        same_token && named(&self.wait) == named(wait)
    }
}

/// The result of taking an image.
#[derive(Debug)]
pub(crate) enum Taken {
    /// EC2 accepted the image now; its id.
    Now(String),
    /// The image was taken before.
    Before(Image),
    /// EC2 refuses the image.
    Refused(Error),
}

/// The calls to EC2.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    client: Client,
    function: String,
    no_reboot: bool,
}

impl Images {
    pub(crate) fn new(client: Client, function: &str, no_reboot: bool) -> Self {
        Self { client, function: function.to_owned(), no_reboot }
    }

    /// All images of this function.
    pub(crate) async fn all(&self) -> Result<Vec<Image>, Error> {
        self.list(filter("tag-key", tags::INSTANCE)).await
    }

    /// The images of one group.
    pub(crate) async fn of_group(&self, group: &str) -> Result<Vec<Image>, Error> {
        let group = tags::value(group);
        let images = self.list(filter(&format!("tag:{}", tags::GROUP), &literal(&group))).await?;
        Ok(images.into_iter().filter(|image| image.wait.group == group).collect())
    }

    /// One image. `None` if it is not this function's or is gone.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Image>, Error> {
        match self.client.describe_images().owners("self").image_ids(id).send().await {
            Ok(answer) => Ok(answer.images().first().and_then(|image| self.read(image))),
            Err(error) if error.code().is_some_and(|code| code.starts_with("InvalidAMIID")) => Ok(None),
            Err(error) => Err(Error::aws("DescribeImages", &error)),
        }
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Image>, Error> {
        Ok(self.described(filter).await?.iter().filter_map(|image| self.read(image)).collect())
    }

    async fn described(&self, filter: Filter) -> Result<Vec<Ec2Image>, Error> {
        let request = self.client.describe_images().owners("self").filters(filter);
        let mut pages = request.into_paginator().items().send();
        let mut images = Vec::new();
        while let Some(image) = pages.next().await {
            images.push(image.map_err(|error| Error::aws("DescribeImages", &error))?);
        }
        Ok(images)
    }

    /// Takes the image of `wait`, which did not begin before `began`. The caller has already looked for an earlier
    /// one. `CreateImage` has no client token, so the name prevents duplicates. After a failure that may have had an
    /// effect, a look precedes the next attempt.
    pub(crate) async fn take(
        &self,
        wait: &Wait,
        began: DateTime<Utc>,
        termination: &Termination,
        template: Option<&str>,
        invocation: &Invocation,
    ) -> Result<Taken, Error> {
        let tags = tags::tags(&self.function, wait, termination, template, invocation.now());
        let mut names = name::names(wait, termination.activity.as_ref()).into_iter();
        let mut name = names.next().unwrap_or_default();
        for pause in pauses() {
            let error = match self.create(wait, &name, termination, &tags, invocation).await {
                Ok(id) => return Ok(Taken::Now(id)),
                Err(error) => error,
            };
            if error.code() == Some("InvalidAMIName.Duplicate") {
                let first = self.named(&name, error.message().unwrap_or_default(), wait, invocation).await?;
                match names.next() {
                    Some(next) if !first.belongs_to(wait, began) => name = next,
                    _ => return Ok(Taken::Before(first)),
                }
                continue;
            }
            let pause = pause.max(MIN_LOOK_INTERVAL);
            let refused = !is_transient(&error) && !is_snapshot_limit(&error);
            if !refused && pause > invocation.time_left() {
                return Err(Error::aws("CreateImage", &error));
            }
            // Another delivery of the event may have succeeded.
            tokio::time::sleep(pause.min(invocation.time_left() / 4)).await;
            let images = self.of_group(&wait.group).await?;
            if let Some(first) = images.into_iter().find(|image| image.belongs_to(wait, began)) {
                debug!(
                    instance.id = wait.instance,
                    image.id = first.id,
                    "{}: {} was requested, although this run got no answer",
                    wait.instance,
                    first.id
                );
                return Ok(Taken::Before(first));
            }
            if refused {
                return Ok(Taken::Refused(Error::aws("CreateImage", &error)));
            }
        }
        unreachable!("the pauses are endless")
    }

    async fn create(
        &self,
        wait: &Wait,
        name: &str,
        termination: &Termination,
        tags: &[Tag],
        invocation: &Invocation,
    ) -> Result<String, SdkError<CreateImageError, HttpResponse>> {
        let limit = ATTEMPT_TIMEOUT.min(invocation.time_left());
        let once = Ec2Config::builder().retry_config(RetryConfig::disabled()).timeout_config(
            TimeoutConfig::builder()
                .read_timeout(limit)
                .operation_attempt_timeout(limit)
                .operation_timeout(limit)
                .build(),
        );
        let tagged = |resource| {
            TagSpecification::builder().resource_type(resource).set_tags(Some(tags.to_vec())).build()
        };
        let create = self.client.create_image().instance_id(&wait.instance).name(name);
        let answer = create
            .description(format!("Taken before {} was terminated: {}", wait.instance, termination.cause))
            .no_reboot(self.no_reboot)
            .tag_specifications(tagged(ResourceType::Image))
            .tag_specifications(tagged(ResourceType::Snapshot))
            .customize()
            .config_override(once)
            .send()
            .await?;
        Ok(answer.image_id.unwrap_or_default())
    }

    /// The image that already has the name. If its tags don't identify the wait, it counts as an image without a
    /// token, and its creation time shows whether it belongs to this wait or to an earlier one of the instance. If it
    /// is not visible yet, it is this wait's, and EC2's refusal has its id.
    async fn named(
        &self,
        name: &str,
        refusal: &str,
        wait: &Wait,
        invocation: &Invocation,
    ) -> Result<Image, Error> {
        let named = self.described(filter("name", &literal(name))).await?.into_iter().next();
        let Some(named) = named else {
            let in_id = |c: char| c == '-' || c.is_ascii_alphanumeric();
            let id = refusal.split(|c| !in_id(c)).find(|word| word.starts_with("ami-")).unwrap_or_default();
            return Ok(Image {
                id: id.to_owned(),
                standing: Standing::Pending,
                reason: None,
                created: invocation.now(),
                wait: wait.clone(),
            });
        };
        Ok(self.read(&named).unwrap_or_else(|| Image {
            id: named.image_id().unwrap_or_default().to_owned(),
            standing: Standing::of(&named),
            reason: reason(&named),
            created: named.creation_date().and_then(time).unwrap_or(invocation.now()),
            wait: Wait { token: None, ..wait.clone() },
        }))
    }

    /// Reads an image. `None` if it is not this function's.
    fn read(&self, image: &Ec2Image) -> Option<Image> {
        let wait = tags::wait(image, &self.function)?;
        let created = image.creation_date().and_then(time).or_else(|| tags::time(image).and_then(time));
        Some(Image {
            id: image.image_id()?.to_owned(),
            standing: Standing::of(image),
            reason: reason(image),
            created: created?,
            wait,
        })
    }
}

impl Standing {
    fn of(image: &Ec2Image) -> Self {
        match image.state() {
            Some(ImageState::Pending | ImageState::Transient) => Self::Pending,
            Some(ImageState::Available | ImageState::Disabled) => Self::Ready,
            _ => Self::Failed,
        }
    }
}

fn reason(image: &Ec2Image) -> Option<String> {
    image.state_reason().and_then(|reason| reason.message()).map(str::to_owned)
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// Limits of EBS that end within a minute. EC2 returns them as refusals (HTTP 400).
/// <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-creating-snapshot.html>
fn is_snapshot_limit(error: &SdkError<CreateImageError, HttpResponse>) -> bool {
    let limits = [
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
    ];
    error.code().is_some_and(|code| limits.contains(&code))
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}
