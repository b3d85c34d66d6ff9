//! What the benchmarks and storms share: watching a lab until nothing runs, the sums of what was seen, and
//! what Lambda bills for it.

use std::time::Duration;

use chrono::TimeDelta;
use lifecycle_lab::{Lab, Moment, What};
use tokio::sync::mpsc::UnboundedReceiver;

/// Assumed: 128 MB, what an arm64 GB-second costs in us-east-1, and what a request costs.
pub(crate) const GIGABYTES: f64 = 0.125;
pub(crate) const USD_PER_GB_SECOND: f64 = 0.000_013_333_4;
pub(crate) const USD_PER_REQUEST: f64 = 0.20 / 1_000_000.0;

/// The value in the middle; of nothing, the default.
pub(crate) fn median<T: Ord + Copy + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What was seen when no run is under way any more: where the sweep was first, a run that polls ends later
/// than its instance.
pub(crate) async fn until_idle(lab: &Lab, moments: &mut UnboundedReceiver<Moment>) -> Vec<Moment> {
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
pub(crate) fn billed_ms(time: TimeDelta) -> u64 {
    u64::try_from(time.num_microseconds().unwrap_or(i64::MAX)).unwrap_or_default().div_ceil(1_000)
}

/// What Lambda bills for runs that took so long together.
pub(crate) fn usd(runs: u64, billed_ms: u64) -> f64 {
    runs as f64 * USD_PER_REQUEST + billed_ms as f64 / 1_000.0 * GIGABYTES * USD_PER_GB_SECOND
}
