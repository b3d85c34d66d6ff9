//! Images: taking one for a wait, once, and finding it again by its tags. AWS calls: `ec2:CreateImage`,
//! `ec2:DescribeImages`.

use std::iter;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Config as Ec2Config;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::create_image::CreateImageError;
use aws_sdk_ec2::types::{Filter, Image as Ec2Image, ImageState, ResourceType, Tag, TagSpecification};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lifecycle_core::action::{is_transient, pauses};
use lifecycle_core::filter::literal;
use lifecycle_core::waits::Activity;
use lifecycle_core::{Error, Invocation, Wait};
use sha2::{Digest, Sha256};
use tracing::info;

use crate::cause::Cause;

/// Tags of the contract, on every image and its snapshots.
pub(crate) const GROUP: &str = "lifecycle/group";
pub(crate) const HOOK: &str = "lifecycle/hook";
pub(crate) const INSTANCE: &str = "lifecycle/instance";
const ACTION: &str = "lifecycle/action";
const CAUSE: &str = "lifecycle/cause";
const CAUSE_TEXT: &str = "lifecycle/cause-text";
const TIME: &str = "lifecycle/time";

/// The launch template and version that the instance was launched from: `lt-0123:7`.
const LAUNCH_TEMPLATE_VERSION: &str = "lifecycle/launch-template-version";

/// The deployed function that took the image, so that two of them in one account leave each other's
/// images alone.
const FUNCTION: &str = "lifecycle/function";

/// EC2's limit of a tag's value, in characters.
const TAG_VALUE: usize = 256;

/// Characters of a group's name and of an instance's id in an image's name. With the mark in front and
/// the hash behind, the name stays below EC2's limit of 128.
const NAME_PART: usize = 45;

/// Times of images and of waits come from different services: an image made up to this long before a
/// wait began may be the wait's own.
const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(2);

/// One attempt's limit for `CreateImage`, which takes a second or two, and longer with many volumes.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The shortest pause before a second look: a fresh image can be invisible for a moment.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Where an image stands.
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
    /// Why it failed, in EC2's words.
    pub(crate) reason: Option<String>,
    pub(crate) created: DateTime<Utc>,
    /// The wait that it was taken in; without a token where the sweep took it.
    pub(crate) wait: Wait,
}

impl Image {
    /// Whether this is the image of `wait`, which did not begin before `began`: the same token; or, where
    /// one of the two does not know it, the same group and hook, and not from before the wait.
    pub(crate) fn belongs_to(&self, wait: &Wait, began: DateTime<Utc>) -> bool {
        let same_token = match (&self.wait.token, &wait.token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.created >= began - CLOCK_SLACK,
        };
        let named = |wait: &Wait| [&wait.group, &wait.hook, &wait.instance].map(|name| tag_value(name));
        same_token && named(&self.wait) == named(wait)
    }
}

/// Why an instance dies, as far as its group's scaling activities tell.
#[derive(Debug, Clone)]
pub(crate) struct Death {
    pub(crate) cause: Cause,
    pub(crate) activity: Option<Activity>,
}

impl Death {
    /// What the activity says; without one the cause is unknown.
    pub(crate) fn of(activity: Option<Activity>) -> Self {
        let cause = activity.as_ref().map_or(Cause::Unknown, |activity| Cause::of(&activity.cause));
        Self { cause, activity }
    }

    /// AWS's own text.
    pub(crate) fn text(&self) -> &str {
        self.activity.as_ref().map_or("", |activity| &activity.cause)
    }
}

/// How an image stands that should have been taken.
#[derive(Debug)]
pub(crate) enum Taken {
    /// EC2 accepted it now; its id.
    Now(String),
    /// It was taken before.
    Before(Image),
    /// EC2 refuses.
    Refused(Error),
}

