//! The connection to Lambda: environment, logs, SDK settings and Runtime API. Only this module reads the environment
//! and the wall clock.

use std::env;
use std::io::{self, Stderr, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, layers::TracingLayer, service_fn};
use lambda_runtime_api_client::{Client, body::Body, build_request};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::{FUNCTION_NAME, Variables};
use crate::{Error, Function, Invocation, Output, Running, sdk};

/// Maximum time to connect. Inside a Region a connection takes a few milliseconds. After one second the network path
/// is missing, and a longer wait would only use up the run's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum time for one attempt, and for the first byte of its answer. The slowest calls answer within a second or
/// two.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time for a call with all its attempts: one that hangs and a second one fit into a function of ten seconds.
/// A completion uses the rest of the run instead.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// Maximum time to report a failed start to the Runtime API, which is on the same machine.
const INIT_ERROR_TIMEOUT: Duration = Duration::from_secs(2);

/// Attempts of a call without a budget of its own: enough for a throttle and a broken connection in a row, few enough
/// to leave AWS's shared token bucket to other callers.
const MAX_ATTEMPTS: u32 = 3;

/// The SDK's first and longest pause between attempts, before jitter. Three attempts fit into the function with the
/// shortest time limit.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Writes logs to standard error, in the function's log format and log level (default `INFO`).
fn start_logging() {
    let variable = |name| env_variable(name).unwrap_or_default();
    let level = match variable("AWS_LAMBDA_LOG_LEVEL").to_ascii_uppercase().as_str() {
        // In the text format Lambda sets no level, and tracing reads an empty level as ERROR.
        "" => LevelFilter::INFO,
        "FATAL" => LevelFilter::ERROR,
        level => level.parse().unwrap_or(LevelFilter::INFO),
    };
    // The runtime also logs every error, which `Running` has already logged.
    let filter =
        Targets::new().with_default(level).with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| OneLine(io::stderr()))
        .with_target(false)
        .with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    // Rust's report of a panic has many lines. The message is in the line about the event.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("panicked at {place}");
    }));
    if variable("AWS_LAMBDA_LOG_FORMAT").eq_ignore_ascii_case("json") {
        registry.with(lines.json().flatten_event(true).with_span_list(false)).init();
    } else {
        registry.with(lines.without_time()).init();
    }
}

