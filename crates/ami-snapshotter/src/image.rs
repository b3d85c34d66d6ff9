//! An image of this function, and the order of one.

use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::Wait;

use crate::cause::Termination;

/// Maximum clock skew between a wait and its image, whose times come from different services. An image that looks
/// this much older than a wait may belong to it.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// EC2's maximum of characters in a tag's value.
const MAX_TAG_VALUE_CHARS: usize = 256;

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
    /// Whether this is an image of `wait`, which did not begin before `began`: the tokens are equal, or, if either
    /// token is unknown, group and hook are equal and the image is not older than the wait.
    pub(crate) fn belongs_to(&self, wait: &Wait, began: DateTime<Utc>) -> bool {
        let same_token = match (&self.wait.token, &wait.token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.created >= began - MAX_CLOCK_SKEW,
        };
        let named = |wait: &Wait| [&wait.group, &wait.hook, &wait.instance].map(|name| tag_value(name));
        same_token && named(&self.wait) == named(wait)
    }
}

/// An image to take.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) wait: Wait,
    /// A time before the start of the wait.
    pub(crate) began: DateTime<Utc>,
    /// The wait's images that have failed.
    pub(crate) failed: Vec<Image>,
    /// Why the instance terminates.
    pub(crate) termination: Termination,
    /// The launch template and version that it was launched from: `lt-0123:7`.
    pub(crate) template: Option<String>,
}

impl Order {
    /// Whether this is an image of the wait that is not known to have failed.
    pub(crate) fn is_filled_by(&self, image: &Image) -> bool {
        image.belongs_to(&self.wait, self.began) && self.failed.iter().all(|failed| failed.id != image.id)
    }
}

/// Keeps the characters that a tag's value can contain.
pub(crate) fn tag_value(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TAG_VALUE_CHARS).collect()
}
