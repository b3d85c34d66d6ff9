//! Records an account for the page while it runs: counts by intervals of time, which are summed over accounts, and
//! the lanes of some instances. It holds only the intervals, the running instances and a bounded number of lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet::measure::billed_ms;
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::{Lab, Moment, Run, RunError, Sight, What};
use serde_json::Value;

use crate::effect::{is_disturbed, is_throttle};
use crate::mark::{self, Kind};
use crate::weather::Disturbance;

/// The possible widths of an interval, in seconds.
const INTERVAL_SECONDS: [u64; 14] =
    [5, 10, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200];

/// Most intervals of a storm, roughly: more than a screen has columns, so that the viewer can zoom in.
const MAX_INTERVALS: u64 = 1_600;

/// Seconds after the weather in which most waits end. The storm's interval width allows for them.
const SETTLE_SECONDS: u64 = 3 * 3_600;

/// Most lanes of one account, besides those of violations. An account has about a thousand instances.
const MAX_LANES: usize = 1_500;

/// Most lanes of violations in a storm. The first ones explain most.
const MAX_VIOLATED_LANES: usize = 100;

/// Most marks of a lane. A wait of 48 hours has some hundreds.
const MAX_MARKS: usize = 400;

/// The states of an instance that the picture distinguishes.
pub(crate) const STATES: [&str; 7] = [
    "Pending",
    "Pending:Wait",
    "InService",
    "Terminating:Wait",
    "Terminating",
    "in the warm pool",
    "Standby, Retained",
];

/// Which instances are recorded one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// All, as far as there is room.
    All,
    /// Those of which something did not hold.
    OfViolations,
}

/// The life of one instance. Times are milliseconds since the beginning.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) account: u32,
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) violated: bool,
    /// When it came into which of `STATES`.
    pub(crate) states: Vec<(i64, usize)>,
    pub(crate) gone: Option<i64>,
    pub(crate) marks: Vec<(i64, Kind, String)>,
}

/// What a function did in a slice of time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Runs that were no retries: one for each event.
    pub(crate) events: u64,
    pub(crate) runs: u64,
    pub(crate) failed: u64,
    pub(crate) billed_ms: u64,
    pub(crate) calls: u64,
    pub(crate) throttled: u64,
}

/// What a page shows of an account or of a storm.
pub(crate) struct Recording {
    pub(crate) began: DateTime<Utc>,
    /// Width of an interval.
    pub(crate) width: TimeDelta,
    lanes_of: Lanes,
    /// Changes of the number of instances in each of `STATES`, by interval.
    pub(crate) population: [Series<i64>; STATES.len()],
    /// How many there were of what, by interval.
    pub(crate) counts: BTreeMap<(Row, &'static str), Series<u64>>,
    /// Calls by service, by interval: those that AWS answered, and those that it refused as too many.
    pub(crate) calls: BTreeMap<String, (Series<u64>, Series<u64>)>,
    /// Auto Scaling's bucket: capacity, refill per second, and the fewest tokens in each interval.
    pub(crate) bucket: Option<(f64, f64, Series<Option<f64>>)>,
    /// By function, by slice: `INTERVALS_PER_SLICE` intervals.
    pub(crate) usage: BTreeMap<String, Series<Usage>>,
    /// When runs that are under way began.
    running: BTreeMap<String, DateTime<Utc>>,
    alive: BTreeMap<String, Lane>,
    /// An instance that has just gone. Its life is judged when that is seen, so its lane waits for the next moment.
    just_gone: Option<Lane>,
    kept: BTreeSet<String>,
    pub(crate) lanes: Vec<Lane>,
    /// What befell the groups of the account whose lanes are all kept.
    pub(crate) weather: Vec<Disturbance>,
}

/// Rows of the picture that counts stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    /// Launches and deaths.
    Lives,
    /// What befell groups and instances.
    Weather,
    /// What befell events, calls and runs.
    Faults,
}

/// Intervals in a slice. Figures of functions and latencies are kept by slices, which are coarser.
pub(crate) const INTERVALS_PER_SLICE: usize = 8;

