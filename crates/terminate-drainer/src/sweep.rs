//! What the sweep does with a wait: it starts a drain that was never started, finishes one that has
//! ended, and keeps alive one that still runs.
//!
//! AWS calls: those of `lifecycle_core::sweep` and `commands`; `ssm:ListCommandInvocations` once for all
//! waits.

use lifecycle_core::sweep::{Did, turn};
use lifecycle_core::waits::Found;
use lifecycle_core::{Answer, Completion, Error, Invocation, Transition};
use tracing::{info, warn};

use crate::Context;
use crate::commands::{Agent, Drain, Started};
use crate::policy::{self, Ending};

/// A wait, the drain that belongs to it, and the agent of its instance where there is none.
type Item = (Found, Option<Drain>, Option<Agent>);

impl Context {
    /// Looks after the named groups.
    pub(crate) async fn sweep(&self, invocation: &Invocation) -> Result<Answer, Error> {
        if self.config.groups.is_empty() {
            warn!("AUTO_SCALING_GROUPS is not set, so the sweep looks after no group");
        }
        let mut round = self.sweep.look(&self.config.groups, invocation).await?;
        let waits = std::mem::take(&mut round.waits);
        let items = self.with_drains(waits, invocation).await?;
        let deal = |item, invocation| self.deal_with(item, invocation);
        round.deal_with(items, |(found, ..)| &found.wait, invocation, deal).await;
        self.sweep.answer(round)
    }

    /// The waits with their drains; what has ended comes first, then what was never started.
    async fn with_drains(&self, waits: Vec<Found>, invocation: &Invocation) -> Result<Vec<Item>, Error> {
        let now = invocation.now();
        let Some(oldest) = waits.iter().map(|found| found.since(now)).min() else {
            return Ok(Vec::new());
        };
        let mut drains = self.commands.since(&self.config.document, oldest).await?;
        let mut items: Vec<(Found, Option<Drain>)> = waits
            .into_iter()
            .map(|found| {
                let on_instance = drains.get_mut(&found.wait.instance);
                let drain = on_instance.and_then(|drains| {
                    let ours = drains.iter().filter(|drain| drain.belongs_to(&found.wait, found.since(now)));
                    match found.activity {
                        Some(_) => ours.min_by_key(|drain| drain.requested).cloned(),
                        // When the wait began is not known: an older drain may be of an earlier one.
                        None => ours.max_by_key(|drain| drain.requested).cloned(),
                    }
                });
                (found, drain)
            })
            .collect();
        let unstarted = items.iter().filter(|(_, drain)| drain.is_none());
        let unstarted: Vec<String> = unstarted.map(|(found, _)| found.wait.instance.clone()).collect();
        let agents = self.commands.agents(&unstarted).await?;
        items.sort_by_cached_key(|(found, drain)| {
            let urgency = match drain.as_ref().map(|drain| drain.ending(&self.config, now)) {
                Some(Some(_)) => 0,
                None => 1,
                Some(None) => 2,
            };
            (urgency, turn(&found.wait, now))
        });
        let with_agents = items.into_iter().map(|(found, drain)| {
            let agent = agents.get(&found.wait.instance).copied();
            (found, drain, agent)
        });
        Ok(with_agents.collect())
    }

    async fn deal_with(&self, (found, drain, agent): Item, invocation: Invocation) -> Result<Did, Error> {
        let (wait, now) = (&found.wait, invocation.now());
        let began = found.since(now);
        let age = (now - began).to_std().unwrap_or_default();
        let drain = if drain.is_none() && agent != Some(Agent::Online) {
            // A command of another document, from before a deployment, may still run.
            self.commands.first(wait, began).await?
        } else {
            drain
        };
        let (drain, ending) = match (drain, agent) {
            (Some(drain), _) => {
                let ending = drain.ending(&self.config, now);
                (Some(drain), ending)
            }
            (None, Some(Agent::Online)) => {
                // Some of the hook's time is gone: the drain gets all of it, if the wait still lasts. A third is
                // as long as the sweeps let a running drain go without a heartbeat.
                if age > found.timers.heartbeat / 3
                    && self.actions.heartbeat(wait, &invocation).await? == Completion::AlreadyFinished
                {
                    return Ok(Did::AlreadyFinished);
                }
                match self.start_drain(&found.transition, wait, began, &invocation).await? {
                    Started::Now(_) => return Ok(Did::Started),
                    Started::Before(drain) => {
                        let ending = drain.ending(&self.config, now);
                        (Some(drain), ending)
                    }
                    Started::Refused => (None, Some(Ending::Unreachable)),
                }
            }
            (None, Some(Agent::Unregistered))
                if found.transition == Transition::Launching && age < self.config.delivery_timeout =>
            {
                return Ok(Did::Waits);
            }
            (None, _) => (None, Some(Ending::Unreachable)),
        };
        let Some(ending) = ending else {
            return self.sweep.keep_alive(&found, &invocation).await;
        };
        let result = policy::result(&found.transition, ending, &self.config);
        let detail = drain.as_ref().map_or("the agent can't be reached", |drain| drain.detail.as_str());
        info!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            command.status = detail,
            exit_code = drain.as_ref().and_then(|drain| drain.exit_code),
            "{}: found by the sweep, {detail}",
            wait.instance
        );
        Ok(self.actions.complete(wait, result, None, &invocation).await?.into())
    }
}
