//! Decides what to do with one target: a pure function of the wanted state, the present capacity and the tags. Also
//! the capacity, and the text that remembers it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

/// Tag: the capacity that a stop found: `min=2,max=6`.
pub const REMEMBERED: &str = "lifecycle/remembered";
/// Tag of the operator: the target is not stopped until this time (RFC 3339).
pub const KEEP_AWAKE_UNTIL: &str = "keep-awake-until";

/// The bounds of a target's capacity. Displays as `2/6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Minimum of tasks.
    pub min: i32,
    /// Maximum of tasks.
    pub max: i32,
}

impl Capacity {
    /// The capacity of a stopped target. Every other capacity is on.
    pub const OFF: Self = Self { min: 0, max: 0 };

    /// The text that remembers it.
    pub fn memory(self) -> String {
        format!("min={},max={}", self.min, self.max)
    }

    /// Parses a remembered capacity. `None` if no stop can have written it.
    pub fn of_memory(text: &str) -> Option<Self> {
        let (min, max) = text.strip_prefix("min=")?.split_once(",max=")?;
        let capacity = Self { min: min.parse().ok()?, max: max.parse().ok()? };
        let sound = 0 <= capacity.min && capacity.min <= capacity.max && capacity != Self::OFF;
        // Only stops write the memory, so it must have exactly their spelling.
        (sound && capacity.memory() == text).then_some(capacity)
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.min, self.max)
    }
}

/// The wanted state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Any capacity but 0/0.
    On,
    /// 0/0.
    Off,
}

impl Wanted {
    /// As the answer spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The rules that apply to all targets of a run.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The wanted state.
    pub wanted: Wanted,
    /// The capacity of a started target without a remembered capacity.
    pub capacity: Capacity,
    /// Whether stops remember the capacity and starts restore it.
    pub remember: bool,
    /// The current time.
    pub now: DateTime<Utc>,
}

/// The tags that decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// The value of [`REMEMBERED`].
    pub remembered: Option<String>,
    /// The value of [`KEEP_AWAKE_UNTIL`].
    pub keep_awake_until: Option<String>,
}

/// The result of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The target was off and is now on.
    Started,
    /// The target was on and is now off.
    Stopped,
    /// The target was already in the wanted state.
    Unchanged,
    /// The target should be off, but a tag keeps it awake.
    KeptAwake,
}

impl Verdict {
    /// All results.
    pub const ALL: [Self; 4] = [Self::Started, Self::Stopped, Self::Unchanged, Self::KeptAwake];

    /// As the answer spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Unchanged => "unchanged",
            Self::KeptAwake => "kept-awake",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The calls for a target, in this order: remember, register, forget. A run that is killed between two of them may
/// leave an obsolete memory, but never loses one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The result of the target.
    pub verdict: Verdict,
    /// The new value of [`REMEMBERED`].
    pub remember: Option<String>,
    /// The capacity to register.
    pub register: Option<Capacity>,
    /// The tags to remove.
    pub forget: Vec<&'static str>,
    /// The reason, if it is not obvious.
    pub reason: Option<String>,
    /// Whether an operator should look at the target.
    pub odd: bool,
}

impl Rules {
    /// Whether the decision about a target with this capacity needs its tags. `None` means not registered.
    pub fn need_tags(&self, found: Option<Capacity>) -> bool {
        let Some(found) = found else {
            return false;
        };
        match (self.wanted, found == Capacity::OFF) {
            (Wanted::Off, off) => !off,
            (Wanted::On, true) => self.remember,
            // A start of a target that is on changes nothing. It may still have a memory, from a start that was
            // killed. The next stop overwrites it; removing it here could remove one that a stop writes now.
            (Wanted::On, false) => false,
        }
    }

