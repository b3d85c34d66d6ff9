//! The helpers of all acts: waiting for a state of the lab, reading the completions that AWS accepted, and deleting a
//! group.

use std::time::Duration;

use anyhow::ensure;
use aws_sdk_autoscaling::Client;
use chrono::TimeDelta;
use lifecycle_lab::{Call, Lab, Outcome, World};

/// How often the sweeps run.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// From a command's or an image's end to the completion of its action: one event's journey and two calls. What
/// takes longer was not woken by the event.
pub(super) const JOURNEY: TimeDelta = TimeDelta::seconds(5);

/// Nothing in the story takes longer than a hook, a replacement and some time to boot, but for a drain.
pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(900);

/// Deletes a group when its last instance is gone.
pub(super) async fn delete(lab: &Lab, operator: &Client, group: &str) -> anyhow::Result<()> {
    reach(lab, "no instance", WAIT_TIMEOUT, |world| world.autoscaling.instances().next().is_none()).await?;
    operator.delete_auto_scaling_group().auto_scaling_group_name(group).send().await?;
    reach(lab, "no group", WAIT_TIMEOUT, |world| world.autoscaling.group(group).is_none()).await
}

/// Waits until the world shows this, or says what was expected.
pub(super) async fn reach(
    lab: &Lab,
    what: &str,
    limit: Duration,
    reached: impl FnMut(&World) -> bool,
) -> anyhow::Result<()> {
    ensure!(
        lab.until(limit, reached).await,
        "expected {what} within {limit:?} of lab time; the instances are {:?}",
        lab.world(|world| world.autoscaling.instances().map(|instance| instance.state).collect::<Vec<_>>())
    );
    Ok(())
}

pub(super) fn in_service(world: &World) -> usize {
    world.autoscaling.instances().filter(|instance| instance.state == "InService").count()
}

pub(super) fn is_completion(call: &Call, instance: Option<&str>) -> bool {
    let about = |id: &str| call.parameter("InstanceId") == Some(id);
    call.action == "CompleteLifecycleAction" && call.outcome == Outcome::OK && instance.is_none_or(about)
}

/// The results of the completions that AWS accepted, of one instance or of all.
pub(super) fn completions(lab: &Lab, instance: Option<&str>) -> Vec<String> {
    let calls = lab.calls().into_iter().filter(|call| is_completion(call, instance));
    calls.filter_map(|call| call.parameter("LifecycleActionResult").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_state_that_is_not_reached_is_an_error_that_names_it() {
        let lab = Lab::new(DateTime::UNIX_EPOCH, 1);
        let error = reach(&lab, "a miracle", WAIT_TIMEOUT, |_| false).await.unwrap_err().to_string();
        assert_eq!(error, "expected a miracle within 900s of lab time; the instances are []");
    }
}
