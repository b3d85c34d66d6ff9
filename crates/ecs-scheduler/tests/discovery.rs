//! Services that nobody names one by one: all of a cluster, and those that carry a tag.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::{API, HOUR, JOBS, LOGS, Scene, WEB, check_calls, play, sample};
use expect_test::expect;
use lambda_kit::Configuration;
use lifecycle_lab::ecs::Scheduling;
use serde_json::json;

const ALL: [(&str, &str); 1] = [("RESOURCE_IDS", "service/shop/*")];
const TAG: (&str, &str) = ("DISCOVER_TAG", "office-hours");

fn discovering<'a>(others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [TAG].into_iter().chain(others.iter().copied()).collect()
}

/// An afternoon on which `web` and `api` carry the tag with these values.
async fn tagged(web: &str, api: &str) -> Scene {
    let scene = Scene::afternoon().await;
    scene.tag_service("web", "office-hours", Some(web));
    scene.tag_service("api", "office-hours", Some(api));
    scene
}

#[tokio::test(start_paused = true)]
async fn all_of_a_cluster_are_its_replica_services_with_a_target_or_without() {
    let scene = Scene::afternoon().await;
    check_calls(&scene, &ALL, sample("stop"), expect![[r#"
        ListServices: ok
        DescribeScalableTargets: ok
        DescribeServices: ok
        RegisterScalableTarget: ok
        ListTagsForResource: ok
        ListTagsForResource: ok
        TagResource: ok
        TagResource: ok
        RegisterScalableTarget: ok
        RegisterScalableTarget: ok
        answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 3 stopped","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":{"max":4,"min":1},"resourceId":"service/shop/api","result":"stopped"}
          {"after":{"max":0,"min":0},"before":null,"reason":"the target was not registered","resourceId":"service/shop/jobs","result":"stopped"}
          {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
    "#]]).await;
    assert_eq!(
        [scene.bounds(WEB), scene.bounds(API), scene.bounds(JOBS), scene.bounds(LOGS)],
        ["0/0", "0/0", "0/0", "none"]
    );
    scene.lab.sleep(HOUR).await;
    assert_eq!(["web", "api", "jobs"].map(|name| scene.desired(name)), [0, 0, 0]);
    play(&scene, &ALL, sample("start")).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API), scene.bounds(JOBS)], ["2/6", "1/4", "none"]);
    assert_eq!(scene.desired("jobs"), 2);
}

#[tokio::test(start_paused = true)]
async fn one_at_0_that_only_the_star_names_is_its_owners() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    scene.set_count("jobs", 0);
    play(&scene, &ALL, sample("start")).await;
    assert_eq!((scene.bounds(JOBS).as_str(), scene.writes()), ("none", 0));
    // The payload names it in full.
    play(&scene, &ALL, json!({ "action": "start", "resourceIds": [JOBS] })).await;
    assert_eq!((scene.bounds(JOBS).as_str(), scene.desired("jobs")), ("1/3", 1));
    // So does the configuration.
    let scene = Scene::at("2026-11-19T15:00:00Z");
    scene.set_count("jobs", 0);
    play(&scene, &[("RESOURCE_IDS", "service/shop/*,service/shop/jobs")], sample("start")).await;
    assert_eq!(scene.bounds(JOBS), "1/3");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_exist_stops_no_other() {
    let scene = Scene::afternoon().await;
    let played =
        play(&scene, &[("RESOURCE_IDS", "service/nowhere/*,service/shop/web")], sample("stop")).await;
    assert!(played.contains("TargetsFailed: 1 of 2 targets failed: service/nowhere/*: ListServices failed: ClusterNotFoundException"), "{played}");
    assert_eq!(scene.bounds(WEB), "0/0");
}

#[tokio::test(start_paused = true)]
async fn each_service_goes_by_the_hours_of_its_tag() {
    let scene = tagged("MON-FRI 09:00-18:00 @Asia/Seoul", "MON.THU 09:00-18:00 + SAT=1 10:00-12:00").await;
    check_calls(&scene, &discovering(&[("ACTION", "converge")]), json!({}), expect![[r#"
        GetResources: ok
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        ListTagsForResource: ok
        TagResource: ok
        RegisterScalableTarget: ok
        answer: {"action":"converge","outcome":"scheduled","reason":"by the hours in their tags: 1 stopped, 1 unchanged"}, targets:
          {"after":{"max":4,"min":1},"before":{"max":4,"min":1},"resourceId":"service/shop/api","result":"unchanged"}
          {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
    "#]]).await;
    // It is midnight in Seoul.
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "1/4"]);
    assert_eq!(
        scene.tags(WEB).into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
        ["lifecycle/function=ecs-scheduler", "lifecycle/remembered=min=2:max=6"]
    );
    // Friday at nine in Seoul.
    scene.lab.sleep(9 * HOUR).await;
    play(&scene, &discovering(&[]), json!({ "action": "converge" })).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["2/6", "0/0"]);
    assert!(scene.tags(WEB).is_empty(), "{:?}", scene.tags(WEB));
}

#[tokio::test(start_paused = true)]
async fn holidays_are_dates_in_the_zone_of_the_tag_and_an_empty_tag_means_the_configured_hours() {
    let scene = tagged("MON-FRI 00:00-24:00 @Asia/Seoul", "").await;
    let variables = discovering(&[("WORKING_HOURS", "MON-FRI 09:00-18:00"), ("HOLIDAYS", "2026-11-20")]);
    // In Seoul it is the holiday already.
    play(&scene, &variables, json!({ "action": "converge" })).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "1/4"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_value_leaves_its_service_as_it_is() {
    for (value, action) in
        [("always", "converge"), ("always", "stop"), ("MON-FRI 09:00-18:00 @Mars", "stop"), ("", "converge")]
    {
        let scene = tagged("MON 09:00-10:00", value).await;
        let played = play(&scene, &discovering(&[]), json!({ "action": action })).await;
        assert!(
            played.contains("TargetsFailed: 1 of 2 targets failed: service/shop/api: its tag office-hours="),
            "{played}"
        );
        assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "1/4"], "{value} {action}");
    }
    let scene = tagged("MON 09:00-10:00", "").await;
    play(&scene, &discovering(&[]), sample("stop")).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "0/0"]);
}

