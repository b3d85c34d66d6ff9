//! One call to AWS: its caller, its parameters and its end.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

/// The caller that sets the scene: no fault by probability meets it.
pub(super) const OPERATOR: &str = "operator";

/// One call to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who called: a function's name, `operator`, or `client` over TCP.
    pub caller: String,
    /// HTTP's method.
    pub method: String,
    /// The service's name in IAM: `autoscaling`, `application-autoscaling`, `ec2`, `ecs`, `lambda`,
    /// `ssm`.
    pub service: String,
    /// The action.
    pub action: String,
    /// The parameters, one a line, sorted.
    pub parameters: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Call {
    /// The value of a parameter: of `HookName`, of `Filters.1.key`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What AWS made of a call: `Err` is AWS's error code.
pub type Verdict = Result<(), &'static str>;

/// How a call ended, for the caller and in AWS. It displays as the last line of a call in a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The caller got AWS's answer.
    Answered(Verdict),
    /// AWS answered, and the connection was cut on the way.
    AnswerLost(Verdict),
    /// AWS answered, and the calling function was killed.
    KilledAfter(Verdict),
    /// The calling function was killed before the call took effect.
    KilledBefore,
    /// The connection was cut before the call took effect.
    CutBefore,
    /// AWS neither played nor answered the call.
    NoAnswer,
}

impl Outcome {
    /// The caller got an answer, and it was no error.
    pub const OK: Self = Self::Answered(Ok(()));

    /// Whether AWS carried the call out, though its answer may have been lost.
    pub fn took_effect(self) -> bool {
        matches!(self, Self::Answered(Ok(())) | Self::AnswerLost(Ok(())) | Self::KilledAfter(Ok(())))
    }

    /// AWS's error code, if the caller got one.
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

/// Who makes calls.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// A function's name, `operator`, or `client`.
    pub(super) name: String,
    /// How to kill the function's process, or its run in this process.
    pub(super) kill: Option<Arc<Notify>>,
}

impl Caller {
    /// Whoever comes over TCP and is not a function of the lab: unlike the operator of a test, it meets
    /// faults.
    pub(super) fn client() -> Self {
        Self { name: "client".to_owned(), kill: None }
    }
}
