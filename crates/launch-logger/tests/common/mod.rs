//! What the in-process and the process tests share: the samples, and a lab in which an instance waits.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lifecycle_lab::Lab;
use serde_json::Value;

pub(crate) const GROUP: &str = "web";
pub(crate) const HOOK: &str = "record-launch";

/// A sample of `events/launch-logger`, about the instance that waits in the scene.
pub(crate) fn sample(name: &str, scene: &Scene) -> Value {
    let text = fs::read_to_string(events().join(name).with_extension("json")).unwrap();
    let text = text.replace("i-1234567890abcdef0", &scene.instance);
    serde_json::from_str(&text.replace("87654321-4321-4321-4321-210987654321", &scene.token)).unwrap()
}

/// The folder of the samples.
pub(crate) fn events() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/launch-logger"))
}

/// A lab with one group, `web`, whose one instance waits in the launching hook `record-launch`.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) instance: String,
    pub(crate) token: String,
}

impl Scene {
    /// The instance waits when it is `time`.
    pub(crate) async fn at(time: DateTime<Utc>) -> Self {
        Self::accepted_after(time, Duration::ZERO).await
    }

    /// The same, but Auto Scaling accepts a completion only this long after the wait began.
    pub(crate) async fn accepted_after(time: DateTime<Utc>, acceptance: Duration) -> Self {
        let lab = Lab::new(time - Duration::from_secs(60), 7);
        lab.world(|world| world.delays.acceptance = acceptance);
        let operator = Client::new(&lab.sdk_config("operator"));
        operator
            .create_auto_scaling_group()
            .auto_scaling_group_name(GROUP)
            .launch_configuration_name("web")
            .availability_zones("us-east-1a")
            .min_size(1)
            .max_size(3)
            .send()
            .await
            .unwrap();
        operator
            .put_lifecycle_hook()
            .auto_scaling_group_name(GROUP)
            .lifecycle_hook_name(HOOK)
            .lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING")
            .heartbeat_timeout(300)
            .send()
            .await
            .unwrap();
        lab.skip(Duration::from_secs(60));
        let (instance, token) = lab.world(|world| {
            let instance = world.autoscaling.instances().next().unwrap();
            (instance.id.clone(), instance.waits[HOOK].token.clone())
        });
        Self { lab, instance, token }
    }

    /// The lifecycle state of the instance, or `gone`.
    pub(crate) fn state(&self) -> &'static str {
        self.lab.world(|world| {
            world.autoscaling.instance(&self.instance).map_or("gone", |instance| instance.state)
        })
    }
}
