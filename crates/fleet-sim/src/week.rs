//! A working week of three ECS services that ecs-scheduler finds by their tag, one of them without a scalable target.
//! The cluster's capacity provider sizes an Auto Scaling group, and ecs-scheduler converges every five minutes: a
//! holiday, two deployments, a lost run, and an operator who works late. The week is played twice, with and without the function. `account` reads the moments, `calendar` draws them. All
//! numbers are counted or timed in the lab.

mod account;
mod calendar;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_applicationautoscaling::Client;
use chrono::{DateTime, FixedOffset, TimeDelta};
use ecs_scheduler::NAME;
use ecs_scheduler::config::{ACTION, DISCOVER_TAG, HOLIDAYS};
use ecs_scheduler::keep::KEEP_AWAKE_UNTIL;
use fleet::functions::{SCHEDULED_EVENT, deploy_ecs_scheduler, on_schedule};
use fleet::operator::{self, register};
use fleet::timeline::{Story, View};
use lambda_kit::Variables;
use lifecycle_lab::Lab;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::faults::EventFault;

use crate::progress::Progress;
use account::{CLUSTER, END, Week, resource};
use calendar::{Mark, Row};

/// The services, with their tasks, which are the minimum of their targets, and the maximum. `jobs` has no target.
const SERVICES: [(&str, i32, Option<i32>); 3] = [(WEB, 3, Some(6)), (API, 2, Some(4)), (JOBS, 1, None)];

const WEB: &str = "web";
const API: &str = "api";
const JOBS: &str = "jobs";

/// What the deployment makes of `web`.
const RESIZED: (i32, i32) = (4, 8);

/// Tasks that an instance has room for.
const TASKS_PER_INSTANCE: u32 = 2;

/// When the week begins. Seoul's clock never changes.
const MONDAY: &str = "2026-05-04T00:00:00+09:00";

/// Children's Day, the Tuesday of that week.
const HOLIDAY: &str = "2026-05-05";

/// The services' tag, and its value.
const TAG: &str = "office-hours";
const HOURS: &str = "MON-FRI 09:00-18:00 @Asia/Seoul";

/// The lab starts so long before Monday, with everything on: an hour is enough for all to fall asleep.
const EVE: TimeDelta = TimeDelta::hours(1);

const WEEK: Story = Story {
    number: 5,
    title: "ecs-scheduler: three ECS services sleep outside their working hours, MON-FRI 09:00-18:00",
    look: "Look at the letters: a service without a target, a holiday, deployments, a lost run, late work.",
    states: &[],
};

/// How often the function converges.
const CONVERGE: Duration = Duration::from_secs(300);

/// The evening after which `jobs` has a target.
const FIRST_EVENING: TimeDelta = on(0, 17, 59);

/// When the services would wake on the holiday, if it were none.
const HOLIDAY_MORNING: TimeDelta = on(1, 9, 0);

/// When a deployment resizes `web`.
const DEPLOYMENT: TimeDelta = on(2, 14, 20);

/// The run whose event is lost.
const LOST_RUN: TimeDelta = on(2, 18, 0);

/// When an operator who works late tags `api`, and until when the tag keeps it awake.
const TAGGED: TimeDelta = on(3, 17, 40);
const AWAKE_UNTIL: TimeDelta = on(3, 22, 0);

/// When a deployment that began before the evening sets the tasks of `web`.
const LATE_DEPLOYMENT: TimeDelta = on(4, 18, 1);

/// A moment of the week; day 0 is Monday.
const fn on(day: i64, hour: i64, minute: i64) -> TimeDelta {
    TimeDelta::minutes((24 * day + hour) * 60 + minute)
}

/// Draws the week, and says how to read it and how it was measured.
pub(crate) fn print(seed: u64) -> anyhow::Result<()> {
    draw(seed, View::Full)?;
    anstream::println!(
        "\nTasks and instances are averages over the hour, rounded. An instance counts from its launch until it is\n\
         terminated; the group lets go of one when managed scaling has found it idle for 15 min. Every run is billed\n\
         rounded up to 1 ms: lab time with 30 to 60 ms a call, not AWS; no cold start."
    );
    Ok(())
}

