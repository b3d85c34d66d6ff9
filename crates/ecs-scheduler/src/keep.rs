//! The tags with which operators keep a target awake or asleep until a time. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::error::cut;

/// Tag of the operator: the target is not stopped until this time (RFC 3339).
pub const KEEP_AWAKE_UNTIL: &str = "keep-awake-until";
/// Tag of the operator: the target is not started until this time (RFC 3339).
pub const KEEP_ASLEEP_UNTIL: &str = "keep-asleep-until";

/// A time further away is probably a mistake: longer than a holiday.
const MAX_AHEAD: TimeDelta = TimeDelta::days(30);

/// The tags of an operator on a target or a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// The value of [`KEEP_AWAKE_UNTIL`].
    pub awake_until: Option<String>,
    /// The value of [`KEEP_ASLEEP_UNTIL`].
    pub asleep_until: Option<String>,
}

/// A tag that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Until {
    /// The tag, or what is wrong with it.
    pub text: String,
    /// Why somebody should look at it, although it is obeyed.
    pub doubt: Option<String>,
}

impl Keep {
    /// Whether there is a tag at all.
    pub fn is_set(&self) -> bool {
        self.awake_until.is_some() || self.asleep_until.is_some()
    }

    /// The tag that keeps awake, if it is in force.
    pub fn awake(&self, now: DateTime<Utc>) -> Option<Until> {
        in_force(KEEP_AWAKE_UNTIL, self.awake_until.as_deref()?, now)
    }

    /// The tag that keeps asleep, if it is in force.
    pub fn asleep(&self, now: DateTime<Utc>) -> Option<Until> {
        in_force(KEEP_ASLEEP_UNTIL, self.asleep_until.as_deref()?, now)
    }

    /// Whether the time of this value is over.
    pub fn is_past(until: &str, now: DateTime<Utc>) -> bool {
        DateTime::parse_from_rfc3339(until).is_ok_and(|time| time <= now)
    }
}

/// The tag, unless its time is over. What can't be read is obeyed, because the operator meant something.
fn in_force(key: &str, until: &str, now: DateTime<Utc>) -> Option<Until> {
    let text = format!("{key} {}", cut(until));
    let doubt = match DateTime::parse_from_rfc3339(until) {
        Ok(time) if time <= now => return None,
        Ok(time) if time - MAX_AHEAD > now => {
            Some(format!("{text} is more than {} days ahead", MAX_AHEAD.num_days()))
        }
        Ok(_) => None,
        Err(_) => {
            let why = "is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00";
            Some(format!("{key}={:?} {why}", cut(until)))
        }
    };
    Some(Until { text: doubt.clone().unwrap_or(text), doubt })
}
