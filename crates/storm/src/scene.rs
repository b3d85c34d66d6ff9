//! The names and limits of every account, for its setup and for the observer.

/// How the names of groups begin that launch-logger and terminate-drainer look after.
pub(crate) const APPS: &str = "app-";

/// How the names of groups begin that ami-snapshotter looks after. It remembers one group in service, so
/// they are generations of one.
pub(crate) const BLOG: &str = "blog-";

/// The sweeps are the same functions under names of their own, so that what disturbs a sweep is told from what
/// disturbs a run for an event.
pub(crate) const DRAIN_SWEEP: &str = "terminate-drainer's sweep";
pub(crate) const IMAGE_SWEEP: &str = "ami-snapshotter's sweep";

/// Images of one group within an hour, as ami-snapshotter's variable says. It is its default.
pub(crate) const MAX_IMAGES_PER_HOUR: usize = 10;

/// Newest versions of the launch template that lt-ami-refresher keeps.
pub(crate) const KEEP_VERSIONS: usize = 3;
