//! The week as a viewer runs it: the picture must fit the text and the working hours.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::LazyLock;

/// What it prints without a seed. It takes seconds, and several tests read it.
static PRINTED: LazyLock<String> = LazyLock::new(|| fleet_sim(&["week"], &[]));

/// What is drawn of each service and of the instances.
static DRAWN: LazyLock<BTreeMap<&str, Vec<u32>>> =
    LazyLock::new(|| NAMES.into_iter().map(|name| (name, hours(&PRINTED, name))).collect());

const NAMES: [&str; 4] = ["web", "api", "jobs", "instances"];
const SERVICES: [&str; 3] = ["web", "api", "jobs"];

/// Columns of a row's name.
const NAME: usize = 10;

const TUESDAY: usize = 1;
const WEDNESDAY: usize = 2;
const THURSDAY: usize = 3;
const FRIDAY: usize = 4;
const WORK: Range<usize> = 9..18;

fn fleet_sim(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut run = Command::new(env!("CARGO_BIN_EXE_fleet-sim"));
    let run = run.args(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    text
}

/// How high a row is drawn in each hour of the week: the line that begins with its name is the lowest.
fn hours(text: &str, name: &str) -> Vec<u32> {
    let lines: Vec<&str> = text.lines().collect();
    let ground = lines.iter().position(|line| line.starts_with(&format!("{name:NAME$}"))).unwrap();
    let above = lines[..ground].iter().rev().take_while(|line| line.contains(['▄', '▐', '▗'])).count();
    let mut hours = vec![0; 7 * 24];
    for line in &lines[ground - above..=ground] {
        for (column, block) in line.chars().skip(NAME).enumerate().filter(|(column, _)| column % 13 != 12) {
            let first = column / 13 * 24 + column % 13 * 2;
            let [left, right] = heights(block);
            hours[first] += left;
            hours[first + 1] += right;
        }
    }
    hours
}

/// What the left and the right half of a block are filled to.
fn heights(block: char) -> [u32; 2] {
    match block {
        ' ' | '·' => [0, 0],
        '▖' => [1, 0],
        '▗' => [0, 1],
        '▄' => [1, 1],
        '▌' => [2, 0],
        '▐' => [0, 2],
        '▙' => [2, 1],
        '▟' => [1, 2],
        '█' => [2, 2],
        other => panic!("{other:?} is no block"),
    }
}

/// What is drawn in these hours of a day.
fn drawn(name: &str, day: usize, hours: Range<usize>) -> &'static [u32] {
    &DRAWN[name][24 * day + hours.start..24 * day + hours.end]
}

fn assert_printed(fact: &str) {
    assert!(PRINTED.contains(fact), "no {fact:?} in:\n{}", *PRINTED);
}

#[test]
fn services_work_by_day_and_sleep_at_night_and_at_the_weekend() {
    for (service, tasks) in [("web", 3), ("api", 2), ("jobs", 1)] {
        for (day, hour) in (0..7).flat_map(|day| (0..24).map(move |hour| (day, hour))) {
            let late = service == "api" && day == THURSDAY && (18..22).contains(&hour);
            let works = day < 5 && day != TUESDAY && WORK.contains(&hour) || late;
            let resized = service == "web" && (day, hour) >= (WEDNESDAY, 14);
            let expected = if works { tasks + u32::from(resized) } else { 0 };
            assert_eq!(drawn(service, day, hour..hour + 1), [expected], "{service}, day {day}, {hour} h");
        }
    }
}

#[test]
fn a_service_without_a_target_gets_one_for_the_night() {
    assert_printed(
        "a  Mon 18:00  jobs has no scalable target: the stop makes one, and the start on Wed 09:00",
    );
    assert_eq!(drawn("jobs", WEDNESDAY, WORK), [1; 9]);
}

#[test]
fn a_deployment_in_the_evening_wakes_no_service_for_long() {
    assert_printed("f  Fri 18:01  a deployment sets web to 4 tasks. Put back to sleep: Fri 18:05");
    assert_eq!(drawn("web", FRIDAY, 18..24), [0; 6]);
}

#[test]
fn a_holiday_is_slept_through() {
    for name in NAMES {
        assert_eq!(drawn(name, TUESDAY, 0..24), [0; 24], "{name}");
    }
    assert_printed("b  Tue 09:00  a holiday: nothing wakes. The next to wake: web, api, jobs Wed 09:00");
}

#[test]
fn a_service_wakes_with_the_size_that_a_deployment_gave_it() {
    assert_eq!(drawn("web", WEDNESDAY, WORK), [3, 3, 3, 3, 3, 4, 4, 4, 4]);
    assert_eq!(drawn("web", THURSDAY, WORK), [4; 9]);
    assert_printed("c  Wed 14:20  a deployment registers web as 4/8, was 3/6. It wakes on Thu 09:00 as 4/8");
}

