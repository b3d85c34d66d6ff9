//! The errors that a function returns. Each variant has a stable name and stands for one thing that an operator would
//! do. `runtime` turns errors into Lambda's `errorType` and `errorMessage`.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

use crate::Warning;
use crate::transient::{is_busy, is_expired, is_transient};

/// Maximum of characters of a text from outside in a log line or in an error. Names of AWS resources have at most 255
/// characters and stay whole.
pub const MAX_FOREIGN_CHARS: usize = 200;

/// Maximum of characters of AWS's own text about an error. It is mostly names: who is not allowed to call what.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// Maximum of bytes of an error's message.
const MAX_CHAIN_BYTES: usize = 4_096;

/// The end of a text that was cut.
const CUT_MARK: &str = "…";

/// Why a message was not handled. A function returns an error only if a retry can help or if the failure queue must
/// keep the event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Variables are wrong; each line names one. Correct the variables and deploy again.
    #[error("{}", .0.join("; "))]
    InvalidConfig(Vec<String>),
    /// The payload is malformed or of an unknown kind.
    #[error("{path}: {reason}")]
    InvalidPayload {
        /// The path of the field, for example `detail.EC2InstanceId`. `.` is the whole payload.
        path: String,
        /// What is wrong with the field.
        reason: String,
    },
    /// A valid event that this function does not handle. Correct the rule that sent it.
    #[error("{0}")]
    UnsupportedEvent(String),
    /// AWS refused the call or was unreachable.
    #[error("{call} failed")]
    AwsError {
        /// The API action, for example `CompleteLifecycleAction`.
        call: &'static str,
        /// AWS's error code and text, or the reason why the call did not reach AWS.
        source: AwsFailure,
    },
    /// The time limit ended before the work.
    #[error("{0}")]
    Timeout(String),
    /// An error that one function defines.
    #[error("{message}")]
    Own {
        /// The stable name.
        name: &'static str,
        /// What went wrong.
        message: String,
    },
    /// The message failed, and besides the error these failures are told.
    #[error("{failed}")]
    Partial {
        /// Why it failed.
        failed: Box<Error>,
        /// What went wrong with the work that was done.
        warnings: Vec<Warning>,
    },
    /// A bug in this function, with the message of the panic.
    #[error("{0}")]
    Panic(String),
}

impl Error {
    /// The stable name: Lambda's `errorType` and the dimension of the metric.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidConfig(_) => "InvalidConfig",
            Self::InvalidPayload { .. } => "InvalidPayload",
            Self::UnsupportedEvent(_) => "UnsupportedEvent",
            Self::AwsError { .. } => "AwsError",
            Self::Timeout(_) => "Timeout",
            Self::Own { name, .. } => name,
            Self::Partial { failed, .. } => failed.name(),
            Self::Panic(_) => "Panic",
        }
    }

    /// Converts a failed call to AWS: [`Error::Timeout`] if AWS did not answer, otherwise [`Error::AwsError`].
    pub fn aws<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        Self::of_failure(call, error, AwsFailure::new(error))
    }

    /// As [`Error::aws`], with a failure that the caller has read already.
    pub fn of_failure<E>(call: &'static str, error: &SdkError<E, HttpResponse>, failure: AwsFailure) -> Self {
        match error {
            SdkError::TimeoutError(_) => Self::Timeout(format!("{call} had no answer in time: {failure}")),
            _ => Self::AwsError { call, source: failure },
        }
    }

    /// Whether a later run can succeed: AWS throttled the call, failed with a 5xx, was busy with other work, did not
    /// answer in time, or did not accept credentials that have expired.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::AwsError { source, .. } => source.transient,
            Self::Partial { failed, .. } => failed.is_transient(),
            _ => false,
        }
    }

    /// The failures to tell besides the error.
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Self::Partial { warnings, .. } => warnings,
            _ => &[],
        }
    }

    /// The message and all its causes, joined by colons; at most 4 KB.
    pub fn chain(&self) -> String {
        if let Self::Partial { failed, .. } = self {
            return failed.chain();
        }
        let mut text = chain(self);
        if let Self::InvalidConfig(lines) = self
            && text.len() > MAX_CHAIN_BYTES
        {
            // One long value does not hide the other variables.
            text = lines.iter().map(|line| cut_middle(line)).collect::<Vec<_>>().join("; ");
        }
        if text.len() > MAX_CHAIN_BYTES {
            text.truncate(text.floor_char_boundary(MAX_CHAIN_BYTES - CUT_MARK.len()));
            text.push_str(CUT_MARK);
        }
        text
    }
}

/// The failure of one call to AWS in one line: `code: message (request id)` if AWS answered, otherwise the SDK's
/// chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct AwsFailure {
    text: String,
    /// Whether a retry can succeed.
    transient: bool,
}

