//! Scenes that once went wrong, each with the right end.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{API, HOUR, JOBS, MINUTE, Scene, WEB, check_calls, only, play, sample, with_targets};
use ecs_scheduler::Context;
use expect_test::expect;
use lambda_kit::{Invocation, Output};
use lifecycle_lab::faults::CallFault;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

const HOURS: (&str, &str) = ("WORKING_HOURS", "MON-FRI 09:00-18:00");

fn converge() -> Value {
    json!({ "action": "converge" })
}

/// The variables that make `resource` the only target, with hours.
fn with_hours(resource: &str) -> [(&'static str, &str); 2] {
    [("RESOURCE_IDS", resource), HOURS]
}

#[tokio::test(start_paused = true)]
async fn a_memory_has_only_characters_that_aws_allows_in_tags_and_an_old_one_is_still_read() {
    let scene = Scene::afternoon().await;
    scene.lab.world(|world| world.scalable_targets.strict_tags = true);
    play(&scene, &only(WEB), sample("stop")).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB).as_deref()), ("0/0", Some("min=2:max=6")));
    let scene = Scene::evening().await;
    scene.lab.world(|world| world.scalable_targets.strict_tags = false);
    scene.tag(WEB, "lifecycle/remembered", "min=2,max=6").await;
    let played = play(&scene, &only(WEB), sample("start")).await;
    assert!(!played.contains("told"), "{played}");
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB)), ("2/6", None));
}

