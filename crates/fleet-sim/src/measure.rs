//! What the benchmarks share: watching a lab until nothing runs, and the sums of what was seen.

use std::time::Duration;

use chrono::TimeDelta;
use lifecycle_lab::{Lab, Moment, What};
use tokio::sync::mpsc::UnboundedReceiver;

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
