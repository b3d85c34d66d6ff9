//! The outcomes and failures of this function only. The words are part of the contract. How a drain's end becomes a
//! result or a failure is in `plan`.

use lambda_kit::{Failure, Outcome};

/// The commands were sent. The event of their end starts the function again.
pub(crate) const COMMAND_SENT: Outcome = Outcome::new("command-sent");

/// The commands were sent before and still run.
pub(crate) const COMMAND_RUNNING: Outcome = Outcome::new("command-running");

/// The commands outlast this run, or the agent is not there yet. The sweep continues.
pub(crate) const LEFT_TO_SWEEP: Outcome = Outcome::new("left-to-sweep");

/// A failure: the commands failed, were cancelled, could not be sent, or ended by the clock.
pub(crate) const DRAIN_FAILED: Failure = Failure::new("drain-failed");

/// A failure: the agent can't be reached, or never picked the commands up.
pub(crate) const UNREACHABLE: Failure = Failure::new("unreachable");
