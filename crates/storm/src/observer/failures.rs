//! Checks that each failure is reported, by a line that is the metric `Failures`, and nothing else. A run that was
//! disturbed need not report: it may have been killed.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::Observer;
use super::life::{self, CommandSeen, Hold, ImageSeen, Life};
use super::reports::{Expected, Reports, Seen, is_failure};
use crate::invariant::Invariant;
use crate::scene::{APPS, MAX_IMAGES_PER_HOUR};

/// The words of the failures, which are part of the functions' interface.
const WORDS: [&str; 13] = [
    "drain-failed",
    "unreachable",
    "image-refused",
    "image-failed",
    "image-skipped",
    "not-recorded",
    "sweep-incomplete",
    "retention-failed",
    "retained",
    "memory-missing",
    "not-stored",
    "not-in-effect",
    "tag-doubtful",
];

/// A run reports at its end: within the longest time limit of a sweep, and a moment.
const LONGEST_RUN: TimeDelta = TimeDelta::seconds(130);

impl Observer {
    /// A function wrote a line.
    pub(super) fn logged(&mut self, at: DateTime<Utc>, function: &str, line: &str) {
        if !is_failure(line) {
            return;
        }
        self.check(Invariant::NothingElseReported);
        let fields: Value = serde_json::from_str(line).unwrap_or_default();
        let word = fields["failure"].as_str().unwrap_or_default();
        let Some(word) = WORDS.into_iter().find(|known| *known == word) else {
            let what = format!("{function} reported a failure without a known word: {line}");
            return self.violate(Invariant::NothingElseReported, what);
        };
        *self.tally.reported.entry(word).or_default() += 1;
        let instances = life::instances_in(&[line.to_owned()]);
        for instance in &instances {
            self.reports.seen.push_back(Seen { at, word, instance: instance.clone() });
        }
        let recently = |disturbed: &DateTime<Utc>| at - *disturbed <= LONGEST_RUN;
        // While AWS fails, a run may report what it could not do.
        let disturbed = self.disturbed.get(function).is_some_and(recently);
        if disturbed && !is_of_work(word) {
            return;
        }
        let may = instances.iter().any(|id| match self.lives.get(id) {
            Some(life) => self.reportable(life, at, disturbed).contains(word),
            None => self.reports.epitaphs.get(id).is_some_and(|(_, words)| words.contains(word)),
        });
        if !may {
            let what = format!("{function} reported a failure that is none: {line}");
            match instances.first().and_then(|id| self.lives.remove(id)) {
                Some(life) => {
                    self.violate_of(Invariant::NothingElseReported, &life, what);
                    self.lives.insert(life.id.clone(), life);
                }
                None => self.violate(Invariant::NothingElseReported, what),
            }
        }
    }

    /// A wait was completed: which failure must be reported, if any?
    pub(super) fn expect_report(&mut self, life: &Life, hold: &Hold) {
        let Some(completion) = &hold.completed else { return };
        let words = match life.group.starts_with(APPS) {
            _ if hold.launching => None,
            true => failure_of_drain(life, hold, completion.at),
            false => self.failure_of_death(life, hold, completion.at),
        };
        self.check(Invariant::FailureReported);
        if let Some(words) = words {
            self.reports.expected.push_back(Expected {
                words,
                from: hold.since,
                due: completion.at + LONGEST_RUN,
                instance: life.id.clone(),
                history: life.history.clone(),
                runs: completion.runs.clone(),
            });
        }
    }

    /// Judges the failures that should be reported by now.
    pub(super) fn settle_reports(&mut self, now: DateTime<Utc>) {
        while let Some(expected) = self.reports.expected.pop_front_if(|expected| expected.due < now) {
            let Reports { seen, disturbed, .. } = &self.reports;
            let is_reported = seen.iter().any(|seen| {
                seen.instance == expected.instance
                    && seen.at >= expected.from
                    && expected.words.contains(&seen.word)
            });
            if is_reported {
                continue;
            }
            if disturbed.iter().any(|(_, run)| expected.runs.contains(run)) {
                self.limit("a failure without a report: disturbed");
                continue;
            }
            let what = format!(
                "{}: its failure was not reported ({})",
                expected.instance,
                expected.words.join(" or ")
            );
            self.violate_with(Invariant::FailureReported, &expected.instance, expected.history, what);
        }
        // Nothing waits for longer than this.
        let old = now.checked_sub_signed(TimeDelta::days(3)).unwrap_or(now);
        let lately = now.checked_sub_signed(TimeDelta::hours(1)).unwrap_or(now);
        let Reports { seen, disturbed, epitaphs, .. } = &mut self.reports;
        while seen.pop_front_if(|seen| seen.at < old).is_some() {}
        while disturbed.pop_front_if(|(at, _)| *at < lately).is_some() {}
        if epitaphs.len() > MAX_EPITAPHS {
            epitaphs.retain(|_, (gone, _)| *gone >= lately);
        }
    }

