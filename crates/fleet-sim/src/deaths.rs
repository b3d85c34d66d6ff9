//! The benchmark of ami-snapshotter: how long the hook holds a terminating instance, and the cost, for unplanned
//! terminations with images of 2, 8 and 25 minutes and for planned ones. Each row has a lab of its own. All numbers
//! are counted or timed in the lab.

use std::fmt;
use std::time::Duration;

use ami_snapshotter::NAME;
use ami_snapshotter::config::{AUTO_SCALING_GROUPS, COMPLETE_ON};
use anyhow::{Context as _, ensure};
use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use fleet::functions::{add_rules, answering_for, deploy_ami_snapshotter};
use fleet::measure::{billed_ms, median, until_idle};
use fleet::operator::{TERMINATION_HEARTBEAT, WAIT_TIMEOUT, create_for_snapshots, serving};
use lifecycle_lab::{Lab, Moment, Sight, What, World, scenarios};
use serde_json::{Value, json};

/// How the instance of a row dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// EC2's health check finds it stopped.
    Fails,
    /// CloudFormation replaces its group.
    GroupReplaced,
    /// An instance refresh replaces it.
    Refreshed,
}

/// A line of the table.
struct Row {
    death: &'static str,
    way: Way,
    /// How long its image takes, in minutes, where one must be taken.
    image: Option<u64>,
    complete_on: &'static str,
}

const ROWS: [Row; 6] = [
    Row { death: "unexpected", way: Way::Fails, image: Some(2), complete_on: "available" },
    Row { death: "unexpected", way: Way::Fails, image: Some(8), complete_on: "available" },
    Row { death: "unexpected", way: Way::Fails, image: Some(25), complete_on: "available" },
    Row { death: "fixed time", way: Way::Fails, image: Some(8), complete_on: "timeout" },
    Row { death: "replacement", way: Way::GroupReplaced, image: None, complete_on: "available" },
    Row { death: "refresh", way: Way::Refreshed, image: None, complete_on: "available" },
];

/// Deaths of a row, one after the other; odd, so that the median is one of them. Fewer than
/// `MAX_IMAGES_PER_HOUR` allows, however short the images are.
const DEATHS: u32 = 9;

/// How often the sweep runs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// The sweep's name in the lab: the same function under another name, so that its runs and calls are counted
/// separately.
const SWEEPER: &str = "ami-snapshotter's sweep";

/// How the names of the row's groups begin.
const GROUPS: &str = "blog-";

/// What one death took.
#[derive(Debug, Clone, Default)]
struct Death {
    /// From `Terminating:Wait` to the next state.
    held_ms: u64,
    runs: u64,
    billed_ms: u64,
    calls: u64,
    sweeps: u64,
    sweep_ms: u64,
}

/// Measures and prints the table. Each row has a runtime of its own, so that no sweep of one row runs in
/// the next.
pub(crate) fn print(seed: u64) -> anyhow::Result<()> {
    anstream::println!(
        "ami-snapshotter in the lab, {DEATHS} deaths a row, one after the other; the medians.\n\
         Lab time with 30 to 60 ms a call, not AWS; no cold start.\n"
    );
    anstream::println!("{}", HEAD.join("\n"));
    for row in ROWS {
        let measured = fleet::runtime::paused()?.block_on(measure(seed, &row));
        let deaths = measured.with_context(|| format!("{}, image {:?}", row.death, row.image))?;
        anstream::println!("{}", Line { row: &row, deaths: &deaths });
    }
    anstream::println!(
        "\nunexpected: EC2's health check finds the instance stopped. image: the minutes that its image takes, a setting\n\
         of the lab. fixed time: the same with COMPLETE_ON=timeout: only the hook's timeout ends the wait.\n\
         replacement: CloudFormation replaces the group. refresh: an instance refresh. Both are planned: no image, so\n\
         nothing is compared.\n\
         held: seconds in Terminating:Wait. of {TERMINATION_HEARTBEAT}: their share of the hook's {TERMINATION_HEARTBEAT} s, and what is saved of those.\n\
         runs, ms, calls: the function's runs for the death, their billed time, each rounded up to 1 ms, and their\n\
         calls to AWS. The launch of a replacement is no part of them.\n\
         sweeps, ms: runs of the sweep, one every {} min, while the one instance was held, and their billed time. A\n\
         sweep looks after all instances that wait at once, so it is no part of a death's cost.",
        SWEEP_INTERVAL.as_secs() / 60,
    );
    Ok(())
}

const HEAD: [&str; 2] = [
    "                   |         time held          |     per death      |",
    "death        image | held (s)  of 1800    saved | runs    ms   calls | sweeps    ms",
];

/// A line of the table.
struct Line<'a> {
    row: &'a Row,
    deaths: &'a [Death],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |what: fn(&Death) -> u64| median(self.deaths.iter().map(what));
        let image = self.row.image.map_or("none".to_owned(), |minutes| format!("{minutes} min"));
        let held = of(|death| death.held_ms) as f64 / 1_000.0;
        write!(f, "{:<11} {image:>6} | {held:>8.1}", self.row.death)?;
        if self.row.image.is_some() {
            let share = 100.0 * held / f64::from(TERMINATION_HEARTBEAT);
            write!(f, "  {share:>6.1}%  {:>6.1}%", 100.0 - share)?;
        } else {
            write!(f, "  {:>7}  {:>7}", "-", "-")?;
        }
        let (runs, billed, calls) =
            (of(|death| death.runs), of(|death| death.billed_ms), of(|death| death.calls));
        write!(f, " | {runs:>4} {billed:>5}   {calls:>5}")?;
        write!(f, " | {:>6} {:>5}", of(|death| death.sweeps), of(|death| death.sweep_ms))
    }
}

