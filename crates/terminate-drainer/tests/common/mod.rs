//! What the tests share: a lab with a group whose one instance is about to be drained.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lifecycle_core::{Invocation, Output};
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{Code, Function, FunctionError, Lab};
use serde_json::{Value, json};
use terminate_drainer::{Config, Context, NAME};

pub(crate) const LIFECYCLE_EVENT: &str = "EC2 Instance-terminate Lifecycle Action";
pub(crate) const STATUS_EVENT: &str = "EC2 Command Invocation Status-change Notification";

/// A group with one instance in service, a hook, and the function deployed with the rules of its template.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) operator: Client,
    pub(crate) instance: String,
    pub(crate) group: String,
    pub(crate) hook: String,
}

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

    pub(crate) async fn scene(self) -> Scene {
        let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
        lab.world(|world| world.run_command.default_script = self.script.clone());
        deploy(&lab, &self.variables, self.time_limit);
        if let Some(period) = self.sweep {
            lab.schedule(period, NAME, json!({ "action": "reconcile" }));
        }
        let operator = Client::new(&lab.sdk_config("operator"));
        let create = operator.create_auto_scaling_group().auto_scaling_group_name(&self.group);
        let create = create.launch_configuration_name("web").availability_zones("us-east-1a");
        create.min_size(0).max_size(3).desired_capacity(1).send().await.unwrap();
        let put = operator
            .put_lifecycle_hook()
            .auto_scaling_group_name(&self.group)
            .lifecycle_hook_name(&self.hook);
        let put = put.lifecycle_transition(self.transition).heartbeat_timeout(self.heartbeat);
        put.default_result("CONTINUE").send().await.unwrap();
        let terminating = self.transition.ends_with("TERMINATING");
        let ready = if terminating { "InService" } else { "Pending" };
        lab.until(Duration::from_secs(120), |world| {
            world.autoscaling.instances().any(|instance| instance.state == ready)
        })
        .await;
        let instance = lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
        Scene { lab, operator, instance, group: self.group, hook: self.hook }
    }
}

/// The function in this process, with the rules of its template.
pub(crate) fn deploy(lab: &Lab, variables: &[(&'static str, String)], time_limit: Duration) {
    let variables = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut context = Context::new(Config::parse(&variables).unwrap(), &lab.sdk_config(NAME)).unwrap();
    context.output = Output::Channel(lab.pipe(NAME));
    let clock = lab.clone();
    let code = Code::handler(move |payload, limit| {
        let (context, invocation) = (context.clone(), Invocation::new(clock.now(), limit));
        async move {
            let answer = context.invoke(payload, &invocation).await;
            answer.map_err(|error| FunctionError::new(error.name(), error.chain()))
        }
    });
    lab.add_function(Function { name: NAME.to_owned(), time_limit, code });
    for (source, kinds) in [
        ("aws.autoscaling", json!(["EC2 Instance-launch Lifecycle Action", LIFECYCLE_EVENT])),
        ("aws.ssm", json!([STATUS_EVENT])),
    ] {
        lab.add_rule(&json!({ "source": [source], "detail-type": kinds }), NAME).unwrap();
    }
}

impl Scene {
    pub(crate) async fn scale_in(&self) {
        let request = self.operator.set_desired_capacity().auto_scaling_group_name(&self.group);
        request.desired_capacity(0).send().await.unwrap();
    }

    pub(crate) fn state(&self) -> &'static str {
        self.lab.world(|world| {
            world.autoscaling.instance(&self.instance).map_or("gone", |instance| instance.state)
        })
    }

    /// Waits until the instance is gone or no longer waits; how long that took, in seconds.
    pub(crate) async fn released(&self, limit: Duration) -> Option<i64> {
        let start = self.lab.now();
        let id = self.instance.clone();
        let state =
            |world: &lifecycle_lab::World| world.autoscaling.instance(&id).map(|instance| instance.state);
        let waited =
            self.lab.until(limit, |world| state(world).is_none_or(|state| state.ends_with(":Wait"))).await;
        let left =
            self.lab.until(limit, |world| state(world).is_none_or(|state| !state.ends_with(":Wait"))).await;
        (waited && left).then(|| (self.lab.now() - start).num_seconds())
    }

    /// The function's calls: `SendCommand: ok`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.lab.calls().into_iter().filter(|call| call.caller == NAME);
        calls.map(|call| format!("{}: {}", call.action, call.outcome)).collect()
    }

    /// How the action was completed: the results of the accepted completions.
    pub(crate) fn completions(&self) -> Vec<String> {
        let calls = self.lab.calls().into_iter().filter(|call| call.action == "CompleteLifecycleAction");
        let accepted = calls.filter(|call| call.outcome.starts_with("ok"));
        let result = |call: lifecycle_lab::Call| {
            let line =
                call.parameters.iter().find(|line| line.starts_with("LifecycleActionResult=")).unwrap();
            line.split('=').next_back().unwrap().to_owned()
        };
        accepted.map(result).collect()
    }

    /// When each command on the instance was requested, and when it ended.
    pub(crate) fn commands(&self) -> Vec<(DateTime<Utc>, Option<DateTime<Utc>>)> {
        self.lab.world(|world| {
            let commands = world.run_command.commands().iter();
            let runs = commands.flat_map(|command| command.invocations.iter().map(move |run| (command, run)));
            let ours = runs.filter(|(_, run)| run.instance == self.instance);
            ours.map(|(command, run)| (command.requested, run.ended)).collect()
        })
    }

    /// Invokes the function once.
    pub(crate) async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        self.lab.invoke(NAME, payload, 1).await
    }
}
