//! Decides the next step for a wait: a pure function of the observations, the configuration and the time. Lifecycle
//! event, image event and reconcile begin with different observations. Each further observation is a step of its own,
//! so nothing is looked up without need.

use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::aws::time;
use lambda_kit::error::AwsFailure;
use lambda_kit::{Error, Outcome};
use lifecycle_core::pending::Activity;
use lifecycle_core::{ActionResult, Completion, Transition, Wait};

use crate::cause::{Cause, Termination};
use crate::config::{CompleteOn, Config};
use crate::images::{Image, Standing, Taken};
use crate::outcome::{GROUP_STORED, GROUP_UNCHANGED, LEFT};

/// The minimum heartbeat timeout of a hook. The wait of an older event may have ended, or the event is a repeat.
const MIN_HEARTBEAT_TIMEOUT: TimeDelta = TimeDelta::seconds(30);

/// The period of `MAX_IMAGES_PER_HOUR`.
const IMAGE_COUNT_PERIOD: TimeDelta = TimeDelta::hours(1);

/// The observations of a wait. `None` means not looked up yet.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) wait: Wait,
    pub(crate) transition: Transition,
    /// Whether the instance returns to the warm pool.
    pub(crate) to_pool: bool,
    /// A time before the start of the wait.
    pub(crate) began: DateTime<Utc>,
    /// The hook's heartbeat timeout. Only reconcile knows it, and only reconcile sends heartbeats.
    pub(crate) heartbeat: Option<Duration>,
    /// The image of EC2's event, whose tags identify the wait.
    pub(crate) ended: Option<Image>,
    /// The instance's running scaling activity.
    pub(crate) running: Option<Option<Activity>>,
    /// The group's images before any other look.
    pub(crate) earlier_images: Option<Vec<Image>>,
    /// The stored group.
    pub(crate) stored: Option<Option<String>>,
    /// Why the instance terminates.
    pub(crate) termination: Option<Termination>,
    /// The group's images just before one is taken.
    pub(crate) images: Option<Vec<Image>>,
    /// The instance, as its group sees it.
    pub(crate) instance: Option<Instance>,
    /// The effect of [`Step::Store`]: whether it stored the group.
    pub(crate) group_stored: Option<bool>,
    /// The effect of [`Step::Prolong`].
    pub(crate) prolonged: Option<Completion>,
    /// The effect of [`Step::Take`].
    pub(crate) taken: Option<Taken>,
}

/// An instance, as its group sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Instance {
    /// Whether the instance is not terminating.
    pub(crate) serves: bool,
    /// The launch template and version that it was launched from: `lt-0123:7`.
    pub(crate) template: Option<String>,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Observe more, then decide again.
    Look(Look),
    /// Store the group as the one in service, if it takes over; then decide again.
    Store,
    /// Send a heartbeat, then decide again.
    Prolong,
    /// Take the image, then decide again.
    Take {
        /// Why the instance terminates.
        termination: Termination,
        /// The launch template and version that it was launched from.
        template: Option<String>,
    },
    /// End the work of this run for the wait.
    End(End),
}

/// What to observe next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// [`Observed::running`].
    Running,
    /// [`Observed::earlier_images`].
    EarlierImages,
    /// [`Observed::stored`].
    Stored,
    /// [`Observed::termination`].
    Termination,
    /// [`Observed::images`].
    Images,
    /// [`Observed::instance`].
    Instance,
}

/// The end of this run's work for a wait, and the facts for its report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) ending: Ending,
    /// The reason, if it is not obvious.
    pub(crate) reason: Option<String>,
    /// The id of the wait's image.
    pub(crate) image: Option<String>,
    /// Why the instance terminates, if that was looked up.
    pub(crate) cause: Option<Cause>,
    /// The outcome for the stored group, if the launch is also completed.
    pub(crate) group: Option<Outcome>,
    /// A problem to report, besides the answer.
    pub(crate) alarm: Option<Alarm>,
}

/// What to do with the lifecycle action.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Complete it.
    Complete(ActionResult),
    /// Leave it open: the image was requested now.
    AwaitRequested,
    /// Leave it open: the image is pending.
    AwaitPending {
        /// Whether to send a heartbeat when it is due.
        keep_alive: bool,
    },
    /// Leave it to the hook's timeout, with this outcome.
    Leave(Outcome),
    /// Nothing: the action has already ended.
    Over,
}

/// A problem for an operator.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// No image was taken, although the termination was unplanned: a warning.
    Skipped,
    /// No image could be made: an error in the log, and a count of one under its name.
    Failed {
        /// The error's stable name.
        name: &'static str,
        /// The error with all its causes.
        why: String,
    },
}

