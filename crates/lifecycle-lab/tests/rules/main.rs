//! The rules of EC2 Auto Scaling, as AWS documents them or was recorded to follow them, one test for each, through a
//! real SDK client. `scene` is the stage; what AWS documents nowhere is tested only where others rely on
//! the lab's choice.

#![expect(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but not in what they share")]

mod answers;
mod capacity;
mod deletion;
mod hooks;
mod launches;
mod pools;
mod processes;
mod protocol;
mod replacements;
mod retention;
mod root_volumes;
mod scene;
mod terminations;
mod waits;
