//! The outcomes and failures of this function only. The words are part of the contract.

use lambda_kit::{Failure, Outcome};

/// The group is now stored as the one in service of its succession.
pub(crate) const GROUP_STORED: Outcome = Outcome::new("group-stored");

/// The stored groups are unchanged.
pub(crate) const GROUP_UNCHANGED: Outcome = Outcome::new("group-unchanged");

/// EC2 accepted an image of the instance. The event of its end starts the function again.
pub(crate) const IMAGE_REQUESTED: Outcome = Outcome::new("image-requested");

/// An image was requested before and is still pending.
pub(crate) const IMAGE_PENDING: Outcome = Outcome::new("image-pending");

/// The action is left to the hook's timeout, as configured.
pub(crate) const LEFT: Outcome = Outcome::new("left");

/// A failure: EC2 refuses the image.
pub(crate) const IMAGE_REFUSED: Failure = Failure::new("image-refused");

/// A failure: the image failed, or was pending for too long.
pub(crate) const IMAGE_FAILED: Failure = Failure::new("image-failed");

/// A failure: the group had its images of the hour.
pub(crate) const IMAGE_SKIPPED: Failure = Failure::new("image-skipped");

/// A failure: an old image, or its snapshot, could not be deleted.
pub(crate) const RETENTION_FAILED: Failure = Failure::new("retention-failed");

/// A failure: the function's variables have no room for the group's name.
pub(crate) const NOT_STORED: Failure = Failure::new("not-stored");
