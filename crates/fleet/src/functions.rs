//! Deploys the functions in a lab, as in Lambda but in this process: their own handlers, real SDK clients, the lab's
//! clock.

use std::sync::Arc;
use std::time::Duration;

use crate::list::FUNCTIONS;
use crate::runtime::sdk_config;
use crate::template::Template;
use chrono::SecondsFormat;
use lambda_kit::{Function, Invocation, Output, Running, Variables};
use lifecycle_lab::{ACCOUNT, Code, FunctionError, Lab, REGION, running_function};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::prelude::*;

/// launch-logger's time limit, half a minute: enough for a sweep that finds hundreds of launches.
const LAUNCH_LOGGER_TIMEOUT: Duration = Duration::from_secs(30);

/// The template's schedule of launch-logger's sweep.
const LAUNCH_SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// ami-snapshotter's time limit, half a minute: enough for a slow `CreateImage` and the look after it.
const AMI_SNAPSHOTTER_TIMEOUT: Duration = Duration::from_secs(30);

/// lt-ami-refresher's time limit, a minute: enough for many pages of images.
const LT_AMI_REFRESHER_TIMEOUT: Duration = Duration::from_secs(60);

/// The template's schedule of lt-ami-refresher: it makes up for events that were lost.
pub const DAY: Duration = Duration::from_secs(24 * 3_600);

/// ecs-scheduler's time limit, a minute: enough for hundreds of services.
const ECS_SCHEDULER_TIMEOUT: Duration = Duration::from_secs(60);

/// Adds the rules of a function's template, under a name of the caller's choice for the function. The parameters are
/// the template's.
pub fn add_rules(
    lab: &Lab,
    template: &str,
    function: &str,
    parameters: &[(&str, &str)],
) -> anyhow::Result<()> {
    for (_, pattern) in Template::of(template).deploy(parameters).patterns() {
        lab.add_rule(&pattern, function)?;
    }
    Ok(())
}

/// Groups and hooks that a function answers for, as parameters of its template: names separated by commas, and a
/// group's may end in `*`.
pub fn answering_for<'a>(groups: &'a str, hooks: &'a str) -> [(&'static str, &'a str); 2] {
    [("AutoScalingGroups", groups), ("LifecycleHooks", hooks)]
}

