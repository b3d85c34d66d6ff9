//! launch-logger: writes one structured record of each instance launch, then lets the instance into service. If the record
//! can't be written, `ON_FAILURE` decides the result. A sweep does the same for launches whose events were lost.
//!
//! AWS calls: `autoscaling:CompleteLifecycleAction`, once for each launch, and the sweep's.
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

mod config;
pub mod outcome;
mod plan;
mod reconcile;
mod record;

use aws_types::SdkConfig;
use lambda_kit::calls::CountCalls;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Output, Payload};
use lifecycle_core::pending::Asgs;
use lifecycle_core::{Actions, Completion, Message, Reconciler, Transition, event};
use serde_json::Value;

pub use config::{AUTO_SCALING_GROUPS, Config, LIFECYCLE_HOOKS, NAME, ON_FAILURE};

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    output: Output,
    config: Config,
    actions: Actions,
    reconciler: Reconciler,
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Message;

    fn new(config: Config, sdk: &SdkConfig, output: Output) -> Self {
        let settings = aws_sdk_autoscaling::config::Builder::from(&with_timeouts_and_retries(sdk));
        let client = aws_sdk_autoscaling::Client::from_conf(settings.interceptor(CountCalls).build());
        let actions = Actions::new(client.clone());
        let reconciler =
            Reconciler::new(Asgs::new(client), actions.clone(), config.hooks.clone(), Transition::Launching)
                .with_patience(plan::PATIENCE.to_std().unwrap_or_default());
        Self { output, config, actions, reconciler }
    }

    fn read(&self, payload: Value) -> Result<Payload<Message>, Error> {
        event::read(payload)
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept: launching actions, and the sweep.
        let action = match message {
            Message::Action(action) if action.transition == Transition::Launching => action,
            Message::Reconcile => return self.reconcile(invocation).await,
            Message::Notice(reason) => return Ok(Answer::ignored(reason)),
            other => {
                return Err(Error::UnsupportedEvent(format!(
                    "{NAME} handles launching lifecycle actions and scheduled runs, not {other}; correct the rule or \
                     the hook that sent it"
                )));
            }
        };
        let wait = &action.wait;

        // Carry out: first the record, then the completion, so no instance goes into service without a record by
        // accident.
        let written = self.output.line(&record::of_event(&action, invocation));
        let result = plan::result(written.is_ok(), self.config.on_failure);
        let completion = self.actions.complete(wait, result, Some(action.time), invocation).await?;

        // Report.
        let answer = completion.answer(wait, result);
        let Err(error) = written else { return Ok(answer) };
        let reason = format!("the launch could not be recorded: {error}");
        let answer = answer.with("reason", reason.as_str());
        let end = match completion {
            Completion::Completed => format!("completed with {ON_FAILURE}={result}"),
            Completion::AlreadyFinished => "the action had already ended".to_owned(),
        };
        Ok(answer.failure(outcome::NOT_RECORDED, format!("{}: {reason}; {end}", wait.instance)))
    }
}