impl Observed {
    /// A wait without further observations.
    pub(crate) fn new(wait: Wait, transition: Transition, began: DateTime<Utc>) -> Self {
        Self {
            wait,
            transition,
            to_pool: false,
            began,
            heartbeat: None,
            ended: None,
            running: None,
            earlier_images: None,
            stored: None,
            termination: None,
            images: None,
            instance: None,
            group_stored: None,
            prolonged: None,
            taken: None,
        }
    }

    /// The image of this wait among `images`.
    fn own<'a>(&self, images: &'a [Image]) -> Option<&'a Image> {
        images.iter().find(|image| image.belongs_to(&self.wait, self.began))
    }

    fn cause(&self) -> Option<Cause> {
        self.termination.as_ref().map(|termination| termination.cause)
    }
}

/// Decides the next step for a wait.
pub(crate) fn decide(observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    match (&observed.transition, &observed.ended) {
        (Transition::Launching, _) => launch(observed, config),
        (_, Some(image)) => image_ended(image, observed, config),
        _ => termination(observed, config, now),
    }
}

/// A launch: the group may have come into service.
fn launch(observed: &Observed, config: &Config) -> Step {
    let is_stored =
        observed.stored.as_ref().is_some_and(|stored| stored.as_ref() == Some(&observed.wait.group));
    let group = match observed.group_stored {
        None if !is_stored => return Step::Store,
        Some(true) => GROUP_STORED,
        _ => GROUP_UNCHANGED,
    };
    if !config.complete_launch {
        return End::of(Ending::Leave(group)).step();
    }
    End { group: Some(group), ..End::of(Ending::Complete(ActionResult::Continue)) }.step()
}

/// An image has ended. An image of the sweep has no token, so the running activity shows whether its wait may still
/// last.
fn image_ended(image: &Image, observed: &Observed, config: &Config) -> Step {
    match (&observed.wait.token, &observed.running) {
        (None, None) => Step::Look(Look::Running),
        (None, Some(Some(activity))) if !image.belongs_to(&observed.wait, activity.began) => {
            End { image: Some(image.id.clone()), ..End::of(Ending::Over) }.step()
        }
        _ => settle(image, observed, config),
    }
}

/// A termination: the image is taken, unless the termination is planned.
fn termination(observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    // The effect of an attempt comes before earlier observations.
    if let Some(taken) = &observed.taken {
        return after_take(taken, observed, config);
    }
    // The wait already has an image. Wait for it, even if the group has been replaced since.
    if let Some(image) = observed.earlier_images.as_ref().and_then(|images| observed.own(images)) {
        return settle(image, observed, config);
    }
    if observed.to_pool {
        return let_go("the instance returns to the warm pool".to_owned(), observed);
    }
    let Some(stored) = &observed.stored else {
        let may_have_one = observed.earlier_images.is_none() && now - observed.began > MIN_HEARTBEAT_TIMEOUT;
        return Step::Look(if may_have_one { Look::EarlierImages } else { Look::Stored });
    };
    let group = &observed.wait.group;
    if let Some(successor) = stored.as_ref().filter(|stored| *stored != group) {
        return let_go(format!("planned: {successor} is in service in place of {group}"), observed);
    }
    let Some(termination) = &observed.termination else {
        return Step::Look(Look::Termination);
    };
    if config.skip_causes.contains(&termination.cause) {
        return let_go(format!("planned: {}", termination.cause), observed);
    }
    let Some(images) = &observed.images else {
        return before_images(observed, config, now);
    };
    if let Some(image) = observed.own(images) {
        return settle(image, observed, config);
    }
    let (recent, most) = (recent(images, now), config.max_images_per_hour);
    if recent >= most {
        let reason = format!(
            "no image: {group} had {recent} images within the hour, and MAX_IMAGES_PER_HOUR is {most}"
        );
        return End { alarm: Some(Alarm::Skipped), ..End::let_go(reason, observed) }.step();
    }
    let Some(instance) = &observed.instance else {
        return Step::Look(Look::Instance);
    };
    if instance.serves && now - observed.began > MIN_HEARTBEAT_TIMEOUT {
        let reason = Some("the instance is no longer terminating".to_owned());
        return End { reason, ..End::of(Ending::Over) }.step();
    }
    Step::Take { termination: termination.clone(), template: instance.template.clone() }
}

