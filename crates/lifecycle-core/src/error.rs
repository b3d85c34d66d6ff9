//! The errors that a function answers with: one variant, and one stable name, for each thing that a
//! person would do differently. `runtime` turns them into Lambda's `errorType` and `errorMessage`.

use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::operation::RequestId;

use crate::action::is_transient;

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
    /// No image is there to make a version of: the backups have never run here, or are named otherwise.
    #[error("{0}")]
    NoImageFound(String),
    /// The newest image is too old: the backups have stopped.
    #[error("{0}")]
    StaleImage(String),
    /// Instances could not be launched from the version that would be made; each line says why. Correct
    /// the launch template or the variables.
    #[error("{}", .0.join("; "))]
    UnusableTemplate(Vec<String>),
    /// Some of many targets were not dealt with; all others were.
    #[error("{} of {all} targets failed: {}", failed.len(), failed.join("; "))]
    TargetsFailed {
        /// How many there were.
        all: usize,
        /// What failed: a target's name, a colon, and why.
        failed: Vec<String>,
    },
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
            Self::NoImageFound(_) => "NoImageFound",
            Self::StaleImage(_) => "StaleImage",
            Self::UnusableTemplate(_) => "UnusableTemplate",
            Self::TargetsFailed { .. } => "TargetsFailed",
            Self::Panic(_) => "Panic",
        }
    }

    /// What a failed call to AWS is to the function: [`Error::Timeout`] where there was no answer,
    /// [`Error::AwsError`] where there was one or the call did not get there.
    pub fn aws<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        Self::of_failure(call, error, AwsFailure::new(error))
    }

    pub(crate) fn of_failure<E>(
        call: &'static str,
        error: &SdkError<E, HttpResponse>,
        failure: AwsFailure,
    ) -> Self {
        match error {
            SdkError::TimeoutError(_) => Self::Timeout(format!("{call} had no answer in time: {failure}")),
            _ => Self::AwsError { call, source: failure },
        }
    }

    /// Whether a repeat can succeed: AWS throttled the call, failed itself, was at another update or did not answer
    /// in time.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::AwsError { source, .. } => source.transient,
            _ => false,
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
#[error("{text}")]
pub struct AwsFailure {
    text: String,
    /// Whether the same call can succeed a moment later.
    transient: bool,
}

impl AwsFailure {
    /// Reads the failure out of the SDK's error, which displays as "service error" and nothing else. Of
    /// whatever looks like a lifecycle action token in AWS's text, only the first eight characters stay.
    pub fn new<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let transient = is_transient(error);
        let Some(service) = error.as_service_error() else {
            return Self { text: chain(error), transient };
        };
        let code = service.code().unwrap_or("no error code");
        let message = without_tokens(service.message().unwrap_or("no message"));
        let request = error.request_id().map(|id| format!(" (request {id})")).unwrap_or_default();
        Self { text: format!("{code}: {message}{request}"), transient }
    }

    /// A failure that AWS tells in the text of an answer.
    pub fn told(text: impl Into<String>) -> Self {
        Self { text: text.into(), transient: false }
    }

    /// The same without this token, whatever it looks like.
    #[must_use]
    pub fn without_token(self, token: &str) -> Self {
        Self { text: self.text.replace(token, action_id(token)), ..self }
    }
}

/// The first eight characters of a lifecycle action token: enough to find the action in a log, too
/// little to complete it.
pub fn action_id(token: &str) -> &str {
    token.char_indices().nth(8).map_or(token, |(end, _)| &token[..end])
}

/// Cuts everything of a token's form, which is a UUID's, to eight characters.
fn without_tokens(text: &str) -> String {
    let of_uuid = |character: char| character.is_ascii_hexdigit() || character == '-';
    let pieces = text.split_inclusive(|character| !of_uuid(character)).map(|piece| {
        let word = piece.trim_end_matches(|character| !of_uuid(character));
        let is_uuid = word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        if is_uuid { format!("{}{}", action_id(word), &piece[word.len()..]) } else { piece.to_owned() }
    });
    pieces.collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_awss_texts_are_cut_wherever_they_stand() {
        let token = "2ab28dd5-0c9b-4b61-9f0d-6a3d3d1f7a10";
        for (text, expected) in [
            ("found with token T", "found with token 2ab28dd5"),
            ("'T' and (T), T.", "'2ab28dd5' and (2ab28dd5), 2ab28dd5."),
            ("no token: 2ab28dd5-0c9b, 1-2", "no token: 2ab28dd5-0c9b, 1-2"),
            ("", ""),
        ] {
            assert_eq!(without_tokens(&text.replace('T', token)), expected);
        }
    }
}
