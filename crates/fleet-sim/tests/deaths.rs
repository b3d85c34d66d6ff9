//! The benchmark as a reader runs it: what it prints must hold what the pages in docs/ say of it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;
use std::sync::LazyLock;

/// What it prints without a seed. It takes seconds, and several tests read it.
static PRINTED: LazyLock<String> = LazyLock::new(|| deaths(&[]));

fn deaths(arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_fleet-sim")).arg("deaths").args(arguments).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    text
}

/// The numbers of a row, as printed.
#[derive(Debug, Clone, Copy)]
struct Row {
    held: f64,
    /// Percent of the fixed 1,800 s, where an image was taken.
    share: Option<f64>,
    saved: Option<f64>,
    runs: f64,
    billed_ms: f64,
    calls: f64,
    sweeps: f64,
}

/// The row of a death whose image takes so long.
fn row(text: &str, death: &str, image: &str) -> Row {
    let cells = |line: &str| -> Vec<String> {
        line.split(['|', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let start = cells(&format!("{death} {image}"));
    let rows: Vec<_> = text.lines().filter(|line| line.contains('|')).map(cells).collect();
    let row = rows.iter().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("{start:?}: {text}"));
    let numbers: Vec<Option<f64>> =
        row[start.len()..].iter().map(|word| word.trim_end_matches('%').parse().ok()).collect();
    let [Some(held), share, saved, Some(runs), Some(billed_ms), Some(calls), Some(sweeps), Some(_)] =
        numbers[..]
    else {
        panic!("{row:?}: {text}")
    };
    Row { held, share, saved, runs, billed_ms, calls, sweeps }
}

#[test]
fn an_unexpected_death_is_held_as_long_as_its_image_takes_and_no_longer() {
    let text = &*PRINTED;
    for minutes in [2.0, 8.0, 25.0] {
        let row = row(text, "unexpected", &format!("{minutes} min"));
        let image = minutes * 60.0;
        assert!(row.held > image && row.held < image + 3.0, "two events' journeys: {row:?}");
        let (share, saved) = (row.share.unwrap(), row.saved.unwrap());
        assert!((share - row.held / 18.0).abs() < 0.1, "{row:?}");
        assert!((share + saved - 100.0).abs() < 0.11, "{row:?}");
        assert!((row.sweeps - (image / 300.0).floor()).abs() <= 1.0, "{row:?}");
    }
}

#[test]
fn an_unexpected_death_costs_the_same_however_long_its_image_takes() {
    let text = &*PRINTED;
    let rows = ["2 min", "8 min", "25 min"].map(|image| row(text, "unexpected", image));
    let billed = rows.map(|row| row.billed_ms);
    let (least, most) = (billed.into_iter().fold(f64::MAX, f64::min), billed.into_iter().fold(0.0, f64::max));
    assert!(least > 0.0 && most <= least * 1.2 && most < 500.0, "{text}");
    assert!(rows.iter().all(|row| row.runs == 2.0 && row.calls <= 8.0), "{text}");
}

#[test]
fn without_a_completion_the_hook_holds_for_its_whole_timeout() {
    let fixed = row(&PRINTED, "fixed time", "8 min");
    assert!((1_800.0..1_801.0).contains(&fixed.held) && fixed.saved == Some(0.0), "{fixed:?}");
}

#[test]
fn a_planned_death_is_let_go_at_once() {
    let text = &*PRINTED;
    for death in ["replacement", "refresh"] {
        let row = row(text, death, "none");
        assert!(row.held < 2.0, "one event's journey: {row:?}");
        assert!(row.runs == 1.0 && row.calls <= 3.0 && row.billed_ms < 300.0, "{row:?}");
        assert_eq!((row.share, row.saved, row.sweeps), (None, None, 0.0), "{row:?}");
    }
}

#[test]
fn a_seed_measures_the_same_again() {
    assert_eq!(deaths(&["--seed", "7"]), *PRINTED, "7 is the default");
    assert_ne!(deaths(&["--seed", "8"]), *PRINTED);
}

#[test]
fn help_says_that_the_times_are_the_labs() {
    let help = deaths(&["--help"]);
    assert!(
        help.contains("lab time") && help.contains("not measurements") && help.contains("1,800 s"),
        "{help}"
    );
}
