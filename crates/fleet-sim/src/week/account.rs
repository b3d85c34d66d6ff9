//! The facts of a week, from the lab's moments: levels over time, the starts and stops of services, and the
//! function's work.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use ecs_scheduler::NAME;
use fleet::measure::billed_ms;
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::{Moment, Sight, What};

pub(super) const CLUSTER: &str = "shop";

/// When the week is over.
pub(super) const END: TimeDelta = TimeDelta::days(7);

pub(super) fn resource(service: &str) -> String {
    format!("service/{CLUSTER}/{service}")
}

/// A week that was lived. Times within it are counted from Monday.
pub(super) struct Week {
    /// When it begins, on its own clock.
    pub(super) monday: DateTime<FixedOffset>,
    /// Everything that was seen, from the evening before.
    pub(super) moments: Vec<Moment>,
}

/// How many there were of something, from each moment on.
type Level = [(TimeDelta, u32)];

impl Week {
    /// How many tasks of a service ran, for each hour.
    pub(super) fn tasks(&self, service: &str) -> Vec<u32> {
        let counts = self.seen().filter_map(|(at, sight)| match sight {
            Sight::Service { service: name, running, .. } if name == service => Some((at, *running)),
            _ => None,
        });
        by_hour(&counts.collect::<Vec<_>>())
    }

    /// How many instances there were, for each hour.
    pub(super) fn instances(&self) -> Vec<u32> {
        by_hour(&self.instance_level())
    }

    pub(super) fn instance_hours(&self) -> f64 {
        hours(&self.instance_level(), TimeDelta::zero(), END)
    }

    /// When the service next came to sleep, after this time.
    pub(super) fn asleep(&self, service: &str, after: TimeDelta) -> anyhow::Result<TimeDelta> {
        let mut registered = self.registered(service);
        let found = registered.find(|(at, bounds)| *at > after && *bounds == (0, 0));
        let (at, _) =
            found.with_context(|| format!("expected {service} asleep after {}", self.clock(after)))?;
        Ok(at)
    }

    /// When the service next got a desired count above 0, after this time.
    pub(super) fn woke(&self, service: &str, after: TimeDelta) -> anyhow::Result<TimeDelta> {
        let mut woke = self.seen().filter_map(|(at, sight)| match sight {
            Sight::Service { service: name, desired, .. } if name == service && *desired > 0 => Some(at),
            _ => None,
        });
        let found = woke.find(|at| *at > after);
        found.with_context(|| format!("expected that {service} wakes after {}", self.clock(after)))
    }

    /// When the service's target was next removed, after this time.
    pub(super) fn deregistered(&self, service: &str, after: TimeDelta) -> anyhow::Result<TimeDelta> {
        let of_service = format!("ResourceId={}", resource(service));
        let mut removed = self.moments.iter().filter_map(|moment| match &moment.what {
            What::Called(call)
                if call.action == "DeregisterScalableTarget" && call.parameters.contains(&of_service) =>
            {
                Some(self.since_monday(moment.at))
            }
            _ => None,
        });
        let found = removed.find(|at| *at > after);
        found.with_context(|| format!("expected {service} without a target after {}", self.clock(after)))
    }

    /// When the service was next registered to be on, after this time, and as what.
    pub(super) fn awake(&self, service: &str, after: TimeDelta) -> anyhow::Result<(TimeDelta, String)> {
        let mut registered = self.registered(service);
        let found = registered.find(|(at, bounds)| *at > after && *bounds != (0, 0));
        let (at, (min, max)) =
            found.with_context(|| format!("expected {service} on after {}", self.clock(after)))?;
        Ok((at, format!("{min}/{max}")))
    }

    /// What the service was registered as until this time.
    pub(super) fn bounds_before(&self, service: &str, time: TimeDelta) -> anyhow::Result<String> {
        let last = self.registered(service).take_while(|(at, _)| *at <= time).last();
        let (_, (min, max)) =
            last.with_context(|| format!("expected {service} before {}", self.clock(time)))?;
        Ok(format!("{min}/{max}"))
    }

