//! Writes and reads the tags of an image and its snapshots. The keys are part of the contract.

use aws_sdk_ec2::types::{Image, Tag};
use chrono::{DateTime, SecondsFormat, Utc};
use lifecycle_core::{ActionToken, Wait};

use crate::image::{Order, tag_value};

const GROUP: &str = "lifecycle/group";
const HOOK: &str = "lifecycle/hook";
const INSTANCE: &str = "lifecycle/instance";
const ACTION: &str = "lifecycle/action";
const CAUSE: &str = "lifecycle/cause";
const CAUSE_TEXT: &str = "lifecycle/cause-text";
const TIME: &str = "lifecycle/time";

/// The launch template and version that the instance was launched from: `lt-0123:7`.
const LAUNCH_TEMPLATE_VERSION: &str = "lifecycle/launch-template-version";

/// The deployed name of the function that took the image, so that two functions in one account ignore each other's
/// images.
pub(super) const FUNCTION: &str = "lifecycle/function";

/// The tags of an image that `function` takes now, besides the `extra` ones.
pub(super) fn tags(
    function: &str,
    order: &Order,
    extra: &[(String, String)],
    now: DateTime<Utc>,
) -> Vec<Tag> {
    let Order { wait, termination, template, .. } = order;
    let time = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let tags = [
        (FUNCTION, Some(function)),
        (GROUP, Some(&wait.group)),
        (HOOK, Some(&wait.hook)),
        (INSTANCE, Some(&wait.instance)),
        (ACTION, wait.token.as_ref().map(ActionToken::expose)),
        (CAUSE, Some(termination.cause.as_str())),
        (CAUSE_TEXT, Some(termination.text()).filter(|text| !text.is_empty())),
        (TIME, Some(&time)),
        (LAUNCH_TEMPLATE_VERSION, template.as_deref()),
    ];
    let tags = tags.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let extra = extra.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    tags.chain(extra).map(|(key, text)| Tag::builder().key(key).value(tag_value(text)).build()).collect()
}

/// The wait that an image was taken for, as its tags say, which anybody may have written. `None` if they don't say that
/// `function` took it.
pub(super) fn wait(image: &Image, function: &str) -> Option<Wait> {
    if tag(image, FUNCTION) != Some(function) {
        return None;
    }
    let tag = |key| tag(image, key).map(str::to_owned);
    Some(Wait {
        group: tag(GROUP)?,
        hook: tag(HOOK)?,
        instance: tag(INSTANCE)?,
        token: tag(ACTION).map(ActionToken::from),
    })
}

/// When an image was requested, as RFC 3339.
pub(super) fn time(image: &Image) -> Option<&str> {
    tag(image, TIME)
}

fn tag<'a>(image: &'a Image, key: &str) -> Option<&'a str> {
    image.tags().iter().find(|tag| tag.key() == Some(key))?.value()
}