/// Lets the instance of a group die again and again; each has a successor.
async fn measure(seed: u64, row: &Row) -> anyhow::Result<Vec<Death>> {
    let lab = Lab::new("2026-11-23T09:00:00Z".parse()?, seed);
    let groups = format!("{GROUPS}*");
    for name in [NAME, SWEEPER] {
        let variables = [(COMPLETE_ON, row.complete_on), (AUTO_SCALING_GROUPS, &groups)];
        deploy_ami_snapshotter(&lab, name, &variables)?;
    }
    add_rules(&lab, NAME, NAME, &answering_for(&format!("{GROUPS}*"), "born,dying"))?;
    let operator = Client::new(&lab.sdk_config("operator"));
    let mut group = format!("{GROUPS}0");
    create_for_snapshots(&operator, &group).await?;
    let mut instance = serving(&lab).await?;
    lab.schedule(SWEEP_INTERVAL, SWEEPER, json!({ "action": "reconcile" }));
    let mut moments = lab.observe();
    let mut deaths = Vec::new();
    for n in 1..=DEATHS {
        match row.way {
            Way::Fails => lab.world(|world| {
                world.delays.image = Duration::from_secs(60 * row.image.unwrap_or_default());
                world.fail_instance(&instance);
            }),
            Way::GroupReplaced => {
                let new = format!("{GROUPS}{n}");
                ensure!(scenarios::replace_group(&lab, &group, &new).await?, "expected the group {new}");
                group = new;
            }
            Way::Refreshed => {
                operator.start_instance_refresh().auto_scaling_group_name(&group).send().await?;
            }
        }
        let gone = |world: &World| world.autoscaling.instance(&instance).is_none();
        ensure!(lab.until(WAIT_TIMEOUT, gone).await, "expected the end of {instance}");
        let successor = serving(&lab).await?;
        let seen = until_idle(&lab, &mut moments).await;
        deaths.push(account(&seen, &instance)?);
        instance = successor;
        // The next one begins at another moment between two sweeps; one until then is not its own.
        lab.sleep(SWEEP_INTERVAL * n / DEATHS).await;
        until_idle(&lab, &mut moments).await;
    }
    let images = lab.world(|world| world.ec2.images().len());
    let expected = if row.image.is_some() { deaths.len() } else { 0 };
    ensure!(images == expected, "expected {expected} images, found {images}");
    Ok(deaths)
}

/// The account of one death: what happened until its successor served.
fn account(moments: &[Moment], instance: &str) -> anyhow::Result<Death> {
    let mut death = Death::default();
    let (mut began, mut ended) = (None, None);
    // The sweep under way, if it began while the instance was held; and each run of the function, and
    // whether it is about the death.
    let mut sweep: Option<DateTime<Utc>> = None;
    let mut running: Vec<(&str, DateTime<Utc>, bool)> = Vec::new();
    for moment in moments {
        match &moment.what {
            What::Seen(Sight::State { instance: id, state, .. }) if id == instance => {
                if *state == "Terminating:Wait" {
                    began = Some(moment.at);
                } else if began.is_some() && ended.is_none() {
                    ended = Some(moment.at);
                }
            }
            What::Started(run) if run.function == SWEEPER => {
                sweep = (began.is_some() && ended.is_none()).then_some(moment.at);
            }
            What::Ended(run, _) if run.function == SWEEPER => {
                if let Some(start) = sweep.take() {
                    death.sweeps += 1;
                    death.sweep_ms += billed_ms(moment.at - start);
                }
            }
            What::Started(run) => {
                running.push((&run.request_id, moment.at, is_about(&run.payload, instance)))
            }
            What::Ended(run, _) => {
                let of_run = running.iter().position(|(id, ..)| *id == run.request_id);
                let (_, start, about) =
                    running.remove(of_run.context("expected the beginning of every run")?);
                if about {
                    death.runs += 1;
                    death.billed_ms += billed_ms(moment.at - start);
                }
            }
            What::Called(call) if call.caller == NAME => {
                let about = running.iter().filter(|(.., about)| *about).count();
                ensure!(about == 0 || about == running.len(), "expected no launch during a death's run");
                death.calls += u64::from(about > 0);
            }
            _ => {}
        }
    }
    let held = began.zip(ended).map(|(began, ended)| ended - began);
    let held = held.with_context(|| format!("expected that {instance} waits and goes on"))?;
    death.held_ms = u64::try_from(held.num_milliseconds())?;
    Ok(death)
}

/// Whether an event is about this instance, or about an image: there is only one image at a time.
fn is_about(event: &Value, instance: &str) -> bool {
    event["detail"]["EC2InstanceId"] == instance || event["detail"]["ImageId"].is_string()
}
