//! The glue to Lambda: the environment, logs, the SDK's settings and the Runtime API. The only place
//! that reads the environment and the wall clock.

use std::env;
use std::io::{self, Stderr, Write};
use std::time::{Duration, SystemTime};

use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::config::{ProvideCredentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_types::SdkConfig;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, layers::TracingLayer, service_fn};
use lambda_runtime_api_client::{Client, body::Body, build_request};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::{FUNCTION_NAME, Variables};
use crate::{Error, Invocation, sdk};

/// Longest wait for a connection. Inside a Region it takes a few milliseconds; one second means that
/// a network path is missing, and waiting longer would only eat the run's time.
const CONNECT: Duration = Duration::from_secs(1);

/// Longest wait for the first byte of one attempt's answer, and for the whole attempt. The slowest
/// calls here answer within a second or two.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Longest time for a call with all its attempts: a hanging one and a second try fit into a function of
/// ten seconds. A completion takes what its run has left instead.
const OPERATION: Duration = Duration::from_secs(8);

/// Longest wait for the Runtime API to take the report of a failed start. It is on this machine.
const INIT_ERROR: Duration = Duration::from_secs(2);

/// Attempts of a call that has no longer budget of its own: enough for a throttle and a broken
/// connection in a row, few enough to leave AWS's shared token bucket to others.
const ATTEMPTS: u32 = 3;

/// The SDK's first pause between attempts, before jitter, and its longest: three attempts fit into the
/// shortest of these functions.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Writes logs to standard error: JSON lines where the function's log format says so, and at its log
/// level (`INFO` without one). Call it once, first.
pub fn start_logging() {
    let variable = |name| env_variable(name).unwrap_or_default();
    let level = match variable("AWS_LAMBDA_LOG_LEVEL").to_ascii_uppercase().as_str() {
        // Lambda sets no level in the text format, and tracing reads an empty one as ERROR.
        "" => LevelFilter::INFO,
        "FATAL" => LevelFilter::ERROR,
        level => level.parse().unwrap_or(LevelFilter::INFO),
    };
    // The runtime logs every error again that it is handed; `dispatch` has logged it already.
    let filter =
        Targets::new().with_default(level).with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| OneLine(io::stderr()))
        .with_target(false)
        .with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    // Rust's own report of a panic is many lines; the message follows in the line about the event.
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

/// Writes each log event as one line: a line break in a name or in an error's text would let its author
/// write log lines of his own.
struct OneLine(Stderr);

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // Nearly all of them are one line of ASCII already.
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

/// Reads the function's configuration from the environment. Where it is bad, says so on standard error
/// and to the Runtime API, with every bad variable, and answers `None`: then the process must exit.
pub async fn configure<C>(parse: impl FnOnce(&Variables) -> Result<C, Error>) -> Option<C> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let variables = Variables::of_environment(env::vars_os());
    let (config, mut errors) = match parse(&variables) {
        Ok(config) => (Some(config), Vec::new()),
        Err(Error::InvalidConfig(errors)) => (None, errors),
        Err(other) => (None, vec![other.chain()]),
    };
    errors.extend(missing_of_lambda());
    if errors.is_empty() {
        return config;
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

/// Variables that Lambda sets and lambda_runtime panics without.
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

/// `POST /runtime/init/error`: lambda_runtime has no public way to report a failed start.
async fn post_init_error(diagnostic: Diagnostic) -> Result<(), lambda_runtime::Error> {
    let request = build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header("lambda-runtime-function-error-type", &diagnostic.error_type)
        .body(Body::from(serde_json::to_vec(&diagnostic)?))?;
    tokio::time::timeout(INIT_ERROR, Client::builder().build()?.call(request)).await??;
    Ok(())
}

/// The one HTTP client of all SDK clients. TLS by ring: aws-lc's entropy source costs 45 to 60 ms of
/// CPU at the first handshake.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// The SDK's settings, as Lambda's environment has them.
pub fn sdk_config(credentials: impl ProvideCredentials + 'static) -> SdkConfig {
    sdk::config(env_variable, SharedCredentialsProvider::new(credentials), http_client())
}

/// The same settings with this project's retries and timeouts, for every client of a function.
pub fn tuned(sdk: &SdkConfig) -> SdkConfig {
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(LONGEST_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ATTEMPT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    sdk.to_builder().retry_config(retries).timeout_config(timeouts).build()
}

/// Takes events from the Runtime API and hands them to `invoke`, one after the other, until Lambda
/// ends the process.
///
/// # Errors
/// The Runtime API could not be reached.
pub async fn run(
    invoke: impl AsyncFn(Value, Invocation) -> Result<Value, Error>,
) -> Result<(), lambda_runtime::Error> {
    let handler = service_fn(async |event: LambdaEvent<Value>| {
        let invocation = invocation(event.context.deadline());
        invoke(event.payload, invocation).await.map_err(Diagnostic::from)
    });
    Runtime::new(handler).layer(MapRequestLayer::new(always_json)).layer(TracingLayer::new()).run().await
}

/// An invocation that starts now.
fn invocation(deadline: SystemTime) -> Invocation {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = SystemTime::now();
    Invocation::new(now.into(), time_left(deadline, now))
}

/// `cargo lambda watch` says how long a run may take where Lambda says when it ends, which makes it a time of
/// 1970; no run takes a day.
fn time_left(deadline: SystemTime, now: SystemTime) -> Duration {
    let day = Duration::from_secs(24 * 3_600);
    match deadline.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(length) if length < day => length,
        _ => deadline.duration_since(now).unwrap_or_default(),
    }
}

/// A payload that is no JSON becomes a JSON text, so that it fails like every other wrong payload, by
/// our name for it.
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
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
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
