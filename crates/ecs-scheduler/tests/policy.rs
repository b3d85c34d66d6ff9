//! What is decided about one target, as a table: wanted, found and tags, and what follows.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use chrono::{DateTime, Utc};
use ecs_scheduler::plan::{Capacity, Plan, Rules, Tags, Wanted};
use expect_test::{Expect, expect};
use proptest::prelude::*;

const OFF: Option<Capacity> = Some(Capacity::OFF);
const ON: Option<Capacity> = Some(Capacity { min: 2, max: 6 });
const NEW: Option<Capacity> = None;

/// Rules of a run at six in the evening.
fn rules(wanted: Wanted) -> Rules {
    let now: DateTime<Utc> = "2026-11-19T18:00:00Z".parse().unwrap();
    Rules { wanted, capacity: Capacity { min: 1, max: 3 }, remember: true, now }
}

fn tags(remembered: &str, keep_awake_until: &str) -> Tags {
    let tag = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Tags { remembered: tag(remembered), keep_awake_until: tag(keep_awake_until) }
}

fn describe(plan: &Plan) -> String {
    let mut text = plan.verdict.as_str().to_owned();
    if let Some(memory) = &plan.remember {
        text += &format!(", remember {memory}");
    }
    if let Some(capacity) = plan.register {
        text += &format!(", register {capacity}");
    }
    if !plan.forget.is_empty() {
        text += &format!(", remove {}", plan.forget.join(" and "));
    }
    if let Some(reason) = &plan.reason {
        text += &format!(": {reason}");
    }
    if plan.odd { text + " (!)" } else { text }
}

/// One line for each case; what is in brackets are the tags, which `?` says were not read.
fn check(rules: Rules, cases: &[(Option<Capacity>, &str, &str)], expected: Expect) {
    let line = |&(found, remembered, until): &(Option<Capacity>, &str, &str)| {
        let (known, seen) = match rules.need_tags(found) {
            true => (tags(remembered, until), format!("[{remembered}] [{until}]")),
            false => (Tags::default(), "?".to_owned()),
        };
        let before = found.map_or_else(|| "new".to_owned(), |found| found.to_string());
        format!("{before} {seen} -> {}\n", describe(&rules.plan(found, &known)))
    };
    expected.assert_eq(&cases.iter().map(line).collect::<String>());
}

