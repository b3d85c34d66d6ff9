//! Finds the newest image for an order: a backup of an instance, an image with certain tags, or the image that an SSM
//! parameter names.
//!
//! AWS calls: `ec2:DescribeImages`, `ssm:GetParameter`.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::operation::describe_images::builders::DescribeImagesFluentBuilder;
use aws_sdk_ec2::types::{DeviceType, Filter, Image as Ec2Image, ImageState};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lambda_kit::aws::literal;
use lambda_kit::error::cut;
use lambda_kit::{Error, Invocation};

use crate::config::{ImageSource, Settings};
use crate::error::Refusal;
use crate::order::{Announced, Order};

/// Images per page. EC2's maximum of 1,000 would be some megabytes at once. An instance rarely has more than 200
/// backups, so nearly every search takes one call.
const PAGE_SIZE: i32 = 200;

/// Maximum age of an event whose image EC2 may not show yet.
const MAX_YOUNG_EVENT_AGE: TimeDelta = TimeDelta::seconds(30);

/// The tag that AWS Backup gives to its images. Keys that begin with `aws:` are reserved: nobody else can write it.
const BACKUP_TAG: &str = "aws:backup:source-resource";

/// Images of two instances count as rivals if less than this lies between their newest ones: weekly backups of two
/// instances do, those of an instance and of the one that it replaced long ago do not.
const RIVALRY: TimeDelta = TimeDelta::days(8);

/// An image from which instances can be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The instance that it was made of, if known.
    pub instance: Option<String>,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// Whether it is past its deprecation date.
    pub deprecated: bool,
    /// `x86_64`, `arm64` …; empty if EC2 does not return it.
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization: String,
    /// `legacy-bios`, `uefi` or `uefi-preferred`, if it demands one.
    pub boot_mode: Option<String>,
    /// Whether it supports enhanced networking with ENA, if it says so.
    pub ena: Option<bool>,
    /// `ebs` or `instance-store`.
    pub root_type: String,
    /// The name of its root device.
    pub root: String,
    /// Its EBS devices.
    pub devices: Vec<Device>,
}

/// An EBS device of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The size of its snapshot in GiB.
    pub size: i32,
    /// Whether its snapshot is encrypted.
    pub encrypted: bool,
}

impl Image {
    /// Reads an image. `None` if it is not available or not what the settings ask for.
    pub fn read(image: &Ec2Image, settings: &Settings, now: DateTime<Utc>) -> Option<Self> {
        let image = Self::available(image, now).filter(|_| is_asked_for(image, settings))?;
        let instance = settings.source_instance.as_ref();
        instance.is_none_or(|instance| image.instance.as_ref() == Some(instance)).then_some(image)
    }

    /// Reads an image, if it is available.
    fn available(image: &Ec2Image, now: DateTime<Utc>) -> Option<Self> {
        if image.state() != Some(&ImageState::Available) {
            return None;
        }
        let devices = image.block_device_mappings().iter().filter_map(|mapping| {
            let ebs = mapping.ebs()?;
            Some(Device {
                name: mapping.device_name()?.to_owned(),
                size: ebs.volume_size().unwrap_or_default(),
                encrypted: ebs.encrypted() == Some(true),
            })
        });
        Some(Self {
            id: image.image_id()?.to_owned(),
            name: image.name().unwrap_or_default().to_owned(),
            instance: instance_of(image),
            created: image.creation_date().and_then(time)?,
            deprecated: image.deprecation_time().and_then(time).is_some_and(|from| from <= now),
            architecture: image.architecture().map(|one| one.as_str().to_owned()).unwrap_or_default(),
            virtualization: image
                .virtualization_type()
                .map(|one| one.as_str().to_owned())
                .unwrap_or_default(),
            boot_mode: image.boot_mode().map(|mode| mode.as_str().to_owned()),
            ena: image.ena_support(),
            root_type: image.root_device_type().map(DeviceType::as_str).unwrap_or_default().to_owned(),
            root: image.root_device_name().unwrap_or_default().to_owned(),
            devices: devices.collect(),
        })
    }

