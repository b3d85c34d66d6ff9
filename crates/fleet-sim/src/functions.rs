//! The functions, wired into a lab as Lambda would run them, but in this process: their own handlers,
//! real SDK clients, the lab's clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use lifecycle_core::config::Variables;
use lifecycle_core::{Error, Invocation, Output};
use lifecycle_lab::{Code, Function, FunctionError, Lab};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::prelude::*;

/// The function's time limit as deployed, ten seconds: one slow answer of AWS and a second attempt.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Deploys launch-logger with its defaults and with the rule of its template.
pub(crate) fn deploy_launch_logger(lab: &Lab) -> anyhow::Result<()> {
    use launch_logger::{Config, Context, NAME};

    let written = Arc::new(Mutex::default());
    let mut context = Context::new(Config::parse(&Variables::default())?, &lab.sdk_config(NAME))?;
    context.output = Output::Memory(written.clone());
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
    let logs = Logs { lab: lab.clone(), function: NAME, written };
    Ok(tracing_subscriber::registry().with(logs).try_init()?)
}

fn function_error(error: Error) -> FunctionError {
    FunctionError { error_type: error.name().to_owned(), error_message: error.chain() }
}

/// Hands what a function logs and writes to the lab, which shows it.
struct Logs {
    lab: Lab,
    function: &'static str,
    written: Arc<Mutex<Vec<String>>>,
}

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        if *event.metadata().level() > tracing::Level::INFO {
            return;
        }
        for line in self.written.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.lab.log(self.function, line);
        }
        let mut message = Message::default();
        event.record(&mut message);
        self.lab.log(self.function, format!("{} {}", event.metadata().level(), message.0));
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