impl AwsFailure {
    /// Reads the failure from the SDK's error, whose own text is only "service error". Every UUID in AWS's text is
    /// cut to eight characters, because it may be a lifecycle action token, which is a secret.
    pub fn new<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let transient = is_transient(error) || is_expired(error) || is_busy(error);
        let Some(service) = error.as_service_error() else {
            return Self { text: chain(error), transient };
        };
        let code = cut(service.code().unwrap_or("no error code"));
        let message = without_uuids(service.message().unwrap_or("no message"));
        let message = cut_to(MAX_MESSAGE_CHARS, &message);
        let request = error.request_id().map(|id| format!(" (request {id})")).unwrap_or_default();
        Self { text: format!("{code}: {message}{request}"), transient }
    }

    /// A failure that AWS reports inside a successful answer.
    pub fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), transient: false }
    }

    /// Cuts `secret` to its first eight characters, whatever its format.
    #[must_use]
    pub fn without(self, secret: &str) -> Self {
        Self { text: self.text.replace(secret, shortened(secret)), ..self }
    }
}

/// A text from outside, cut to [`MAX_FOREIGN_CHARS`] characters and one that shows the cut.
pub fn cut(text: &str) -> String {
    cut_to(MAX_FOREIGN_CHARS, text)
}

fn cut_to(max: usize, text: &str) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}{CUT_MARK}", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text with its beginning and its end, at most [`MAX_FOREIGN_CHARS`] characters and one that shows the cut: an
/// error about a long value names it first, and says last what is wrong.
fn cut_middle(text: &str) -> String {
    let half = |at: usize| text.char_indices().nth(at).map(|(start, _)| start);
    let count = text.chars().count();
    match (half(MAX_FOREIGN_CHARS / 2), half(count.saturating_sub(MAX_FOREIGN_CHARS / 2))) {
        (Some(end), Some(start)) if end < start => format!("{}{CUT_MARK}{}", &text[..end], &text[start..]),
        _ => text.to_owned(),
    }
}

/// The first eight characters of a secret id: enough to find it in a log, too few to use it.
pub fn shortened(token: &str) -> &str {
    token.char_indices().nth(8).map_or(token, |(end, _)| &token[..end])
}

/// Cuts every UUID to eight characters.
fn without_uuids(text: &str) -> String {
    let of_uuid = |character: char| character.is_ascii_hexdigit() || character == '-';
    let pieces = text.split_inclusive(|character| !of_uuid(character)).map(|piece| {
        let word = piece.trim_end_matches(|character| !of_uuid(character));
        let is_uuid = word.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        if is_uuid { format!("{}{}", shortened(word), &piece[word.len()..]) } else { piece.to_owned() }
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
    fn texts_from_outside_are_cut_to_200_characters_and_messages_to_4_kb() {
        assert_eq!((cut("web"), cut(&"ü".repeat(200))), ("web".to_owned(), "ü".repeat(200)));
        assert_eq!(cut(&"ü".repeat(201)), "ü".repeat(200) + "…");
        let message = Error::UnsupportedEvent("ü".repeat(3_000)).chain();
        assert!(
            message.len() <= 4_096 && message.len() > 4_090 && message.ends_with('…'),
            "{}",
            message.len()
        );
    }

    #[test]
    fn a_long_value_hides_no_other_variable() {
        assert_eq!(cut_middle(&"ü".repeat(200)), "ü".repeat(200));
        let long = format!("GROUPS: {}z is wrong", "ü".repeat(2_100));
        let text = Error::InvalidConfig(vec![long, "ACTION: is wrong".to_owned()]).chain();
        assert_eq!(text.chars().count(), 201 + "; ACTION: is wrong".len(), "{text}");
        assert!(text.starts_with("GROUPS: ü") && text.ends_with("üz is wrong; ACTION: is wrong"), "{text}");
        let text = Error::InvalidConfig(vec!["GROUPS: is wrong".repeat(20)]).chain();
        assert_eq!(text.chars().count(), 320, "a text that fits stays whole");
    }

    #[test]
    fn uuids_in_awss_texts_are_cut_wherever_they_stand() {
        let token = "2ab28dd5-0c9b-4b61-9f0d-6a3d3d1f7a10";
        for (text, expected) in [
            ("found with token T", "found with token 2ab28dd5"),
            ("'T' and (T), T.", "'2ab28dd5' and (2ab28dd5), 2ab28dd5."),
            ("no token: 2ab28dd5-0c9b, 1-2", "no token: 2ab28dd5-0c9b, 1-2"),
            ("", ""),
        ] {
            assert_eq!(without_uuids(&text.replace('T', token)), expected);
        }
    }
}
