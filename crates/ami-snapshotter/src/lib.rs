//! ami-snapshotter: when an instance dies and nobody planned it, its image is taken for the post-mortem
//! before it goes. It remembers the group in service: another group's death is a planned replacement,
//! and the current group's scaling activities tell planned deaths from the others. EC2's event about the
//! image completes the action, and the sweep does the same for whatever event was lost.
//!
//! This module decides and answers. AWS calls: those of `current`, `images`, `sweep`, `retention`,
//! `lifecycle_core::action` and `lifecycle_core::waits`; here `autoscaling:DescribeAutoScalingInstances`.

pub mod cause;
pub mod config;
mod current;
mod images;
mod retention;
mod sweep;

use std::io;
use std::time::Duration;

use aws_types::SdkConfig;
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::error::AwsFailure;
use lifecycle_core::runtime::tuned;
use lifecycle_core::waits::{Groups, OLDEST};
use lifecycle_core::{
    ActionResult, Actions, Answer, Completion, Error, Event, Invocation, LifecycleAction, Message, Outcome,
    Output, Sweep, Transition, Wait, dispatch, metrics,
};
use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, error, info, warn};

pub use config::Config;

use config::CompleteOn;
use current::Current;
use images::{Death, Image, Images, Standing, Taken};
use retention::Retention;

/// The function's name, as crate, binary and template carry it.
pub const NAME: &str = "ami-snapshotter";

/// No hook is shorter: an event that is older may be of a wait that has ended, or a repeat.
const YOUNG: TimeDelta = TimeDelta::seconds(30);

/// The pause before a death's cause is asked again, after the SDK's own attempts: a token or two come into an empty
/// bucket.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// Over this time the images of a group are counted.
const GUARD: TimeDelta = TimeDelta::hours(1);

/// What lives as long as the process.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where metrics go.
    pub output: Output,
    config: Config,
    autoscaling: aws_sdk_autoscaling::Client,
    groups: Groups,
    actions: Actions,
    sweep: Sweep,
    current: Current,
    images: Images,
    retention: Retention,
}

impl Context {
    /// A context that writes to standard output and speaks to AWS as `sdk` says.
    ///
    /// # Errors
    /// Standard output could not be opened.
    pub fn new(config: Config, sdk: &SdkConfig) -> io::Result<Self> {
        let sdk = &tuned(sdk);
        let autoscaling = aws_sdk_autoscaling::Client::new(sdk);
        let ec2 = aws_sdk_ec2::Client::new(sdk);
        let (groups, actions) = (Groups::new(autoscaling.clone()), Actions::new(autoscaling.clone()));
        Ok(Self {
            output: Output::stdout()?,
            sweep: Sweep::new(groups.clone(), actions.clone(), config.hooks.clone()),
            current: Current::new(aws_sdk_lambda::Client::new(sdk), groups.clone(), &config.function),
            images: Images::new(ec2.clone(), &config.function, config.no_reboot),
            retention: Retention::new(ec2),
            autoscaling,
            groups,
            actions,
            config,
        })
    }

    /// Handles whatever Lambda delivers: an event, a hook notification, a batch of either, the sweep.
    ///
    /// # Errors
    /// What Lambda should run again, or keep: see [`Error`].
    pub async fn invoke(&self, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
        // Boxed: rustc does not lay out the nested futures of all paths at once.
        let handle = |message| Box::pin(self.handle(message, invocation));
        dispatch(&self.config.function, payload, invocation, &self.output, handle).await
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        match message {
            Message::Action(action) if action.transition == Transition::Launching => {
                self.launch(&action, invocation).await
            }
            Message::Action(action) if action.transition == Transition::Terminating => {
                self.death(&action, invocation).await
            }
            Message::Event(event) if is_image_change(&event) => {
                self.image_changed(event.detail()?, invocation).await
            }
            Message::Sweep => self.sweep(invocation).await,
            Message::Test => Ok(Answer::ignored("a hook's test notification")),
            other => Err(Error::UnsupportedEvent(format!(
                "{NAME} handles lifecycle actions, state changes of images and scheduled runs, not {other}; correct the \
                 rule or the hook that sent it"
            ))),
        }
    }

