//! The demo: AWS's tutorial on lifecycle hooks that invoke a function, played to its end, and what
//! happens when the function can't do its work.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::{Lab, World};

use crate::functions::{deploy_launch_logger, show_logs};
use crate::timeline::Timeline;

const GROUP: &str = "web";
const HOOK: &str = "record-launch";

/// The hook of AWS's tutorial: five minutes, then the launch is given up.
const HEARTBEAT_SECONDS: i32 = 300;

/// Nothing in the story takes longer than the hook, a replacement and some time to boot.
const PATIENCE: Duration = Duration::from_secs(900);

/// Plays the demo and draws it. An error names the state that was expected and not reached.
pub(crate) async fn play(seed: u64) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "how long the viewer waited")]
    let wall = Instant::now();
    let start: DateTime<Utc> = "2026-11-23T09:00:00Z".parse()?;
    let lab = Lab::new(start, seed);
    let mut timeline = Timeline::follow(&lab);
    let told = tell(&lab, &mut timeline).await;
    timeline.catch_up();
    told?;

    let completed = lab
        .calls()
        .iter()
        .filter(|call| call.action == "CompleteLifecycleAction" && call.outcome == "ok")
        .count();
    let calls = lab.calls().iter().filter(|call| call.caller == launch_logger::NAME).count();
    let lab_time = (lab.now() - start).num_seconds();
    timeline.headline(&format!(
        "{completed} actions completed, 1 given up by the hook and kept by the failure queue · {calls} AWS calls by \
         launch-logger · {} min {} s of lab time · {:.2} s of yours",
        lab_time / 60,
        lab_time % 60,
        wall.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The story, chapter by chapter.
async fn tell(lab: &Lab, timeline: &mut Timeline) -> anyhow::Result<()> {
    let operator = Client::new(&lab.sdk_config("operator"));
    show_logs(lab)?;
    deploy_launch_logger(lab)?;

    timeline.headline(
        "A group with a launching hook: 300 s, then ABANDON. launch-logger is deployed with its rule.",
    );
    operator
        .create_auto_scaling_group()
        .auto_scaling_group_name(GROUP)
        .launch_configuration_name("web")
        .availability_zones("us-east-1a")
        .availability_zones("us-east-1b")
        .min_size(0)
        .max_size(5)
        .send()
        .await?;
    operator
        .put_lifecycle_hook()
        .auto_scaling_group_name(GROUP)
        .lifecycle_hook_name(HOOK)
        .lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING")
        .heartbeat_timeout(HEARTBEAT_SECONDS)
        .default_result("ABANDON")
        .send()
        .await?;

    timeline.headline("The desired capacity goes from 0 to 3.");
    desire(&operator, 3).await?;
    reach(lab, "three instances in service", |world| in_service(world) == 3).await?;
    let launches = activities(lab, "Successful");
    ensure!(launches == 3, "expected 3 successful scaling activities, found {launches}");

    timeline.headline(
        "A fourth instance, but AWS denies launch-logger's call: Lambda runs the event twice more, the failure queue \
         keeps it, the hook gives the launch up, and the group launches a replacement.",
    );
    lab.faults().script("CompleteLifecycleAction", [CallFault::AccessDenied; 3]);
    desire(&operator, 4).await?;
    reach(lab, "an abandoned launch", |world| {
        world.autoscaling.activities().iter().any(|activity| {
            let message = activity.message.as_deref().unwrap_or_default();
            activity.status == "Cancelled"
                && message.starts_with("Instance failed to complete user's Lifecycle Action: ")
                && message.ends_with("Heartbeat Timeout")
        })
    })
    .await?;
    ensure!(lab.failures().len() == 1, "expected the event in the failure queue, found {:?}", lab.failures());
    reach(lab, "the replacement in service", |world| in_service(world) == 4).await?;

    timeline.headline("Clean-up: the desired capacity goes to 0, and the group is deleted.");
    desire(&operator, 0).await?;
    reach(lab, "no instance", |world| world.autoscaling.instances().next().is_none()).await?;
    operator.delete_auto_scaling_group().auto_scaling_group_name(GROUP).send().await?;
    reach(lab, "no group", |world| world.autoscaling.group(GROUP).is_none()).await?;

    Ok(())
}

async fn desire(operator: &Client, capacity: i32) -> anyhow::Result<()> {
    operator
        .set_desired_capacity()
        .auto_scaling_group_name(GROUP)
        .desired_capacity(capacity)
        .send()
        .await
        .with_context(|| format!("setting the desired capacity to {capacity}"))?;
    Ok(())
}

async fn reach(lab: &Lab, what: &str, reached: impl FnMut(&World) -> bool) -> anyhow::Result<()> {
    ensure!(
        lab.until(PATIENCE, reached).await,
        "expected {what} within {PATIENCE:?} of lab time; the instances are {:?}",
        lab.world(|world| world.autoscaling.instances().map(|instance| instance.state).collect::<Vec<_>>())
    );
    Ok(())
}

fn in_service(world: &World) -> usize {
    world.autoscaling.instances().filter(|instance| instance.state == "InService").count()
}

fn activities(lab: &Lab, status: &str) -> usize {
    lab.world(|world| {
        world.autoscaling.activities().iter().filter(|activity| activity.status == status).count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_state_that_is_not_reached_is_an_error_that_names_it() {
        let lab = Lab::new(DateTime::UNIX_EPOCH, 1);
        let error = reach(&lab, "a miracle", |_| false).await.unwrap_err().to_string();
        assert_eq!(error, "expected a miracle within 900s of lab time; the instances are []");
    }
}
