//! Decides the next step for a wait: a pure function of the observations, the configuration and the time. Lifecycle
//! event, image event and reconcile begin with different observations. Each further observation is a step of its own,
//! so nothing is looked up without need.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::error::cut;
use lambda_kit::{Error, Failure, Outcome};
use lifecycle_core::outcome::SWEEP_INCOMPLETE;
use lifecycle_core::pending::Activity;
use lifecycle_core::reconcile::DEFAULT_DEREGISTRATION_DELAY;
use lifecycle_core::{ActionResult, Transition, Wait};

use crate::cause::{Cause, Termination};
use crate::config::{CompleteOn, Config};
use crate::current::Storing;
use crate::image::{Image, Order, Standing};
use crate::images::{Taken, counted};
use crate::outcome::{
    GROUP_STORED, GROUP_UNCHANGED, IMAGE_FAILED, IMAGE_REFUSED, IMAGE_SKIPPED, LEFT, NOT_STORED,
};
use crate::succession::Successions;

/// Why a termination needs no image, whatever its cause.
pub(crate) const TO_POOL: &str = "the instance returns to the warm pool";
pub(crate) const FROM_POOL: &str = "the instance comes from the warm pool and never served";
pub(crate) const ROOT_VOLUME: &str = "only the root volume is replaced, and the instance lives on";
const RETAINED: &str = "an earlier ABANDON retained the instance";

/// The minimum heartbeat timeout of a hook. The wait of an older event may have ended, or the event is a repeat.
const MIN_HEARTBEAT_TIMEOUT: TimeDelta = TimeDelta::seconds(30);

/// Images of one wait: a second one after a failed one.
const MAX_IMAGES_PER_WAIT: usize = 2;

/// The observations of a wait. `None` means not looked up yet.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) wait: Wait,
    pub(crate) transition: Transition,
    /// Why the wait needs no image, whatever its cause.
    pub(crate) exempt: Option<&'static str>,
    /// A time before the start of the wait.
    pub(crate) began: DateTime<Utc>,
    /// The hook's timers. Only reconcile knows them, and only reconcile sends heartbeats.
    pub(crate) hook: Option<Hook>,
    /// The image of EC2's event, whose tags identify the wait.
    pub(crate) ended: Option<Image>,
    /// The instance's running scaling activity.
    pub(crate) running: Option<Option<Activity>>,
    /// The instance's images before any other look.
    pub(crate) earlier_images: Option<Vec<Image>>,
    /// The stored groups.
    pub(crate) stored: Option<Vec<String>>,
    /// The wait's group and the stored groups, as Auto Scaling describes them. In it, nothing if they can't be read.
    pub(crate) groups: Option<Option<Arc<[AutoScalingGroup]>>>,
    /// Why the instance terminates.
    pub(crate) termination: Option<Termination>,
    /// Whether an earlier `ABANDON` retained the instance.
    pub(crate) retained: Option<bool>,
    /// The group's recent images just before one is taken.
    pub(crate) images: Option<Vec<Image>>,
    /// The instance, as its group sees it.
    pub(crate) instance: Option<Instance>,
    /// The effect of [`Step::Store`].
    pub(crate) storing: Option<Storing>,
    /// The effect of [`Step::Take`].
    pub(crate) taken: Option<Taken>,
    /// Why the last step failed.
    pub(crate) failed: Option<Error>,
}

/// The time that a hook leaves for a wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hook {
    /// Its heartbeat timeout.
    pub(crate) heartbeat: Duration,
    /// Whether the wait ends before the next sweep, unless a heartbeat prolongs it.
    pub(crate) ends_before_next: bool,
    /// Whether the wait ends before the next sweep, because its global timeout ends.
    pub(crate) ends_for_good: bool,
}

/// An instance, as its group sees it.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// Whether the instance is not terminating.
    pub(crate) serves: bool,
    /// Whether the instance waits in a hook. If its state can't be read, it counts as waiting.
    pub(crate) waits: bool,
    /// The launch template and version that it was launched from: `lt-0123:7`.
    pub(crate) template: Option<String>,
}