    /// Whether a target that is off without a memory may have been started by another run since, which removed the
    /// memory. Then its capacity must be read again before a start.
    pub fn may_be_outrun(&self, found: Option<Capacity>, tags: &Tags) -> bool {
        self.wanted == Wanted::On
            && self.remember
            && found == Some(Capacity::OFF)
            && tags.remembered.is_none()
    }

    /// The plan for a target with this capacity and these tags, if they were needed. `None` means not registered.
    pub fn plan(&self, found: Option<Capacity>, tags: &Tags) -> Plan {
        let is_off = found.is_none_or(|found| found == Capacity::OFF);
        match (self.wanted, found) {
            (Wanted::On, _) if is_off => self.start(found, tags),
            (Wanted::On, _) => Plan::new(Verdict::Unchanged),
            (Wanted::Off, Some(found)) if !is_off => self.stop(found, tags),
            (Wanted::Off, Some(_)) => Plan::new(Verdict::Unchanged),
            // There is no capacity to remember yet.
            (Wanted::Off, None) => Plan { register: Some(Capacity::OFF), ..Plan::new(Verdict::Stopped) },
        }
    }

    fn start(&self, found: Option<Capacity>, tags: &Tags) -> Plan {
        let memory = tags.remembered.as_deref().filter(|_| self.remember);
        let known = memory.and_then(Capacity::of_memory);
        let capacity = known.unwrap_or(self.capacity);
        let origin = match (known, memory) {
            (Some(_), _) => "the capacity that the stop found".to_owned(),
            (None, Some(bad)) => {
                format!("the configured capacity: {REMEMBERED}={bad:?} is not a remembered capacity")
            }
            (None, None) if found.is_none() => {
                "the configured capacity: the target was not registered".to_owned()
            }
            (None, None) if self.remember => "the configured capacity: nothing was remembered".to_owned(),
            (None, None) => "the configured capacity".to_owned(),
        };
        let idle = if capacity.min == 0 { "; with a minimum of 0 no task starts by itself" } else { "" };
        Plan {
            register: Some(capacity),
            forget: self.outdated(tags),
            reason: Some(origin + idle),
            odd: known.is_none() && memory.is_some(),
            ..Plan::new(Verdict::Started)
        }
    }

    fn stop(&self, found: Capacity, tags: &Tags) -> Plan {
        if let Some(until) = &tags.keep_awake_until {
            match DateTime::parse_from_rfc3339(until) {
                Ok(time) if time > self.now => {
                    let reason = Some(format!("{KEEP_AWAKE_UNTIL} {until}"));
                    return Plan { reason, ..Plan::new(Verdict::KeptAwake) };
                }
                Ok(_) => {}
                Err(_) => {
                    let reason = Some(format!(
                        "{KEEP_AWAKE_UNTIL}={until:?} is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00"
                    ));
                    return Plan { reason, odd: true, ..Plan::new(Verdict::KeptAwake) };
                }
            }
        }
        let memory = found.memory();
        let known = tags.remembered.as_ref() == Some(&memory);
        Plan {
            remember: (self.remember && !known).then_some(memory),
            register: Some(Capacity::OFF),
            forget: self.outdated(tags),
            ..Plan::new(Verdict::Stopped)
        }
    }

    /// The obsolete tags: a memory, unless this is a stop that remembers, and a `keep-awake-until` in the past.
    fn outdated(&self, tags: &Tags) -> Vec<&'static str> {
        let keeps = self.wanted == Wanted::Off && self.remember;
        let past = |until: &String| DateTime::parse_from_rfc3339(until).is_ok_and(|time| time <= self.now);
        let memory = tags.remembered.as_ref().filter(|_| !keeps).map(|_| REMEMBERED);
        let until = tags.keep_awake_until.as_ref().filter(|until| past(until)).map(|_| KEEP_AWAKE_UNTIL);
        memory.into_iter().chain(until).collect()
    }
}

impl Plan {
    fn new(verdict: Verdict) -> Self {
        Self { verdict, remember: None, register: None, forget: Vec::new(), reason: None, odd: false }
    }
}