/// Reconcile may find a wait late. A heartbeat then gives the image the full timeout, if the wait still lasts.
fn before_images(observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let age = (now - observed.began).to_std().unwrap_or(Duration::ZERO);
    let is_late = observed.heartbeat.is_some_and(|heartbeat| age > heartbeat / 2);
    match observed.prolonged {
        None if is_late && config.complete_on == CompleteOn::Available => Step::Prolong,
        Some(Completion::AlreadyFinished) => End::of(Ending::Over).step(),
        _ => Step::Look(Look::Images),
    }
}

/// The step after an image was requested.
fn after_take(taken: &Taken, observed: &Observed, config: &Config) -> Step {
    match taken {
        Taken::Before(image) => settle(image, observed, config),
        Taken::Refused(error) => {
            End { cause: observed.cause(), ..End::failed(Ending::Complete(config.on_failure), error) }.step()
        }
        Taken::Now(id) => {
            let ending = match config.complete_on {
                CompleteOn::Requested => Ending::Complete(ActionResult::Continue),
                CompleteOn::Available | CompleteOn::Timeout => Ending::AwaitRequested,
            };
            End { image: Some(id.clone()), cause: observed.cause(), ..End::of(ending) }.step()
        }
    }
}

/// The step for a wait that already has an image.
fn settle(image: &Image, observed: &Observed, config: &Config) -> Step {
    let end = match (image.standing, config.complete_on) {
        (Standing::Failed, complete_on) => {
            let ending = match complete_on {
                CompleteOn::Timeout => Ending::Leave(LEFT),
                CompleteOn::Available | CompleteOn::Requested => Ending::Complete(config.on_failure),
            };
            End::failed(ending, &failure(image))
        }
        (Standing::Pending, CompleteOn::Available) => {
            End::of(Ending::AwaitPending { keep_alive: observed.heartbeat.is_some() })
        }
        (Standing::Pending, CompleteOn::Timeout) => End::of(Ending::AwaitPending { keep_alive: false }),
        (Standing::Ready, CompleteOn::Timeout) => End {
            reason: Some("COMPLETE_ON=timeout leaves the action to the hook's timeout".to_owned()),
            ..End::of(Ending::Leave(LEFT))
        },
        (Standing::Ready, CompleteOn::Available) | (_, CompleteOn::Requested) => {
            End::of(Ending::Complete(ActionResult::Continue))
        }
    };
    End { image: Some(image.id.clone()), cause: observed.cause(), ..end }.step()
}

/// Completes the action without an image, with the reason.
fn let_go(reason: String, observed: &Observed) -> Step {
    End::let_go(reason, observed).step()
}

/// The failure of an image that EC2 had accepted.
fn failure(image: &Image) -> Error {
    let why = image.reason.as_deref().filter(|why| !why.is_empty()).unwrap_or("EC2 gives no reason");
    let source = AwsFailure::of(format!("{} has failed: {why}", image.id));
    Error::AwsError { call: "CreateImage", source }
}

/// How many images of a group count for `MAX_IMAGES_PER_HOUR`.
fn recent(images: &[Image], now: DateTime<Utc>) -> usize {
    images.iter().filter(|image| image.created > now - IMAGE_COUNT_PERIOD).count()
}

impl End {
    fn of(ending: Ending) -> Self {
        Self { ending, reason: None, image: None, cause: None, group: None, alarm: None }
    }

    fn let_go(reason: String, observed: &Observed) -> Self {
        let end = Self::of(Ending::Complete(ActionResult::Continue));
        Self { reason: Some(reason), cause: observed.cause(), ..end }
    }

    fn failed(ending: Ending, error: &Error) -> Self {
        let (name, why) = (error.name(), error.chain());
        let reason = Some(format!("no image: {why}"));
        Self { reason, alarm: Some(Alarm::Failed { name, why }), ..Self::of(ending) }
    }

    fn step(self) -> Step {
        Step::End(self)
    }
}

/// Whether `group` takes over from `stored` as the group in service: it was created later, or the stored group is
/// gone or being deleted.
pub(crate) fn takes_over(group: &str, stored: &str, groups: &[AutoScalingGroup]) -> bool {
    let created = |group: &AutoScalingGroup| group.created_time().and_then(time);
    match (living(group, groups), living(stored, groups)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(group), Some(stored)) => created(group) > created(stored),
    }
}

/// The group with this name, if it exists and is not being deleted. AWS gives a group a status only while it is being
/// deleted.
pub(crate) fn living<'a>(name: &str, groups: &'a [AutoScalingGroup]) -> Option<&'a AutoScalingGroup> {
    let lives = |group: &&AutoScalingGroup| group.status().is_none_or(str::is_empty);
    groups.iter().find(|group| group.auto_scaling_group_name() == Some(name)).filter(lives)
}

#[cfg(test)]
mod tests;