/// Writes each log event as one line. Otherwise a line break in a name or in an error text could forge a log line.
struct OneLine(Stderr);

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // Nearly all events already are one line of ASCII.
        if let Some((b'\n', line)) = event.split_last()
            && line.iter().all(|byte| matches!(byte, b' '..=b'~'))
        {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(event.len());
        for character in text.trim_end_matches('\n').chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Creates the function from the environment's variables. If they are bad, reports all bad variables to standard error and to the
/// Runtime API and returns `None`; then the process must exit.
async fn configure<C>(create: impl FnOnce(&Variables) -> Result<C, Error>) -> Option<C> {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
    let variables = Variables::of_environment(env::vars_os());
    let (created, mut errors) = match create(&variables) {
        Ok(created) => (Some(created), Vec::new()),
        Err(Error::InvalidConfig(errors)) => (None, errors),
        Err(other) => (None, vec![other.chain()]),
    };
    errors.extend(missing_of_lambda());
    if errors.is_empty() {
        return created;
    }
    let error = Error::InvalidConfig(errors);
    tracing::error!(error.type = error.name(), "{}: {}", error.name(), error.chain());
    if env_variable("AWS_LAMBDA_RUNTIME_API").is_some()
        && let Err(cause) = post_init_error(Diagnostic::from(error)).await
    {
        tracing::error!(%cause, "the bad configuration could not be reported to the Runtime API");
    }
    None
}

/// Missing variables that Lambda sets. Without them lambda_runtime panics.
fn missing_of_lambda() -> Vec<String> {
    [
        "AWS_LAMBDA_RUNTIME_API",
        FUNCTION_NAME,
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    ]
    .into_iter()
    .filter(|name| env_variable(name).is_none())
    .map(|name| format!("{name}: not set; Lambda sets it, and so does `cargo lambda watch`"))
    .collect()
}

/// Calls `POST /runtime/init/error`. lambda_runtime has no public function to report a failed start.
async fn post_init_error(diagnostic: Diagnostic) -> Result<(), lambda_runtime::Error> {
    let request = build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header("lambda-runtime-function-error-type", &diagnostic.error_type)
        .body(Body::from(serde_json::to_vec(&diagnostic)?))?;
    tokio::time::timeout(INIT_ERROR_TIMEOUT, Client::builder().build()?.call(request)).await??;
    Ok(())
}

/// The HTTP client of all SDK clients. TLS uses ring: aws-lc's entropy source costs 45 to 60 ms of CPU at the first
/// handshake.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Adds this project's retries and timeouts to the settings. All clients of a function use them.
pub fn with_timeouts_and_retries(sdk: &SdkConfig) -> SdkConfig {
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    sdk.to_builder().retry_config(retries).timeout_config(timeouts).build()
}

/// Runs the function `F` in Lambda until Lambda ends the process. Fails if the configuration is bad, standard output
/// can't be opened, or the Runtime API is unreachable. The reason is on standard error.
pub async fn run<F: Function>(credentials: impl ProvideCredentials + 'static) -> ExitCode {
    start_logging();
    let output = match Output::stdout() {
        Ok(output) => output,
        Err(error) => {
            tracing::error!("the function exits: standard output can't be opened: {error}");
            return ExitCode::FAILURE;
        }
    };
    let sdk = sdk::config(env_variable, SharedCredentialsProvider::new(credentials), http_client());
    let create = |variables: &Variables| Running::<F>::new(variables, &sdk, output);
    let Some(running) = configure(create).await else {
        return ExitCode::FAILURE;
    };
    let served = async {
        let handler = service_fn(async |event: LambdaEvent<Value>| {
            let invocation = invocation(event.context.deadline()).of_request(&event.context.request_id);
            running.set_arn(&event.context.invoked_function_arn);
            running.invoke(event.payload, &invocation).await.map_err(Diagnostic::from)
        });
        Runtime::new(handler).layer(MapRequestLayer::new(always_json)).layer(TracingLayer::new()).run().await
    };
    match served.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the function exits: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An invocation that starts now.
fn invocation(deadline: SystemTime) -> Invocation {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the wall clock")]
    let now = SystemTime::now();
    Invocation::new(now.into(), time_left(deadline, now))
}

/// The time until `deadline`. `cargo lambda watch` sends a duration in place of the deadline, which reads as a time
/// in 1970. No run takes a day, so such a time is read as a duration.
fn time_left(deadline: SystemTime, now: SystemTime) -> Duration {
    let day = Duration::from_secs(24 * 3_600);
    match deadline.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(length) if length < day => length,
        _ => deadline.duration_since(now).unwrap_or_default(),
    }
}

/// Turns a payload that is not JSON into a JSON string, so that it fails as [`Error::InvalidPayload`] like any other
/// wrong payload.
fn always_json(mut invocation: LambdaInvocation) -> LambdaInvocation {
    if serde_json::from_slice::<Value>(&invocation.body).is_err() {
        let text = Value::from(String::from_utf8_lossy(&invocation.body));
        invocation.body = text.to_string().into();
    }
    invocation
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.name().to_owned(), error_message: error.chain() }
    }
}

fn env_variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
    env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_time_or_the_length_of_a_run() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(1_795_000_000);
        for (deadline, left) in [(1_795_000_030, 30), (1_794_999_999, 0), (600, 600)] {
            assert_eq!(time_left(at(deadline), now), Duration::from_secs(left), "{deadline}");
        }
    }
}
