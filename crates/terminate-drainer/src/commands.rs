//! Run Command: sends the commands of a drain once, finds them again, and looks up whether the agent is reachable.
//!
//! AWS calls: `ssm:SendCommand`, `ssm:ListCommandInvocations`, `ssm:GetCommandInvocation`,
//! `ssm:DescribeInstanceInformation`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::Config as SsmConfig;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::error::SdkError;
use aws_sdk_ssm::operation::get_command_invocation::GetCommandInvocationError;
use aws_sdk_ssm::operation::list_command_invocations::ListCommandInvocationsError;
use aws_sdk_ssm::operation::send_command::SendCommandError;
use aws_sdk_ssm::types::{
    CommandFilter, CommandFilterKey, CommandInvocation, InstanceInformationStringFilter, PingStatus,
};
use chrono::{DateTime, SecondsFormat, Utc};
use lambda_kit::aws::time;
use lambda_kit::retry::pauses;
use lambda_kit::transient::{is_throttle, is_transient};
use lambda_kit::{Error, Invocation};
use lifecycle_core::{Transition, Wait};
use tracing::{debug, warn};

use crate::comment::{self, Comment};
use crate::config::Config;
use crate::drain::{Agent, Command, Drain, Ending, MAX_CLOCK_SKEW};

/// Minimum pause before a second look for a command. The second delivery of an event arrives within about a second of
/// the first. A later look finds the other run's command.
const MIN_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum of instances in one `DescribeInstanceInformation`.
const MAX_INSTANCES_PER_CALL: usize = 50;

/// The result of starting a drain.
#[derive(Debug)]
pub(crate) enum Started {
    /// The command was sent before, for this event or by the sweep.
    Before(Command),
    /// The command was sent now.
    Now(Command),
    /// Run Command refuses the instance: its agent is not registered, was stopped, or lacks permissions.
    Refused,
}

/// The calls to Systems Manager.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    client: Client,
    function: String,
    sendings: Arc<Mutex<Sendings>>,
}

/// What a warm process knows about the commands that it sent. A cold process works without it.
#[derive(Debug, Default)]
struct Sendings {
    /// Instances whose drain is starting: a batch can contain the same event twice.
    starting: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// The time of the last command by instance: Run Command lists a command a moment after it was sent.
    sent: BTreeMap<String, DateTime<Utc>>,
}

impl Commands {
    pub(crate) fn new(client: Client, function: &str) -> Self {
        Self { client, function: function.to_owned(), sendings: Arc::default() }
    }

