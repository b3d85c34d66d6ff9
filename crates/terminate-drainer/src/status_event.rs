//! Handles the status event of a command's end: finds the command and the wait that it was sent for.
//!
//! AWS calls: those of `commands`, `autoscaling:DescribeAutoScalingInstances`, and of
//! `lifecycle_core::pending` `DescribeLifecycleHooks` and `DescribeScalingActivities`.

use lambda_kit::{Answer, Error, Invocation};
use lifecycle_core::Wait;
use lifecycle_core::outcome::ALREADY_FINISHED;
use lifecycle_core::pending::MAX_WAIT_AGE;
use serde::Deserialize;

use crate::drain::Drain;
use crate::plan::{self, Observed, Step, Trigger};
use crate::{Case, Context, answer};

/// Statuses of an invocation that has ended.
const ENDED: [&str; 4] = ["Success", "Failed", "TimedOut", "Cancelled"];

/// The detail of Systems Manager's event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StatusChange {
    command_id: String,
    instance_id: String,
    status: String,
}

impl Context {
    /// Handles a status change: completes the action if the command is this function's and has ended.
    pub(crate) async fn finish(
        &self,
        change: StatusChange,
        invocation: &Invocation,
    ) -> Result<Answer, Error> {
        // Accept.
        if !ENDED.contains(&change.status.as_str()) {
            return Ok(Answer::ignored("the command has not ended").with("command.status", change.status));
        }

        // Observe.
        let Some(drain) = self.commands.find(&change.command_id, &change.instance_id).await? else {
            return Ok(
                Answer::ignored("not a command of this function").with("command.id", change.command_id)
            );
        };
        let (transition, requested) = (drain.comment.transition.clone(), drain.command.requested);
        let mut seen = Observed::new(Trigger::StatusEvent, transition, requested);
        seen.command = Some(drain.command.clone());

        // Decide.
        let step = plan::decide(&seen, &self.config, invocation.now());
        if step == Step::RunAgain {
            return Err(Error::Timeout(format!(
                "the command {} is still {} although its status event says {}",
                drain.command.id, drain.command.status, change.status
            )));
        }

        // Carry out.
        let Some(wait) = self.wait_of(&drain).await? else {
            return Ok(Answer::new(ALREADY_FINISHED)
                .with("instance.id", drain.instance)
                .with("command.id", drain.command.id)
                .with("reason", "the wait of this command has ended"));
        };
        let case = Case { wait: &wait, announced: Some(requested), invocation };
        let effect = self.carry_out(step, &case, &mut seen).await?;

        // Report.
        answer(&case, &seen, step, effect)
    }

    /// The wait of a command, if it may still last. Names that were too long for the comment are looked up. A command
    /// without a token must not be older than the present wait.
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
            let since = drain.command.requested - MAX_WAIT_AGE;
            let present = self.asgs.running_activities(&wait.group, &instance, since).await?;
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
        let hooks = self.asgs.hooks(group).await?;
        let names = hooks.iter().filter_map(|hook| hook.lifecycle_hook_name());
        let hook = names.into_iter().find(|hook| drain.comment.is_about(group, hook));
        Ok(hook.map(|hook| (group.to_owned(), hook.to_owned())))
    }
}
