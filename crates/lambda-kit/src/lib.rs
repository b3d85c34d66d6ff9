//! The parts that every Lambda function here needs: runtime, configuration, errors, answers, retries, metrics and output.
//! It calls no AWS service and does not know lifecycle actions.
//!
//! A function implements [`Function`], and its variables implement [`Configuration`]. [`runtime::run`] serves the function
//! in Lambda. [`Running`] invokes it in a test, on the same code path: read the payload, handle each message within the
//! deadline, write one line about each to the output.
//!
//! # A complete function
//!
//! ```
//! use lambda_kit::config::Parser;
//! use lambda_kit::event::{in_field, strict};
//! use lambda_kit::{Answer, Configuration, Error, Function, Invocation, Outcome};
//! use lambda_kit::{Output, Payload, Received, Running};
//! # use std::time::Duration;
//! # use aws_types::SdkConfig;
//! # use serde_json::{Value, json};
//!
//! struct Config { function: String, greeting: String }
//!
//! impl Configuration for Config {
//!     fn read(parser: &mut Parser<'_>) -> Self {
//!         let greeting = parser.get("GREETING", "Hello", str::parse);
//!         Self { function: parser.function("greeter"), greeting }
//!     }
//!     fn function(&self) -> &str { &self.function }
//! }
//!
//! struct Greeter(Config);
//!
//! impl Function for Greeter {
//!     const NAME: &'static str = "greeter";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!     type Config = Config;
//!     type Message = String;
//!
//!     fn new(config: Config, _: &SdkConfig, _: Output) -> Self { Self(config) }
//!     fn read(&self, payload: Value) -> Result<Payload<String>, Error> {
//!         let name = |payload: Value| in_field("name", strict(payload["name"].clone()));
//!         Ok(Payload::One(Received::new(payload, name)))
//!     }
//!     async fn handle(&self, name: String, _: &Invocation) -> Result<Answer, Error> {
//!         let greeting = format!("{}, {name}!", self.0.greeting);
//!         Ok(Answer::new(Outcome::new("greeted")).with("greeting", greeting))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test, a channel receives the output.
//! let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
//! let variables = [("GREETING", "Good morning")].into_iter().collect();
//! let greeter = Running::<Greeter>::new(&variables, &SdkConfig::builder().build(), Output::Channel(sender))?;
//!
//! let invocation = Invocation::new("2026-11-21T08:00:00Z".parse()?, Duration::from_secs(10));
//! let answer = greeter.invoke(json!({ "name": "Ada" }), &invocation).await?;
//! assert_eq!(answer, json!({ "outcome": "greeted", "greeting": "Good morning, Ada!" }));
//! assert!(lines.try_recv()?.contains(r#""outcome":"greeted""#));
//!
//! // A wrong payload fails with the path of the field.
//! let error = greeter.invoke(json!({ "name": 7 }), &invocation).await.unwrap_err();
//! assert_eq!(error.to_string(), "name: invalid type: integer `7`, expected a string");
//! # Ok(())
//! # }
//! ```
//!
//! In Lambda, `main` is one line: `runtime::run::<Greeter>(credentials).await`.

pub mod answer;
pub mod aws;
pub mod calls;
pub mod config;
pub mod error;
pub mod event;
pub mod function;
pub mod invocation;
pub mod metrics;
pub mod output;
pub mod retry;
pub mod runtime;
mod sdk;
pub mod transient;

pub use answer::{Answer, Failure, Outcome, Warning};
pub use config::Variables;
pub use error::Error;
pub use function::{Configuration, Function, Payload, Received, Running};
pub use invocation::Invocation;
pub use output::Output;