/// The end of the demo: the same picture.
pub(crate) fn last_act(seed: u64, view: View) -> anyhow::Result<()> {
    match view {
        View::Full => anstream::println!(),
        View::Brief => WEEK.print(),
    }
    draw(seed, view)
}

/// Lives both weeks, each with a runtime of its own, so that nothing else runs in them.
fn draw(seed: u64, view: View) -> anyhow::Result<()> {
    let progress = Progress;
    progress.show(&format!("… living the week with {NAME}"));
    let week = fleet::runtime::paused()?.block_on(live(seed, true))?;
    progress.show(&format!("… living the same week without {NAME}"));
    let always_on = fleet::runtime::paused()?.block_on(live(seed, false))?;
    drop(progress);

    if view == View::Full {
        let sizes = SERVICES.map(|(name, tasks, max)| match max {
            Some(max) => format!("{name} {tasks}/{max}"),
            None => format!("{name} {tasks} without a target"),
        });
        calendar::headline(&format!(
            "A working week of three services, {}. Every {} min {NAME} converges to the hours in their tag {TAG}, \
             {HOURS}, with a holiday on {HOLIDAY}.",
            sizes.join(", "),
            CONVERGE.as_secs() / 60
        ));
        anstream::println!();
    }
    let notes = notes(&week)?;
    let mut rows: Vec<_> = SERVICES.iter().map(|(name, ..)| Row::tasks(name, week.tasks(name))).collect();
    rows.push(Row::instances(week.instances()));
    let marks: Vec<_> = notes.iter().map(|(mark, _)| *mark).collect();
    calendar::draw(week.monday, &rows, &marks);
    for (mark, text) in &notes {
        calendar::note(*mark, week.monday, text, view.width());
    }

    anstream::println!();
    let (hours, all_hours) = (week.instance_hours(), always_on.instance_hours());
    let saved = format!(
        "{hours:.1} instance hours in place of {all_hours:.1} when the same week is lived without {NAME}: {:.0} %",
        100.0 * hours / all_hours
    );
    match view {
        View::Full => {
            calendar::headline(&saved);
            calendar::text(&week.work());
        }
        View::Brief => Story::outcome(&saved),
    }
    Ok(())
}

/// What happened, as the lab saw it, each with its place in the drawing.
fn notes(week: &Week) -> anyhow::Result<Vec<(Mark, String)>> {
    let all = || SERVICES.iter().map(|(name, ..)| *name);
    let made = week.asleep(JOBS, FIRST_EVENING)?;
    let removed = week.deregistered(JOBS, made)?;
    let woke = week.each(all(), |service| week.woke(service, HOLIDAY_MORNING))?;
    let (deployed, before) = (week.awake(WEB, DEPLOYMENT)?.1, week.bounds_before(WEB, DEPLOYMENT)?);
    let slept = week.asleep(WEB, DEPLOYMENT)?;
    let (morning, after) = week.awake(WEB, slept)?;
    let lost = week.lost_run()?;
    let healed = week.each(all(), |service| week.asleep(service, lost))?;
    let late = week.each(all(), |service| week.asleep(service, TAGGED))?;
    let again = week.asleep(WEB, LATE_DEPLOYMENT)?;
    let notes = [
        (
            made,
            format!(
                "{JOBS} has no scalable target: the stop makes one, and the start on {} removes it",
                week.clock(removed)
            ),
        ),
        (HOLIDAY_MORNING, format!("a holiday: nothing wakes. The next to wake: {woke}")),
        (
            DEPLOYMENT,
            format!(
                "a deployment registers {WEB} as {deployed}, was {before}. It wakes on {} as {after}",
                week.clock(morning)
            ),
        ),
        (lost, format!("this run is lost. With the next one they sleep: {healed}")),
        (
            TAGGED,
            format!(
                "late work: {API} is tagged {KEEP_AWAKE_UNTIL} {}. Asleep: {late}",
                week.clock(AWAKE_UNTIL)
            ),
        ),
        (
            LATE_DEPLOYMENT,
            format!(
                "a deployment sets {WEB} to {} tasks. Put back to sleep: {}",
                RESIZED.0,
                week.clock(again)
            ),
        ),
    ];
    Ok(('a'..).zip(notes).map(|(name, (at, text))| (Mark { name, at }, text)).collect())
}

