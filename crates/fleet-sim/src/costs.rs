//! Measures the cost of each function: a few events of each kind, one after the other, in a lab per function, then
//! the calls, the billed time and the price per kind of event. All numbers are counted or timed in the lab.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_sdk_autoscaling::Client;
use fleet::functions::{
    DAY, add_rules, answering_for, deploy, deploy_ami_snapshotter, deploy_ecs_scheduler,
    deploy_launch_logger, deploy_lt_ami_refresher,
};
use fleet::measure::{
    GIGABYTES, Ran, USD_PER_GB_SECOND_ARM64, USD_PER_GB_SECOND_X86_64, USD_PER_REQUEST, median, runs,
    until_idle, usd,
};
use fleet::operator::{create, create_for_snapshots, desire, hook, serving};
use lambda_kit::Variables;
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{Lab, World};
use serde_json::{Value, json};

use crate::scenes;

/// Events of a kind; odd, so that the median is one of them, and fewer than `MAX_IMAGES_PER_HOUR`.
const ROUNDS: u32 = 9;

/// How long a command and an image take: long enough for a sweep to find both at work.
const WORK: Duration = Duration::from_secs(300);

/// Time between two backups. All of them are made within a day, the period of lt-ami-refresher's own schedule.
const BACKUPS: Duration = Duration::from_secs(3_600);

/// Longer than an instance takes to launch, or to die with that.
const WAIT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// terminate-drainer's time limit; its events take less than a second.
const DRAINER_TIMEOUT: Duration = Duration::from_secs(60);

/// The group of each lab.
const GROUP: &str = "web";

/// AWS's default, in seconds.
const HEARTBEAT_TIMEOUT: i32 = 3_600;

/// Measures and prints the table.
pub(crate) fn print(seed: u64) -> anyhow::Result<()> {
    anstream::println!("{}", row(HEAD.map(str::to_owned)));
    anstream::println!("{}", row(RULE.map(str::to_owned)));
    for (function, kinds) in [
        (launch_logger::NAME, measure(seed, launch_logger::NAME, launches)?),
        (terminate_drainer::NAME, measure(seed, terminate_drainer::NAME, drains)?),
        (ami_snapshotter::NAME, measure(seed, ami_snapshotter::NAME, deaths)?),
        (lt_ami_refresher::NAME, measure(seed, lt_ami_refresher::NAME, backups)?),
        (ecs_scheduler::NAME, measure(seed, ecs_scheduler::NAME, hours)?),
    ] {
        for Kind { event, answer, runs } in kinds {
            let calls = median(runs.iter().map(|run| run.calls));
            let billed = median(runs.iter().map(|run| run.billed_ms));
            let price = |per_gb_second| format!("{:.5}", usd(1_000, 1_000 * billed, per_gb_second));
            let [arm64, x86_64] = [USD_PER_GB_SECOND_ARM64, USD_PER_GB_SECOND_X86_64].map(price);
            let cells = [function.to_owned(), event, answer, calls.to_string(), billed.to_string()];
            let [function, event, answer, calls, billed] = cells;
            anstream::println!("{}", row([function, event, answer, calls, billed, arm64, x86_64]));
        }
    }
    anstream::println!(
        "\nEach event is one run; the medians of about {ROUNDS} of each kind. Lab time with 30 to 60 ms a call, not AWS; \
         computing takes\nno time there, and there is no cold start. The prices are USD for 1,000 events at {} MB. \
         Assumed:\n{USD_PER_GB_SECOND_ARM64:.10} (arm64) and {USD_PER_GB_SECOND_X86_64:.10} (x86_64) USD per GB-second, \
         {:.2} USD per million requests.",
        GIGABYTES * 1_024.0,
        USD_PER_REQUEST * 1e6,
    );
    Ok(())
}

const HEAD: [&str; 7] = ["function", "event", "answer", "calls", "billed ms", "arm64", "x86_64"];

const RULE: [&str; 7] = ["---", "---", "---", "---:", "---:", "---:", "---:"];

