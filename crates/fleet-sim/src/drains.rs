//! The benchmark of terminate-drainer: the cost of a drain by event and by polling, for drains of three lengths. Each
//! row has a lab of its own. All numbers are counted or timed in the lab.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use fleet::functions::{answering_for, deploy};
use fleet::measure::{
    GIGABYTES, USD_PER_GB_SECOND_X86_64, USD_PER_REQUEST, billed_ms, median, until_idle, usd,
};
use fleet::template::Template;
use lambda_kit::Variables;
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{Lab, Moment, Outcome, What};
use serde_json::json;
use terminate_drainer::NAME;
use terminate_drainer::config::{AUTO_SCALING_GROUPS, DRAIN_TIMEOUT, WAIT};

const MODES: [&str; 2] = ["event", "poll"];

const LENGTHS: [(&str, Duration); 3] = [
    ("10 s", Duration::from_secs(10)),
    ("5 min", Duration::from_secs(300)),
    ("3 h", Duration::from_secs(3 * 3_600)),
];

/// Drains of a row, one after the other; odd, so that the median is one of them.
const DRAINS: i32 = 9;

/// The longest time limit that Lambda allows: with it, polling reaches as far as it can.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(900);

/// How often the sweep runs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// The sweep's name in the lab: the same function under another name, so that its runs and calls are counted
/// separately.
const SWEEPER: &str = "terminate-drainer's sweep";

/// AWS's default.
const HEARTBEAT_TIMEOUT: i32 = 3_600;

/// Longer than the longest drain and everything around it.
const WAIT_TIMEOUT: Duration = Duration::from_secs(4 * 3_600);

/// What one drain took.
#[derive(Debug, Clone, Default)]
struct Drain {
    runs: u64,
    billed_ms: u64,
    start_calls: u64,
    waiting_calls: u64,
    finish_calls: u64,
    /// From the command's end to the completion.
    completed_after_ms: i64,
    sweeps: u64,
    sweep_ms: u64,
}

/// Measures and prints the table. Each row has a runtime of its own, so that no sweep of one row runs in
/// the next.
pub(crate) fn print(seed: u64) -> anyhow::Result<()> {
    anstream::println!(
        "terminate-drainer in the lab, {DRAINS} drains a row, one after the other; the medians.\n\
         Lab time with 30 to 60 ms a call, not AWS; no cold start.\n"
    );
    anstream::println!("{}", HEAD.join("\n"));
    for mode in MODES {
        for (length, duration) in LENGTHS {
            let measured = fleet::runtime::paused()?.block_on(measure(seed, mode, duration));
            let drains = measured.with_context(|| format!("WAIT={mode}, a drain of {length}"))?;
            anstream::println!("{}", Row { mode, length, drains: &drains });
        }
    }
    let idle = fleet::runtime::paused()?.block_on(idle_sweep(seed))?;
    let a_month = 30 * 24 * 3_600 / SWEEP_INTERVAL.as_secs();
    anstream::println!(
        "\nruns, ms: the function's runs for the drain and their billed time, each rounded up to 1 ms.\n\
         start: up to SendCommand, and the look at the hook's timers; (first): of the process's first drain.\n\
         waiting: while the command runs. finish: what finds its end and completes the action; where polling ran\n\
         out of time, the sweep's calls.\n\
         done: seconds from the command's end to the completion.\n\
         sweeps, ms: runs of the sweep, one every {} min, while the one drain lasted, and their billed time. A sweep\n\
         looks after all instances that wait at once, so it is no part of a drain's cost.\n\
         USD/1000: what runs and ms of 1,000 drains cost. Assumed: {} MB, {USD_PER_GB_SECOND_X86_64:.10} USD per GB-second\n\
         (x86_64), {:.2} USD per million requests.\n\
         A sweep when nothing waits takes {idle} ms: at one every {} min {:.4} USD in 30 days, however many drains.",
        SWEEP_INTERVAL.as_secs() / 60,
        GIGABYTES * 1_024.0,
        USD_PER_REQUEST * 1e6,
        SWEEP_INTERVAL.as_secs() / 60,
        usd(a_month, a_month * idle, USD_PER_GB_SECOND_X86_64),
    );
    Ok(())
}

