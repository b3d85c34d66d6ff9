//! The rules of Systems Manager Run Command, one test for each, through real SDK clients.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod agents;
mod cancelling;
mod commands;
mod faults;
mod lists;
mod requests;

use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_command_invocation::GetCommandInvocationOutput;
use aws_sdk_ssm::operation::send_command::builders::SendCommandFluentBuilder;
use aws_sdk_ssm::primitives::DateTimeFormat;
use aws_sdk_ssm::types::{
    CloudWatchOutputConfig, CommandFilter, CommandFilterKey, CommandInvocation, CommandInvocationStatus,
    CommandStatus, InstanceInformationFilter, InstanceInformationFilterKey, InstanceInformationStringFilter,
};
use lifecycle_lab::autoscaling::Bucket;
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::run_command::{Document, Invocation, Ping, RunCommand, Script, Step};
use lifecycle_lab::{Lab, Moment, Sight, What};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

const INVOCATION_EVENT: &str = "EC2 Command Invocation Status-change Notification";
const COMMAND_EVENT: &str = "EC2 Command Status-change Notification";

/// A group of instances in service, each with an agent.
struct Scene {
    lab: Lab,
    ssm: Client,
    ids: Vec<String>,
    moments: UnboundedReceiver<Moment>,
}

impl Scene {
    async fn of(instances: i32) -> Self {
        let lab = Lab::new("2026-03-01T12:00:00Z".parse().unwrap(), 7);
        lab.world(|world| {
            world.delays.boot = Duration::ZERO;
            world.delays.agent_registration = Duration::ZERO;
        });
        let sdk = lab.sdk_config("operator");
        let group = aws_sdk_autoscaling::Client::new(&sdk).create_auto_scaling_group();
        let group = group.auto_scaling_group_name("web").availability_zones("us-east-1a");
        let group = group.min_size(0).max_size(instances).desired_capacity(instances);
        group.launch_configuration_name("web").send().await.unwrap();
        let all_in_service = |world: &lifecycle_lab::World| {
            let states = world.autoscaling.instances().map(|instance| instance.state);
            states.filter(|state| *state == "InService").count() == instances as usize
        };
        assert!(lab.until(Duration::from_secs(60), all_in_service).await);
        let ids = lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
        // A refusal is a test's subject here, never something to try again.
        let config = aws_sdk_ssm::config::Builder::from(&sdk).retry_config(RetryConfig::disabled()).build();
        let moments = lab.observe();
        Self { ssm: Client::from_conf(config), ids, moments, lab }
    }

    /// Runs a command on the first instance. Returns the command's id.
    async fn send(&self) -> String {
        id(self.order().send().await.unwrap())
    }

    /// What an agent that does not answer may take to begin and to end: 30 and 60 seconds.
    fn short_order(&self) -> SendCommandFluentBuilder {
        self.order().timeout_seconds(30).parameters("executionTimeout", vec!["60".to_owned()])
    }

    /// A request for a command on the first instance.
    fn order(&self) -> SendCommandFluentBuilder {
        self.order_on(&self.ids[0])
    }

    fn order_on(&self, instance: &str) -> SendCommandFluentBuilder {
        let send = self.ssm.send_command().document_name("AWS-RunShellScript").instance_ids(instance);
        send.parameters("commands", vec!["systemctl stop application".to_owned()])
    }

    async fn get(&self, command: &str) -> GetCommandInvocationOutput {
        let get = self.ssm.get_command_invocation().command_id(command).instance_id(&self.ids[0]);
        get.send().await.unwrap()
    }

    /// The first invocation in the list, with its plugins.
    async fn listed(&self, command: &str) -> CommandInvocation {
        let list = self.ssm.list_command_invocations().command_id(command).details(true);
        list.send().await.unwrap().command_invocations.unwrap().remove(0)
    }

    /// What AWS says of the first instance's agent, and how old its last ping is in seconds.
    async fn agent_told(&self) -> Option<(String, i64)> {
        let filter = InstanceInformationStringFilter::builder().key("InstanceIds").values(&self.ids[0]);
        let describe = self.ssm.describe_instance_information().filters(filter.build().unwrap());
        let list = describe.send().await.unwrap().instance_information_list.unwrap();
        let one = list.first()?;
        let age = self.lab.now().timestamp() - one.last_ping_date_time().unwrap().secs();
        Some((one.ping_status().unwrap().as_str().to_owned(), age))
    }

    fn set(&self, set: impl FnOnce(&mut RunCommand, &str)) {
        self.lab.world(|world| set(&mut world.run_command, &self.ids[0]));
    }

    fn script(&self, seconds: u64, exit_code: i32) {
        let duration = Duration::from_secs(seconds);
        self.set(|run, id| run.set_script(id, Script { duration, exit_code, ..Script::default() }));
    }

    fn agent(&self, ping: Ping) {
        self.set(|run, id| run.set_agent(id, ping));
    }

    async fn sleep(&self, seconds: u64) {
        self.lab.sleep(Duration::from_secs(seconds)).await;
    }

    /// The first instance's last invocation as it is.
    fn truth(&self) -> Invocation {
        self.lab.world(|world| world.run_command.invocations(&self.ids[0]).last().unwrap().1.clone())
    }

    /// The status, and how many seconds after it was sent the command began and ended.
    fn course(&self) -> (&'static str, Option<i64>, Option<i64>) {
        self.lab.world(|world| {
            let (command, one) = world.run_command.invocations(&self.ids[0]).last().unwrap();
            let after = |time: Option<chrono::DateTime<chrono::Utc>>| {
                time.map(|time| (time - command.requested).num_seconds())
            };
            (one.status_details, after(one.started), after(one.ended))
        })
    }

    /// What Run Command has sent out since the last look.
    fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Ok(moment) = self.moments.try_recv() {
            match moment.what {
                What::Sent(event) if event["source"] == "aws.ssm" => events.push(event),
                _ => {}
            }
        }
        events
    }

    /// The statuses in the events of invocations since the last look.
    fn statuses(&mut self) -> Vec<String> {
        let events = self.events().into_iter().filter(|event| event["detail-type"] == INVOCATION_EVENT);
        events.map(|event| event["detail"]["status"].as_str().unwrap().to_owned()).collect()
    }
}

fn id(sent: aws_sdk_ssm::operation::send_command::SendCommandOutput) -> String {
    sent.command.unwrap().command_id.unwrap()
}

/// The code and the text of a refusal.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> (String, String) {
    let error = result.unwrap_err();
    (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

fn code<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> String {
    refusal(result).0
}

fn filter(key: CommandFilterKey, value: &str) -> CommandFilter {
    CommandFilter::builder().key(key).value(value).build().unwrap()
}
