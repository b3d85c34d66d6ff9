//! Which errors of AWS pass, so that the same call can succeed a moment later. What the functions repeat themselves goes
//! by it; within one call, the SDK's own classes decide.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The codes of Auto Scaling and Application Auto Scaling while another update runs, which ends within moments.
const CONTENTIONS: [&str; 2] = ["ResourceContention", "ConcurrentUpdateException"];

/// Whether a retry can succeed.
pub fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        // A client without Region or credentials fails the same way again.
        SdkError::DispatchFailure(failure) => {
            failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
        }
        SdkError::ServiceError(answer) => {
            answer.raw().status().is_server_error()
                || error.code().is_some_and(|code| CONTENTIONS.contains(&code))
                || is_throttle(error)
        }
        _ => true,
    }
}

/// Whether AWS throttled the call. Then the call had no effect and can be sent again.
pub fn is_throttle<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|answer| answer.status().as_u16() == 429)
        || error.code().is_some_and(|code| {
            code.starts_with("Throttl") || ["RequestLimitExceeded", "RequestThrottled"].contains(&code)
        })
}
