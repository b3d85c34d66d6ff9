//! Run Command: sending a drain once, finding it again, and whether the agent can be reached. AWS calls:
//! `ssm:SendCommand`, `ssm:ListCommandInvocations`, `ssm:GetCommandInvocation`,
//! `ssm:DescribeInstanceInformation`.

use std::collections::BTreeMap;
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
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use lifecycle_core::action::{is_throttle, is_transient, pauses};
use lifecycle_core::waits::time;
use lifecycle_core::{Error, Invocation, Transition, Wait};
use tracing::warn;

use crate::Config;
use crate::comment::{self, Comment};
use crate::policy::Ending;

/// Run Command keeps times to the second in some answers: what was requested up to this long before a
/// wait began may be the wait's own.
const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(2);

/// The shortest pause before a second look. When an event is delivered twice, the second delivery comes
/// within about a second: looking later than that, the run finds what the other one sent.
pub(crate) const SECOND_LOOK: Duration = Duration::from_secs(2);

/// How long after `TimeoutSeconds` a command that was picked up in the last moment may still be called
/// pending.
pub(crate) const DELIVERY_SLACK: Duration = Duration::from_secs(30);

/// Instances that one `DescribeInstanceInformation` can be asked about.
const AGENTS_AT_ONCE: usize = 50;

/// Whether an instance's agent can take commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// It has reported within the last minutes.
    Online,
    /// It was there, and has fallen silent.
    Silent,
    /// Systems Manager does not know the instance (yet).
    Unregistered,
}

/// One of our commands on one instance.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    pub(crate) command: String,
    pub(crate) instance: String,
    pub(crate) comment: Comment,
    pub(crate) requested: DateTime<Utc>,
    /// `Success`, `InProgress` …
    pub(crate) status: String,
    /// `ExecutionTimedOut`, `Undeliverable` …
    pub(crate) detail: String,
    pub(crate) exit_code: Option<i32>,
}

impl Drain {
    /// Whether this is the drain of `wait`, which began at `began`: the same token; or, where one of the
    /// two does not know it, the same group and hook, and not from before the wait.
    pub(crate) fn belongs_to(&self, wait: &Wait, began: DateTime<Utc>) -> bool {
        let same_token = match (&self.comment.token, &wait.token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.requested >= began - CLOCK_SLACK,
        };
        same_token && self.instance == wait.instance && self.comment.is_about(&wait.group, &wait.hook)
    }

    /// How it ended; `None` while it may still run. Run Command can call a command pending or delayed until its
    /// execution timeout is over as well, although no agent picks it up any more after
    /// `TimeoutSeconds`: then it was never delivered.
    pub(crate) fn ending(&self, config: &Config, now: DateTime<Utc>) -> Option<Ending> {
        let age = (now - self.requested).to_std().unwrap_or_default();
        match Ending::of(&self.status, &self.detail) {
            None if ["Pending", "Delayed"].contains(&self.status.as_str())
                && age > config.delivery_timeout + DELIVERY_SLACK =>
            {
                Some(Ending::Unreachable)
            }
            ending => ending,
        }
    }
}

/// How a drain stands that should have started.
#[derive(Debug)]
pub(crate) enum Started {
    /// It was found: sent before, by this event or by the sweep.
    Before(Drain),
    /// It was sent now; the command's id.
    Now(String),
    /// Run Command does not accept the instance: the agent is not registered, stopped, or not permitted.
    Refused,
}

/// Where a command stands, asked for by its id.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) ending: Option<Ending>,
    pub(crate) detail: String,
    pub(crate) exit_code: Option<i32>,
}

/// Speaks to Systems Manager.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    client: Client,
    function: String,
}

impl Commands {
    pub(crate) fn new(client: Client, function: &str) -> Self {
        Self { client, function: function.to_owned() }
    }