/// The next step.
#[derive(Debug)]
pub(crate) enum Step {
    /// Observe more, then decide again.
    Look(Look),
    /// Store the group as the one in service of its succession, if it takes over; then decide again.
    Store,
    /// Take the image, then decide again.
    Take(Box<Order>),
    /// Return the failure as the run's error: a repeat can help.
    Fail,
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
    /// [`Observed::groups`].
    Groups,
    /// [`Observed::termination`].
    Termination,
    /// [`Observed::retained`].
    Retained,
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
    /// The outcome for the stored groups, if the launch is also completed.
    pub(crate) group: Option<Outcome>,
    /// What went wrong.
    pub(crate) failure: Option<Failure>,
}

/// What to do with the lifecycle action.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Complete it.
    Complete(ActionResult),
    /// Leave it open: the image was requested now.
    AwaitRequested(Heartbeat),
    /// Leave it open: the image is pending.
    AwaitPending(Heartbeat),
    /// Leave it to the hook's timeout, with this outcome.
    Leave(Outcome),
    /// Leave it to the next sweep, which tries again.
    Retry,
    /// Nothing: the action has already ended.
    Over,
}

/// Whether to prolong a wait whose image is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    None,
    /// With the others of the hook.
    WhenDue,
    /// At once: the wait would end before the next sweep, or the image would not have the hook's full timeout.
    Now,
}

impl Observed {
    /// A wait without further observations.
    pub(crate) fn new(wait: Wait, transition: Transition, began: DateTime<Utc>) -> Self {
        Self {
            wait,
            transition,
            exempt: None,
            began,
            hook: None,
            ended: None,
            running: None,
            earlier_images: None,
            stored: None,
            groups: None,
            termination: None,
            retained: None,
            images: None,
            instance: None,
            storing: None,
            taken: None,
            failed: None,
        }
    }

    /// This wait's images, each once, the oldest first.
    fn own(&self) -> Vec<&Image> {
        let before = match &self.taken {
            Some(Taken::Before(image)) => Some(image),
            _ => None,
        };
        // EC2's event may be newer than a list.
        let known = self.ended.iter().chain(before);
        let listed = [&self.images, &self.earlier_images].into_iter().flatten().flatten();
        let mut own: Vec<&Image> = Vec::new();
        for image in known.chain(listed).filter(|image| image.belongs_to(&self.wait, self.began)) {
            if own.iter().all(|known| known.id != image.id) {
                own.push(image);
            }
        }
        own.sort_by_key(|image| image.created);
        own
    }

    /// The stored groups and the groups that are known.
    fn successions<'a>(&'a self, config: &'a Config) -> Option<Successions<'a>> {
        let groups = self.groups.as_ref()?.as_ref()?;
        Some(Successions {
            stored: self.stored.as_deref().unwrap_or_default(),
            groups,
            entries: &config.groups,
        })
    }

    /// Why the instance terminates. The deletion of a group is a request, even if the cause names none.
    fn cause(&self, config: &Config) -> Option<Cause> {
        let termination = self.termination.as_ref()?;
        let is_deleted =
            || self.successions(config).is_some_and(|groups| groups.is_being_deleted(&self.wait.group));
        Some(if termination.names_nothing() && is_deleted() { Cause::UserRequest } else { termination.cause })
    }
}

/// Decides the next step for a wait.
pub(crate) fn decide(observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    if let Some(error) = &observed.failed {
        return after_failure(error, observed, config, now);
    }
    match (&observed.transition, &observed.ended) {
        (Transition::Launching, _) => launch(observed, config),
        (_, Some(image)) => image_ended(image, observed, config, now),
        _ => termination(observed, config, now),
    }
}

/// A step failed. An event is run again. A sweep leaves what may pass to the next one, unless the wait ends before it.
fn after_failure(error: &Error, observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let hook = observed.hook.filter(|_| observed.transition != Transition::Launching);
    let why = format!("no image: {}", error.chain());
    match hook {
        Some(hook) if hook.ends_before_next => {
            End::failed(Ending::Complete(config.on_failure), IMAGE_REFUSED, why, observed, config).step()
        }
        Some(hook) if error.is_transient() => {
            let failure = is_late(hook, observed, now).then_some(SWEEP_INCOMPLETE);
            End { failure, reason: Some(why), ..End::about(Ending::Retry, observed, config) }.step()
        }
        _ => Step::Fail,
    }
}

