//! One run of a function: what time it is, and how much of it is left. Reads no clock but tokio's,
//! so that a run under paused time is exact.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use tokio::time::Instant;

use crate::Error;

/// Kept from the work for writing the metric, the log and the answer. They take some milliseconds;
/// half a second also covers a loaded small function. Less, and Lambda kills the answer of a run that
/// used its whole time; more, and the work loses that time.
const ANSWER_RESERVE: Duration = Duration::from_millis(500);

/// Of a very short run only this share is reserved, so that something is left for the work.
const ANSWER_SHARE: u32 = 10;

/// The clock and the deadline of one invocation.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    wall: DateTime<Utc>,
    started: Instant,
    work_ends: Instant,
    cut_off: Instant,
}

impl Invocation {
    /// An invocation that starts now, at `wall`, and that Lambda ends after `limit`.
    pub fn new(wall: DateTime<Utc>, limit: Duration) -> Self {
        let started = Instant::now();
        let reserve = ANSWER_RESERVE.min(limit / ANSWER_SHARE);
        Self {
            wall,
            started,
            work_ends: started + (limit - reserve),
            cut_off: started + (limit - reserve / 2),
        }
    }

    /// The same run, of which a piece of work may take at most `limit`.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self { work_ends: self.work_ends.min(Instant::now() + limit), ..self }
    }

    /// The time of day.
    pub fn now(&self) -> DateTime<Utc> {
        self.wall + TimeDelta::from_std(self.elapsed()).unwrap_or(TimeDelta::MAX)
    }

    /// How long this run has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How long the work may still take. What Lambda needs for the answer is already taken off.
    pub fn time_left(&self) -> Duration {
        self.work_ends.saturating_duration_since(Instant::now())
    }

    /// Runs `work`, which should end by itself when no time is left, but never up to the deadline: half
    /// of the reserve later it is cut off, so that work that knows what it waited for can say so. Turns a panic into an error of this piece alone.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Panic`], or what `work` answers.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout_at(self.cut_off, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Error::Panic(panic_message(panic.as_ref()))),
            Err(_) => Err(Error::Timeout(format!(
                "the work was not done within {:?}; raise the function's timeout, or see which call was slow",
                self.elapsed()
            ))),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a message".to_owned())
}
