//! Reconcile: finds launches that still wait although their event should have come, lets them go on, and records them.
//!
//! AWS calls: those of `lifecycle_core::pending`, and `autoscaling:CompleteLifecycleAction` once for each such launch.

use std::collections::BTreeMap;

use lambda_kit::{Answer, Error, Invocation, Warning};
use lifecycle_core::pending::Found;
use lifecycle_core::reconcile::{Did, Handled, turn};
use lifecycle_core::{ActionResult, Completion};
use tracing::warn;

use crate::config::AUTO_SCALING_GROUPS;
use crate::outcome::NOT_RECORDED;
use crate::plan::{Step, decide};
use crate::{Context, record};

impl Context {
    /// Reconciles the groups of the configuration.
    pub(crate) async fn reconcile(&self, invocation: &Invocation) -> Result<Answer, Error> {
        if self.config.groups.is_empty() {
            warn!("{AUTO_SCALING_GROUPS} is not set, so the sweep has no group to reconcile");
        }
        // Observe.
        let mut round = self.reconciler.look(&self.config.groups, invocation).await?;
        let now = invocation.now();
        let arns = round.groups.iter().filter_map(|group| {
            Some((group.auto_scaling_group_name()?.to_owned(), group.auto_scaling_group_arn()?.to_owned()))
        });
        let arns: BTreeMap<String, String> = arns.collect();

        // Decide.
        let mut due = Vec::new();
        for found in std::mem::take(&mut round.waits) {
            let age = found.activity.as_ref().map(|activity| now - activity.began);
            match decide(&found.transition, age) {
                Step::NoLaunch => {}
                Step::Leave => round.count(Did::Waits),
                Step::Continue => due.push(found),
            }
        }
        due.sort_by_cached_key(|found| {
            (!self.reconciler.ends_before_next(found, now), turn(&found.wait, now))
        });

        // Carry out.
        let complete = |found: Found, invocation| {
            let arn = arns.get(&found.wait.group).cloned();
            async move { self.complete_found(&found, arn.as_deref(), &invocation).await }
        };
        round.for_each(due, |found| &found.wait, invocation, complete).await;

        // Report.
        self.reconciler.answer(round)
    }

    /// Lets a launch go on. The record comes after AWS has accepted the completion, so that an instance that waits in
    /// another hook, and has left this one, is not recorded by every sweep.
    async fn complete_found(
        &self,
        found: &Found,
        group: Option<&str>,
        invocation: &Invocation,
    ) -> Result<Handled, Error> {
        let wait = &found.wait;
        let completion = self.actions.complete(wait, ActionResult::Continue, None, invocation).await?;
        let written = match completion {
            Completion::Completed => self.output.line(&record::of_sweep(found, group, invocation)),
            Completion::AlreadyFinished => Ok(()),
        };
        let warning = written.err().map(|error| Warning {
            failure: NOT_RECORDED,
            text: format!("{}: the launch was completed, but could not be recorded: {error}", wait.instance),
            about: wait.fields(),
        });
        Ok(Handled { did: completion.into(), warning })
    }
}
