//! A function's answer: a stable outcome, the fields that explain it, and what went wrong although the message was
//! answered. Each function defines its own outcomes and failures.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// How a message was handled. The word is part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    word: &'static str,
    completes: bool,
}

impl Outcome {
    /// The message needs no work.
    pub const IGNORED: Self = Self::new("ignored");

    /// `{"action":"describe"}`: the configuration in force.
    pub const DESCRIBED: Self = Self::new("described");

    /// An outcome without completed work.
    pub const fn new(word: &'static str) -> Self {
        Self { word, completes: false }
    }

    /// An outcome of completed work. The metric `EventToCompletion` measures how long it took.
    pub const fn completing(word: &'static str) -> Self {
        Self { word, completes: true }
    }

    /// The spelling in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.word
    }

    pub(crate) const fn completes(self) -> bool {
        self.completes
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word)
    }
}

/// What went wrong although the message was answered. The word is part of the contract, and the dimension `failure`
/// of the metric `Failures`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure(&'static str);

impl Failure {
    /// A failure with this word.
    pub const fn new(word: &'static str) -> Self {
        Self(word)
    }

    /// The spelling in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// A failure that is told: it gets a warning line of its own, which is the metric `Failures`.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// What went wrong.
    pub failure: Failure,
    /// One sentence for the operator.
    pub text: String,
    /// The fields that identify its subject, named as in the answer.
    pub about: Map<String, Value>,
}

/// The answer to a handled message: the outcome and the fields that explain it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Named as in the logs: `asg.name`, `instance.id`, `reason` …
    #[serde(flatten)]
    pub fields: Map<String, Value>,
    /// Fields that the event line has in place of the answer's.
    #[serde(skip)]
    pub logged: Map<String, Value>,
    /// The failures to tell.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
}

impl Answer {
    /// An answer without fields.
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome, fields: Map::new(), logged: Map::new(), warnings: Vec::new() }
    }

    /// The answer to a message that needs no work, with the reason.
    pub fn ignored(reason: &str) -> Self {
        Self::new(Outcome::IGNORED).with("reason", reason)
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Puts this value into the event line, in place of the answer's field of this name.
    #[must_use]
    pub fn logged(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.logged.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the field `failure` and tells it with the fields that the answer has now.
    #[must_use]
    pub fn failure(mut self, failure: Failure, text: impl Into<String>) -> Self {
        self.warnings.push(Warning { failure, text: text.into(), about: self.fields.clone() });
        self.with("failure", failure.as_str())
    }

    /// Adds the field `failures`, a count per word, and tells each of them. Without warnings, the field is left out.
    #[must_use]
    pub fn failures(mut self, warnings: Vec<Warning>) -> Self {
        let mut counts = Map::new();
        for warning in &warnings {
            let count = counts.get(warning.failure.as_str()).and_then(Value::as_u64).unwrap_or_default();
            counts.insert(warning.failure.as_str().to_owned(), (count + 1).into());
        }
        self.warnings.extend(warnings);
        if counts.is_empty() { self } else { self.with("failures", counts) }
    }
}
