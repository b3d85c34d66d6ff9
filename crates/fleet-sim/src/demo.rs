//! The demo: AWS's tutorial on lifecycle hooks that invoke a function, played to its end; what happens
//! when the function can't do its work; a scale-in whose instances take their time to stop; three
//! deaths, one of which nobody planned; and, in a lab of its own, an event day.

mod deaths;
pub(crate) mod event_day;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use aws_sdk_autoscaling::Client;
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::config::Variables;
use lifecycle_lab::faults::{CallFault, EventFault};
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{Lab, World};
use serde_json::json;
use terminate_drainer::config::{AUTO_SCALING_GROUPS, DRAIN_COMMANDS, DRAIN_TIMEOUT};

use crate::functions::{
    STATUS_EVENT, add_rules, answering_for, deploy_launch_logger, deploy_terminate_drainer, show_logs,
};
use crate::operator::{create, desire, hook};
use crate::timeline::{Timeline, legend};

/// The group whose instances launch-logger records.
const WEB: &str = "web";

/// The hook of AWS's tutorial: five minutes, then the launch is given up.
const WEB_HEARTBEAT: i32 = 300;

/// The group whose instances terminate-drainer drains.
const SHOP: &str = "shop";

/// An hour, AWS's default: the longest drain outlives it three times over.
const SHOP_HEARTBEAT: i32 = 3_600;

/// What the drain runs; where the script says so it is really run on this machine.
const COMMAND: &str = "echo application stopped";

/// The drainer's time limit: it starts or finishes a drain in a fraction of a second.
const DRAINER_LIMIT: Duration = Duration::from_secs(30);

/// How often the sweeps run.
const SWEEP: Duration = Duration::from_secs(300);

/// From a command's or an image's end to the completion of its action: one event's journey and two calls. What
/// takes longer was not woken by the event.
const JOURNEY: TimeDelta = TimeDelta::seconds(5);

/// Nothing in the story takes longer than a hook, a replacement and some time to boot, but for a drain.
const PATIENCE: Duration = Duration::from_secs(900);

