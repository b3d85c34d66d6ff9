//! ami-snapshotter: takes an image of an instance whose termination was not planned, before the instance goes.
//!
//! It remembers the group in service of each succession of groups. Terminations in a group that its successor has replaced
//! are planned. For the others, the scaling activities tell the cause, and the cause decides. EC2's event about the image
//! starts the run that completes the action. The sweep finds waits whose event was lost.
//!
//! This module reads the payload. `plan` decides what is done for a wait, and `work` does it. AWS calls: those of `work`,
//! `reconcile` and `retention`.
//!
//! ```
//! use ami_snapshotter::cause::Cause;
//!
//! // The texts of scaling activities are for people. The function reads the cause from AWS's own phrases.
//! let text = "At 2026-11-21T08:00:00Z an instance was taken out of service in response to an EC2 health check \
//!             indicating it has been terminated or stopped.";
//! assert_eq!(Cause::of(text), Cause::HealthCheckEc2);
//! assert_eq!(Cause::of("At 2026-11-21T08:00:00Z something new happened."), Cause::Unknown);
//! ```

pub mod cause;
pub mod config;
mod current;
mod image;
mod images;
mod outcome;
mod plan;
mod reconcile;
mod retention;
mod succession;
mod work;

use aws_types::SdkConfig;
use chrono::TimeDelta;
use lambda_kit::calls::CountCalls;
use lambda_kit::error::cut;
use lambda_kit::event::Event;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Output, Payload};
use lifecycle_core::{LifecycleAction, Message, Transition, event};
use serde::Deserialize;
use serde_json::Value;

pub use config::{Config, NAME};

use image::{Image, Standing};
use images::Lookup;
use plan::{FROM_POOL, Observed, ROOT_VOLUME, TO_POOL};
use retention::Retention;
use work::{Case, Work};

/// Maximum age of an event whose image EC2 does not show yet. After this, the image was somebody else's, and is gone.
const MAX_UNKNOWN_IMAGE_AGE: TimeDelta = TimeDelta::minutes(1);

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    work: Work,
    retention: Retention,
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Message;

    fn new(config: Config, sdk: &SdkConfig, _: Output) -> Self {
        let sdk = &with_timeouts_and_retries(sdk);
        let ec2 = aws_sdk_ec2::config::Builder::from(sdk).interceptor(CountCalls).build();
        let ec2 = aws_sdk_ec2::Client::from_conf(ec2);
        Self { work: Work::new(config, sdk, ec2.clone()), retention: Retention::new(ec2) }
    }

    fn read(&self, payload: Value) -> Result<Payload<Message>, Error> {
        event::read(payload)
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        // Boxed because the nested futures of all paths are too large for rustc.
        Box::pin(self.handle_message(message, invocation)).await
    }
}

impl Context {
    async fn handle_message(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        match message {
            Message::Action(action)
                if matches!(action.transition, Transition::Launching | Transition::Terminating) =>
            {
                self.action(*action, invocation).await
            }
            Message::Event(event) if is_image_change(&event) => self.image_changed(&event, invocation).await,
            Message::Reconcile => reconcile::reconcile(&self.work, &self.retention, invocation).await,
            Message::Notice(reason) => Ok(Answer::ignored(reason)),
            other => Err(Error::UnsupportedEvent(format!(
                "{NAME} handles lifecycle actions, state changes of images and scheduled runs, not {other}; correct the \
                 rule or the hook that sent it"
            ))),
        }
    }

    /// Handles a lifecycle action.
    async fn action(&self, action: LifecycleAction, invocation: &Invocation) -> Result<Answer, Error> {
        let exempt = [
            (action.replaces_root_volume(), ROOT_VOLUME),
            (action.to_pool(), TO_POOL),
            (action.from_pool(), FROM_POOL),
        ];
        let exempt = exempt.into_iter().find(|(is_exempt, _)| *is_exempt).map(|(_, why)| why);
        let observed = Observed { exempt, ..Observed::new(action.wait, action.transition, action.time) };
        let case = Case { observed, announced: Some(action.time), found: None, invocation: *invocation };
        Ok(self.work.run(case).await?.answer())
    }

    /// Handles a state change of an image: completes the action if the image is this function's and has ended.
    async fn image_changed(&self, event: &Event, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        let change: ImageChange = event.detail()?;
        let ignored = |reason: &str| Answer::ignored(reason).with("image.id", cut(&change.image_id));
        let standing = match change.state.as_str() {
            "available" => Standing::Ready,
            "failed" => Standing::Failed,
            state => {
                let state = cut(state);
                return Ok(ignored("the image is neither available nor failed").with("image.state", state));
            }
        };
        let is_young = invocation.now() - event.time < MAX_UNKNOWN_IMAGE_AGE;
        let image = match self.work.images.find(&change.image_id, is_young, invocation).await? {
            Lookup::Own(image) => image,
            Lookup::Foreign => return Ok(ignored("not an image of this function")),
            Lookup::Unknown(error) if is_young => return Err(error),
            Lookup::Unknown(_) => return Ok(ignored("EC2 does not know the image")),
        };
        // The event may be newer than the list.
        let image = Image { standing, reason: image.reason.or(change.error_message), ..image };
        let (wait, created) = (image.wait.clone(), image.created);

        let observed =
            Observed { ended: Some(image), ..Observed::new(wait, Transition::Terminating, created) };
        let case = Case { observed, announced: Some(created), found: None, invocation: *invocation };
        Ok(self.work.run(case).await?.answer())
    }
}

/// The `detail` of EC2's event.
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
