//! The demo as a newcomer runs it, in a pipe.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::sync::LazyLock;

/// Every line of the stories. It takes seconds, and several tests read it.
static PRINTED: LazyLock<String> = LazyLock::new(|| fleet_sim(&["--full"]));

/// What it prints without arguments.
static BRIEF: LazyLock<String> = LazyLock::new(|| fleet_sim(&[]));

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
fn the_demo_fits_on_three_screens() {
    let text = &*BRIEF;
    let lines = text.lines().count();
    assert!((80..=120).contains(&lines), "{lines} lines:\n{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
    assert!(!text.contains('\u{1b}'), "a pipe gets no colours");
}

#[test]
fn each_of_the_five_stories_says_where_to_look_what_happens_and_what_came_of_it() {
    let (_, mut rest) = BRIEF.split_once("\n1. ").unwrap();
    let stories = [
        (
            "launch-logger: ",
            "completed with CONTINUE, recorded",
            "4 launches completed and recorded, one of them by the sweep: its event was lost.",
        ),
        (
            "terminate-drainer: ",
            "event lost: completed with CONTINUE, the commands have ended",
            "6 actions completed with CONTINUE. The sweep's 10 heartbeats kept the 3 h drain in its hook.",
        ),
        (
            "ami-snapshotter: ",
            "(health-check-ec2)",
            "One image, of the failed instance: the hook held it for 481 s of 1800. The others went at once.",
        ),
        (
            "lt-ami-refresher: ",
            "launch template web: version 2 is the default",
            "The scale-out launched from the new image.",
        ),
        ("ecs-scheduler: ", "instances ····▐████▖··", "137.6 instance hours in place of 609.6"),
    ];
    for (number, (title, line, outcome)) in (2..).zip(stories) {
        let next = if number == 6 { "\nNext:".to_owned() } else { format!("\n{number}. ") };
        let story;
        (story, rest) = rest.split_once(&next).unwrap_or_else(|| panic!("no {next:?} in:\n{rest}"));
        assert!(story.starts_with(title), "{story}");
        let looks = story.lines().filter(|line| line.starts_with("   Look at ")).count();
        assert_eq!(looks, 1, "{story}");
        let (drawn, came) = story.split_once("\n→  ").unwrap_or_else(|| panic!("no outcome in:\n{story}"));
        assert!(drawn.contains(line), "no {line:?} in:\n{story}");
        assert!(came.starts_with(outcome), "no {outcome:?} in:\n{story}");
    }
}

#[test]
fn the_texts_of_a_timeline_begin_in_one_column() {
    let times = ["Mon ", "Thu ", "Fri "];
    let rows: Vec<_> = BRIEF.lines().filter(|line| times.iter().any(|time| line.starts_with(time))).collect();
    assert!(rows.len() > 35, "{rows:?}");
    for row in rows {
        let row: Vec<char> = row.chars().collect();
        assert_eq!(row[25..27], [' ', ' '], "{row:?}");
        assert_ne!(row[27], ' ', "{row:?}");
    }
}

#[test]
fn the_demo_ends_with_the_next_steps() {
    let (_, steps) = BRIEF.split_once("\nNext:").unwrap();
    for step in ["cargo run -p fleet-sim -- --full", "cargo test --workspace", "docs/deploying.md"] {
        assert!(steps.contains(step), "no {step:?} in:\n{steps}");
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    assert!(std::path::Path::new(root).join("docs/deploying.md").exists());
    assert!(PRINTED.contains("\nNext:") && !PRINTED.contains("--full"), "who sees all needs no --full");
}

#[test]
fn the_demo_shows_launches_and_one_that_the_sweep_finds() {
    let text = &*PRINTED;
    for expected in [
        "is Pending:Wait",
        "completed the lifecycle action with CONTINUE",
        "is InService",
        "0 given up by the hook, 0 kept by the failure queue",
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
        "(offline): the agent is silent",
        "(fails): Failed",
        "The shell wrote \"application stopped\"",
        "Lost on its way: EC2 Command Invocation Status-change Notification",
        "(event lost): the commands have ended",
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
        "blog-1 is now stored as the group in service of its succession",
        "blog-2 is now stored as the group in service of its succession",
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
    let brief = BRIEF.lines().skip_while(|line| !line.starts_with('░')).take(2);
    for legend in [PRINTED.lines().next().unwrap().to_owned(), brief.collect::<Vec<_>>().join("  ")] {
        let entries = legend.split("  ").map(str::trim).filter(|entry| !entry.is_empty());
        let mut blocks: Vec<&str> = entries.filter_map(|entry| entry.split(' ').next()).collect();
        assert_eq!(blocks.len(), 7, "{legend}");
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), 7, "{legend}");
    }
}

#[test]
fn a_seed_plays_the_same_story_again() {
    let play = |seed| fleet_sim(&["demo", "--seed", seed, "--full"]);
    assert_eq!(play("3"), play("3"));
    assert_ne!(play("3"), play("4"));
    assert_eq!(fleet_sim(&[]), *BRIEF);
}

#[test]
fn help_explains_what_it_does() {
    let text = fleet_sim(&["--help"]);
    assert!(["without an AWS account", "demo", "--full"].iter().all(|word| text.contains(word)), "{text}");
}