const HEAD: [&str; 2] = [
    "                         |    calls to AWS per drain       |          |          |",
    "WAIT   drain  runs    ms | start (first)  waiting   finish | done (s) | USD/1000 | sweeps    ms",
];

/// A line of the table.
struct Row<'a> {
    mode: &'static str,
    length: &'static str,
    drains: &'a [Drain],
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, length, drains } = self;
        let of = |what: fn(&Drain) -> u64| median(drains.iter().map(what));
        let (runs, billed) = (of(|drain| drain.runs), of(|drain| drain.billed_ms));
        let first = drains.first().map_or(0, |drain| drain.start_calls);
        write!(f, "{mode:<5}  {length:>5}  {runs:>4} {billed:>6}")?;
        let calls =
            [of(|drain| drain.start_calls), of(|drain| drain.waiting_calls), of(|drain| drain.finish_calls)];
        let [start, waiting, finish] = calls;
        write!(f, " | {start:>5} {:>7}  {waiting:>7}  {finish:>7}", format!("({first})"))?;
        let after = median(drains.iter().map(|drain| drain.completed_after_ms)) as f64 / 1_000.0;
        write!(f, " | {after:>8.1} | {:>8.4}", 1_000.0 * usd(runs, billed, USD_PER_GB_SECOND_X86_64))?;
        write!(f, " | {:>6} {:>5}", of(|drain| drain.sweeps), of(|drain| drain.sweep_ms))
    }
}

/// A lab with a group, its hook, the function and its sweep.
async fn deployed(seed: u64, mode: &str) -> anyhow::Result<(Lab, Client)> {
    let lab = Lab::new("2026-11-23T09:00:00Z".parse()?, seed);
    let variables: Variables =
        [(WAIT, mode), (DRAIN_TIMEOUT, "4h"), (AUTO_SCALING_GROUPS, "shop")].into_iter().collect();
    deploy::<terminate_drainer::Context>(&lab, NAME, FUNCTION_TIMEOUT, &variables)?;
    deploy::<terminate_drainer::Context>(&lab, SWEEPER, FUNCTION_TIMEOUT, &variables)?;
    for (rule, pattern) in Template::of(NAME).deploy(&answering_for("shop", "drain")).patterns() {
        // Polling needs no second rule.
        if mode == "event" || rule == "LifecycleRule" {
            lab.add_rule(&pattern, NAME)?;
        }
    }
    let operator = Client::new(&lab.sdk_config("operator"));
    let create = operator.create_auto_scaling_group().auto_scaling_group_name("shop");
    let create = create.launch_configuration_name("shop").availability_zones("us-east-1a");
    create.min_size(0).max_size(DRAINS).desired_capacity(DRAINS).send().await?;
    let put = operator.put_lifecycle_hook().auto_scaling_group_name("shop").lifecycle_hook_name("drain");
    let put = put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING");
    put.heartbeat_timeout(HEARTBEAT_TIMEOUT).default_result("CONTINUE").send().await?;
    let all = usize::try_from(DRAINS)?;
    let ready = |world: &lifecycle_lab::World| {
        world.autoscaling.instances().filter(|instance| instance.state == "InService").count() == all
    };
    ensure!(lab.until(WAIT_TIMEOUT, ready).await, "expected {DRAINS} instances in service");
    // By then their agents have registered.
    lab.sleep(Duration::from_secs(60)).await;
    Ok((lab, operator))
}

