//! What lt-ami-refresher says to EC2, to Auto Scaling and to Lambda: whole conversations with the lab, in this process
//! and under paused time.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../common/mod.rs"]
mod common;

mod care;
mod images;
mod security_groups;
mod versions;

use common::Scene;
use expect_test::Expect;
use serde_json::{Value, json};

/// Compares a whole conversation.
pub(crate) async fn check(scene: &Scene, variables: &[(&str, &str)], payload: Value, expected: Expect) {
    expected.assert_eq(&scene.play(variables, payload).await);
}

/// Compares which calls were made, and how the run ended.
pub(crate) async fn check_calls(scene: &Scene, variables: &[(&str, &str)], payload: Value, expected: Expect) {
    expected.assert_eq(&scene.play_calls(variables, payload).await);
}

/// Compares how a run ended that changed nothing.
pub(crate) async fn check_refusal(scene: &Scene, variables: &[(&str, &str)], expected: Expect) {
    let played = scene.play_calls(variables, json!({})).await;
    let of_call = |line: &&str| ["Describe", "Get", "metric"].iter().any(|start| line.starts_with(start));
    let end: Vec<_> = played.lines().filter(|line| !of_call(line)).collect();
    expected.assert_eq(&(end.join("\n") + "\n"));
    assert_eq!((scene.writes(), scene.default_version()), (Vec::<String>::new(), 1));
}
