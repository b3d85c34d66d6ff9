//! Working hours: whether services should be on at a given time. Pure. Time zones and their clock changes come from
//! jiff and its tables, which are part of the binary.
//!
//! Hours follow the zone's clock and are half-open, [start, end). In spring the skipped hour does not occur; in
//! autumn the repeated hour counts twice. A window belongs to the day on which it begins: `FRI 22:00-02:00` ends on
//! Saturday and does not begin if Friday is a holiday.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

const DAYS: [(&str, Weekday); 7] = [
    ("MON", Weekday::Monday),
    ("TUE", Weekday::Tuesday),
    ("WED", Weekday::Wednesday),
    ("THU", Weekday::Thursday),
    ("FRI", Weekday::Friday),
    ("SAT", Weekday::Saturday),
    ("SUN", Weekday::Sunday),
];

/// `24:00`, valid only as the end of a window.
const MIDNIGHT: u16 = 24 * 60;

/// When services should be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingHours {
    /// At least one.
    pub windows: Vec<Window>,
    /// The time zone of the hours.
    pub zone: TimeZone,
    /// Dates on which no window begins.
    pub holidays: BTreeSet<Date>,
}

impl WorkingHours {
    /// Whether services should be on at `now`, and the reason.
    pub fn at(&self, now: DateTime<Utc>) -> (bool, String) {
        // jiff's time range ends with the year 9999.
        let now = Timestamp::from_second(now.timestamp()).unwrap_or(Timestamp::MAX);
        let local = self.zone.to_datetime(now);
        let minute = minutes(local.hour() as u16, local.minute() as u16);
        let open =
            self.windows.iter().filter_map(|window| Some((window, window.began(local.date(), minute)?)));
        let (holiday, working): (Vec<_>, Vec<_>) = open.partition(|(_, day)| self.holidays.contains(day));
        let zone = self.zone.iana_name().unwrap_or("UTC");
        match (working.first(), holiday.first()) {
            (Some((window, _)), _) => (true, format!("within {window} in {zone}")),
            (None, Some((window, day))) => {
                (false, format!("within {window} in {zone}, but {day} is a holiday"))
            }
            (None, None) => (false, format!("outside the working hours in {zone}")),
        }
    }
}

/// Hours on some days: `MON-FRI 09:00-18:00`, `SAT 10:00-12:00`. Days can continue over Sunday (`FRI-MON`), hours
/// over midnight (`22:00-02:00`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    first: Weekday,
    last: Weekday,
    /// Minutes after midnight, less than `MIDNIGHT`.
    start: u16,
    /// Minutes after midnight, at most `MIDNIGHT` and never equal to `start`. A value below `start` is on the next
    /// day.
    end: u16,
}

impl Window {
    /// The date on which this window began, if it includes `minute` of `today`.
    fn began(&self, today: Date, minute: u16) -> Option<Date> {
        let over_midnight = self.end < self.start;
        let day = if over_midnight && minute < self.end { today.yesterday().ok()? } else { today };
        let open = match over_midnight {
            true => minute >= self.start || minute < self.end,
            false => (self.start..self.end).contains(&minute),
        };
        let days = self.first.until(self.last);
        (open && self.first.until(day.weekday()) <= days).then_some(day)
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is not a window such as MON-FRI 09:00-18:00: {why}");
        let (days, hours) = text.split_once(' ').ok_or_else(|| wrong("it needs days, a space and hours"))?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (start, end) =
            hours.trim().split_once('-').ok_or_else(|| wrong("its hours need a - between start and end"))?;
        let day = |name: &str| {
            let found = DAYS.iter().find(|(known, _)| *known == name).map(|(_, day)| *day);
            found.ok_or_else(|| wrong(&format!("{name:?} is not one of MON, TUE, WED, THU, FRI, SAT, SUN")))
        };
        let time = |time: &str| {
            of_time(time).ok_or_else(|| wrong(&format!("{time:?} is not a time of day from 00:00 to 24:00")))
        };
        let window = Self { first: day(first)?, last: day(last)?, start: time(start)?, end: time(end)? };
        if window.start == MIDNIGHT {
            return Err(wrong("24:00 can only be the end"));
        }
        if window.start == window.end {
            return Err(wrong("start and end are equal; a whole day is 00:00-24:00"));
        }
        Ok(window)
    }
}

/// The spelling in the variable.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: Weekday| DAYS[day.to_monday_zero_offset() as usize].0;
        f.write_str(name(self.first))?;
        if self.first != self.last {
            write!(f, "-{}", name(self.last))?;
        }
        let [start, end] = [self.start, self.end].map(|time| format!("{:02}:{:02}", time / 60, time % 60));
        write!(f, " {start}-{end}")
    }
}

/// The minutes after midnight of `HH:MM`, up to `24:00`.
fn of_time(text: &str) -> Option<u16> {
    let two_digits = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (two_digits(hour)?, two_digits(minute)?);
    (minute < 60 && minutes(hour, minute) <= MIDNIGHT).then(|| minutes(hour, minute))
}

fn minutes(hour: u16, minute: u16) -> u16 {
    hour * 60 + minute
}

/// Parses windows separated by `;`.
///
/// # Errors
/// A part of the text is invalid.
pub fn windows(text: &str) -> Result<Vec<Window>, String> {
    text.split(';').map(|window| window.trim().parse()).collect()
}

/// Parses the name of an IANA time zone. Upper and lower case matter.
///
/// # Errors
/// There is no time zone with this name.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    // jiff has a zone for "unknown" and ignores upper and lower case.
    let known = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown() && zone.iana_name() == Some(name));
    known.ok_or_else(|| format!("{name:?} is not an IANA time zone such as Europe/Berlin"))
}

/// Parses dates separated by commas.
///
/// # Errors
/// A part of the text is invalid.
pub fn holidays(text: &str) -> Result<BTreeSet<Date>, String> {
    let date = |text: &str| {
        let date = text.trim().parse::<Date>().ok().filter(|date| date.to_string() == text.trim());
        date.ok_or_else(|| format!("{:?} is not a date such as 2026-12-25", text.trim()))
    };
    text.split(',').map(date).collect()
}