/// Whether half of the hook's timeout is gone.
fn is_late(hook: Hook, observed: &Observed, now: DateTime<Utc>) -> bool {
    (now - observed.began).to_std().unwrap_or_default() > hook.heartbeat / 2
}

/// A launch: the group may have come into service.
fn launch(observed: &Observed, config: &Config) -> Step {
    let is_stored = observed.stored.as_ref().is_some_and(|stored| stored.contains(&observed.wait.group));
    let (group, reason, failure) = match &observed.storing {
        None if !is_stored => return Step::Store,
        None => (GROUP_UNCHANGED, None, None),
        Some(Storing::Stored) => (GROUP_STORED, None, None),
        Some(Storing::Unchanged(reason)) => (GROUP_UNCHANGED, reason.clone(), None),
        Some(Storing::NoRoom(why)) => {
            let why = format!("{} is not stored: {why}", observed.wait.group);
            (GROUP_UNCHANGED, Some(why), Some(NOT_STORED))
        }
    };
    let end = match config.complete_launch {
        true => End { group: Some(group), ..End::of(Ending::Complete(ActionResult::Continue)) },
        false => End::of(Ending::Leave(group)),
    };
    End { reason, failure, ..end }.step()
}

/// An image has ended. An image of the sweep has no token, so the running activity shows whether its wait may still
/// last.
fn image_ended(image: &Image, observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let is_of_earlier = match (&observed.wait.token, &observed.running) {
        (None, None) => return Step::Look(Look::Running),
        (_, None) if image.standing == Standing::Failed => return Step::Look(Look::Running),
        (None, Some(Some(activity))) => !image.belongs_to(&observed.wait, activity.began),
        _ => false,
    };
    match (image.standing, is_of_earlier) {
        (Standing::Failed, true) => {
            End { image: Some(image.id.clone()), ..failed(image, Ending::Over, observed, config) }.step()
        }
        (_, true) => End { image: Some(image.id.clone()), ..End::of(Ending::Over) }.step(),
        // Another image of the wait may be under way.
        (Standing::Failed, false) if observed.earlier_images.is_none() => Step::Look(Look::EarlierImages),
        (Standing::Failed, false) => termination(observed, config, now),
        _ => settle(image, observed, config, now),
    }
}

/// A termination: the image is taken, unless the termination is planned.
fn termination(observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let exempt = observed.exempt.or_else(|| observed.retained?.then_some(RETAINED));
    if let Some(why) = exempt {
        return let_go(why.to_owned(), observed, config);
    }
    // The effect of an attempt comes before earlier observations.
    if let Some(taken) = &observed.taken
        && !matches!(taken, Taken::Before(_))
    {
        return after_take(taken, observed, config, now);
    }
    // The wait already has an image. Wait for it, even if the group has been replaced since.
    let own = observed.own();
    if let Some(image) = own.iter().find(|image| image.standing != Standing::Failed) {
        return settle(image, observed, config, now);
    }
    match own.last() {
        Some(image) if own.len() < MAX_IMAGES_PER_WAIT => second(image, observed, config, now),
        Some(image) => failed(image, Ending::Complete(config.on_failure), observed, config).step(),
        None => first(observed, config, now),
    }
}

/// A wait without an image.
fn first(observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let is_old = now - observed.began > MIN_HEARTBEAT_TIMEOUT && observed.stored.is_none();
    if observed.earlier_images.is_none() && (is_old || observed.hook.is_some()) {
        return Step::Look(Look::EarlierImages);
    }
    let group = &observed.wait.group;
    let Some(stored) = &observed.stored else {
        return Step::Look(Look::Stored);
    };
    if observed.groups.is_none() && stored.iter().any(|stored| stored != group) {
        return Step::Look(Look::Groups);
    }
    if let Some(successor) = observed.successions(config).and_then(|groups| groups.successor(group)) {
        let reason = format!("planned: {successor} is in service in place of {group}");
        return let_go(reason, observed, config);
    }
    let Some(termination) = &observed.termination else {
        return Step::Look(Look::Termination);
    };
    if observed.groups.is_none() && termination.names_nothing() {
        return Step::Look(Look::Groups);
    }
    let cause = observed.cause(config).unwrap_or(Cause::Unknown);
    if config.skip_causes.contains(&cause) {
        return let_go(format!("planned: {cause}"), observed, config);
    }
    if observed.retained.is_none() {
        return Step::Look(Look::Retained);
    }
    if was_prolonged(termination, observed, config, now) {
        let why =
            "no image: the wait was prolonged for one that is gone, and IMAGE_TIMEOUT is over".to_owned();
        return End::failed(Ending::Complete(config.on_failure), IMAGE_FAILED, why, observed, config).step();
    }
    take(termination, Vec::new(), observed, config, now)
}

