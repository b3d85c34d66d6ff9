//! Checks that the timers of hook, command and function fit together.

use std::time::Duration;

use lifecycle_core::pending::HookTimers;

use crate::config::{Config, WaitMode};

/// The conflicts between these timers, with their numbers. `limit` is the function's time limit, `reconciled` whether
/// the sweep reconciles the group.
pub(crate) fn conflicts(
    timers: HookTimers,
    config: &Config,
    limit: Duration,
    reconciled: bool,
) -> Vec<String> {
    let drain = config.delivery_timeout + config.drain_timeout;
    let (heartbeat, global) = (timers.heartbeat, timers.global);
    let names = format!(
        "DELIVERY_TIMEOUT {} s + DRAIN_TIMEOUT {} s = {} s",
        config.delivery_timeout.as_secs(),
        config.drain_timeout.as_secs(),
        drain.as_secs()
    );
    let mut conflicts = Vec::new();
    if drain > global {
        conflicts.push(format!(
            "{names} is longer than the hook's global timeout of {} s, which no heartbeat extends",
            global.as_secs()
        ));
    } else if drain > heartbeat && !reconciled && config.wait == WaitMode::Event {
        conflicts.push(format!(
            "{names} is longer than the hook's heartbeat timeout of {} s, and no sweep sends heartbeats: set the group \
             in AUTO_SCALING_GROUPS and schedule the sweep",
            heartbeat.as_secs()
        ));
    }
    if config.wait == WaitMode::Poll && drain > limit && !reconciled {
        conflicts.push(format!(
            "{names} is longer than the function's time limit of {} s, and no sweep takes over: name the group in \
             AUTO_SCALING_GROUPS and schedule the sweep, or use WAIT=event",
            limit.as_secs()
        ));
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use lambda_kit::Configuration;

    use super::*;

    fn check(variables: &[(&str, &str)], heartbeat: u64, limit: u64, reconciled: bool, expected: &[&str]) {
        let config = Config::parse(&variables.iter().copied().collect()).unwrap();
        let heartbeat = Duration::from_secs(heartbeat);
        let global = Duration::from_secs(48 * 3_600).min(heartbeat * 100);
        let found =
            conflicts(HookTimers { heartbeat, global }, &config, Duration::from_secs(limit), reconciled);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn combinations_that_cannot_work_are_named_with_their_numbers() {
        check(&[], 3_600, 30, false, &[]);
        check(
            &[],
            300,
            30,
            false,
            &[
                "DELIVERY_TIMEOUT 120 s + DRAIN_TIMEOUT 3300 s = 3420 s is longer than the hook's heartbeat timeout of 300 s",
            ],
        );
        check(&[], 300, 30, true, &[]);
        check(&[], 30, 30, true, &["longer than the hook's global timeout of 3000 s"]);
        check(&[("DRAIN_TIMEOUT", "48h")], 7_200, 30, true, &["global timeout of 172800 s"]);
        check(&[("WAIT", "poll"), ("DRAIN_TIMEOUT", "5m")], 300, 900, false, &[]);
        check(&[("WAIT", "poll")], 300, 900, false, &["the function's time limit of 900 s"]);
        check(&[("WAIT", "poll")], 300, 900, true, &[]);
    }
}
