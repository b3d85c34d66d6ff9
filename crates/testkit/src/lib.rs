//! Helpers for the functions' tests: groups in a lab, a function deployed in it, what the function did there, and the samples
//! of `events/`.
//!
//! [`play`] invokes a function once. [`deploy`] puts it into the lab behind rules, and [`deploy_binary`] does the same with its
//! built binary. A [`Scene`] is a function and an instance that it acts on.
//!
//! ```
//! # use std::time::Duration;
//! # use aws_sdk_autoscaling::Client;
//! # use lifecycle_lab::Lab;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, 7);
//! let operator = Client::new(&lab.sdk_config("operator"));
//! testkit::create_group(&operator, "web", 1, &[("bootstrap", testkit::LAUNCHING, 300, "ABANDON")]).await;
//! lab.sleep(Duration::from_secs(60)).await;
//! let scene = testkit::Scene::new(lab, operator, "launch-logger", "web");
//! assert_eq!(scene.state(), "Pending:Wait");
//!
//! let sample = testkit::sample("launch-logger", "launch");
//! assert_eq!(sample["detail"]["LifecycleHookName"], "record-launch");
//! # Ok(())
//! # }
//! ```

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lambda_kit::{Function, Invocation, Output, Running};
use lifecycle_lab::{ACCOUNT, Code, FunctionError, Lab, Moment, REGION, RunError, What, World};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The transition of a launching hook.
pub const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";

/// The transition of a terminating hook.
pub const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// How long an instance may take to its hook: a failed health check is noticed after minutes.
const WAIT_TIMEOUT: Duration = Duration::from_secs(900);

/// How long a log line may take from a process's pipe into the lab's log, and an event to a task that observes.
const LOG_TIMEOUT: Duration = Duration::from_secs(20);

/// The machine's time, which a process under test goes by.
pub fn now() -> DateTime<Utc> {
    #[expect(clippy::disallowed_methods, reason = "the process under test reads this clock too")]
    SystemTime::now().into()
}

