//! The demo: AWS's tutorial on lifecycle hooks that invoke a function, from beginning to end; the same without an
//! event; a scale-in with instances that take their time to stop; three terminations, one of them
//! unplanned; and, in a lab of its own, an event day.

mod deaths;
pub(crate) mod event_day;
mod stage;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use aws_sdk_autoscaling::Client;
use chrono::{DateTime, TimeDelta, Utc};
use fleet::functions::{
    LAUNCH_EVENT, STATUS_EVENT, add_rules, answering_for, deploy, deploy_launch_logger, show_logs,
};
use fleet::operator::{create, desire, hook};
use fleet::timeline::{Story, Timeline, View, legend};
use lambda_kit::Variables;
use lifecycle_lab::Lab;
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::{Ping, Script};
use serde_json::json;
use terminate_drainer::config::{AUTO_SCALING_GROUPS, DRAIN_COMMANDS, DRAIN_TIMEOUT};

use stage::{JOURNEY, SWEEP_INTERVAL, WAIT_TIMEOUT, completions, delete, in_service, is_completion, reach};

/// The group whose instances launch-logger records.
const WEB: &str = "web";

/// The hook of AWS's tutorial: five minutes.
const WEB_HEARTBEAT: i32 = 300;

/// The group whose instances terminate-drainer drains.
const SHOP: &str = "shop";

/// An hour, AWS's default: the longest drain outlives it three times over.
const SHOP_HEARTBEAT: i32 = 3_600;

/// What the drain runs; where the script says so it is really run on this machine.
const COMMAND: &str = "echo application stopped";

/// A silent agent is waited for: two minutes until it counts as unreachable, then the next sweep, then its calls.
const SILENCE: TimeDelta = TimeDelta::seconds(120 + 300 + 5);

/// The drainer's time limit: it starts or finishes a drain in a fraction of a second.
const DRAINER_TIMEOUT: Duration = Duration::from_secs(30);

const LAUNCHES: Story = Story {
    number: 1,
    title: "launch-logger: a group launches three instances, then a fourth",
    look: "Look at the fourth column: the event of the launch is lost, and the sweep finds the launch.",
    states: &["Pending", "Pending:Wait", "InService"],
};

const SCALE_IN: Story = Story {
    number: 2,
    title: "terminate-drainer: six instances terminate, and their applications stop first",
    look: "Look at \"3 h\", which outlives its hook of one hour, and at \"event lost\", which the sweep finds.",
    states: &["Pending", "Terminating:Wait"],
};

/// Prints what the reader can do next.
pub(crate) fn next_steps(view: View) {
    let mut steps = vec![
        ("cargo test --workspace", "run the tests"),
        ("docs/deploying.md", "deploy one function to your account"),
    ];
    if view == View::Brief {
        steps.insert(0, ("cargo run -p fleet-sim -- --full", "every line of these stories"));
    }
    anstream::println!();
    for (row, (what, why)) in steps.into_iter().enumerate() {
        let start = if row == 0 { "Next:" } else { "" };
        anstream::println!("{start:5}  {what:34}{why}");
    }
}

