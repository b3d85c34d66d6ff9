//! The functions, wired into a lab as Lambda would run them, but in this process: their own handlers,
//! real SDK clients, the lab's clock.

use std::time::Duration;

use chrono::SecondsFormat;
use fleet_sim::template::Template;
use futures::TryFutureExt;
use lifecycle_core::config::Variables;
use lifecycle_core::{Error, Invocation, Output};
use lifecycle_lab::{ACCOUNT, Code, Function, FunctionError, Lab, REGION, running_function};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::prelude::*;

/// launch-logger's time limit, ten seconds: one slow answer of AWS and a second attempt.
const LAUNCH_LIMIT: Duration = Duration::from_secs(10);

/// ami-snapshotter's time limit, half a minute: enough for a slow `CreateImage` and the look after it.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(30);

/// lt-ami-refresher's time limit, a minute: enough for many pages of images.
const REFRESH_LIMIT: Duration = Duration::from_secs(60);

/// The template's schedule of lt-ami-refresher: it makes up for events that were lost.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// ecs-scheduler's time limit, a minute: enough for hundreds of services.
const SCHEDULER_LIMIT: Duration = Duration::from_secs(60);

/// Adds the rules of a function's template, under a name of the caller's choice for the function. The parameters are
/// the template's.
pub(crate) fn add_rules(
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
pub(crate) fn answering_for<'a>(groups: &'a str, hooks: &'a str) -> [(&'static str, &'a str); 2] {
    [("AutoScalingGroups", groups), ("LifecycleHooks", hooks)]
}

/// Deploys launch-logger with its defaults, and its rule for these groups and hooks.
pub(crate) fn deploy_launch_logger(lab: &Lab, groups: &str, hooks: &str) -> anyhow::Result<()> {
    use launch_logger::{Config, Context, NAME};

    let mut context = Context::new(Config::parse(&Variables::default())?, &lab.sdk_config(NAME))?;
    context.output = Output::Channel(lab.pipe(NAME));
    add_rules(lab, NAME, NAME, &answering_for(groups, hooks))?;
    deploy(lab, NAME, LAUNCH_LIMIT, move |payload, invocation| {
        let context = context.clone();
        async move { context.invoke(payload, &invocation).await }
    });
    Ok(())
}

/// Deploys terminate-drainer without a rule, under a name of the caller's choice: the lab's calls and runs
/// carry it.
pub(crate) fn deploy_terminate_drainer(
    lab: &Lab,
    name: &'static str,
    time_limit: Duration,
    variables: &Variables,
) -> anyhow::Result<()> {
    use terminate_drainer::{Config, Context};

    let mut context = Context::new(Config::parse(variables)?, &lab.sdk_config(name))?;
    context.output = Output::Channel(lab.pipe(name));
    deploy(lab, name, time_limit, move |payload, invocation| {
        let context = context.clone();
        async move { context.invoke(payload, &invocation).await }
    });
    Ok(())
}

/// Deploys ami-snapshotter without a rule, under a name of the caller's choice: the lab's calls and runs
/// carry it. What it remembers is in the configuration of the function of its own name.
pub(crate) fn deploy_ami_snapshotter(
    lab: &Lab,
    name: &'static str,
    variables: &[(&'static str, &str)],
) -> anyhow::Result<()> {
    use ami_snapshotter::{Config, Context};

    let config = Config::parse(&variables.iter().copied().collect())?;
    let mut context = Context::new(config, &lab.sdk_config(name))?;
    context.output = Output::Channel(lab.pipe(name));
    deploy(lab, name, SNAPSHOT_LIMIT, move |payload, invocation| {
        let context = context.clone();
        async move { context.invoke(payload, &invocation).await }
    });
    lab.world(|world| world.set_variables(name, variables.iter().copied()));
    Ok(())
}

/// Deploys lt-ami-refresher with its rule, for backups that have been made, and with a schedule, whose first run is
/// one `period` from now.
pub(crate) fn deploy_lt_ami_refresher(
    lab: &Lab,
    variables: &Variables,
    period: Duration,
) -> anyhow::Result<()> {
    use lt_ami_refresher::{Config, Context, NAME};

    let mut context = Context::new(Config::parse(variables)?, &lab.sdk_config(NAME))?;
    context.output = Output::Channel(lab.pipe(NAME));
    deploy(lab, NAME, REFRESH_LIMIT, move |payload, invocation| {
        let context = context.clone();
        async move { context.invoke(payload, &invocation).await }
    });
    // The stack has the rule where it names an instance and a template, whichever they are.
    add_rules(lab, NAME, NAME, &[("Ec2InstanceName", "web"), ("LaunchTemplateName", "web")])?;
    lab.schedule(period, NAME, json!({}));
    Ok(())
}

/// Deploys ecs-scheduler without a rule.
pub(crate) fn deploy_ecs_scheduler(lab: &Lab, variables: &Variables) -> anyhow::Result<()> {
    use ecs_scheduler::{Config, Context, NAME};

    let mut context = Context::new(Config::parse(variables)?, &lab.sdk_config(NAME))?;
    context.output = Output::Channel(lab.pipe(NAME));
    deploy(lab, NAME, SCHEDULER_LIMIT, move |payload, invocation| {
        let context = context.clone();
        async move { context.invoke(payload, &invocation).await }
    });
    Ok(())
}

/// ecs-scheduler's rule: an event on the bus every `period`, which can be lost on its way as any other.
pub(crate) fn on_schedule(lab: &Lab, function: &str, period: Duration) -> anyhow::Result<()> {
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
pub(crate) const SCHEDULED_EVENT: &str = "Scheduled Event";

/// The detail-type of the event that tells of a command on one instance.
pub(crate) const STATUS_EVENT: &str = "EC2 Command Invocation Status-change Notification";

fn deploy<F>(
    lab: &Lab,
    name: &str,
    time_limit: Duration,
    invoke: impl Fn(Value, Invocation) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<Value, Error>> + Send + 'static,
{
    let clock = lab.clone();
    let code = Code::handler(move |payload, limit| {
        let run = invoke(payload, Invocation::new(clock.now(), limit));
        run.map_err(|error| FunctionError::new(error.name(), error.chain()))
    });
    lab.add_function(Function { name: name.to_owned(), time_limit, code });
}

/// Hands what functions log to the lab, which shows it.
pub(crate) fn show_logs(lab: &Lab) -> anyhow::Result<()> {
    Ok(tracing_subscriber::registry().with(Logs(lab.clone())).try_init()?)
}

struct Logs(Lab);

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let Some(function) = running_function().filter(|_| *event.metadata().level() <= Level::INFO) else {
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
