//! What the tests share: a lab with a group whose one instance serves, and the function deployed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::ops::Deref;
use std::time::Duration;

use ami_snapshotter::{Context, NAME};
use aws_sdk_autoscaling::Client;
use lifecycle_lab::ec2::{Image, ImageScript};
use lifecycle_lab::{Lab, World};
use serde_json::{Value, json};
pub(crate) use testkit::{LAUNCHING, TERMINATING};

pub(crate) const LAUNCH_EVENT: &str = "EC2 Instance-launch Lifecycle Action";
pub(crate) const TERMINATION_EVENT: &str = "EC2 Instance-terminate Lifecycle Action";
pub(crate) const IMAGE_EVENT: &str = "EC2 AMI State Change";

/// A variable of the function that has nothing to do with it and must survive.
pub(crate) const OTHER_VARIABLE: (&str, &str) = ("TEAM", "fleet");

/// What a scene differs by.
pub(crate) struct Setting {
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) instances: i32,
    pub(crate) heartbeat: i32,
    pub(crate) time_limit: Duration,
    pub(crate) sweep: Option<Duration>,
    pub(crate) launching_hook: bool,
    pub(crate) rules: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            variables: vec![("CURRENT_ASG_NAME", "web".to_owned())],
            instances: 1,
            heartbeat: 1_800,
            time_limit: Duration::from_secs(30),
            sweep: None,
            launching_hook: false,
            rules: true,
        }
    }
}

/// A group `web` with an instance in service and a terminating hook `dying`.
pub(crate) struct Scene(testkit::Scene);

impl Deref for Scene {
    type Target = testkit::Scene;

    fn deref(&self) -> &testkit::Scene {
        &self.0
    }
}

impl Setting {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// All groups whose names begin with `web` are one succession.
    pub(crate) fn succession(self) -> Self {
        self.with("AUTO_SCALING_GROUPS", "web*")
    }

    /// Without a stored group.
    pub(crate) fn fresh(mut self) -> Self {
        self.variables.clear();
        self
    }

    /// Looked after by the sweep, every five minutes.
    pub(crate) fn swept(mut self) -> Self {
        self.sweep = Some(Duration::from_secs(300));
        self
    }

    pub(crate) async fn scene(self) -> Scene {
        let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
        deploy(&lab, &self.variables, self.time_limit);
        if self.rules {
            add_rules(&lab);
        }
        if let Some(period) = self.sweep {
            lab.schedule(period, NAME, json!({ "action": "reconcile" }));
        }
        let operator = Client::new(&lab.sdk_config("operator"));
        create_group(&operator, "web", self.instances, self.heartbeat, self.launching_hook).await;
        let all = usize::try_from(self.instances).unwrap();
        let ready = |world: &World| {
            world.autoscaling.instances().filter(|one| one.state == "InService").count() == all
        };
        assert!(lab.until(Duration::from_secs(900), ready).await, "the group never came into service");
        Scene(testkit::Scene::new(lab, operator, NAME, "web"))
    }
}

/// A group with the hooks of the function's template.
pub(crate) async fn create_group(operator: &Client, name: &str, size: i32, heartbeat: i32, launching: bool) {
    let hooks = [("born", LAUNCHING, 300, "CONTINUE"), ("dying", TERMINATING, heartbeat, "CONTINUE")];
    testkit::create_group(operator, name, size, &hooks[usize::from(!launching)..]).await;
}

/// The function in this process.
pub(crate) fn deploy(lab: &Lab, variables: &[(&'static str, String)], time_limit: Duration) {
    let environment: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testkit::deploy::<Context>(lab, &environment, time_limit);
    let other = (OTHER_VARIABLE.0, OTHER_VARIABLE.1.to_owned());
    lab.world(|world| world.set_variables(NAME, variables.iter().cloned().chain([other])));
}

/// The rules of the function's template.
pub(crate) fn add_rules(lab: &Lab) {
    for (source, kinds) in
        [("aws.autoscaling", json!([LAUNCH_EVENT, TERMINATION_EVENT])), ("aws.ec2", json!([IMAGE_EVENT]))]
    {
        lab.add_rule(&json!({ "source": [source], "detail-type": kinds }), NAME).unwrap();
    }
}

impl Scene {
    /// Images that are made of the instance from now on go like this.
    pub(crate) fn script(&self, pending: u64, failure: Option<&str>) {
        let script =
            ImageScript { pending: Duration::from_secs(pending), failure: failure.map(str::to_owned) };
        self.lab.world(|world| world.ec2.set_image_script(&self.instance, script));
    }

    /// Fails the instance, and waits for its wait state. Returns the event of its wait.
    pub(crate) async fn termination(&self) -> Value {
        let mut moments = self.lab.observe();
        self.fail();
        self.waits().await;
        testkit::lifecycle_event(&mut moments).await
    }

    /// The images that were made of the instance.
    pub(crate) fn images(&self) -> Vec<Image> {
        self.lab.world(|world| {
            let images = world.ec2.images().into_iter();
            images.filter(|image| image.source_instance.as_ref() == Some(&self.instance)).cloned().collect()
        })
    }

    /// The words of the reported failures, in order.
    pub(crate) fn failures(&self) -> Vec<String> {
        let lines = self.lab.logs();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let warnings = lines.filter(|line| line["level"] == "WARN" && line["Failures"] == 1);
        warnings.filter_map(|line| line["failure"].as_str().map(str::to_owned)).collect()
    }

    /// How many heartbeats the function sent.
    pub(crate) fn heartbeats(&self) -> usize {
        self.calls().iter().filter(|call| call.starts_with("RecordLifecycleActionHeartbeat")).count()
    }

    /// A client of EC2, of somebody else.
    pub(crate) fn ec2(&self) -> aws_sdk_ec2::Client {
        aws_sdk_ec2::Client::new(&self.lab.sdk_config("operator"))
    }

    /// One variable of the function, as the next process sees it.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.lab.world(|world| world.functions.get(NAME).unwrap().variables.get(name).cloned())
    }
}
