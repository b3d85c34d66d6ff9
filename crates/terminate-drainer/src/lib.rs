//! terminate-drainer: when an instance is about to die, commands run on it to their real end, and only
//! then does it go. The function sends them through Run Command and returns; the status event of their
//! end wakes it, and the sweep does the same for whatever event was lost. With the launching detail-type
//! it runs bootstrap commands in the same way.
//!
//! This module starts and finishes drains. AWS calls: those of `commands`, `sweep` and
//! `lifecycle_core::action`; here `autoscaling:DescribeAutoScalingInstances`.

mod commands;
mod comment;
pub mod config;
pub mod policy;
mod sweep;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::types::LifecycleHook;
use aws_types::SdkConfig;
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::runtime::tuned;
use lifecycle_core::waits::{Groups, HookTimers, OLDEST, hooks_to_act_on};
use lifecycle_core::{
    Actions, Answer, Completion, Error, Event, Invocation, LifecycleAction, Message, Outcome, Output, Sweep,
    Transition, Wait, dispatch,
};
use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, info, warn};

pub use config::Config;

use commands::{Agent, Commands, DELIVERY_SLACK, Drain, SECOND_LOOK, Standing, Started};
use config::WaitMode;
use policy::Ending;

/// The function's name, as crate, binary and template carry it.
pub const NAME: &str = "terminate-drainer";

/// An event older than this may be about a wait that has ended, since no hook is shorter: then a warm
/// pool's instance may be serving again, and nothing must be run on it.
const SHORTEST_HOOK: TimeDelta = TimeDelta::seconds(30);

/// The first pause between two questions for a command's end; each is half as long again as the one
/// before.
const FIRST_POLL: Duration = Duration::from_millis(500);

/// The longest such pause: what a drain may wait for its completion more than it had to.
const LONGEST_POLL: Duration = Duration::from_secs(15);

/// Kept for the completion while polling. It takes a tenth of a second, and a few with throttles.
const COMPLETION_RESERVE: Duration = Duration::from_secs(5);

/// What lives as long as the process.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where metrics go.
    pub output: Output,
    config: Config,
    autoscaling: aws_sdk_autoscaling::Client,
    groups: Groups,
    actions: Actions,
    sweep: Sweep,
    commands: Commands,
    memory: Arc<Mutex<Memory>>,
}

/// What a warm process knows and a cold one can do without.
#[derive(Debug, Default)]
struct Memory {
    /// Hooks, by group and name, whose timers were looked at.
    checked: BTreeSet<(String, String)>,
    /// Instances whose drain is being started: a batch can hold one event twice.
    starting: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// When commands were sent, by instance: Run Command lists them only a moment later.
    sent: BTreeMap<String, DateTime<Utc>>,
}

impl Context {
    /// A context that writes to standard output and speaks to AWS as `sdk` says.
    ///
    /// # Errors
    /// Standard output could not be opened.
    pub fn new(config: Config, sdk: &SdkConfig) -> io::Result<Self> {
        let sdk = &tuned(sdk);
        let autoscaling = aws_sdk_autoscaling::Client::new(sdk);
        let (groups, actions) = (Groups::new(autoscaling.clone()), Actions::new(autoscaling.clone()));
        Ok(Self {
            output: Output::stdout()?,
            sweep: Sweep::new(groups.clone(), actions.clone(), config.hooks.clone()),
            groups,
            actions,
            commands: Commands::new(aws_sdk_ssm::Client::new(sdk), &config.function),
            memory: Arc::default(),
            autoscaling,
            config,
        })
    }

    /// Handles whatever Lambda delivers: an event, a hook notification, a batch of either, the sweep.
    ///
    /// # Errors
    /// What Lambda should run again, or keep: see [`Error`].
    pub async fn invoke(&self, payload: Value, invocation: &Invocation) -> Result<Value, Error> {
        // Boxed: three drains' worth of nested futures is more than rustc lays out at once.
        let handle = |message| Box::pin(self.handle(message, invocation));
        dispatch(&self.config.function, payload, invocation, &self.output, handle).await
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        match message {
            Message::Action(action) if !matches!(action.transition, Transition::Other(_)) => {
                self.start(&action, invocation).await
            }
            Message::Event(event) if is_status_change(&event) => {
                self.finish(event.detail()?, invocation).await
            }
            Message::Sweep => self.sweep(invocation).await,
            Message::Test => Ok(Answer::ignored("a hook's test notification")),
            other => Err(Error::UnsupportedEvent(format!(
                "{NAME} handles lifecycle actions, status changes of commands and scheduled runs, not {other}; correct \
                 the rule or the hook that sent it"
            ))),
        }
    }

