//! terminate-drainer: runs commands on an instance through Run Command before it terminates, and completes its lifecycle
//! action when they have ended. With a launching hook, it runs bootstrap commands in the same way.
//!
//! A run sends the commands and returns. The status event of their end starts the next run. The sweep finds waits whose event
//! was lost.
//!
//! `plan` decides what is done for a wait, and how a drain's end becomes the action's result. Three paths lead there: the
//! lifecycle event in this module, the status event in `status_event`, and the sweep in `reconcile`. This module carries out
//! the decision. AWS calls: those of these modules, of `commands` and of `lifecycle_core::action`; here
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
mod status_event;
mod timers;

use std::collections::BTreeSet;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::types::LifecycleHook;
use aws_types::SdkConfig;
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::calls::CountCalls;
use lambda_kit::event::Event;
use lambda_kit::runtime::with_timeouts_and_retries;
use lambda_kit::{Answer, Error, Function, Invocation, Output, Payload};
use lifecycle_core::outcome::{ALREADY_FINISHED, COMPLETED};
use lifecycle_core::pending::{Asgs, HookTimers, hooks_to_act_on};
use lifecycle_core::{
    ActionResult, Actions, Completion, LifecycleAction, Message, Reconciler, Transition, Wait, event,
};
use serde_json::Value;
use tracing::{debug, warn};

pub use config::{Config, NAME};

use commands::{Commands, Started};
use config::WaitMode;
use drain::{Agent, Command};
use outcome::{COMMAND_RUNNING, COMMAND_SENT, LEFT_TO_SWEEP};
use plan::{MIN_HEARTBEAT_TIMEOUT, Observed, Polling, Step, Trigger};

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
#[derive(Debug)]
struct Case<'a> {
    wait: &'a Wait,
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
            commands: Commands::new(aws_sdk_ssm::Client::from_conf(ssm), &config.function),
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
        let case = Case { wait: &action.wait, announced: Some(action.time), invocation };

        // Observe: the event. `plan` asks for everything else step by step.
        let mut seen = Observed::of_event(action);

        // Decide and carry out.
        let (step, effect) = self.proceed(&case, &mut seen).await?;

        // Report.
        answer(&case, &seen, step, effect)
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
        let Case { wait, announced, invocation } = *case;
        Ok(match step {
            Step::Prolong => {
                let completion = self.actions.heartbeat(wait, invocation).await?;
                seen.prolonged = invocation.now();
                match completion {
                    Completion::Completed => Effect::More,
                    Completion::AlreadyFinished => Effect::AlreadyFinished,
                }
            }
            Step::Look => {
                let agents = self.commands.agents(slice::from_ref(&wait.instance)).await?;
                seen.agent = Some(agents[&wait.instance]);
                seen.command = self.sent_before(case, seen).await?;
                Effect::More
            }
            Step::Send => {
                let started =
                    self.commands.start(&self.config, &seen.transition, wait, seen.began, invocation).await?;
                match started {
                    Started::Now(command) => (seen.command, seen.sent) = (Some(command), true),
                    Started::Before(command) => seen.command = Some(command),
                    Started::Refused => seen.agent = Some(Agent::Refused),
                }
                Effect::More
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
            Step::Complete(result) => {
                log_end(case, seen, result);
                self.actions.complete(wait, result, announced, invocation).await?.into()
            }
            Step::KeepAlive => self.actions.heartbeat(wait, invocation).await?.into(),
            Step::AwaitEvent => {
                self.check_timers(wait, &seen.transition, invocation).await;
                Effect::Done
            }
            Step::LeaveToSweep | Step::RunAgain => Effect::Done,
        })
    }

    /// The command that was sent before, if the agent can't take commands. Otherwise the sending looks for it.
    async fn sent_before(&self, case: &Case<'_>, seen: &Observed) -> Result<Option<Command>, Error> {
        match seen.agent {
            Some(Agent::Online) => Ok(None),
            _ => self.commands.first(case.wait, seen.began).await,
        }
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
        let acted_on =
            hooks_to_act_on(&hooks, self.config.hooks.as_deref(), &Transition::Terminating, transition);
        let reconciled = self.config.groups.contain(&wait.group) && acted_on.iter().any(is_this);
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

/// Makes the answer to an event from the last step, its effect and the command.
fn answer(case: &Case<'_>, seen: &Observed, step: Step, effect: Effect) -> Result<Answer, Error> {
    let wait = case.wait;
    let answer = match (step, effect) {
        (_, Effect::AlreadyFinished) => wait.answer(ALREADY_FINISHED),
        (Step::Complete(result), _) => wait.answer(COMPLETED).with("action.result", result.as_str()),
        (Step::RunAgain, _) => {
            return Err(Error::Timeout(format!(
                "the agent of {} is not registered yet; Lambda retries the event until DELIVERY_TIMEOUT is over",
                wait.instance
            )));
        }
        (Step::LeaveToSweep, _) => wait.answer(LEFT_TO_SWEEP),
        _ if seen.sent => wait.answer(COMMAND_SENT),
        _ => wait.answer(COMMAND_RUNNING),
    };
    let answer = match &seen.command {
        Some(command) => answer.with("command.id", command.id.as_str()),
        None => answer,
    };
    Ok(match (step, &seen.command) {
        (Step::Complete(_), Some(command)) => {
            answer.with("command.status", command.detail.as_str()).with("exit_code", command.exit_code)
        }
        (Step::Complete(_), None) => answer.with("reason", unreachable_because(seen.agent)),
        (Step::LeaveToSweep, _) => {
            answer.with("reason", "the commands outlast this run; the sweep completes the action")
        }
        _ => answer,
    })
}

/// The reason why the agent is unreachable.
fn unreachable_because(agent: Option<Agent>) -> &'static str {
    match agent {
        Some(Agent::Silent) => "the agent is silent",
        Some(Agent::Unregistered) | None => "the agent is not registered",
        Some(Agent::Online | Agent::Refused) => "Run Command refuses the instance: InvalidInstanceId",
    }
}

/// Logs the end of the drain before the completion. After polling, only the answer reports the end.
fn log_end(case: &Case<'_>, seen: &Observed, result: ActionResult) {
    let wait = case.wait;
    match (seen.trigger, &seen.command) {
        (Trigger::Reconcile { .. }, command) => {
            let detail = command.as_ref().map_or("the agent can't be reached", |command| &command.detail);
            debug!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                command.status = detail,
                exit_code = command.as_ref().and_then(|command| command.exit_code),
                "{}: found by the sweep, {detail}",
                wait.instance
            );
        }
        (_, None) => warn!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            action.id = wait.id(),
            "{} can't be reached ({}): completing with {result}",
            wait.instance,
            unreachable_because(seen.agent)
        ),
        (_, Some(_)) if seen.polling.is_some() => {}
        (_, Some(command)) => debug!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            action.id = wait.id(),
            command.id = command.id,
            command.status = command.detail,
            exit_code = command.exit_code,
            "{}: the commands ended as {}",
            wait.instance,
            command.detail
        ),
    }
}