    /// Sends the drain of `wait`, which began at `began`, unless it was sent before. AWS has no client
    /// token for this, so each sending is preceded by a look, and nothing but a throttle, which had no
    /// effect, is repeated here: after any other failure the event is run again.
    pub(crate) async fn start(
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
                Err(error) if is_throttle(&error) && pause.max(SECOND_LOOK) < invocation.time_left() => {
                    tokio::time::sleep(pause.max(SECOND_LOOK)).await;
                }
                Err(error) => return Err(Error::aws("SendCommand", &error)),
            }
        }
        unreachable!("the pauses are without end")
    }

    /// The first drain of `wait`, which began at `began`.
    pub(crate) async fn first(&self, wait: &Wait, began: DateTime<Utc>) -> Result<Option<Drain>, Error> {
        let since = self.client.list_command_invocations().instance_id(&wait.instance);
        let drains = self.list(since.filters(invoked_after(began))).await?;
        let ours: Vec<_> = drains.into_iter().filter(|drain| drain.belongs_to(wait, began)).collect();
        if ours.len() > 1 {
            let ids: Vec<_> = ours.iter().map(|drain| drain.command.as_str()).collect();
            warn!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                action.id = wait.id(),
                "{}: the commands were sent {} times, by deliveries that came together: {}",
                wait.instance,
                ids.len(),
                ids.join(", ")
            );
        }
        Ok(ours.into_iter().min_by_key(|drain| drain.requested))
    }

    async fn send(
        &self,
        config: &Config,
        transition: &Transition,
        wait: &Wait,
        invocation: &Invocation,
    ) -> Result<String, SdkError<SendCommandError, HttpResponse>> {
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
        Ok(answer.command().and_then(|command| command.command_id()).unwrap_or_default().to_owned())
    }

    /// Our commands on all instances that were requested since `began`, by instance.
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

    /// One command on one instance: `Ok(None)` where it is not ours.
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
                "ListCommandInvocations does not know the command {command} yet, although its status event is here"
            ))),
            [invocation, ..] => Ok(self.read(invocation)),
        }
    }

    /// Where a command stands. One that was only just sent may not be known yet, and an answer that fails
    /// in passing is as good as none: it is asked for again anyway.
    pub(crate) async fn standing(&self, command: &str, instance: &str) -> Result<Standing, Error> {
        match self.client.get_command_invocation().command_id(command).instance_id(instance).send().await {
            Ok(answer) => {
                let status = answer.status().map_or("", |status| status.as_str());
                let detail = answer.status_details().unwrap_or(status).to_owned();
                let ending = Ending::of(status, &detail);
                Ok(Standing { ending, detail, exit_code: ending.map(|_| answer.response_code()) })
            }
            Err(error)
                if is_transient(&error)
                    || error
                        .as_service_error()
                        .is_some_and(GetCommandInvocationError::is_invocation_does_not_exist) =>
            {
                Ok(Standing { ending: None, detail: "unknown".to_owned(), exit_code: None })
            }
            Err(error) => Err(Error::aws("GetCommandInvocation", &error)),
        }
    }

    /// Whether the agents of these instances can take commands.
    pub(crate) async fn agents(&self, instances: &[String]) -> Result<BTreeMap<String, Agent>, Error> {
        let mut agents: BTreeMap<_, _> =
            instances.iter().map(|instance| (instance.clone(), Agent::Unregistered)).collect();
        for some in instances.chunks(AGENTS_AT_ONCE) {
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

    /// Reads an invocation; `None` where the command is not ours.
    fn read(&self, invocation: &CommandInvocation) -> Option<Drain> {
        let comment = Comment::read(&self.function, invocation.comment()?)?;
        let status = invocation.status().map_or("", |status| status.as_str());
        Some(Drain {
            command: invocation.command_id()?.to_owned(),
            instance: invocation.instance_id()?.to_owned(),
            comment,
            requested: invocation.requested_date_time().and_then(time).unwrap_or_default(),
            status: status.to_owned(),
            detail: invocation.status_details().unwrap_or(status).to_owned(),
            exit_code: invocation.command_plugins().first().map(|plugin| plugin.response_code()),
        })
    }
}

fn invoked_after(began: DateTime<Utc>) -> CommandFilter {
    let time = (began - CLOCK_SLACK).to_rfc3339_opts(SecondsFormat::Secs, true);
    filter(CommandFilterKey::InvokedAfter, time)
}

#[expect(clippy::expect_used, reason = "the builder fails only without key or value")]
fn filter(key: CommandFilterKey, value: String) -> CommandFilter {
    CommandFilter::builder().key(key).value(value).build().expect("key and value are set")
}
