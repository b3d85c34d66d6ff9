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
            code.split('.').any(|part| part.starts_with("Throttl") || THROTTLES.contains(&part))
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

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::metadata::ErrorMetadata;

    use super::*;
    use crate::error::{AwsFailure, Error};

    /// An answer of AWS with this code.
    fn answered(status: u16, code: &str) -> SdkError<ErrorMetadata, HttpResponse> {
        let raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        SdkError::service_error(ErrorMetadata::builder().code(code).build(), raw)
    }

    /// Whether the error is transient, a throttle, of expired credentials, and of other work of the account.
    fn classes(error: &SdkError<ErrorMetadata, HttpResponse>) -> [bool; 4] {
        [is_transient(error), is_throttle(error), is_expired(error), is_busy(error)]
    }

    const PASSES: [bool; 4] = [true, false, false, false];
    const THROTTLE: [bool; 4] = [true, true, false, false];
    const NEXT_RUN: [bool; 4] = [false, false, true, false];
    const OTHER_WORK: [bool; 4] = [false, false, false, true];
    const STAYS: [bool; 4] = [false; 4];

    #[test]
    fn each_code_of_aws_has_its_class() {
        for (status, code, expected) in [
            (500, "InternalFailure", PASSES),
            (503, "whatever", PASSES),
            (500, "ResourceContention", PASSES),
            (400, "ResourceContention", PASSES),
            (400, "ConcurrentUpdateException", PASSES),
            (400, "InternalError", PASSES),
            (400, "InternalFailure", PASSES),
            (400, "InternalServerError", PASSES),
            (400, "InternalServiceException", PASSES),
            (400, "RequestTimeout", PASSES),
            (408, "RequestTimeoutException", PASSES),
            (400, "ServiceUnavailable", PASSES),
            (400, "Unavailable", PASSES),
            (400, "Throttling", THROTTLE),
            (400, "ThrottlingException", THROTTLE),
            (400, "ThrottledException", THROTTLE),
            (400, "Throttling.RateExceeded", THROTTLE),
            (400, "Client.RequestLimitExceeded", THROTTLE),
            (503, "RequestLimitExceeded", THROTTLE),
            (400, "BandwidthLimitExceeded", THROTTLE),
            (400, "EC2ThrottledException", THROTTLE),
            (400, "PriorRequestNotComplete", THROTTLE),
            (400, "ProvisionedThroughputExceededException", THROTTLE),
            (400, "RequestThrottled", THROTTLE),
            (400, "RequestThrottledException", THROTTLE),
            (503, "SlowDown", THROTTLE),
            (400, "TooManyRequestsException", THROTTLE),
            (429, "whatever", THROTTLE),
            (401, "AuthFailure", NEXT_RUN),
            (400, "ExpiredToken", NEXT_RUN),
            (403, "ExpiredTokenException", NEXT_RUN),
            (403, "InvalidClientTokenId", NEXT_RUN),
            (403, "InvalidSignatureException", NEXT_RUN),
            (400, "RequestExpired", NEXT_RUN),
            (403, "RequestTimeTooSkewed", NEXT_RUN),
            (403, "SignatureDoesNotMatch", NEXT_RUN),
            (400, "UnrecognizedClientException", NEXT_RUN),
            (400, "ConcurrentCreateImageNoRebootLimitExceeded", OTHER_WORK),
            (400, "ConcurrentSnapshotLimitExceeded", OTHER_WORK),
            (400, "PendingSnapshotLimitExceeded", OTHER_WORK),
            (400, "SnapshotCreationPerVolumeRateExceeded", OTHER_WORK),
            (400, "AMIQuotaExceeded", STAYS),
            (400, "SnapshotLimitExceeded", STAYS),
            (403, "AccessDenied", STAYS),
            (403, "UnauthorizedOperation", STAYS),
            (400, "ValidationError", STAYS),
            (400, "InvalidInstanceId", STAYS),
            (400, "NotThrottled", STAYS),
        ] {
            let error = answered(status, code);
            assert_eq!(classes(&error), expected, "{status} {code}");
            let passes = expected != STAYS;
            assert_eq!(Error::aws("Call", &error).is_transient(), passes, "{status} {code}");
        }
    }

    #[test]
    fn what_did_not_reach_aws_passes_unless_the_client_is_wrong() {
        let cause = "cause";
        let dispatch = SdkError::<ErrorMetadata, HttpResponse>::dispatch_failure;
        for (error, expected) in [
            (SdkError::construction_failure(cause), STAYS),
            (SdkError::timeout_error(cause), PASSES),
            (dispatch(ConnectorError::io(cause.into())), PASSES),
            (dispatch(ConnectorError::timeout(cause.into())), PASSES),
            (dispatch(ConnectorError::user(cause.into())), STAYS),
        ] {
            assert_eq!(classes(&error), expected, "{error:?}");
        }
        let timeout = SdkError::<ErrorMetadata, HttpResponse>::timeout_error(cause);
        assert_eq!(Error::aws("Call", &timeout).name(), "Timeout");
        let inside = Error::AwsError { call: "Call", source: AwsFailure::of("a reason inside an answer") };
        assert!(!inside.is_transient());
    }
}
