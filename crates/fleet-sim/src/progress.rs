//! Says on a terminal what takes seconds, and removes it when there is something to read.

use std::io::{IsTerminal as _, Write as _, stderr};

/// A line that is there until this is dropped. A pipe gets none.
pub(crate) struct Progress;

impl Progress {
    /// Shows this text in place of what was shown before.
    pub(crate) fn show(&self, text: &str) {
        if stderr().is_terminal() {
            // A terminal that is gone has no reader.
            let _ = write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}