/// Plays the demo and draws it. An error names the state that was expected and not reached.
pub(crate) async fn play(seed: u64) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "how long the viewer waited")]
    let wall = Instant::now();
    let start: DateTime<Utc> = "2026-11-23T09:00:00Z".parse()?;
    let lab = Lab::new(start, seed);
    legend();
    let mut timeline = Timeline::follow(&lab);
    show_logs(&lab)?;
    let operator = Client::new(&lab.sdk_config("operator"));
    let told = async {
        launches(&lab, &operator, &mut timeline).await?;
        scale_in(&lab, &operator, &mut timeline).await?;
        deaths::deaths(&lab, &operator, &mut timeline).await
    };
    let told = told.await;
    timeline.catch_up();
    told?;

    timeline.headline(&figures(&lab));
    let minutes = (lab.now() - start).num_minutes();
    timeline.note(&format!(
        "{} h {} min of lab time in {:.2} s of yours",
        minutes / 60,
        minutes % 60,
        wall.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// What came of everything.
fn figures(lab: &Lab) -> String {
    let mut by_function: BTreeMap<String, usize> = BTreeMap::new();
    for call in lab.calls().into_iter().filter(|call| call.caller != "operator") {
        *by_function.entry(call.caller).or_default() += 1;
    }
    let given_up = lab.world(|world| {
        let messages =
            world.autoscaling.activities().iter().filter_map(|activity| activity.message.as_deref());
        messages.filter(|message| message.ends_with("Heartbeat Timeout")).count()
    });
    let calls: Vec<_> =
        by_function.iter().map(|(function, calls)| format!("{calls} by {function}")).collect();
    format!(
        "{} actions completed, {given_up} given up by the hook, {} kept by the failure queue\nAWS calls: {}",
        completions(lab, None).len(),
        lab.failures().len(),
        calls.join(", ")
    )
}

/// A group launches, with launch-logger at its hook.
async fn launches(lab: &Lab, operator: &Client, timeline: &mut Timeline) -> anyhow::Result<()> {
    deploy_launch_logger(lab, WEB, "record-launch")?;
    timeline.headline(
        "A group with a launching hook: 300 s, then ABANDON. launch-logger is deployed with its rule.",
    );
    create(operator, WEB, &["us-east-1a", "us-east-1b"]).await?;
    hook(operator, WEB, "record-launch", "LAUNCHING", WEB_HEARTBEAT, "ABANDON").await?;

    timeline.headline("The desired capacity goes from 0 to 3.");
    desire(operator, WEB, 3).await?;
    reach(lab, "three instances in service", PATIENCE, |world| in_service(world) == 3).await?;
    let launches = activities(lab, "Successful");
    ensure!(launches == 3, "expected 3 successful scaling activities, found {launches}");

    timeline.headline(
        "A fourth instance, but AWS denies launch-logger's call: Lambda runs the event twice more, the failure queue \
         keeps it, the hook gives the launch up, and the group launches a replacement.",
    );
    lab.faults().script("CompleteLifecycleAction", [CallFault::AccessDenied; 3]);
    desire(operator, WEB, 4).await?;
    reach(lab, "an abandoned launch", PATIENCE, |world| {
        world.autoscaling.activities().iter().any(|activity| {
            let message = activity.message.as_deref().unwrap_or_default();
            activity.status == "Cancelled"
                && message.starts_with("Instance failed to complete user's Lifecycle Action: ")
                && message.ends_with("Heartbeat Timeout")
        })
    })
    .await?;
    ensure!(lab.failures().len() == 1, "expected the event in the failure queue, found {:?}", lab.failures());
    reach(lab, "the replacement in service", PATIENCE, |world| in_service(world) == 4).await?;

    timeline.headline("This group has done its part: the desired capacity goes to 0, and it is deleted.");
    desire(operator, WEB, 0).await?;
    delete(lab, operator, WEB).await
}

/// An instance of the scale-in, and how its part ends.
struct Part {
    instance: String,
    /// What its command must come to; `None` where none must be sent.
    status: Option<&'static str>,
    /// The longest that its action may take from there, or from its wait without a command.
    within: TimeDelta,
}

/// Six instances of a group go, with terminate-drainer at its hook.
async fn scale_in(lab: &Lab, operator: &Client, timeline: &mut Timeline) -> anyhow::Result<()> {
    use terminate_drainer::NAME;

    let variables =
        [(DRAIN_COMMANDS, COMMAND), (DRAIN_TIMEOUT, "4h"), (AUTO_SCALING_GROUPS, SHOP)].into_iter().collect();
    deploy_drainer(lab, &variables)?;
    timeline.headline(&format!(
        "A group of six with a terminating hook of an hour. terminate-drainer is deployed with its rules and a sweep \
         every {} min; its command is `{COMMAND}`.",
        SWEEP.as_secs() / 60
    ));
    create(operator, SHOP, &["us-east-1a"]).await?;
    hook(operator, SHOP, "drain", "TERMINATING", SHOP_HEARTBEAT, "CONTINUE").await?;
    desire(operator, SHOP, 6).await?;
    reach(lab, "six instances in service", PATIENCE, |world| in_service(world) == 6).await?;

    // Auto Scaling takes the oldest instance first, so the last of these goes last.
    let ids: Vec<String> =
        lab.world(|world| world.autoscaling.instances().map(|instance| instance.id.clone()).collect());
    let names = ["2 s", "90 s", "3 h", "offline", "fails", "event lost"];
    for (id, name) in ids.iter().zip(names) {
        timeline.name(id, name);
    }
    let part = |n: usize, status, within| Part { instance: ids[n].clone(), status, within };
    let [quick, slow, long, offline, failing, healed] = [
        part(0, Some("Success"), JOURNEY),
        part(1, Some("Success"), JOURNEY),
        part(2, Some("Success"), JOURNEY),
        part(3, None, JOURNEY),
        part(4, Some("Failed"), JOURNEY),
        part(5, Some("Success"), TimeDelta::from_std(SWEEP)? + JOURNEY),
    ];
    let takes = |seconds| Script { duration: Duration::from_secs(seconds), ..Script::default() };
    lab.world(|world| {
        let commands = &mut world.run_command;
        commands.set_script(&quick.instance, Script { shell: true, ..takes(2) });
        commands.set_script(&slow.instance, takes(90));
        commands.set_script(&long.instance, takes(3 * 3_600));
        commands.set_agent(&offline.instance, Ping::ConnectionLost);
        commands.set_script(&failing.instance, Script { exit_code: 3, ..takes(5) });
        commands.set_script(&healed.instance, takes(30));
    });

    timeline.headline(
        "Scale-in from 6 to 1. The applications take 2 s (this one really runs, in a shell of this machine), 90 s and \
         3 h to stop; one agent is offline, and one command fails.",
    );
    desire(operator, SHOP, 1).await?;
    for part in [&quick, &slow, &offline, &failing] {
        ends(lab, timeline, part, PATIENCE).await?;
    }
    let output = lab.world(|world| {
        let mut runs = world.run_command.invocations(&quick.instance);
        runs.next().map(|(_, run)| run.output.trim().to_owned()).unwrap_or_default()
    });
    ensure!(output == "application stopped", "expected the echo of `{COMMAND}`, found {output:?}");
    ensure!(state(lab, &long.instance) == "Terminating:Wait", "expected that the 3 h drain still runs");

    timeline.headline(&format!(
        "The shell wrote {output:?}. Now the last instance goes, but the event that says that its command has ended is \
         lost. The sweep finds it.",
    ));
    lab.faults().script_events(STATUS_EVENT, [EventFault::Lost]);
    desire(operator, SHOP, 0).await?;
    ends(lab, timeline, &healed, PATIENCE).await?;
    let by_sweep = lab.calls().into_iter().any(|call| {
        is_completion(&call, Some(&healed.instance))
            && !call.parameters.iter().any(|line| line.starts_with("LifecycleActionToken="))
    });
    ensure!(
        by_sweep,
        "expected that the sweep, which knows no token, completes the action whose event was lost"
    );

    timeline.headline(
        "The 3 h drain goes on without a running function. The sweep's heartbeats keep its hook of an hour waiting, and \
         the event of its end lets it go.",
    );
    ends(lab, timeline, &long, Duration::from_secs(4 * 3_600)).await?;
    let beats = lab.calls().iter().filter(|call| call.action == "RecordLifecycleActionHeartbeat").count();
    ensure!(beats >= 3, "expected heartbeats for a drain three times as long as the hook, found {beats}");
    ensure!(
        lab.failures().iter().all(|failure| failure.function != NAME),
        "expected none of {NAME}'s events in the failure queue, found {:?}",
        lab.failures()
    );

    timeline.headline("All are gone, and so is the group.");
    delete(lab, operator, SHOP).await
}

fn deploy_drainer(lab: &Lab, variables: &Variables) -> anyhow::Result<()> {
    use terminate_drainer::NAME;

    deploy_terminate_drainer(lab, NAME, DRAINER_LIMIT, variables)?;
    add_rules(lab, NAME, NAME, &answering_for(SHOP, "drain"))?;
    lab.schedule(SWEEP, NAME, json!({ "action": "reconcile" }));
    Ok(())
}

/// Waits for an instance's end, and checks that it came as it should.
async fn ends(lab: &Lab, timeline: &mut Timeline, part: &Part, limit: Duration) -> anyhow::Result<()> {
    let id = &part.instance;
    reach(lab, &format!("the end of {id}"), limit, |world| world.autoscaling.instance(id).is_none()).await?;
    timeline.catch_up();
    let runs: Vec<_> =
        lab.world(|world| world.run_command.invocations(id).map(|(_, run)| run.clone()).collect());
    let statuses: Vec<_> = runs.iter().map(|run| run.status).collect();
    ensure!(
        statuses == part.status.into_iter().collect::<Vec<_>>(),
        "expected of the commands on {id} {:?}, found {statuses:?}",
        part.status
    );
    let results = completions(lab, Some(id));
    ensure!(results == ["CONTINUE"], "expected that {id} goes on with CONTINUE once, found {results:?}");
    let since = match runs.first() {
        Some(run) => run.ended,
        None => timeline.reached(id, "Terminating:Wait"),
    };
    let released = timeline.reached(id, "Terminating:Proceed");
    let after = released.zip(since).map(|(released, since)| released - since);
    ensure!(
        after.is_some_and(|after| after >= TimeDelta::zero() && after <= part.within),
        "expected that {id} is let go within {} s, found {after:?}",
        part.within.num_seconds()
    );
    Ok(())
}

/// Deletes a group when its last instance is gone.
async fn delete(lab: &Lab, operator: &Client, group: &str) -> anyhow::Result<()> {
    reach(lab, "no instance", PATIENCE, |world| world.autoscaling.instances().next().is_none()).await?;
    operator.delete_auto_scaling_group().auto_scaling_group_name(group).send().await?;
    reach(lab, "no group", PATIENCE, |world| world.autoscaling.group(group).is_none()).await
}

async fn reach(
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

fn in_service(world: &World) -> usize {
    world.autoscaling.instances().filter(|instance| instance.state == "InService").count()
}

fn state(lab: &Lab, instance: &str) -> &'static str {
    lab.world(|world| world.autoscaling.instance(instance).map_or("gone", |instance| instance.state))
}

fn activities(lab: &Lab, status: &str) -> usize {
    lab.world(|world| {
        world.autoscaling.activities().iter().filter(|activity| activity.status == status).count()
    })
}

fn is_completion(call: &lifecycle_lab::Call, instance: Option<&str>) -> bool {
    let about = |id: &str| call.parameters.iter().any(|line| line.strip_prefix("InstanceId=") == Some(id));
    call.action == "CompleteLifecycleAction" && call.outcome == "ok" && instance.is_none_or(about)
}

/// The results of the completions that AWS accepted, of one instance or of all.
fn completions(lab: &Lab, instance: Option<&str>) -> Vec<String> {
    let calls = lab.calls().into_iter().filter(|call| is_completion(call, instance));
    let results = calls.flat_map(|call| call.parameters);
    results.filter_map(|line| line.strip_prefix("LifecycleActionResult=").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_state_that_is_not_reached_is_an_error_that_names_it() {
        let lab = Lab::new(DateTime::UNIX_EPOCH, 1);
        let error = reach(&lab, "a miracle", PATIENCE, |_| false).await.unwrap_err().to_string();
        assert_eq!(error, "expected a miracle within 900s of lab time; the instances are []");
    }
}
