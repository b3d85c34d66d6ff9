//! Checks that each failure is told, by a line that is the metric `Failures`, and that nothing else is. Only a run that
//! nothing disturbed must tell: one that was killed can't.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::Observer;
use super::life::{self, Hold, Life};
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

/// A run tells at its end: within the longest time limit of a sweep, and a moment.
const LONGEST_RUN: TimeDelta = TimeDelta::seconds(130);

/// What was told, and what must be.
#[derive(Default)]
pub(super) struct Telling {
    /// Lines about instances.
    told: VecDeque<Told>,
    expected: VecDeque<Expected>,
    /// Runs that were disturbed, or failed, and when they ended.
    disturbed: VecDeque<(DateTime<Utc>, String)>,
    /// What may be told of instances that are gone, and since when they are.
    epitaphs: BTreeMap<String, (DateTime<Utc>, BTreeSet<&'static str>)>,
}

struct Told {
    at: DateTime<Utc>,
    word: &'static str,
    instance: String,
}

/// A failure of which a line must tell.
struct Expected {
    /// The words, of which one must be told.
    words: &'static [&'static str],
    from: DateTime<Utc>,
    due: DateTime<Utc>,
    instance: String,
    history: Vec<String>,
    /// The runs that could tell.
    runs: BTreeSet<String>,
}

impl Telling {
    /// A run ended that was disturbed.
    pub(super) fn disturbed(&mut self, at: DateTime<Utc>, run: &str) {
        self.disturbed.push_back((at, run.to_owned()));
    }
}

/// Whether a line is the metric `Failures`.
pub(super) fn is_failure(line: &str) -> bool {
    line.contains("\"Failures\":1")
}

impl Observer {
    /// A function wrote a line.
    pub(super) fn logged(&mut self, at: DateTime<Utc>, function: &str, line: &str) {
        if !is_failure(line) {
            return;
        }
        self.check(Invariant::NothingElseTold);
        let fields: Value = serde_json::from_str(line).unwrap_or_default();
        let word = fields["failure"].as_str().unwrap_or_default();
        let Some(word) = WORDS.into_iter().find(|known| *known == word) else {
            let what = format!("{function} told a failure that has no word: {line}");
            return self.violate(Invariant::NothingElseTold, what);
        };
        *self.tally.told.entry(word).or_default() += 1;
        let instances = life::instances_in(&[line.to_owned()]);
        for instance in &instances {
            self.telling.told.push_back(Told { at, word, instance: instance.clone() });
        }
        let recently = |disturbed: &DateTime<Utc>| at - *disturbed <= LONGEST_RUN;
        // What nobody can be sure of while AWS fails is told, and may be.
        if self.disturbed.get(function).is_some_and(recently) && !is_of_work(word) {
            return;
        }
        let may = instances.iter().any(|id| match self.lives.get(id) {
            Some(life) => self.may_be_told(life, at).contains(word),
            None => self.telling.epitaphs.get(id).is_some_and(|(_, words)| words.contains(word)),
        });
        if !may {
            let what = format!("{function} told a failure that is none: {line}");
            match instances.first().and_then(|id| self.lives.remove(id)) {
                Some(life) => {
                    self.violate_of(Invariant::NothingElseTold, &life, what);
                    self.lives.insert(life.id.clone(), life);
                }
                None => self.violate(Invariant::NothingElseTold, what),
            }
        }
    }

    /// A wait was completed: which failure must be told, if any?
    pub(super) fn expect_telling(&mut self, life: &Life, hold: &Hold) {
        let Some(completion) = &hold.completed else { return };
        let words = match life.group.starts_with(APPS) {
            _ if hold.launching => None,
            true => failure_of_drain(life, hold, completion.at),
            false => self.failure_of_death(life, hold, completion.at),
        };
        self.check(Invariant::FailureTold);
        if let Some(words) = words {
            self.telling.expected.push_back(Expected {
                words,
                from: hold.since,
                due: completion.at + LONGEST_RUN,
                instance: life.id.clone(),
                history: life.history.clone(),
                runs: completion.runs.clone(),
            });
        }
    }

    /// Judges what should have been told by now.
    pub(super) fn settle_tellings(&mut self, now: DateTime<Utc>) {
        while let Some(expected) = self.telling.expected.pop_front_if(|expected| expected.due < now) {
            let Telling { told, disturbed, .. } = &self.telling;
            let is_told = told.iter().any(|told| {
                told.instance == expected.instance
                    && told.at >= expected.from
                    && expected.words.contains(&told.word)
            });
            if is_told {
                continue;
            }
            if disturbed.iter().any(|(_, run)| expected.runs.contains(run)) {
                self.limit("a failure that was not told: the run was disturbed");
                continue;
            }
            let what =
                format!("{}: its failure was not told ({})", expected.instance, expected.words.join(" or "));
            self.violate_with(Invariant::FailureTold, &expected.instance, expected.history, what);
        }
        // Nothing waits for longer than this.
        let old = now.checked_sub_signed(TimeDelta::days(3)).unwrap_or(now);
        let lately = now.checked_sub_signed(TimeDelta::hours(1)).unwrap_or(now);
        let Telling { told, disturbed, epitaphs, .. } = &mut self.telling;
        while told.pop_front_if(|told| told.at < old).is_some() {}
        while disturbed.pop_front_if(|(at, _)| *at < lately).is_some() {}
        if epitaphs.len() > MAX_EPITAPHS {
            epitaphs.retain(|_, (gone, _)| *gone >= lately);
        }
    }

    /// The instance is gone; a run can still tell of it.
    pub(super) fn remember_what_may_be_told(&mut self, at: DateTime<Utc>, life: &Life) {
        let words = self.may_be_told(life, at);
        self.telling.epitaphs.insert(life.id.clone(), (at, words));
    }

    /// The failures of an instance's work so far.
    fn may_be_told(&self, life: &Life, at: DateTime<Utc>) -> BTreeSet<&'static str> {
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
        if (life.unreachable || undelivered) && !excused {
            words.insert("unreachable");
        }
        if life.images.values().any(|image| image.state == "failed" || image.state == "pending") {
            words.insert("image-failed");
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
            let usable = made.any(|image| image.state == "available" && image.since <= at);
            return (!usable).then_some(&["image-failed", "sweep-incomplete"]);
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
        return Some(&["drain-failed", "sweep-incomplete"]);
    }
    let reachable = sent.is_empty() && !hold.unreachable;
    (!reachable && !is_excused(life, hold)).then_some(&["unreachable", "drain-failed", "sweep-incomplete"])
}
