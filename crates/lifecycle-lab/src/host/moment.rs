//! The moments that a lab reports to its watchers.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::call::Call;
use super::faults::EventFault;
use super::lambda::run::{Run, RunError};
use crate::aws::world::Sight;

/// Something that happened, as the lab reports it.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A change of AWS's state.
    Seen(Sight),
    /// An event or a hook notification left AWS.
    Sent(Value),
    /// An event or a hook notification met a fault on its way to a target.
    Faulted(EventFault, Value),
    /// A call to AWS ended, with or without an answer.
    Called(Call),
    /// Lambda throttled a run of a function. An event waits for its next attempt, unless it is too old. A
    /// single invocation is refused.
    Throttled {
        /// The function.
        function: String,
        /// The event.
        payload: Value,
    },
    /// A run of a function began.
    Started(Run),
    /// A run of a function ended.
    Ended(Run, Result<Value, RunError>),
    /// A function wrote a line to standard output or standard error.
    Logged {
        /// The function.
        function: String,
        /// The line.
        line: String,
    },
}
