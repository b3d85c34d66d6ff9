//! The clocks of a lab, and its default seed.

use tokio::runtime::{Builder, Runtime};

/// Any number would do.
pub const SEED: u64 = 7;

/// A runtime whose clock jumps from timer to timer. Of one thread, so that a seed is exact.
///
/// # Errors
/// The system has no resources for it.
pub fn paused() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}

/// A runtime on the machine's clock, for the functions' binaries.
///
/// # Errors
/// The system has no resources for it.
pub fn real() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