/// Deploys a function without a rule, in this process: its own handler, real SDK clients, the lab's clock. The lab's
/// calls and runs carry `name`.
pub fn deploy<F: Function + Send + Sync + 'static>(
    lab: &Lab,
    name: &str,
    time_limit: Duration,
    variables: &Variables,
) -> anyhow::Result<()> {
    let running = Running::<F>::new(variables, &sdk_config(lab, name), Output::Channel(lab.pipe(name)))?;
    running.set_arn(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"));
    let running = Arc::new(running);
    let clock = lab.clone();
    let code = Code::handler(move |payload, limit| {
        let (running, invocation) = (running.clone(), Invocation::new(clock.now(), limit));
        async move {
            let answer = running.invoke(payload, &invocation).await;
            answer.map_err(|error| FunctionError::new(error.name(), error.chain()))
        }
    });
    lab.add_function(lifecycle_lab::Function { name: name.to_owned(), time_limit, code });
    Ok(())
}

/// Deploys launch-logger with its rule for these groups and hooks, and with its sweep.
pub fn deploy_launch_logger(lab: &Lab, groups: &str, hooks: &str) -> anyhow::Result<()> {
    use launch_logger::{AUTO_SCALING_GROUPS, Context, LIFECYCLE_HOOKS, NAME};

    let variables = [(AUTO_SCALING_GROUPS, groups), (LIFECYCLE_HOOKS, hooks)].into_iter().collect();
    deploy::<Context>(lab, NAME, LAUNCH_LOGGER_TIMEOUT, &variables)?;
    lab.schedule(LAUNCH_SWEEP_INTERVAL, NAME, json!({ "action": "reconcile" }));
    add_rules(lab, NAME, NAME, &answering_for(groups, hooks))
}

/// Deploys ami-snapshotter without a rule. What it remembers is in the configuration of the function of its own name.
pub fn deploy_ami_snapshotter(
    lab: &Lab,
    name: &'static str,
    variables: &[(&'static str, &str)],
) -> anyhow::Result<()> {
    let all = variables.iter().copied().collect();
    deploy::<ami_snapshotter::Context>(lab, name, AMI_SNAPSHOTTER_TIMEOUT, &all)?;
    lab.world(|world| world.set_variables(name, variables.iter().copied()));
    Ok(())
}

/// Deploys lt-ami-refresher with its rule, for backups that have been made, and with a schedule, whose first run is
/// one `period` from now.
pub fn deploy_lt_ami_refresher(lab: &Lab, variables: &Variables, period: Duration) -> anyhow::Result<()> {
    let name = lt_ami_refresher::NAME;
    deploy::<lt_ami_refresher::Context>(lab, name, LT_AMI_REFRESHER_TIMEOUT, variables)?;
    // The stack has the rule where it names an instance and a template, whichever they are.
    add_rules(lab, name, name, &[("Ec2InstanceName", "web"), ("LaunchTemplateName", "web")])?;
    lab.schedule(period, name, json!({}));
    Ok(())
}

/// Deploys ecs-scheduler without a rule.
pub fn deploy_ecs_scheduler(lab: &Lab, variables: &Variables) -> anyhow::Result<()> {
    deploy::<ecs_scheduler::Context>(lab, ecs_scheduler::NAME, ECS_SCHEDULER_TIMEOUT, variables)
}

/// ecs-scheduler's rule: an event on the bus every `period`, which can be lost on its way as any other.
pub fn on_schedule(lab: &Lab, function: &str, period: Duration) -> anyhow::Result<()> {
    let rule = format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{function}");
    let pattern = json!({ "source": ["aws.events"], "detail-type": [SCHEDULED_EVENT], "resources": [&rule] });
    lab.add_rule(&pattern, function)?;
    let lab = lab.clone();
    tokio::spawn(async move {
        for n in 1_u64.. {
            lab.sleep(period).await;
            lab.publish(json!({
                "version": "0",
                "id": format!("00000000-0000-4000-8000-{n:012}"),
                "detail-type": SCHEDULED_EVENT,
                "source": "aws.events",
                "account": ACCOUNT,
                "time": lab.now().to_rfc3339_opts(SecondsFormat::Secs, true),
                "region": REGION,
                "resources": [&rule],
                "detail": {},
            }));
        }
    });
    Ok(())
}

/// The detail-type of what a schedule sends.
pub const SCHEDULED_EVENT: &str = "Scheduled Event";

/// The detail-type of the event of a launch.
pub const LAUNCH_EVENT: &str = "EC2 Instance-launch Lifecycle Action";

/// The detail-type of the status event of a command on one instance.
pub const STATUS_EVENT: &str = "EC2 Command Invocation Status-change Notification";

/// Hands what functions log to the lab, which shows it.
pub fn show_logs(lab: &Lab) -> anyhow::Result<()> {
    Ok(tracing_subscriber::registry().with(Logs(lab.clone())).try_init()?)
}

/// Whether a log event is the functions' own, by its target.
fn is_ours(target: &str) -> bool {
    let functions = FUNCTIONS.iter().map(|function| function.module);
    functions.chain(["lifecycle_core"]).any(|ours| target.starts_with(ours))
}

struct Logs(Lab);

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let metadata = event.metadata();
        let told = *metadata.level() <= Level::DEBUG && is_ours(metadata.target());
        let Some(function) = running_function().filter(|_| told) else {
            return;
        };
        let mut message = Message::default();
        event.record(&mut message);
        self.0.log(&function, format!("{} {}", event.metadata().level(), message.0));
    }
}

/// The message of a log event, without its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