/// Lives the week, with the function or without it.
async fn live(seed: u64, with_function: bool) -> anyhow::Result<Week> {
    let monday: DateTime<FixedOffset> = MONDAY.parse()?;
    let lab = Lab::new((monday - EVE).to_utc(), seed);
    let mut moments = lab.observe();
    let until = async |since_monday: TimeDelta| {
        let left = (monday + since_monday).to_utc() - lab.now();
        lab.sleep(left.to_std().unwrap_or_default()).await;
    };
    let operator = Client::new(&lab.sdk_config("operator"));
    set_the_scene(&lab, &operator).await?;
    if with_function {
        deploy(&lab)?;
    }

    until(DEPLOYMENT).await;
    register(&operator, &resource(WEB), RESIZED).await?;
    until(LOST_RUN - TimeDelta::minutes(1)).await;
    lab.faults().script_events(SCHEDULED_EVENT, [EventFault::Lost]);
    until(TAGGED).await;
    keep_awake(&lab, &operator, API, monday + AWAKE_UNTIL).await?;
    until(LATE_DEPLOYMENT).await;
    lab.world(|world| world.set_desired_count(CLUSTER, WEB, RESIZED.0.unsigned_abs()))?;
    until(END).await;

    ensure!(lab.failures().is_empty(), "expected an empty failure queue, found {:?}", lab.failures());
    let mut seen = Vec::new();
    while let Ok(moment) = moments.try_recv() {
        seen.push(moment);
    }
    Ok(Week { monday, moments: seen })
}

/// Sunday evening, with everything on: the cluster, its capacity provider, the services and their targets.
async fn set_the_scene(lab: &Lab, operator: &Client) -> anyhow::Result<()> {
    let autoscaling = aws_sdk_autoscaling::Client::new(&lab.sdk_config("operator"));
    operator::create(&autoscaling, CLUSTER, &["us-east-1a"]).await?;
    lab.world(|world| {
        world.set_capacity_provider(CLUSTER, CLUSTER, TASKS_PER_INSTANCE)?;
        SERVICES.iter().try_for_each(|(name, tasks, _)| {
            world.add_service(CLUSTER, name, Scheduling::Replica, tasks.unsigned_abs())?;
            world.tag_service(CLUSTER, name, TAG, Some(HOURS))
        })
    })?;
    for (name, tasks, max) in SERVICES {
        if let Some(max) = max {
            register(operator, &resource(name), (tasks, max)).await?;
        }
    }
    Ok(())
}

/// The function, and its schedule.
fn deploy(lab: &Lab) -> anyhow::Result<()> {
    let variables: Variables =
        [(DISCOVER_TAG, TAG), (ACTION, "converge"), (HOLIDAYS, HOLIDAY)].into_iter().collect();
    deploy_ecs_scheduler(lab, &variables)?;
    on_schedule(lab, NAME, CONVERGE)
}

/// Tags a service's target, as an operator who works late.
async fn keep_awake(
    lab: &Lab,
    operator: &Client,
    service: &str,
    until: DateTime<FixedOffset>,
) -> anyhow::Result<()> {
    let target = |world: &mut lifecycle_lab::World| {
        world.scalable_targets.target(&resource(service)).map(|target| target.arn.clone())
    };
    let arn = lab.world(target).with_context(|| format!("expected that {service} is registered"))?;
    let tag = operator.tag_resource().resource_arn(arn).tags(KEEP_AWAKE_UNTIL, until.to_rfc3339());
    tag.send().await.with_context(|| format!("tagging {service}"))?;
    Ok(())
}
