//! Images: takes the image of a wait once, a second one after a failed one, and finds them again. An image is this
//! function's if its name, its tag and its source instance say so. `name` makes its name, `tags` its tags, and `limit` counts
//! the images of a group.
//!
//! AWS calls: `ec2:CreateImage`, `ec2:DescribeImages`.

mod limit;
mod name;
mod tags;

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Config as Ec2Config;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_image::CreateImageError;
use aws_sdk_ec2::operation::describe_images::builders::DescribeImagesFluentBuilder;
use aws_sdk_ec2::types::{Filter, Image as Ec2Image, ImageState, ResourceType, TagSpecification};
use chrono::{DateTime, Utc};
use lambda_kit::aws::literal;
use lambda_kit::retry::pauses;
use lambda_kit::transient::{is_busy, is_expired, is_transient};
use lambda_kit::{Error, Invocation};
use tracing::debug;

use crate::config::Config;
use crate::image::{Image, Order, Standing, tag_value};

pub(crate) use limit::{COUNT_PERIOD, Limit, counted};

/// The time limit of one `CreateImage`, which takes a second or two, and longer with many volumes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Minimum pause before a second look: a new image can be invisible for a moment.
const MIN_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long, and at which interval, to look again for the image of a young event that EC2 does not show yet.
const FRESH_IMAGE_TIMEOUT: Duration = Duration::from_secs(3);
const FRESH_IMAGE_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum of values in one filter.
const MAX_FILTER_VALUES: usize = 200;

/// The result of taking an image.
#[derive(Debug)]
pub(crate) enum Taken {
    /// EC2 accepted the image now; its id.
    Now(String),
    /// The image was taken before.
    Before(Image),
    /// EC2 refuses the image.
    Refused(Error),
    /// EC2 says that the instance is gone.
    Gone(Error),
    /// The group had this many images within the hour.
    Full(usize),
}

/// An image that was looked up by its id.
#[derive(Debug)]
pub(crate) enum Lookup {
    Own(Image),
    /// Somebody else's, or deregistered.
    Foreign,
    /// EC2 does not know the id, or not yet.
    Unknown(Error),
}

/// The calls to EC2.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    client: Client,
    function: String,
    no_reboot: bool,
    extra_tags: Vec<(String, String)>,
}

