//! Which errors of AWS pass. Every call of every function goes by this table: [`is_transient`] errors can succeed a
//! moment later and are repeated within the run; [`is_expired`] and [`is_busy`] ones can succeed in a later run only, which
//! has other credentials, or comes after the end of other work. Within one call, the SDK's own classes decide.
//!
//! Codes: the common errors of the services' API references, and
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The codes of Auto Scaling and Application Auto Scaling while another update runs, which ends within moments.
const CONTENTIONS: [&str; 2] = ["ResourceContention", "ConcurrentUpdateException"];

/// The codes of a throttle that do not begin with `Throttl`.
const THROTTLES: [&str; 9] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "TooManyRequestsException",
];

/// The codes of 5xx answers, should one come with another status, and of requests that took too long.
const PASSING: [&str; 8] = [
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "Unavailable",
];

/// The codes of credentials that have expired or are not valid yet, and of signatures that are too old or too new.
/// EC2 names the former `AuthFailure` or `RequestExpired`.
const EXPIRED: [&str; 9] = [
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// The codes of EC2's limits on images and snapshots under way. They end with the other work: a backup, for example.
const BUSY: [&str; 4] = [
    "ConcurrentCreateImageNoRebootLimitExceeded",
    "ConcurrentSnapshotLimitExceeded",
    "PendingSnapshotLimitExceeded",
    "SnapshotCreationPerVolumeRateExceeded",
];

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
                || error.code().is_some_and(|code| CONTENTIONS.contains(&code) || PASSING.contains(&code))
                || is_throttle(error)
        }
        _ => true,
    }
}

/// Whether AWS throttled the call. Then the call had no effect and can be sent again.
pub fn is_throttle<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|answer| answer.status().as_u16() == 429)
        || error.code().is_some_and(|code| {
            let code = code.rsplit_once('.').map_or(code, |(_, code)| code);
            code.starts_with("Throttl") || THROTTLES.contains(&code)
        })
}

/// Whether AWS did not accept the credentials or the signature because of its time. Lambda gives the next run new
/// ones.
pub fn is_expired<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code().is_some_and(|code| EXPIRED.contains(&code))
}

/// Whether other work of the account has to end first.
pub fn is_busy<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code().is_some_and(|code| BUSY.contains(&code))
}
