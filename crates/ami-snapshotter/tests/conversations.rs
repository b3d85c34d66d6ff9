//! Conversations with AWS, word for word: each test plays one payload and compares every call and the
//! answer. That a call was not made shows too.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::{DEATH_EVENT, Setting, create_group};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

const TOKEN: &str = "87654321-4321-4321-4321-210987654321";

/// What differs from run to run of nothing but the lab's seed: ids stay, because the seed is fixed.
fn played(scene: &common::Scene, answer: &Value) -> String {
    format!("{}{answer}\n", scene.lab.transcript(ami_snapshotter::NAME))
}

/// Lets the instance of a scene die of an EC2 health check and plays the event of its wait.
async fn check_death(setting: Setting, expected: Expect) {
    let scene = Setting { rules: false, ..setting }.scene().await;
    let mut moments = scene.lab.observe();
    scene.fail();
    scene.waits().await;
    let event = std::iter::from_fn(|| moments.try_recv().ok()).find_map(|moment| match moment.what {
        lifecycle_lab::What::Sent(event) if event["detail-type"] == DEATH_EVENT => Some(event),
        _ => None,
    });
    let answer = scene.invoke(event.unwrap()).await.unwrap();
    expected.assert_eq(&played(&scene, &answer));
}

async fn check_sample(setting: Setting, sample: &str, expected: Expect) {
    let scene = Setting { rules: false, ..setting }.scene().await;
    create_group(&scene.operator, "web-2026", 0, 1_800, false).await;
    let answer = scene.invoke(serde_json::from_str(sample).unwrap()).await;
    let answer = answer.unwrap_or_else(|error| json!({ "error": error }));
    let text = played(&scene, &answer);
    assert!(!answer.to_string().contains(TOKEN), "{answer}");
    expected.assert_eq(&text);
}

#[tokio::test(start_paused = true)]
async fn an_unexpected_death() {
    check_death(Setting::default(), expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_death_in_a_group_that_was_replaced() {
    let setting = Setting::default().with("CURRENT_ASG_NAME", "web-2");
    let scene = Setting { rules: false, ..setting }.scene().await;
    create_group(&scene.operator, "web-2", 0, 1_800, false).await;
    let mut moments = scene.lab.observe();
    scene.fail();
    scene.waits().await;
    let event = std::iter::from_fn(|| moments.try_recv().ok()).find_map(|moment| match moment.what {
        lifecycle_lab::What::Sent(event) if event["detail-type"] == DEATH_EVENT => Some(event),
        _ => None,
    });
    let answer = scene.invoke(event.unwrap()).await.unwrap();
    expect![[""]].assert_eq(&played(&scene, &answer));
}

#[tokio::test(start_paused = true)]
async fn a_planned_death() {
    let setting = Setting::default().with("SKIP_CAUSES", "health-check-ec2");
    check_death(setting, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_launch() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default().fresh(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_launch_of_a_younger_group() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_launch_in_the_stored_group() {
    let sample = include_str!("../../../events/ami-snapshotter/launch.json");
    check_sample(Setting::default().with("CURRENT_ASG_NAME", "web-2026"), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_return_to_the_warm_pool() {
    let sample = include_str!("../../../events/ami-snapshotter/return-to-warm-pool.json");
    check_sample(Setting::default(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_image() {
    let sample = include_str!("../../../events/ami-snapshotter/image-available.json");
    check_sample(Setting::default(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_deregistered() {
    let sample = include_str!("../../../events/ami-snapshotter/image-deregistered.json");
    check_sample(Setting::default(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_finds_nothing() {
    let sample = include_str!("../../../events/ami-snapshotter/reconcile.json");
    check_sample(Setting::default(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_without_a_group() {
    let sample = include_str!("../../../events/ami-snapshotter/scheduled.json");
    check_sample(Setting::default().fresh(), sample, expect![[""]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_kind() {
    let sample = include_str!("../../../events/ami-snapshotter/stopped-refused.json");
    check_sample(Setting::default(), sample, expect![[""]]).await;
}