    /// An instance launches: its group may have come into service.
    async fn launch(&self, action: &LifecycleAction, invocation: &Invocation) -> Result<Answer, Error> {
        let wait = &action.wait;
        let stored = self.current.store(&wait.group, invocation).await?;
        let outcome = if stored { Outcome::GroupStored } else { Outcome::GroupUnchanged };
        if !self.config.complete_launch {
            return Ok(Answer::about(wait, outcome));
        }
        let completion =
            self.actions.complete(wait, ActionResult::Continue, Some(action.time), invocation).await?;
        Ok(Answer::completion(wait, ActionResult::Continue, completion).with("group", outcome.as_str()))
    }

    /// An instance dies: its image is taken, unless the death was planned.
    async fn death(&self, action: &LifecycleAction, invocation: &Invocation) -> Result<Answer, Error> {
        let (wait, announced) = (&action.wait, Some(action.time));
        if action.destination.as_deref() == Some("WarmPool") {
            return self.let_go(wait, "it returns to the warm pool", announced, invocation).await;
        }
        // A late delivery: the group may have been replaced since, and the image is still awaited.
        if invocation.now() - action.time > YOUNG
            && let Some(image) = self.image_of(wait, action.time).await?
        {
            return self.settle(wait, &image, announced, invocation).await;
        }
        let stored = self.current.stored().await?;
        if let Some(reason) = replaced(wait, stored.as_deref()) {
            return self.let_go(wait, &reason, announced, invocation).await;
        }
        let since = action.time - OLDEST;
        // Asked again and again: a planned death needs no image.
        let activity = async {
            loop {
                match self.groups.termination(&wait.group, &wait.instance, since, action.time).await {
                    Err(error) if error.is_transient() => {
                        warn!(asg.name = wait.group, "the cause is asked once more: {}", error.chain());
                        tokio::time::sleep(ASKED_AGAIN).await;
                    }
                    told => return told,
                }
            }
        };
        let activity = in_time(invocation, "DescribeScalingActivities", activity).await;
        let activity = activity.unwrap_or_else(|error| {
            warn!(asg.name = wait.group, "the scaling activities can't be read: {}", error.chain());
            None
        });
        self.post_mortem(wait, action.time, &Death::of(activity), announced, invocation).await
    }

    /// An instance of the group in service dies: the cause decides. `began` is a time before which the
    /// wait did not begin.
    async fn post_mortem(
        &self,
        wait: &Wait,
        began: DateTime<Utc>,
        death: &Death,
        announced: Option<DateTime<Utc>>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let cause = death.cause;
        if self.config.skip_causes.contains(&cause) {
            let answer = self.let_go(wait, &format!("planned: {cause}"), announced, invocation).await?;
            return Ok(answer.with("cause", cause.as_str()));
        }
        let images = self.images.of_group(&wait.group).await?;
        let first = images.iter().find(|image| image.belongs_to(wait, began)).cloned();
        let taken = match first {
            Some(first) => Taken::Before(first),
            None => {
                let recent = images.iter().filter(|image| image.created > invocation.now() - GUARD).count();
                if recent >= self.config.max_images_per_hour {
                    let reason = format!(
                        "no image: {recent} of {} were taken within the hour, and MAX_IMAGES_PER_HOUR allows {}",
                        wait.group, self.config.max_images_per_hour
                    );
                    warn!(asg.name = wait.group, instance.id = wait.instance, "{}: {reason}", wait.instance);
                    let answer = self.let_go(wait, &reason, announced, invocation).await?;
                    return Ok(answer.with("cause", cause.as_str()));
                }
                let Some(template) = self.dying(wait, began, invocation).await else {
                    return Ok(Answer::about(wait, Outcome::AlreadyFinished)
                        .with("reason", "the instance does not terminate any more"));
                };
                self.images.take(wait, began, death, template, invocation).await?
            }
        };
        let answer = match taken {
            Taken::Before(image) => self.settle(wait, &image, announced, invocation).await?,
            Taken::Refused(error) => {
                self.report(wait, &error, invocation);
                let reason = format!("no image: {}", error.chain());
                self.complete(wait, self.config.on_failure, announced, invocation)
                    .await?
                    .with("reason", reason)
            }
            Taken::Now(id) => {
                info!(
                    asg.name = wait.group,
                    hook.name = wait.hook,
                    instance.id = wait.instance,
                    action.id = wait.id(),
                    image.id = id,
                    cause = cause.as_str(),
                    "{}: requested {id}, because its death was not planned ({cause})",
                    wait.instance
                );
                let answer = match self.config.complete_on {
                    CompleteOn::Requested => {
                        self.complete(wait, ActionResult::Continue, announced, invocation).await?
                    }
                    CompleteOn::Available | CompleteOn::Timeout => {
                        Answer::about(wait, Outcome::ImageRequested)
                    }
                };
                answer.with("image.id", id)
            }
        };
        Ok(answer.with("cause", cause.as_str()))
    }