    /// When the event of a run was lost.
    pub(super) fn lost_run(&self) -> anyhow::Result<TimeDelta> {
        let mut lost =
            self.moments.iter().filter(|moment| matches!(moment.what, What::Faulted(EventFault::Lost, _)));
        let lost = lost.next().context("expected a lost run")?;
        Ok(self.since_monday(lost.at))
    }

    /// A time for each service, those with the same one together: `web, jobs Thu 18:00; api Thu 22:00`.
    pub(super) fn each<'a>(
        &self,
        services: impl Iterator<Item = &'a str>,
        time: impl Fn(&str) -> anyhow::Result<TimeDelta>,
    ) -> anyhow::Result<String> {
        let mut together: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for service in services {
            together.entry(time(service)?.num_minutes()).or_default().push(service);
        }
        let groups = together.iter().map(|(minute, services)| {
            format!("{} {}", services.join(", "), self.clock(TimeDelta::minutes(*minute)))
        });
        Ok(groups.collect::<Vec<_>>().join("; "))
    }

    /// What the week's clock shows: `Wed 18:05`.
    pub(super) fn clock(&self, time: TimeDelta) -> String {
        (self.monday + time).format("%a %H:%M").to_string()
    }

    /// The function's runs, their billed time, and its calls by action.
    pub(super) fn work(&self) -> String {
        let (mut runs, mut billed) = (0, 0);
        let mut running: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
        let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
        for moment in self.moments.iter().filter(|moment| moment.at >= self.monday) {
            match &moment.what {
                What::Started(run) => {
                    running.insert(&run.request_id, moment.at);
                }
                What::Ended(run, _) => {
                    if let Some(start) = running.remove(run.request_id.as_str()) {
                        runs += 1;
                        billed += billed_ms(moment.at - start);
                    }
                }
                What::Called(call) if call.caller == NAME => {
                    *calls.entry(&call.action).or_default() += 1;
                }
                _ => {}
            }
        }
        let all: u64 = calls.values().sum();
        let calls: Vec<_> = calls.iter().map(|(action, count)| format!("{count} {action}")).collect();
        format!("{NAME}: {runs} runs, {billed} ms billed, {all} AWS calls:\n{}", calls.join(", "))
    }

    fn instance_level(&self) -> Vec<(TimeDelta, u32)> {
        let mut count = 0;
        let changes = self.seen().filter_map(|(at, sight)| {
            match sight {
                Sight::State { state: "Pending", .. } => count += 1,
                Sight::State { state: "Terminated", .. } => count -= 1,
                _ => return None,
            }
            Some((at, count))
        });
        changes.collect()
    }

    /// A service's registrations, each with its minimum and maximum.
    fn registered(&self, service: &str) -> impl Iterator<Item = (TimeDelta, (u32, u32))> {
        let id = resource(service);
        self.seen().filter_map(move |(at, sight)| match sight {
            Sight::Target { resource, min, max } if *resource == id => Some((at, (*min, *max))),
            _ => None,
        })
    }

    fn seen(&self) -> impl Iterator<Item = (TimeDelta, &Sight)> {
        self.moments.iter().filter_map(|moment| match &moment.what {
            What::Seen(sight) => Some((self.since_monday(moment.at), sight)),
            _ => None,
        })
    }

    fn since_monday(&self, time: DateTime<Utc>) -> TimeDelta {
        time - self.monday.to_utc()
    }
}

/// The average of each hour of the week, rounded.
fn by_hour(level: &Level) -> Vec<u32> {
    let average = |hour| hours(level, TimeDelta::hours(hour), TimeDelta::hours(hour + 1));
    (0..END.num_hours()).map(|hour| average(hour).round() as u32).collect()
}

/// What a level comes to between two times, in hours.
fn hours(level: &Level, from: TimeDelta, to: TimeDelta) -> f64 {
    let ends = level.iter().skip(1).map(|(at, _)| *at).chain([to]);
    let parts = level.iter().zip(ends).map(|((start, count), end)| {
        let part = end.min(to) - from.max(*start);
        part.num_milliseconds().max(0) as f64 / 3_600_000.0 * f64::from(*count)
    });
    parts.sum()
}
