//! Handles the status event of a command's end: finds the command and the wait that it was sent for.
//!
//! AWS calls: those of `commands` and of `wait`, and of `lifecycle_core::pending` `DescribeLifecycleHooks` and
//! `DescribeScalingActivities`.

use lambda_kit::error::cut;
use lambda_kit::{Answer, Error, Invocation};
use lifecycle_core::Wait;
use lifecycle_core::outcome::ALREADY_FINISHED;
use lifecycle_core::pending::MAX_WAIT_AGE;
use serde::Deserialize;

use crate::config::WaitMode;
use crate::drain::{Drain, End};
use crate::plan::{Observed, Step, Trigger};
use crate::report::report;
use crate::{Case, Context, Effect};

/// Statuses of an invocation that has ended.
const ENDED: [&str; 4] = ["Success", "Failed", "TimedOut", "Cancelled"];

/// The detail of Systems Manager's event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StatusChange {
    command_id: String,
    document_name: String,
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
        let foreign =
            |id: &str| Ok(Answer::ignored("not a command of this function").with("command.id", cut(id)));
        if !ENDED.contains(&change.status.as_str()) {
            return Ok(
                Answer::ignored("the command has not ended").with("command.status", cut(&change.status))
            );
        }
        if !self.commands.is_document(&change.document_name) {
            return foreign(&change.command_id);
        }

        // Observe.
        let (command, instance) = (&change.command_id, &change.instance_id);
        let Some(drain) = self.commands.find_ended(command, instance, invocation).await? else {
            return foreign(&change.command_id);
        };
        let Some(wait) = self.wait_of(&drain).await? else {
            return Ok(Answer::new(ALREADY_FINISHED)
                .with("instance.id", drain.instance)
                .with("command.id", drain.command.id)
                .with("reason", "the wait of this command has ended"));
        };
        let (transition, requested) = (drain.comment.transition.clone(), drain.command.requested);
        // A command that was not delivered may have been sent again since.
        let last = match drain.command.end() {
            Some(End::NotDelivered) if !drain.command.again => self.commands.last(&wait, requested).await?,
            _ => None,
        };
        let is_cancelled = drain.command.status == "Cancelled";
        let is_outdated = last.as_ref().is_some_and(|last| last.again);
        let mut seen = Observed::new(Trigger::StatusEvent { is_outdated }, transition, requested);
        seen.command = Some(last.filter(|_| is_outdated).unwrap_or(drain.command));
        seen.leaves_cancelled = is_cancelled
            && (self.config.wait == WaitMode::Poll || self.is_reconciled(&wait, &seen.transition).await);

        // Decide and carry out.
        let (found, announced) = (None, Some(requested));
        let case = Case { wait: &wait, action: None, found, announced, invocation };
        let (step, effect) = self.proceed(&case, &mut seen).await?;
        if step == Step::RunAgain {
            let shown = seen.command.map(|command| command.status).unwrap_or_default();
            return Err(Error::Timeout(format!(
                "the command {} is still {} although its status event says {}",
                cut(&change.command_id),
                cut(&shown),
                change.status
            )));
        }

        // Report.
        Ok(report(&wait, &seen, &self.config, step, effect == Effect::AlreadyFinished))
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
        let instance = self.instance(&drain.instance).await?;
        let Some(group) = instance.as_ref().and_then(|instance| instance.auto_scaling_group_name()) else {
            return Ok(None);
        };
        let hooks = self.asgs.hooks(group).await?;
        let names = hooks.iter().filter_map(|hook| hook.lifecycle_hook_name());
        let hook = names.into_iter().find(|hook| drain.comment.is_about(group, hook));
        Ok(hook.map(|hook| (group.to_owned(), hook.to_owned())))
    }
}
