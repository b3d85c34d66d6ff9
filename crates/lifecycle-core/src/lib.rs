//! What the functions share: the events that reach them, the lifecycle action and its completion,
//! the sweep's steps, configuration, errors, metrics and the glue to Lambda's Runtime API.
//!
//! What only one function does lives in that function. AWS calls made here:
//! `autoscaling:CompleteLifecycleAction`, `autoscaling:RecordLifecycleActionHeartbeat`, and what `waits`
//! reads of Auto Scaling.

pub mod action;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod event;
pub mod filter;
pub mod invocation;
pub mod metrics;
pub mod output;
pub mod runtime;
mod sdk;
pub mod sweep;
pub mod waits;

pub use action::{ActionResult, Actions, Completion, Wait};
pub use dispatch::{Answer, Outcome, dispatch};
pub use error::Error;
pub use event::{Event, LifecycleAction, Message, Transition};
pub use invocation::Invocation;
pub use output::Output;
pub use sweep::Sweep;
