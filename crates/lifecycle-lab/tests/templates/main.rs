//! The rules of EC2's launch templates, and of Auto Scaling groups that launch from them, one test for
//! each, through real SDK clients. `scene` is the stage.

#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but not in what they share")]

mod backups;
mod failures;
mod groups;
mod lists;
mod preflight;
mod refreshes;
mod scene;
mod versions;