#[tokio::test(start_paused = true)]
async fn a_payload_names_services_that_carry_the_tag() {
    let scene = tagged("MON 09:00-10:00", "MON 09:00-10:00").await;
    for ids in [json!([WEB, JOBS]), json!(["service/shop/*"])] {
        let played = play(&scene, &discovering(&[]), json!({ "action": "stop", "resourceIds": ids })).await;
        assert!(played.contains("InvalidPayload: resourceIds["), "{played}");
    }
    assert_eq!(scene.calls(), ["GetResources: ok", "GetResources: ok"]);
    play(&scene, &discovering(&[]), json!({ "action": "stop", "resourceIds": [WEB] })).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "1/4"]);
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_tag_while_asleep_is_woken() {
    let scene = tagged("MON 09:00-10:00", "MON 09:00-10:00").await;
    scene.tag_service("jobs", "office-hours", Some("MON 09:00-10:00"));
    let converge = json!({ "action": "converge" });
    play(&scene, &discovering(&[]), converge.clone()).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API), scene.bounds(JOBS)], ["0/0", "0/0", "0/0"]);
    for service in ["api", "jobs"] {
        scene.tag_service(service, "office-hours", None);
    }
    // A stop wakes nobody.
    play(&scene, &discovering(&[]), sample("stop")).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API), scene.bounds(JOBS)], ["0/0", "0/0", "0/0"]);
    let played = play(&scene, &discovering(&[]), converge.clone()).await;
    for service in [API, JOBS] {
        assert!(
            played.contains(&format!("told: tag-doubtful: {service}: this function put it to sleep")),
            "{played}"
        );
    }
    assert_eq!([scene.bounds(WEB), scene.bounds(API), scene.bounds(JOBS)], ["0/0", "1/4", "none"]);
    assert_eq!((scene.tags(API).len(), scene.desired("jobs")), (0, 2));
    let played = play(&scene, &discovering(&[]), converge).await;
    assert!(!played.contains("told"), "{played}");
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_tag_is_woken_from_a_sleep_of_its_own_and_by_halves_too() {
    let scene = tagged("MON 09:00-10:00", "MON 09:00-10:00").await;
    let variables = discovering(&[("SLEEP_CAPACITY", "1/2")]);
    play(&scene, &variables, sample("stop")).await;
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["1/2", "1/2"]);
    for service in ["web", "api"] {
        scene.tag_service(service, "office-hours", None);
    }
    scene.register(API, 1, 9).await;
    let played = play(&scene, &variables, sample("start")).await;
    assert!(played.contains(r#""failures":{"tag-doubtful":2}"#), "{played}");
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["2/6", "1/9"]);
    assert!(scene.tags(WEB).is_empty() && scene.tags(API).is_empty(), "{:?}", scene.tags(API));
}