/// Drains the instances of a group one after the other.
async fn measure(seed: u64, mode: &str, duration: Duration) -> anyhow::Result<Vec<Drain>> {
    let (lab, operator) = deployed(seed, mode).await?;
    lab.world(|world| world.run_command.default_script = Script { duration, ..Script::default() });
    lab.schedule(SWEEP_INTERVAL, SWEEPER, json!({ "action": "reconcile" }));
    let mut moments = lab.observe();
    let mut drains = Vec::new();
    for left in (0..DRAINS).rev() {
        let desire = operator.set_desired_capacity().auto_scaling_group_name("shop").desired_capacity(left);
        desire.send().await?;
        let gone = |world: &lifecycle_lab::World| world.autoscaling.instances().count() <= left as usize;
        ensure!(lab.until(WAIT_TIMEOUT, gone).await, "expected {left} instances left");
        let ended = lab.world(|world| {
            let last = world.run_command.commands().last().and_then(|command| command.invocations.first());
            last.and_then(|run| run.ended)
        });
        let ended = ended.context("expected a command that has ended")?;
        let seen = until_idle(&lab, &mut moments).await;
        drains.push(account(&seen, ended).context("expected a completion")?);
        // The next one begins at another moment between two sweeps; one until then is not its own.
        lab.sleep(SWEEP_INTERVAL.mul_f64(f64::from(left) / f64::from(DRAINS))).await;
        until_idle(&lab, &mut moments).await;
    }
    let commands = lab.world(|world| world.run_command.commands().len());
    ensure!(commands == drains.len(), "expected one command a drain, found {commands}");
    Ok(drains)
}

/// The account of one drain: what happened from the scale-in to the instance's end.
fn account(moments: &[Moment], ended: DateTime<Utc>) -> Option<Drain> {
    let mut drain = Drain::default();
    let mut running: Vec<(&str, DateTime<Utc>)> = Vec::new();
    let mut sent = false;
    // Calls from the last question for the command's end: if it had ended, they are the finish.
    let mut since = 0;
    // Calls of the present sweep.
    let mut of_sweep = 0;
    let mut completed = None;
    for moment in moments {
        match &moment.what {
            What::Started(run) => {
                running.push((&run.request_id, moment.at));
                if run.function == SWEEPER {
                    of_sweep = 0;
                }
            }
            What::Ended(run, _) => {
                let (_, start) = running.iter().rfind(|(id, _)| *id == run.request_id)?;
                let billed = billed_ms(moment.at - *start);
                if run.function == SWEEPER {
                    drain.sweeps += 1;
                    drain.sweep_ms += billed;
                } else {
                    drain.runs += 1;
                    drain.billed_ms += billed;
                }
            }
            What::Called(call) if call.caller == SWEEPER => {
                of_sweep += 1;
                if call.action == "CompleteLifecycleAction" && call.outcome == Outcome::OK {
                    completed = Some(moment.at);
                    drain.waiting_calls += std::mem::take(&mut since);
                    drain.finish_calls = of_sweep;
                }
            }
            What::Called(call) if call.caller == NAME => match call.action.as_str() {
                "SendCommand" => {
                    sent = true;
                    drain.start_calls += 1;
                }
                // Event mode looks at the timers after it has sent; polling does before it asks.
                _ if !sent || call.action == "DescribeLifecycleHooks" => drain.start_calls += 1,
                "CompleteLifecycleAction" if call.outcome == Outcome::OK => {
                    completed = Some(moment.at);
                    drain.finish_calls = since + 1;
                    since = 0;
                }
                "ListCommandInvocations" => {
                    drain.waiting_calls += std::mem::replace(&mut since, 1);
                }
                _ => since += 1,
            },
            _ => {}
        }
    }
    drain.waiting_calls += since;
    drain.completed_after_ms = (completed? - ended).num_milliseconds();
    Some(drain)
}

/// What a sweep is billed when nothing waits.
async fn idle_sweep(seed: u64) -> anyhow::Result<u64> {
    let (lab, _) = deployed(seed, "event").await?;
    let mut times = Vec::new();
    for _ in 0..DRAINS {
        let start = lab.now();
        let answer = lab.invoke(SWEEPER, json!({ "action": "reconcile" }), 1).await;
        ensure!(
            answer.as_ref().is_ok_and(|answer| answer["waiting"] == 0),
            "expected a sweep, found {answer:?}"
        );
        times.push(billed_ms(lab.now() - start));
    }
    Ok(median(times.into_iter()))
}