    /// An instance waits: its commands are sent, unless they were before.
    async fn start(&self, action: &LifecycleAction, invocation: &Invocation) -> Result<Answer, Error> {
        let (wait, transition, announced) = (&action.wait, &action.transition, Some(action.time));
        if invocation.now() - action.time > SHORTEST_HOOK
            && self.actions.heartbeat(wait, invocation).await? == Completion::AlreadyFinished
        {
            return Ok(Answer::about(wait, Outcome::AlreadyFinished));
        }

        let agent = self.commands.agents(std::slice::from_ref(&wait.instance)).await?[&wait.instance];
        let started = match agent {
            Agent::Online => self.start_drain(transition, wait, action.time, invocation).await?,
            Agent::Silent | Agent::Unregistered => match self.commands.first(wait, action.time).await? {
                Some(drain) => Started::Before(drain),
                None => Started::Refused,
            },
        };
        let (command, outcome) = match started {
            Started::Now(command) => (command, Outcome::CommandSent),
            Started::Before(drain) => match drain.ending(&self.config, invocation.now()) {
                None => (drain.command, Outcome::CommandRunning),
                Some(ending) => {
                    return self.complete(wait, transition, ending, announced, &drain, invocation).await;
                }
            },
            Started::Refused => return self.unreachable(action, agent, invocation).await,
        };

        let timers = self.check_timers(wait, transition, invocation).await;
        match self.config.wait {
            WaitMode::Event => Ok(Answer::about(wait, outcome).with("command.id", command)),
            WaitMode::Poll => self.poll(action, command, timers, invocation).await,
        }
    }