/// A line of the table.
fn row([function, event, answer, calls, billed, arm64, x86_64]: [String; 7]) -> String {
    format!(
        "| {function:<17} | {event:<50} | {answer:<36} | {calls:>5} | {billed:>9} | {arm64:>7} | {x86_64:>7} |"
    )
}

/// Events of a kind: what they are, how they were answered, and their runs.
struct Kind {
    event: String,
    answer: String,
    runs: Vec<Ran>,
}

/// Lives a function's scenes in a lab of its own, and sorts the runs by kind, in the order in which they came.
fn measure(
    seed: u64,
    function: &str,
    live: impl AsyncFnOnce(&Lab, &Client) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Kind>> {
    let seen = fleet::runtime::paused()?.block_on(async {
        let lab = Lab::new("2026-11-23T09:00:00Z".parse()?, seed);
        let mut moments = lab.observe();
        live(&lab, &Client::new(&lab.sdk_config("operator"))).await?;
        anyhow::Ok(until_idle(&lab, &mut moments).await)
    });
    let mut kinds: Vec<Kind> = Vec::new();
    for run in runs(function, &seen.with_context(|| format!("the scenes of {function}"))?)? {
        let (event, answer) = (event_of(&run.payload), answer_of(&run.answer));
        match kinds.iter_mut().find(|kind| (&kind.event, &kind.answer) == (&event, &answer)) {
            Some(kind) => kind.runs.push(run),
            None => kinds.push(Kind { event, answer, runs: vec![run] }),
        }
    }
    Ok(kinds)
}

fn event_of(payload: &Value) -> String {
    let name = payload["detail-type"].as_str().or_else(|| payload["action"].as_str());
    name.unwrap_or("scheduled").to_owned()
}

/// The outcome, with what makes runs of the same outcome do different work.
fn answer_of(answer: &Value) -> String {
    let mut text = answer["outcome"].as_str().unwrap_or_default().to_owned();
    if let Some(waiting) = answer["waiting"].as_u64() {
        text += &format!(", {waiting} waiting");
    }
    if let Some(targets) = answer["targets"].as_array() {
        let result = targets.first().and_then(|target| target["result"].as_str()).unwrap_or_default();
        text += &format!(", {} {result}", targets.len());
    }
    if let Some(planned) = answer["reason"].as_str().filter(|reason| reason.starts_with("planned")) {
        text += &format!(", {planned}");
    }
    text
}

async fn launches(lab: &Lab, operator: &Client) -> anyhow::Result<()> {
    deploy_launch_logger(lab, GROUP, "record-launch")?;
    create(operator, GROUP, &["us-east-1a"]).await?;
    hook(operator, GROUP, "record-launch", "LAUNCHING", HEARTBEAT_TIMEOUT, "CONTINUE").await?;
    for _ in 0..ROUNDS {
        launch(lab, operator).await?;
        desire(operator, GROUP, 0).await?;
        empty(lab).await?;
    }
    Ok(())
}

async fn drains(lab: &Lab, operator: &Client) -> anyhow::Result<()> {
    use terminate_drainer::NAME;
    use terminate_drainer::config::AUTO_SCALING_GROUPS;

    let variables: Variables = [(AUTO_SCALING_GROUPS, GROUP)].into_iter().collect();
    deploy::<terminate_drainer::Context>(lab, NAME, DRAINER_TIMEOUT, &variables)?;
    add_rules(lab, NAME, NAME, &answering_for(GROUP, "drain"))?;
    lab.world(|world| world.run_command.default_script = Script { duration: WORK, ..Script::default() });
    create(operator, GROUP, &["us-east-1a"]).await?;
    hook(operator, GROUP, "drain", "TERMINATING", HEARTBEAT_TIMEOUT, "CONTINUE").await?;
    for _ in 0..ROUNDS {
        launch(lab, operator).await?;
        reconcile(lab, NAME).await?;
        desire(operator, GROUP, 0).await?;
        at_work(lab).await?;
        reconcile(lab, NAME).await?;
        empty(lab).await?;
    }
    Ok(())
}

async fn deaths(lab: &Lab, operator: &Client) -> anyhow::Result<()> {
    use ami_snapshotter::NAME;

    deploy_ami_snapshotter(lab, NAME, &[])?;
    add_rules(lab, NAME, NAME, &answering_for(GROUP, "born,dying"))?;
    lab.world(|world| world.delays.image = WORK);
    create_for_snapshots(operator, GROUP).await?;
    let mut instance = serving(lab).await?;
    for _ in 0..ROUNDS {
        reconcile(lab, NAME).await?;
        lab.world(|world| world.fail_instance(&instance));
        at_work(lab).await?;
        reconcile(lab, NAME).await?;
        gone(lab, &instance).await?;
        instance = serving(lab).await?;
        operator.start_instance_refresh().auto_scaling_group_name(GROUP).send().await?;
        gone(lab, &instance).await?;
        instance = serving(lab).await?;
    }
    Ok(())
}

async fn backups(lab: &Lab, _: &Client) -> anyhow::Result<()> {
    use lt_ami_refresher::NAME;

    let scene = scenes::backups(lab).await?;
    deploy_lt_ami_refresher(lab, &scene.variables.into_iter().collect(), DAY)?;
    for _ in 0..ROUNDS {
        lab.sleep(BACKUPS).await;
        for expected in ["version-created", "up-to-date"] {
            let answer = invoke(lab, NAME, json!({})).await?;
            ensure!(answer["outcome"] == expected, "expected {expected}, found {answer}");
        }
        // Added as it is, so that no event tells of it, and the next round finds it.
        scenes::backup(lab, lab.now());
    }
    Ok(())
}

async fn hours(lab: &Lab, _: &Client) -> anyhow::Result<()> {
    use ecs_scheduler::NAME;

    let scene = scenes::shop(lab).await?;
    deploy_ecs_scheduler(lab, &scene.variables.into_iter().collect())?;
    for _ in 0..ROUNDS {
        for action in ["stop", "start", "converge"] {
            invoke(lab, NAME, json!({ "action": action })).await?;
            // The service follows its target half a second later.
            lab.sleep(Duration::from_secs(60)).await;
        }
    }
    Ok(())
}

async fn launch(lab: &Lab, operator: &Client) -> anyhow::Result<()> {
    desire(operator, GROUP, 1).await?;
    serving(lab).await?;
    Ok(())
}

/// Waits until an instance waits in the hook, and what is to be done about it is half done.
async fn at_work(lab: &Lab) -> anyhow::Result<()> {
    let waits = |world: &World| world.autoscaling.instances().any(|one| one.state == "Terminating:Wait");
    ensure!(lab.until(WAIT_TIMEOUT, waits).await, "expected an instance that waits");
    lab.sleep(WORK / 2).await;
    Ok(())
}

async fn empty(lab: &Lab) -> anyhow::Result<()> {
    let empty = |world: &World| world.autoscaling.instances().next().is_none();
    ensure!(lab.until(WAIT_TIMEOUT, empty).await, "expected an empty group");
    Ok(())
}

async fn gone(lab: &Lab, instance: &str) -> anyhow::Result<()> {
    let gone = |world: &World| world.autoscaling.instance(instance).is_none();
    ensure!(lab.until(WAIT_TIMEOUT, gone).await, "expected the end of {instance}");
    Ok(())
}

async fn reconcile(lab: &Lab, function: &str) -> anyhow::Result<()> {
    invoke(lab, function, json!({ "action": "reconcile" })).await?;
    Ok(())
}

async fn invoke(lab: &Lab, function: &str, payload: Value) -> anyhow::Result<Value> {
    match lab.invoke(function, payload, 1).await {
        Ok(answer) => Ok(answer),
        Err(error) => bail!("{function} answered {error}"),
    }
}