    /// Sends the commands for `wait`, which began at `began`, unless they were sent before. It runs once at a time
    /// per instance, and only when the list must show the last command of this process.
    pub(crate) async fn start(
        &self,
        config: &Config,
        transition: &Transition,
        wait: &Wait,
        began: DateTime<Utc>,
        invocation: &Invocation,
    ) -> Result<Started, Error> {
        let turn = self.sendings().starting.entry(wait.instance.clone()).or_default().clone();
        let mine = turn.lock_owned().await;
        let sent = self.sendings().sent.get(&wait.instance).copied();
        let age = sent.map(|sent| (invocation.now() - sent).to_std().unwrap_or_default());
        if let Some(unlisted) = age.and_then(|age| MIN_LOOK_INTERVAL.checked_sub(age)) {
            tokio::time::sleep(unlisted.min(invocation.time_left() / 4)).await;
        }
        let started = self.look_and_send(config, transition, wait, began, invocation).await;
        // The next run for this instance must see it.
        self.remember_sending(&wait.instance, &started, invocation.now());
        drop(mine);
        self.sendings().starting.retain(|_, turn| Arc::strong_count(turn) > 1);
        let started = started?;
        if let Started::Now(Command { id, .. }) = &started {
            debug!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                action.id = wait.id(),
                command.id = id,
                "{}: sent the commands, as {id}",
                wait.instance
            );
        }
        Ok(started)
    }

    /// Remembers the time of a command until the list must show it. A failed `SendCommand` may have sent one too.
    fn remember_sending(&self, instance: &str, started: &Result<Started, Error>, now: DateTime<Utc>) {
        let mut sendings = self.sendings();
        sendings.sent.retain(|_, sent| (now - *sent).to_std().unwrap_or_default() < MIN_LOOK_INTERVAL);
        if matches!(started, Ok(Started::Now(_)) | Err(_)) {
            sendings.sent.insert(instance.to_owned(), now);
        }
    }

    fn sendings(&self) -> MutexGuard<'_, Sendings> {
        self.sendings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `SendCommand` has no client token, so a look precedes each call. Only a throttle, which has no effect, is
    /// retried here. After any other failure, Lambda retries the event.
    async fn look_and_send(
        &self,
        config: &Config,
        transition: &Transition,
        wait: &Wait,
        began: DateTime<Utc>,
        invocation: &Invocation,
    ) -> Result<Started, Error> {
        for pause in pauses() {
            if let Some(first) = self.first(wait, began).await? {
                return Ok(Started::Before(first));
            }
            match self.send(config, transition, wait, invocation).await {
                Ok(command) => return Ok(Started::Now(command)),
                Err(error)
                    if error.as_service_error().is_some_and(SendCommandError::is_invalid_instance_id) =>
                {
                    return Ok(Started::Refused);
                }
                Err(error)
                    if is_throttle(&error) && pause.max(MIN_LOOK_INTERVAL) < invocation.time_left() =>
                {
                    tokio::time::sleep(pause.max(MIN_LOOK_INTERVAL)).await;
                }
                Err(error) => return Err(Error::aws("SendCommand", &error)),
            }
        }
        unreachable!("the pauses are endless")
    }

    /// The first command that was sent for `wait`, which began at `began`.
    pub(crate) async fn first(&self, wait: &Wait, began: DateTime<Utc>) -> Result<Option<Command>, Error> {
        let since = self.client.list_command_invocations().instance_id(&wait.instance);
        let drains = self.list(since.filters(invoked_after(began))).await?;
        let ours = drains.into_iter().filter(|drain| drain.belongs_to(wait, began));
        let ours: Vec<_> = ours.map(|drain| drain.command).collect();
        if ours.len() > 1 {
            let ids: Vec<_> = ours.iter().map(|command| command.id.as_str()).collect();
            warn!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                action.id = wait.id(),
                "{}: the commands were sent {} times by simultaneous deliveries: {}",
                wait.instance,
                ids.len(),
                ids.join(", ")
            );
        }
        Ok(ours.into_iter().min_by_key(|command| command.requested))
    }

    async fn send(
        &self,
        config: &Config,
        transition: &Transition,
        wait: &Wait,
        invocation: &Invocation,
    ) -> Result<Command, SdkError<SendCommandError, HttpResponse>> {
        let limit = invocation.time_left();
        let once = SsmConfig::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(limit).build());
        let send = self.client.send_command().document_name(&config.document).instance_ids(&wait.instance);
        let answer = send
            .comment(comment::write(&self.function, transition, wait))
            .timeout_seconds(i32::try_from(config.delivery_timeout.as_secs()).unwrap_or(i32::MAX))
            .parameters("commands", config.commands.clone())
            .parameters("executionTimeout", vec![config.drain_timeout.as_secs().to_string()])
            .customize()
            .config_override(once)
            .send()
            .await?;
        let id = answer.command().and_then(|command| command.command_id()).unwrap_or_default();
        Ok(Command {
            id: id.to_owned(),
            requested: invocation.now(),
            status: "Pending".to_owned(),
            detail: "Pending".to_owned(),
            exit_code: None,
        })
    }

    /// This function's commands since `began`, by instance.
    pub(crate) async fn since(
        &self,
        document: &str,
        began: DateTime<Utc>,
    ) -> Result<BTreeMap<String, Vec<Drain>>, Error> {
        let of_document = filter(CommandFilterKey::DocumentName, document.to_owned());
        let list = self.client.list_command_invocations().filters(invoked_after(began)).filters(of_document);
        let mut by_instance: BTreeMap<String, Vec<Drain>> = BTreeMap::new();
        for drain in self.list(list).await? {
            by_instance.entry(drain.instance.clone()).or_default().push(drain);
        }
        Ok(by_instance)
    }

    /// One command on one instance. `Ok(None)` if it is not this function's.
    pub(crate) async fn find(&self, command: &str, instance: &str) -> Result<Option<Drain>, Error> {
        let list =
            self.client.list_command_invocations().command_id(command).instance_id(instance).details(true);
        let answer = match list.send().await {
            Ok(answer) => answer,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(ListCommandInvocationsError::is_invalid_command_id) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::aws("ListCommandInvocations", &error)),
        };
        match answer.command_invocations() {
            [] => Err(Error::Timeout(format!(
                "ListCommandInvocations does not show the command {command} yet, although its status event has arrived"
            ))),
            [invocation, ..] => Ok(self.read(invocation)),
        }
    }

    /// The present status of a command. A command may not be visible right after it was sent. In that case, and after
    /// a transient error, this returns the known status; the caller asks again anyway.
    pub(crate) async fn ask(&self, command: &Command, instance: &str) -> Result<Command, Error> {
        let (id, requested) = (command.id.clone(), command.requested);
        match self.client.get_command_invocation().command_id(&id).instance_id(instance).send().await {
            Ok(answer) => {
                let status = answer.status().map_or("", |status| status.as_str()).to_owned();
                let detail = answer.status_details().unwrap_or(&status).to_owned();
                let exit_code = Ending::of(&status, &detail).map(|_| answer.response_code());
                Ok(Command { id, requested, status, detail, exit_code })
            }
            Err(error)
                if is_transient(&error)
                    || error
                        .as_service_error()
                        .is_some_and(GetCommandInvocationError::is_invocation_does_not_exist) =>
            {
                let unknown = "unknown".to_owned();
                Ok(Command { id, requested, status: unknown.clone(), detail: unknown, exit_code: None })
            }
            Err(error) => Err(Error::aws("GetCommandInvocation", &error)),
        }
    }

    /// The state of these instances' agents.
    pub(crate) async fn agents(&self, instances: &[String]) -> Result<BTreeMap<String, Agent>, Error> {
        let mut agents: BTreeMap<_, _> =
            instances.iter().map(|instance| (instance.clone(), Agent::Unregistered)).collect();
        for some in instances.chunks(MAX_INSTANCES_PER_CALL) {
            let of_these =
                InstanceInformationStringFilter::builder().key("InstanceIds").set_values(Some(some.to_vec()));
            let of_these = of_these.build().map_err(|error| Error::Panic(error.to_string()))?;
            let mut pages =
                self.client.describe_instance_information().filters(of_these).into_paginator().items().send();
            while let Some(agent) = pages.next().await {
                let agent = agent.map_err(|error| Error::aws("DescribeInstanceInformation", &error))?;
                let state = match agent.ping_status() {
                    Some(PingStatus::Online) => Agent::Online,
                    _ => Agent::Silent,
                };
                agents.insert(agent.instance_id().unwrap_or_default().to_owned(), state);
            }
        }
        Ok(agents)
    }

    async fn list(
        &self,
        list: aws_sdk_ssm::operation::list_command_invocations::builders::ListCommandInvocationsFluentBuilder,
    ) -> Result<Vec<Drain>, Error> {
        let mut pages = list.details(true).into_paginator().items().send();
        let mut ours = Vec::new();
        while let Some(invocation) = pages.next().await {
            let invocation = invocation.map_err(|error| Error::aws("ListCommandInvocations", &error))?;
            ours.extend(self.read(&invocation));
        }
        Ok(ours)
    }

    /// Reads an invocation. `None` if the command is not this function's.
    fn read(&self, invocation: &CommandInvocation) -> Option<Drain> {
        let comment = Comment::read(&self.function, invocation.comment()?)?;
        let status = invocation.status().map_or("", |status| status.as_str());
        let command = Command {
            id: invocation.command_id()?.to_owned(),
            requested: invocation.requested_date_time().and_then(time).unwrap_or_default(),
            status: status.to_owned(),
            detail: invocation.status_details().unwrap_or(status).to_owned(),
            exit_code: invocation.command_plugins().first().map(|plugin| plugin.response_code()),
        };
        Some(Drain { instance: invocation.instance_id()?.to_owned(), comment, command })
    }
}

fn invoked_after(began: DateTime<Utc>) -> CommandFilter {
    let time = (began - MAX_CLOCK_SKEW).to_rfc3339_opts(SecondsFormat::Secs, true);
    filter(CommandFilterKey::InvokedAfter, time)
}

#[expect(clippy::expect_used, reason = "the builder fails only without key or value")]
fn filter(key: CommandFilterKey, value: String) -> CommandFilter {
    CommandFilter::builder().key(key).value(value).build().expect("key and value are set")
}