#[test]
fn a_stop_remembers_what_it_finds_and_respects_who_works_late() {
    let cases = [
        (ON, "", ""),
        (ON, "min=2,max=6", ""),
        (ON, "min=1,max=4", ""),
        (ON, "nonsense", ""),
        (Some(Capacity { min: 0, max: 6 }), "", ""),
        (OFF, "min=2,max=6", ""),
        (NEW, "", ""),
        (ON, "", "2026-11-19T19:00:00Z"),
        (ON, "", "2026-11-19T19:00:01+01:00"),
        (ON, "", "2026-11-19T19:00:00+01:00"),
        (ON, "", "2026-11-19T17:59:59Z"),
        (ON, "", "9pm"),
        (ON, "", "2026-11-19"),
    ];
    check(
        rules(Wanted::Off),
        &cases,
        expect![[r#"
            2/6 [] [] -> stopped, remember min=2,max=6, register 0/0
            2/6 [min=2,max=6] [] -> stopped, register 0/0
            2/6 [min=1,max=4] [] -> stopped, remember min=2,max=6, register 0/0
            2/6 [nonsense] [] -> stopped, remember min=2,max=6, register 0/0
            0/6 [] [] -> stopped, remember min=0,max=6, register 0/0
            0/0 ? -> unchanged
            new ? -> stopped, register 0/0
            2/6 [] [2026-11-19T19:00:00Z] -> kept-awake: keep-awake-until 2026-11-19T19:00:00Z
            2/6 [] [2026-11-19T19:00:01+01:00] -> kept-awake: keep-awake-until 2026-11-19T19:00:01+01:00
            2/6 [] [2026-11-19T19:00:00+01:00] -> stopped, remember min=2,max=6, register 0/0, remove keep-awake-until
            2/6 [] [2026-11-19T17:59:59Z] -> stopped, remember min=2,max=6, register 0/0, remove keep-awake-until
            2/6 [] [9pm] -> kept-awake: keep-awake-until="9pm" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00 (!)
            2/6 [] [2026-11-19] -> kept-awake: keep-awake-until="2026-11-19" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00 (!)
        "#]],
    );
}

#[test]
fn a_start_restores_only_what_a_stop_can_have_remembered() {
    let cases = [
        (OFF, "min=2,max=6", ""),
        (OFF, "min=0,max=6", ""),
        (OFF, "min=2,max=6", "2026-11-18T22:00:00Z"),
        (OFF, "min=2,max=6", "2026-11-20T22:00:00Z"),
        (OFF, "min=2,max=6", "9pm"),
        (OFF, "", ""),
        (OFF, "min=0,max=0", ""),
        (OFF, "min=6,max=2", ""),
        (OFF, "min=-1,max=2", ""),
        (OFF, "min=1,max=99999999999", ""),
        (OFF, "min=+2,max=6", ""),
        (OFF, "min=02,max=6", ""),
        (OFF, "min=2, max=6", ""),
        (OFF, "2/6", ""),
        (NEW, "", ""),
        (ON, "", ""),
    ];
    check(
        rules(Wanted::On),
        &cases,
        expect![[r#"
            0/0 [min=2,max=6] [] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
            0/0 [min=0,max=6] [] -> started, register 0/6, remove lifecycle/remembered: the capacity that the stop found; with a minimum of 0 no task starts by itself
            0/0 [min=2,max=6] [2026-11-18T22:00:00Z] -> started, register 2/6, remove lifecycle/remembered and keep-awake-until: the capacity that the stop found
            0/0 [min=2,max=6] [2026-11-20T22:00:00Z] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
            0/0 [min=2,max=6] [9pm] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
            0/0 [] [] -> started, register 1/3: the configured capacity: nothing was remembered
            0/0 [min=0,max=0] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=0,max=0" is not a remembered capacity (!)
            0/0 [min=6,max=2] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=6,max=2" is not a remembered capacity (!)
            0/0 [min=-1,max=2] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=-1,max=2" is not a remembered capacity (!)
            0/0 [min=1,max=99999999999] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=1,max=99999999999" is not a remembered capacity (!)
            0/0 [min=+2,max=6] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=+2,max=6" is not a remembered capacity (!)
            0/0 [min=02,max=6] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=02,max=6" is not a remembered capacity (!)
            0/0 [min=2, max=6] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=2, max=6" is not a remembered capacity (!)
            0/0 [2/6] [] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="2/6" is not a remembered capacity (!)
            new ? -> started, register 1/3: the configured capacity: the target was not registered
            2/6 ? -> unchanged
        "#]],
    );
}

#[test]
fn no_tags_are_read_of_what_is_as_it_should_be() {
    check(
        rules(Wanted::On),
        &[(ON, "", ""), (OFF, "", ""), (NEW, "", "")],
        expect![[r#"
            2/6 ? -> unchanged
            0/0 [] [] -> started, register 1/3: the configured capacity: nothing was remembered
            new ? -> started, register 1/3: the configured capacity: the target was not registered
        "#]],
    );
    check(
        rules(Wanted::Off),
        &[(ON, "", ""), (OFF, "", ""), (NEW, "", "")],
        expect![[r#"
        2/6 [] [] -> stopped, remember min=2,max=6, register 0/0
        0/0 ? -> unchanged
        new ? -> stopped, register 0/0
    "#]],
    );
}

#[test]
fn without_memory_a_start_reads_nothing_and_a_stop_removes_an_old_one() {
    let forgetful = |wanted| Rules { remember: false, ..rules(wanted) };
    check(
        forgetful(Wanted::On),
        &[(OFF, "min=2,max=6", ""), (ON, "", "")],
        expect![[r#"
        0/0 ? -> started, register 1/3: the configured capacity
        2/6 ? -> unchanged
    "#]],
    );
    check(
        forgetful(Wanted::Off),
        &[(ON, "min=1,max=4", ""), (ON, "", "")],
        expect![[r#"
        2/6 [min=1,max=4] [] -> stopped, register 0/0, remove lifecycle/remembered
        2/6 [] [] -> stopped, register 0/0
    "#]],
    );
}

fn capacities() -> impl Strategy<Value = Option<Capacity>> {
    let some = (0..4, 0..4).prop_map(|(min, more)| Capacity { min, max: min + more });
    prop::option::of(some)
}

proptest! {
    #[test]
    fn a_memory_is_read_as_it_was_written(min in 0..i32::MAX, more in 0..i32::MAX) {
        let capacity = Capacity { min, max: min.saturating_add(more) };
        let read = Capacity::of_memory(&capacity.memory());
        prop_assert_eq!(read, Some(capacity).filter(|capacity| *capacity != Capacity::OFF));
    }

    #[test]
    fn any_text_is_no_memory_or_one_of_something_that_is_on(text in "(min=)?[-+0-9]{0,3}(,max=)?[-+0-9]{0,3}.{0,2}") {
        if let Some(capacity) = Capacity::of_memory(&text) {
            prop_assert!(capacity != Capacity::OFF && 0 <= capacity.min && capacity.min <= capacity.max);
        }
    }

    /// Whatever is found and whatever the tags say: nothing that is off is remembered, what is to be on
    /// ends on, what is to be off ends off or was kept awake, and a second run of the same has nothing to do.
    #[test]
    fn no_plan_remembers_nothing_or_ends_in_between(
        found in capacities(),
        remembered in prop::option::of("min=[0-3],max=[0-3]|nonsense"),
        until in prop::option::of("2026-11-1[89]T22:00:00Z|9pm"),
        on: bool,
        remember: bool,
    ) {
        let wanted = if on { Wanted::On } else { Wanted::Off };
        let rules = Rules { remember, ..rules(wanted) };
        // What is not registered has no tags.
        let tags = if found.is_some() { Tags { remembered, keep_awake_until: until } } else { Tags::default() };
        let seen = if rules.need_tags(found) { tags.clone() } else { Tags::default() };
        let plan = rules.plan(found, &seen);

        let after = plan.register.or(found);
        let is_off = after == Some(Capacity::OFF);
        prop_assert_eq!(is_off, !on && plan.verdict.as_str() != "kept-awake", "{:?}", plan);
        prop_assert!(plan.remember.as_deref().is_none_or(|memory| Capacity::of_memory(memory) == found));
        if found.is_none() || plan.verdict.as_str() == "kept-awake" {
            prop_assert!(plan.remember.is_none() && plan.forget.is_empty());
        }

        let mut left = tags;
        left.remembered = plan.remember.or(left.remembered);
        if plan.forget.contains(&"lifecycle/remembered") {
            left.remembered = None;
        }
        if plan.forget.contains(&"keep-awake-until") {
            left.keep_awake_until = None;
        }
        if is_off && found.is_some_and(|found| found != Capacity::OFF) && remember {
            prop_assert_eq!(left.remembered.as_deref().and_then(Capacity::of_memory), found);
        }
        let seen = if rules.need_tags(after) { left } else { Tags::default() };
        let again = rules.plan(after, &seen);
        prop_assert!(again.remember.is_none() && again.register.is_none() && again.forget.is_empty(), "{:?}", again);
    }
}
