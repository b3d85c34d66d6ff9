//! Finds the newest backup image of an instance in this account.
//!
//! AWS call: `ec2:DescribeImages`.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{DeviceType, Filter, Image as Ec2Image, ImageState};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lambda_kit::aws::literal;
use lambda_kit::{Error, Invocation};

use crate::error::Refusal;
use crate::order::{Announced, Order};

/// Images per page. EC2's maximum of 1,000 would be some megabytes at once. An instance rarely has more than 200
/// backups, so nearly every search takes one call.
const PAGE_SIZE: i32 = 200;

/// Maximum age of an event whose image EC2 may not show yet.
const MAX_YOUNG_EVENT_AGE: TimeDelta = TimeDelta::seconds(30);

/// An image from which instances can be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// Whether it is past its deprecation date.
    pub deprecated: bool,
    /// `x86_64`, `arm64` …; empty if EC2 does not return it.
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization: String,
    /// Whether its root device is in the instance store, not in EBS.
    pub in_instance_store: bool,
    /// The name of its root device.
    pub root: String,
    /// Its EBS devices: their names, and the size of their snapshots in GiB.
    pub devices: Vec<(String, i32)>,
}

impl Image {
    /// Reads an image. `None` if it is not available, has another `Name` tag, or its name has none of the prefixes.
    pub fn read(image: &Ec2Image, instance: &str, prefixes: &[String], now: DateTime<Utc>) -> Option<Self> {
        let name = image.name()?;
        let is_tagged =
            image.tags().iter().any(|tag| tag.key() == Some("Name") && tag.value() == Some(instance));
        let is_backup = prefixes.iter().any(|prefix| name.starts_with(prefix));
        if !is_tagged || !is_backup || image.state() != Some(&ImageState::Available) {
            return None;
        }
        let devices = image.block_device_mappings().iter().filter_map(|mapping| {
            Some((mapping.device_name()?.to_owned(), mapping.ebs()?.volume_size().unwrap_or_default()))
        });
        Some(Self {
            id: image.image_id()?.to_owned(),
            name: name.to_owned(),
            created: image.creation_date().and_then(time)?,
            deprecated: image.deprecation_time().and_then(time).is_some_and(|from| from <= now),
            architecture: image.architecture().map(|one| one.as_str().to_owned()).unwrap_or_default(),
            virtualization: image
                .virtualization_type()
                .map(|one| one.as_str().to_owned())
                .unwrap_or_default(),
            in_instance_store: image.root_device_type() == Some(&DeviceType::InstanceStore),
            root: image.root_device_name().unwrap_or_default().to_owned(),
            devices: devices.collect(),
        })
    }

    /// The creation time as text.
    pub fn time(&self) -> String {
        self.created.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// The newer of two images. A deprecated image loses against one that is not. If both times are equal, the ids
/// decide, so that two runs agree.
pub fn newer(one: Image, other: Image) -> Image {
    let rank = |image: &Image| (!image.deprecated, image.created.timestamp(), image.id.clone());
    if rank(&other) > rank(&one) { other } else { one }
}

/// Refuses an image that is older than `max_age`.
///
/// # Errors
/// [`Refusal::StaleImage`].
pub fn check_age(image: &Image, max_age: Option<Duration>, now: DateTime<Utc>) -> Result<(), Refusal> {
    let age = (now - image.created).to_std().unwrap_or_default();
    match max_age.filter(|max_age| age > *max_age) {
        None => Ok(()),
        Some(max_age) => Err(Refusal::StaleImage(format!(
            "the newest image, {} ({}), was created at {}, {} ago. Its maximum age is {}: check why the backups have stopped",
            image.id,
            image.name,
            image.time(),
            hours(age),
            hours(max_age)
        ))),
    }
}

fn hours(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    format!("{} h {} min", minutes / 60, minutes % 60)
}

/// `DescribeImages` is eventually consistent: retry for this long, at this interval, if a recent event names an image
/// that EC2 does not return yet.
const NOT_SHOWN_RETRY_TIMEOUT: Duration = Duration::from_secs(3);
const NOT_SHOWN_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The image of an event.
#[derive(Debug)]
pub(crate) enum EventImage {
    /// A backup of the order's instance.
    Wanted(Image),
    /// Another image, or none; with the reason.
    Other(String),
}

/// The calls to EC2.
#[derive(Debug, Clone)]
pub(crate) struct Images(Client);

impl Images {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The image of an event. If the event is young and EC2 still shows the image as pending, this is an error, and
    /// Lambda retries the event.
    pub(crate) async fn announced(
        &self,
        announced: &Announced,
        order: &Order,
        invocation: &Invocation,
    ) -> Result<EventImage, Error> {
        let id = &announced.id;
        let now = invocation.now();
        let retry_until = invocation.elapsed() + NOT_SHOWN_RETRY_TIMEOUT.min(invocation.time_left() / 4);
        let image = loop {
            let image = match self.0.describe_images().owners("self").image_ids(id).send().await {
                Ok(answer) => answer.images.unwrap_or_default().pop(),
                Err(error) if error.code().is_some_and(|code| code.starts_with("InvalidAMIID")) => None,
                Err(error) => return Err(Error::aws("DescribeImages", &error)),
            };
            let may_come = image.is_none() && now - announced.time < MAX_YOUNG_EVENT_AGE;
            if !may_come || invocation.elapsed() > retry_until {
                break image;
            }
            tokio::time::sleep(NOT_SHOWN_RETRY_INTERVAL).await;
        };
        let is_pending = image.as_ref().is_some_and(|image| image.state() == Some(&ImageState::Pending));
        if is_pending && now - announced.time < MAX_YOUNG_EVENT_AGE {
            return Err(Error::Timeout(format!(
                "{id} is still pending although its event says it is available"
            )));
        }
        let wanted =
            image.and_then(|image| Image::read(&image, &order.instance, &order.settings.prefixes, now));
        Ok(wanted.map_or_else(
            || EventImage::Other(format!("{id} is not an available backup of {:?}", order.instance)),
            EventImage::Wanted,
        ))
    }

    /// The newest image for the order, of all pages and of `known`, which EC2 may not list yet.
    pub(crate) async fn newest(
        &self,
        order: &Order,
        known: Option<Image>,
        invocation: &Invocation,
    ) -> Result<Image, Error> {
        let prefixes = &order.settings.prefixes;
        let names = prefixes.iter().map(|prefix| literal(prefix) + "*");
        let request = self.0.describe_images().owners("self").filters(filter("state", ["available"]));
        let request = request.filters(filter("tag:Name", [literal(&order.instance)]));
        let mut pages =
            request.filters(filter("name", names)).max_results(PAGE_SIZE).into_paginator().items().send();
        let mut newest = known;
        while let Some(image) = pages.next().await {
            let image = image.map_err(|error| Error::aws("DescribeImages", &error))?;
            if let Some(image) = Image::read(&image, &order.instance, prefixes, invocation.now()) {
                newest = Some(match newest {
                    Some(newest) => newer(newest, image),
                    None => image,
                });
            }
        }
        newest.ok_or_else(|| {
            Refusal::NoImageFound(format!(
                "this account has no available image whose tag Name is {:?} and whose name begins with {} (case-sensitive)",
                order.instance,
                prefixes.join(" or ")
            ))
            .into()
        })
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// A filter for EC2's `Describe…` calls that matches any of these values.
pub(crate) fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    let values = values.into_iter().map(Into::into).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}
