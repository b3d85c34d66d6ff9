//! Storms as a viewer runs them, over fixed seeds: all invariants hold, a seed plays the same storm again, and one
//! account of it can be played alone. Random seeds are for `scripts/soak`.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::sync::LazyLock;

/// Runs a storm that must hold; what it prints, without the line that tells the wall time.
fn storm(arguments: &str) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_storm")).args(arguments.split(' ')).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "storm {arguments}\n{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(text.trim_end().ends_with("Every invariant held."), "{text}");
    text.lines().filter(|line| !line.contains("of wall time")).map(|line| format!("{line}\n")).collect()
}

/// A storm of heavy faults. It takes seconds, and several tests read it.
static HEAVY: LazyLock<String> = LazyLock::new(|| storm("--instances 100 --days 0.4 --seed 7"));

/// The rows of a table: the name of each, and the first and the last number.
fn rows<'a>(text: &'a str, table: &str) -> Vec<(&'a str, f64, f64)> {
    let lines = text.lines().skip_while(|line| !line.starts_with(table)).skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, cells) = line.split_at(44);
            let cells: Vec<f64> = cells.split_whitespace().map(|cell| cell.parse().unwrap()).collect();
            (name.trim_end(), cells[0], *cells.last().unwrap())
        })
        .collect()
}

#[test]
fn a_small_storm_holds_for_fixed_seeds_and_a_seed_plays_the_same_storm_again() {
    let first = &*HEAVY;
    assert_eq!(storm("--instances 100 --days 0.4 --seed 7"), *first);
    for table in [
        "Lifecycle actions",
        "Commands, by their end",
        "Images, by their end",
        "The launch template",
        "Lab time",
        "Functions",
        "Events",
    ] {
        let counted: f64 = rows(first, table).iter().map(|(_, count, _)| count).sum();
        assert!(counted > 0.0, "nothing in {table:?} in:\n{first}");
    }
    let lived: u32 = first.split(" days: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((85..150).contains(&lived), "about 100 instances were asked for:\n{first}");
    assert_ne!(storm("--instances 100 --days 0.4 --seed 11"), *first);
}

#[test]
fn a_small_storm_holds_for_other_seeds() {
    for seed in [1_234_567, 2_345_678] {
        storm(&format!("--instances 100 --days 0.25 --seed {seed}"));
    }
}

/// Five times the instances in a third of the time: Auto Scaling's request limit is used up for minutes.
#[test]
fn a_storm_with_throttles_for_minutes_holds() {
    storm("--instances 500 --days 0.12 --seed 5");
}

#[test]
fn without_faults_nothing_is_throttled_lost_or_timed_out() {
    let calm = storm("--instances 100 --days 0.25 --faults none");
    for hook in ["record", "drain", "dying"] {
        let answered =
            rows(&calm, "Lifecycle actions").iter().any(|(how, ..)| *how == format!("{hook}: CONTINUE"));
        assert!(answered && !calm.contains(&format!("{hook}: timed out")), "{hook}: {calm}");
    }
    let throttled = |text| -> f64 { rows(text, "Functions").iter().map(|(_, _, throttled)| throttled).sum() };
    assert_eq!(throttled(&calm), 0.0, "{calm}");
    for fault in ["Lost", "Doubled", "Delayed", "Reordered"] {
        assert!(!calm.contains(fault), "{calm}");
    }
    // What is not there is spelled as where it is.
    for line in ["born: timed out", "Lost", "Doubled", "Delayed", "Reordered"] {
        assert!(HEAVY.contains(line), "no {line} in:\n{}", *HEAVY);
    }
    assert!(throttled(&HEAVY) > 0.0, "{}", *HEAVY);
}

#[test]
fn an_account_that_is_not_there_is_refused() {
    let run = Command::new(env!("CARGO_BIN_EXE_storm")).args(["--account", "1"]).output().unwrap();
    assert!(!run.status.success());
    assert!(String::from_utf8_lossy(&run.stderr).contains("there is no account 1"));
}
