//! What is decided about one target, as tables: wanted, found and tags, and what follows.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use chrono::{DateTime, Utc};
use ecs_scheduler::keep::Keep;
use ecs_scheduler::memory::{Capacity, Found, MAX_TASKS, Memory};
use ecs_scheduler::plan::{Observed, Plan, Rules, Service, Tags, Verdict, Wanted};
use expect_test::{Expect, expect};
use proptest::prelude::*;

const OFF: Option<Capacity> = Some(Capacity::OFF);
const ON: Option<Capacity> = capacity(2, 6);
const NEW: Option<Capacity> = None;

const fn capacity(min: i32, max: i32) -> Option<Capacity> {
    Some(Capacity { min, max })
}

/// Rules of a run at six in the evening.
fn rules() -> Rules {
    let now: DateTime<Utc> = "2026-11-19T18:00:00Z".parse().unwrap();
    Rules {
        converge: false,
        capacity: Capacity { min: 1, max: 3 },
        sleep: Capacity::OFF,
        remember: true,
        function: None,
        now,
    }
}

fn converging() -> Rules {
    Rules { converge: true, ..rules() }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A service with this desired count and no tags.
fn service(count: i32) -> Service {
    Service::Active { count, keep: Keep::default(), discovered: false, daemon: false }
}

/// A target with these bounds and tags, of a service that follows it.
fn target(found: Option<Capacity>, remembered: &str, awake: &str) -> Observed {
    let keep = Keep { awake_until: some(awake), asleep_until: None };
    let count = found.map_or(0, |found| found.min);
    Observed {
        target: found,
        has_arn: found.is_some(),
        tags: Tags { remembered: some(remembered), keep, ..Tags::default() },
        service: service(count),
        named: true,
        lost: false,
    }
}

/// A target whose operator set `keep-asleep-until`.
fn lulled(found: Option<Capacity>, asleep: &str) -> Observed {
    let mut seen = target(found, "min=2:max=6", "");
    seen.tags.keep.asleep_until = some(asleep);
    seen
}

fn describe(plan: &Plan) -> String {
    let mut text = plan.verdict.as_str().to_owned();
    for (key, value) in &plan.tags {
        text += &format!(", {key}={value}");
    }
    if let Some(capacity) = plan.register {
        text += &format!(", register {capacity}");
    }
    if let Some(count) = plan.restore {
        text += &format!(", restore {count} and deregister");
    }
    if !plan.forget.is_empty() {
        text += &format!(", remove {}", plan.forget.join(" and "));
    }
    if let Some(reason) = &plan.reason {
        text += &format!(": {reason}");
    }
    for (failure, why) in &plan.failures {
        text += &format!("\n      {}: {why}", failure.as_str());
    }
    text
}

/// One line for each case; the tags are in brackets.
fn check(rules: &Rules, wanted: Wanted, cases: &[Observed], expected: Expect) {
    let line = |seen: &Observed| {
        let found = match seen.target {
            Some(found) if seen.has_arn => found.to_string(),
            Some(found) => format!("{found} without ARN"),
            None => "new".to_owned(),
        };
        let tags = &seen.tags;
        let all = [
            &tags.remembered,
            &tags.keep.awake_until,
            &tags.keep.asleep_until,
            &tags.not_in_effect,
            &tags.function,
        ];
        let tags: Vec<_> = all.into_iter().flatten().map(String::as_str).collect();
        let plan =
            rules.plan(wanted, seen).map_or_else(|why| format!("refused: {why}"), |plan| describe(&plan));
        format!("{found} [{}] -> {plan}\n", tags.join("] ["))
    };
    expected.assert_eq(&cases.iter().map(line).collect::<String>());
}

#[test]
fn a_stop_remembers_what_it_finds_and_respects_who_works_late() {
    let cases = [
        target(ON, "", ""),
        target(ON, "min=2:max=6", ""),
        target(ON, "min=2,max=6", ""),
        target(ON, "min=1:max=4", ""),
        target(ON, "nonsense", ""),
        target(capacity(0, 6), "", ""),
        target(OFF, "min=2:max=6", ""),
        target(OFF, "nonsense", ""),
        target(ON, "", "2026-11-19T19:00:00Z"),
        target(ON, "", "2026-11-19T19:00:01+01:00"),
        target(ON, "", "2026-11-19T19:00:00+01:00"),
        target(ON, "", "2026-11-19T17:59:59Z"),
        target(ON, "", "2026-12-19T18:00:01Z"),
        target(ON, "", "9pm"),
        target(ON, "", "2026-11-19"),
        target(OFF, "min=2:max=6", "2026-11-19T19:00:00Z"),
        lulled(ON, "9pm"),
    ];
    check(
        &rules(),
        Wanted::Off,
        &cases,
        expect![[r#"
        2/6 [] -> stopped, lifecycle/remembered=min=2:max=6, register 0/0
        2/6 [min=2:max=6] -> stopped, register 0/0
        2/6 [min=2,max=6] -> stopped, register 0/0
        2/6 [min=1:max=4] -> stopped, lifecycle/remembered=min=2:max=6, register 0/0
        2/6 [nonsense] -> stopped, lifecycle/remembered=min=2:max=6, register 0/0
              tag-doubtful: lifecycle/remembered="nonsense" is not a remembered capacity
        0/6 [] -> stopped, lifecycle/remembered=min=0:max=6, register 0/0
        0/0 [min=2:max=6] -> unchanged
        0/0 [nonsense] -> unchanged
              tag-doubtful: lifecycle/remembered="nonsense" is not a remembered capacity
        2/6 [2026-11-19T19:00:00Z] -> kept-awake: keep-awake-until 2026-11-19T19:00:00Z
        2/6 [2026-11-19T19:00:01+01:00] -> kept-awake: keep-awake-until 2026-11-19T19:00:01+01:00
        2/6 [2026-11-19T19:00:00+01:00] -> stopped, lifecycle/remembered=min=2:max=6, register 0/0, remove keep-awake-until
        2/6 [2026-11-19T17:59:59Z] -> stopped, lifecycle/remembered=min=2:max=6, register 0/0, remove keep-awake-until
        2/6 [2026-12-19T18:00:01Z] -> kept-awake: keep-awake-until 2026-12-19T18:00:01Z is more than 30 days ahead
              tag-doubtful: keep-awake-until 2026-12-19T18:00:01Z is more than 30 days ahead
        2/6 [9pm] -> kept-awake: keep-awake-until="9pm" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
              tag-doubtful: keep-awake-until="9pm" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
        2/6 [2026-11-19] -> kept-awake: keep-awake-until="2026-11-19" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
              tag-doubtful: keep-awake-until="2026-11-19" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
        0/0 [min=2:max=6] [2026-11-19T19:00:00Z] -> unchanged
        2/6 [min=2:max=6] [9pm] -> stopped, register 0/0
    "#]],
    );
}

#[test]
fn a_start_restores_only_what_a_stop_can_have_remembered() {
    let memories = [
        "min=2:max=6",
        "min=2,max=6",
        "min=0:max=6",
        "min=2:max=6:asleep=1/2",
        "min=5001:max=9000",
        "",
        "min=0:max=0",
        "min=1:max=2:asleep=1/2",
        "min=6:max=2",
        "min=-1:max=2",
        "min=1:max=99999999999",
        "min=+2:max=6",
        "min=02:max=6",
        "min=2: max=6",
        "min=2:max=6:asleep=0/0",
        "desired=0",
        "2/6",
    ];
    let cases = memories.map(|memory| target(OFF, memory, ""));
    let others = [
        target(OFF, "min=2:max=6", "2026-11-18T22:00:00Z"),
        target(OFF, "min=2:max=6", "2026-11-20T22:00:00Z"),
        target(OFF, "min=2:max=6", "9pm"),
        target(ON, "", ""),
        lulled(OFF, "2026-11-20T09:00:00Z"),
        lulled(OFF, "tomorrow"),
        lulled(OFF, "2026-11-18T09:00:00Z"),
    ];
    check(
        &rules(),
        Wanted::On,
        &[&cases[..], &others[..]].concat(),
        expect![[r#"
        0/0 [min=2:max=6] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        0/0 [min=2,max=6] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        0/0 [min=0:max=6] -> started, register 0/6, remove lifecycle/remembered: the capacity that the stop found; with a minimum of 0 no task starts by itself
        0/0 [min=2:max=6:asleep=1/2] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        0/0 [min=5001:max=9000] -> started, register 5000/9000, remove lifecycle/remembered: the capacity that the stop found
              tag-doubtful: lifecycle/remembered has 5001 tasks, and ECS allows 5000 in a service
        0/0 [] -> started, register 1/3: the configured capacity: nothing was remembered
              memory-missing: woken as 1/3, the configured capacity: nothing was remembered
        0/0 [min=0:max=0] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=0:max=0" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=0:max=0" is not a remembered capacity
        0/0 [min=1:max=2:asleep=1/2] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=1:max=2:asleep=1/2" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=1:max=2:asleep=1/2" is not a remembered capacity
        0/0 [min=6:max=2] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=6:max=2" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=6:max=2" is not a remembered capacity
        0/0 [min=-1:max=2] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=-1:max=2" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=-1:max=2" is not a remembered capacity
        0/0 [min=1:max=99999999999] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=1:max=99999999999" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=1:max=99999999999" is not a remembered capacity
        0/0 [min=+2:max=6] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=+2:max=6" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=+2:max=6" is not a remembered capacity
        0/0 [min=02:max=6] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=02:max=6" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=02:max=6" is not a remembered capacity
        0/0 [min=2: max=6] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=2: max=6" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=2: max=6" is not a remembered capacity
        0/0 [min=2:max=6:asleep=0/0] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="min=2:max=6:asleep=0/0" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="min=2:max=6:asleep=0/0" is not a remembered capacity
        0/0 [desired=0] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="desired=0" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="desired=0" is not a remembered capacity
        0/0 [2/6] -> started, register 1/3, remove lifecycle/remembered: the configured capacity: lifecycle/remembered="2/6" is not a remembered capacity
              tag-doubtful: lifecycle/remembered="2/6" is not a remembered capacity
        0/0 [min=2:max=6] [2026-11-18T22:00:00Z] -> started, register 2/6, remove lifecycle/remembered and keep-awake-until: the capacity that the stop found
        0/0 [min=2:max=6] [2026-11-20T22:00:00Z] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        0/0 [min=2:max=6] [9pm] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        2/6 [] -> unchanged
        0/0 [min=2:max=6] [2026-11-20T09:00:00Z] -> kept-asleep: keep-asleep-until 2026-11-20T09:00:00Z
        0/0 [min=2:max=6] [tomorrow] -> kept-asleep: keep-asleep-until="tomorrow" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
              tag-doubtful: keep-asleep-until="tomorrow" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
        0/0 [min=2:max=6] [2026-11-18T09:00:00Z] -> started, register 2/6, remove lifecycle/remembered and keep-asleep-until: the capacity that the stop found
    "#]],
    );
}

#[test]
fn a_target_that_was_registered_by_halves_keeps_its_minimum_and_takes_the_new_maximum() {
    let cases = [
        target(capacity(0, 10), "min=2:max=6", ""),
        target(capacity(0, 1), "min=2:max=6", ""),
        target(capacity(1, 10), "min=2:max=6", ""),
        target(capacity(1, 10), "min=2:max=6:asleep=1/2", ""),
        target(capacity(0, 10), "desired=5", ""),
        target(capacity(0, 10), "", ""),
    ];
    check(
        &rules(),
        Wanted::On,
        &cases,
        expect![[r#"
        0/10 [min=2:max=6] -> started, register 2/10, remove lifecycle/remembered: the remembered minimum, and the maximum that was registered meanwhile
        0/1 [min=2:max=6] -> started, register 1/1, remove lifecycle/remembered: the remembered minimum, and the maximum that was registered meanwhile
        1/10 [min=2:max=6] -> unchanged
        1/10 [min=2:max=6:asleep=1/2] -> started, register 2/10, remove lifecycle/remembered: the remembered minimum, and the maximum that was registered meanwhile
        0/10 [desired=5] -> started, register 5/10, remove lifecycle/remembered: the remembered minimum, and the maximum that was registered meanwhile
        0/10 [] -> unchanged
    "#]],
    );
    check(
        &rules(),
        Wanted::Off,
        &cases,
        expect![[r#"
        0/10 [min=2:max=6] -> stopped, lifecycle/remembered=min=2:max=10, register 0/0
        0/1 [min=2:max=6] -> stopped, lifecycle/remembered=min=1:max=1, register 0/0
        1/10 [min=2:max=6] -> stopped, lifecycle/remembered=min=1:max=10, register 0/0
        1/10 [min=2:max=6:asleep=1/2] -> stopped, lifecycle/remembered=min=2:max=10, register 0/0
        0/10 [desired=5] -> stopped, lifecycle/remembered=min=5:max=10, register 0/0
        0/10 [] -> stopped, lifecycle/remembered=min=0:max=10, register 0/0
    "#]],
    );
}

#[test]
fn a_sleeping_capacity_of_ones_own_is_off_and_so_is_every_other_one_that_a_stop_made() {
    let rules = Rules { sleep: Capacity { min: 1, max: 2 }, ..rules() };
    let cases = [
        target(ON, "", ""),
        target(capacity(1, 2), "min=2:max=6:asleep=1/2", ""),
        target(OFF, "min=2:max=6", ""),
        target(capacity(1, 1), "min=2:max=6:asleep=1/1", ""),
        target(capacity(1, 1), "", ""),
    ];
    check(
        &rules,
        Wanted::Off,
        &cases,
        expect![[r#"
        2/6 [] -> stopped, lifecycle/remembered=min=2:max=6:asleep=1/2, register 1/2
        1/2 [min=2:max=6:asleep=1/2] -> unchanged
        0/0 [min=2:max=6] -> unchanged
        1/1 [min=2:max=6:asleep=1/1] -> unchanged
        1/1 [] -> stopped, lifecycle/remembered=min=1:max=1:asleep=1/2, register 1/2
    "#]],
    );
    check(
        &rules,
        Wanted::On,
        &cases,
        expect![[r#"
        2/6 [] -> unchanged
        1/2 [min=2:max=6:asleep=1/2] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        0/0 [min=2:max=6] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        1/1 [min=2:max=6:asleep=1/1] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        1/1 [] -> unchanged
    "#]],
    );
}

#[test]
fn a_service_without_a_target_comes_back_as_it_was() {
    let service = |count: i32, named| Observed { service: service(count), named, ..target(NEW, "", "") };
    let cases = [
        service(5, true),
        service(5, false),
        service(0, true),
        service(0, false),
        Observed { service: Service::Unseen, ..service(0, true) },
        Observed { service: Service::Missing, ..service(0, true) },
        Observed { service: Service::NotEcs, ..service(0, true) },
        Observed {
            service: Service::Active { count: 0, keep: Keep::default(), discovered: false, daemon: true },
            ..service(0, true)
        },
        target(OFF, "desired=5", ""),
        target(OFF, "desired=5:asleep=1/2", ""),
        target(OFF, "desired=5001", ""),
        target(ON, "desired=5", ""),
    ];
    check(
        &rules(),
        Wanted::Off,
        &cases,
        expect![[r#"
        new [] -> stopped, lifecycle/remembered=desired=5, register 0/0: the target was not registered
        new [] -> stopped, lifecycle/remembered=desired=5, register 0/0: the target was not registered
        new [] -> unchanged
        new [] -> unchanged
        new [] -> refused: it has no target, and its desired count can't be read
        new [] -> refused: ECS has no active service of this name
        new [] -> stopped, lifecycle/remembered=min=1:max=3, register 0/0: the target was not registered
        new [] -> refused: it is a daemon service, which can't be scaled: it runs one task on each instance
        0/0 [desired=5] -> unchanged
        0/0 [desired=5:asleep=1/2] -> unchanged
        0/0 [desired=5001] -> unchanged
        2/6 [desired=5] -> stopped, lifecycle/remembered=min=2:max=6, register 0/0
    "#]],
    );
    check(
        &rules(),
        Wanted::On,
        &cases,
        expect![[r#"
        new [] -> unchanged
        new [] -> unchanged
        new [] -> started, register 1/3: the configured capacity: the target was not registered
              memory-missing: woken as 1/3, the configured capacity: nothing was remembered
        new [] -> unchanged: nothing was remembered, so its owner keeps it at 0
        new [] -> refused: it has no target, and its desired count can't be read
        new [] -> refused: ECS has no active service of this name
        new [] -> started, register 1/3: the configured capacity: the target was not registered
        new [] -> refused: it is a daemon service, which can't be scaled: it runs one task on each instance
        0/0 [desired=5] -> started, restore 5 and deregister: the desired count that the stop found
        0/0 [desired=5:asleep=1/2] -> started, register 5/5, remove lifecycle/remembered: the desired count that the stop found is the minimum
        0/0 [desired=5001] -> started, restore 5000 and deregister: the desired count that the stop found
              tag-doubtful: lifecycle/remembered has 5001 tasks, and ECS allows 5000 in a service
        2/6 [desired=5] -> unchanged
    "#]],
    );
    let gentle = Rules { sleep: Capacity { min: 1, max: 2 }, ..rules() };
    check(
        &gentle,
        Wanted::Off,
        &[service(5, false)],
        expect![[r#"
        new [] -> stopped, lifecycle/remembered=desired=5:asleep=1/2, register 1/2: the target was not registered
    "#]],
    );
    let forgetful = Rules { remember: false, ..rules() };
    check(
        &forgetful,
        Wanted::Off,
        &cases[..4],
        expect![[r#"
        new [] -> unchanged: it has no target, and its desired count is not remembered
        new [] -> unchanged: it has no target, and its desired count is not remembered
        new [] -> unchanged: it has no target, and its desired count is not remembered
        new [] -> unchanged: it has no target, and its desired count is not remembered
    "#]],
    );
}

#[test]
fn a_target_without_an_arn_is_stopped_only_if_it_comes_back_as_it_was() {
    let old = |found| Observed { has_arn: false, ..target(found, "", "") };
    let cases = [old(capacity(1, 3)), old(ON), old(OFF)];
    check(
        &rules(),
        Wanted::Off,
        &cases,
        expect![[r#"
        1/3 without ARN [] -> stopped, register 0/0
        2/6 without ARN [] -> refused: not stopped, because it would not come back as it is: it was registered before targets had ARNs and can carry no tags, so 2/6 would be lost; deregister the target and register it again
        0/0 without ARN [] -> unchanged
    "#]],
    );
    check(
        &rules(),
        Wanted::On,
        &cases,
        expect![[r#"
        1/3 without ARN [] -> unchanged
        2/6 without ARN [] -> unchanged
        0/0 without ARN [] -> started, register 1/3: the configured capacity
    "#]],
    );
    check(
        &Rules { remember: false, ..rules() },
        Wanted::Off,
        &cases,
        expect![[r#"
        1/3 without ARN [] -> stopped, register 0/0
        2/6 without ARN [] -> stopped, register 0/0
        0/0 without ARN [] -> unchanged
    "#]],
    );
}

#[test]
fn a_run_that_converges_obeys_the_tags_on_the_target_and_else_those_on_the_service() {
    let on_service = |found, awake, asleep| {
        let keep = Keep { awake_until: some(awake), asleep_until: some(asleep) };
        let service = Service::Active { count: 2, keep, discovered: false, daemon: false };
        Observed { service, ..target(found, "min=2:max=6", "") }
    };
    let both = |found, awake, asleep| {
        let mut seen = target(found, "min=2:max=6", awake);
        seen.tags.keep.asleep_until = some(asleep);
        seen
    };
    let (past, future) = ("2026-11-19T17:00:00Z", "2026-11-19T20:00:00Z");
    let cases = [
        both(ON, future, ""),
        both(OFF, future, ""),
        both(ON, "", future),
        both(OFF, "", future),
        both(ON, future, future),
        both(OFF, future, future),
        both(ON, past, past),
        both(OFF, past, past),
        on_service(ON, future, ""),
        on_service(OFF, "", future),
        Observed { tags: both(ON, past, "").tags, ..on_service(ON, future, future) },
        both(ON, "", "soon"),
    ];
    check(
        &converging(),
        Wanted::Off,
        &cases,
        expect![[r#"
        2/6 [min=2:max=6] [2026-11-19T20:00:00Z] -> kept-awake: keep-awake-until 2026-11-19T20:00:00Z
        0/0 [min=2:max=6] [2026-11-19T20:00:00Z] -> started, register 2/6, remove lifecycle/remembered: keep-awake-until 2026-11-19T20:00:00Z; the capacity that the stop found
        2/6 [min=2:max=6] [2026-11-19T20:00:00Z] -> stopped, register 0/0
        0/0 [min=2:max=6] [2026-11-19T20:00:00Z] -> unchanged
        2/6 [min=2:max=6] [2026-11-19T20:00:00Z] [2026-11-19T20:00:00Z] -> kept-awake: keep-awake-until 2026-11-19T20:00:00Z
        0/0 [min=2:max=6] [2026-11-19T20:00:00Z] [2026-11-19T20:00:00Z] -> started, register 2/6, remove lifecycle/remembered: keep-awake-until 2026-11-19T20:00:00Z; the capacity that the stop found
        2/6 [min=2:max=6] [2026-11-19T17:00:00Z] [2026-11-19T17:00:00Z] -> stopped, register 0/0, remove keep-awake-until and keep-asleep-until
        0/0 [min=2:max=6] [2026-11-19T17:00:00Z] [2026-11-19T17:00:00Z] -> unchanged
        2/6 [min=2:max=6] -> kept-awake: keep-awake-until 2026-11-19T20:00:00Z
        0/0 [min=2:max=6] -> registered-again, lifecycle/not-in-effect=2026-11-19T18:00:00Z, register 0/0: the service is at 2 tasks, above the maximum of 0/0
        2/6 [min=2:max=6] [2026-11-19T17:00:00Z] -> stopped, register 0/0, remove keep-awake-until
        2/6 [min=2:max=6] [soon] -> stopped, register 0/0
              tag-doubtful: keep-asleep-until="soon" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
    "#]],
    );
    check(
        &converging(),
        Wanted::On,
        &cases,
        expect![[r#"
        2/6 [min=2:max=6] [2026-11-19T20:00:00Z] -> unchanged
        0/0 [min=2:max=6] [2026-11-19T20:00:00Z] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        2/6 [min=2:max=6] [2026-11-19T20:00:00Z] -> stopped, register 0/0: keep-asleep-until 2026-11-19T20:00:00Z
        0/0 [min=2:max=6] [2026-11-19T20:00:00Z] -> kept-asleep: keep-asleep-until 2026-11-19T20:00:00Z
        2/6 [min=2:max=6] [2026-11-19T20:00:00Z] [2026-11-19T20:00:00Z] -> unchanged
        0/0 [min=2:max=6] [2026-11-19T20:00:00Z] [2026-11-19T20:00:00Z] -> started, register 2/6, remove lifecycle/remembered: the capacity that the stop found
        2/6 [min=2:max=6] [2026-11-19T17:00:00Z] [2026-11-19T17:00:00Z] -> unchanged
        0/0 [min=2:max=6] [2026-11-19T17:00:00Z] [2026-11-19T17:00:00Z] -> started, register 2/6, remove lifecycle/remembered and keep-awake-until and keep-asleep-until: the capacity that the stop found
        2/6 [min=2:max=6] -> unchanged
        0/0 [min=2:max=6] -> registered-again, lifecycle/not-in-effect=2026-11-19T18:00:00Z, register 0/0: keep-asleep-until 2026-11-19T20:00:00Z; the service is at 2 tasks, above the maximum of 0/0
        2/6 [min=2:max=6] [2026-11-19T17:00:00Z] -> unchanged
        2/6 [min=2:max=6] [soon] -> stopped, register 0/0: keep-asleep-until="soon" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
              tag-doubtful: keep-asleep-until="soon" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
    "#]],
    );
}

#[test]
fn a_service_that_does_not_follow_its_target_is_registered_again_and_told_after_half_an_hour() {
    let at = |found, count, since: &str| {
        let mut seen = Observed { service: service(count), ..target(found, "min=2:max=6", "") };
        seen.tags.not_in_effect = some(since);
        seen
    };
    let cases = [
        at(OFF, 0, ""),
        at(OFF, 2, ""),
        at(OFF, 2, "2026-11-19T17:30:01Z"),
        at(OFF, 2, "2026-11-19T17:30:00Z"),
        at(OFF, 2, "2036-11-19T17:30:00Z"),
        at(OFF, 2, "lately"),
        at(OFF, 0, "2026-11-19T17:30:00Z"),
        Observed { has_arn: false, ..at(OFF, 2, "") },
        Observed { service: Service::Unseen, ..at(OFF, 2, "") },
    ];
    check(
        &converging(),
        Wanted::Off,
        &cases,
        expect![[r#"
        0/0 [min=2:max=6] -> unchanged
        0/0 [min=2:max=6] -> registered-again, lifecycle/not-in-effect=2026-11-19T18:00:00Z, register 0/0: the service is at 2 tasks, above the maximum of 0/0
        0/0 [min=2:max=6] [2026-11-19T17:30:01Z] -> registered-again, register 0/0: the service is at 2 tasks, above the maximum of 0/0
        0/0 [min=2:max=6] [2026-11-19T17:30:00Z] -> registered-again, register 0/0: the service is at 2 tasks, above the maximum of 0/0
              not-in-effect: the service is at 2 tasks, above the maximum of 0/0, since 2026-11-19T17:30:00Z
        0/0 [min=2:max=6] [2036-11-19T17:30:00Z] -> registered-again, lifecycle/not-in-effect=2026-11-19T18:00:00Z, register 0/0: the service is at 2 tasks, above the maximum of 0/0
        0/0 [min=2:max=6] [lately] -> registered-again, lifecycle/not-in-effect=2026-11-19T18:00:00Z, register 0/0: the service is at 2 tasks, above the maximum of 0/0
        0/0 [min=2:max=6] [2026-11-19T17:30:00Z] -> unchanged, remove lifecycle/not-in-effect
        0/0 without ARN [min=2:max=6] -> registered-again, register 0/0: the service is at 2 tasks, above the maximum of 0/0
        0/0 [min=2:max=6] -> unchanged
    "#]],
    );
    let cases =
        [at(ON, 1, ""), at(ON, 9, ""), at(ON, 2, "2026-11-19T09:00:00Z"), at(OFF, 0, "2026-11-19T01:00:00Z")];
    check(
        &converging(),
        Wanted::On,
        &cases,
        expect![[r#"
        2/6 [min=2:max=6] -> registered-again, lifecycle/not-in-effect=2026-11-19T18:00:00Z, register 2/6: the service is at 1 tasks, below the minimum of 2/6
        2/6 [min=2:max=6] -> unchanged
        2/6 [min=2:max=6] [2026-11-19T09:00:00Z] -> unchanged, remove lifecycle/not-in-effect
        0/0 [min=2:max=6] [2026-11-19T01:00:00Z] -> started, register 2/6, remove lifecycle/remembered and lifecycle/not-in-effect: the capacity that the stop found
    "#]],
    );
    check(
        &rules(),
        Wanted::Off,
        &[at(OFF, 2, ""), at(ON, 2, "2026-11-19T09:00:00Z")],
        expect![[r#"
        0/0 [min=2:max=6] -> unchanged
        2/6 [min=2:max=6] [2026-11-19T09:00:00Z] -> stopped, register 0/0, remove lifecycle/not-in-effect
    "#]],
    );
}

#[test]
fn with_discovered_services_a_stop_writes_whose_sleep_it_is_and_a_start_clears_it() {
    let rules = Rules { function: some("ecs-scheduler"), ..rules() };
    let ours = |found, function: &str, lost| {
        let mut seen = Observed { lost, ..target(found, "min=2:max=6", "") };
        seen.tags.function = some(function);
        seen
    };
    let cases = [ours(ON, "", false), ours(ON, "ecs-scheduler", false), ours(ON, "another", false)];
    check(
        &rules,
        Wanted::Off,
        &cases,
        expect![[r#"
        2/6 [min=2:max=6] -> stopped, lifecycle/function=ecs-scheduler, register 0/0
        2/6 [min=2:max=6] [ecs-scheduler] -> stopped, register 0/0
        2/6 [min=2:max=6] [another] -> stopped, lifecycle/function=ecs-scheduler, register 0/0
    "#]],
    );
    let cases = [
        ours(OFF, "ecs-scheduler", false),
        ours(OFF, "ecs-scheduler", true),
        ours(ON, "ecs-scheduler", true),
    ];
    check(
        &rules,
        Wanted::On,
        &cases,
        expect![[r#"
        0/0 [min=2:max=6] [ecs-scheduler] -> started, register 2/6, remove lifecycle/remembered and lifecycle/function: the capacity that the stop found
        0/0 [min=2:max=6] [ecs-scheduler] -> started, register 2/6, remove lifecycle/remembered and lifecycle/function: the capacity that the stop found
              tag-doubtful: this function put it to sleep, and the service has lost the tag that names it
        2/6 [min=2:max=6] [ecs-scheduler] -> unchanged
    "#]],
    );
}

#[test]
fn without_memory_a_stop_and_a_start_remove_an_old_one() {
    let forgetful = Rules { remember: false, ..rules() };
    check(
        &forgetful,
        Wanted::On,
        &[target(OFF, "min=2:max=6", ""), target(OFF, "", ""), target(ON, "", "")],
        expect![[r#"
            0/0 [min=2:max=6] -> started, register 1/3, remove lifecycle/remembered: the configured capacity
            0/0 [] -> started, register 1/3: the configured capacity
            2/6 [] -> unchanged
        "#]],
    );
    check(
        &forgetful,
        Wanted::Off,
        &[target(ON, "min=1:max=4", ""), target(ON, "", "")],
        expect![[r#"
        2/6 [min=1:max=4] -> stopped, register 0/0, remove lifecycle/remembered
        2/6 [] -> stopped, register 0/0
    "#]],
    );
}

fn capacities() -> impl Strategy<Value = Option<Capacity>> {
    let some = (0..4, 0..4).prop_map(|(min, more)| Capacity { min, max: min + more });
    prop::option::of(some)
}

proptest! {
    #[test]
    fn a_memory_is_read_as_it_was_written(min in 0..i32::MAX, more in 0..i32::MAX, desired: bool, low in 0..9, high in 0..9) {
        let found = if desired { Found::Desired(min) } else { Found::Bounds(Capacity { min, max: min.saturating_add(more) }) };
        let asleep = Capacity { min: low, max: low + high };
        let memory = Memory { found, asleep };
        let slept = ![Found::Bounds(asleep), Found::Bounds(Capacity::OFF), Found::Desired(0)].contains(&found);
        prop_assert_eq!(Memory::parse(&memory.to_string()), slept.then_some(memory));
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || " +-=._:/@".contains(letter);
        prop_assert!(memory.to_string().chars().all(allowed), "{}", memory);
    }

    #[test]
    fn any_text_is_no_memory_or_one_of_something_that_is_on(
        text in "(min=|desired=)?[-+0-9]{0,3}([:,]max=)?[-+0-9]{0,3}(:asleep=[0-9]/[0-9])?.{0,2}"
    ) {
        if let Some(memory) = Memory::parse(&text) {
            prop_assert!(memory.asleep.min <= memory.asleep.max);
            match memory.found {
                Found::Bounds(found) => prop_assert!(found != Capacity::OFF && 0 <= found.min && found.min <= found.max),
                Found::Desired(count) => prop_assert!(count > 0),
            }
        }
    }

    /// Whatever is found and whatever the tags say: nothing that is off is remembered, what is to be on
    /// ends on, what is to be off ends off or was kept, and a second run of the same has nothing to do.
    #[test]
    fn no_plan_remembers_nothing_or_ends_in_between(
        found in capacities(),
        remembered in prop::option::of("min=[0-3][:,]max=[0-3](:asleep=0/[01])?|desired=[0-3]|nonsense"),
        awake in prop::option::of("2026-11-1[89]T22:00:00Z|9pm"),
        asleep in prop::option::of("2026-11-1[89]T22:00:00Z|9pm"),
        count in 0..4_i32,
        on: bool,
        remember: bool,
        converge: bool,
        sleep in prop::sample::select(vec![Capacity::OFF, Capacity { min: 0, max: 1 }]),
    ) {
        let wanted = if on { Wanted::On } else { Wanted::Off };
        let rules = Rules { remember, converge, sleep, ..rules() };
        // What is not registered has no tags.
        let tags = Tags { remembered, keep: Keep { awake_until: awake, asleep_until: asleep }, ..Tags::default() };
        let tags = if found.is_some() { tags } else { Tags::default() };
        let count = found.map_or(count, |found: Capacity| count.clamp(found.min, found.max));
        let seen = Observed { target: found, has_arn: found.is_some(), tags, service: service(count), named: true, lost: false };
        let plan = rules.plan(wanted, &seen).unwrap();

        let mut after = seen.clone();
        if plan.restore.is_some() {
            after = Observed { target: None, has_arn: false, tags: Tags::default(), ..after };
        }
        for (key, value) in &plan.tags {
            prop_assert_eq!(*key, "lifecycle/remembered");
            after.tags.remembered = Some(value.clone());
        }
        after.target = plan.register.or(after.target);
        after.has_arn = after.target.is_some();
        let count = plan.restore.unwrap_or(count);
        after.service = service(after.target.map_or(count, |target| count.clamp(target.min, target.max)));
        for key in &plan.forget {
            match *key {
                "lifecycle/remembered" => after.tags.remembered = None,
                "keep-awake-until" => after.tags.keep.awake_until = None,
                "keep-asleep-until" => after.tags.keep.asleep_until = None,
                other => prop_assert!(false, "{}", other),
            }
        }
        let kept = [Verdict::KeptAwake, Verdict::KeptAsleep].contains(&plan.verdict);
        // An override by a tag, and what is not stopped because it could not come back.
        let instead = converge && seen.tags.keep.is_set();
        let left = found.is_none() && !remember && !on;
        // What a start restores can be a sleeping capacity of another day.
        let restored = plan.verdict == Verdict::Started && plan.register.is_some_and(|capacity| capacity == sleep);
        if !kept && !instead && !left && !restored {
            prop_assert_eq!(rules.is_off(&after), Some(!on), "{:?}", plan);
        }
        if let Some(memory) = after.tags.memory() && plan.verdict == Verdict::Stopped && remember {
            match memory.found {
                Found::Bounds(bounds) => prop_assert!(Some(bounds) == found || seen.tags.memory().is_some(), "{:?}", plan),
                Found::Desired(desired) => prop_assert_eq!((desired, found), (count, None)),
            }
        }
        if plan.verdict == Verdict::Stopped && remember {
            prop_assert!(after.tags.memory().is_some(), "{:?}", plan);
        }
        if !restored {
            let again = rules.plan(wanted, &after).unwrap();
            prop_assert!(again.tags.is_empty() && again.register.is_none() && again.restore.is_none() && again.forget.is_empty(), "{:?} {:?}", plan, again);
        }
        prop_assert!(plan.register.is_none_or(|capacity| capacity.min <= MAX_TASKS));
    }
}
