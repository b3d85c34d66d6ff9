//! The counts of a storm, summed over its accounts.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::invariant::Invariant;

/// Sums over one account or several.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) instances: u64,
    /// Lifecycle actions by hook and by how they ended.
    pub(crate) actions: BTreeMap<(String, &'static str), u64>,
    /// Commands by their last status.
    pub(crate) commands: BTreeMap<&'static str, u64>,
    /// Images by their last state.
    pub(crate) images: BTreeMap<&'static str, u64>,
    /// What became of the launch template and of the backups that it follows.
    pub(crate) templates: BTreeMap<&'static str, u64>,
    /// What is not as one would wish, and is a stated limit or the doing of a fault.
    pub(crate) limits: BTreeMap<&'static str, u64>,
    /// Failures that the functions reported, by word.
    pub(crate) reported: BTreeMap<&'static str, u64>,
    /// When something took how many milliseconds.
    pub(crate) latencies: BTreeMap<Latency, Vec<(DateTime<Utc>, u64)>>,
    /// How often it was looked whether each invariant holds, and how often it did not.
    pub(crate) checks: BTreeMap<Invariant, (u64, u64)>,
    /// Runs by function: all, and those that ended in an error.
    pub(crate) runs: BTreeMap<String, (u64, u64)>,
    /// Events that Lambda had no room for when they came, by function.
    pub(crate) no_room: BTreeMap<String, u64>,
    /// Calls by function: all, and those that AWS throttled.
    pub(crate) calls: BTreeMap<String, (u64, u64)>,
    /// Calls to Auto Scaling, the operator's too: all, and those that its bucket refused.
    pub(crate) bucket: (u64, u64),
    /// Events by the fault that they met.
    pub(crate) events: BTreeMap<String, u64>,
    /// Events that the failure queues keep.
    pub(crate) failures: u64,
    pub(crate) lab_time: TimeDelta,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.instances += other.instances;
        self.failures += other.failures;
        self.lab_time += other.lab_time;
        self.bucket = (self.bucket.0 + other.bucket.0, self.bucket.1 + other.bucket.1);
        add(&mut self.actions, &other.actions);
        add(&mut self.commands, &other.commands);
        add(&mut self.images, &other.images);
        add(&mut self.templates, &other.templates);
        add(&mut self.limits, &other.limits);
        add(&mut self.reported, &other.reported);
        add(&mut self.no_room, &other.no_room);
        add(&mut self.events, &other.events);
        for (what, values) in &other.latencies {
            self.latencies.entry(*what).or_default().extend(values);
        }
        for (invariant, (checked, violated)) in &other.checks {
            let sum = self.checks.entry(*invariant).or_default();
            *sum = (sum.0 + checked, sum.1 + violated);
        }
        for (mine, theirs) in [(&mut self.runs, &other.runs), (&mut self.calls, &other.calls)] {
            for (name, (all, bad)) in theirs {
                let sum = mine.entry(name.clone()).or_default();
                *sum = (sum.0 + all, sum.1 + bad);
            }
        }
    }

    pub(crate) fn took(&mut self, what: Latency, from: DateTime<Utc>, to: DateTime<Utc>) {
        let ms = u64::try_from((to - from).num_milliseconds()).unwrap_or_default();
        self.latencies.entry(what).or_default().push((to, ms));
    }
}

/// What is measured, by what from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Latency {
    DeathFromImage,
    DeathFromEvent,
    DrainFromCommand,
    DrainFromEvent,
    LaunchFromEvent,
}

impl Latency {
    /// The function whose completion ends it.
    pub(super) fn function(self) -> &'static str {
        match self {
            Self::DeathFromImage | Self::DeathFromEvent => ami_snapshotter::NAME,
            Self::DrainFromCommand | Self::DrainFromEvent => terminate_drainer::NAME,
            Self::LaunchFromEvent => launch_logger::NAME,
        }
    }

    /// From what to what.
    pub(super) fn span(self) -> &'static str {
        match self {
            Self::DeathFromImage => "end of the image to completion",
            Self::DrainFromCommand => "end of the command to completion",
            Self::DeathFromEvent | Self::DrainFromEvent | Self::LaunchFromEvent => "event to completion",
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::DeathFromImage | Self::DeathFromEvent => "death",
            Self::DrainFromCommand | Self::DrainFromEvent => "drain",
            Self::LaunchFromEvent => "launch",
        };
        write!(f, "{what}: {}", self.span())
    }
}

fn add<K: Ord + Clone>(mine: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (key, count) in theirs {
        *mine.entry(key.clone()).or_default() += count;
    }
}
