//! Working hours: what the syntax takes and refuses, and whether services should be on, at clock changes,
//! on holidays and over midnight.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use ecs_scheduler::hours::{self, Window, WorkingHours};
use expect_test::{Expect, expect};
use jiff::civil::Weekday;
use proptest::prelude::*;

fn working(windows: &str, zone: &str, holidays: &str) -> WorkingHours {
    WorkingHours {
        windows: hours::windows(windows).unwrap(),
        zone: hours::zone(zone).unwrap(),
        holidays: match holidays {
            "" => BTreeSet::new(),
            holidays => hours::holidays(holidays).unwrap(),
        },
    }
}

/// Compares the moments at which services are switched, looked for minute by minute, with `expected`.
fn check(hours: &WorkingHours, from: &str, days: i64, expected: Expect) {
    let from: DateTime<Utc> = from.parse().unwrap();
    let mut was = None;
    let mut changes = String::new();
    for minute in 0..=days * 24 * 60 {
        let now = from + TimeDelta::minutes(minute);
        let (on, why) = hours.at(now);
        if was != Some(on) {
            changes += &format!("{} {}: {why}\n", now.format("%a %dT%H:%MZ"), if on { "on" } else { "off" });
            was = Some(on);
        }
    }
    expected.assert_eq(&changes);
}

