//! Looks at the wait of an event in Auto Scaling's own state: whether it still lasts, and whether it is a failure that
//! its instance can't be reached. A sweep knows both from its own look.
//!
//! AWS calls: `autoscaling:DescribeAutoScalingInstances`, and of `lifecycle_core::pending` `DescribeScalingActivities`
//! and `DescribeLifecycleHooks`.

use std::future::Future;

use aws_sdk_autoscaling::types::AutoScalingInstanceDetails;
use chrono::TimeDelta;
use lambda_kit::retry::pauses;
use lambda_kit::{Error, Invocation};
use lifecycle_core::pending::{HookTimers, MAX_WAIT_AGE};
use lifecycle_core::{Transition, Wait};
use tracing::debug;

use crate::drain::MAX_CLOCK_SKEW;
use crate::plan::{Excuse, Observed, Trigger};
use crate::{Case, Context, Effect};

/// The states in which a launching instance waits.
const LAUNCHING: [&str; 2] = ["Pending:Wait", "Warmed:Pending:Wait"];

/// The states in which a terminating instance waits. `Warmed:Pending:Wait` is the return to the warm pool.
const TERMINATING: [&str; 4] =
    ["Terminating:Wait", "Warmed:Terminating:Wait", "Warmed:Pending:Wait", "ReplacingRootVolume:Wait"];

impl Context {
    /// Looks whether the instance still waits as its event says. An older event can arrive when a warm pool's instance
    /// is in service again, or in its next wait.
    pub(crate) async fn verify(&self, case: &Case<'_>, seen: &mut Observed) -> Result<Effect, Error> {
        let wait = case.wait;
        seen.is_verified = true;
        let Some(instance) = self.instance(&wait.instance).await? else {
            return Ok(Effect::AlreadyFinished);
        };
        let state = instance.lifecycle_state().unwrap_or_default();
        let states = if seen.transition == Transition::Launching { &LAUNCHING[..] } else { &TERMINATING };
        if instance.auto_scaling_group_name() != Some(&wait.group) || !states.contains(&state) {
            return Ok(Effect::AlreadyFinished);
        }
        if state.starts_with("Warmed:Terminating") {
            seen.excuse = Some(Excuse::InPool);
        } else if is_unhealthy(&instance) {
            seen.excuse = Some(Excuse::Unhealthy);
        }
        // An instance that ends has no later wait, but for a release after retention, which is looked up in any case.
        let ends = seen.transition == Transition::Terminating
            && case.action.is_some_and(|action| action.destination.as_deref() == Some("EC2"));
        if ends {
            return Ok(Effect::More);
        }
        let id = [wait.instance.as_str()].into();
        let present = match self.asgs.running_activities(&wait.group, &id, seen.began - MAX_WAIT_AGE).await {
            Ok(mut activities) => activities.remove(&wait.instance),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                debug!(error = error.chain(), "the start of the present wait could not be read");
                None
            }
        };
        let Some(present) = present else { return Ok(Effect::More) };
        if present.began > seen.began + MAX_CLOCK_SKEW {
            return Ok(Effect::AlreadyFinished);
        }
        if matches!(seen.trigger, Trigger::StatusEvent { .. }) {
            let hooks = self.asgs.hooks(&wait.group).await?;
            let hook = hooks.iter().find(|hook| hook.lifecycle_hook_name() == Some(&wait.hook));
            let Some(hook) = hook else { return Ok(Effect::AlreadyFinished) };
            let span = |time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
            let ends = present.began + span(HookTimers::of(hook).global);
            seen.is_late = ends < case.invocation.now() + span(self.config.delivery_timeout);
        }
        Ok(Effect::More)
    }

    /// Why it is no failure that the instance of `wait` can't be reached. What can't be read is no excuse.
    pub(crate) async fn excuse(&self, wait: &Wait, seen: &Observed, invocation: &Invocation) -> Excuse {
        let instance = repeated(invocation, || self.instance(&wait.instance)).await.unwrap_or_else(|error| {
            debug!(error = error.chain(), "the instance's state could not be read");
            None
        });
        let dies_in_pool = instance.as_ref().is_some_and(|instance| {
            instance.lifecycle_state().is_some_and(|state| state.starts_with("Warmed:Terminating"))
        });
        let is_unhealthy = instance.as_ref().is_some_and(is_unhealthy);
        if dies_in_pool || is_unhealthy || seen.transition != Transition::Terminating {
            return Excuse::of(dies_in_pool, is_unhealthy, "");
        }
        let since = seen.began - MAX_WAIT_AGE;
        let look = || self.asgs.termination(&wait.group, &wait.instance, since, seen.began);
        match repeated(invocation, look).await {
            Ok(activity) => {
                Excuse::of(false, false, &activity.map(|activity| activity.cause).unwrap_or_default())
            }
            Err(error) => {
                debug!(error = error.chain(), "the cause of the termination could not be read");
                Excuse::None
            }
        }
    }

    /// The instance as Auto Scaling knows it.
    pub(crate) async fn instance(&self, id: &str) -> Result<Option<AutoScalingInstanceDetails>, Error> {
        let answer = self.autoscaling.describe_auto_scaling_instances().instance_ids(id).send().await;
        let answer = answer.map_err(|error| Error::aws("DescribeAutoScalingInstances", &error))?;
        Ok(answer.auto_scaling_instances.unwrap_or_default().into_iter().next())
    }
}

/// Repeats a look that fails transiently, for a quarter of the run's time. A wrong failure would ring an alarm.
async fn repeated<T, F: Future<Output = Result<T, Error>>>(
    invocation: &Invocation,
    look: impl Fn() -> F,
) -> Result<T, Error> {
    let until = invocation.elapsed() + invocation.time_left() / 4;
    for pause in pauses() {
        match look().await {
            Err(error) if error.is_transient() && invocation.elapsed() + pause < until => {
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
    unreachable!("the pauses are endless")
}

fn is_unhealthy(instance: &AutoScalingInstanceDetails) -> bool {
    instance.health_status().is_some_and(|health| health.eq_ignore_ascii_case("unhealthy"))
}