/// Speaks to EC2 about images.
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

    /// Every image that this function made.
    pub(crate) async fn all(&self) -> Result<Vec<Image>, Error> {
        self.list(filter("tag-key", INSTANCE)).await
    }

    /// Those of one group.
    pub(crate) async fn of_group(&self, group: &str) -> Result<Vec<Image>, Error> {
        let group = tag_value(group);
        let images = self.list(filter(&format!("tag:{GROUP}"), &literal(&group))).await?;
        Ok(images.into_iter().filter(|image| image.wait.group == group).collect())
    }

    /// One image; `None` where it is not one of this function's, or is gone.
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

    /// Takes the image of `wait`, which did not begin before `began`; the caller has looked for an earlier
    /// one. `CreateImage` has no client token: the name guards against doubles, and after a failure that
    /// may have had an effect, a look comes before the next attempt.
    pub(crate) async fn take(
        &self,
        wait: &Wait,
        began: DateTime<Utc>,
        death: &Death,
        template: Option<String>,
        invocation: &Invocation,
    ) -> Result<Taken, Error> {
        let tags = self.tags(wait, death, template, invocation.now());
        let mut names = names(wait, death.activity.as_ref()).into_iter();
        let mut name = names.next().unwrap_or_default();
        for pause in pauses() {
            let error = match self.create(wait, &name, death, &tags, invocation).await {
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
            let pause = pause.max(SECOND_LOOK);
            let refused = !is_transient(&error) && !is_snapshot_limit(&error);
            if !refused && pause > invocation.time_left() {
                return Err(Error::aws("CreateImage", &error));
            }
            // Another delivery of the event may have had more luck than this one.
            tokio::time::sleep(pause.min(invocation.time_left() / 4)).await;
            let images = self.of_group(&wait.group).await?;
            if let Some(first) = images.into_iter().find(|image| image.belongs_to(wait, began)) {
                info!(
                    instance.id = wait.instance,
                    image.id = first.id,
                    "{}: {} was requested, although this run was not told so",
                    wait.instance,
                    first.id
                );
                return Ok(Taken::Before(first));
            }
            if refused {
                return Ok(Taken::Refused(Error::aws("CreateImage", &error)));
            }
        }
        unreachable!("the pauses are without end")
    }

    async fn create(
        &self,
        wait: &Wait,
        name: &str,
        death: &Death,
        tags: &[Tag],
        invocation: &Invocation,
    ) -> Result<String, SdkError<CreateImageError, HttpResponse>> {
        let limit = ATTEMPT.min(invocation.time_left());
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
            .description(format!("Taken before {} was terminated: {}", wait.instance, death.cause))
            .no_reboot(self.no_reboot)
            .tag_specifications(tagged(ResourceType::Image))
            .tag_specifications(tagged(ResourceType::Snapshot))
            .customize()
            .config_override(once)
            .send()
            .await?;
        Ok(answer.image_id.unwrap_or_default())
    }

    /// The image that has the name already. Where its tags don't say whose it is, it has no token, so that the
    /// time of its creation tells whether it is of this wait or of an earlier one of the same instance. It may be
    /// too fresh to be seen: then it is this wait's, and EC2's refusal tells its id.
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

    fn tags(&self, wait: &Wait, death: &Death, template: Option<String>, now: DateTime<Utc>) -> Vec<Tag> {
        let time = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let tags = [
            (FUNCTION, Some(self.function.as_str())),
            (GROUP, Some(&wait.group)),
            (HOOK, Some(&wait.hook)),
            (INSTANCE, Some(&wait.instance)),
            (ACTION, wait.token.as_deref()),
            (CAUSE, Some(death.cause.as_str())),
            (CAUSE_TEXT, Some(death.text()).filter(|text| !text.is_empty())),
            (TIME, Some(&time)),
            (LAUNCH_TEMPLATE_VERSION, template.as_deref()),
        ];
        let tags = tags.into_iter().filter_map(|(key, value)| Some((key, value?)));
        tags.map(|(key, value)| Tag::builder().key(key).value(tag_value(value)).build()).collect()
    }

    /// Reads an image; `None` where it is not one of this function's.
    fn read(&self, image: &Ec2Image) -> Option<Image> {
        let tag = |key: &str| {
            let tag = image.tags().iter().find(|tag| tag.key() == Some(key));
            tag.and_then(|tag| tag.value()).map(str::to_owned)
        };
        if tag(FUNCTION).is_some_and(|function| function != self.function) {
            return None;
        }
        let wait =
            Wait { group: tag(GROUP)?, hook: tag(HOOK)?, instance: tag(INSTANCE)?, token: tag(ACTION) };
        let created = image.creation_date().and_then(time).or_else(|| tag(TIME).as_deref().and_then(time));
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

/// Limits of EBS that pass within a minute; EC2 answers them as refusals (HTTP 400).
/// <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-creating-snapshot.html>
fn is_snapshot_limit(error: &SdkError<CreateImageError, HttpResponse>) -> bool {
    let limits = [
        "SnapshotCreationPerVolumeRateExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "PendingSnapshotLimitExceeded",
    ];
    error.code().is_some_and(|code| limits.contains(&code))
}

/// The names that the image of `wait` may have, in the order of preference. Every run for the wait begins with the
/// same one, whatever it knows, so EC2 refuses a second image. Where an earlier wait of the same instance has that
/// name, the scaling activity makes another, which is known to the event's run and to the sweep, or else the token,
/// which is known to the event's run only.
fn names(wait: &Wait, activity: Option<&Activity>) -> Vec<String> {
    let more = [activity.map(|activity| activity.id.as_str()), wait.token.as_deref()];
    let keys = iter::once("").chain(more.into_iter().flatten().filter(|key| !key.is_empty()));
    let (group, instance) = (name_part(&wait.group), name_part(&wait.instance));
    let hash = |key: &str| {
        let digest = Sha256::digest([wait.group.as_str(), &wait.hook, &wait.instance, key].join("\n"));
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    keys.map(|key| format!("lifecycle/{group}/{instance}/{}", hash(key))).collect()
}

/// What of a text may stand in an image's name.
fn name_part(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    text.chars().take(NAME_PART).map(|c| if legal(c) { c } else { '-' }).collect()
}

/// What of a text may stand in a tag's value.
fn tag_value(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TAG_VALUE).collect()
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn activity(id: &str) -> Activity {
        Activity { id: id.to_owned(), began: DateTime::UNIX_EPOCH, transition: None, cause: String::new() }
    }

    proptest! {
        #[test]
        fn names_are_legal_and_each_wait_has_its_own(
            group in "\\PC{1,255}",
            hook in "[A-Za-z0-9/_-]{1,255}",
            instance in "i-[0-9a-f]{17}|\\PC{1,300}",
            token in option::of("[0-9a-f-]{36}"),
            id in option::of("[0-9a-f-]{36}"),
        ) {
            let wait = Wait { group, hook, instance, token };
            let activity = id.as_deref().map(activity);
            let first = names(&wait, activity.as_ref());
            for name in &first {
                prop_assert!((3..=128).contains(&name.len()), "{}", name.len());
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c)));
            }
            prop_assert_eq!(&first, &names(&wait, activity.as_ref()));
            let other = Wait { hook: wait.hook.clone() + "x", ..wait };
            prop_assert!(names(&other, activity.as_ref()).iter().all(|name| !first.contains(name)));
        }
    }

    #[test]
    fn the_event_and_the_sweep_find_the_same_name() {
        let event = Wait {
            group: "web".to_owned(),
            hook: "snap".to_owned(),
            instance: "i-1".to_owned(),
            token: Some("t".to_owned()),
        };
        let sweep = Wait { token: None, ..event.clone() };
        let activity = activity("a");
        assert_eq!(names(&event, Some(&activity))[0], names(&sweep, Some(&activity))[0]);
        assert_eq!(names(&event, None)[0], names(&sweep, Some(&activity))[0]);
        assert_eq!(names(&event, Some(&activity))[1], names(&sweep, Some(&activity))[1]);
    }
}
