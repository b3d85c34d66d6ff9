//! What the sweep does with a wait: it takes the image of a death whose event was lost, completes the
//! action whose image has ended, and keeps alive one whose image is pending. It also removes old images.
//!
//! AWS calls: those of `lifecycle_core::sweep`, `images`, `current` and `retention`.

use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use lifecycle_core::sweep::{Did, turn};
use lifecycle_core::waits::Found;
use lifecycle_core::{ActionResult, Answer, Completion, Error, Invocation, Outcome, Transition};
use serde_json::Value;
use tracing::{info, warn};

use crate::config::CompleteOn;
use crate::current::lives;
use crate::images::{Death, Image, Standing};
use crate::{Context, replaced};

impl Context {
    /// Looks after the stored group and the named ones.
    pub(crate) async fn sweep(&self, invocation: &Invocation) -> Result<Answer, Error> {
        let stored = self.current.stored().await?;
        let names = self.config.groups.clone().and(stored.clone());
        if names.is_empty() {
            warn!("no group is stored and AUTO_SCALING_GROUPS is not set, so the sweep looks after no group");
        }
        let mut round = self.sweep.look(&names, invocation).await?;
        let stored = match stored {
            Some(gone) if !round.groups.iter().any(|group| is_named(group, &gone) && lives(group)) => {
                if let Err(error) = self.current.forget(&gone).await {
                    round.fail(&gone, error);
                }
                None
            }
            other => other,
        };
        let waits = std::mem::take(&mut round.waits);
        let images = match (waits.is_empty(), self.config.image_retention) {
            (true, None) => Vec::new(),
            _ => self.images.all().await?,
        };

        let now = invocation.now();
        let mut items: Vec<(Found, Option<Image>)> = waits
            .into_iter()
            .map(|found| {
                let ours = images.iter().filter(|image| image.belongs_to(&found.wait, found.since(now)));
                let first = ours.min_by_key(|image| image.created).cloned();
                (found, first)
            })
            .collect();
        items.sort_by_cached_key(|(found, image)| {
            let urgency = match image.as_ref().map(|image| image.standing) {
                None => 0,
                Some(Standing::Ready | Standing::Failed) => 1,
                Some(Standing::Pending) => 2,
            };
            (urgency, turn(&found.wait, now))
        });
        let stored = stored.as_deref();
        let deal = |(found, image), invocation| self.deal_with(found, image, stored, invocation);
        round.deal_with(items, |(found, _)| &found.wait, invocation, deal).await;

        let answer = self.sweep.answer(round)?;
        match self.config.image_retention {
            Some(age) => Ok(self.retention.apply(&images, age, invocation).await.explain(answer)),
            None => Ok(answer),
        }
    }

    async fn deal_with(
        &self,
        found: Found,
        image: Option<Image>,
        stored: Option<&str>,
        invocation: Invocation,
    ) -> Result<Did, Error> {
        let (wait, invocation) = (&found.wait, &invocation);
        if found.transition == Transition::Launching {
            if stored != Some(wait.group.as_str()) {
                self.current.store(&wait.group, invocation).await?;
            }
            if !self.config.complete_launch {
                return Ok(Did::Waits);
            }
            return Ok(self.actions.complete(wait, ActionResult::Continue, None, invocation).await?.into());
        }
        let answer = match image {
            Some(image) => self.settle(wait, &image, None, invocation).await?,
            None => match self.not_started(&found, stored, invocation).await? {
                Some(answer) => answer,
                None => return Ok(Did::AlreadyFinished),
            },
        };
        if let Some(reason) = answer.fields.get("reason").and_then(Value::as_str) {
            info!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                "{}: found by the sweep: {reason}",
                wait.instance
            );
        }
        match answer.outcome {
            Outcome::Completed => Ok(Did::Completed),
            Outcome::AlreadyFinished => Ok(Did::AlreadyFinished),
            Outcome::ImageRequested => Ok(Did::Started),
            Outcome::ImagePending if self.config.complete_on == CompleteOn::Available => {
                self.sweep.keep_alive(&found, invocation).await
            }
            _ => Ok(Did::Waits),
        }
    }

    /// A death whose event was lost, or came to nothing; `None` where the wait has ended meanwhile.
    async fn not_started(
        &self,
        found: &Found,
        stored: Option<&str>,
        invocation: &Invocation,
    ) -> Result<Option<Answer>, Error> {
        let (wait, now) = (&found.wait, invocation.now());
        if found.to_pool {
            return self.let_go(wait, "it returns to the warm pool", None, invocation).await.map(Some);
        }
        if let Some(reason) = replaced(wait, stored) {
            return self.let_go(wait, &reason, None, invocation).await.map(Some);
        }
        let death = Death::of(found.activity.clone());
        // Much of the hook's time may be gone: the image gets all of it, if the wait still lasts.
        let age = (now - found.since(now)).to_std().unwrap_or(Duration::ZERO);
        if self.config.complete_on == CompleteOn::Available
            && !self.config.skip_causes.contains(&death.cause)
            && age > found.timers.heartbeat / 2
            && self.actions.heartbeat(wait, invocation).await? == Completion::AlreadyFinished
        {
            return Ok(None);
        }
        self.post_mortem(wait, found.since(now), &death, None, invocation).await.map(Some)
    }
}

fn is_named(group: &AutoScalingGroup, name: &str) -> bool {
    group.auto_scaling_group_name() == Some(name)
}
