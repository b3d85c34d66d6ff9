//! Lambda functions and their execution environments. This folder does not know the lab; `invocation`, beside it,
//! connects the two.
//!
//! `function` holds the account's functions, `run` a run and its end, `handler` runs a function in this process,
//! `sandbox` in a process of its own, and `concurrency` limits the runs.

pub(crate) mod function;
pub(crate) mod handler;
pub(crate) mod run;

pub(super) mod concurrency;
pub(super) mod sandbox;
