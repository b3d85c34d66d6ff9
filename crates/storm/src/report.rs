//! The text report of a storm: the tables and the violations.

use std::fmt::Display;
use std::time::Duration;

use crate::observer::Violation;
use crate::options::Options;
use crate::tally::Tally;

/// Percentiles that are shown of each latency.
const PERCENTILES: [usize; 3] = [50, 90, 99];

/// Width of the first column in characters, enough for every name.
const NAME_WIDTH: usize = 44;

pub(crate) fn print(options: &Options, accounts: usize, tally: &Tally, wall: Duration) {
    anstream::println!(
        "Storm of seed {}, faults {}, {} days: {} instances in {accounts} account{}",
        options.seed,
        options.faults.as_str(),
        options.days,
        tally.instances,
        if accounts == 1 { "" } else { "s" }
    );
    head("Lifecycle actions", &["count"]);
    for ((hook, how), count) in &tally.actions {
        row(&format!("{hook}: {how}"), &[count]);
    }
    head("Commands, by their end", &["count"]);
    for (status, count) in &tally.commands {
        row(status, &[count]);
    }
    head("Images, by their end", &["count"]);
    for (state, count) in &tally.images {
        row(state, &[count]);
    }
    head("The launch template and its backups", &["count"]);
    for (what, count) in &tally.templates {
        row(what, &[count]);
    }
    if !tally.limits.is_empty() {
        head("Stated limits, and what faults did", &["count"]);
        for (what, count) in &tally.limits {
            row(what, &[count]);
        }
    }
    if !tally.reported.is_empty() {
        head("Failures that the functions reported", &["count"]);
        for (word, count) in &tally.reported {
            row(word, &[count]);
        }
    }
    let percentiles = PERCENTILES.map(|percentile| format!("p{percentile} (s)"));
    let [first, second, third] = percentiles.each_ref().map(String::as_str);
    head("Lab time", &["count", first, second, third, "max (s)"]);
    for (what, values) in &tally.latencies {
        let mut values: Vec<u64> = values.iter().map(|(_, ms)| *ms).collect();
        values.sort_unstable();
        let at = |percentile: usize| seconds(values[(values.len() - 1) * percentile / 100]);
        let [first, second, third] = PERCENTILES.map(at);
        row(&what.to_string(), &[&values.len(), &first, &second, &third, &at(100)]);
    }
    head("Functions", &["runs", "failed", "no room", "calls", "throttled"]);
    for (function, (runs, failed)) in &tally.runs {
        let (calls, throttled) = tally.calls.get(function).copied().unwrap_or_default();
        let no_room = tally.no_room.get(function).copied().unwrap_or_default();
        row(function, &[runs, failed, &no_room, &calls, &throttled]);
    }
    row("Auto Scaling's bucket, all callers", &[&"", &"", &"", &tally.bucket.0, &tally.bucket.1]);
    head("Events", &["count"]);
    for (fault, count) in &tally.events {
        row(fault, &[count]);
    }
    row("kept by the failure queues", &[&tally.failures]);
    let lab = tally.lab_time.as_seconds_f64();
    let memory = peak_memory().map(|mib| format!(", with at most {mib} MiB of memory")).unwrap_or_default();
    anstream::println!(
        "\n{:.1} h of the lab's time in {:.1} s of wall time{memory}",
        lab / 3_600.0,
        wall.as_secs_f64()
    );
}

/// The peak memory of this process in MiB; only on Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1_024)
}

/// What did not hold, everything that is known about it, and how to see it again.
pub(crate) fn violation(seed: u64, violation: &Violation, command: &str) {
    anstream::println!("\nVIOLATION: {}\nseed {seed}; to play it again:\n  {command}", violation.what);
    for line in &violation.history {
        anstream::println!("  {line}");
    }
}

fn head(title: &str, columns: &[&str]) {
    anstream::println!();
    let columns: Vec<&dyn Display> = columns.iter().map(|column| column as &dyn Display).collect();
    row(title, &columns);
}

fn row(name: &str, cells: &[&dyn Display]) {
    let cells: String = cells.iter().map(|cell| format!("{:>10}", cell.to_string())).collect();
    anstream::println!("{name:NAME_WIDTH$}{cells}");
}

fn seconds(ms: u64) -> String {
    format!("{:.1}", ms as f64 / 1_000.0)
}
