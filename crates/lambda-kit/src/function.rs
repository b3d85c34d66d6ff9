//! The trait of a Lambda function, and the path from a payload to its answer. `main`, tests and simulations share
//! this path. Each message is handled alone, within the deadline, and writes one line to standard output.

use std::future::Future;
use std::io::{self, Write};
use std::sync::OnceLock;

use aws_types::SdkConfig;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream;
use serde_json::{Map, Value, json};
use tracing::{debug, error};

use crate::calls::{self, Calls};
use crate::config::Parser;
use crate::event::Origin;
use crate::{Answer, Error, Invocation, Outcome, Output, Variables, event, metrics};

/// Maximum of messages of one SQS batch that run concurrently. SQS delivers ten unless the event source has a
/// batching window. A larger value would only fill Auto Scaling's token bucket with retries.
const MAX_CONCURRENT_MESSAGES: usize = 10;

/// A function's variables, typed.
pub trait Configuration: Sized {
    /// Reads all variables. The parser keeps the errors.
    fn read(parser: &mut Parser<'_>) -> Self;

    /// Parses all variables before it returns the errors.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every bad variable.
    fn parse(variables: &Variables) -> Result<Self, Error> {
        Ok(described(variables)?.0)
    }

    /// The deployed name of the function: the dimension of the metric.
    fn function(&self) -> &str;
}

/// The configuration, and its values in force.
fn described<C: Configuration>(variables: &Variables) -> Result<(C, Map<String, Value>), Error> {
    let mut parser = Parser::new(variables);
    let config = C::read(&mut parser);
    parser.finish(config)
}

/// A Lambda function. The value lives as long as the process.
pub trait Function: Sized {
    /// The name of the crate, the binary and the template.
    const NAME: &'static str;
    /// The version of the crate.
    const VERSION: &'static str;
    /// The variables.
    type Config: Configuration;
    /// A message to handle.
    type Message: Send;

    /// Creates the function with the AWS settings of `sdk`. Lines that are not the answer go to `output`.
    fn new(config: Self::Config, sdk: &SdkConfig, output: Output) -> Self;

    /// Opens a payload's envelopes and reads its messages.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] if the outermost envelope can't be read.
    fn read(&self, payload: Value) -> Result<Payload<Self::Message>, Error>;

    /// Handles one message.
    ///
    /// # Errors
    /// See [`Error`]: Lambda retries the event, then keeps it in the failure queue.
    fn handle(
        &self,
        message: Self::Message,
        invocation: &Invocation,
    ) -> impl Future<Output = Result<Answer, Error>> + Send;
}

/// The messages of one payload.
#[derive(Debug)]
pub enum Payload<M> {
    /// One message.
    One(Received<M>),
    /// A batch of SQS: the id and the content of each message.
    Batch(Vec<(String, Received<M>)>),
}

/// A message, and its facts that are known before it is handled.
#[derive(Debug)]
pub struct Received<M> {
    /// The message, or the error of reading it.
    pub message: Result<M, Error>,
    /// When AWS sent it.
    pub time: Option<DateTime<Utc>>,
    /// The account and the Region that it comes from.
    pub origin: Origin,
    /// The fields that identify the message's subject, named as in the answer. The line of a failure has them too.
    pub about: Map<String, Value>,
}

impl<M> Received<M> {
    /// A message with the time of its event, if it has one, and without other facts.
    pub fn new(payload: Value, read: impl FnOnce(Value) -> Result<M, Error>) -> Self {
        let (time, origin) = (event::time(&payload), Origin::of(&payload));
        Self { message: read(payload), time, origin, about: Map::new() }
    }
}

/// A function that is ready for invocations.
#[derive(Debug)]
pub struct Running<F> {
    function: F,
    name: String,
    in_force: Map<String, Value>,
    home: OnceLock<Origin>,
    output: Output,
}

impl<F: Function> Running<F> {
    /// Creates the function.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with every bad variable.
    pub fn new(variables: &Variables, sdk: &SdkConfig, output: Output) -> Result<Self, Error> {
        let (config, in_force) = described::<F::Config>(variables)?;
        let name = config.function().to_owned();
        let function = F::new(config, sdk, output.clone());
        Ok(Self { function, name, in_force, home: OnceLock::new(), output })
    }

    /// Tells the function its own ARN, which every invocation carries. From then on messages of another account or
    /// Region are refused.
    pub fn set_arn(&self, arn: &str) {
        if let Some(home) = Origin::of_arn(arn) {
            self.home.get_or_init(|| home);
        }
    }

    /// Handles every message of `payload` and returns the answer for Lambda: the answer itself for a single message,
    /// the list of failed messages for an SQS batch.
    ///
    /// # Errors
    /// The error of a single message. For a batch only [`Error::InvalidPayload`], if the batch itself can't be read.
    pub async fn invoke(&self, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
        if payload.get("action").is_some_and(|action| action == "describe") {
            return Ok(json!(self.describe()));
        }
        match self.function.read(payload) {
            Ok(Payload::One(received)) => Ok(json!(self.conclude(received, invocation).await?)),
            Err(error) => {
                let unread = Received {
                    message: Err(error),
                    time: None,
                    origin: Origin::default(),
                    about: Map::new(),
                };
                Ok(json!(self.conclude(unread, invocation).await?))
            }
            Ok(Payload::Batch(messages)) => {
                let failures = stream::iter(messages)
                    .map(|(id, received)| async move {
                        let failed = self.conclude(received, invocation).await.is_err();
                        failed.then(|| json!({ "itemIdentifier": id }))
                    })
                    .buffered(MAX_CONCURRENT_MESSAGES)
                    .filter_map(std::future::ready)
                    .collect::<Vec<_>>()
                    .await;
                Ok(json!({ "batchItemFailures": failures }))
            }
        }
    }

    /// The answer to `{"action":"describe"}`: the configuration in force, without a call to AWS.
    fn describe(&self) -> Answer {
        let answer = Answer::new(Outcome::DESCRIBED).with("function", self.name.as_str());
        answer.with("version", F::VERSION).with("configuration", self.in_force.clone())
    }

    /// Handles one message within the deadline and writes its lines: a warning for each failure, then the line about
    /// the message.
    async fn conclude(
        &self,
        received: Received<F::Message>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let Received { message, time, origin, about } = received;
        let at_home = self.home.get().map_or(Ok(()), |home| origin.check(home));
        let (result, calls) = match at_home.and(message) {
            Ok(message) => calls::counted(invocation.guard(self.function.handle(message, invocation))).await,
            Err(error) => (Err(error), Calls::new()),
        };
        match &result {
            Ok(answer) => {
                let reason = answer.fields.get("reason").and_then(Value::as_str).unwrap_or("done");
                debug!("handled: {}, {reason}", answer.outcome.as_str());
            }
            Err(error) => {
                let name = error.name();
                let about = (!about.is_empty()).then(|| Value::from(about.clone()));
                error!(error.type = name, about = about.map(tracing::field::display), "failed: {name}: {}", error.chain());
            }
        }
        let warnings = match &result {
            Ok(answer) => answer.warnings.as_slice(),
            Err(error) => error.warnings(),
        };
        let warnings = warnings.iter().map(|warning| metrics::warning(&self.name, warning, invocation));
        let line = metrics::line(&self.name, &result, about, calls, time, invocation);
        for line in warnings.chain([line]) {
            if let Err(error) = self.output.line(&line) {
                error!(%error, "a line could not be written to standard output, and follows on standard error");
                // Lambda logs both, and the line stays a metric.
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
        result
    }
}
