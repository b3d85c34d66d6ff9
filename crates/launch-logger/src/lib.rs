//! launch-logger: one structured record of every instance that a group launches, and then the instance
//! goes on. Where the record could not be made, `ON_FAILURE` decides whether the instance may serve
//! without one.
//!
//! AWS call: `autoscaling:CompleteLifecycleAction`, once for each launch.

use std::io;

use aws_types::SdkConfig;
use lifecycle_core::config::{self, Parser, Variables};
use lifecycle_core::runtime::tuned;
use lifecycle_core::{
    ActionResult, Actions, Answer, Error, Invocation, LifecycleAction, Message, Output, Transition, dispatch,
};
use serde_json::{Value, json};
use tracing::error;

/// The function's name, as crate, binary and template carry it.
pub const NAME: &str = "launch-logger";

/// Variable: what an unrecorded launch is completed with, `ABANDON` or `CONTINUE`.
pub const ON_FAILURE: &str = "ON_FAILURE";

/// Characters of a hook's notification metadata that go into the record. AWS allows 4,000; with a
/// quarter of that a record of ordinary names stays below 4 KiB, the size up to which a write to
/// Lambda's log pipe is never torn.
pub const METADATA_LIMIT: usize = 1_000;

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed function's name, in the metric.
    pub function: String,
    /// What an unrecorded launch is completed with.
    pub on_failure: ActionResult,
}

impl Config {
    /// Reads every variable before it refuses one.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every bad variable.
    pub fn parse(variables: &Variables) -> Result<Self, Error> {
        let mut parser = Parser::new(variables);
        let config = Self {
            function: parser.get(config::FUNCTION_NAME, NAME.to_owned(), str::parse),
            on_failure: parser.get(ON_FAILURE, ActionResult::Abandon, str::parse),
        };
        parser.finish(config)
    }
}

/// What lives as long as the process: the configuration, one client, standard output.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where records and metrics go.
    pub output: Output,
    config: Config,
    actions: Actions,
}

impl Context {
    /// A context that writes to standard output and speaks to AWS as `sdk` says.
    ///
    /// # Errors
    /// Standard output could not be opened.
    pub fn new(config: Config, sdk: &SdkConfig) -> io::Result<Self> {
        Ok(Self {
            output: Output::stdout()?,
            config,
            actions: Actions::new(aws_sdk_autoscaling::Client::new(&tuned(sdk))),
        })
    }

    /// Handles whatever Lambda delivers: an event, a hook notification, a batch of either.
    ///
    /// # Errors
    /// What Lambda should run again, or keep: see [`Error`].
    pub async fn invoke(&self, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
        let handle = |message| self.handle(message, invocation);
        dispatch(&self.config.function, payload, invocation, &self.output, handle).await
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept: launching actions only.
        let action = match message {
            Message::Action(action) if action.transition == Transition::Launching => action,
            Message::Test => return Ok(Answer::ignored("a hook's test notification")),
            other => {
                return Err(Error::UnsupportedEvent(format!(
                    "{NAME} handles launching lifecycle actions, not {other}; correct the rule or the hook that sent it"
                )));
            }
        };
        let wait = &action.wait;

        // Act: the record comes before the completion, so no instance serves unrecorded by accident.
        let written = self.output.line(&record(&action, invocation));
        if let Err(error) = &written {
            error!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                %error,
                "the launch could not be recorded; completing with {ON_FAILURE}={}",
                self.config.on_failure
            );
        }

        // Complete.
        let result = if written.is_ok() { ActionResult::Continue } else { self.config.on_failure };
        let completion = self.actions.complete(wait, result, Some(action.time), invocation).await?;

        // Report.
        let answer = Answer::completion(wait, result, completion);
        Ok(match written {
            Ok(()) => answer,
            Err(error) => answer.with("reason", format!("the launch could not be recorded: {error}")),
        })
    }
}

/// Everything that the event says about the launch, as one JSON object. `origin` and `destination`
/// tell a warm pool's two pauses apart. The token is cut to `action.id`.
fn record(action: &LifecycleAction, invocation: &Invocation) -> Value {
    let length = action.metadata.as_ref().map(|text| text.chars().count());
    let metadata = action.metadata.as_ref().map(|text| text.chars().take(METADATA_LIMIT).collect::<String>());
    json!({
        "record": "launch",
        "time": invocation.now(),
        "event.id": action.event_id,
        "event.time": action.time,
        "event.age_ms": (invocation.now() - action.time).num_milliseconds(),
        "account": action.account,
        "region": action.region,
        "resources": action.resources,
        "asg.name": action.wait.group,
        "hook.name": action.wait.hook,
        "instance.id": action.wait.instance,
        "transition": action.transition.as_str(),
        "origin": action.origin,
        "destination": action.destination,
        "action.id": action.wait.id(),
        "notification.metadata": metadata,
        "notification.metadata_length": length,
    })
}
