//! The outcomes that all functions share. The words are part of the contract.

use lambda_kit::{Failure, Outcome};

/// This run completed the action.
pub const COMPLETED: Outcome = Outcome::completing("completed");

/// The action had already ended.
pub const ALREADY_FINISHED: Outcome = Outcome::new("already-finished");

/// The run reconciled its groups.
pub const SWEPT: Outcome = Outcome::new("swept");

/// A failure: the sweep could not deal with a group or with a wait.
pub const SWEEP_INCOMPLETE: Failure = Failure::new("sweep-incomplete");
