//! Runs a handler in this process. It works under paused time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::sync::Notify;

use super::function::Handler;
use super::run::{Run, RunError};

tokio::task_local! {
    /// The run whose handler is this task's: the function's name, the request's id, and how to kill it.
    static RUN: (String, String, Arc<Notify>);
}

/// The signal that kills the run of this task, if the task runs a handler.
pub(in crate::host) fn current_kill() -> Option<Arc<Notify>> {
    RUN.try_with(|(_, _, kill)| kill.clone()).ok()
}

/// The function whose handler this task runs, if it runs one. Collectors of logs use it.
pub fn running_function() -> Option<String> {
    RUN.try_with(|(function, ..)| function.clone()).ok()
}

/// The request's id of the run whose handler this task runs, if it runs one.
pub fn running_request() -> Option<String> {
    RUN.try_with(|(_, request, _)| request.clone()).ok()
}

/// Runs the handler until it returns, panics, is killed or reaches the time limit.
pub(in crate::host) async fn handle(
    handler: &Handler,
    run: &Run,
    limit: Duration,
) -> Result<Value, RunError> {
    let kill = Arc::new(Notify::new());
    let work = AssertUnwindSafe(handler(run.payload.clone(), limit)).catch_unwind();
    tokio::select! {
        biased;
        () = kill.notified() => Err(RunError::Killed),
        result = RUN.scope((run.function.clone(), run.request_id.clone(), kill.clone()), work) => {
            result.map_or_else(|_| Err(RunError::Panicked), |answer| Ok(answer?))
        }
        () = tokio::time::sleep(limit) => Err(RunError::TimedOut(limit)),
    }
}
