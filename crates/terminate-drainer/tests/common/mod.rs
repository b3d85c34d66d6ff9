//! What the tests share: a lab with a group whose one instance is about to be drained.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lifecycle_lab::Lab;
use lifecycle_lab::run_command::Script;
use serde_json::json;
use terminate_drainer::{Context, NAME};
use testkit::Scene;

pub(crate) const LAUNCH_EVENT: &str = "EC2 Instance-launch Lifecycle Action";
pub(crate) const LIFECYCLE_EVENT: &str = "EC2 Instance-terminate Lifecycle Action";
pub(crate) const STATUS_EVENT: &str = "EC2 Command Invocation Status-change Notification";

/// What a scene differs by.
pub(crate) struct Setting {
    pub(crate) group: String,
    pub(crate) hook: String,
    pub(crate) transition: &'static str,
    pub(crate) heartbeat: i32,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) time_limit: Duration,
    pub(crate) script: Script,
    pub(crate) sweep: Option<Duration>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            group: "web".to_owned(),
            hook: "drain".to_owned(),
            transition: "autoscaling:EC2_INSTANCE_TERMINATING",
            heartbeat: 3_600,
            variables: Vec::new(),
            time_limit: Duration::from_secs(30),
            script: Script { duration: Duration::from_secs(90), ..Script::default() },
            sweep: None,
        }
    }
}

impl Setting {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Looked after by the sweep, every five minutes.
    pub(crate) fn swept(mut self) -> Self {
        self.sweep = Some(Duration::from_secs(300));
        let group = self.group.clone();
        self.with("AUTO_SCALING_GROUPS", &group)
    }

    /// A group with one instance in service, a hook, and the function deployed with the rules of its template.
    pub(crate) async fn scene(self) -> Scene {
        let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
        lab.world(|world| {
            world.run_command.default_script = self.script.clone();
            world.delays.agent_registration = Duration::ZERO;
        });
        deploy(&lab, &self.variables, self.time_limit);
        if let Some(period) = self.sweep {
            lab.schedule(period, NAME, json!({ "action": "reconcile" }));
        }
        let operator = Client::new(&lab.sdk_config("operator"));
        testkit::create_group(
            &operator,
            &self.group,
            1,
            &[(&self.hook, self.transition, self.heartbeat, "CONTINUE")],
        )
        .await;
        let terminating = self.transition.ends_with("TERMINATING");
        let ready = if terminating { "InService" } else { "Pending" };
        lab.until(Duration::from_secs(120), |world| {
            world.autoscaling.instances().any(|instance| instance.state == ready)
        })
        .await;
        Scene::new(lab, operator, NAME, &self.group)
    }
}

/// The function in this process, with the rules of its template.
pub(crate) fn deploy(lab: &Lab, variables: &[(&'static str, String)], time_limit: Duration) {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    testkit::deploy::<Context>(lab, &variables, time_limit);
    for (source, kinds) in
        [("aws.autoscaling", json!([LAUNCH_EVENT, LIFECYCLE_EVENT])), ("aws.ssm", json!([STATUS_EVENT]))]
    {
        lab.add_rule(&json!({ "source": [source], "detail-type": kinds }), NAME).unwrap();
    }
}

/// When each command on the instance was requested, and when it ended.
pub(crate) fn commands(scene: &Scene) -> Vec<(DateTime<Utc>, Option<DateTime<Utc>>)> {
    scene.lab.world(|world| {
        let commands = world.run_command.commands().iter();
        let runs = commands.flat_map(|command| command.invocations.iter().map(move |run| (command, run)));
        let ours = runs.filter(|(_, run)| run.instance == scene.instance);
        ours.map(|(command, run)| (command.requested, run.ended)).collect()
    })
}
