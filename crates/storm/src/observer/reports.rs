//! The failures that functions reported, and those that they have to report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Utc};

/// The reports so far, and the expected ones.
#[derive(Default)]
pub(super) struct Reports {
    /// Failures by instance.
    pub(super) seen: VecDeque<Seen>,
    pub(super) expected: VecDeque<Expected>,
    /// Runs that were disturbed, or failed, and when they ended.
    pub(super) disturbed: VecDeque<(DateTime<Utc>, String)>,
    /// The failures of instances that are gone, and when they went.
    pub(super) epitaphs: BTreeMap<String, (DateTime<Utc>, BTreeSet<&'static str>)>,
}

pub(super) struct Seen {
    pub(super) at: DateTime<Utc>,
    pub(super) word: &'static str,
    pub(super) instance: String,
}

/// A failure that a line must report.
pub(super) struct Expected {
    /// One of these words is expected.
    pub(super) words: &'static [&'static str],
    pub(super) from: DateTime<Utc>,
    pub(super) due: DateTime<Utc>,
    pub(super) instance: String,
    pub(super) history: Vec<String>,
    /// The runs that can report it.
    pub(super) runs: BTreeSet<String>,
}

impl Reports {
    /// A run ended that was disturbed.
    pub(super) fn disturbed(&mut self, at: DateTime<Utc>, run: &str) {
        self.disturbed.push_back((at, run.to_owned()));
    }
}

/// Whether a line is the metric `Failures`.
pub(super) fn is_failure(line: &str) -> bool {
    line.contains("\"Failures\":1")
}
