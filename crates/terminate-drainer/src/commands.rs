//! Run Command: sends the commands of a drain once, finds them again, cancels them, and looks up whether the agent is
//! reachable. Every look is for one instance, so that foreign commands cost nothing.
//!
//! AWS calls: `ssm:SendCommand`, `ssm:ListCommandInvocations`, `ssm:CancelCommand`, `ssm:DescribeInstanceInformation`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::Config as SsmConfig;
use aws_sdk_ssm::config::http::HttpResponse;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::error::SdkError;
use aws_sdk_ssm::operation::list_command_invocations::ListCommandInvocationsError;
use aws_sdk_ssm::operation::send_command::SendCommandError;
use aws_sdk_ssm::types::{
    CommandFilter, CommandFilterKey, CommandInvocation, InstanceInformationStringFilter, PingStatus,
};
use chrono::{DateTime, SecondsFormat, Utc};
use lambda_kit::aws::time;
use lambda_kit::error::cut;
use lambda_kit::retry::pauses;
use lambda_kit::transient::is_throttle;
use lambda_kit::{Error, Invocation};
use lifecycle_core::{Transition, Wait};
use tracing::{debug, warn};

use crate::comment::{self, Comment};
use crate::config::{Config, Parameter};
use crate::drain::{Agent, Command, Drain, MAX_CLOCK_SKEW, NO_RESPONSE};

/// Minimum pause before the look for a command that may or may not have been sent: Run Command lists it about a second
/// later.
const MIN_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long a process remembers a command that it sent. Run Command lists it within seconds.
const MEMORY: Duration = Duration::from_secs(300);

/// The pauses after which a cancelled command is looked at. AWS was recorded to show a cancellation within 3.1 s.
const CANCELLATION_PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_millis(1_500), Duration::from_secs(2)];

/// The pauses after which a command is looked at whose status event has arrived. The list is about a second behind.
const STATUS_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3)];

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

/// What a command is sent for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errand<'a> {
    pub(crate) wait: &'a Wait,
    pub(crate) transition: &'a Transition,
    /// The event's time, or a time before the start of the wait.
    pub(crate) began: DateTime<Utc>,
    /// Where the instance comes from, if that is known.
    pub(crate) origin: Option<&'a str>,
    /// Where it goes, if that is known.
    pub(crate) destination: Option<&'a str>,
    /// Whether the first command was not delivered.
    pub(crate) again: bool,
}

/// The calls to Systems Manager.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    client: Client,
    function: String,
    document: String,
    sendings: Arc<Mutex<Sendings>>,
}

/// What a warm process knows about the commands that it sent. A cold process works without it.
#[derive(Debug, Default)]
struct Sendings {
    /// Instances whose drain is starting: a batch can contain the same event twice.
    starting: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// The last command by instance: Run Command lists a command a moment after it was sent.
    sent: BTreeMap<String, Sent>,
}

/// A command that this process sent.
#[derive(Debug)]
struct Sent {
    at: DateTime<Utc>,
    /// `None` if AWS has not answered, or refused it.
    drain: Option<Drain>,
}

impl Commands {
    pub(crate) fn new(client: Client, config: &Config) -> Self {
        let (function, document) = (config.function.clone(), config.document.clone());
        Self { client, function, document, sendings: Arc::default() }
    }

