//! The demo as a newcomer runs it, in a pipe.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::sync::LazyLock;

/// What it prints without arguments. It takes seconds, and several tests read it.
static PRINTED: LazyLock<String> = LazyLock::new(|| fleet_sim(&[]));

/// What the event day begins with.
const EVENT_DAY: &str = "\nA group in a VPC launches from";

/// What `fleet-sim` prints with these arguments, without the last line, which says how long it took.
fn fleet_sim(arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_fleet-sim")).args(arguments).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    text.lines().filter(|line| !line.ends_with("of yours")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_demo_shows_launches_a_lost_one_and_its_replacement() {
    let text = &*PRINTED;
    for expected in [
        "is Pending:Wait",
        "completed the lifecycle action with CONTINUE",
        "is InService",
        "launch-logger answers AwsError",
        "activity Cancelled: Instance failed to complete user's Lifecycle Action",
        "1 given up by the hook, 1 kept by the failure queue",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "a pipe gets no colours");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "a line is too wide");
}

#[test]
fn the_demo_drains_a_scale_in_and_heals_a_lost_event() {
    let text = &*PRINTED;
    for expected in [
        "◇ Terminating:Wait",
        "(2 s): sent the commands",
        "(90 s): completed the lifecycle action with CONTINUE",
        "(3 h): completed the lifecycle action with CONTINUE",
        "(offline) can't be reached (the agent is silent)",
        "(fails): Failed",
        "The shell wrote \"application stopped\"",
        "Lost on its way: EC2 Command Invocation Status-change Notification",
        "(event lost): found by the sweep, Success",
        "14 actions completed",
        "by launch-logger",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    let lines = text.lines().count();
    assert!(lines < 310, "{lines} lines are a flood");
}

#[test]
fn the_demo_takes_an_image_of_the_one_death_that_nobody_planned() {
    let (text, _) = PRINTED.split_once(EVENT_DAY).unwrap();
    for expected in [
        "blog-1 is now stored as the group in service, in place of no group",
        "blog-2 is now stored as the group in service, in place of blog-1",
        "ami-snapshotter answers completed, planned: blog-2 is in service in place of blog-1",
        "(second): requested ami-",
        "(second): completed the lifecycle action with CONTINUE",
        "the hook held the instance for 481 s of 1800",
        "operator calls StartInstanceRefresh: ok",
        "ami-snapshotter answers completed, planned: instance-refresh",
        "ami-snapshotter answers completed, planned: user-request",
        "by ami-snapshotter",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    // The reason may stand on the next row.
    assert!(text.contains("(health-check-ec2)"), "{text}");
    for state in ["is pending", "is available"] {
        let lines = text.lines().filter(|line| line.contains("image ami-") && line.ends_with(state));
        assert_eq!(lines.count(), 1, "{state}: {text}");
    }
    let acts = text.split("\n\n").skip_while(|act| !act.contains("ami-snapshotter is deployed"));
    let longest = acts.map(|act| act.lines().count()).max();
    assert!(longest.is_some_and(|lines| (10..30).contains(&lines)), "an act is one screen: {longest:?}");
}

#[test]
fn the_demo_scales_out_for_an_event_from_the_nights_backup() {
    let (_, day) = PRINTED.split_once(EVENT_DAY).unwrap();
    let (day, _) = day.split_once("\n\nA working week").unwrap();
    let story = [
        "(old image) is InService",
        "(new) is pending",
        "03:12:00.0  █  image ami-",
        "event: Backup Job State Change, COMPLETED",
        "launch template web: version 2 is created",
        "launch template web: version 2 is the default",
        "(new image) is Pending",
        "(new image) is InService",
        "(old image) is Terminated",
        "by hand: The parameter groupName cannot be used with the parameter subnet. Launching EC2 instance failed.",
        "by lt-ami-refresher's daily run: version 4 has sg-",
    ];
    let mut rest = day;
    for expected in story {
        let found = rest.split_once(expected);
        (_, rest) = found.unwrap_or_else(|| panic!("no {expected:?} in its place in:\n{day}"));
    }
    let count = |end: &str| day.lines().filter(|line| line.ends_with(end)).count();
    let launches = [count("(old image) is Pending"), count("(new image) is Pending")];
    assert_eq!(launches, [1, 2], "{day}");
    assert_eq!(count("is created"), 1, "two events of a backup make one version: {day}");
    assert!(day.lines().count() < 30, "the day is one screen: {day}");
}

#[test]
fn every_state_has_a_block_of_its_own() {
    let text = &*PRINTED;
    let legend = text.lines().next().unwrap();
    let mut blocks: Vec<&str> = legend.split("  ").filter_map(|entry| entry.split(' ').next()).collect();
    assert_eq!(blocks.len(), 7, "{legend}");
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 7, "{legend}");
}

#[test]
fn a_seed_plays_the_same_story_again() {
    assert_eq!(fleet_sim(&["demo", "--seed", "3"]), fleet_sim(&["demo", "--seed", "3"]));
    assert_ne!(fleet_sim(&["demo", "--seed", "3"]), fleet_sim(&["demo", "--seed", "4"]));
}

#[test]
fn help_explains_what_it_does() {
    let text = fleet_sim(&["--help"]);
    assert!(text.contains("without an AWS account") && text.contains("demo"), "{text}");
}
