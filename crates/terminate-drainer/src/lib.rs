//! terminate-drainer: runs commands on an instance through Run Command before it terminates, and completes its lifecycle
//! action when they have ended. With a launching hook, it runs bootstrap commands in the same way.
//!
//! A run sends the commands and returns. The status event of their end starts the next run. The sweep finds waits whose event
//! was lost.
//!
//! `plan` decides what is done for a wait, and how a drain's end becomes the action's result. Three paths lead there: the
//! lifecycle event in this module, the status event in `status_event`, and the sweep in `reconcile`. This module carries out
//! the decision. AWS calls: those of these modules, of `commands`, of `wait` and of `lifecycle_core::action`; here
//! `autoscaling:DescribeLifecycleHooks`.
//!
//! ```
//! # use std::time::Duration;
//! # use aws_sdk_autoscaling::Client;
//! # use lifecycle_lab::Lab;
//! # use serde_json::json;
//! # use terminate_drainer::config::DRAIN_COMMANDS;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a lab: the function behind its rules, and a group whose hook holds each termination.
//! let lab = Lab::new("2026-11-21T08:00:00Z".parse()?, 7);
//! let variables = [(DRAIN_COMMANDS, "systemctl stop application")];
//! testkit::deploy::<terminate_drainer::Context>(&lab, &variables, Duration::from_secs(60));
//! lab.add_rule(&json!({ "source": ["aws.autoscaling", "aws.ssm"] }), terminate_drainer::NAME)?;
//! let operator = Client::new(&lab.sdk_config("operator"));
//! testkit::create_group(&operator, "web", 1, &[("drain", testkit::TERMINATING, 3_600, "CONTINUE")]).await;
//! lab.sleep(Duration::from_secs(300)).await;
//!
//! testkit::resize(&operator, "web", 0).await;
//! lab.until(Duration::from_secs(3_600), |world| world.autoscaling.instances().next().is_none()).await;
//! assert!(testkit::calls(&lab, terminate_drainer::NAME).contains(&"SendCommand: ok".to_owned()));
//! assert_eq!(testkit::completions(&lab), ["CONTINUE"]);
//! # Ok(())
//! # }
//! ```

mod commands;
mod comment;
pub mod config;
mod drain;
mod outcome;
mod plan;
mod reconcile;
mod report;
mod status_event;
mod timers;
mod wait;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::types::LifecycleHook;
use aws_types::SdkConfig;
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::calls::CountCalls;
use lambda_kit::event::Event;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Output, Payload};
use lifecycle_core::pending::{Asgs, Found, HookTimers, hooks_to_act_on};
use lifecycle_core::{Actions, Completion, LifecycleAction, Message, Reconciler, Transition, Wait, event};
use serde_json::Value;
use tracing::{debug, warn};

pub use config::{Config, NAME};

use commands::{Commands, Errand, Started};
use config::WaitMode;
use drain::Agent;
use plan::{MIN_HEARTBEAT_TIMEOUT, Observed, Polling, Step};
use report::report;

/// Time that is reserved for the completion while polling. A completion takes about 0.1 s, with throttles some
/// seconds.
const COMPLETION_RESERVE: Duration = Duration::from_secs(5);

/// The function's state, which lives as long as the process.
#[derive(Debug)]
pub struct Context {
    config: Config,
    autoscaling: aws_sdk_autoscaling::Client,
    asgs: Asgs,
    actions: Actions,
    reconciler: Reconciler,
    commands: Commands,
    /// Hooks, by group and name, whose timers this process has checked.
    checked: Arc<Mutex<BTreeSet<(String, String)>>>,
}

/// A wait, and the run that handles it.
#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    wait: &'a Wait,
    /// The lifecycle event, in its own run.
    action: Option<&'a LifecycleAction>,
    /// The wait as the sweep found it, in a sweep.
    found: Option<&'a Found>,
    /// The time of the lifecycle event, or of the command whose status event arrived.
    announced: Option<DateTime<Utc>>,
    invocation: &'a Invocation,
}

/// The effect of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The step observed more, so `plan` decides again.
    More,
    /// The run is finished with the wait.
    Done,
    /// The wait had already ended.
    AlreadyFinished,
}

impl From<Completion> for Effect {
    fn from(completion: Completion) -> Self {
        match completion {
            Completion::Completed => Self::Done,
            Completion::AlreadyFinished => Self::AlreadyFinished,
        }
    }
}

impl Function for Context {
    const NAME: &'static str = NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;
    type Message = Message;

