//! The state of AWS: every modelled service, the timers that move it, and the parameters and answers of actions.
//! Synchronous: no runtime, no transport, no bytes of a protocol.
//!
//! Each service is a folder: its state in `mod.rs`, its timers in `engine`, its actions in `api` (EC2's actions are
//! beside their resources). [`world`] holds all services and their clock; `throttle` is AWS's token bucket;
//! `services` maps an action to its service. This folder imports neither `wire` nor `host`.

pub mod autoscaling;
pub mod ec2;
pub mod ecs;
pub(crate) mod error;
mod json_api;
pub(crate) mod lambda;
pub(crate) mod parameters;
pub mod pattern;
pub(crate) mod request;
pub mod run_command;
pub mod scalable_targets;
pub(crate) mod services;
mod tagging;
pub(crate) mod throttle;
pub(crate) mod world;
