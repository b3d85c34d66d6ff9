//! The capacity of a target, and the tag in which a stop remembers what it found. Pure.

use std::fmt;

use lambda_kit::config::digits;
use serde::Serialize;

/// ECS's quota of the tasks of a service. A remembered count above it comes from no stop.
pub const MAX_TASKS: i32 = 5_000;

/// The bounds of a target's capacity. Displays as `2/6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Minimum of tasks.
    pub min: i32,
    /// Maximum of tasks.
    pub max: i32,
}

impl Capacity {
    /// Off, whatever the configuration says.
    pub const OFF: Self = Self { min: 0, max: 0 };
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.min, self.max)
    }
}

/// What a stop found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The bounds of a target.
    Bounds(Capacity),
    /// The desired count of a service that had no target. The stop made the target, and the start removes it.
    Desired(i32),
}

/// A memory: what a stop found, and the capacity that it put the target to. Displays as the value of the tag:
/// `min=2:max=6`, `desired=5:asleep=1/2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What the stop found.
    pub found: Found,
    /// What it put the target to.
    pub asleep: Capacity,
}

impl Memory {
    /// Parses the value of the tag. `None` if no stop can have written it.
    pub fn parse(text: &str) -> Option<Self> {
        let memory = match text.split(':').collect::<Vec<_>>()[..] {
            // The spelling before AWS's rules for tags were known: without a colon, with a comma.
            [old] if old.contains(',') => {
                Self { found: bounds(&old.split(',').collect::<Vec<_>>())?, asleep: Capacity::OFF }
            }
            [desired] => Self { found: count(desired)?, asleep: Capacity::OFF },
            [first, second] => match second.strip_prefix("asleep=") {
                Some(asleep) => Self { found: count(first)?, asleep: pair(asleep)? },
                None => Self { found: bounds(&[first, second])?, asleep: Capacity::OFF },
            },
            [min, max, asleep] => {
                Self { found: bounds(&[min, max])?, asleep: pair(asleep.strip_prefix("asleep=")?)? }
            }
            _ => return None,
        };
        // Only stops write the memory, so it must have exactly their spelling.
        let spelled = memory.to_string() == text.replace(',', ":");
        let slept =
            memory.found != Found::Bounds(memory.asleep) && memory.found != Found::Bounds(Capacity::OFF);
        (spelled && slept).then_some(memory)
    }

    /// The memory of a target that was registered by halves while it slept: only its maximum differs from what the
    /// stop put it to. It keeps the minimum, at most the new maximum. `None` if the target was not registered so.
    pub fn merged(self, capacity: Capacity) -> Option<Self> {
        let by_halves = capacity.min == self.asleep.min && capacity.max != self.asleep.max;
        let min = match self.found {
            Found::Bounds(found) => found.min,
            Found::Desired(count) => count,
        };
        let found = Found::Bounds(Capacity { min: min.min(capacity.max), max: capacity.max });
        by_halves.then_some(Self { found, ..self })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Found::Bounds(Capacity { min, max }) => write!(f, "min={min}:max={max}")?,
            Found::Desired(count) => write!(f, "desired={count}")?,
        }
        match self.asleep {
            Capacity::OFF => Ok(()),
            asleep => write!(f, ":asleep={asleep}"),
        }
    }
}

fn bounds(parts: &[&str]) -> Option<Found> {
    let [min, max] = parts else { return None };
    sound(digits(min.strip_prefix("min=")?)?, digits(max.strip_prefix("max=")?)?).map(Found::Bounds)
}

fn count(text: &str) -> Option<Found> {
    digits(text.strip_prefix("desired=")?).filter(|count| *count > 0).map(Found::Desired)
}

fn pair(text: &str) -> Option<Capacity> {
    let (min, max) = text.split_once('/')?;
    sound(digits(min)?, digits(max)?)
}

fn sound(min: i32, max: i32) -> Option<Capacity> {
    (min <= max).then_some(Capacity { min, max })
}
