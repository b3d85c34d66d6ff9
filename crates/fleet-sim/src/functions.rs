//! The functions, wired into a lab as Lambda would run them, but in this process: their own handlers,
//! real SDK clients, the lab's clock.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use lifecycle_core::config::Variables;
use lifecycle_core::{Error, Invocation, Output};
use lifecycle_lab::{Code, Function, FunctionError, Lab, running_function};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::prelude::*;

/// The function's time limit as deployed, ten seconds: one slow answer of AWS and a second attempt.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Deploys launch-logger with its defaults and with the rule of its template.
pub(crate) fn deploy_launch_logger(lab: &Lab) -> anyhow::Result<()> {
    use launch_logger::{Config, Context, NAME};

    let mut context = Context::new(Config::parse(&Variables::default())?, &lab.sdk_config(NAME))?;
    context.output = written_to(lab, NAME);
    lab.add_rule(
        &json!({
            "source": ["aws.autoscaling"],
            "detail-type": ["EC2 Instance-launch Lifecycle Action"],
        }),
        NAME,
    )?;
    let clock = lab.clone();
    lab.add_function(Function {
        name: NAME.to_owned(),
        time_limit: TIME_LIMIT,
        code: Code::Handler(Arc::new(move |payload, limit| {
            let (context, invocation) = (context.clone(), Invocation::new(clock.now(), limit));
            async move { context.invoke(payload, &invocation).await.map_err(function_error) }.boxed()
        })),
    });
    Ok(())
}

/// Standard output of a function: each line goes to the lab at once.
fn written_to(lab: &Lab, function: &'static str) -> Output {
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let lab = lab.clone();
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            lab.log(function, line);
        }
    });
    Output::Channel(sender)
}

fn function_error(error: Error) -> FunctionError {
    FunctionError { error_type: error.name().to_owned(), error_message: error.chain() }
}

/// Hands what functions log to the lab, which shows it.
pub(crate) fn show_logs(lab: &Lab) -> anyhow::Result<()> {
    Ok(tracing_subscriber::registry().with(Logs(lab.clone())).try_init()?)
}

struct Logs(Lab);

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let Some(function) = running_function().filter(|_| *event.metadata().level() <= Level::INFO) else {
            return;
        };
        let mut message = Message::default();
        event.record(&mut message);
        self.0.log(&function, format!("{} {}", event.metadata().level(), message.0));
    }
}

/// The message of a log event, without its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