/// A value for each interval, as far as there was one.
pub(crate) type Series<T> = Vec<T>;

fn at<T: Clone + Default>(series: &mut Series<T>, index: usize) -> &mut T {
    if series.len() <= index {
        series.resize(index + 1, T::default());
    }
    &mut series[index]
}

fn sum<T: Copy + Default>(mine: &mut Series<T>, theirs: &[T], add: impl Fn(T, T) -> T) {
    for (index, theirs) in theirs.iter().enumerate() {
        let mine = at(mine, index);
        *mine = add(*mine, *theirs);
    }
}

impl Recording {
    pub(crate) fn new(began: DateTime<Utc>, lasts: Duration, lanes: Lanes) -> Self {
        let wanted = (lasts.as_secs() + SETTLE_SECONDS).div_ceil(MAX_INTERVALS);
        let width = INTERVAL_SECONDS.into_iter().find(|width| *width >= wanted).unwrap_or(86_400);
        Self {
            began,
            width: TimeDelta::seconds(width.cast_signed()),
            lanes_of: lanes,
            population: Default::default(),
            counts: BTreeMap::new(),
            calls: BTreeMap::new(),
            bucket: None,
            usage: BTreeMap::new(),
            running: BTreeMap::new(),
            alive: BTreeMap::new(),
            just_gone: None,
            kept: BTreeSet::new(),
            lanes: Vec::new(),
            weather: Vec::new(),
        }
    }

    /// The interval of a time.
    pub(crate) fn interval(&self, time: DateTime<Utc>) -> usize {
        let ms = (time - self.began).num_milliseconds().max(0);
        usize::try_from(ms / self.width.num_milliseconds()).unwrap_or_default()
    }

    /// How many intervals there were.
    pub(crate) fn length(&self) -> usize {
        let counts = self.counts.values().map(Vec::len);
        let calls = self.calls.values().map(|(answered, refused)| answered.len().max(refused.len()));
        let usage = self.usage.values().map(|usage| usage.len() * INTERVALS_PER_SLICE);
        counts.chain(calls).chain(usage).max().unwrap_or(1)
    }

    /// Takes in what happened, and which instances it is about.
    pub(crate) fn see(&mut self, moment: &Moment, instances: &[String], lab: &Lab) {
        self.lay_down_gone();
        let now = self.interval(moment.at);
        match &moment.what {
            What::Faulted(fault, _) => self.count(
                now,
                Row::Faults,
                match fault {
                    EventFault::Lost => "events lost",
                    EventFault::Doubled => "events doubled",
                    EventFault::Delayed => "events late",
                    EventFault::Reordered => "events reordered",
                },
            ),
            What::Throttled { .. } => self.count(now, Row::Faults, "no room for runs"),
            What::Called(call) => {
                let refused = is_throttle(call.outcome);
                let calls = self.calls.entry(call.service.clone()).or_default();
                *at(if refused { &mut calls.1 } else { &mut calls.0 }, now) += 1;
                let usage = self.usage(&call.caller, now);
                usage.calls += 1;
                usage.throttled += u64::from(refused);
                if refused {
                    self.count(now, Row::Faults, "calls throttled");
                } else if call.outcome.is_kill() {
                    self.count(now, Row::Faults, "runs killed");
                } else if is_disturbed(call.outcome) {
                    self.count(now, Row::Faults, "calls failed or cut");
                }
                if call.service == "autoscaling" {
                    self.look_at_bucket(now, moment.at, lab);
                }
            }
            What::Started(run) => {
                self.running.insert(run.request_id.clone(), moment.at);
                let usage = self.usage(&run.function, now);
                usage.runs += 1;
                usage.events += u64::from(run.attempt == 1);
            }
            What::Ended(run, result) => self.ended(now, moment.at, run, result),
            What::Seen(_) | What::Sent(_) | What::Logged { .. } => {}
        }
        let ms = (moment.at - self.began).num_milliseconds();
        if let What::Seen(Sight::State { group, instance, state }) = &moment.what {
            self.state(now, ms, group, instance, state);
        }
        let mark = (!instances.is_empty()).then(|| mark::describe(&moment.what)).flatten();
        let Some((kind, text)) = mark else { return };
        for id in instances {
            if let Some(lane) = self.alive.get_mut(id).filter(|lane| lane.marks.len() < MAX_MARKS) {
                lane.marks.push((ms, kind, text.clone()));
            }
        }
        if let What::Seen(Sight::State { instance, .. }) = &moment.what
            && self.alive.get(instance).is_some_and(|lane| lane.gone.is_some())
        {
            self.just_gone = self.alive.remove(instance);
        }
    }

