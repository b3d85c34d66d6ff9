//! The table of costs as a reader runs it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::Command;

/// The table's rows: function, event, answer, calls, billed ms, and the two prices.
fn rows() -> Vec<[String; 7]> {
    let run = Command::new(env!("CARGO_BIN_EXE_fleet-sim")).arg("costs").output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{text}{}", String::from_utf8_lossy(&run.stderr));
    let lines = text.lines().filter(|line| line.starts_with("| ")).skip(2);
    let cells =
        lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
    cells.map(|cells: Vec<String>| cells.try_into().unwrap()).collect()
}

#[test]
fn every_function_has_its_costs_and_the_price_is_that_of_time_and_request() {
    let rows = rows();
    for [function, event, answer, calls, billed, arm64, x86_64] in &rows {
        let [calls, billed, arm64, x86_64] =
            [calls, billed, arm64, x86_64].map(|number| number.parse::<f64>().unwrap());
        let row = format!("{function}, {event}, {answer}: {calls} calls, {billed} ms, {arm64}, {x86_64}");
        assert!(calls >= 1.0 && billed >= 30.0, "{row}");
        for (price, per_gb_second) in [(arm64, 0.000_013_333_4), (x86_64, 0.000_016_666_7)] {
            let expected = 0.000_2 + billed * 0.125 * per_gb_second;
            assert!((price - expected).abs() < 0.000_01, "{row}: expected {expected}");
        }
    }
    let calls = |function: &str, answer: &str| {
        let found = rows.iter().find(|row| row[0] == function && row[2] == answer);
        found.map(|row| row[3].clone())
    };
    // What the functions' pages say of them.
    for (function, answer, expected) in [
        ("launch-logger", "completed", "1"),
        ("terminate-drainer", "command-sent", "4"),
        ("terminate-drainer", "swept, 0 waiting", "1"),
        ("ami-snapshotter", "image-requested", "6"),
        ("lt-ami-refresher", "up-to-date", "3"),
        ("ecs-scheduler", "scheduled, 2 stopped", "8"),
        ("ecs-scheduler", "scheduled, 2 unchanged", "4"),
    ] {
        assert_eq!(calls(function, answer).as_deref(), Some(expected), "{function}, {answer}");
    }
}
