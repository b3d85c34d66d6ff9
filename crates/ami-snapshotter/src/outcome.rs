//! The outcomes of this function only. The words are part of the contract.

use lambda_kit::Outcome;

/// The group is now stored as the one in service.
pub(crate) const GROUP_STORED: Outcome = Outcome::new("group-stored");

/// The stored group is unchanged.
pub(crate) const GROUP_UNCHANGED: Outcome = Outcome::new("group-unchanged");

/// EC2 accepted an image of the instance. The event of its end starts the function again.
pub(crate) const IMAGE_REQUESTED: Outcome = Outcome::new("image-requested");

/// An image was requested before and is still pending.
pub(crate) const IMAGE_PENDING: Outcome = Outcome::new("image-pending");

/// The action is left to the hook's timeout, as configured.
pub(crate) const LEFT: Outcome = Outcome::new("left");
