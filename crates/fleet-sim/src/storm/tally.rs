//! What is counted in a storm, in sums that accounts are added up by.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::invariant::Invariant;

/// Sums over one account or several.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) instances: u64,
    /// Lifecycle actions by hook and by how they ended.
    pub(super) actions: BTreeMap<(String, &'static str), u64>,
    /// Commands by their last status.
    pub(super) commands: BTreeMap<&'static str, u64>,
    /// Images by their last state.
    pub(super) images: BTreeMap<&'static str, u64>,
    /// What became of the launch template and of the backups that it follows.
    pub(super) templates: BTreeMap<&'static str, u64>,
    /// What is not as one would wish, and is a stated limit or the doing of a fault.
    pub(super) limits: BTreeMap<&'static str, u64>,
    /// When something took how many milliseconds, by what they are measured from and to.
    pub(super) latencies: BTreeMap<&'static str, Vec<(DateTime<Utc>, u64)>>,
    /// How often it was looked whether each invariant holds, and how often it did not.
    pub(super) checks: BTreeMap<Invariant, (u64, u64)>,
    /// Runs by function: all, and those that ended in an error.
    pub(super) runs: BTreeMap<String, (u64, u64)>,
    /// Events that Lambda had no room for when they came, by function.
    pub(super) no_room: BTreeMap<String, u64>,
    /// Calls by function: all, and those that AWS throttled.
    pub(super) calls: BTreeMap<String, (u64, u64)>,
    /// Calls to Auto Scaling, the operator's too: all, and those that its bucket refused.
    pub(super) bucket: (u64, u64),
    /// Events by the fault that they met.
    pub(super) events: BTreeMap<String, u64>,
    /// Events that the failure queues keep.
    pub(super) failures: u64,
    pub(super) lab_time: TimeDelta,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.instances += other.instances;
        self.failures += other.failures;
        self.lab_time += other.lab_time;
        self.bucket = (self.bucket.0 + other.bucket.0, self.bucket.1 + other.bucket.1);
        add(&mut self.actions, &other.actions);
        add(&mut self.commands, &other.commands);
        add(&mut self.images, &other.images);
        add(&mut self.templates, &other.templates);
        add(&mut self.limits, &other.limits);
        add(&mut self.no_room, &other.no_room);
        add(&mut self.events, &other.events);
        for (what, values) in &other.latencies {
            self.latencies.entry(what).or_default().extend(values);
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

    pub(super) fn took(&mut self, what: &'static str, from: DateTime<Utc>, to: DateTime<Utc>) {
        let ms = u64::try_from((to - from).num_milliseconds()).unwrap_or_default();
        self.latencies.entry(what).or_default().push((to, ms));
    }
}

fn add<K: Ord + Clone>(mine: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (key, count) in theirs {
        *mine.entry(key.clone()).or_default() += count;
    }
}