    fn new(config: Config, sdk: &SdkConfig, _: Output) -> Self {
        let sdk = &with_timeouts_and_retries(sdk);
        let autoscaling = aws_sdk_autoscaling::config::Builder::from(sdk).interceptor(CountCalls).build();
        let autoscaling = aws_sdk_autoscaling::Client::from_conf(autoscaling);
        let ssm = aws_sdk_ssm::config::Builder::from(sdk).interceptor(CountCalls).build();
        let (asgs, actions) = (Asgs::new(autoscaling.clone()), Actions::new(autoscaling.clone()));
        Self {
            reconciler: Reconciler::new(
                asgs.clone(),
                actions.clone(),
                config.hooks.clone(),
                Transition::Terminating,
            ),
            asgs,
            actions,
            commands: Commands::new(aws_sdk_ssm::Client::from_conf(ssm), &config),
            checked: Arc::default(),
            autoscaling,
            config,
        }
    }

    fn read(&self, payload: Value) -> Result<Payload<Message>, Error> {
        event::read(payload)
    }

    async fn handle(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        // Boxed because the nested futures of all paths are too large for rustc.
        Box::pin(self.handle_message(message, invocation)).await
    }
}

impl Context {
    async fn handle_message(&self, message: Message, invocation: &Invocation) -> Result<Answer, Error> {
        match message {
            Message::Action(action) if !matches!(action.transition, Transition::Other(_)) => {
                self.start(&action, invocation).await
            }
            Message::Event(event) if is_status_change(&event) => {
                self.finish(event.detail()?, invocation).await
            }
            Message::Reconcile => self.reconcile(invocation).await,
            Message::Notice(reason) => Ok(Answer::ignored(reason)),
            other => Err(Error::UnsupportedEvent(format!(
                "{NAME} handles lifecycle actions, status changes of commands and scheduled runs, not {other}; correct \
                 the rule or the hook that sent it"
            ))),
        }
    }

    /// Handles a lifecycle event: sends the commands, unless they were sent before.
    async fn start(&self, action: &LifecycleAction, invocation: &Invocation) -> Result<Answer, Error> {
        // Accept.
        let wait = &action.wait;
        let (announced, found) = (Some(action.time), None);
        let case = Case { wait, action: Some(action), found, announced, invocation };

        // Observe: the event. `plan` asks for everything else step by step.
        let mut seen = Observed::of_event(action);

        // Decide and carry out.
        let (step, effect) = self.proceed(&case, &mut seen).await?;
        if step == Step::AwaitAgent && !self.is_reconciled(wait, &seen.transition).await {
            return Err(Error::Timeout(format!(
                "{}; no sweep looks after {} of {}: Lambda runs this event twice more within about three minutes, and \
                 then nobody answers the hook",
                report::agent_to_come(seen.agent, wait),
                wait.hook,
                wait.group
            )));
        }

        // Report.
        Ok(report(wait, &seen, &self.config, step, effect == Effect::AlreadyFinished))
    }

    /// Decides and carries out step after step. Returns the last step and its effect.
    async fn proceed(&self, case: &Case<'_>, seen: &mut Observed) -> Result<(Step, Effect), Error> {
        loop {
            let step = plan::decide(seen, &self.config, case.invocation.now());
            let effect = self.carry_out(step, case, seen).await?;
            if effect != Effect::More {
                return Ok((step, effect));
            }
        }
    }