#[tokio::test(start_paused = true)]
async fn who_was_put_to_sleep_by_somebody_else_is_left_asleep() {
    let scene = tagged("MON-THU 09:00-18:00", "MON-THU 09:00-18:00").await;
    scene.register(JOBS, 0, 0).await;
    scene.tag(JOBS, "lifecycle/function", "another").await;
    play(&scene, &discovering(&[]), json!({ "action": "converge" })).await;
    assert_eq!((scene.bounds(JOBS).as_str(), scene.writes()), ("0/0", 0));
}

#[tokio::test(start_paused = true)]
async fn a_toggle_goes_by_the_first_service_whose_tag_can_be_read() {
    let scene = tagged("", "sometimes").await;
    scene.register(API, 0, 0).await;
    let played = play(&scene, &discovering(&[]), sample("toggle")).await;
    assert!(played.contains("TargetsFailed: 1 of 2 targets failed: service/shop/api: its tag"), "{played}");
    assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0", "0/0"]);
}

#[test]
fn a_tag_and_names_beside_it_are_refused_and_a_tag_needs_no_hours() {
    let parse = |variables: &[(&str, &str)]| {
        let config = ecs_scheduler::Config::parse(&variables.iter().copied().collect());
        config.map(drop).map_err(|error| error.chain())
    };
    assert_eq!(parse(&[("DISCOVER_TAG", "hours"), ("ACTION", "converge")]), Ok(()));
    let both = parse(&[("DISCOVER_TAG", "hours"), ("RESOURCE_IDS", WEB)]).unwrap_err();
    assert!(both.contains("RESOURCE_IDS: set beside DISCOVER_TAG"), "{both}");
    assert!(
        parse(&[("DISCOVER_TAG", "")]).unwrap_err().contains("DISCOVER_TAG: \"\" is not the key of a tag")
    );
}

/// Calls of a converge that changes nothing, and how long it takes for 300 services.
#[tokio::test(start_paused = true)]
async fn three_hundred_services_take_a_few_seconds() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    for number in 0..300 {
        let name = format!("s{number:03}");
        scene.lab.world(|world| world.add_service("office", &name, Scheduling::Replica, 1)).unwrap();
        scene
            .lab
            .world(|world| world.tag_service("office", &name, "office-hours", Some("THU 09:00-18:00")))
            .unwrap();
        scene.register(&format!("service/office/{name}"), 1, 2).await;
    }
    let variables = discovering(&[("ACTION", "converge")]);
    let played = play(&scene, &variables, json!({})).await;
    let counts = ["GetResources", "DescribeScalableTargets", "DescribeServices", "ListTagsForResource"]
        .map(|action| scene.calls().iter().filter(|call| **call == format!("{action}: ok")).count());
    assert_eq!((counts, scene.writes()), ([3, 6, 30, 300], 0));
    let took = played.rsplit_once("after ").unwrap().1.trim().to_owned();
    expect!["3.4s"].assert_eq(&took);
    // In the evening all of them go to sleep.
    scene.lab.sleep(4 * HOUR).await;
    let played = play(&scene, &variables, json!({})).await;
    let took = played.rsplit_once("after ").unwrap().1.trim().to_owned();
    expect!["9.0s"].assert_eq(&took);
    assert_eq!(scene.bounds("service/office/s299"), "0/0");
}
