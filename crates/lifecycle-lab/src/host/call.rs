//! One call to AWS: its caller, its parameters and its end.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

/// The caller that sets the scene. Faults by probability do not apply to its calls.
pub(super) const OPERATOR: &str = "operator";

/// One call to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who called: a function's name, `operator`, or `client` over TCP.
    pub caller: String,
    /// The HTTP method.
    pub method: String,
    /// The service's name in IAM: `autoscaling`, `application-autoscaling`, `ec2`, `ecs`, `lambda`,
    /// `ssm`.
    pub service: String,
    /// The action.
    pub action: String,
    /// The parameters, one per line, sorted.
    pub parameters: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    /// The value of a parameter, for example of `HookName` or `Filters.1.key`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// AWS's result of a call. `Err` has AWS's error code.
pub type Verdict = Result<(), &'static str>;

/// How a call ended, for the caller and in AWS. It displays as the last line of a call in a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The caller received AWS's answer.
    Answered(Verdict),
    /// AWS answered, but the connection was cut before the caller received the answer.
    AnswerLost(Verdict),
    /// AWS answered, but the calling function was killed.
    KilledAfter(Verdict),
    /// The calling function was killed before the call took effect.
    KilledBefore,
    /// The connection was cut before the call took effect.
    CutBefore,
    /// AWS neither ran nor answered the call.
    NoAnswer,
}

impl Outcome {
    /// The caller received an answer that is not an error.
    pub const OK: Self = Self::Answered(Ok(()));

    /// Whether AWS carried out the call. Its answer may have been lost.
    pub fn took_effect(self) -> bool {
        matches!(self, Self::Answered(Ok(())) | Self::AnswerLost(Ok(())) | Self::KilledAfter(Ok(())))
    }

    /// AWS's error code, if the caller received one.
    pub fn error_code(self) -> Option<&'static str> {
        if let Self::Answered(Err(code)) = self { Some(code) } else { None }
    }

    /// Whether the calling function was killed at this call.
    pub fn is_kill(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |verdict: &Verdict| verdict.err().unwrap_or("ok");
        match self {
            Self::Answered(verdict) => f.write_str(word(verdict)),
            Self::AnswerLost(verdict) => write!(f, "{}, but the answer was lost", word(verdict)),
            Self::KilledAfter(verdict) => write!(f, "{}, but the function was killed", word(verdict)),
            Self::KilledBefore => f.write_str("function killed before the call took effect"),
            Self::CutBefore => f.write_str("connection cut before the call took effect"),
            Self::NoAnswer => f.write_str("no answer"),
        }
    }
}

/// The caller of a call.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// A function's name, `operator`, or `client`.
    pub(super) name: String,
    /// The signal that kills the function's process, or its run in this process.
    pub(super) kill: Option<Arc<Notify>>,
}

impl Caller {
    /// A caller over TCP that is not a function of the lab. Unlike the calls of a test's operator, its calls
    /// meet faults.
    pub(super) fn client() -> Self {
        Self { name: "client".to_owned(), kill: None }
    }
}