    /// Carries out a step and adds its observations to `seen`.
    async fn carry_out(&self, step: Step, case: &Case<'_>, seen: &mut Observed) -> Result<Effect, Error> {
        let Case { wait, action, announced, invocation, .. } = *case;
        Ok(match step {
            Step::Verify => self.verify(case, seen).await?,
            Step::LookForRetention => {
                let retained = self.asgs.retained(&wait.group).await?;
                seen.was_retained = Some(retained.contains(&wait.instance, seen.began));
                Effect::More
            }
            Step::LookForCommand => {
                seen.command = self.commands.last(wait, seen.began).await?;
                seen.has_looked = true;
                Effect::More
            }
            Step::LookAtAgent => {
                seen.agent = Some(self.commands.agent(&wait.instance).await?);
                Effect::More
            }
            Step::LookForExcuse => {
                seen.excuse = Some(self.excuse(wait, seen, invocation).await);
                Effect::More
            }
            Step::Send { again } => {
                let errand = Errand {
                    wait,
                    transition: &seen.transition,
                    began: seen.began,
                    origin: action.and_then(|action| action.origin.as_deref()),
                    destination: action.and_then(|action| action.destination.as_deref()),
                    again,
                };
                match self.commands.start(&self.config, &errand, invocation).await? {
                    Started::Now(command) => (seen.command, seen.sent) = (Some(command), true),
                    Started::Before(command) => seen.command = Some(command),
                    Started::Refused => seen.agent = Some(Agent::Refused),
                }
                Effect::More
            }
            Step::Cancel => {
                if let Some(command) = &seen.command {
                    seen.command = Some(self.commands.cancel(command, &wait.instance, invocation).await?);
                }
                seen.cancelled = true;
                Effect::More
            }
            Step::Prolong => {
                let completion = self.actions.heartbeat(wait, invocation).await?;
                seen.prolonged = invocation.now();
                match completion {
                    Completion::Completed => Effect::More,
                    Completion::AlreadyFinished => Effect::AlreadyFinished,
                }
            }
            Step::Ask(pause) => {
                match &mut seen.polling {
                    Some(polling) => {
                        tokio::time::sleep(pause).await;
                        polling.pause = pause;
                    }
                    None => self.begin_polling(case, seen).await,
                }
                if let Some(command) = &seen.command {
                    seen.command = Some(self.commands.ask(command, &wait.instance).await?);
                }
                Effect::More
            }
            Step::Complete(ending) => {
                seen.ending = Some(ending);
                let result = plan::result(&seen.transition, ending, &self.config);
                self.actions.complete(wait, result, announced, invocation).await?.into()
            }
            Step::KeepAlive => match case.found {
                Some(found) => self.reconciler.prolong(found, invocation).await?.into(),
                None => self.actions.heartbeat(wait, invocation).await?.into(),
            },
            Step::AwaitEvent => {
                self.check_timers(wait, &seen.transition, invocation).await;
                Effect::Done
            }
            Step::AwaitAgent | Step::LeaveToSweep | Step::RunAgain => Effect::Done,
        })
    }

    /// Whether the sweep may act on the wait.
    async fn is_reconciled(&self, wait: &Wait, transition: &Transition) -> bool {
        if !self.config.groups.contain(&wait.group) {
            return false;
        }
        if let Some(named) = &self.config.hooks {
            return named.contains(&wait.hook);
        }
        let hooks = self.asgs.hooks(&wait.group).await.unwrap_or_else(|error| {
            debug!(error = error.chain(), "the hooks could not be read");
            Vec::new()
        });
        self.acts_on(&hooks, wait, transition)
    }

    fn acts_on(&self, hooks: &[LifecycleHook], wait: &Wait, transition: &Transition) -> bool {
        let named = self.config.hooks.as_deref();
        let acted_on = hooks_to_act_on(hooks, named, &Transition::Terminating, transition);
        let is_this = |hook: &&LifecycleHook| hook.lifecycle_hook_name() == Some(&wait.hook);
        self.config.groups.contain(&wait.group) && acted_on.iter().any(is_this)
    }

    async fn begin_polling(&self, case: &Case<'_>, seen: &mut Observed) {
        let timers = self.check_timers(case.wait, &seen.transition, case.invocation).await;
        let (now, left) = (case.invocation.now(), case.invocation.time_left());
        let work = left.saturating_sub(COMPLETION_RESERVE.min(left / 4));
        seen.prolonged = now;
        seen.polling = Some(Polling {
            // If the hook is unknown, assume the minimum.
            heartbeat: timers.map_or(MIN_HEARTBEAT_TIMEOUT, |timers| timers.heartbeat),
            until: now + TimeDelta::from_std(work).unwrap_or_default(),
            pause: Duration::ZERO,
        });
    }

    /// Reads the hook's timers at the hook's first action in this process, and whenever polling needs them. Warns
    /// about conflicting timers. A failure here does not stop the drain.
    async fn check_timers(
        &self,
        wait: &Wait,
        transition: &Transition,
        invocation: &Invocation,
    ) -> Option<HookTimers> {
        let key = (wait.group.clone(), wait.hook.clone());
        if self.config.wait == WaitMode::Event && self.checked().contains(&key) {
            return None;
        }
        let hooks = match self.asgs.hooks(&wait.group).await {
            Ok(hooks) => hooks,
            Err(error) => {
                debug!(error = error.chain(), "the hook's timers could not be read");
                return None;
            }
        };
        let first = self.checked().insert(key);
        let is_this = |hook: &&LifecycleHook| hook.lifecycle_hook_name() == Some(&wait.hook);
        let timers = HookTimers::of(hooks.iter().find(is_this)?);
        let reconciled = self.acts_on(&hooks, wait, transition);
        let limit = invocation.elapsed() + invocation.time_left();
        for conflict in timers::conflicts(timers, &self.config, limit, reconciled).iter().filter(|_| first) {
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

    fn checked(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_status_change(event: &Event) -> bool {
    event.source == "aws.ssm" && event.detail_type == "EC2 Command Invocation Status-change Notification"
}
