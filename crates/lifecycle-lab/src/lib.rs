//! A model of AWS for tests of code that acts when an instance launches or terminates, or that scales ECS services.
//!
//! The lab keeps the state of Auto Scaling, EC2, Run Command, Lambda, ECS and Application Auto Scaling, and moves it with the
//! clock: hooks time out, commands end, images become available. Your code calls it through the AWS SDK. Time is tokio's
//! paused time, so a drain of 48 hours takes milliseconds.
//!
//! # One hook from launch to service
//!
//! ```
//! use std::time::Duration;
//!
//! use aws_sdk_autoscaling::Client;
//! use lifecycle_lab::{Lab, What};
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, 7);
//!     let aws = Client::new(&lab.sdk_config("operator"));
//!     let mut moments = lab.observe();
//!
//!     // A group, and a hook that holds each new instance for up to five minutes.
//!     let group = aws.create_auto_scaling_group().auto_scaling_group_name("web");
//!     let group = group.launch_configuration_name("web").availability_zones("us-east-1a");
//!     group.min_size(0).max_size(1).send().await?;
//!     let hook = aws.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("bootstrap");
//!     let hook = hook.lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING").heartbeat_timeout(300);
//!     hook.default_result("ABANDON").send().await?;
//!     aws.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(1).send().await?;
//!
//!     // The instance waits. The event has the token of its lifecycle action.
//!     let event = loop {
//!         if let What::Sent(event) = moments.recv().await.unwrap().what {
//!             break event;
//!         }
//!     };
//!     assert_eq!(event["detail-type"], "EC2 Instance-launch Lifecycle Action");
//!     let instance = event["detail"]["EC2InstanceId"].as_str().unwrap();
//!     let token = event["detail"]["LifecycleActionToken"].as_str().unwrap();
//!     let state = || lab.world(|world| world.autoscaling.instance(instance).unwrap().state);
//!     assert_eq!(state(), "Pending:Wait");
//!
//!     // After four minutes, a heartbeat restarts the hook's timer.
//!     lab.sleep(Duration::from_secs(240)).await;
//!     let heartbeat = aws.record_lifecycle_action_heartbeat().auto_scaling_group_name("web");
//!     heartbeat.lifecycle_hook_name("bootstrap").lifecycle_action_token(token).send().await?;
//!     lab.sleep(Duration::from_secs(240)).await;
//!     assert_eq!(state(), "Pending:Wait");
//!
//!     // The completion lets the instance into service.
//!     let complete = aws.complete_lifecycle_action().auto_scaling_group_name("web");
//!     let complete = complete.lifecycle_hook_name("bootstrap").lifecycle_action_token(token);
//!     complete.lifecycle_action_result("CONTINUE").send().await?;
//!     assert!(lab.until(Duration::from_secs(60), |world| {
//!         world.autoscaling.instance(instance).is_some_and(|one| one.state == "InService")
//!     }).await);
//!     Ok(())
//! }
//! ```
//!
//! Without the heartbeat, the hook times out after five minutes: its default result `ABANDON` terminates the instance, and the
//! group launches another one.
//!
//! # Knobs
//!
//! ```
//! # use std::time::Duration;
//! use lifecycle_lab::Lab;
//! use lifecycle_lab::faults::{CallFault, EventFault};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! // Seed: the same seed repeats the same ids, delays and faults.
//! let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, 42);
//!
//! // Faults: of the next calls of an action, of the next events of a type, or by probability.
//! lab.faults().script("CompleteLifecycleAction", [CallFault::Throttle, CallFault::CutAfter]);
//! lab.faults().script_events("EC2 Instance-launch Lifecycle Action", [EventFault::Lost]);
//! lab.faults().chaos("throttle=0.1,event-doubled=0.02".parse()?);
//!
//! // Delays: how long AWS takes. Here, an instance boots for 90 seconds.
//! lab.world(|world| world.delays.boot = Duration::from_secs(90));
//!
//! // Agents: those of a group never register. Images: the next one of this name fails.
//! lab.world(|world| world.run_command.set_registration("web", None));
//! let failure = Some("Server.InternalError: the snapshot failed".to_owned());
//! let fails = lifecycle_lab::ec2::ImageScript { pending: Duration::from_secs(60), failure };
//! lab.world(|world| world.ec2.script_images("post-mortem", [fails]));
//!
//! // TCP: an endpoint for binaries, the AWS CLI and other SDKs.
//! let endpoint = format!("http://{}", lab.tcp().await?);
//! # assert!(endpoint.starts_with("http://127.0.0.1:"));
//! # Ok(())
//! # }
//! ```
//!
//! Further entry points:
//!
//! - [`Lab::add_function`] deploys a [`Function`]: a handler in this process, or a binary behind Lambda's Runtime API.
//! - [`Lab::add_rule`], [`Lab::subscribe`] and [`Lab::schedule`] invoke it: by an EventBridge rule, through SQS or SNS, and on a
//!   schedule.
//! - [`Lab::transcript`] returns the calls of one caller as text, to compare with a snapshot.
//! - [`Lab::observe`] reports each change, event, call and run as it happens.
//! - [`scenarios`] plays what CloudFormation does to groups.
//!
//! The lab answers an action or a parameter that it does not model with the error `LabNotModelled`.
//!
//! # The code
//!
//! The code is in three folders, and imports point one way: `host` -> `wire` -> `aws`.
//!
//! - `aws`: the state of each service and its clock, synchronous.
//! - `wire`: the four protocols of the requests and answers.
//! - `host`: the running lab: the doors, the clock tied to tokio's, faults, rules and queues, functions.

mod aws;
mod host;
mod wire;

pub use aws::error::ApiError;
pub use aws::lambda::{Configuration, Configurations};
pub use aws::throttle::Bucket;
pub use aws::world::{ACCOUNT, Delays, Effect, REGION, Sight, World};
pub use aws::{autoscaling, ec2, ecs, pattern, run_command, scalable_targets};
pub use host::bus::DeadLetter;
pub use host::bus::Envelope;
pub use host::call::{Call, Outcome, Verdict};
pub use host::lab::Lab;
pub use host::lambda::function::{Code, Function, Handler};
pub use host::lambda::handler::{running_function, running_request};
pub use host::lambda::run::{Condition, Failure, FunctionError, Run, RunError};
pub use host::moment::{Moment, What};
pub use host::{faults, scenarios};
