//! The outcomes of this function only. The words are part of the contract.

use lambda_kit::Outcome;

/// A version with the newest image is now the default.
pub(crate) const VERSION_CREATED: Outcome = Outcome::completing("version-created");

/// The default version already has the newest image.
pub(crate) const UP_TO_DATE: Outcome = Outcome::completing("up-to-date");
