//! One call to AWS. Transient errors are retried while the run has time. A concurrent update of a target, by a
//! deployment or a scaling policy, ends within moments.

use std::future::Future;
use std::time::Duration;

use aws_sdk_applicationautoscaling::config::http::HttpResponse;
use aws_sdk_applicationautoscaling::config::timeout::TimeoutConfig;
use aws_sdk_applicationautoscaling::error::{ProvideErrorMetadata, SdkError};
use lambda_kit::retry::retry_until_deadline;
use lambda_kit::{Error, Invocation};

/// Maximum of targets that are handled concurrently, each with one call at a time, and of concurrent calls to ECS. AWS
/// publishes no rate for these calls, and public reports show throttles at a handful of concurrent calls. More would
/// turn into retries, fewer would take longer.
pub(crate) const MAX_CONCURRENT_TARGETS: usize = 5;

/// The settings of one attempt with this time limit: it does not retry by itself.
macro_rules! limits {
    ($sdk:ident, $limit:expr) => {
        $sdk::config::Config::builder()
            .retry_config($sdk::config::retry::RetryConfig::disabled())
            .timeout_config($crate::call::timeouts($limit))
    };
}
pub(crate) use limits;

pub(crate) fn timeouts(limit: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit).build()
}

/// A call of which every error is the same.
pub(crate) async fn call<T, E, F>(
    name: &'static str,
    invocation: &Invocation,
    send: impl Fn(Duration) -> F,
) -> Result<T, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    retry_until_deadline(name, invocation, send).await.map_err(|error| Error::aws(name, &error))
}
