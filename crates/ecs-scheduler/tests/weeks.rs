//! Random weeks: whatever the windows, the zone and the holidays are, and whichever runs are lost, doubled or
//! killed, the next run makes the service what the schedule says, with the size that it had.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{Scene, WEB, only};
use ecs_scheduler::plan::{Found, Memory};
use ecs_scheduler::{Config, NAME};
use lambda_kit::Configuration;
use lifecycle_lab::faults::CallFault;
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Builder;

const DAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/// Between two runs. The first one is ten minutes after the hour, so with the seconds that runs take none
/// comes to the edge of a window in five days.
const PERIOD: Duration = Duration::from_secs(1_800);

/// Five days of them.
const RUNS: usize = 5 * 48;

/// What befalls a run.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Once,
    Twice,
    Lost,
    /// It is killed at one of its calls, or a later run is.
    Killed(u64, CallFault),
    /// A person or a deployment registers the service anew just before it.
    Resized(i32, i32),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let kills = prop::sample::select(vec![CallFault::KillBefore, CallFault::KillAfter]);
    let fate = prop_oneof![
        12 => Just(Fate::Once),
        3 => Just(Fate::Twice),
        3 => Just(Fate::Lost),
        3 => (1..=4_u64, kills).prop_map(|(nth, kill)| Fate::Killed(nth, kill)),
        1 => (0..3_i32, 1..5_i32).prop_map(|(min, more)| Fate::Resized(min, min + more)),
    ];
    prop::collection::vec(fate, RUNS)
}

fn windows() -> impl Strategy<Value = String> {
    let window =
        (0..7_usize, 0..7_usize, 0..24_usize, 1..12_usize).prop_map(|(first, last, start, hours)| {
            let end = (start + hours) % 24;
            format!("{}-{} {start:02}:00-{end:02}:00", DAYS[first], DAYS[last])
        });
    prop::collection::vec(window, 1..3).prop_map(|windows| windows.join("; "))
}

async fn live(hours: &str, zone: &str, holidays: &str, fates: &[Fate]) -> Result<(), TestCaseError> {
    let scene = Scene::at("2026-10-22T00:10:00Z");
    scene.register(WEB, 2, 6).await;
    let mut registered = scene.bounds(WEB);
    let mut size = registered.clone();
    let variables = [("WORKING_HOURS", hours), ("TIMEZONE", zone), ("HOLIDAYS", holidays)];
    let variables: Vec<_> = variables.into_iter().chain(only(WEB)).collect();
    scene.deploy(&variables);
    let schedule = Config::parse(&variables.iter().copied().collect()).unwrap().hours.unwrap();
    let run = || scene.invoke(json!({ "action": "converge" }));
    for fate in fates {
        let done = match *fate {
            Fate::Lost => false,
            Fate::Once => run().await.is_ok(),
            Fate::Twice => {
                let (one, other) = tokio::join!(run(), run());
                one.is_ok() && other.is_ok()
            }
            Fate::Killed(nth, kill) => {
                scene.lab.faults().at_call(NAME, scene.calls().len() as u64 + nth, kill);
                run().await.is_ok()
            }
            Fate::Resized(min, max) => {
                let memory = scene.memory(WEB).and_then(|memory| Memory::parse(&memory));
                scene.register(WEB, min, max).await;
                registered = scene.bounds(WEB);
                // By halves: the memory keeps its minimum.
                size = match memory {
                    Some(Memory { found: Found::Bounds(found), .. }) if min == 0 => {
                        format!("{}/{max}", found.min.min(max))
                    }
                    _ => registered.clone(),
                };
                run().await.is_ok()
            }
        };
        let (on, why) = schedule.at(scene.lab.now());
        let found = scene.bounds(WEB);
        let story = format!("{found} at {} after {fate:?}, {why}: {:?}", scene.lab.now(), scene.tags(WEB));
        prop_assert!(scene.memory(WEB).is_none_or(|memory| memory != "min=0:max=0"), "{}", story);
        prop_assert!(!done || (found != "0/0") == on, "{}", story);
        prop_assert!(
            found == "0/0" || found == size || !done && found == registered,
            "not the size that it had, {}: {}",
            size,
            story
        );
        scene.lab.sleep(PERIOD).await;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn after_the_next_run_the_state_is_what_the_schedule_says(
        hours in windows(),
        zone in prop::sample::select(vec!["UTC", "Asia/Seoul", "Europe/Berlin", "America/St_Johns"]),
        holidays in prop::sample::select(vec!["2026-10-23", "2026-10-25", "2026-10-26,2026-10-27"]),
        fates in fates(),
    ) {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(live(&hours, zone, holidays, &fates))?;
    }
}
