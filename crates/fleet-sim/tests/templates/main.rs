//! The templates of `infra/`, tried against the code: they have the functions' variables, their rules match the
//! samples that they should, and their roles allow what the functions were seen to call and nothing else.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod patterns;
mod permissions;
mod policy;
mod requests;
mod scenes;
mod shape;
mod variables;

use std::fs;
use std::path::{Path, PathBuf};

/// The functions that have a template.
const FUNCTIONS: [&str; 5] = [
    launch_logger::NAME,
    terminate_drainer::NAME,
    ami_snapshotter::NAME,
    lt_ami_refresher::NAME,
    ecs_scheduler::NAME,
];

/// A path of the repository.
fn path(relative: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(relative)
}

/// The text of a file of the repository.
fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}
