//! The names and limits of every account, for its setup and for the observer.

use std::time::Duration;

/// How the names of groups begin that launch-logger and terminate-drainer look after.
pub(crate) const APPS: &str = "app-";

/// How the names of groups begin that ami-snapshotter looks after and that replace one another: they are generations
/// of one.
pub(crate) const BLOG: &str = "blog-";

/// How the names of two groups begin that ami-snapshotter looks after and that both stay: none replaces the other.
pub(crate) const PAIR: &str = "pair-";

/// How the names of everything begin that belongs to others: groups and images.
pub(crate) const FOREIGN: &str = "other-";

/// A group of others.
pub(crate) const FOREIGN_GROUP: &str = "other-shop";

/// The hooks that each function answers: launch-logger, terminate-drainer, and ami-snapshotter.
pub(crate) const RECORD: &str = "record";
pub(crate) const DRAIN: &str = "drain";
pub(crate) const IMAGE_HOOKS: &str = "born,dying";

/// Whether ami-snapshotter looks after this group.
pub(crate) fn leaves_images(group: &str) -> bool {
    group.starts_with(BLOG) || group.starts_with(PAIR)
}

/// Whether the group belongs to others.
pub(crate) fn is_foreign(group: &str) -> bool {
    group.starts_with(FOREIGN)
}

/// The sweeps are the same functions under names of their own, so that what disturbs a sweep is told from what
/// disturbs a run for an event.
pub(crate) const LAUNCH_SWEEP: &str = "launch-logger's sweep";
pub(crate) const DRAIN_SWEEP: &str = "terminate-drainer's sweep";
pub(crate) const IMAGE_SWEEP: &str = "ami-snapshotter's sweep";

/// Images of one group within an hour, as ami-snapshotter's variable says. It is its default.
pub(crate) const MAX_IMAGES_PER_HOUR: usize = 10;

/// Longest drain, longest delivery, and longest time that an image is pending, as the functions' variables say.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(20 * 60);
pub(crate) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2 * 60);
pub(crate) const IMAGE_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);

/// Newest versions of the launch template that lt-ami-refresher keeps.
pub(crate) const KEEP_VERSIONS: usize = 3;