#[tokio::test(start_paused = true)]
async fn a_target_without_an_arn_sleeps_and_wakes_with_the_configured_capacity() {
    let scene = Scene::afternoon().await;
    scene.lab.world(|world| world.scalable_targets.forget_arn(WEB));
    check_calls(&scene, &only(WEB), sample("stop"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        TargetsFailed: 1 of 1 targets failed: service/shop/web: not stopped, because it would not come back as it is: it was registered before targets had ARNs and can carry no tags, so 2/6 would be lost; deregister the target and register it again
    "#]]).await;
    assert_eq!(scene.bounds(WEB), "2/6");

    let variables = [("RESOURCE_IDS", WEB), ("MIN_CAPACITY", "2"), ("MAX_CAPACITY", "6")];
    check_calls(&scene, &variables, sample("stop"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        DescribeScalableTargets: ok
        DescribeServices: ok
        RegisterScalableTarget: ok
        answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
    "#]]).await;
    assert_eq!(scene.bounds(WEB), "0/0");
    let played = play(&scene, &variables, sample("start")).await;
    assert!(!played.contains("told"), "{played}");
    assert_eq!(scene.bounds(WEB), "2/6");

    let forgetful = [("RESOURCE_IDS", WEB), ("REMEMBER_CAPACITY", "false")];
    play(&scene, &forgetful, sample("stop")).await;
    assert_eq!(scene.bounds(WEB), "0/0");
}

#[tokio::test(start_paused = true)]
async fn a_target_without_an_arn_is_kept_by_the_tags_of_its_service() {
    let scene = Scene::evening().await;
    scene.lab.world(|world| world.scalable_targets.forget_arn(WEB));
    scene.tag_service("web", "keep-awake-until", Some("2026-11-19T20:00:00Z"));
    scene.lab.sleep(4 * HOUR).await;
    play(&scene, &with_hours(WEB), converge()).await;
    assert_eq!(scene.bounds(WEB), "1/3");
}

#[tokio::test(start_paused = true)]
async fn a_maximum_that_was_registered_at_night_wakes_with_the_remembered_minimum() {
    let scene = Scene::evening().await;
    scene.register(WEB, 0, 10).await;
    for (hours, bounds) in [(7, "0/0"), (12, "2/10")] {
        scene.lab.sleep(hours * HOUR).await;
        play(&scene, &with_hours(WEB), converge()).await;
        assert_eq!(scene.bounds(WEB), bounds);
    }
    assert_eq!(scene.desired("web"), 2);

    let scene = Scene::evening().await;
    scene.register(WEB, 0, 10).await;
    play(&scene, &only(WEB), sample("start")).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB)), ("2/10", None));
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_is_gone_is_told_once() {
    let scene = Scene::afternoon().await;
    scene.register(WEB, 0, 0).await;
    let played = play(&scene, &only(WEB), sample("start")).await;
    assert!(played.contains(r#""failures":{"memory-missing":1}"#), "{played}");
    assert!(
        played.contains(
            r#""failure":"memory-missing","reason":"the configured capacity: nothing was remembered""#
        ),
        "{played}"
    );
    assert!(played.contains("told: memory-missing: service/shop/web: woken as 1/3"), "{played}");
    let played = play(&scene, &only(WEB), sample("start")).await;
    assert!(!played.contains("memory-missing"), "{played}");
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_beside_an_error() {
    let scene = Scene::afternoon().await;
    scene.register(WEB, 0, 0).await;
    let played =
        play(&scene, &[("RESOURCE_IDS", "service/shop/web,service/shop/nowhere")], sample("start")).await;
    assert!(
        played.contains(
            "TargetsFailed: 1 of 2 targets failed: service/shop/nowhere: ECS has no active service"
        ),
        "{played}"
    );
    assert!(played.contains("told: memory-missing: service/shop/web"), "{played}");
}

#[tokio::test(start_paused = true)]
async fn a_memory_above_the_quota_is_obeyed_up_to_it() {
    let scene = Scene::evening().await;
    scene.tag(WEB, "lifecycle/remembered", "min=6000:max=9000").await;
    let played = play(&scene, &only(WEB), sample("start")).await;
    assert!(played.contains(r#""failures":{"tag-doubtful":1}"#), "{played}");
    assert_eq!(scene.bounds(WEB), "5000/9000");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_comes_up_at_night_is_put_back_and_told_after_half_an_hour() {
    let scene = Scene::evening().await;
    scene.lab.sleep(4 * HOUR).await;
    let mut told = Vec::new();
    for minutes in (0..50).step_by(5) {
        scene.set_count("web", 3);
        let played = play(&scene, &with_hours(WEB), converge()).await;
        assert!(played.contains(r#""result":"registered-again""#), "{played}");
        assert_eq!(scene.desired("web"), 0);
        if played.contains(
            "told: not-in-effect: service/shop/web: the service is at 3 tasks, above the maximum of 0/0",
        ) {
            told.push(minutes);
        }
        scene.lab.sleep(5 * MINUTE).await;
    }
    assert_eq!(told, [30, 35, 40, 45]);
    let played = play(&scene, &with_hours(WEB), converge()).await;
    assert!(played.contains(r#""result":"unchanged""#), "{played}");
    assert!(!scene.tags(WEB).contains_key("lifecycle/not-in-effect"), "{:?}", scene.tags(WEB));
}

#[tokio::test(start_paused = true)]
async fn a_service_below_its_minimum_by_day_is_put_back_and_one_above_its_maximum_is_the_operators() {
    let scene = Scene::afternoon().await;
    scene.set_count("web", 1);
    scene.set_count("api", 9);
    play(&scene, &[HOURS], converge()).await;
    assert_eq!((scene.desired("web"), scene.desired("api")), (2, 9));
}

#[tokio::test(start_paused = true)]
async fn who_puts_a_target_to_sleep_by_hand_keeps_it_asleep_with_a_tag() {
    let scene = Scene::afternoon().await;
    scene.register(WEB, 0, 0).await;
    scene.tag(WEB, "keep-asleep-until", "2026-11-20T12:00:00Z").await;
    for action in ["converge", "start"] {
        let played = play(&scene, &with_hours(WEB), json!({ "action": action })).await;
        assert!(played.contains(r#""result":"kept-asleep""#), "{played}");
        assert_eq!(scene.bounds(WEB), "0/0");
    }
    scene.lab.sleep(21 * HOUR).await;
    play(&scene, &with_hours(WEB), converge()).await;
    assert_eq!(scene.bounds(WEB), "1/3");
    assert!(scene.tags(WEB).is_empty(), "{:?}", scene.tags(WEB));
}

#[tokio::test(start_paused = true)]
async fn an_operators_tags_decide_whatever_the_hours() {
    let scene = Scene::evening().await;
    scene.lab.sleep(4 * HOUR).await;
    scene.tag(WEB, "keep-awake-until", "2026-11-19T22:00:00Z").await;
    scene.tag_service("api", "keep-awake-until", Some("2027-11-19T22:00:00Z"));
    let played = play(&scene, &[HOURS], converge()).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["2/6", "1/4"]);
    assert!(played.contains(r#""failures":{"tag-doubtful":1}"#), "{played}");
    assert!(played.contains("told: tag-doubtful: service/shop/api: keep-awake-until 2027-11-19T22:00:00Z is more than 30 days ahead"), "{played}");
    scene.lab.sleep(4 * HOUR).await;
    play(&scene, &[HOURS], converge()).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "1/4"]);
}

#[tokio::test(start_paused = true)]
async fn the_repeat_of_a_toggle_goes_the_same_way() {
    let event = sample("scheduled");
    let scene = Scene::afternoon().await;
    scene.register(JOBS, 1, 2).await;
    let three = [("RESOURCE_IDS", "service/shop/web,service/shop/api,service/shop/jobs")];
    scene.lab.faults().script("RegisterScalableTarget", [CallFault::AccessDenied]);
    let played = play(&scene, &three, event.clone()).await;
    assert!(played.contains("TargetsFailed: 1 of 3 targets failed"), "{played}");
    let id = event["id"].as_str().unwrap();
    assert_eq!(scene.tags(WEB)["lifecycle/toggle"], format!("{id}:stop"));
    play(&scene, &three, event.clone()).await;
    let all = [WEB, API, JOBS];
    assert_eq!(all.map(|resource| scene.bounds(resource)), ["0/0"; 3]);
    // Once more, and then another run.
    play(&scene, &three, event.clone()).await;
    assert_eq!(all.map(|resource| scene.bounds(resource)), ["0/0"; 3]);
    let mut other = event;
    other["id"] = "another".into();
    play(&scene, &three, other).await;
    assert_eq!(all.map(|resource| scene.bounds(resource)), ["2/6", "1/4", "1/2"]);
}

#[tokio::test(start_paused = true)]
async fn without_an_events_id_lambdas_request_id_tells_a_repeat() {
    let scene = Scene::afternoon().await;
    let running =
        testkit::running::<Context>(&scene.lab, &with_targets(&[]), Output::Channel(unbounded_channel().0));
    for (request, bounds) in
        [("one", "0/0"), ("one", "0/0"), ("two", "2/6"), ("two", "2/6"), ("three", "0/0")]
    {
        let invocation = Invocation::new(scene.lab.now(), Duration::from_secs(60)).of_request(request);
        running.invoke(json!({ "action": "toggle" }), &invocation).await.unwrap();
        assert_eq!(scene.bounds(WEB), bounds, "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_direction_of_a_toggle_stands_on_a_target_that_stays() {
    let scene = Scene::afternoon().await;
    let variables = [("RESOURCE_IDS", "service/shop/jobs,service/shop/web")];
    let mut event = sample("scheduled");
    for (id, bounds, count) in [("one", ["0/0", "0/0"], 0), ("two", ["none", "2/6"], 2)] {
        event["id"] = id.into();
        for _ in 0..2 {
            play(&scene, &variables, event.clone()).await;
            assert_eq!([scene.bounds(JOBS), scene.bounds(WEB)], bounds, "{id}");
            assert_eq!(scene.desired("jobs"), count);
            assert!(scene.tags(WEB)["lifecycle/toggle"].starts_with(id));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_toggle_whose_direction_cannot_be_kept_changes_nothing() {
    let scene = Scene::afternoon().await;
    scene.lab.faults().deny("TagResource");
    let played = play(&scene, &[], sample("scheduled")).await;
    assert!(played.contains("AwsError: TagResource failed: AccessDeniedException"), "{played}");
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["2/6", "1/4"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_target_is_stopped_and_comes_back_as_it_was() {
    let scene = Scene::at("2026-11-19T19:00:00Z");
    scene.set_count("jobs", 5);
    check_calls(&scene, &with_hours(JOBS), converge(), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        RegisterScalableTarget: ok
        answer: {"action":"converge","outcome":"scheduled","reason":"outside the working hours in UTC: 1 stopped","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":null,"reason":"the target was not registered","resourceId":"service/shop/jobs","result":"stopped"}
    "#]]).await;
    assert_eq!((scene.bounds(JOBS).as_str(), scene.memory(JOBS).as_deref()), ("0/0", Some("desired=5")));
    scene.lab.sleep(MINUTE).await;
    assert_eq!(scene.desired("jobs"), 0);
    let played = play(&scene, &with_hours(JOBS), converge()).await;
    assert!(played.contains(r#""result":"unchanged""#), "{played}");
    scene.lab.sleep(14 * HOUR).await;
    let played = play(&scene, &with_hours(JOBS), converge()).await;
    assert!(!played.contains("told"), "{played}");
    assert_eq!((scene.bounds(JOBS).as_str(), scene.desired("jobs")), ("none", 5));
    let played = play(&scene, &with_hours(JOBS), converge()).await;
    assert!(played.contains(r#""result":"unchanged""#), "{played}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_somebody_registered_meanwhile_stays() {
    let scene = Scene::at("2026-11-19T19:00:00Z");
    scene.set_count("jobs", 5);
    play(&scene, &only(JOBS), sample("stop")).await;
    scene.register(JOBS, 0, 8).await;
    play(&scene, &only(JOBS), sample("start")).await;
    assert_eq!((scene.bounds(JOBS).as_str(), scene.desired("jobs")), ("5/8", 5));
    assert!(scene.tags(JOBS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_memory_a_service_without_a_target_is_not_stopped() {
    let scene = Scene::at("2026-11-19T19:00:00Z");
    let played =
        play(&scene, &[("RESOURCE_IDS", JOBS), ("REMEMBER_CAPACITY", "false")], sample("stop")).await;
    assert!(played.contains(r#""result":"unchanged""#), "{played}");
    assert_eq!((scene.bounds(JOBS).as_str(), scene.desired("jobs")), ("none", 2));
}

#[tokio::test(start_paused = true)]
async fn where_services_cannot_be_seen_targets_are_handled_and_then_the_run_is_an_error() {
    let scene = Scene::afternoon().await;
    scene.lab.faults().deny("DescribeServices");
    let played = play(&scene, &[HOURS], sample("stop")).await;
    assert!(played.contains("AwsError: DescribeServices failed: AccessDeniedException"), "{played}");
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "0/0"]);
    let played = play(&scene, &[HOURS], converge()).await;
    assert!(played.contains("AwsError: DescribeServices failed: AccessDeniedException"), "{played}");
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["2/6", "1/4"]);
    let played = play(&scene, &only(JOBS), sample("stop")).await;
    assert!(played.contains("TargetsFailed: 1 of 1 targets failed: service/shop/jobs: it has no target, and its desired count can't be read; DescribeServices failed"), "{played}");
    assert_eq!(scene.bounds(JOBS), "none");
}

#[tokio::test(start_paused = true)]
async fn ecs_that_does_not_answer_takes_a_part_of_the_time_only() {
    let scene = Scene::afternoon().await;
    scene.lab.faults().script("DescribeServices", [CallFault::Hang; 40]);
    let played = play(&scene, &[], sample("stop")).await;
    assert!(played.contains("Timeout: DescribeServices had no answer in time"), "{played}");
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "0/0"]);
}

#[tokio::test(start_paused = true)]
async fn ids_that_the_configuration_does_not_name_are_refused_before_anything_is_read() {
    let scene = Scene::afternoon().await;
    for (resources, ids) in [
        (WEB, json!([API])),
        (WEB, json!([WEB, API])),
        (WEB, json!(["service/shop/*"])),
        ("service/shop/*", json!(["service/office/web"])),
        (WEB, json!([])),
    ] {
        let payload = json!({ "action": "stop", "resourceIds": ids });
        let played = play(&scene, &only(resources), payload).await;
        assert!(played.starts_with("InvalidPayload: resourceIds"), "{played}");
    }
    assert!(scene.calls().is_empty());
    play(&scene, &only("service/shop/*"), json!({ "action": "stop", "resourceIds": [WEB] })).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "1/4"]);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_of_ones_own_is_remembered_with_the_capacity() {
    let scene = Scene::afternoon().await;
    let variables = [("RESOURCE_IDS", "service/shop/web,service/shop/jobs"), ("SLEEP_CAPACITY", "1/2")];
    scene.set_count("jobs", 5);
    play(&scene, &variables, sample("stop")).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(JOBS)], ["1/2", "1/2"]);
    assert_eq!(scene.memory(WEB).as_deref(), Some("min=2:max=6:asleep=1/2"));
    assert_eq!(scene.memory(JOBS).as_deref(), Some("desired=5:asleep=1/2"));
    // Another configuration knows from the memory that they sleep.
    play(&scene, &variables[..1], sample("start")).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(JOBS)], ["2/6", "none"]);
    assert_eq!(scene.desired("jobs"), 5);
}

#[tokio::test(start_paused = true)]
async fn two_runs_at_once_are_as_good_as_one_without_a_target_too() {
    for behind in [0, 20, 60, 100, 140, 180, 240] {
        let scene = Scene::at("2026-11-19T19:00:00Z");
        scene.set_count("jobs", 5);
        scene.deploy(&only(JOBS));
        for (action, bounds, count) in [("stop", "0/0", 0), ("start", "none", 5)] {
            let late = async {
                scene.lab.sleep(Duration::from_millis(behind)).await;
                scene.invoke(json!({ "action": action })).await
            };
            let (first, second) = tokio::join!(scene.invoke(json!({ "action": action })), late);
            assert!(first.is_ok() && second.is_ok(), "{behind} ms behind: {first:?} {second:?}");
            scene.lab.sleep(MINUTE).await;
            assert_eq!(
                (scene.bounds(JOBS).as_str(), scene.desired("jobs")),
                (bounds, count),
                "{action}, {behind} ms behind"
            );
        }
    }
}
