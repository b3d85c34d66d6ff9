//! The benchmark as a reader runs it: what it prints must hold what the pages in docs/ say of it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::sync::LazyLock;

/// What it prints without a seed. It takes seconds, and several tests read it.
static PRINTED: LazyLock<String> = LazyLock::new(|| drains(&[]));

fn drains(arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_fleet-sim")).arg("drains").args(arguments).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    text
}

/// The numbers of the rows of a mode, as printed: runs, billed ms, calls to start, of the first drain,
/// waiting and to finish, seconds to the completion, USD per 1,000, sweeps, their ms.
fn rows(text: &str, mode: &str) -> Vec<[f64; 10]> {
    let rows = text.lines().filter(|line| line.starts_with(mode));
    rows.map(|row| {
        let words =
            row.split(|c: char| c.is_whitespace() || "|()".contains(c)).filter(|word| !word.is_empty());
        // Without the mode, and the drain's length with its unit.
        let numbers: Vec<f64> = words.skip(3).map(|word| word.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    })
    .collect()
}

#[test]
fn a_drain_by_event_costs_the_same_however_long_it_takes() {
    let text = &*PRINTED;
    let rows = rows(text, "event");
    assert_eq!(rows.len(), 3, "{text}");
    let billed = rows.iter().map(|row| row[1]);
    let (least, most) = (billed.clone().fold(f64::MAX, f64::min), billed.fold(0.0, f64::max));
    assert!(least > 0.0 && most <= least * 1.2, "{text}");
    for [runs, _, start, first, waiting, finish, done, ..] in rows {
        assert_eq!((runs, waiting), (2.0, 0.0), "{text}");
        assert!(start <= 4.0 && first == start + 1.0 && finish <= 4.0, "{text}");
        assert!(done < 2.0, "one event's journey: {text}");
    }
}

#[test]
fn a_drain_by_polling_costs_what_it_waits_for() {
    let text = &*PRINTED;
    let [short, middle, long] = rows(text, "poll")[..] else { panic!("{text}") };
    assert!((10_000.0..30_000.0).contains(&short[1]), "{text}");
    assert!((300_000.0..330_000.0).contains(&middle[1]), "{text}");
    // The longest run that Lambda allows; then the sweep finishes.
    assert!((850_000.0..900_000.0).contains(&long[1]) && long[6] <= 305.0, "{text}");
    let event = rows(text, "event");
    assert_eq!(event.len(), 3, "{text}");
    assert!(event.iter().all(|row| row[7] * 10.0 < short[7]), "{text}");
}

#[test]
fn a_seed_measures_the_same_again() {
    assert_eq!(drains(&["--seed", "7"]), *PRINTED, "7 is the default");
    assert_ne!(drains(&["--seed", "8"]), *PRINTED);
}

#[test]
fn help_says_that_the_times_are_the_labs() {
    let help = drains(&["--help"]);
    assert!(
        help.contains("lab time") && help.contains("30 to 60 ms") && help.contains("not measurements"),
        "{help}"
    );
}