#[test]
fn a_week_of_hours_with_windows_over_midnight() {
    let hours = working("MON-FRI 09:00-18:00; SAT 10:00-12:00; FRI 22:00-02:00", "UTC", "");
    check(
        &hours,
        "2026-11-19T00:00:00Z",
        5,
        expect![[r#"
        Thu 19T00:00Z off: outside the working hours in UTC
        Thu 19T09:00Z on: within MON-FRI 09:00-18:00 in UTC
        Thu 19T18:00Z off: outside the working hours in UTC
        Fri 20T09:00Z on: within MON-FRI 09:00-18:00 in UTC
        Fri 20T18:00Z off: outside the working hours in UTC
        Fri 20T22:00Z on: within FRI 22:00-02:00 in UTC
        Sat 21T02:00Z off: outside the working hours in UTC
        Sat 21T10:00Z on: within SAT 10:00-12:00 in UTC
        Sat 21T12:00Z off: outside the working hours in UTC
        Mon 23T09:00Z on: within MON-FRI 09:00-18:00 in UTC
        Mon 23T18:00Z off: outside the working hours in UTC
    "#]],
    );
}

#[test]
fn days_may_run_over_sunday_and_hours_to_midnight() {
    check(
        &working("SAT-MON 20:00-24:00", "UTC", ""),
        "2026-11-20T00:00:00Z",
        4,
        expect![[r#"
        Fri 20T00:00Z off: outside the working hours in UTC
        Sat 21T20:00Z on: within SAT-MON 20:00-24:00 in UTC
        Sun 22T00:00Z off: outside the working hours in UTC
        Sun 22T20:00Z on: within SAT-MON 20:00-24:00 in UTC
        Mon 23T00:00Z off: outside the working hours in UTC
        Mon 23T20:00Z on: within SAT-MON 20:00-24:00 in UTC
        Tue 24T00:00Z off: outside the working hours in UTC
    "#]],
    );
    check(
        &working("SUN 20:00-00:00", "UTC", ""),
        "2026-11-21T00:00:00Z",
        3,
        expect![[r#"
        Sat 21T00:00Z off: outside the working hours in UTC
        Sun 22T20:00Z on: within SUN 20:00-00:00 in UTC
        Mon 23T00:00Z off: outside the working hours in UTC
    "#]],
    );
    check(
        &working("MON-SUN 00:00-24:00", "Asia/Kolkata", ""),
        "2026-11-20T00:00:00Z",
        8,
        expect![[r#"
        Fri 20T00:00Z on: within MON-SUN 00:00-24:00 in Asia/Kolkata
    "#]],
    );
}

#[test]
fn hours_begin_with_their_first_second_and_end_before_their_last() {
    let hours = working("THU 09:00-18:00", "UTC", "");
    for (time, on) in [
        ("2026-11-19T08:59:59.999Z", false),
        ("2026-11-19T09:00:00Z", true),
        ("2026-11-19T17:59:59.999Z", true),
        ("2026-11-19T18:00:00Z", false),
    ] {
        assert_eq!(hours.at(time.parse().unwrap()).0, on, "{time}");
    }
}

#[test]
fn in_spring_what_the_clock_jumps_over_does_not_come() {
    // On 2026-03-29 Berlin's clock goes from 02:00 to 03:00, at 01:00 UTC.
    let berlin = |windows| working(windows, "Europe/Berlin", "");
    check(
        &berlin("SUN 02:30-06:00"),
        "2026-03-28T22:00:00Z",
        1,
        expect![[r#"
        Sat 28T22:00Z off: outside the working hours in Europe/Berlin
        Sun 29T01:00Z on: within SUN 02:30-06:00 in Europe/Berlin
        Sun 29T04:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
    check(
        &berlin("SAT 22:00-02:30"),
        "2026-03-28T12:00:00Z",
        1,
        expect![[r#"
        Sat 28T12:00Z off: outside the working hours in Europe/Berlin
        Sat 28T21:00Z on: within SAT 22:00-02:30 in Europe/Berlin
        Sun 29T01:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
    check(
        &berlin("SUN 02:10-02:50"),
        "2026-03-28T22:00:00Z",
        1,
        expect![[r#"
        Sat 28T22:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
    check(
        &berlin("MON-SUN 09:00-18:00"),
        "2026-03-28T00:00:00Z",
        2,
        expect![[r#"
        Sat 28T00:00Z off: outside the working hours in Europe/Berlin
        Sat 28T08:00Z on: within MON-SUN 09:00-18:00 in Europe/Berlin
        Sat 28T17:00Z off: outside the working hours in Europe/Berlin
        Sun 29T07:00Z on: within MON-SUN 09:00-18:00 in Europe/Berlin
        Sun 29T16:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
}

#[test]
fn in_autumn_what_the_clock_shows_twice_counts_both_times() {
    // On 2026-10-25 Berlin's clock goes from 03:00 back to 02:00, at 01:00 UTC.
    let berlin = |windows| working(windows, "Europe/Berlin", "");
    check(
        &berlin("SUN 02:00-03:00"),
        "2026-10-24T22:00:00Z",
        1,
        expect![[r#"
        Sat 24T22:00Z off: outside the working hours in Europe/Berlin
        Sun 25T00:00Z on: within SUN 02:00-03:00 in Europe/Berlin
        Sun 25T02:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
    check(
        &berlin("SUN 01:00-06:00"),
        "2026-10-24T22:00:00Z",
        1,
        expect![[r#"
        Sat 24T22:00Z off: outside the working hours in Europe/Berlin
        Sat 24T23:00Z on: within SUN 01:00-06:00 in Europe/Berlin
        Sun 25T05:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
    check(
        &berlin("SUN 02:30-06:00"),
        "2026-10-24T22:00:00Z",
        1,
        expect![[r#"
        Sat 24T22:00Z off: outside the working hours in Europe/Berlin
        Sun 25T00:30Z on: within SUN 02:30-06:00 in Europe/Berlin
        Sun 25T01:00Z off: outside the working hours in Europe/Berlin
        Sun 25T01:30Z on: within SUN 02:30-06:00 in Europe/Berlin
        Sun 25T05:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
    check(
        &berlin("MON-SUN 09:00-18:00"),
        "2026-10-24T00:00:00Z",
        2,
        expect![[r#"
        Sat 24T00:00Z off: outside the working hours in Europe/Berlin
        Sat 24T07:00Z on: within MON-SUN 09:00-18:00 in Europe/Berlin
        Sat 24T16:00Z off: outside the working hours in Europe/Berlin
        Sun 25T08:00Z on: within MON-SUN 09:00-18:00 in Europe/Berlin
        Sun 25T17:00Z off: outside the working hours in Europe/Berlin
    "#]],
    );
}

#[test]
fn a_holiday_closes_the_windows_that_begin_on_it() {
    // 2026-12-25 is a Friday. Thursday night's shift goes on into it, Friday night's does not come.
    let hours =
        working("MON-FRI 09:00-18:00; MON-FRI 22:00-02:00", "Europe/Berlin", "2026-12-25, 2026-12-26");
    check(
        &hours,
        "2026-12-24T12:00:00Z",
        4,
        expect![[r#"
        Thu 24T12:00Z on: within MON-FRI 09:00-18:00 in Europe/Berlin
        Thu 24T17:00Z off: outside the working hours in Europe/Berlin
        Thu 24T21:00Z on: within MON-FRI 22:00-02:00 in Europe/Berlin
        Fri 25T01:00Z off: outside the working hours in Europe/Berlin
        Mon 28T08:00Z on: within MON-FRI 09:00-18:00 in Europe/Berlin
    "#]],
    );
}

#[test]
fn a_holiday_is_a_day_of_the_zone() {
    let hours = working("MON-SUN 00:00-24:00", "Pacific/Auckland", "2026-12-25");
    check(
        &hours,
        "2026-12-23T00:00:00Z",
        4,
        expect![[r#"
        Wed 23T00:00Z on: within MON-SUN 00:00-24:00 in Pacific/Auckland
        Thu 24T11:00Z off: within MON-SUN 00:00-24:00 in Pacific/Auckland, but 2026-12-25 is a holiday
        Fri 25T11:00Z on: within MON-SUN 00:00-24:00 in Pacific/Auckland
    "#]],
    );
}

#[test]
fn what_is_no_window_is_refused_with_what_is_wrong() {
    for (text, why) in [
        ("", "it needs days, a space and hours"),
        ("MON-FRI", "it needs days, a space and hours"),
        ("MON-FRI 09:00", "its hours need a - between start and end"),
        ("mon-fri 09:00-18:00", r#""mon" is not one of MON, TUE, WED, THU, FRI, SAT, SUN"#),
        ("MON- 09:00-18:00", r#""" is not one of MON, TUE, WED, THU, FRI, SAT, SUN"#),
        ("MON,WE 09:00-18:00", r#""WE" is not one of MON, TUE, WED, THU, FRI, SAT, SUN"#),
        ("SAT#6 09:00-18:00", r#""6" is not the number of a weekday, 1 to 5"#),
        ("MO-FR 09:00-18:00", r#""MO" is not one of MON, TUE, WED, THU, FRI, SAT, SUN"#),
        ("MON 9:00-18:00", r#""9:00" is not a time of day from 00:00 to 24:00"#),
        ("MON 09:00-18", r#""18" is not a time of day from 00:00 to 24:00"#),
        ("MON 09:00-18:60", r#""18:60" is not a time of day from 00:00 to 24:00"#),
        ("MON 09:00-24:01", r#""24:01" is not a time of day from 00:00 to 24:00"#),
        ("MON 09:00-25:00", r#""25:00" is not a time of day from 00:00 to 24:00"#),
        ("MON +9:00-18:00", r#""+9:00" is not a time of day from 00:00 to 24:00"#),
        ("MON 24:00-02:00", "24:00 can only be the end"),
        ("MON 09:00-09:00", "start and end are equal; a whole day is 00:00-24:00"),
    ] {
        let expected = format!("{text:?} is not a window such as MON-FRI 09:00-18:00: {why}");
        assert_eq!(text.parse::<Window>().unwrap_err(), expected);
    }
    assert!(hours::windows("MON 09:00-18:00;").is_err(), "an empty window");
}

#[test]
fn what_is_no_zone_or_no_date_is_refused() {
    for name in ["", "Berlin", "Europe/Atlantis", "Etc/Unknown", "+01:00", "local"] {
        assert!(hours::zone(name).is_err(), "{name:?}");
    }
    for name in ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "US/Eastern"] {
        assert!(hours::zone(name).is_ok(), "{name:?}");
    }
    for dates in
        ["", "2026-12-25,", "2026-12-25;2026-12-26", "25.12.2026", "2026-02-29", "2026-1-1", "20261225"]
    {
        assert!(hours::holidays(dates).is_err(), "{dates:?}");
    }
    assert_eq!(hours::holidays("2026-12-25, 2026-12-26,2026-12-25").unwrap().len(), 2);
}

const DAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

fn of_minutes(minutes: usize) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

proptest! {
    /// Random texts, and such as are nearly right.
    #[test]
    fn any_text_is_refused_or_read_as_what_it_says(
        text in ".{0,30}|(MON|WED|SUN|sun|é)(-(FRI|SAT|S))? {1,2}[0-2]?[0-9]:[0-6][0-9]-[0-2][0-9]:[0-5]0;?|\
                 2026-[01][0-9]-[0-3][0-9](, ?2026-12-2[0-9])?|(Europe|europe|Etc)/(Berlin|UTC|GMT\\+1?)"
    ) {
        if let Ok(windows) = hours::windows(&text) {
            prop_assert_eq!(windows[0].to_string(), text.replace("  ", " "));
        }
        if let Ok(zone) = hours::zone(&text) {
            prop_assert_eq!(zone.iana_name(), Some(text.as_str()));
        }
        if let Ok(days) = hours::holidays(&text) {
            prop_assert!(days.iter().all(|day| text.contains(&day.to_string())));
        }
    }

    /// Against another way to say the same: all the minutes of a week, painted window by window.
    #[test]
    fn hours_are_what_a_painted_week_shows(
        windows in prop::collection::vec((0..7_usize, 0..7_usize, 0..1_440_usize, 1..=1_440_usize), 1..4),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
        moment in 1_767_225_600..1_830_297_600_i64,
    ) {
        let windows: Vec<_> = windows.into_iter().filter(|(_, _, start, end)| start != end).collect();
        prop_assume!(!windows.is_empty());
        let mut week = [false; 7 * 1_440];
        let mut texts = Vec::new();
        for (first, last, start, end) in windows {
            texts.push(format!("{}-{} {}-{}", DAYS[first], DAYS[last], of_minutes(start), of_minutes(end)));
            let length = (end + 1_440 - start) % 1_440;
            let length = if length == 0 { 1_440 } else { length };
            for day in 0..=(last + 7 - first) % 7 {
                let from = (first + day) * 1_440 + start;
                for minute in from..from + length {
                    week[minute % week.len()] = true;
                }
            }
        }
        let hours = working(&texts.join(";"), zone, "");
        let parsed: Vec<_> = hours.windows.iter().map(|window| window.to_string().parse().unwrap()).collect();
        prop_assert_eq!(&hours.windows, &parsed);

        let now = jiff::Timestamp::from_second(moment).unwrap().to_zoned(hours.zone.clone());
        let minute = now.weekday().since(Weekday::Monday) as usize * 1_440
            + now.hour() as usize * 60
            + now.minute() as usize;
        prop_assert_eq!(hours.at(DateTime::from_timestamp_secs(moment).unwrap()).0, week[minute]);
    }
}

#[test]
fn zones_are_written_as_iana_writes_them() {
    for name in
        ["UTC", "Etc/UTC", "GMT", "EST5EDT", "Asia/Calcutta", "Asia/Seoul", "America/Argentina/Ushuaia"]
    {
        assert_eq!(hours::zone(name).unwrap().iana_name(), Some(name));
    }
    for name in ["utc", "asia/seoul", "ASIA/SEOUL", "Asia/Seoul ", "Etc/Unknown", "+09:00", "Asia", ""] {
        assert!(hours::zone(name).is_err(), "{name:?} was taken");
    }
}

#[test]
fn days_are_lists_and_n_th_weekdays_too() {
    for (text, spelled) in [
        ("MON,WED,FRI 09:00-18:00", "MON,WED,FRI 09:00-18:00"),
        ("MON.WED-THU 09:00-18:00", "MON,WED-THU 09:00-18:00"),
        ("SAT#1 10:00-12:00", "SAT#1 10:00-12:00"),
        ("SAT=5,SUN 10:00-12:00", "SAT#5,SUN 10:00-12:00"),
    ] {
        let windows = hours::windows(text).unwrap();
        assert_eq!(windows.iter().map(ToString::to_string).collect::<Vec<_>>(), [spelled]);
    }
    for text in [
        "SAT#0 10:00-12:00",
        "SAT#6 10:00-12:00",
        "SAT# 10:00-12:00",
        "MON,, 10:00-12:00",
        "MON, 10:00-12:00",
        "SAT#1-SUN 10:00-12:00",
    ] {
        assert!(hours::windows(text).is_err(), "{text}");
    }
    assert_eq!(hours::windows("MON 09:00-12:00 + TUE 13:00-18:00; WED 09:00-10:00").unwrap().len(), 3);
}

#[test]
fn the_n_th_weekday_of_a_month_is_counted_by_the_day_on_which_the_window_begins() {
    let hours = WorkingHours {
        windows: hours::windows("SAT#1 22:00-02:00; MON,WED 09:00-10:00").unwrap(),
        zone: hours::zone("UTC").unwrap(),
        holidays: Default::default(),
    };
    for (time, on) in [
        ("2026-11-07T22:00:00Z", true),
        ("2026-11-08T01:59:00Z", true),
        ("2026-11-14T22:00:00Z", false),
        ("2026-08-01T23:00:00Z", true),
        ("2026-08-02T01:00:00Z", true),
        ("2026-08-08T23:00:00Z", false),
        ("2026-11-09T09:30:00Z", true),
        ("2026-11-10T09:30:00Z", false),
        ("2026-11-11T09:30:00Z", true),
    ] {
        assert_eq!(hours.at(time.parse().unwrap()).0, on, "{time}");
    }
}

#[test]
fn a_minute_between_two_windows_is_named() {
    for (text, gaps) in [
        ("MON 20:00-23:59; TUE 00:00-06:00", vec!["MON 23:59"]),
        ("SUN 20:00-23:59; MON 00:00-06:00", vec!["SUN 23:59"]),
        ("MON-TUE 09:00-12:00; MON-TUE 12:01-18:00", vec!["MON 12:00", "TUE 12:00"]),
        ("MON 20:00-24:00; TUE 00:00-06:00", vec![]),
        ("MON 09:00-12:00; MON 13:00-18:00", vec![]),
        ("MON 20:00-23:59; TUE 00:00-06:00; MON 23:00-01:00", vec![]),
    ] {
        assert_eq!(hours::gaps(&hours::windows(text).unwrap()), gaps, "{text}");
    }
}
