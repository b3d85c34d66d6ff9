//! Days of services in the lab, with the function converging every five minutes, and under paused time:
//! when they sleep and wake, and what happens to them in between.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{API, HOUR, KEEP_AWAKE, MINUTE, Scene, WEB, time};
use ecs_scheduler::NAME;
use expect_test::{Expect, expect};
use lifecycle_lab::faults::CallFault;
use serde_json::json;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOURS: (&str, &str) = ("WORKING_HOURS", "MON-FRI 09:00-18:00");

/// A scene in which `web` is on at 2/6, and converges every five minutes.
async fn converging(from: &str, variables: &[(&str, &str)]) -> Scene {
    let scene = Scene::at(from);
    scene.register(WEB, 2, 6).await;
    let all = [("RESOURCE_IDS", WEB), ("ACTION", "converge"), HOURS];
    // Later variables win.
    scene.deploy(&all.into_iter().chain(variables.iter().copied()).collect::<Vec<_>>());
    scene.lab.schedule(5 * MINUTE, NAME, json!({}));
    scene
}

/// Waits until this moment of the lab's time.
async fn until(scene: &Scene, moment: &str) {
    let left = (time(moment) - scene.lab.now()).to_std().unwrap();
    scene.lab.sleep(left).await;
}

/// Compares what was registered when with `expected`; the setting of the scene is the first.
fn check(scene: &Scene, expected: Expect) {
    let history = scene.lab.world(|world| world.scalable_targets.history()[1..].to_vec());
    let line = |change: &lifecycle_lab::scalable_targets::Registration| {
        let service = change.resource.rsplit('/').next().unwrap();
        format!("{} {service} {}/{}\n", change.at.format("%a %dT%H:%MZ"), change.min, change.max)
    };
    expected.assert_eq(&history.iter().map(line).collect::<String>());
    assert!(scene.lab.failures().is_empty(), "{:?}", scene.lab.failures());
}

