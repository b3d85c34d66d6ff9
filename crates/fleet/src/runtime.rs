//! The clocks of a lab, its default seed, and SDK clients that share nothing with those of other labs.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_types::SdkConfig;
use aws_types::region::Region;
use lifecycle_lab::Lab;
use tokio::runtime::{Builder, Runtime};

/// Any number would do.
pub const SEED: u64 = 7;

/// A runtime whose clock jumps from timer to timer. Of one thread, so that a seed is exact.
///
/// # Errors
/// The system has no resources for it.
pub fn paused() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().start_paused(true).build()
}

/// A runtime on the machine's clock, for the functions' binaries.
///
/// # Errors
/// The system has no resources for it.
pub fn real() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// As [`Lab::sdk_config`], with a budget of retries of its own. The SDK keeps these budgets for the whole process, one
/// for each service and Region. In Lambda each function is a process. So every call of this function returns another
/// Region: otherwise functions would take retries from one another, and from labs on other threads.
pub fn sdk_config(lab: &Lab, caller: &str) -> SdkConfig {
    static REGIONS: AtomicU32 = AtomicU32::new(1);
    let region = format!("eu-lab-{}", REGIONS.fetch_add(1, Ordering::Relaxed));
    lab.sdk_config(caller).into_builder().region(Region::new(region)).build()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use aws_sdk_autoscaling::Client;
    use lifecycle_lab::faults::CallFault;

    use super::*;

    #[test]
    fn a_function_that_has_used_up_its_retries_takes_none_from_another() {
        paused().unwrap().block_on(async {
            let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), SEED);
            let [busy, other] = ["busy", "other"].map(|name| Client::new(&sdk_config(&lab, name)));
            lab.faults().chaos("throttle=1".parse().unwrap());
            for _ in 0..100 {
                busy.describe_auto_scaling_groups().send().await.unwrap_err();
            }
            lab.faults().chaos("".parse().unwrap());
            let once_throttled = async |client: &Client| {
                lab.faults().script("DescribeAutoScalingGroups", [CallFault::Throttle]);
                client.describe_auto_scaling_groups().send().await.is_ok()
            };
            assert!(!once_throttled(&busy).await, "it has a retry left");
            assert!(once_throttled(&other).await, "its retries are gone");
        });
    }
}