/// Plays the demo and draws it. An error names the state that was expected and not reached.
pub(crate) async fn play(seed: u64, view: View) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "how long the viewer waited")]
    let wall = Instant::now();
    let start: DateTime<Utc> = "2026-11-23T09:00:00Z".parse()?;
    let lab = Lab::new(start, seed);
    if view == View::Brief {
        anstream::println!(
            "Five functions at work in lifecycle-lab, a model of AWS on this machine.\n\
             Time runs downwards. Each instance has a column, and each state a block:\n"
        );
    }
    legend(view);
    let mut timeline = Timeline::follow(&lab, view);
    show_logs(&lab)?;
    let operator = Client::new(&lab.sdk_config("operator"));
    let played = async {
        launches(&lab, &operator, &mut timeline).await?;
        scale_in(&lab, &operator, &mut timeline).await?;
        deaths::deaths(&lab, &operator, &mut timeline).await
    };
    let played = played.await;
    timeline.finish();
    played?;

    timeline.headline(&figures(&lab));
    if view == View::Brief {
        return Ok(());
    }
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
    timeline.story(LAUNCHES);
    deploy_launch_logger(lab, WEB, "record-launch")?;
    timeline.headline(
        "A group with a launching hook: 300 s, then ABANDON. launch-logger is deployed with its rule and its sweep.",
    );
    create(operator, WEB, &["us-east-1a", "us-east-1b"]).await?;
    hook(operator, WEB, "record-launch", "LAUNCHING", WEB_HEARTBEAT, "ABANDON").await?;

    timeline.headline("The desired capacity goes from 0 to 3.");
    desire(operator, WEB, 3).await?;
    reach(lab, "three instances in service", WAIT_TIMEOUT, |world| in_service(world) == 3).await?;
    let launches = activities(lab, "Successful");
    ensure!(launches == 3, "expected 3 successful scaling activities, found {launches}");

    timeline.headline(
        "A fourth instance, but the event of its launch is lost. The sweep, every minute, finds the launch.",
    );
    lab.faults().script_events(LAUNCH_EVENT, [EventFault::Lost]);
    desire(operator, WEB, 4).await?;
    reach(lab, "the fourth in service", WAIT_TIMEOUT, |world| in_service(world) == 4).await?;
    let by_sweep = lab
        .calls()
        .into_iter()
        .filter(|call| is_completion(call, None) && call.parameter("LifecycleActionToken").is_none());
    ensure!(by_sweep.count() == 1, "expected that the sweep, which knows no token, completes one launch");

    timeline.outcome(&format!(
        "{} launches completed and recorded, one of them by the sweep: its event was lost.",
        completions(lab, None).len()
    ));
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
    timeline.story(SCALE_IN);
    deploy_drainer(lab, &variables)?;
    timeline.headline(&format!(
        "A group of six with a terminating hook of an hour. terminate-drainer is deployed with its rules and a sweep \
         every {} min; its command is `{COMMAND}`.",
        SWEEP_INTERVAL.as_secs() / 60
    ));
    create(operator, SHOP, &["us-east-1a"]).await?;
    hook(operator, SHOP, "drain", "TERMINATING", SHOP_HEARTBEAT, "CONTINUE").await?;
    desire(operator, SHOP, 6).await?;
    reach(lab, "six instances in service", WAIT_TIMEOUT, |world| in_service(world) == 6).await?;
    // By then their agents have registered.
    lab.sleep(Duration::from_secs(60)).await;

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
        part(3, None, SILENCE),
        part(4, Some("Failed"), JOURNEY),
        part(5, Some("Success"), TimeDelta::from_std(SWEEP_INTERVAL)? + JOURNEY),
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
        ends(lab, timeline, part, WAIT_TIMEOUT).await?;
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
    ends(lab, timeline, &healed, WAIT_TIMEOUT).await?;
    let by_sweep = lab.calls().into_iter().any(|call| {
        is_completion(&call, Some(&healed.instance)) && call.parameter("LifecycleActionToken").is_none()
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

    let completed = ids.iter().filter(|id| !completions(lab, Some(id)).is_empty()).count();
    timeline.outcome(&format!(
        "{completed} actions completed with CONTINUE. The sweep's {beats} heartbeats kept the 3 h drain in its hook.",
    ));
    timeline.headline("All are gone, and so is the group.");
    delete(lab, operator, SHOP).await
}

fn deploy_drainer(lab: &Lab, variables: &Variables) -> anyhow::Result<()> {
    use terminate_drainer::NAME;

    deploy::<terminate_drainer::Context>(lab, NAME, DRAINER_TIMEOUT, variables)?;
    add_rules(lab, NAME, NAME, &answering_for(SHOP, "drain"))?;
    lab.schedule(SWEEP_INTERVAL, NAME, json!({ "action": "reconcile" }));
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

fn state(lab: &Lab, instance: &str) -> &'static str {
    lab.world(|world| world.autoscaling.instance(instance).map_or("gone", |instance| instance.state))
}

fn activities(lab: &Lab, status: &str) -> usize {
    lab.world(|world| {
        world.autoscaling.activities().iter().filter(|activity| activity.status == status).count()
    })
}