#[tokio::test(start_paused = true)]
async fn a_week_costs_four_writes_for_each_night() {
    let scene = converging("2026-11-19T06:00:00Z", &[("TIMEZONE", "Europe/Berlin")]).await;
    scene.lab.sleep(7 * DAY + MINUTE).await;
    check(
        &scene,
        expect![[r#"
            Thu 19T06:05Z web 0/0
            Thu 19T08:00Z web 2/6
            Thu 19T17:00Z web 0/0
            Fri 20T08:00Z web 2/6
            Fri 20T17:00Z web 0/0
            Mon 23T08:00Z web 2/6
            Mon 23T17:00Z web 0/0
            Tue 24T08:00Z web 2/6
            Tue 24T17:00Z web 0/0
            Wed 25T08:00Z web 2/6
            Wed 25T17:00Z web 0/0
        "#]],
    );
    assert_eq!(scene.running("web"), 0, "at six in the morning");

    // Five nights and the morning before the first one; each night is a stop (the tag, 0/0) and a start
    // (the capacity, the tag's end). A run reads the target, the service and the target's tags.
    let runs = 7 * 24 * 12;
    assert_eq!(scene.writes(), 6 * 2 + 5 * 2);
    assert_eq!(scene.calls().len() - scene.writes(), 3 * runs);
}

#[tokio::test(start_paused = true)]
async fn the_services_tasks_follow() {
    let scene = converging("2026-11-19T17:00:00Z", &[]).await;
    until(&scene, "2026-11-19T17:59:00Z").await;
    assert_eq!((scene.desired("web"), scene.running("web")), (2, 2));
    until(&scene, "2026-11-19T18:10:00Z").await;
    assert_eq!((scene.desired("web"), scene.running("web")), (0, 0));
    until(&scene, "2026-11-20T09:10:00Z").await;
    assert_eq!((scene.desired("web"), scene.running("web")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_clock_change_moves_the_hours_with_the_clock() {
    let berlin = [("TIMEZONE", "Europe/Berlin"), ("WORKING_HOURS", "MON-SUN 09:00-18:00")];
    let spring = converging("2026-03-28T12:00:00Z", &berlin).await;
    spring.lab.sleep(2 * DAY).await;
    check(
        &spring,
        expect![[r#"
            Sat 28T17:00Z web 0/0
            Sun 29T07:00Z web 2/6
            Sun 29T16:00Z web 0/0
            Mon 30T07:00Z web 2/6
        "#]],
    );
    let autumn = converging("2026-10-24T12:00:00Z", &berlin).await;
    autumn.lab.sleep(2 * DAY).await;
    check(
        &autumn,
        expect![[r#"
            Sat 24T16:00Z web 0/0
            Sun 25T08:00Z web 2/6
            Sun 25T17:00Z web 0/0
            Mon 26T08:00Z web 2/6
        "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_in_the_hour_that_spring_skips_is_not_lost() {
    let scene = converging(
        "2026-03-28T12:00:00Z",
        &[("TIMEZONE", "Europe/Berlin"), ("WORKING_HOURS", "SUN 02:30-06:00")],
    )
    .await;
    scene.lab.sleep(DAY).await;
    check(
        &scene,
        expect![[r#"
            Sat 28T12:05Z web 0/0
            Sun 29T01:00Z web 2/6
            Sun 29T04:00Z web 0/0
        "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn holidays_are_slept_through() {
    // 2026-12-25 is a Friday.
    let scene = converging("2026-12-24T12:00:00Z", &[("HOLIDAYS", "2026-12-25")]).await;
    scene.lab.sleep(4 * DAY).await;
    check(
        &scene,
        expect![[r#"
            Thu 24T18:00Z web 0/0
            Mon 28T09:00Z web 2/6
        "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn runs_that_were_missed_or_doubled_change_nothing_but_the_time() {
    let scene = converging("2026-11-19T17:00:00Z", &[]).await;
    // A second schedule, so that every run has a double.
    scene.lab.schedule(5 * MINUTE, NAME, json!({ "action": "converge" }));
    until(&scene, "2026-11-19T17:58:00Z").await;
    // Nothing works for forty minutes: neither the runs nor their repeats.
    scene.lab.faults().script("DescribeScalableTargets", vec![CallFault::AccessDenied; 16 * 3]);
    until(&scene, "2026-11-20T12:00:00Z").await;
    assert!(!scene.lab.failures().is_empty());
    let history = scene.lab.world(|world| world.scalable_targets.history()[1..].to_vec());
    let stopped = history.iter().find(|change| change.max == 0).unwrap().at;
    assert!(stopped > time("2026-11-19T18:20:00Z") && stopped < time("2026-11-19T19:00:00Z"), "{stopped}");
    assert_eq!(scene.bounds(WEB), "2/6");
    assert_eq!(scene.memory(WEB), None);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_raises_a_sleeping_service_is_put_back_to_sleep() {
    let scene = converging("2026-11-19T17:30:00Z", &[]).await;
    until(&scene, "2026-11-19T22:02:00Z").await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB).as_deref()), ("0/0", Some("min=2:max=6")));
    scene.register(WEB, 1, 4).await;
    until(&scene, "2026-11-20T10:00:00Z").await;
    // What the deployment said last is what comes back.
    check(
        &scene,
        expect![[r#"
            Thu 19T18:00Z web 0/0
            Thu 19T22:02Z web 1/4
            Thu 19T22:05Z web 0/0
            Fri 20T09:00Z web 1/4
        "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_desired_count_that_is_raised_behind_the_target_is_put_back() {
    let scene = converging("2026-11-19T17:30:00Z", &[]).await;
    until(&scene, "2026-11-19T22:02:00Z").await;
    let writes = scene.writes();
    // UpdateService leaves the target at 0/0.
    scene.set_count("web", 3);
    until(&scene, "2026-11-19T22:06:00Z").await;
    assert_eq!((scene.desired("web"), scene.bounds(WEB).as_str()), (0, "0/0"));
    assert!(scene.tags(WEB).contains_key("lifecycle/not-in-effect"), "{:?}", scene.tags(WEB));
    until(&scene, "2026-11-20T08:00:00Z").await;
    // The time at which it was found, the registration, and the end of that tag.
    assert_eq!((scene.running("web"), scene.writes()), (0, writes + 3));
    until(&scene, "2026-11-20T09:10:00Z").await;
    assert_eq!((scene.desired("web"), scene.bounds(WEB).as_str()), (2, "2/6"));
    assert!(scene.tags(WEB).is_empty(), "{:?}", scene.tags(WEB));
}

#[tokio::test(start_paused = true)]
async fn who_resizes_a_service_while_it_is_awake_keeps_the_size_overnight() {
    let scene = converging("2026-11-19T12:00:00Z", &[]).await;
    until(&scene, "2026-11-19T13:02:00Z").await;
    scene.register(WEB, 3, 9).await;
    until(&scene, "2026-11-20T10:00:00Z").await;
    check(
        &scene,
        expect![[r#"
            Thu 19T13:02Z web 3/9
            Thu 19T18:00Z web 0/0
            Fri 20T09:00Z web 3/9
        "#]],
    );
    assert_eq!(scene.desired("web"), 3);
}

#[tokio::test(start_paused = true)]
async fn who_works_late_keeps_a_service_awake_and_then_it_sleeps() {
    let scene = converging("2026-11-19T17:30:00Z", &[]).await;
    scene.tag(WEB, KEEP_AWAKE, "2026-11-19T21:30:00Z").await;
    until(&scene, "2026-11-19T21:29:00Z").await;
    assert_eq!(scene.running("web"), 2);
    until(&scene, "2026-11-20T10:00:00Z").await;
    check(
        &scene,
        expect![[r#"
            Thu 19T21:30Z web 0/0
            Fri 20T09:00Z web 2/6
        "#]],
    );
    assert!(scene.tags(WEB).is_empty(), "{:?}", scene.tags(WEB));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_never_registered_follows_the_hours() {
    let scene = converging("2026-11-19T17:30:00Z", &[("RESOURCE_IDS", &format!("{WEB},{API}"))]).await;
    until(&scene, "2026-11-20T10:00:00Z").await;
    check(
        &scene,
        expect![[r#"
            Thu 19T18:00Z api 0/0
            Thu 19T18:00Z web 0/0
            Fri 20T09:00Z web 2/6
        "#]],
    );
    // As it was: two tasks and no target.
    assert_eq!((scene.desired("api"), scene.bounds(API).as_str()), (2, "none"));
}

#[tokio::test(start_paused = true)]
async fn two_stops_and_two_starts_are_as_good_as_one() {
    let scene = Scene::afternoon().await;
    scene.deploy(&[]);
    for (action, bounds) in [("stop", ["0/0", "0/0"]), ("start", ["2/6", "1/4"]), ("stop", ["0/0", "0/0"])] {
        for _ in 0..2 {
            scene.invoke(json!({ "action": action })).await.unwrap();
            scene.lab.sleep(HOUR).await;
            assert_eq!([scene.bounds(WEB), scene.bounds(API)], bounds);
        }
    }
    assert_eq!(scene.memory(WEB).as_deref(), Some("min=2:max=6"));
}

#[tokio::test(start_paused = true)]
async fn a_toggle_a_night_and_a_toggle_a_morning() {
    let scene = Scene::afternoon().await;
    scene.deploy(&[]);
    scene.lab.schedule(12 * HOUR, NAME, json!({}));
    scene.lab.sleep(MINUTE).await;
    for _ in 0..3 {
        scene.lab.sleep(12 * HOUR).await;
        assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "0/0"]);
        scene.lab.sleep(12 * HOUR).await;
        assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["2/6", "1/4"]);
    }
}
