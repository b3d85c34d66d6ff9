//! Lifecycle actions of EC2 Auto Scaling: reading their events, completing them, sending heartbeats, and finding the waits
//! whose events were lost.
//!
//! - [`event`] reads EventBridge events and hook notifications from SQS and SNS.
//! - [`action`] completes an action or sends its heartbeat, with retries until the run's deadline.
//! - [`pending`] lists the instances that wait in a hook. [`reconcile`] sweeps them.
//!
//! AWS calls: `autoscaling:CompleteLifecycleAction`, `autoscaling:RecordLifecycleActionHeartbeat`, and the describing calls of
//! `pending`.
//!
//! # Read, decide, complete
//!
//! The lab below launches an instance into a hook and sends the event.
//!
//! ```
//! use std::time::Duration;
//!
//! use aws_sdk_autoscaling::Client;
//! use lambda_kit::Invocation;
//! use lifecycle_core::{ActionResult, Actions, Completion, Message, Transition, event};
//! use lifecycle_lab::{Lab, What};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, 7);
//! #     let operator = Client::new(&lab.sdk_config("operator"));
//! #     let mut moments = lab.observe();
//! #     let group = operator.create_auto_scaling_group().auto_scaling_group_name("web");
//! #     let group = group.launch_configuration_name("web").availability_zones("us-east-1a");
//! #     group.min_size(1).max_size(1).send().await?;
//! #     let hook = operator.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("bootstrap");
//! #     hook.lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING").send().await?;
//! #     let payload = loop {
//! #         if let What::Sent(event) = moments.recv().await.unwrap().what { break event; }
//! #     };
//!     // `payload` is the event that EventBridge delivers.
//!     let Message::Action(action) = event::message(payload)? else {
//!         panic!("not a lifecycle action");
//!     };
//!     assert_eq!((action.wait.group.as_str(), action.wait.hook.as_str()), ("web", "bootstrap"));
//!
//!     let result = match action.transition {
//!         Transition::Launching => ActionResult::Continue,
//!         _ => ActionResult::Abandon,
//!     };
//!
//!     let actions = Actions::new(Client::new(&lab.sdk_config("my-function")));
//!     let invocation = Invocation::new(lab.now(), Duration::from_secs(10));
//!     let completion = actions.complete(&action.wait, result, Some(action.time), &invocation).await?;
//!     assert_eq!(completion, Completion::Completed);
//!
//!     // A second delivery of the event is no error.
//!     let again = actions.complete(&action.wait, result, Some(action.time), &invocation).await?;
//!     assert_eq!(again, Completion::AlreadyFinished);
//!     Ok(())
//! }
//! ```

pub mod action;
pub mod event;
pub mod outcome;
pub mod pending;
pub mod reconcile;

pub use action::{ActionResult, ActionToken, Actions, Completion, Wait};
pub use event::{LifecycleAction, Message, Transition};
pub use reconcile::Reconciler;
