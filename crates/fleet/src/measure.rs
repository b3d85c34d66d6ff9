//! Measurements for benchmarks and storms: watching a lab until no run is left, sums over the moments, and prices.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_lab::{Lab, Moment, Run, RunError, What};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

/// The functions' memory: 128 MB, in the GB that Lambda counts in.
pub const GIGABYTES: f64 = 0.125;

/// A GB-second on arm64. This price and the next two are assumed, as Lambda's price list has them for us-east-1.
pub const USD_PER_GB_SECOND_ARM64: f64 = 0.000_013_333_4;
/// A GB-second on x86_64.
pub const USD_PER_GB_SECOND_X86_64: f64 = 0.000_016_666_7;
/// A request.
pub const USD_PER_REQUEST: f64 = 0.20 / 1_000_000.0;

/// What Lambda bills for runs that took so long together.
pub fn usd(runs: u64, billed_ms: u64, per_gb_second: f64) -> f64 {
    runs as f64 * USD_PER_REQUEST + billed_ms as f64 / 1_000.0 * GIGABYTES * per_gb_second
}

/// The value in the middle; of nothing, the default.
pub fn median<T: Ord + Copy + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What was seen when no run is under way any more: where the sweep was first, a run that polls ends later
/// than its instance.
pub async fn until_idle(lab: &Lab, moments: &mut UnboundedReceiver<Moment>) -> Vec<Moment> {
    let mut seen = Vec::new();
    let mut under_way = 0;
    loop {
        while let Ok(moment) = moments.try_recv() {
            match moment.what {
                What::Started(_) => under_way += 1,
                What::Ended(..) => under_way -= 1,
                _ => {}
            }
            seen.push(moment);
        }
        if under_way == 0 {
            return seen;
        }
        lab.sleep(Duration::from_secs(1)).await;
    }
}

/// As Lambda bills: every run rounded up to a millisecond.
pub fn billed_ms(time: TimeDelta) -> u64 {
    u64::try_from(time.num_microseconds().unwrap_or(i64::MAX)).unwrap_or_default().div_ceil(1_000)
}

/// A run of a function that has ended.
pub struct Ran {
    /// What it was invoked with.
    pub payload: Value,
    /// What it answered.
    pub answer: Value,
    /// How many calls to AWS it made.
    pub calls: u64,
    /// What Lambda bills for it.
    pub billed_ms: u64,
}

/// The runs of a lab's only function, which came one after the other; calls have no run's name on them.
///
/// # Errors
/// A run failed, or two overlapped.
pub fn runs(function: &str, moments: &[Moment]) -> anyhow::Result<Vec<Ran>> {
    let mut runs = Vec::new();
    let mut running: Option<DateTime<Utc>> = None;
    let mut calls = 0;
    for moment in moments {
        match &moment.what {
            What::Started(_) => {
                ensure!(running.is_none(), "expected one run of {function} at a time");
                (running, calls) = (Some(moment.at), 0);
            }
            What::Ended(run, result) => {
                let start = running.take().context("expected the beginning of every run")?;
                runs.push(Ran {
                    payload: run.payload.clone(),
                    answer: answer(run, result)?,
                    calls,
                    billed_ms: billed_ms(moment.at - start),
                });
            }
            What::Called(call) if call.caller == function => calls += 1,
            _ => {}
        }
    }
    Ok(runs)
}

fn answer(run: &Run, result: &Result<Value, RunError>) -> anyhow::Result<Value> {
    match result {
        Ok(answer) => Ok(answer.clone()),
        Err(error) => bail!("{} answered {error}", run.function),
    }
}