    /// Records a disturbance of the groups.
    pub(crate) fn weather(&mut self, disturbance: Disturbance) {
        self.count(self.interval(disturbance.at), Row::Weather, disturbance.what);
        if self.lanes_of == Lanes::All && self.weather.len() < MAX_LANES {
            self.weather.push(disturbance);
        }
    }

    /// Something about this instance did not hold: its lane stays.
    pub(crate) fn keep(&mut self, instance: &str) {
        self.kept.insert(instance.to_owned());
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == instance) {
            lane.violated = true;
        } else if let Some(lane) = self.alive.get_mut(instance) {
            lane.violated = true;
        }
    }

    /// Says which account it is of. What is still alive is laid down.
    pub(crate) fn come_from(&mut self, account: u32) {
        self.lay_down_gone();
        for lane in std::mem::take(&mut self.alive).into_values() {
            self.lay_down(lane);
        }
        for lane in &mut self.lanes {
            lane.account = account;
        }
        if self.lanes_of == Lanes::OfViolations {
            self.lanes.retain(|lane| lane.violated);
        }
    }

    /// Adds another account's.
    pub(crate) fn add(&mut self, other: Self) {
        for (mine, theirs) in self.population.iter_mut().zip(&other.population) {
            sum(mine, theirs, |a, b| a + b);
        }
        for (key, theirs) in &other.counts {
            sum(self.counts.entry(*key).or_default(), theirs, |a, b| a + b);
        }
        for (service, theirs) in &other.calls {
            let mine = self.calls.entry(service.clone()).or_default();
            sum(&mut mine.0, &theirs.0, |a, b| a + b);
            sum(&mut mine.1, &theirs.1, |a, b| a + b);
        }
        for (function, theirs) in &other.usage {
            sum(self.usage.entry(function.clone()).or_default(), theirs, Usage::plus);
        }
        if let (Some((.., mine)), Some((.., theirs))) = (&mut self.bucket, &other.bucket) {
            sum(mine, theirs, |a, b| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                _ => a.or(b),
            });
        }
        let violated = self.lanes.iter().filter(|lane| lane.violated).count();
        self.lanes.extend(other.lanes.into_iter().take(MAX_VIOLATED_LANES.saturating_sub(violated)));
    }

    fn count(&mut self, interval: usize, row: Row, what: &'static str) {
        *at(self.counts.entry((row, what)).or_default(), interval) += 1;
    }

    fn usage(&mut self, function: &str, interval: usize) -> &mut Usage {
        if !self.usage.contains_key(function) {
            self.usage.insert(function.to_owned(), Vec::new());
        }
        at(self.usage.entry(function.to_owned()).or_default(), interval / INTERVALS_PER_SLICE)
    }

    fn look_at_bucket(&mut self, interval: usize, time: DateTime<Utc>, lab: &Lab) {
        let seen = lab.world(|world| {
            let bucket = world.autoscaling.bucket.as_ref()?;
            Some((bucket.capacity, bucket.refill_per_second, bucket.tokens(time).max(0.0)))
        });
        let Some((capacity, refill, tokens)) = seen else { return };
        let (.., lowest) = self.bucket.get_or_insert_with(|| (capacity, refill, Vec::new()));
        let lowest = at(lowest, interval);
        *lowest = Some(lowest.map_or(tokens, |lowest| lowest.min(tokens)));
    }

    fn ended(&mut self, interval: usize, time: DateTime<Utc>, run: &Run, result: &Result<Value, RunError>) {
        let began = self.running.remove(&run.request_id).unwrap_or(time);
        let usage = self.usage(&run.function, interval);
        usage.billed_ms += billed_ms(time - began);
        usage.failed += u64::from(result.is_err());
    }

    fn state(&mut self, now: usize, ms: i64, group: &str, instance: &str, state: &str) {
        if !self.alive.contains_key(instance) {
            self.count(now, Row::Lives, "launches");
            self.alive.insert(
                instance.to_owned(),
                Lane {
                    account: 0,
                    id: instance.to_owned(),
                    group: group.to_owned(),
                    violated: false,
                    states: Vec::new(),
                    gone: None,
                    marks: Vec::new(),
                },
            );
        }
        let Some(lane) = self.alive.get_mut(instance) else { return };
        if let Some((_, before)) = lane.states.last() {
            *at(&mut self.population[*before], now) -= 1;
        }
        match class(state) {
            Some(class) => {
                *at(&mut self.population[class], now) += 1;
                lane.states.push((ms, class));
            }
            None => {
                lane.gone = Some(ms);
                self.count(now, Row::Lives, "deaths");
            }
        }
    }

    fn lay_down_gone(&mut self) {
        if let Some(lane) = self.just_gone.take() {
            self.lay_down(lane);
        }
    }

    /// A lane has come to its end.
    fn lay_down(&mut self, mut lane: Lane) {
        lane.violated |= self.kept.contains(&lane.id);
        let room = self.lanes.len() < MAX_LANES;
        if lane.violated || self.lanes_of == Lanes::All && room {
            self.lanes.push(lane);
        }
    }
}

