//! Images: the newest backup of an instance, found among all of this account's. AWS call:
//! `ec2:DescribeImages`.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{DeviceType, Filter, Image as Ec2Image, ImageState};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lifecycle_core::filter::literal;
use lifecycle_core::{Error, Invocation};

use crate::order::{Announced, Order};

/// Images of one page. A page of EC2's largest, 1,000, would be some megabytes at once; an instance rarely
/// has more than this many backups, so nearly every search is one call.
const PAGE: i32 = 200;

/// News of an image that is younger than this may be ahead of what EC2 tells about it.
const YOUNG: TimeDelta = TimeDelta::seconds(30);

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
    /// `x86_64`, `arm64` …; empty where EC2 does not say it.
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
    /// Reads an image as EC2 describes it; `None` where instances can't be launched from it, or it has not
    /// this `Name` tag, or no name that begins with one of these prefixes.
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

    /// When it was created, for people.
    pub fn time(&self) -> String {
        self.created.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// The newer of two images; one that is deprecated only where the other one is too. The id decides between
/// two of the same moment, so that two runs agree.
pub fn newer(one: Image, other: Image) -> Image {
    let rank = |image: &Image| (!image.deprecated, image.created.timestamp(), image.id.clone());
    if rank(&other) > rank(&one) { other } else { one }
}

/// Refuses an image that is older than `longest`.
///
/// # Errors
/// [`Error::StaleImage`].
pub fn check_age(image: &Image, longest: Option<Duration>, now: DateTime<Utc>) -> Result<(), Error> {
    let age = (now - image.created).to_std().unwrap_or_default();
    match longest.filter(|longest| age > *longest) {
        None => Ok(()),
        Some(longest) => Err(Error::StaleImage(format!(
            "the newest image, {} ({}), was created at {}, {} ago, and may be {} old: see why the backups have stopped",
            image.id,
            image.name,
            image.time(),
            hours(age),
            hours(longest)
        ))),
    }
}

fn hours(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    format!("{} h {} min", minutes / 60, minutes % 60)
}

/// How long, and after which pauses, an image is asked for again that its young event tells of and EC2 does
/// not show yet: a fresh image can be invisible for a moment.
const ASK_AGAIN_FOR: Duration = Duration::from_secs(3);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What the image is, whose news woke the function.
#[derive(Debug)]
pub(crate) enum News {
    /// One that the order is about.
    Wanted(Image),
    /// Another one, or none any more; why.
    Other(String),
}

/// Looks for images.
#[derive(Debug, Clone)]
pub(crate) struct Images(Client);

impl Images {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// The image that was announced. One that EC2 still shows as pending is an error as long as its event is
    /// young: then the event is run again.
    pub(crate) async fn announced(
        &self,
        announced: &Announced,
        order: &Order,
        invocation: &Invocation,
    ) -> Result<News, Error> {
        let id = &announced.id;
        let now = invocation.now();
        let ask_again_until = invocation.elapsed() + ASK_AGAIN_FOR.min(invocation.time_left() / 4);
        let image = loop {
            let image = match self.0.describe_images().owners("self").image_ids(id).send().await {
                Ok(answer) => answer.images.unwrap_or_default().pop(),
                Err(error) if error.code().is_some_and(|code| code.starts_with("InvalidAMIID")) => None,
                Err(error) => return Err(Error::aws("DescribeImages", &error)),
            };
            let may_come = image.is_none() && now - announced.time < YOUNG;
            if !may_come || invocation.elapsed() > ask_again_until {
                break image;
            }
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        };
        let is_pending = image.as_ref().is_some_and(|image| image.state() == Some(&ImageState::Pending));
        if is_pending && now - announced.time < YOUNG {
            return Err(Error::Timeout(format!(
                "{id} is still pending although its event says it is available"
            )));
        }
        let wanted =
            image.and_then(|image| Image::read(&image, &order.instance, &order.settings.prefixes, now));
        Ok(wanted.map_or_else(
            || News::Other(format!("{id} is not an available backup of {:?}", order.instance)),
            News::Wanted,
        ))
    }

    /// The newest image that an order is about, of all pages and of `known`, which may be too fresh to be
    /// listed.
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
            request.filters(filter("name", names)).max_results(PAGE).into_paginator().items().send();
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
            Error::NoImageFound(format!(
                "this account has no available image whose tag Name is {:?} and whose name begins with {} (upper and \
                 lower case matter)",
                order.instance,
                prefixes.join(" or ")
            ))
        })
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// A filter of EC2's `Describe…` calls: one of these values.
pub(crate) fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    let values = values.into_iter().map(Into::into).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}