    /// What an image that was taken before means for its wait.
    async fn settle(
        &self,
        wait: &Wait,
        image: &Image,
        announced: Option<DateTime<Utc>>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        if image.standing == Standing::Failed {
            return self.failed(wait, image, announced, invocation).await;
        }
        let answer = match (image.standing, self.config.complete_on) {
            (Standing::Pending, CompleteOn::Available | CompleteOn::Timeout) => {
                Answer::about(wait, Outcome::ImagePending)
            }
            (_, CompleteOn::Timeout) => Answer::about(wait, Outcome::Left)
                .with("reason", "COMPLETE_ON=timeout leaves the action to the hook's timeout"),
            _ => self.complete(wait, ActionResult::Continue, announced, invocation).await?,
        };
        Ok(answer.with("image.id", image.id.as_str()))
    }

    /// The image that was accepted could not be made.
    async fn failed(
        &self,
        wait: &Wait,
        image: &Image,
        announced: Option<DateTime<Utc>>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let why = image.reason.as_deref().filter(|why| !why.is_empty()).unwrap_or("EC2 does not say why");
        let source = AwsFailure::told(format!("{} has failed: {why}", image.id));
        let error = Error::AwsError { call: "CreateImage", source };
        self.report(wait, &error, invocation);
        let answer = match self.config.complete_on {
            CompleteOn::Timeout => Answer::about(wait, Outcome::Left),
            _ => self.complete(wait, self.config.on_failure, announced, invocation).await?,
        };
        let reason = format!("no image: {}", error.chain());
        Ok(answer.with("reason", reason).with("image.id", image.id.as_str()))
    }

    /// The image of a wait that did not begin before `began`, where one was taken.
    async fn image_of(&self, wait: &Wait, began: DateTime<Utc>) -> Result<Option<Image>, Error> {
        let images = self.images.of_group(&wait.group).await?;
        Ok(images.into_iter().find(|image| image.belongs_to(wait, began)))
    }

    /// An image has changed its state: if it is ours and was waited for, the action is completed.
    async fn image_changed(&self, change: ImageChange, invocation: &Invocation) -> Result<Answer, Error> {
        let standing = match change.state.as_str() {
            "available" => Standing::Ready,
            "failed" => Standing::Failed,
            _ => {
                return Ok(Answer::ignored("an image that neither became available nor failed")
                    .with("image.id", change.image_id)
                    .with("image.state", change.state));
            }
        };
        let Some(image) = self.images.find(&change.image_id).await? else {
            return Ok(Answer::ignored("not an image of this function").with("image.id", change.image_id));
        };
        // The event may be ahead of the list.
        let image = Image { standing, reason: image.reason.or(change.error_message), ..image };
        let wait = &image.wait;
        if wait.token.is_none() && !self.still_waits(&image).await? {
            return Ok(Answer::about(wait, Outcome::AlreadyFinished).with("image.id", image.id.as_str()));
        }
        self.settle(wait, &image, Some(image.created), invocation).await
    }

