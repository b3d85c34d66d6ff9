//! What is to be done with one target: a pure function of what is wanted, what was found and what its
//! tags say. Also the capacity, and the text that remembers one.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

/// Tag: the capacity that a stop found: `min=2,max=6`.
pub const REMEMBERED: &str = "lifecycle/remembered";
/// Tag, written by people: until when the target is not put to sleep, as RFC 3339.
pub const KEEP_AWAKE_UNTIL: &str = "keep-awake-until";

/// The bounds of a target's capacity. Displays as `2/6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// At least so many tasks.
    pub min: i32,
    /// At most so many.
    pub max: i32,
}

impl Capacity {
    /// What a sleeping target has. Everything else is on.
    pub const OFF: Self = Self { min: 0, max: 0 };

    /// The text that remembers it.
    pub fn memory(self) -> String {
        format!("min={},max={}", self.min, self.max)
    }

    /// Reads a memory: only a capacity that a stop can have found.
    pub fn of_memory(text: &str) -> Option<Self> {
        let (min, max) = text.strip_prefix("min=")?.split_once(",max=")?;
        let capacity = Self { min: min.parse().ok()?, max: max.parse().ok()? };
        let sound = 0 <= capacity.min && capacity.min <= capacity.max && capacity != Self::OFF;
        // Nobody but a stop writes it, so it looks exactly as a stop writes it.
        (sound && capacity.memory() == text).then_some(capacity)
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.min, self.max)
    }
}

/// What a target should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Anything but 0/0.
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

/// What of the configuration and the order decides about every target alike.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What targets should be.
    pub wanted: Wanted,
    /// The capacity of a target that comes on and remembers none.
    pub capacity: Capacity,
    /// Whether stops remember and starts restore.
    pub remember: bool,
    /// The time.
    pub now: DateTime<Utc>,
}

/// The tags that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// The value of [`REMEMBERED`].
    pub remembered: Option<String>,
    /// The value of [`KEEP_AWAKE_UNTIL`].
    pub keep_awake_until: Option<String>,
}

/// How a target was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was off and is on.
    Started,
    /// It was on and is off.
    Stopped,
    /// It was as it should be.
    Unchanged,
    /// It should be off, and a tag keeps it awake.
    KeptAwake,
}

impl Verdict {
    /// All of them.
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

/// What is to be done with a target, in this order: remember, register, forget. So a run that is killed
/// between two of them leaves a memory too many, and never one too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How the target ends.
    pub verdict: Verdict,
    /// The value that [`REMEMBERED`] gets.
    pub remember: Option<String>,
    /// The capacity that it is registered with.
    pub register: Option<Capacity>,
    /// Tags that are removed.
    pub forget: Vec<&'static str>,
    /// Why, where that does not go without saying.
    pub reason: Option<String>,
    /// Whether a person should look at it.
    pub odd: bool,
}

impl Rules {
    /// Whether a decision about a target with this capacity, if it is registered, needs its tags.
    pub fn need_tags(&self, found: Option<Capacity>) -> bool {
        let Some(found) = found else {
            return false;
        };
        match (self.wanted, found == Capacity::OFF) {
            (Wanted::Off, off) => !off,
            (Wanted::On, true) => self.remember,
            // A start of what is on changes nothing. A memory that it may still have, from a start that was
            // killed, is overwritten by the next stop; to remove it here could remove one that a stop writes now.
            (Wanted::On, false) => false,
        }
    }

    /// Whether the missing memory of a target that was found off may mean that another run has started it
    /// since, and has forgotten the memory: then it must be looked at again before it is started.
    pub fn may_be_outrun(&self, found: Option<Capacity>, tags: &Tags) -> bool {
        self.wanted == Wanted::On
            && self.remember
            && found == Some(Capacity::OFF)
            && tags.remembered.is_none()
    }

    /// What is to be done with a target that was found with this capacity, if it is registered, and with
    /// these tags, if they were needed.
    pub fn plan(&self, found: Option<Capacity>, tags: &Tags) -> Plan {
        let is_off = found.is_none_or(|found| found == Capacity::OFF);
        match (self.wanted, found) {
            (Wanted::On, _) if is_off => self.start(found, tags),
            (Wanted::On, _) => Plan::new(Verdict::Unchanged),
            (Wanted::Off, Some(found)) if !is_off => self.stop(found, tags),
            (Wanted::Off, Some(_)) => Plan::new(Verdict::Unchanged),
            // There is nothing yet that could be remembered.
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
                format!("the configured capacity, because {REMEMBERED}={bad:?} is no memory of one")
            }
            (None, None) if found.is_none() => "the configured capacity: it was not registered".to_owned(),
            (None, None) if self.remember => "the configured capacity: nothing was remembered".to_owned(),
            (None, None) => "the configured capacity".to_owned(),
        };
        let idle = if capacity.min == 0 { "; at a minimum of 0 no task starts by itself" } else { "" };
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
                        "{KEEP_AWAKE_UNTIL}={until:?} is no RFC 3339 time such as 2026-11-21T22:00:00+01:00"
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

    /// The tags that have had their time: a memory, unless this is a stop that remembers, and a
    /// `keep-awake-until` that is past.
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
