//! What ecs-scheduler says to Application Auto Scaling and to Lambda, for each action: whole conversations
//! with the lab, in this process and under paused time.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::{API, HOUR, JOBS, KEEP_AWAKE, REMEMBERED, Scene, WEB, check_calls, only, play, sample};
use expect_test::{Expect, expect};
use lifecycle_lab::ecs::Scheduling;
use serde_json::{Value, json};

/// Compares a whole conversation, with the ARNs of the targets named after their resources.
async fn check(scene: &Scene, variables: &[(&str, &str)], payload: Value, expected: Expect) {
    let mut played = play(scene, variables, payload).await;
    for resource in [WEB, API, JOBS] {
        if let Some(arn) = scene.arn(resource) {
            played = played.replace(&arn, &format!("ARN of {resource}"));
        }
    }
    expected.assert_eq(&played);
}

#[tokio::test(start_paused = true)]
async fn a_stop_remembers_before_it_changes() {
    let scene = Scene::afternoon().await;
    check(&scene, &only(WEB), sample("stop"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/web
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=web
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/web
          => ok
        POST application-autoscaling TagResource
          ResourceARN=ARN of service/shop/web
          Tags.lifecycle/remembered=min=2:max=6
          => ok
        POST application-autoscaling RegisterScalableTarget
          MaxCapacity=0
          MinCapacity=0
          ResourceId=service/shop/web
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
        metric: "scheduled"
        after 236.0ms
    "#]]).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.desired("web")), ("0/0", 0));
}

#[tokio::test(start_paused = true)]
async fn a_start_restores_and_then_forgets() {
    let scene = Scene::evening().await;
    check(&scene, &only(WEB), sample("start"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/web
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=web
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/web
          => ok
        POST application-autoscaling RegisterScalableTarget
          MaxCapacity=6
          MinCapacity=2
          ResourceId=service/shop/web
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST application-autoscaling UntagResource
          ResourceARN=ARN of service/shop/web
          TagKeys.1=lifecycle/remembered
          => ok
        answer: {"action":"start","outcome":"scheduled","reason":"asked to start: 1 started","wanted":"on"}, targets:
          {"after":{"max":6,"min":2},"before":{"max":0,"min":0},"reason":"the capacity that the stop found","resourceId":"service/shop/web","result":"started"}
        metric: "scheduled"
        after 246.0ms
    "#]]).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.desired("web")), ("2/6", 2));
    assert!(scene.tags(WEB).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_should_be_is_not_changed() {
    let off = Scene::evening().await;
    check(&off, &[], sample("stop"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/web
          ResourceIds.2=service/shop/api
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=web
          services.2=api
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/api
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/web
          => ok
        answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 2 unchanged","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":{"max":0,"min":0},"resourceId":"service/shop/web","result":"unchanged"}
          {"after":{"max":0,"min":0},"before":{"max":0,"min":0},"resourceId":"service/shop/api","result":"unchanged"}
        metric: "scheduled"
        after 151.0ms
    "#]]).await;
    let on = Scene::afternoon().await;
    check_calls(&on, &[], sample("start"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        ListTagsForResource: ok
        answer: {"action":"start","outcome":"scheduled","reason":"asked to start: 2 unchanged","wanted":"on"}, targets:
          {"after":{"max":6,"min":2},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"unchanged"}
          {"after":{"max":4,"min":1},"before":{"max":4,"min":1},"resourceId":"service/shop/api","result":"unchanged"}
    "#]]).await;
    assert_eq!((on.bounds(WEB), on.bounds(API)), ("2/6".to_owned(), "1/4".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn converging_asks_once_for_fifty_targets_and_for_ten_services_and_for_each_ones_tags() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    let resources: Vec<_> = (1..=60).map(|number| format!("service/shop/s{number:02}")).collect();
    for resource in &resources {
        scene.lab.world(|world| world.add_service("shop", &resource[13..], Scheduling::Replica, 1)).unwrap();
        scene.register(resource, 1, 2).await;
    }
    let resources = resources.join(",");
    let mut before = 0;
    for (hours, writes) in [("MON-FRI 09:00-18:00", [0, 0]), ("MON-FRI 09:00-15:00", [120, 0])] {
        scene.deploy(&[("RESOURCE_IDS", &resources), ("WORKING_HOURS", hours)]);
        for writes in writes {
            scene.invoke(sample("converge")).await.unwrap();
            let calls = scene.calls().split_off(before);
            before += calls.len();
            let counts = ["DescribeScalableTargets", "DescribeServices", "ListTagsForResource"]
                .map(|action| calls.iter().filter(|call| **call == format!("{action}: ok")).count());
            assert_eq!((counts, calls.len()), ([2, 6, 60], 68 + writes), "{hours}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_toggle_goes_by_the_first_and_changes_it_last() {
    let scene = Scene::evening().await;
    scene.register(API, 1, 4).await;
    check(&scene, &[], sample("toggle"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/web
          ResourceIds.2=service/shop/api
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=web
          services.2=api
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/web
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/api
          => ok
        POST application-autoscaling RegisterScalableTarget
          MaxCapacity=6
          MinCapacity=2
          ResourceId=service/shop/web
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST application-autoscaling UntagResource
          ResourceARN=ARN of service/shop/web
          TagKeys.1=lifecycle/remembered
          => ok
        answer: {"action":"toggle","outcome":"scheduled","reason":"service/shop/web was off: 1 started, 1 unchanged","wanted":"on"}, targets:
          {"after":{"max":6,"min":2},"before":{"max":0,"min":0},"reason":"the capacity that the stop found","resourceId":"service/shop/web","result":"started"}
          {"after":{"max":4,"min":1},"before":{"max":4,"min":1},"resourceId":"service/shop/api","result":"unchanged"}
        metric: "scheduled"
        after 256.0ms
    "#]]).await;
    // Web was the first and was off.
    assert_eq!((scene.bounds(WEB).as_str(), scene.bounds(API).as_str()), ("2/6", "1/4"));
    let first = json!({ "action": "toggle", "resourceIds": [API, WEB] });
    let played = play(&scene, &[], first).await;
    assert!(played.contains("service/shop/api was on, at 1/4: 2 stopped"), "{played}");
    let calls = scene.lab.calls();
    let last = calls.iter().rfind(|call| call.action == "RegisterScalableTarget").unwrap();
    assert!(last.parameters.contains(&format!("ResourceId={API}")), "{:?}", last.parameters);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_the_same_and_writes_nothing() {
    let scene = Scene::evening().await;
    scene.register(API, 1, 4).await;
    scene.tag(WEB, REMEMBERED, "nonsense").await;
    let variables = [("RESOURCE_IDS", &*format!("{WEB},{API},{JOBS}")), ("WORKING_HOURS", "THU 09:00-18:00")];
    for action in ["start", "stop", "toggle", "converge"] {
        scene.deploy(&variables);
        let before = [WEB, API, JOBS].map(|resource| (scene.bounds(resource), scene.tags(resource)));
        let dry = scene.invoke(json!({ "action": action, "dryRun": true })).await.unwrap();
        assert_eq!(scene.writes(), 0, "{action}");
        assert_eq!([WEB, API, JOBS].map(|resource| (scene.bounds(resource), scene.tags(resource))), before);

        let real = Scene::evening().await;
        real.register(API, 1, 4).await;
        real.tag(WEB, REMEMBERED, "nonsense").await;
        real.deploy(&variables);
        let mut answer = real.invoke(json!({ "action": action, "dryRun": false })).await.unwrap();
        answer["dryRun"] = json!(true);
        assert_eq!(answer, dry);
        assert!(real.writes() > 0, "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_registered_is_registered() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    check(&scene, &only(JOBS), sample("start"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/jobs
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=jobs
          => ok
        answer: {"action":"start","outcome":"scheduled","reason":"asked to start: 1 unchanged","wanted":"on"}, targets:
          {"after":null,"before":null,"resourceId":"service/shop/jobs","result":"unchanged"}
        metric: "scheduled"
        after 81.0ms
    "#]]).await;
    let scene = Scene::at("2026-11-19T15:00:00Z");
    check(&scene, &only(JOBS), sample("stop"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/jobs
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=jobs
          => ok
        POST application-autoscaling RegisterScalableTarget
          MaxCapacity=0
          MinCapacity=0
          ResourceId=service/shop/jobs
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          Tags.lifecycle/remembered=desired=2
          => ok
        answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":null,"reason":"the target was not registered","resourceId":"service/shop/jobs","result":"stopped"}
        metric: "scheduled"
        after 121.0ms
    "#]]).await;
    assert_eq!((scene.bounds(JOBS).as_str(), scene.desired("jobs")), ("0/0", 0));
}

#[tokio::test(start_paused = true)]
async fn a_bad_memory_falls_back_to_the_configured_capacity_and_says_so() {
    let scene = Scene::evening().await;
    scene.tag(WEB, REMEMBERED, "min=0:max=0").await;
    check_calls(&scene, &only(WEB), sample("start"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        RegisterScalableTarget: ok
        UntagResource: ok
        answer: {"action":"start","failures":{"tag-doubtful":1},"outcome":"scheduled","reason":"asked to start: 1 started","wanted":"on"}, targets:
          {"after":{"max":3,"min":1},"before":{"max":0,"min":0},"failure":"tag-doubtful","reason":"the configured capacity: lifecycle/remembered=\"min=0:max=0\" is not a remembered capacity","resourceId":"service/shop/web","result":"started"}
        told: tag-doubtful: service/shop/web: lifecycle/remembered="min=0:max=0" is not a remembered capacity
    "#]]).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB)), ("1/3", None));
}

#[tokio::test(start_paused = true)]
async fn without_a_memory_a_start_looks_again_whether_another_run_was_faster() {
    let scene = Scene::afternoon().await;
    scene.register(WEB, 0, 0).await;
    check_calls(&scene, &only(WEB), sample("start"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        DescribeScalableTargets: ok
        DescribeServices: ok
        RegisterScalableTarget: ok
        answer: {"action":"start","failures":{"memory-missing":1},"outcome":"scheduled","reason":"asked to start: 1 started","wanted":"on"}, targets:
          {"after":{"max":3,"min":1},"before":{"max":0,"min":0},"failure":"memory-missing","reason":"the configured capacity: nothing was remembered","resourceId":"service/shop/web","result":"started"}
        told: memory-missing: service/shop/web: woken as 1/3, the configured capacity: nothing was remembered
    "#]]).await;
    assert_eq!(scene.bounds(WEB), "1/3");
}

#[tokio::test(start_paused = true)]
async fn who_works_late_is_not_put_to_sleep() {
    let scene = Scene::afternoon().await;
    scene.tag(WEB, KEEP_AWAKE, "2026-11-19T20:00:00+01:00").await;
    scene.tag(API, KEEP_AWAKE, "late").await;
    check(&scene, &[], sample("stop"), expect![[r#"
        POST application-autoscaling DescribeScalableTargets
          ResourceIds.1=service/shop/web
          ResourceIds.2=service/shop/api
          ScalableDimension=ecs:service:DesiredCount
          ServiceNamespace=ecs
          => ok
        POST ecs DescribeServices
          cluster=shop
          include.1=TAGS
          services.1=web
          services.2=api
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/web
          => ok
        POST application-autoscaling ListTagsForResource
          ResourceARN=ARN of service/shop/api
          => ok
        answer: {"action":"stop","failures":{"tag-doubtful":1},"outcome":"scheduled","reason":"asked to stop: 2 kept-awake","wanted":"off"}, targets:
          {"after":{"max":6,"min":2},"before":{"max":6,"min":2},"reason":"keep-awake-until 2026-11-19T20:00:00+01:00","resourceId":"service/shop/web","result":"kept-awake"}
          {"after":{"max":4,"min":1},"before":{"max":4,"min":1},"failure":"tag-doubtful","reason":"keep-awake-until=\"late\" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00","resourceId":"service/shop/api","result":"kept-awake"}
        told: tag-doubtful: service/shop/api: keep-awake-until="late" is not an RFC 3339 time such as 2026-11-21T22:00:00+01:00
        metric: "scheduled"
        after 161.0ms
    "#]]).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.bounds(API).as_str()), ("2/6", "1/4"));

    scene.lab.sleep(4 * HOUR).await;
    play(&scene, &[], sample("stop")).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.bounds(API).as_str()), ("0/0", "1/4"));
    assert_eq!(
        scene.tags(WEB).into_iter().collect::<Vec<_>>(),
        [(REMEMBERED.to_owned(), "min=2:max=6".to_owned())]
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_is_passed_where_it_is_given() {
    let scene = Scene::afternoon().await;
    let role = "arn:aws:iam::123456789012:role/scaling";
    let played = play(&scene, &[("RESOURCE_IDS", API), ("ROLEARN", role)], sample("stop")).await;
    assert!(played.contains(&format!("  RoleARN={role}\n")), "{played}");
}

#[tokio::test(start_paused = true)]
async fn without_memory_a_stop_writes_no_tag_and_a_start_reads_none() {
    let scene = Scene::afternoon().await;
    let variables = [("RESOURCE_IDS", WEB), ("REMEMBER_CAPACITY", "false")];
    check_calls(&scene, &variables, sample("stop"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        RegisterScalableTarget: ok
        answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
          {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
    "#]]).await;
    check_calls(&scene, &variables, sample("start"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        RegisterScalableTarget: ok
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        RegisterScalableTarget: ok
        answer: {"action":"start","outcome":"scheduled","reason":"asked to start: 1 started","wanted":"on"}, targets:
          {"after":{"max":3,"min":1},"before":{"max":0,"min":0},"reason":"the configured capacity","resourceId":"service/shop/web","result":"started"}
    "#]]).await;
    assert_eq!(scene.bounds(WEB), "1/3");
}

/// A run without work, however many services there are, and two that make every kind of call.
#[tokio::test(start_paused = true)]
async fn the_line_of_a_run_has_at_most_700_bytes_and_200_for_each_service_that_changes() {
    let scene = Scene::afternoon().await;
    let hours = ("WORKING_HOURS", "MON-FRI 09:00-18:00; SAT 10:00-12:00");
    scene.deploy(&[
        ("RESOURCE_IDS", "service/shop/*"),
        hours,
        ("TIMEZONE", "America/Argentina/Buenos_Aires"),
    ]);
    for hours in [0, 8, 16] {
        scene.lab.sleep(hours * HOUR).await;
        scene.invoke(json!({ "action": "converge" })).await.unwrap();
    }
    let logs = testkit::logs_until(&scene.lab, |logs| logs.len() == 3).await;
    let [idle, stopped, started] = &logs[..] else { panic!("{logs:#?}") };
    assert!(idle.contains(r#"3 unchanged","targets":[]"#), "{idle}");
    assert!(stopped.contains("3 stopped") && started.contains("3 started"), "{logs:#?}");
    // With its line break.
    for (line, limit) in [(idle, 700), (stopped, 700 + 3 * 200), (started, 700 + 3 * 200)] {
        assert!(line.len() < limit, "{} bytes: {line}", line.len() + 1);
    }
}