    async fn start_drain(
        &self,
        transition: &Transition,
        wait: &Wait,
        began: DateTime<Utc>,
        invocation: &Invocation,
    ) -> Result<Started, Error> {
        let turn = self.memory().starting.entry(wait.instance.clone()).or_default().clone();
        let mine = turn.lock_owned().await;
        let sent = self.memory().sent.get(&wait.instance).copied();
        let age = sent.map(|sent| (invocation.now() - sent).to_std().unwrap_or_default());
        if let Some(unlisted) = age.and_then(|age| SECOND_LOOK.checked_sub(age)) {
            tokio::time::sleep(unlisted.min(invocation.time_left() / 4)).await;
        }
        let started = self.commands.start(&self.config, transition, wait, began, invocation).await;
        // Whoever is next must find it remembered.
        self.remember_sending(&wait.instance, &started, invocation.now());
        drop(mine);
        self.memory().starting.retain(|_, turn| Arc::strong_count(turn) > 1);
        let started = started?;
        if let Started::Now(command) = &started {
            info!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                action.id = wait.id(),
                command.id = command,
                "{}: sent the commands, as {command}",
                wait.instance
            );
        }
        Ok(started)
    }

    /// Remembers a sending, for as long as it may not be listed. One that failed may have had an effect.
    fn remember_sending(&self, instance: &str, started: &Result<Started, Error>, now: DateTime<Utc>) {
        let mut memory = self.memory();
        memory.sent.retain(|_, sent| (now - *sent).to_std().unwrap_or_default() < SECOND_LOOK);
        if matches!(started, Ok(Started::Now(_)) | Err(_)) {
            memory.sent.insert(instance.to_owned(), now);
        }
    }

    /// Answers for an instance whose agent can't be reached. On an instance that has only just booted the
    /// agent registers in its own time, so there the event is run again until `DELIVERY_TIMEOUT` is over.
    async fn unreachable(
        &self,
        action: &LifecycleAction,
        agent: Agent,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let wait = &action.wait;
        let why = match agent {
            Agent::Silent => "the agent is silent",
            Agent::Unregistered => "the agent is not registered",
            Agent::Online => "Run Command refuses the instance: InvalidInstanceId",
        };
        let young =
            (invocation.now() - action.time).to_std().unwrap_or_default() < self.config.delivery_timeout;
        let boots = agent != Agent::Silent || action.origin.as_deref() == Some("WarmPool");
        if action.transition == Transition::Launching && boots && young {
            return Err(Error::Timeout(format!(
                "the agent of {} is not registered yet; the event is run again until DELIVERY_TIMEOUT is over",
                wait.instance
            )));
        }
        let result = policy::result(&action.transition, Ending::Unreachable, &self.config);
        warn!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            action.id = wait.id(),
            "{} can't be reached ({why}): completing with {result}",
            wait.instance
        );
        let completion = self.actions.complete(wait, result, Some(action.time), invocation).await?;
        Ok(Answer::completion(wait, result, completion).with("reason", why))
    }

    /// A command's status changed: if it is ours and has ended, the action is completed.
    async fn finish(&self, change: StatusChange, invocation: &Invocation) -> Result<Answer, Error> {
        if !ENDED.contains(&change.status.as_str()) {
            return Ok(Answer::ignored("the command has not ended").with("command.status", change.status));
        }
        let Some(drain) = self.commands.find(&change.command_id, &change.instance_id).await? else {
            return Ok(
                Answer::ignored("not a command of this function").with("command.id", change.command_id)
            );
        };
        let Some(ending) = drain.ending(&self.config, invocation.now()) else {
            return Err(Error::Timeout(format!(
                "the command {} is still {} although its status event says {}",
                drain.command, drain.status, change.status
            )));
        };

        let Some(wait) = self.wait_of(&drain).await? else {
            return Ok(Answer::new(Outcome::AlreadyFinished)
                .with("instance.id", drain.instance)
                .with("command.id", drain.command)
                .with("reason", "the instance waits in no hook that this command was sent for"));
        };
        self.complete(&wait, &drain.comment.transition, ending, Some(drain.requested), &drain, invocation)
            .await
    }

    /// The wait that a command was sent for, if it may still last. Names that were too long for the
    /// comment are looked up; a command that knows no token must not be older than the present wait.
    async fn wait_of(&self, drain: &Drain) -> Result<Option<Wait>, Error> {
        let names = match drain.comment.names() {
            Some((group, hook)) => Some((group.to_owned(), hook.to_owned())),
            None => self.names_of(drain).await?,
        };
        let Some((group, hook)) = names else {
            return Ok(None);
        };
        let wait = Wait { group, hook, instance: drain.instance.clone(), token: drain.comment.token.clone() };
        if wait.token.is_none() {
            let instance = [wait.instance.as_str()].into();
            let present =
                self.groups.running_activities(&wait.group, &instance, drain.requested - OLDEST).await?;
            let began = present.get(&wait.instance).map(|activity| activity.began);
            if !began.is_some_and(|began| drain.belongs_to(&wait, began)) {
                return Ok(None);
            }
        }
        Ok(Some(wait))
    }

    async fn names_of(&self, drain: &Drain) -> Result<Option<(String, String)>, Error> {
        let instance =
            self.autoscaling.describe_auto_scaling_instances().instance_ids(&drain.instance).send().await;
        let instance = instance.map_err(|error| Error::aws("DescribeAutoScalingInstances", &error))?;
        let Some(group) =
            instance.auto_scaling_instances().first().and_then(|found| found.auto_scaling_group_name())
        else {
            return Ok(None);
        };
        let hooks = self.groups.hooks(group).await?;
        let names = hooks.iter().filter_map(|hook| hook.lifecycle_hook_name());
        let hook = names.into_iter().find(|hook| drain.comment.is_about(group, hook));
        Ok(hook.map(|hook| (group.to_owned(), hook.to_owned())))
    }

    async fn complete(
        &self,
        wait: &Wait,
        transition: &Transition,
        ending: Ending,
        announced: Option<DateTime<Utc>>,
        drain: &Drain,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let result = policy::result(transition, ending, &self.config);
        info!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            action.id = wait.id(),
            command.id = drain.command,
            command.status = drain.detail,
            exit_code = drain.exit_code,
            "{}: the commands ended as {}",
            wait.instance,
            drain.detail
        );
        let completion = self.actions.complete(wait, result, announced, invocation).await?;
        let answer = Answer::completion(wait, result, completion).with("command.id", drain.command.as_str());
        Ok(answer.with("command.status", drain.detail.as_str()).with("exit_code", drain.exit_code))
    }

    /// Stays and asks until the commands have ended, or the run's time is almost over.
    async fn poll(
        &self,
        action: &LifecycleAction,
        command: String,
        timers: Option<HookTimers>,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        let wait = &action.wait;
        let reserve = COMPLETION_RESERVE.min(invocation.time_left() / 4);
        // Without the hook's word, the shortest hook's.
        let heartbeat = timers.map_or(Duration::from_secs(30), |timers| timers.heartbeat);
        let mut beat_at =
            (invocation.now() - action.time).to_std().unwrap_or_default().min(invocation.elapsed());
        let mut pause = FIRST_POLL;
        loop {
            let Standing { ending, detail, exit_code } =
                self.commands.standing(&command, &wait.instance).await?;
            let undelivered = ["Pending", "Delayed"].contains(&detail.as_str())
                && invocation.elapsed() > self.config.delivery_timeout + DELIVERY_SLACK;
            let ending = ending.or(undelivered.then_some(Ending::Unreachable));
            if let Some(ending) = ending {
                let result = policy::result(&action.transition, ending, &self.config);
                let completion = self.actions.complete(wait, result, Some(action.time), invocation).await?;
                let answer = Answer::completion(wait, result, completion).with("command.id", command);
                return Ok(answer.with("command.status", detail).with("exit_code", exit_code));
            }
            let spare = invocation.time_left().saturating_sub(reserve);
            if spare.is_zero() {
                return Ok(Answer::about(wait, Outcome::LeftToSweep)
                    .with("command.id", command)
                    .with("reason", "the commands outlive this run; the sweep completes the action"));
            }
            if invocation.elapsed().saturating_sub(beat_at) >= heartbeat / 2 {
                if self.actions.heartbeat(wait, invocation).await? == Completion::AlreadyFinished {
                    return Ok(Answer::about(wait, Outcome::AlreadyFinished).with("command.id", command));
                }
                beat_at = invocation.elapsed();
            }
            tokio::time::sleep(pause.min(spare)).await;
            pause = (pause * 3 / 2).min(LONGEST_POLL).min(heartbeat / 4);
        }
    }

    /// At the first action of a hook in this process, and whenever polling needs them: the hook's timers,
    /// with a warning about what can't work. A failure here must not stop a drain that is under way.
    async fn check_timers(
        &self,
        wait: &Wait,
        transition: &Transition,
        invocation: &Invocation,
    ) -> Option<HookTimers> {
        let key = (wait.group.clone(), wait.hook.clone());
        if self.config.wait == WaitMode::Event && self.memory().checked.contains(&key) {
            return None;
        }
        let hooks = match self.groups.hooks(&wait.group).await {
            Ok(hooks) => hooks,
            Err(error) => {
                debug!(error = error.chain(), "the hook's timers could not be read");
                return None;
            }
        };
        let first = self.memory().checked.insert(key);
        let is_this = |hook: &&LifecycleHook| hook.lifecycle_hook_name() == Some(&wait.hook);
        let timers = HookTimers::of(hooks.iter().find(is_this)?);
        let acted_on = hooks_to_act_on(&hooks, self.config.hooks.as_deref(), transition);
        let swept = self.config.groups.contain(&wait.group) && acted_on.iter().any(is_this);
        let limit = invocation.elapsed() + invocation.time_left();
        for conflict in timers::conflicts(timers, &self.config, limit, swept).iter().filter(|_| first) {
            warn!(
                asg.name = wait.group,
                hook.name = wait.hook,
                "{} of {}: {conflict}",
                wait.hook,
                wait.group
            );
        }
        Some(timers)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Statuses of an invocation that has ended.
const ENDED: [&str; 4] = ["Success", "Failed", "TimedOut", "Cancelled"];

/// The detail of Systems Manager's event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StatusChange {
    command_id: String,
    instance_id: String,
    status: String,
}

fn is_status_change(event: &Event) -> bool {
    event.source == "aws.ssm" && event.detail_type == "EC2 Command Invocation Status-change Notification"
}
