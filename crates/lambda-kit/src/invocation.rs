//! The clock and the deadline of one run. It reads only tokio's clock, so a run under paused time is exact.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use tokio::time::Instant;

use crate::Error;

/// Time that is reserved for the metric, the log and the answer. These take some milliseconds; half a second also
/// covers a busy small function. If it is too short, Lambda kills a run that used its whole time before it answers.
/// If it is longer, the work loses that time.
const ANSWER_RESERVE: Duration = Duration::from_millis(500);

/// A very short run reserves one part in this many, so that the work has some time.
const ANSWER_RESERVE_DIVISOR: u32 = 10;

/// The clock and the deadline of one invocation.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    wall: DateTime<Utc>,
    started: Instant,
    work_ends: Instant,
    cut_off: Instant,
    request: Option<RequestId>,
}

/// Lambda's request id: the first of its ASCII characters, as many as a UUID has.
#[derive(Debug, Clone, Copy)]
struct RequestId([u8; RequestId::LENGTH]);

impl RequestId {
    const LENGTH: usize = 36;

    fn new(text: &str) -> Self {
        let mut id = [0; Self::LENGTH];
        id.iter_mut().zip(text.bytes().filter(u8::is_ascii_graphic)).for_each(|(to, from)| *to = from);
        Self(id)
    }
}

impl Invocation {
    /// An invocation that starts now, at `wall`, and ends after `limit`.
    pub fn new(wall: DateTime<Utc>, limit: Duration) -> Self {
        let started = Instant::now();
        let reserve = ANSWER_RESERVE.min(limit / ANSWER_RESERVE_DIVISOR);
        Self {
            wall,
            started,
            work_ends: started + (limit - reserve),
            cut_off: started + (limit - reserve / 2),
            request: None,
        }
    }

    /// The same run with Lambda's request id. Lambda's retries of an asynchronous event have the same one.
    #[must_use]
    pub fn of_request(self, id: &str) -> Self {
        Self { request: Some(RequestId::new(id)), ..self }
    }

    /// Lambda's request id.
    pub fn request_id(&self) -> Option<&str> {
        let RequestId(id) = self.request.as_ref()?;
        std::str::from_utf8(id).ok().map(|id| id.trim_end_matches('\0')).filter(|id| !id.is_empty())
    }

    /// The same run for a piece of work that takes at most `limit`.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self { work_ends: self.work_ends.min(Instant::now() + limit), ..self }
    }

    /// The current time.
    pub fn now(&self) -> DateTime<Utc> {
        self.wall + TimeDelta::from_std(self.elapsed()).unwrap_or(TimeDelta::MAX)
    }

    /// The time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time that is left for the work, without the reserve for the answer.
    pub fn time_left(&self) -> Duration {
        self.work_ends.saturating_duration_since(Instant::now())
    }

    /// Runs `work` within the deadline. `work` should end by itself when no time is left. If it does not, the guard
    /// cuts it off half of the reserve later, so that `work` can first say what it waited for. A panic becomes an
    /// error of this work only.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Panic`], or the error of `work`.
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