    /// The creation time as text.
    pub fn time(&self) -> String {
        self.created.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// Whether the tags and the name of an image are what the settings ask for.
fn is_asked_for(image: &Ec2Image, settings: &Settings) -> bool {
    let has = |key: &str, value: &str| {
        image.tags().iter().any(|tag| tag.key() == Some(key) && tag.value().unwrap_or_default() == value)
    };
    let prefixes = settings.prefixes();
    let name = image.name().unwrap_or_default();
    settings.instance.as_ref().is_none_or(|instance| has("Name", instance))
        && settings.image_tags.iter().all(|(key, value)| has(key, value))
        && (prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix)))
        && (settings.image_source != ImageSource::AwsBackup || is_backup(image))
}

fn is_backup(image: &Ec2Image) -> bool {
    image.tags().iter().any(|tag| tag.key() == Some(BACKUP_TAG))
}

/// The instance that an image was made of: as EC2 says, or, of a backup of which it does not, as the name says, such
/// as `AwsBackup_i-0123456789abcdef0_2f5c…`.
fn instance_of(image: &Ec2Image) -> Option<String> {
    let named = || {
        let mut parts = image.name()?.split('_').filter(|_| is_backup(image));
        parts.find(|part| part.starts_with("i-")).map(str::to_owned)
    };
    image.source_instance_id().filter(|id| !id.is_empty()).map(str::to_owned).or_else(named)
}

/// A warning about an image of another instance that is hardly older than the newest image. `others` are the newest
/// images of each instance.
pub fn rivals(newest: &Image, others: &BTreeMap<String, Image>) -> Option<String> {
    let instance = newest.instance.as_ref()?;
    let rivals =
        others.iter().filter(|(other, image)| *other != instance && newest.created - image.created < RIVALRY);
    let listed: Vec<_> =
        rivals.map(|(other, image)| format!("{other} ({}, {})", image.id, image.time())).collect();
    (!listed.is_empty()).then(|| {
        format!(
            "images of more than one instance fit: the newest is of {instance} ({}, {}), others are of {}; set \
             SOURCE_INSTANCE_ID",
            newest.id,
            newest.time(),
            listed.join(", ")
        )
    })
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
    /// One that the order asks for.
    Wanted(Box<Image>),
    /// Another image, or none; with the reason.
    Other(String),
}

/// The calls to EC2 and Systems Manager.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    ec2: Client,
    ssm: aws_sdk_ssm::Client,
}

impl Images {
    pub(crate) fn new(ec2: Client, ssm: aws_sdk_ssm::Client) -> Self {
        Self { ec2, ssm }
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
            let image = described(self.ec2.describe_images().owners("self"), id).await?;
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
        let wanted = image.and_then(|image| Image::read(&image, &order.settings, now));
        let other = || format!("{id} is not an available image {}", asked_for(&order.settings));
        Ok(wanted.map_or_else(|| EventImage::Other(other()), |image| EventImage::Wanted(Box::new(image))))
    }

    /// The newest image for the order, and warnings about it.
    pub(crate) async fn newest(
        &self,
        order: &Order,
        known: Option<Image>,
        invocation: &Invocation,
    ) -> Result<(Image, Vec<String>), Error> {
        match &order.settings.image_source {
            ImageSource::Parameter(name) => self.of_parameter(name, invocation).await,
            _ => self.newest_own(&order.settings, known, invocation).await,
        }
    }

