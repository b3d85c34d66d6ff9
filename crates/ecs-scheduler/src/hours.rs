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
use lambda_kit::config::digits;
use lambda_kit::error::cut;

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

/// Minutes of a week.
const WEEK: usize = 7 * MIDNIGHT as usize;

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

/// Hours on some days: `MON-FRI 09:00-18:00`, `MON,WED,SAT#1 10:00-12:00`. Days can continue over Sunday (`FRI-MON`),
/// hours over midnight (`22:00-02:00`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    days: Vec<Days>,
    /// Minutes after midnight, less than `MIDNIGHT`.
    start: u16,
    /// Minutes after midnight, at most `MIDNIGHT` and never equal to `start`. A value below `start` is on the next
    /// day.
    end: u16,
}

/// Days on which a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Days {
    /// From one weekday to another, both included.
    Range(Weekday, Weekday),
    /// The n-th such weekday of a month: 1 to 5.
    Nth(Weekday, i8),
}

impl Days {
    fn contain(self, day: Date) -> bool {
        match self {
            Self::Range(..) => self.contain_weekday(day.weekday()),
            Self::Nth(weekday, nth) => day.weekday() == weekday && (day.day() - 1) / 7 + 1 == nth,
        }
    }

    fn contain_weekday(self, day: Weekday) -> bool {
        match self {
            Self::Range(first, last) => first.until(day) <= first.until(last),
            Self::Nth(weekday, _) => day == weekday,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let day = |name: &str| {
            let found = DAYS.iter().find(|(known, _)| *known == name).map(|(_, day)| *day);
            found.ok_or_else(|| format!("{name:?} is not one of MON, TUE, WED, THU, FRI, SAT, SUN"))
        };
        if let Some((name, nth)) = text.split_once(['#', '=']) {
            let number = digits(nth).filter(|nth| (1..=5).contains(nth));
            let number = number.ok_or_else(|| format!("{nth:?} is not the number of a weekday, 1 to 5"))?;
            return Ok(Self::Nth(day(name)?, number));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Self::Range(day(first)?, day(last)?))
    }
}

/// The spelling in the variable.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: Weekday| DAYS[day.to_monday_zero_offset() as usize].0;
        match *self {
            Self::Range(first, last) if first == last => f.write_str(name(first)),
            Self::Range(first, last) => write!(f, "{}-{}", name(first), name(last)),
            Self::Nth(day, nth) => write!(f, "{}#{nth}", name(day)),
        }
    }
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
        (open && self.days.iter().any(|days| days.contain(day))).then_some(day)
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{:?} is not a window such as MON-FRI 09:00-18:00: {why}", cut(text));
        let (days, hours) = text.split_once(' ').ok_or_else(|| wrong("it needs days, a space and hours"))?;
        let days = days.split([',', '.']).map(Days::parse).collect::<Result<_, _>>();
        let (start, end) =
            hours.trim().split_once('-').ok_or_else(|| wrong("its hours need a - between start and end"))?;
        let time = |time: &str| {
            of_time(time).ok_or_else(|| wrong(&format!("{time:?} is not a time of day from 00:00 to 24:00")))
        };
        let window = Self { days: days.map_err(|why| wrong(&why))?, start: time(start)?, end: time(end)? };
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
        let days: Vec<_> = self.days.iter().map(ToString::to_string).collect();
        let [start, end] = [self.start, self.end].map(|time| format!("{:02}:{:02}", time / 60, time % 60));
        write!(f, "{} {start}-{end}", days.join(","))
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

/// Parses windows separated by `;` or `+`.
///
/// # Errors
/// A part of the text is invalid.
pub fn windows(text: &str) -> Result<Vec<Window>, String> {
    text.split([';', '+']).map(|window| window.trim().parse()).collect()
}

/// The moments of a week at which services would be off for one minute between two windows: `MON 23:59`. Whoever
/// wrote such windows meant `24:00`.
pub fn gaps(windows: &[Window]) -> Vec<String> {
    let on = |day: usize, minute: u16| {
        let before = (day + 6) % 7;
        windows.iter().any(|window| {
            let begins = |day: usize| window.days.iter().any(|days| days.contain_weekday(DAYS[day].1));
            match window.end < window.start {
                true => minute >= window.start && begins(day) || minute < window.end && begins(before),
                false => (window.start..window.end).contains(&minute) && begins(day),
            }
        })
    };
    let at = |minute: usize| {
        let minute = minute % WEEK;
        on(minute / MIDNIGHT as usize, (minute % MIDNIGHT as usize) as u16)
    };
    let gap = |minute: &usize| !at(*minute) && at(minute + WEEK - 1) && at(minute + 1);
    let name = |minute: usize| {
        let (day, minute) = (minute / MIDNIGHT as usize, minute % MIDNIGHT as usize);
        format!("{} {:02}:{:02}", DAYS[day].0, minute / 60, minute % 60)
    };
    (0..WEEK).filter(gap).map(name).collect()
}

/// The warning about one of [`gaps`].
pub fn gap_text(gap: &str) -> String {
    format!(
        "{gap} is outside the working hours for one minute: a window ends before 24:00, or before the next one begins"
    )
}

/// Parses the value of a service's tag: windows, and after an `@` their time zone.
///
/// # Errors
/// A part of the text is invalid.
pub fn tag(text: &str, default: &TimeZone) -> Result<(Vec<Window>, TimeZone), String> {
    match text.split_once('@') {
        Some((hours, name)) => Ok((windows(hours)?, zone(name.trim())?)),
        None => Ok((windows(text)?, default.clone())),
    }
}

/// Parses the name of an IANA time zone. Upper and lower case matter.
///
/// # Errors
/// There is no time zone with this name.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    // jiff has a zone for "unknown" and ignores upper and lower case.
    let known = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown() && zone.iana_name() == Some(name));
    known.ok_or_else(|| format!("{:?} is not an IANA time zone such as Europe/Berlin", cut(name)))
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
