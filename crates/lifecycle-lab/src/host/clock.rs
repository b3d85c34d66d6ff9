//! The lab's time: tokio's clock plus the time that was skipped.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

/// A clock. Under paused time, it jumps from timer to timer. In real time, it runs.
#[derive(Debug)]
pub(super) struct Clock {
    epoch: DateTime<Utc>,
    started: Instant,
    /// The time that was skipped so far.
    skipped: watch::Sender<Duration>,
}

impl Clock {
    /// A clock that now shows `epoch`.
    pub(super) fn new(epoch: DateTime<Utc>) -> Self {
        Self { epoch, started: Instant::now(), skipped: watch::Sender::new(Duration::ZERO) }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        let passed = self.started.elapsed() + *self.skipped.borrow();
        self.epoch + TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX)
    }

    pub(super) fn skip(&self, duration: Duration) {
        self.skipped.send_modify(|skipped| *skipped += duration);
    }

    pub(super) async fn sleep_until(&self, until: DateTime<Utc>) {
        let mut skipped = self.skipped.subscribe();
        while let Ok(left) = (until - self.now()).to_std()
            && !left.is_zero()
        {
            tokio::select! {
                biased;
                () = tokio::time::sleep(left) => {}
                _ = skipped.changed() => {}
            }
        }
    }
}
