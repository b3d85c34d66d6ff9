//! What the in-process and the process tests share: the samples, and a lab in which an instance waits.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use launch_logger::Context;
use lifecycle_lab::Lab;
use serde_json::{Value, json};
use testkit::Scene;

pub(crate) const NAME: &str = "launch-logger";
pub(crate) const HOOK: &str = "record-launch";

/// A sample of `events/launch-logger`, about the instance that waits in the scene.
pub(crate) fn sample(name: &str, scene: &Scene) -> Value {
    let text = testkit::sample(NAME, name).to_string().replace("i-1234567890abcdef0", &scene.instance);
    serde_json::from_str(&text.replace("87654321-4321-4321-4321-210987654321", scene.token())).unwrap()
}

/// A lab with one group, `web`, whose one instance waits in the launching hook `record-launch` when it is `time`.
pub(crate) async fn scene_at(time: DateTime<Utc>) -> Scene {
    scene_accepted_after(time, Duration::ZERO).await
}

/// The same, but Auto Scaling accepts a completion only this long after the wait began.
pub(crate) async fn scene_accepted_after(time: DateTime<Utc>, acceptance: Duration) -> Scene {
    let lab = Lab::new(time - Duration::from_secs(60), 7);
    lab.world(|world| world.delays.acceptance = acceptance);
    let operator = Client::new(&lab.sdk_config("operator"));
    let mut moments = lab.observe();
    testkit::create_group(&operator, "web", 1, &[(HOOK, testkit::LAUNCHING, 300, "ABANDON")]).await;
    lab.skip(Duration::from_secs(60));
    let event = testkit::lifecycle_event(&mut moments).await;
    Scene { event, ..Scene::new(lab, operator, NAME, "web") }
}

/// The detail-type of a launch.
pub(crate) const LAUNCH_EVENT: &str = "EC2 Instance-launch Lifecycle Action";

/// The function in this process, with its rule and, every minute, its sweep. The first one comes after `offset`.
pub(crate) async fn deploy_swept(lab: &Lab, variables: &[(&str, &str)], offset: Duration) {
    testkit::deploy::<Context>(lab, variables, Duration::from_secs(30));
    lab.add_rule(&json!({ "source": ["aws.autoscaling"], "detail-type": [LAUNCH_EVENT] }), NAME).unwrap();
    lab.sleep(offset).await;
    lab.schedule(Duration::from_secs(60), NAME, json!({ "action": "reconcile" }));
}

/// The JSON lines that were written with this value under this name.
pub(crate) fn lines_with(lab: &Lab, name: &str, value: &str) -> Vec<Value> {
    let lines = lab.logs().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines.filter(|line| line[name] == value).collect()
}
