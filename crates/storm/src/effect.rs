//! The effect of a call, from its outcome in the lab.

use lifecycle_lab::Outcome;

/// AWS's error codes for a problem of AWS or a missing permission: the codes of the lab's faults. Throttles
/// come first.
const FAULT_CODES: [&str; 15] = [
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "InternalFailure",
    "InternalError",
    "InternalServerError",
    "InternalServiceException",
    "ServerException",
    "ServiceException",
    "ResourceContention",
    "ConcurrentUpdateException",
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
];

/// Number of throttles at the beginning of `FAULT_CODES`.
const THROTTLE_COUNT: usize = 4;

/// Whether AWS refused a call because there were too many.
pub(crate) fn is_throttle(outcome: Outcome) -> bool {
    outcome.error_code().is_some_and(|code| FAULT_CODES[..THROTTLE_COUNT].contains(&code))
}

/// Whether something happened to a call that is not the caller's fault.
pub(crate) fn is_disturbed(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Answered(verdict) => verdict.is_err_and(|code| FAULT_CODES.contains(&code)),
        _ => true,
    }
}
