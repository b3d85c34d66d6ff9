//! A function's answer: a stable outcome and the fields that explain it. Each function defines its own outcomes.

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

/// The answer to a handled message: the outcome and the fields that explain it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Named as in the logs: `asg.name`, `instance.id`, `reason` …
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Answer {
    /// An answer without fields.
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome, fields: Map::new() }
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
}