/// The function with these variables, speaking to the lab and writing to `output`.
pub fn running<F: Function>(lab: &Lab, variables: &[(&str, &str)], output: Output) -> Running<F> {
    let variables = variables.iter().copied().collect();
    let running = Running::new(&variables, &lab.sdk_config(F::NAME), output).unwrap();
    running.set_arn(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", F::NAME));
    running
}

/// Deploys the function in this process, under its own name.
pub fn deploy<F>(lab: &Lab, variables: &[(&str, &str)], time_limit: Duration)
where
    F: Function + Send + Sync + 'static,
{
    let running = Arc::new(running::<F>(lab, variables, Output::Channel(lab.pipe(F::NAME))));
    let clock = lab.clone();
    let code = Code::handler(move |payload, limit| {
        let (running, invocation) = (running.clone(), Invocation::new(clock.now(), limit));
        async move {
            let answer = running.invoke(payload, &invocation).await;
            answer.map_err(|error| FunctionError::new(error.name(), error.chain()))
        }
    });
    lab.add_function(lifecycle_lab::Function { name: F::NAME.to_owned(), time_limit, code });
}

/// Deploys a built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP.
pub fn deploy_binary(lab: &Lab, name: &str, path: &str, variables: &[(&str, &str)], time_limit: Duration) {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let code = Code::Binary { path: PathBuf::from(path), variables: variables.collect() };
    lab.add_function(lifecycle_lab::Function { name: name.to_owned(), time_limit, code });
}

/// One run of a function in this process.
#[derive(Debug)]
pub struct Played {
    /// The answer, or the error's name and message.
    pub end: Result<Value, String>,
    /// What it wrote to standard output.
    pub lines: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Played {
    /// The outcome that the last line counts, which is the run's metric.
    pub fn outcome(&self) -> Value {
        let line: Value = serde_json::from_str(self.lines.last().unwrap()).unwrap();
        line["outcome"].clone()
    }
}

/// Invokes the function once with these variables.
pub async fn play<F: Function>(
    lab: &Lab,
    variables: &[(&str, &str)],
    payload: Value,
    limit: Duration,
) -> Played {
    let (sender, mut written) = unbounded_channel();
    let running = running::<F>(lab, variables, Output::Channel(sender));
    let invocation = Invocation::new(lab.now(), limit);
    let end = running.invoke(payload, &invocation).await;
    Played {
        end: end.map_err(|error| format!("{}: {}", error.name(), error.chain())),
        lines: std::iter::from_fn(|| written.try_recv().ok()).collect(),
        took: invocation.elapsed(),
    }
}

/// Makes a group with these hooks (name, transition, heartbeat timeout in seconds, default result), and then its
/// instances.
pub async fn create_group(operator: &Client, name: &str, size: i32, hooks: &[(&str, &str, i32, &str)]) {
    let create = operator.create_auto_scaling_group().auto_scaling_group_name(name);
    let create = create.launch_configuration_name("web").availability_zones("us-east-1a");
    let create = create.min_size(0).max_size(size.max(1) * 3).desired_capacity(0);
    create.send().await.unwrap();
    for (hook, transition, heartbeat, result) in hooks {
        let put = operator.put_lifecycle_hook().auto_scaling_group_name(name).lifecycle_hook_name(*hook);
        let put = put.lifecycle_transition(*transition).heartbeat_timeout(*heartbeat);
        put.default_result(*result).send().await.unwrap();
    }
    resize(operator, name, size).await;
}

/// Sets a group's desired capacity.
pub async fn resize(operator: &Client, name: &str, size: i32) {
    let set = operator.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(size);
    set.send().await.unwrap();
}

/// A function in a lab, and the instance of a group that it acts on.
#[derive(Debug)]
pub struct Scene {
    /// The lab, in which the function is deployed.
    pub lab: Lab,
    /// The operator's client.
    pub operator: Client,
    /// The function's name.
    pub function: &'static str,
    /// The group's name.
    pub group: String,
    /// The instance's id.
    pub instance: String,
    /// The lifecycle event of the instance's wait; null in a scene that begins before it.
    pub event: Value,
}

impl Scene {
    /// The scene of the lab's first instance.
    pub fn new(lab: Lab, operator: Client, function: &'static str, group: &str) -> Self {
        let instance = lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
        Self { lab, operator, function, group: group.to_owned(), instance, event: Value::Null }
    }

    /// The lifecycle action token of the event.
    pub fn token(&self) -> &str {
        self.event["detail"]["LifecycleActionToken"].as_str().unwrap()
    }

    /// Sets the group's desired capacity to nothing.
    pub async fn scale_in(&self) {
        resize(&self.operator, &self.group, 0).await;
    }

    /// The instance dies of an EC2 health check: nobody planned it.
    pub fn fail(&self) {
        self.lab.world(|world| world.fail_instance(&self.instance));
    }

    /// The instance's lifecycle state, or `gone`.
    pub fn state(&self) -> &'static str {
        state(&self.lab, &self.instance)
    }

    /// Waits until the instance waits in a hook.
    pub async fn waits(&self) {
        let waits = self.lab.until(WAIT_TIMEOUT, |world| is_waiting(world, &self.instance)).await;
        assert!(waits, "never waited: {}", self.state());
    }

    /// Waits until the instance has come to a hook and left it; how long it waited there, in seconds.
    pub async fn released(&self, limit: Duration) -> Option<i64> {
        self.waits().await;
        let began = self.lab.now();
        let left = self.lab.until(limit, |world| !is_waiting(world, &self.instance)).await;
        left.then(|| (self.lab.now() - began).num_seconds())
    }

    /// The function's calls and how they ended: `SendCommand: ok`.
    pub fn calls(&self) -> Vec<String> {
        calls(&self.lab, self.function)
    }

    /// The results of the completions that took effect.
    pub fn completions(&self) -> Vec<String> {
        completions(&self.lab)
    }

    /// Invokes the function once.
    pub async fn invoke(&self, payload: Value) -> Result<Value, RunError> {
        self.lab.invoke(self.function, payload, 1).await
    }
}

fn is_waiting(world: &World, instance: &str) -> bool {
    world.autoscaling.instance(instance).is_some_and(|one| one.state.ends_with(":Wait"))
}

/// The next lifecycle event that Auto Scaling sends.
pub async fn lifecycle_event(moments: &mut UnboundedReceiver<Moment>) -> Value {
    let is_lifecycle =
        |event: &Value| event["detail-type"].as_str().is_some_and(|kind| kind.ends_with(" Lifecycle Action"));
    let sent = async {
        loop {
            if let What::Sent(event) = moments.recv().await.unwrap().what
                && is_lifecycle(&event)
            {
                break event;
            }
        }
    };
    tokio::time::timeout(LOG_TIMEOUT, sent).await.expect("a lifecycle event")
}

/// An instance's lifecycle state, or `gone`.
pub fn state(lab: &Lab, instance: &str) -> &'static str {
    lab.world(|world| world.autoscaling.instance(instance).map_or("gone", |one| one.state))
}

/// A function's calls and how they ended: `SendCommand: ok`.
pub fn calls(lab: &Lab, function: &str) -> Vec<String> {
    let calls = lab.calls().into_iter().filter(|call| call.caller == function);
    calls.map(|call| format!("{}: {}", call.action, call.outcome)).collect()
}

/// The results of the completions that took effect.
pub fn completions(lab: &Lab) -> Vec<String> {
    let calls = lab.calls().into_iter().filter(|call| call.action == "CompleteLifecycleAction");
    let accepted = calls.filter(|call| call.outcome.took_effect());
    accepted.map(|call| call.parameter("LifecycleActionResult").unwrap().to_owned()).collect()
}

/// The log, as soon as `is_whole` says that nothing is missing: other tasks read the pipes.
pub async fn logs_until(lab: &Lab, is_whole: impl Fn(&[String]) -> bool) -> Vec<String> {
    let whole = async {
        loop {
            let logs = lab.logs();
            if is_whole(&logs) {
                break logs;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let whole = tokio::time::timeout(LOG_TIMEOUT, whole).await;
    whole.unwrap_or_else(|_| panic!("something is missing in {:#?}", lab.logs()))
}

/// The log, as soon as each of these texts is in it.
pub async fn logs_with(lab: &Lab, texts: &[&str]) -> Vec<String> {
    logs_until(lab, |logs| texts.iter().all(|text| logs.iter().any(|line| line.contains(text)))).await
}

/// The folder of a function's samples.
pub fn events(function: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(function)
}

/// A sample of `events/`.
pub fn sample(function: &str, name: &str) -> Value {
    let text = fs::read_to_string(events(function).join(name).with_extension("json")).unwrap();
    serde_json::from_str(&text).unwrap()
}
