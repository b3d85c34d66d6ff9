//! The effect of a call, from its outcome in the lab.

use lifecycle_lab::Outcome;

/// Error codes that AWS answers when something is wrong with AWS, or with a permission: the faults of the lab.
const DISTURBED: [&str; 15] = [
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

/// How many of those are throttles.
const THROTTLES: usize = 4;

/// Whether AWS refused a call because there were too many.
pub(crate) fn is_throttle(outcome: Outcome) -> bool {
    outcome.error_code().is_some_and(|code| DISTURBED[..THROTTLES].contains(&code))
}

/// Whether something happened to a call that is not the caller's fault.
pub(crate) fn is_disturbed(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Answered(verdict) => verdict.is_err_and(|code| DISTURBED.contains(&code)),
        _ => true,
    }
}