    /// Whether the wait in which the sweep took this image may still last: the instance's running scaling
    /// activity is not younger.
    async fn still_waits(&self, image: &Image) -> Result<bool, Error> {
        let wait = &image.wait;
        let instance = [wait.instance.as_str()].into();
        let running = self.groups.running_activities(&wait.group, &instance, image.created - OLDEST).await?;
        Ok(running.get(&wait.instance).is_none_or(|activity| image.belongs_to(wait, activity.began)))
    }

    /// The launch template and version of an instance that is dying, where they are known; `None` where the
    /// instance serves again, because the wait was over long ago.
    async fn dying(
        &self,
        wait: &Wait,
        began: DateTime<Utc>,
        invocation: &Invocation,
    ) -> Option<Option<String>> {
        let describe = async {
            let answer = self.autoscaling.describe_auto_scaling_instances().instance_ids(&wait.instance);
            answer.send().await.map_err(|error| Error::aws("DescribeAutoScalingInstances", &error))
        };
        let answer = match in_time(invocation, "DescribeAutoScalingInstances", describe).await {
            Ok(answer) => answer,
            Err(error) => {
                debug!(error = error.chain(), "the launch template version is not known");
                return Some(None);
            }
        };
        let instance = answer.auto_scaling_instances().first();
        let serves = instance
            .and_then(|instance| instance.lifecycle_state())
            .is_some_and(|state| !state.contains("Terminat"));
        if serves && invocation.now() - began > YOUNG {
            return None;
        }
        let template = instance.and_then(|instance| instance.launch_template());
        Some(template.and_then(|template| {
            let (id, version) = (template.launch_template_id()?, template.version()?);
            Some(format!("{id}:{version}"))
        }))
    }

    /// Completes the action of an instance whose image is not wanted, and says why.
    async fn let_go(
        &self,
        wait: &Wait,
        reason: &str,
        announced: Option<DateTime<Utc>>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        Ok(self.complete(wait, ActionResult::Continue, announced, invocation).await?.with("reason", reason))
    }

    async fn complete(
        &self,
        wait: &Wait,
        result: ActionResult,
        announced: Option<DateTime<Utc>>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let completion: Completion = self.actions.complete(wait, result, announced, invocation).await?;
        Ok(Answer::completion(wait, result, completion))
    }

    /// An image that could not be made is an error in log and metric, although the action is answered.
    fn report(&self, wait: &Wait, error: &Error, invocation: &Invocation) {
        error!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            action.id = wait.id(),
            error.type = error.name(),
            "{}: no image could be made, so ON_FAILURE decides: {}",
            wait.instance,
            error.chain()
        );
        let metric = metrics::emf(&self.config.function, error.name(), None, invocation);
        if let Err(error) = self.output.line(&metric) {
            error!(%error, "the metric could not be written to standard output");
        }
    }
}

/// What the work can do without, within a quarter of the time that is left.
async fn in_time<T>(
    invocation: &Invocation,
    call: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let limit = invocation.time_left() / 4;
    let late = |_| Err(Error::Timeout(format!("{call} did not answer within {limit:?}")));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// Why the death is part of a planned replacement, if it is: another group than this one is in service.
fn replaced(wait: &Wait, stored: Option<&str>) -> Option<String> {
    let successor = stored.filter(|stored| *stored != wait.group)?;
    Some(format!("planned: {successor} is in service in place of {}", wait.group))
}

/// The detail of EC2's event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageChange {
    image_id: String,
    state: String,
    error_message: Option<String>,
}

fn is_image_change(event: &Event) -> bool {
    event.source == "aws.ec2" && event.detail_type == "EC2 AMI State Change"
}
