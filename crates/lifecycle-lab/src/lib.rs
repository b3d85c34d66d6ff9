//! A model of AWS for code that acts at the moment an instance is born or dies, or that lets services
//! sleep: the clock of lifecycle hooks, commands on instances, scalable targets and the tasks behind them,
//! and the slowness and the faults of everything around them.
//!
//! One state machine ([`World`]) behind two doors ([`Lab::sdk_config`] in this process, [`Lab::tcp`]
//! over TCP); functions that run as processes or as handlers ([`Function`]); rules and queues that
//! carry events to them ([`Lab::add_rule`], [`Lab::subscribe`]); faults on request ([`Lab::faults`]).
//! It knows AWS and nothing of the functions that are tried on it. What it does not model it refuses
//! by name.

pub mod autoscaling;
mod aws_json;
mod bucket;
mod bus;
mod door;
pub mod ec2;
pub mod ecs;
pub mod faults;
mod lab;
mod lambda;
pub mod pattern;
mod query;
mod rest;
pub mod run_command;
mod sandbox;
pub mod scalable_targets;
pub mod scenarios;
mod wire;
mod world;

pub use bucket::Bucket;
pub use bus::Envelope;
pub use lab::{Call, Lab, Moment, What};
pub use lambda::{
    Code, Configuration, Configurations, Failure, Function, FunctionError, Handler, Run, running_function,
};
pub use query::ApiError;
pub use world::{ACCOUNT, Delays, Effect, REGION, Sight, World};