#[test]
fn a_lost_run_is_healed_by_the_next() {
    assert_printed("d  Wed 18:00  this run is lost.");
    assert_printed("they sleep: web, api, jobs Wed 18:05");
    for service in SERVICES {
        assert_eq!(drawn(service, WEDNESDAY, 18..24), [0; 6], "{service}");
    }
}

#[test]
fn who_works_late_keeps_one_service_awake() {
    assert_printed("e  Thu 17:40  late work: api is tagged keep-awake-until Thu 22:00");
    assert_printed("Asleep: web, jobs Thu 18:00; api Thu 22:00");
    assert_eq!(drawn("api", THURSDAY, 18..24), [2, 2, 2, 2, 0, 0]);
    assert_eq!(drawn("web", THURSDAY, 18..24), [0; 6]);
}

#[test]
fn the_instances_follow_the_tasks() {
    assert_eq!(drawn("instances", 0, 0..9), [0; 9]);
    assert_eq!(drawn("instances", 0, WORK), [3; 9], "six tasks, two on each");
    assert_eq!(drawn("instances", THURSDAY, WORK), [4; 9], "seven tasks");
    assert_eq!(drawn("instances", THURSDAY, 19..22), [1; 3], "two tasks are left");
    assert_eq!(drawn("instances", 5, 0..24), [0; 24]);
}

#[test]
fn the_numbers_agree_with_the_drawing() {
    let text = &*PRINTED;
    let number = |after: &str, before: &str| -> f64 {
        let found = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in:\n{text}")).0;
        found.rsplit_once(after).unwrap().1.trim().parse().unwrap()
    };
    let (hours, all_hours) =
        (number("\n", " instance hours in place of"), number("in place of ", " when the same week"));
    let drawn: u32 = DRAWN["instances"].iter().sum();
    assert!((hours - f64::from(drawn)).abs() < 5.0, "drawn are {drawn}:\n{text}");
    // Three instances until the deployment, four from then on.
    let always_on = 3.0 * (2.0 * 24.0 + 14.33) + 4.0 * (7.0 * 24.0 - 2.0 * 24.0 - 14.33);
    assert!((all_hours - always_on).abs() < 1.0, "{text}");
    assert_eq!(format!("{hours:.0} of {all_hours:.0}"), "138 of 610", "as docs/ecs-scheduler.md says");

    // A run every five minutes but for the lost one, each with five calls by day, one more for the target of `jobs` at
    // night, and 30 to 60 ms for each call. The tags of targets are read at the same time.
    let (runs, billed) = (number("ecs-scheduler: ", " runs,"), number("runs, ", " ms billed"));
    let calls = number("billed, ", " AWS calls:\n");
    assert_eq!(runs, 7.0 * 24.0 * 12.0 - 1.0, "{text}");
    for action in ["GetResources", "DescribeScalableTargets", "DescribeServices"] {
        assert!(text.contains(&format!("{runs} {action}")), "{action}: {text}");
    }
    assert!(calls > 5.0 * runs && calls < 6.0 * runs + 200.0, "{text}");
    assert!((4.0 * 30.0 * runs..60.0 * calls).contains(&billed), "{text}");
}

#[test]
fn a_seed_lives_the_same_week_again_and_colours_add_nothing() {
    assert!(!PRINTED.contains('\u{1b}'), "a pipe gets no colours");
    assert!(PRINTED.lines().all(|line| line.chars().count() <= 120), "a line is too wide");
    let coloured = fleet_sim(&["week", "--seed", "7"], &[("CLICOLOR_FORCE", "1")]);
    assert!(coloured.contains("\u{1b}["));
    let plain = coloured.split("\u{1b}[").enumerate();
    let plain: String =
        plain.map(|(n, part)| if n == 0 { part } else { part.split_once('m').unwrap().1 }).collect();
    assert_eq!(plain, *PRINTED, "7 is the default");
}

#[test]
fn another_seed_has_other_delays_and_the_same_week() {
    let other = fleet_sim(&["week", "--seed", "8"], &[]);
    assert_ne!(other, *PRINTED);
    for service in SERVICES {
        assert_eq!(hours(&other, service), DRAWN[service], "{service}");
    }
}

#[test]
fn the_demo_ends_with_the_week() {
    let demo = fleet_sim(&["demo", "--seed", "7", "--full"], &[]);
    let week = &PRINTED[..PRINTED.find("\n\nTasks and instances are").unwrap()];
    let (demo, _next_steps) = demo.split_once("\n\nNext:").unwrap();
    assert!(demo.ends_with(week), "{demo}");
}

#[test]
fn help_says_that_the_times_are_the_labs() {
    let help = fleet_sim(&["week", "--help"], &[]);
    assert!(
        help.contains("lab time") && help.contains("not measurements") && help.contains("Seoul"),
        "{help}"
    );
}