/// Whether the wait lasts longer than its hook's timeout and `IMAGE_TIMEOUT`: an image of it was under way, and somebody
/// has deregistered it.
fn was_prolonged(
    termination: &Termination,
    observed: &Observed,
    config: &Config,
    now: DateTime<Utc>,
) -> bool {
    let (Some(hook), Some(activity)) = (observed.hook, &termination.activity) else { return false };
    let age = (now - activity.began).to_std().unwrap_or_default();
    age > hook.heartbeat + DEFAULT_DEREGISTRATION_DELAY && age > config.image_timeout
}

/// A wait whose first image has failed.
fn second(image: &Image, observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let on_failure = || failed(image, Ending::Complete(config.on_failure), observed, config).step();
    if observed.hook.is_some_and(|hook| hook.ends_for_good) {
        return on_failure();
    }
    match (&observed.instance, &observed.termination) {
        (None, _) => Step::Look(Look::Instance),
        (Some(instance), _) if !instance.waits => on_failure(),
        (_, None) => Step::Look(Look::Termination),
        (_, Some(termination)) => take(termination, vec![image.clone()], observed, config, now),
    }
}

/// Takes an image, if the group may have one more and the instance is still there.
fn take(
    termination: &Termination,
    failed: Vec<Image>,
    observed: &Observed,
    config: &Config,
    now: DateTime<Utc>,
) -> Step {
    let Some(images) = &observed.images else {
        return Step::Look(Look::Images);
    };
    let count = counted(images, now);
    if count >= config.max_images_per_hour {
        return skipped(count, observed, config).step();
    }
    let Some(instance) = &observed.instance else {
        return Step::Look(Look::Instance);
    };
    if instance.serves && now - observed.began > MIN_HEARTBEAT_TIMEOUT {
        let reason = Some("the instance is no longer terminating".to_owned());
        return End { reason, ..End::of(Ending::Over) }.step();
    }
    let cause = observed.cause(config).unwrap_or(Cause::Unknown);
    Step::Take(Box::new(Order {
        wait: observed.wait.clone(),
        began: observed.began,
        failed,
        termination: Termination { cause, activity: termination.activity.clone() },
        template: instance.template.clone(),
    }))
}

/// The step after an image was requested.
fn after_take(taken: &Taken, observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let own = observed.own();
    match (taken, own.last()) {
        (Taken::Before(image), _) => settle(image, observed, config, now),
        (Taken::Full(count), _) => skipped(*count, observed, config).step(),
        (Taken::Refused(error), _) => {
            let why = format!("no image: {}", error.chain());
            End::failed(Ending::Complete(config.on_failure), IMAGE_REFUSED, why, observed, config).step()
        }
        (Taken::Gone(_), Some(image)) => {
            failed(image, Ending::Complete(config.on_failure), observed, config).step()
        }
        (Taken::Gone(error), None) => {
            let reason = format!("no image: EC2 says that the instance is gone: {}", error.chain());
            let_go(reason, observed, config)
        }
        (Taken::Now(id), first) => {
            let ending = match (config.complete_on, observed.hook) {
                (CompleteOn::Requested, _) => Ending::Complete(ActionResult::Continue),
                (CompleteOn::Available, Some(hook)) if hook.ends_for_good => {
                    let why = format!("no image: {id} is still pending, and the hook's global timeout ends");
                    let ending = Ending::Complete(config.on_failure);
                    let end = End::failed(ending, IMAGE_FAILED, why, observed, config);
                    return End { image: Some(id.clone()), ..end }.step();
                }
                (CompleteOn::Available, Some(hook))
                    if hook.ends_before_next || is_late(hook, observed, now) =>
                {
                    Ending::AwaitRequested(Heartbeat::Now)
                }
                (CompleteOn::Available | CompleteOn::Timeout, _) => Ending::AwaitRequested(Heartbeat::None),
            };
            let reason = first.map(|first| format!("the second image, because {}", why_failed(first)));
            End { image: Some(id.clone()), reason, ..End::about(ending, observed, config) }.step()
        }
    }
}