impl Images {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        let Config { function, no_reboot, extra_tags, .. } = config.clone();
        Self { client, function, no_reboot, extra_tags }
    }

    /// All images of this function.
    pub(crate) async fn all(&self) -> Result<Vec<Image>, Error> {
        let named = filter("name", [format!("{}*", literal(name::PREFIX))]);
        self.list(vec![named, self.tagged()]).await
    }

    /// This function's images of these instances. EC2 itself says which instance an image was made of, so that the
    /// images of others cost nothing.
    pub(crate) async fn of_instances(&self, instances: &[&str]) -> Result<Vec<Image>, Error> {
        let mut images = Vec::new();
        for some in instances.chunks(MAX_FILTER_VALUES) {
            let sources = filter("source-instance-id", some.iter().map(|id| literal(id)));
            images.extend(self.list(vec![sources, self.tagged()]).await?);
        }
        Ok(images)
    }

    /// This function's images of a group that count for the hourly limit, and those that have failed; older ones of the
    /// same day too.
    pub(crate) async fn recent(&self, group: &str, now: DateTime<Utc>) -> Result<Vec<Image>, Error> {
        let named = filter("name", [format!("{}*", literal(&name::of_group(group)))]);
        let days = BTreeSet::from([now - COUNT_PERIOD, now].map(|time| format!("{}T*", time.format("%F"))));
        let images = self.list(vec![named, filter("creation-date", days), self.tagged()]).await?;
        let group = tag_value(group);
        Ok(images.into_iter().filter(|image| image.wait.group == group).collect())
    }

    /// The image of an event. EC2 can be late to show it, so that of a `young` event is looked up again.
    pub(crate) async fn find(
        &self,
        id: &str,
        is_young: bool,
        invocation: &Invocation,
    ) -> Result<Lookup, Error> {
        let limit = FRESH_IMAGE_TIMEOUT.min(invocation.time_left() / 4);
        let until = invocation.elapsed() + if is_young { limit } else { Duration::ZERO };
        loop {
            let error = match self.owned().image_ids(id).send().await {
                Ok(answer) => {
                    let own = answer.images().first().and_then(|image| self.read(image));
                    return Ok(own.map_or(Lookup::Foreign, Lookup::Own));
                }
                Err(error) => error,
            };
            match error.code() {
                Some("InvalidAMIID.NotFound") if invocation.elapsed() < until => {
                    tokio::time::sleep(FRESH_IMAGE_INTERVAL).await;
                }
                Some("InvalidAMIID.NotFound") => {
                    return Ok(Lookup::Unknown(Error::aws("DescribeImages", &error)));
                }
                Some(code) if code.starts_with("InvalidAMIID") => return Ok(Lookup::Foreign),
                _ => return Err(Error::aws("DescribeImages", &error)),
            }
        }
    }

    async fn list(&self, filters: Vec<Filter>) -> Result<Vec<Image>, Error> {
        Ok(self.described(filters).await?.iter().filter_map(|image| self.read(image)).collect())
    }

    async fn described(&self, filters: Vec<Filter>) -> Result<Vec<Ec2Image>, Error> {
        let mut pages = self.owned().set_filters(Some(filters)).into_paginator().items().send();
        let mut images = Vec::new();
        while let Some(image) = pages.next().await {
            images.push(image.map_err(|error| Error::aws("DescribeImages", &error))?);
        }
        Ok(images)
    }

    /// The images of this account. A disabled one still has its name.
    fn owned(&self) -> DescribeImagesFluentBuilder {
        self.client.describe_images().owners("self").include_disabled(true)
    }

    /// Takes the image of a wait. The caller has already looked for an earlier one. `CreateImage` has no client token,
    /// so the name prevents duplicates. After a failure that may have had an effect, a look precedes the next attempt.
    pub(crate) async fn take(&self, order: &Order, invocation: &Invocation) -> Result<Taken, Error> {
        let Order { wait, termination, failed, .. } = order;
        let mut names = name::names(wait, termination.activity.as_ref(), !failed.is_empty()).into_iter();
        let mut name = names.next().unwrap_or_default();
        for pause in pauses() {
            let error = match self.create(order, &name, invocation).await {
                Ok(id) => return Ok(Taken::Now(id)),
                Err(error) => error,
            };
            if is_gone(&error) {
                return Ok(Taken::Gone(Error::aws("CreateImage", &error)));
            }
            if error.code() == Some("InvalidAMIName.Duplicate") {
                let refusal = error.message().unwrap_or_default();
                match (self.named(&name, refusal, order, invocation.now()).await?, names.next()) {
                    (Some(first), _) => return Ok(Taken::Before(first)),
                    (None, Some(next)) => name = next,
                    (None, None) => return Ok(Taken::Refused(Error::aws("CreateImage", &error))),
                }
                continue;
            }
            let pause = pause.max(MIN_LOOK_INTERVAL);
            // A later run tries again, with other credentials, or when other work has ended.
            let passes = is_expired(&error) || is_busy(&error);
            let refused = !passes && !is_transient(&error);
            if !refused && pause > invocation.time_left() {
                return Err(Error::aws("CreateImage", &error));
            }
            // Another delivery of the event may have succeeded.
            tokio::time::sleep(pause.min(invocation.time_left() / 4)).await;
            let images = self.of_instances(&[&wait.instance]).await?;
            if let Some(first) = images.into_iter().find(|image| order.is_filled_by(image)) {
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
            if passes {
                return Err(Error::aws("CreateImage", &error));
            }
        }
        unreachable!("the pauses are endless")
    }

    async fn create(
        &self,
        order: &Order,
        name: &str,
        invocation: &Invocation,
    ) -> Result<String, SdkError<CreateImageError, HttpResponse>> {
        let Order { wait, termination, .. } = order;
        let limit = ATTEMPT_TIMEOUT.min(invocation.time_left());
        let once = Ec2Config::builder().retry_config(RetryConfig::disabled()).timeout_config(
            TimeoutConfig::builder()
                .read_timeout(limit)
                .operation_attempt_timeout(limit)
                .operation_timeout(limit)
                .build(),
        );
        let tags = tags::tags(&self.function, order, &self.extra_tags, invocation.now());
        let tagged = |resource| {
            TagSpecification::builder().resource_type(resource).set_tags(Some(tags.clone())).build()
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

    /// The image that already has the name, if it is this wait's. If it is not visible yet, it is, and EC2's refusal has
    /// its id. Its time is not known, so `IMAGE_TIMEOUT` counts from the latest time before it.
    async fn named(
        &self,
        name: &str,
        refusal: &str,
        order: &Order,
        now: DateTime<Utc>,
    ) -> Result<Option<Image>, Error> {
        let named = self.described(vec![filter("name", [literal(name)])]).await?.into_iter().next();
        let Some(named) = named else {
            // A group's name, and so the image's, can contain what looks like an id. The id is the last word.
            let last = refusal.split_whitespace().last().unwrap_or_default();
            let id = if last.starts_with("ami-") { last } else { "" };
            let began = order.termination.activity.as_ref().map(|activity| activity.began);
            return Ok(Some(Image {
                id: id.to_owned(),
                standing: Standing::Pending,
                reason: None,
                created: order.failed.last().map(|failed| failed.created).or(began).unwrap_or(now),
                wait: order.wait.clone(),
            }));
        };
        Ok(self.read(&named).filter(|image| order.is_filled_by(image)))
    }

    /// Reads an image. `None` if it is not this function's.
    fn read(&self, image: &Ec2Image) -> Option<Image> {
        let wait = tags::wait(image, &self.function)?;
        let is_own = image.source_instance_id() == Some(&wait.instance)
            && image.name().is_some_and(|name| name::is_of(name, &wait));
        let created = image.creation_date().and_then(time).or_else(|| tags::time(image).and_then(time));
        Some(Image {
            id: image.image_id()?.to_owned(),
            standing: Standing::of(image),
            reason: reason(image),
            created: created?,
            wait,
        })
        .filter(|_| is_own)
    }

    /// Only images that say they are this function's. That alone proves nothing.
    fn tagged(&self) -> Filter {
        filter(&format!("tag:{}", tags::FUNCTION), [literal(&self.function)])
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

/// Whether there is nothing left to take an image of. For some states EC2 has only a text.
fn is_gone(error: &SdkError<CreateImageError, HttpResponse>) -> bool {
    match error.code() {
        Some("InvalidInstanceID.NotFound" | "IncorrectState" | "IncorrectInstanceState") => true,
        Some("InvalidParameterValue") => {
            error.message().is_some_and(|message| message.contains("Instance is not in state"))
        }
        _ => false,
    }
}

fn filter(name: &str, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}
