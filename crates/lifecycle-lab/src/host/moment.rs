//! The moments that a lab reports to its watchers.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::call::Call;
use super::faults::EventFault;
use super::lambda::run::{Run, RunError};
use crate::aws::world::Sight;

/// Something that happened, for those who watch.
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
    /// A change in the world.
    Seen(Sight),
    /// An event or a hook notification left AWS.
    Sent(Value),
    /// It met a fault on its way to a target.
    Faulted(EventFault, Value),
    /// A call to AWS was answered, or not.
    Called(Call),
    /// Lambda had no room for a run of a function: it is throttled. An event waits for the next try, unless
    /// it is too old; a single invocation is refused.
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
