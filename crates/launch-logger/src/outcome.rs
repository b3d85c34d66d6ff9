//! The failure that launch-logger tells. The word is part of the contract.

use lambda_kit::Failure;

/// The launch was completed without a record: `ON_FAILURE` decided, or the sweep could not write it.
pub const NOT_RECORDED: Failure = Failure::new("not-recorded");
