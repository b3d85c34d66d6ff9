//! Reconcile: finds all waits in AWS's own state, then handles each wait as after an event. It starts a drain that
//! was never started, completes the action of one that has ended, and sends heartbeats for one that still runs.
//!
//! AWS calls: those of `lifecycle_core::reconcile` and `commands`; `ssm:ListCommandInvocations` once for all
//! waits.

use lambda_kit::{Answer, Error, Invocation};
use lifecycle_core::pending::Found;
use lifecycle_core::reconcile::{Did, turn};
use tracing::warn;

use crate::drain::{Agent, Command};
use crate::plan::{self, Observed, Step, Trigger};
use crate::{Case, Context, Effect};

/// A wait, its command, and, without a command, the state of the instance's agent.
type Item = (Found, Option<Command>, Option<Agent>);

impl Context {
    /// Reconciles the groups of the configuration.
    pub(crate) async fn reconcile(&self, invocation: &Invocation) -> Result<Answer, Error> {
        if self.config.groups.is_empty() {
            warn!("AUTO_SCALING_GROUPS is not set, so the sweep has no group to reconcile");
        }
        let mut round = self.reconciler.look(&self.config.groups, invocation).await?;
        let waits = std::mem::take(&mut round.waits);
        let items = self.with_commands(waits, invocation).await?;
        let handle = |item, invocation| self.handle_item(item, invocation);
        round.for_each(items, |(found, ..)| &found.wait, invocation, handle).await;
        self.reconciler.answer(round)
    }

    /// The waits with their commands. Ended drains come first, then drains that were never started.
    async fn with_commands(&self, waits: Vec<Found>, invocation: &Invocation) -> Result<Vec<Item>, Error> {
        let now = invocation.now();
        let Some(oldest) = waits.iter().map(|found| found.since(now)).min() else {
            return Ok(Vec::new());
        };
        let drains = self.commands.since(&self.config.document, oldest).await?;
        let mut items: Vec<(Found, Option<Command>)> = waits
            .into_iter()
            .map(|found| {
                let on_instance = drains.get(&found.wait.instance).into_iter().flatten();
                let ours = on_instance.filter(|drain| drain.belongs_to(&found.wait, found.since(now)));
                let ours = ours.map(|drain| &drain.command);
                let command = match found.activity {
                    Some(_) => ours.min_by_key(|command| command.requested).cloned(),
                    // The start of the wait is unknown, so an older drain may belong to an earlier wait.
                    None => ours.max_by_key(|command| command.requested).cloned(),
                };
                (found, command)
            })
            .collect();
        let unstarted = items.iter().filter(|(_, command)| command.is_none());
        let unstarted: Vec<String> = unstarted.map(|(found, _)| found.wait.instance.clone()).collect();
        let agents = self.commands.agents(&unstarted).await?;
        items.sort_by_cached_key(|(found, command)| {
            let urgency = match command.as_ref().map(|command| plan::ending(command, &self.config, now)) {
                Some(Some(_)) => 0,
                None => 1,
                Some(None) => 2,
            };
            (urgency, turn(&found.wait, now))
        });
        let with_agents = items.into_iter().map(|(found, command)| {
            let agent = agents.get(&found.wait.instance).copied();
            (found, command, agent)
        });
        Ok(with_agents.collect())
    }

    async fn handle_item(&self, (found, command, agent): Item, invocation: Invocation) -> Result<Did, Error> {
        // Accept.
        let case = Case { wait: &found.wait, announced: None, invocation: &invocation };

        // Observe.
        let now = invocation.now();
        let due = self.reconciler.is_due(&found, now);
        let trigger = Trigger::Reconcile { heartbeat: found.timers.heartbeat, due };
        let mut seen = Observed::new(trigger, found.transition.clone(), found.since(now));
        seen.agent = agent;
        seen.command = match command {
            // A command with the document of an earlier deployment may still run.
            None => self.sent_before(&case, &seen).await?,
            command => command,
        };

        // Decide and carry out.
        let (step, effect) = self.proceed(&case, &mut seen).await?;

        // Report.
        Ok(match (step, effect) {
            (_, Effect::AlreadyFinished) => Did::AlreadyFinished,
            (Step::Complete(_), _) => Did::Completed,
            (Step::KeepAlive, _) => Did::Heartbeat,
            _ if seen.sent => Did::Started,
            _ => Did::Waits,
        })
    }
}