impl Usage {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            runs: self.runs + other.runs,
            failed: self.failed + other.failed,
            billed_ms: self.billed_ms + other.billed_ms,
            calls: self.calls + other.calls,
            throttled: self.throttled + other.throttled,
        }
    }
}

/// Which of `STATES` a lifecycle state is; nothing when the instance is gone. A pause on the way into the warm
/// pool is drawn as any other pause.
fn class(state: &str) -> Option<usize> {
    Some(match state.trim_start_matches("Warmed:") {
        "Terminated" => return None,
        "Pending:Wait" => 1,
        "InService" => 2,
        "Terminating:Wait" => 3,
        "Pending" | "Pending:Proceed" => 0,
        "Terminating" | "Terminating:Proceed" => 4,
        _ if state.starts_with("Warmed:") => 5,
        _ => 6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lanes that are kept of two instances, of which one is accused when it goes.
    fn kept(lanes: Lanes) -> anyhow::Result<Vec<(String, bool)>> {
        fleet::runtime::paused()?.block_on(async {
            let began = "2026-05-04T07:00:00Z".parse()?;
            let lab = Lab::new(began, 7);
            let mut recording = Recording::new(began, Duration::from_secs(3_600), lanes);
            for state in ["Pending", "InService", "Terminated"] {
                for id in ["i-0good", "i-0bad"] {
                    let (group, instance) = ("web".to_owned(), id.to_owned());
                    let what = What::Seen(Sight::State { group, instance, state });
                    recording.see(&Moment { at: began, what }, &[id.to_owned()], &lab);
                    if state == "Terminated" && id == "i-0bad" {
                        recording.keep(id);
                    }
                }
            }
            recording.come_from(3);
            Ok(recording.lanes.into_iter().map(|lane| (lane.id, lane.violated)).collect())
        })
    }

    #[test]
    fn whoever_is_accused_when_it_goes_is_kept_in_every_account() -> anyhow::Result<()> {
        let (good, bad) = (("i-0good".to_owned(), false), ("i-0bad".to_owned(), true));
        assert_eq!(kept(Lanes::All)?, [good, bad.clone()]);
        assert_eq!(kept(Lanes::OfViolations)?, [bad]);
        Ok(())
    }
}
