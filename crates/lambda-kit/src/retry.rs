//! Retries of calls until the run's deadline. `transient` defines which errors are retried.

use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use backon::{BackoffBuilder, ExponentialBuilder};
use tracing::debug;

use crate::Invocation;
use crate::transient::is_transient;

/// The first pause after a throttle, a 5xx, a contention or a broken connection. Auto Scaling has one token bucket
/// per account and Region, which refills many times a second. A shorter pause would retry before the bucket has
/// refilled.
const INITIAL_BACKOFF: Duration = Duration::from_millis(200);

/// The longest pause, before jitter. With a longer one, a function with a short time limit would miss its last
/// attempt.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The time limit of one attempt. A call answers within about 100 ms. Five seconds separate a slow answer from none,
/// and leave time for a second attempt in a function of ten seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// An attempt starts only with at least this much time. A shorter attempt would time out and hide AWS's answer to the
/// attempt before.
pub const MIN_ATTEMPT_TIME: Duration = Duration::from_millis(300);

/// Calls `send` until the error is not [`is_transient`] or the time is over. `send` gets the time limit of the
/// attempt and must not retry by itself: only this loop knows the deadline, and it returns AWS's last error.
///
/// # Errors
/// The error of the last attempt.
pub async fn retry_until_deadline<T, E, F>(
    name: &str,
    invocation: &Invocation,
    send: impl Fn(Duration) -> F,
) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut pauses = pauses();
    if invocation.time_left() < MIN_ATTEMPT_TIME {
        return Err(SdkError::timeout_error(format!("no time was left for {name}")));
    }
    loop {
        let error = match send(ATTEMPT_TIMEOUT.min(invocation.time_left())).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let spare = invocation.time_left().saturating_sub(MIN_ATTEMPT_TIME);
        if !is_transient(&error) || spare.is_zero() {
            return Err(error);
        }
        let pause = pauses.next().unwrap_or(MAX_BACKOFF).min(spare);
        debug!(code = error.code(), pause_ms = pause.as_millis(), "{name} failed; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// The pauses between attempts: an endless series that grows, with jitter.
pub fn pauses() -> impl Iterator<Item = Duration> {
    let pauses = ExponentialBuilder::default().with_min_delay(INITIAL_BACKOFF).with_max_delay(MAX_BACKOFF);
    pauses.with_jitter().without_max_times().build()
}