    /// The newest own image, of all pages and of `known`, which EC2 may not list yet.
    async fn newest_own(
        &self,
        settings: &Settings,
        known: Option<Image>,
        invocation: &Invocation,
    ) -> Result<(Image, Vec<String>), Error> {
        let mut request = self.ec2.describe_images().owners("self").filters(filter("state", ["available"]));
        if settings.image_source == ImageSource::AwsBackup {
            request = request.filters(filter("tag-key", [BACKUP_TAG]));
        }
        let name = settings.instance.iter().map(|instance| ("Name", instance.as_str()));
        let tags = settings.image_tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in name.chain(tags) {
            request = request.filters(filter(&format!("tag:{key}"), [literal(value)]));
        }
        let prefixes = settings.prefixes();
        if !prefixes.is_empty() {
            request = request.filters(filter("name", prefixes.iter().map(|prefix| literal(prefix) + "*")));
        }
        let mut pages = request.max_results(PAGE_SIZE).into_paginator().items().send();
        let mut newest: Option<Image> = None;
        let mut of_instances: BTreeMap<String, Image> = BTreeMap::new();
        let mut add = |image: Image| {
            if let Some(instance) = &image.instance {
                let of_instance = match of_instances.remove(instance) {
                    Some(other) => newer(other, image.clone()),
                    None => image.clone(),
                };
                of_instances.insert(instance.clone(), of_instance);
            }
            newest = Some(match newest.take() {
                Some(newest) => newer(newest, image),
                None => image,
            });
        };
        known.into_iter().for_each(&mut add);
        while let Some(image) = pages.next().await {
            let image = image.map_err(|error| Error::aws("DescribeImages", &error))?;
            Image::read(&image, settings, invocation.now()).into_iter().for_each(&mut add);
        }
        let newest = newest.ok_or_else(|| {
            let asked_for = asked_for(settings);
            Refusal::NoImageFound(format!("this account has no available image {asked_for} (case-sensitive)"))
        })?;
        let warnings = rivals(&newest, &of_instances).into_iter().collect();
        Ok((newest, warnings))
    }

    /// The image that an SSM parameter names.
    async fn of_parameter(&self, name: &str, invocation: &Invocation) -> Result<(Image, Vec<String>), Error> {
        let parameter = self.ssm.get_parameter().name(name).send().await;
        let parameter = parameter.map_err(|error| Error::aws("GetParameter", &error))?.parameter;
        let value = parameter.and_then(|parameter| parameter.value).unwrap_or_default();
        let id = value.trim();
        let unusable = |why: &str| -> Error {
            let value = cut(id);
            Refusal::UnusableTemplate(vec![format!("the parameter {name} names {value:?}, {why}")]).into()
        };
        if !id.strip_prefix("ami-").is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Err(unusable("which is not the id of an image"));
        }
        let request = self.ec2.describe_images().include_deprecated(true);
        let image = described(request.clone(), id).await?;
        let read = image.as_ref().and_then(|image| Image::available(image, invocation.now()));
        let read = read.ok_or_else(|| unusable("which is no available image that this account may use"))?;
        // In audit mode EC2 shows such images, and launches them. Own ones are never restricted.
        let is_disallowed = image.is_some_and(|image| image.image_allowed() == Some(false))
            && described(request.owners("self"), id).await?.is_none();
        let warning = format!(
            "{id} is not among the account's allowed images: no instance launches from it once Allowed AMIs are enforced"
        );
        Ok((read, is_disallowed.then_some(warning).into_iter().collect()))
    }
}

/// The image of this id, if the request finds it.
async fn described(request: DescribeImagesFluentBuilder, id: &str) -> Result<Option<Ec2Image>, Error> {
    match request.image_ids(id).send().await {
        Ok(answer) => Ok(answer.images.unwrap_or_default().pop()),
        Err(error) if error.code().is_some_and(|code| code.starts_with("InvalidAMIID")) => Ok(None),
        Err(error) => Err(Error::aws("DescribeImages", &error)),
    }
}

/// Which images the settings ask for: `whose tag Name is "web" and whose name begins with AwsBackup_`.
fn asked_for(settings: &Settings) -> String {
    let mut conditions = Vec::new();
    if settings.image_source == ImageSource::AwsBackup {
        conditions.push(format!("with AWS Backup's tag {BACKUP_TAG}"));
    }
    let name = settings.instance.iter().map(|instance| ("Name", instance));
    let tags = settings.image_tags.iter().map(|(key, value)| (key.as_str(), value));
    conditions.extend(name.chain(tags).map(|(key, value)| format!("whose tag {key} is {value:?}")));
    conditions.extend(settings.source_instance.iter().map(|instance| format!("of the instance {instance}")));
    let prefixes = settings.prefixes();
    if !prefixes.is_empty() {
        conditions.push(format!("whose name begins with {}", prefixes.join(" or ")));
    }
    conditions.join(" and ")
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// A filter for EC2's `Describe…` calls that matches any of these values.
pub(crate) fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    let values = values.into_iter().map(Into::into).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}