    /// Sends the commands, unless they were sent before. It runs once at a time per instance.
    pub(crate) async fn start(
        &self,
        config: &Config,
        errand: &Errand<'_>,
        invocation: &Invocation,
    ) -> Result<Started, Error> {
        let wait = errand.wait;
        let turn = self.sendings().starting.entry(wait.instance.clone()).or_default().clone();
        let mine = turn.lock_owned().await;
        let unknown =
            self.sendings().sent.get(&wait.instance).filter(|sent| sent.drain.is_none()).map(|sent| sent.at);
        let age = unknown.map(|sent| (invocation.now() - sent).to_std().unwrap_or_default());
        if let Some(unlisted) = age.and_then(|age| MIN_LOOK_INTERVAL.checked_sub(age)) {
            tokio::time::sleep(unlisted.min(invocation.time_left() / 4)).await;
        }
        let started = self.look_and_send(config, errand, invocation).await;
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

    /// Remembers a sending until the list must show its command. The next run for this instance must see it, also if
    /// this one ends without AWS's answer.
    fn remember(&self, instance: &str, sent: Sent) {
        let mut sendings = self.sendings();
        sendings.sent.retain(|_, other| (sent.at - other.at).to_std().unwrap_or_default() < MEMORY);
        sendings.sent.insert(instance.to_owned(), sent);
    }

    fn sendings(&self) -> MutexGuard<'_, Sendings> {
        self.sendings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `SendCommand` has no client token, so a look precedes each call. Only a throttle, which has no effect, is
    /// retried here. After any other failure, Lambda retries the event.
    async fn look_and_send(
        &self,
        config: &Config,
        errand: &Errand<'_>,
        invocation: &Invocation,
    ) -> Result<Started, Error> {
        for pause in pauses() {
            if let Some(last) = self.last(errand.wait, errand.began).await?
                && last.again >= errand.again
            {
                return Ok(Started::Before(last));
            }
            let Errand { wait, transition, again, .. } = *errand;
            self.remember(&wait.instance, Sent { at: invocation.now(), drain: None });
            match self.send(config, errand, invocation).await {
                Ok(command) => {
                    let comment = Comment::of(transition, again, wait);
                    let drain = Drain { instance: wait.instance.clone(), comment, command: command.clone() };
                    self.remember(&wait.instance, Sent { at: invocation.now(), drain: Some(drain) });
                    return Ok(Started::Now(command));
                }
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

    /// The last command that was sent for `wait`, which began at `began`.
    pub(crate) async fn last(&self, wait: &Wait, began: DateTime<Utc>) -> Result<Option<Command>, Error> {
        let time = (began - MAX_CLOCK_SKEW).to_rfc3339_opts(SecondsFormat::Secs, true);
        #[expect(clippy::expect_used, reason = "the builder fails only without key or value")]
        let invoked_after = CommandFilter::builder()
            .key(CommandFilterKey::InvokedAfter)
            .value(time)
            .build()
            .expect("key and value are set");
        let list = self.client.list_command_invocations().instance_id(&wait.instance).filters(invoked_after);
        let mut pages = list.details(true).into_paginator().items().send();
        let mut ours = Vec::new();
        while let Some(invocation) = pages.next().await {
            let invocation = invocation.map_err(|error| Error::aws("ListCommandInvocations", &error))?;
            ours.extend(self.read(&invocation).filter(|drain| drain.belongs_to(wait, began)));
        }
        // What the list does not show yet.
        let sent = self.sendings().sent.get(&wait.instance).and_then(|sent| sent.drain.clone());
        let unlisted = sent.filter(|sent| {
            sent.belongs_to(wait, began) && ours.iter().all(|drain| drain.command.id != sent.command.id)
        });
        ours.extend(unlisted);
        let last = ours.into_iter().map(|drain| drain.command).reduce(|last, next| {
            if last.again == next.again {
                warn!(
                    asg.name = wait.group,
                    hook.name = wait.hook,
                    instance.id = wait.instance,
                    action.id = wait.id(),
                    "{}: simultaneous deliveries sent the commands twice: {}, {}",
                    wait.instance,
                    last.id,
                    next.id
                );
            }
            if (next.again, next.requested) > (last.again, last.requested) { next } else { last }
        });
        Ok(last)
    }

    async fn send(
        &self,
        config: &Config,
        errand: &Errand<'_>,
        invocation: &Invocation,
    ) -> Result<Command, SdkError<SendCommandError, HttpResponse>> {
        let limit = invocation.time_left();
        let once = SsmConfig::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(limit).build());
        let Errand { wait, transition, again, .. } = *errand;
        let send = self.client.send_command().document_name(&self.document).instance_ids(&wait.instance);
        let parameters = config
            .parameters
            .iter()
            .map(|parameter| (parameter.as_str().to_owned(), errand.value(*parameter, config)));
        let answer = send
            .comment(comment::write(&self.function, transition, again, wait))
            .timeout_seconds(i32::try_from(config.delivery_timeout.as_secs()).unwrap_or(i32::MAX))
            .set_parameters(Some(parameters.collect()))
            .customize()
            .config_override(once)
            .send()
            .await?;
        let id = answer.command().and_then(|command| command.command_id()).unwrap_or_default();
        Ok(Command {
            id: id.to_owned(),
            requested: invocation.now(),
            again,
            status: "Pending".to_owned(),
            detail: "Pending".to_owned(),
            exit_code: NO_RESPONSE,
            has_begun: false,
        })
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

    /// A command that has ended by its status event. As [`Commands::find`], but asks again for some seconds while the
    /// list does not show the command or its end.
    pub(crate) async fn find_ended(
        &self,
        command: &str,
        instance: &str,
        invocation: &Invocation,
    ) -> Result<Option<Drain>, Error> {
        for pause in STATUS_PAUSES {
            let found = self.find(command, instance).await;
            let is_behind = match &found {
                Ok(Some(drain)) => drain.command.end().is_none(),
                Ok(None) => false,
                Err(error) => error.is_transient(),
            };
            if !is_behind || invocation.time_left() < pause * 2 {
                return found;
            }
            tokio::time::sleep(pause).await;
        }
        self.find(command, instance).await
    }

    /// The present status of a command. If it is not listed yet, and after a transient error, this returns the known
    /// status; the caller asks again anyway. `GetCommandInvocation` knows only documents of one step.
    pub(crate) async fn ask(&self, command: &Command, instance: &str) -> Result<Command, Error> {
        match self.find(&command.id, instance).await {
            Ok(drain) => Ok(drain.map_or_else(|| command.clone(), |drain| drain.command)),
            Err(error) if error.is_transient() => Ok(command.clone()),
            Err(error) => Err(error),
        }
    }

    /// Cancels a command, and returns it as Run Command shows it within some seconds.
    pub(crate) async fn cancel(
        &self,
        command: &Command,
        instance: &str,
        invocation: &Invocation,
    ) -> Result<Command, Error> {
        let cancel = self.client.cancel_command().command_id(&command.id).instance_ids(instance).send().await;
        cancel.map_err(|error| Error::aws("CancelCommand", &error))?;
        debug!(instance.id = instance, command.id = command.id, "{instance}: cancelled {}", command.id);
        let mut seen = command.clone();
        for pause in CANCELLATION_PAUSES {
            tokio::time::sleep(pause.min(invocation.time_left() / 4)).await;
            seen = self.ask(&seen, instance).await?;
            if seen.end().is_some() {
                break;
            }
        }
        Ok(seen)
    }

    /// The state of an instance's agent.
    pub(crate) async fn agent(&self, instance: &str) -> Result<Agent, Error> {
        let of_this = InstanceInformationStringFilter::builder().key("InstanceIds").values(instance);
        let of_this = of_this.build().map_err(|error| Error::Panic(error.to_string()))?;
        let request = self.client.describe_instance_information().filters(of_this);
        let mut pages = request.into_paginator().items().send();
        while let Some(agent) = pages.next().await {
            let agent = agent.map_err(|error| Error::aws("DescribeInstanceInformation", &error))?;
            if agent.instance_id() != Some(instance) {
                continue;
            }
            let heard = agent.last_ping_date_time().and_then(time).unwrap_or_default();
            return Ok(match agent.ping_status() {
                Some(PingStatus::Online) => Agent::Online,
                _ => Agent::Silent { heard },
            });
        }
        Ok(Agent::Unregistered)
    }

    /// Whether this is the function's document. A shared one is named by its ARN, which ends in its name.
    pub(crate) fn is_document(&self, name: &str) -> bool {
        name.rsplit('/').next() == self.document.rsplit('/').next()
    }

    /// Reads an invocation. `None` if the command is not this function's: its document or its comment is another.
    fn read(&self, invocation: &CommandInvocation) -> Option<Drain> {
        if !self.is_document(invocation.document_name()?) {
            return None;
        }
        let comment = Comment::read(&self.function, invocation.comment()?)?;
        let status = invocation.status().map_or("", |status| status.as_str());
        let steps = invocation.command_plugins();
        let codes = || steps.iter().map(|step| step.response_code());
        let command = Command {
            id: invocation.command_id()?.to_owned(),
            requested: invocation.requested_date_time().and_then(time).unwrap_or_default(),
            again: comment.again,
            status: status.to_owned(),
            detail: cut(invocation.status_details().unwrap_or(status)),
            // Steps that are skipped or succeed have 0.
            exit_code: codes().find(|code| *code != 0).or_else(|| codes().next()).unwrap_or(NO_RESPONSE),
            has_begun: codes().any(|code| code != NO_RESPONSE),
        };
        Some(Drain { instance: invocation.instance_id()?.to_owned(), comment, command })
    }
}

impl Errand<'_> {
    /// The value of a parameter of the document.
    fn value(&self, parameter: Parameter, config: &Config) -> Vec<String> {
        let Wait { group, hook, instance, .. } = self.wait;
        let text = match parameter {
            Parameter::Commands => return config.commands.clone(),
            Parameter::ExecutionTimeout => return vec![config.drain_timeout.as_secs().to_string()],
            Parameter::Group => group,
            Parameter::Hook => hook,
            Parameter::Instance => instance,
            Parameter::Transition => self.transition.as_str(),
            Parameter::Origin => self.origin.unwrap_or_default(),
            Parameter::Destination => self.destination.unwrap_or_default(),
            Parameter::Action => self.wait.id().unwrap_or_default(),
        };
        vec![text.to_owned()]
    }
}