/// The step for a wait whose image is pending or ready.
fn settle(image: &Image, observed: &Observed, config: &Config, now: DateTime<Utc>) -> Step {
    let too_long = |why: String| {
        let why = format!("no image: {} is still pending {why}", image.id);
        End::failed(Ending::Complete(config.on_failure), IMAGE_FAILED, why, observed, config)
    };
    let age = (now - image.created).to_std().unwrap_or_default();
    let end = match (image.standing, config.complete_on) {
        (_, CompleteOn::Requested) => End::about(Ending::Complete(ActionResult::Continue), observed, config),
        (Standing::Pending, _) if age >= config.image_timeout => {
            too_long(format!("after IMAGE_TIMEOUT, {} s", config.image_timeout.as_secs()))
        }
        (Standing::Pending, CompleteOn::Available)
            if observed.hook.is_some_and(|hook| hook.ends_for_good) =>
        {
            too_long("at the end of the hook's global timeout".to_owned())
        }
        (Standing::Pending, complete_on) => {
            let heartbeat = match observed.hook.filter(|_| complete_on == CompleteOn::Available) {
                None => Heartbeat::None,
                Some(hook) if hook.ends_before_next => Heartbeat::Now,
                Some(_) => Heartbeat::WhenDue,
            };
            End::about(Ending::AwaitPending(heartbeat), observed, config)
        }
        (_, CompleteOn::Available) => End::about(Ending::Complete(ActionResult::Continue), observed, config),
        (_, CompleteOn::Timeout) => End {
            reason: Some("COMPLETE_ON=timeout leaves the action to the hook's timeout".to_owned()),
            ..End::about(Ending::Leave(LEFT), observed, config)
        },
    };
    End { image: Some(image.id.clone()), ..end }.step()
}

/// Completes the action without an image, with the reason.
fn let_go(reason: String, observed: &Observed, config: &Config) -> Step {
    let end = End::about(Ending::Complete(ActionResult::Continue), observed, config);
    End { reason: Some(reason), ..end }.step()
}

/// No image, because the group had `count` of them.
fn skipped(count: usize, observed: &Observed, config: &Config) -> End {
    let (group, most) = (&observed.wait.group, config.max_images_per_hour);
    let reason =
        format!("no image: {group} had {count} images within the hour, and MAX_IMAGES_PER_HOUR is {most}");
    End::failed(Ending::Complete(ActionResult::Continue), IMAGE_SKIPPED, reason, observed, config)
}

/// The last image has failed.
fn failed(image: &Image, ending: Ending, observed: &Observed, config: &Config) -> End {
    let why = format!("no image: {}", why_failed(image));
    let end = End::failed(ending, IMAGE_FAILED, why, observed, config);
    End { image: Some(image.id.clone()), ..end }
}

fn why_failed(image: &Image) -> String {
    let why = image.reason.as_deref().filter(|why| !why.is_empty()).unwrap_or("EC2 gives no reason");
    format!("{} has failed: {}", image.id, cut(why))
}

impl End {
    fn of(ending: Ending) -> Self {
        Self { ending, reason: None, image: None, cause: None, group: None, failure: None }
    }

    /// An end with the cause of the termination.
    fn about(ending: Ending, observed: &Observed, config: &Config) -> Self {
        Self { cause: observed.cause(config), ..Self::of(ending) }
    }

    fn failed(ending: Ending, failure: Failure, why: String, observed: &Observed, config: &Config) -> Self {
        Self { reason: Some(why), failure: Some(failure), ..Self::about(ending, observed, config) }
    }

    fn step(self) -> Step {
        Step::End(self)
    }
}

#[cfg(test)]
mod tests;