    /// The instance is gone; a run can still report its failure.
    pub(super) fn remember_reportable(&mut self, at: DateTime<Utc>, life: &Life) {
        let words = self.reportable(life, at, true);
        self.reports.epitaphs.insert(life.id.clone(), (at, words));
    }

    /// The failures of an instance's work so far. A disturbed run may not know that an instance is ill.
    fn reportable(&self, life: &Life, at: DateTime<Utc>, disturbed: bool) -> BTreeSet<&'static str> {
        let mut words = BTreeSet::new();
        let failed = life.commands.values().any(|command| match command.ended() {
            Some(ended) => command.status_at(ended) != "Success",
            None => command.ends() <= at,
        });
        let undelivered = life.commands.values().any(|command| !command.was_delivered());
        let excused = life.hold.as_ref().is_some_and(|hold| is_excused(life, hold));
        if failed {
            words.insert("drain-failed");
        }
        if (life.unreachable || undelivered) && (disturbed || !excused) {
            words.insert("unreachable");
        }
        if life.images.values().any(|image| image.state == "failed" || image.state == "pending") {
            words.insert("image-failed");
        }
        if life.by_policy {
            words.extend([
                "drain-failed",
                "unreachable",
                "image-failed",
                "image-refused",
                "sweep-incomplete",
            ]);
        }
        if life.refused {
            words.extend(["image-refused", "sweep-incomplete"]);
        }
        if self.images_of_the_hour(&life.group, at) >= MAX_IMAGES_PER_HOUR {
            words.insert("image-skipped");
        }
        words
    }

    fn failure_of_death(
        &self,
        life: &Life,
        hold: &Hold,
        at: DateTime<Utc>,
    ) -> Option<&'static [&'static str]> {
        let mut made = life.images.values().filter(|image| image.made >= hold.since).peekable();
        if made.peek().is_some() {
            let usable = |image: &&ImageSeen| image.state == "available" && image.since <= at;
            let failed = hold.ends_soon(at) || made.clone().all(|image| image.ready_at(at));
            return (failed && made.find(usable).is_none()).then_some(&["image-failed", "sweep-incomplete"]);
        }
        if self.is_planned(life, hold) || hold.vanished || !hold.wanted {
            return None;
        }
        if hold.refused {
            return Some(&["image-refused", "sweep-incomplete"]);
        }
        let full = self.images_of_the_hour(&life.group, at) >= MAX_IMAGES_PER_HOUR;
        full.then_some(&["image-skipped"])
    }
}

/// As many instances as one account has at once, and more.
const MAX_EPITAPHS: usize = 500;

/// Whether the word says how work ended. The others say what a run could not do.
fn is_of_work(word: &str) -> bool {
    ["drain-failed", "unreachable", "image-refused", "image-failed", "image-skipped"].contains(&word)
}

/// Whether nobody could have reached the instance's agent: it is known to be ill, never served, or dies in its warm
/// pool, where it may be stopped.
fn is_excused(life: &Life, hold: &Hold) -> bool {
    !hold.healthy || !life.served || hold.state.starts_with("Warmed:Terminating")
}

fn failure_of_drain(life: &Life, hold: &Hold, at: DateTime<Utc>) -> Option<&'static [&'static str]> {
    let sent: Vec<_> = life.commands.values().filter(|command| command.sent >= hold.since).collect();
    if sent.iter().any(|command| command.status_at(at) == "Success") {
        return None;
    }
    if sent.iter().any(|command| command.was_delivered()) {
        // Who completes while they run is accused of that.
        let runs = |command: &&&CommandSeen| command.status_at(at) == "InProgress" && at < command.ends();
        let failed = hold.ends_soon(at) || !sent.iter().any(|command| runs(&command));
        return failed.then_some(&["drain-failed", "sweep-incomplete"]);
    }
    let reachable = sent.is_empty() && !hold.unreachable;
    (!reachable && !is_excused(life, hold)).then_some(&["unreachable", "drain-failed", "sweep-incomplete"])
}
