//! The errors that a function answers with: one variant, and one stable name, for each thing that a
//! person would do differently. `runtime` turns them into Lambda's `errorType` and `errorMessage`.

use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::operation::RequestId;

/// Why an event was not handled. Returned only where running the event again can help, or where the
/// failure queue must keep it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Variables of the function are wrong; each line names one. Correct them and deploy again.
    #[error("{}", .0.join("; "))]
    InvalidConfig(Vec<String>),
    /// The payload is not what it claims to be, or not known at all. `path` names the field.
    #[error("{path}: {reason}")]
    InvalidPayload {
        /// Where in the payload, for example `detail.EC2InstanceId`; `.` is the payload itself.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// A well-formed event that this function is not for: the rule that sent it is wrong.
    #[error("{0}")]
    UnsupportedEvent(String),
    /// AWS refused the call or could not be reached.
    #[error("{call} failed")]
    AwsError {
        /// The API action, for example `CompleteLifecycleAction`.
        call: &'static str,
        /// AWS's error code and text, or what kept the call from AWS.
        source: AwsFailure,
    },
    /// The function's time was over before the work was done.
    #[error("{0}")]
    Timeout(String),
    /// A defect in this function. The message is the panic's.
    #[error("{0}")]
    Panic(String),
}

impl Error {
    /// The stable name: Lambda's `errorType`, and the metric's dimension.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidConfig(_) => "InvalidConfig",
            Self::InvalidPayload { .. } => "InvalidPayload",
            Self::UnsupportedEvent(_) => "UnsupportedEvent",
            Self::AwsError { .. } => "AwsError",
            Self::Timeout(_) => "Timeout",
            Self::Panic(_) => "Panic",
        }
    }

    /// The message with every cause behind it, joined by colons.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// What went wrong with one call to AWS, in one line: `code: message (request id)` where AWS
/// answered, and the SDK's chain of causes where it did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AwsFailure(String);

impl AwsFailure {
    /// Reads the failure out of the SDK's error, which displays as "service error" and nothing else.
    pub fn new<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(service) = error.as_service_error() else {
            return Self(chain(error));
        };
        let code = service.code().unwrap_or("no error code");
        let message = service.message().unwrap_or("no message");
        let request = error.request_id().map(|id| format!(" (request {id})")).unwrap_or_default();
        Self(format!("{code}: {message}{request}"))
    }

    /// The same with every occurrence of a lifecycle action token cut to its first eight characters:
    /// AWS's texts quote the token, and whoever has it can end the wait.
    #[must_use]
    pub fn without_token(self, token: &str) -> Self {
        Self(self.0.replace(token, action_id(token)))
    }
}

/// The first eight characters of a lifecycle action token: enough to find the action in a log, too
/// little to complete it.
pub fn action_id(token: &str) -> &str {
    token.char_indices().nth(8).map_or(token, |(end, _)| &token[..end])
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
