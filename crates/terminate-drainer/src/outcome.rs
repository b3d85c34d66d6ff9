//! The outcomes of this function only. The words are part of the contract. How a drain's end becomes a result is in
//! `plan`.

use lambda_kit::Outcome;

/// The commands were sent. The event of their end starts the function again.
pub(crate) const COMMAND_SENT: Outcome = Outcome::new("command-sent");

/// The commands were sent before and still run.
pub(crate) const COMMAND_RUNNING: Outcome = Outcome::new("command-running");

/// The commands outlast this run. The sweep continues.
pub(crate) const LEFT_TO_SWEEP: Outcome = Outcome::new("left-to-sweep");
