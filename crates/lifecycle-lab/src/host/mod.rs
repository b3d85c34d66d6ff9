//! The running lab: connects AWS's state to tokio's clock, to clients and to functions.
//!
//! - `lab` is the handle: the state behind a lock, `clock`, and the watchers' `moment`s.
//! - `sdk_client` and `tcp` are the doors; `answer` takes a call from a door through `faults` to AWS's state,
//!   and `call` records its end.
//! - `bus` holds rules, queues and topics; `delivery` carries messages to functions.
//! - `lambda` has functions and their environments; `invocation` runs them, with Lambda's retries and failure queue.
//! - `scenarios` plays CloudFormation.

mod answer;
pub(crate) mod bus;
pub(crate) mod call;
mod clock;
pub(crate) mod delivery;
pub mod faults;
mod invocation;
pub(crate) mod lab;
pub(crate) mod lambda;
pub(crate) mod moment;
pub mod scenarios;
mod sdk_client;
mod tcp;

use chrono::{DateTime, Utc};

use lab::Lab;

impl Lab {
    /// Starts a lab whose clock begins at `epoch`. The same seed gives the same ids, delays and faults. Needs
    /// a tokio runtime. For an exact repetition, the runtime must have one thread: the seed also sets the
    /// jitter of SDK clients, but only on this thread.
    pub fn new(epoch: DateTime<Utc>, seed: u64) -> Self {
        Self::start(epoch, seed, Self::spread)
    }
}
