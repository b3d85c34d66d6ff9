//! What the tests share: a lab with a group whose one instance serves, and the function deployed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use ami_snapshotter::{Config, Context, NAME};
use aws_sdk_autoscaling::Client;
use lifecycle_core::{Invocation, Output};
use lifecycle_lab::ec2::{Image, ImageScript};
use lifecycle_lab::{Code, Function, FunctionError, Lab, What, World};
use serde_json::{Value, json};

pub(crate) const LAUNCH_EVENT: &str = "EC2 Instance-launch Lifecycle Action";
pub(crate) const DEATH_EVENT: &str = "EC2 Instance-terminate Lifecycle Action";
pub(crate) const IMAGE_EVENT: &str = "EC2 AMI State Change";
pub(crate) const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";
pub(crate) const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";

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
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) operator: Client,
    pub(crate) instance: String,
}

impl Setting {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
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
        let instance = lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
        Scene { lab, operator, instance }
    }
}

/// A group with the hooks of the function's template.
pub(crate) async fn create_group(operator: &Client, name: &str, size: i32, heartbeat: i32, launching: bool) {
    let create = operator.create_auto_scaling_group().auto_scaling_group_name(name);
    let create = create.launch_configuration_name("web").availability_zones("us-east-1a");
    let create = create.min_size(0).max_size(size.max(1) * 2).desired_capacity(0);
    create.send().await.unwrap();
    for (hook, transition, heartbeat) in [("born", LAUNCHING, 300), ("dying", TERMINATING, heartbeat)] {
        if hook == "born" && !launching {
            continue;
        }
        let put = operator.put_lifecycle_hook().auto_scaling_group_name(name).lifecycle_hook_name(hook);
        let put = put.lifecycle_transition(transition).heartbeat_timeout(heartbeat);
        put.default_result("CONTINUE").send().await.unwrap();
    }
    let set = operator.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(size);
    set.send().await.unwrap();
}

/// The function in this process.
pub(crate) fn deploy(lab: &Lab, variables: &[(&'static str, String)], time_limit: Duration) {
    let environment = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut context = Context::new(Config::parse(&environment).unwrap(), &lab.sdk_config(NAME)).unwrap();
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
    let other = (OTHER_VARIABLE.0, OTHER_VARIABLE.1.to_owned());
    lab.world(|world| world.set_variables(NAME, variables.iter().cloned().chain([other])));
}

/// The rules of the function's template.
pub(crate) fn add_rules(lab: &Lab) {
    for (source, kinds) in
        [("aws.autoscaling", json!([LAUNCH_EVENT, DEATH_EVENT])), ("aws.ec2", json!([IMAGE_EVENT]))]
    {
        lab.add_rule(&json!({ "source": [source], "detail-type": kinds }), NAME).unwrap();
    }
}

impl Scene {
    /// The instance dies of an EC2 health check: nobody planned it.
    pub(crate) fn fail(&self) {
        self.lab.world(|world| world.fail_instance(&self.instance));
    }

    /// Images that are made of the instance from now on go like this.
    pub(crate) fn script(&self, pending: u64, failure: Option<&str>) {
        let script =
            ImageScript { pending: Duration::from_secs(pending), failure: failure.map(str::to_owned) };
        self.lab.world(|world| world.ec2.set_image_script(&self.instance, script));
    }

    pub(crate) fn state(&self) -> &'static str {
        self.lab.world(|world| world.autoscaling.instance(&self.instance).map_or("gone", |one| one.state))
    }

    pub(crate) async fn waits(&self) {
        let waits = |world: &World| {
            world.autoscaling.instance(&self.instance).is_some_and(|one| one.state == "Terminating:Wait")
        };
        assert!(self.lab.until(Duration::from_secs(900), waits).await, "never waited: {}", self.state());
    }

    /// Lets the instance die, and waits until it waits; answers the event of its wait.
    pub(crate) async fn death(&self) -> Value {
        let mut moments = self.lab.observe();
        self.fail();
        self.waits().await;
        let event = std::iter::from_fn(|| moments.try_recv().ok()).find_map(|moment| match moment.what {
            What::Sent(event) if event["detail-type"] == DEATH_EVENT => Some(event),
            _ => None,
        });
        event.unwrap()
    }

    /// Waits until the instance has come to its hook and left it; how long it waited there, in seconds.
    pub(crate) async fn released(&self, limit: Duration) -> Option<i64> {
        self.waits().await;
        let began = self.lab.now();
        let left = |world: &World| {
            let instance = world.autoscaling.instance(&self.instance);
            instance.is_none_or(|one| one.state != "Terminating:Wait")
        };
        let left = self.lab.until(limit, left).await;
        left.then(|| (self.lab.now() - began).num_seconds())
    }

    /// The function's calls: `CreateImage: ok`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.lab.calls().into_iter().filter(|call| call.caller == NAME);
        calls.map(|call| format!("{}: {}", call.action, call.outcome)).collect()
    }

    /// How actions were completed: the results of the accepted completions.
    pub(crate) fn completions(&self) -> Vec<String> {
        let calls = self.lab.calls().into_iter().filter(|call| call.action == "CompleteLifecycleAction");
        let accepted = calls.filter(|call| call.outcome.starts_with("ok"));
        let result = |call: lifecycle_lab::Call| {
            let result = call.parameters.iter().find_map(|line| line.strip_prefix("LifecycleActionResult="));
            result.unwrap().to_owned()
        };
        accepted.map(result).collect()
    }

    /// The images that were made of the instance.
    pub(crate) fn images(&self) -> Vec<Image> {
        self.lab.world(|world| {
            let images = world.ec2.images().into_iter();
            images.filter(|image| image.source_instance.as_ref() == Some(&self.instance)).cloned().collect()
        })
    }

    /// One variable of the function, as the next process sees it.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.lab.world(|world| world.functions.get(NAME).unwrap().variables.get(name).cloned())
    }

    pub(crate) async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        self.lab.invoke(NAME, payload, 1).await
    }
}
