//! launch-logger: writes one structured record of each instance launch, then lets the instance into service. If the record
//! can't be written, `ON_FAILURE` decides the result.
//!
//! AWS call: `autoscaling:CompleteLifecycleAction`, once for each launch.
//!
//! ```
//! # use std::time::Duration;
//! # use aws_sdk_autoscaling::Client;
//! # use lifecycle_lab::Lab;
//! # use serde_json::json;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a lab: the function behind its rule, and a group whose hook holds each launch.
//! let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, 7);
//! testkit::deploy::<launch_logger::Context>(&lab, &[], Duration::from_secs(10));
//! lab.add_rule(&json!({ "source": ["aws.autoscaling"] }), launch_logger::NAME)?;
//! let operator = Client::new(&lab.sdk_config("operator"));
//! testkit::create_group(&operator, "web", 1, &[("record", testkit::LAUNCHING, 300, "ABANDON")]).await;
//! lab.sleep(Duration::from_secs(120)).await;
//!
//! assert_eq!(testkit::completions(&lab), ["CONTINUE"]);
//! assert!(lab.logs().iter().any(|line| line.contains(r#""record":"launch""#)));
//! # Ok(())
//! # }
//! ```

use aws_types::SdkConfig;
use lambda_kit::calls::CountCalls;
use lambda_kit::config::Parser;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Configuration, Error, Function, Invocation, Output, Payload};
use lifecycle_core::{ActionResult, Actions, LifecycleAction, Message, Transition, event};
use serde_json::{Value, json};
use tracing::error;

/// The name of the crate, the binary and the template.
pub const NAME: &str = "launch-logger";

/// Variable: result of a launch without a record, `ABANDON` or `CONTINUE`.
pub const ON_FAILURE: &str = "ON_FAILURE";

/// Maximum of characters of a hook's notification metadata in the record. AWS allows 4,000. With a quarter of that, a
/// record with ordinary names stays below 4 KiB, the largest write to Lambda's log pipe that is never split.
pub const MAX_METADATA_CHARS: usize = 1_000;

/// The function's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployed name of the function, for the metric.
    pub function: String,
    /// Result of a launch without a record.
    pub on_failure: ActionResult,
}

impl Configuration for Config {
    fn read(parser: &mut Parser<'_>) -> Self {
        Self { function: parser.function(NAME), on_failure: parser.get(ON_FAILURE, "ABANDON", str::parse) }
    }

    fn function(&self) -> &str {
        &self.function
    }
}

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    output: Output,
    config: Config,
    actions: Actions,
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Message;

    fn new(config: Config, sdk: &SdkConfig, output: Output) -> Self {
        let settings = aws_sdk_autoscaling::config::Builder::from(&with_timeouts_and_retries(sdk));
        let client = aws_sdk_autoscaling::Client::from_conf(settings.interceptor(CountCalls).build());
        Self { output, config, actions: Actions::new(client) }
    }

    fn read(&self, payload: Value) -> Result<Payload<Message>, Error> {
        event::read(payload)
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept: launching actions only.
        let action = match message {
            Message::Action(action) if action.transition == Transition::Launching => action,
            Message::Notice(reason) => return Ok(Answer::ignored(reason)),
            other => {
                return Err(Error::UnsupportedEvent(format!(
                    "{NAME} handles launching lifecycle actions, not {other}; correct the rule or the hook that sent it"
                )));
            }
        };
        let wait = &action.wait;

        // Carry out: first the record, then the completion, so no instance goes into service without a record by
        // accident.
        let written = self.output.line(&record(&action, invocation));
        if let Err(error) = &written {
            error!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                %error,
                "the launch could not be recorded: completing with {ON_FAILURE}={}",
                self.config.on_failure
            );
        }

        // Complete.
        let result = if written.is_ok() { ActionResult::Continue } else { self.config.on_failure };
        let completion = self.actions.complete(wait, result, Some(action.time), invocation).await?;

        // Report.
        let answer = completion.answer(wait, result);
        Ok(match written {
            Ok(()) => answer,
            Err(error) => answer.with("reason", format!("the launch could not be recorded: {error}")),
        })
    }
}

/// The record: all facts of the event as one JSON object. `origin` and `destination` distinguish a warm pool's two
/// pauses. The token is cut to `action.id`.
fn record(action: &LifecycleAction, invocation: &Invocation) -> Value {
    let length = action.metadata.as_ref().map(|text| text.chars().count());
    let metadata =
        action.metadata.as_ref().map(|text| text.chars().take(MAX_METADATA_CHARS).collect::<String>());
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
