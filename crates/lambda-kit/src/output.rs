//! Standard output: records and metrics, one JSON object per line. Logs go to standard error, so the log can explain
//! a record that could not be written.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

/// The destination of the lines.
#[derive(Debug, Clone)]
pub enum Output {
    /// An open file; in Lambda, a duplicate of standard output. It has no buffer, because `std::io::Stdout` keeps
    /// unwritten bytes and hides a closed descriptor.
    File(Arc<File>),
    /// A channel for simulations and tests.
    Channel(UnboundedSender<String>),
}

impl Output {
    /// Standard output of this process.
    ///
    /// # Errors
    /// The descriptor could not be duplicated.
    pub fn stdout() -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::File(Arc::new(File::from(descriptor))))
    }

    /// Writes `value` as one line of JSON, in one write, so lines don't mix.
    ///
    /// # Errors
    /// The line could not be written completely.
    pub fn line(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(value)?;
        match self {
            Self::File(file) => {
                line.push('\n');
                file.as_ref().write_all(line.as_bytes())
            }
            Self::Channel(lines) => lines.send(line).map_err(io::Error::other),
        }
    }
}
