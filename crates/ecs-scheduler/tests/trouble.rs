//! What happens where AWS is busy, refuses, or does not answer, and where a service is not there.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::iter::repeat_n;
use std::time::Duration;

use chrono::TimeDelta;
use common::{API, HOUR, JOBS, LOGS, Scene, WEB, check_calls, only, play, sample};
use ecs_scheduler::NAME;
use expect_test::{Expect, expect};
use lifecycle_lab::Bucket;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::faults::CallFault::{self, *};

#[tokio::test(start_paused = true)]
async fn one_that_does_not_exist_and_a_daemon_are_named_after_all_others_were_done() {
    let scene = Scene::afternoon().await;
    let resources = format!("{LOGS},{WEB},service/shop/nowhere,{API}");
    let played = play(&scene, &[("RESOURCE_IDS", &resources)], sample("stop")).await;
    let end = played.lines().find(|line| line.starts_with("TargetsFailed")).unwrap();
    expect!["TargetsFailed: 2 of 4 targets failed: service/shop/logs: it is a daemon service, which can't be scaled: it runs one task on each instance; service/shop/nowhere: ECS has no active service of this name"].assert_eq(end);
    assert!(played.contains(r#"metric: "TargetsFailed""#), "{played}");
    assert_eq!((scene.bounds(WEB).as_str(), scene.bounds(API).as_str()), ("0/0", "0/0"));
}

#[tokio::test(start_paused = true)]
async fn a_memory_that_cannot_be_written_or_read_leaves_the_target_as_it_is() {
    let scene = Scene::afternoon().await;
    scene.lab.faults().deny("TagResource");
    check_calls(&scene, &only(WEB), sample("stop"), expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        TagResource: AccessDeniedException
        TargetsFailed: 1 of 1 targets failed: service/shop/web: TagResource failed: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/ecs-scheduler/ecs-scheduler is not authorized to perform: application-autoscaling:TagResource because no identity-based policy allows the application-autoscaling:TagResource action (request ecs-scheduler-4)
    "#]]).await;
    assert_eq!((scene.bounds(WEB).as_str(), scene.desired("web")), ("2/6", 2));

    for (scene, action) in [(Scene::evening().await, "start"), (Scene::afternoon().await, "stop")] {
        let before = scene.bounds(WEB);
        scene.lab.faults().deny("ListTagsForResource");
        let played = play(&scene, &only(WEB), sample(action)).await;
        assert!(played.contains("ListTagsForResource failed: AccessDeniedException"), "{played}");
        assert_eq!((scene.bounds(WEB), scene.writes()), (before, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_under_way_is_waited_for() {
    let scene = Scene::evening().await;
    scene.lab.world(|world| world.delays.target_update = Duration::from_secs(3));
    scene.register(WEB, 0, 0).await;
    let played = play(&scene, &only(WEB), sample("start")).await;
    assert!(played.contains("1 started"), "{played}");
    assert!(scene.calls().contains(&"RegisterScalableTarget: ConcurrentUpdateException".to_owned()));
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB)), ("2/6", None));
}

/// Stops `web` while these faults meet the calls of `action`.
async fn check_faults(action: &str, faults: &[CallFault], expected: Expect) {
    let scene = Scene::afternoon().await;
    scene.lab.faults().script(action, faults.iter().copied());
    check_calls(&scene, &only(WEB), sample("stop"), expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_aws_is_asked_again() {
    check_faults(
        "DescribeScalableTargets",
        &[Throttle, ServerError, Contention],
        expect![[r#"
            DescribeScalableTargets: ThrottlingException
            DescribeScalableTargets: InternalServiceException
            DescribeScalableTargets: ConcurrentUpdateException
            DescribeScalableTargets: ok
            DescribeServices: ok
            ListTagsForResource: ok
            TagResource: ok
            RegisterScalableTarget: ok
            answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
              {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
        "#]],
    )
    .await;
    check_faults(
        "TagResource",
        &[Throttle, CutBefore, CutAfter],
        expect![[r#"
            DescribeScalableTargets: ok
            DescribeServices: ok
            ListTagsForResource: ok
            TagResource: ThrottlingException
            TagResource: connection cut before the call took effect
            TagResource: ok, but the answer was lost
            TagResource: ok
            RegisterScalableTarget: ok
            answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
              {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
        "#]],
    )
    .await;
    check_faults(
        "RegisterScalableTarget",
        &[Contention, Contention, CutAfter],
        expect![[r#"
            DescribeScalableTargets: ok
            DescribeServices: ok
            ListTagsForResource: ok
            TagResource: ok
            RegisterScalableTarget: ConcurrentUpdateException
            RegisterScalableTarget: ConcurrentUpdateException
            RegisterScalableTarget: ok, but the answer was lost
            RegisterScalableTarget: ok
            answer: {"action":"stop","outcome":"scheduled","reason":"asked to stop: 1 stopped","wanted":"off"}, targets:
              {"after":{"max":0,"min":0},"before":{"max":6,"min":2},"resourceId":"service/shop/web","result":"stopped"}
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_denied_call_is_not() {
    check_faults("DescribeScalableTargets", &[AccessDenied], expect![[r#"
        DescribeScalableTargets: AccessDeniedException
        AwsError: DescribeScalableTargets failed: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/ecs-scheduler/ecs-scheduler is not authorized to perform: application-autoscaling:DescribeScalableTargets because no identity-based policy allows the application-autoscaling:DescribeScalableTargets action (request ecs-scheduler-1)
    "#]]).await;
    check_faults("RegisterScalableTarget", &[AccessDenied], expect![[r#"
        DescribeScalableTargets: ok
        DescribeServices: ok
        ListTagsForResource: ok
        TagResource: ok
        RegisterScalableTarget: AccessDeniedException
        TargetsFailed: 1 of 1 targets failed: service/shop/web: RegisterScalableTarget failed: AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/ecs-scheduler/ecs-scheduler is not authorized to perform: application-autoscaling:RegisterScalableTarget because no identity-based policy allows the application-autoscaling:RegisterScalableTarget action (request ecs-scheduler-5)
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_never_answers_holds_up_no_other() {
    let scene = Scene::afternoon().await;
    scene.register(JOBS, 1, 2).await;
    // The first call after the looks at all of them: the tags of the first.
    scene.lab.faults().at_call(NAME, 3, Hang);
    let start = scene.lab.now();
    let played = play(&scene, &[("RESOURCE_IDS", &format!("{WEB},{API},{JOBS}"))], sample("stop")).await;
    assert!(played.contains("3 stopped"), "{played}");
    let stopped = scene.lab.world(|world| world.scalable_targets.history()[3..].to_vec());
    let mut after: Vec<_> =
        stopped.iter().map(|change| (change.resource.as_str(), (change.at - start).num_seconds())).collect();
    after.sort_unstable();
    assert_eq!(after, [(API, 0), (JOBS, 0), (WEB, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_out_of_time_says_which_targets_are_left() {
    let scene = Scene::afternoon().await;
    scene.lab.faults().script("TagResource", [Hang; 100]);
    let played = play(&scene, &[("RESOURCE_IDS", &format!("{WEB},{API},{JOBS}"))], sample("stop")).await;
    let end: Vec<_> = played.lines().rev().take(3).collect();
    expect![[r#"
        after 59.5s
        metric: "TargetsFailed"
        TargetsFailed: 2 of 3 targets failed: service/shop/web: TagResource had no answer in time: request has timed out: operation attempt timeout (single attempt) occurred after 300ms; service/shop/api: TagResource had no answer in time: request has timed out: operation attempt timeout (single attempt) occurred after 4.19s"#]].assert_eq(&end.join("\n"));
    assert_eq!((scene.bounds(WEB).as_str(), scene.bounds(JOBS).as_str()), ("2/6", "0/0"));
}

/// Registers this many services of one task each. Returns their resources.
async fn add_services(scene: &Scene, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|number| format!("s{number}")).collect();
    let mut resources = Vec::new();
    for name in &names {
        scene.lab.world(|world| world.add_service("shop", name, Scheduling::Replica, 1)).unwrap();
        resources.push(format!("service/shop/{name}"));
        scene.register(&resources[resources.len() - 1], 1, 2).await;
    }
    resources
}

/// Stops these targets. Returns how the run ended.
async fn stop(scene: &Scene, resources: &[String]) -> String {
    let played = play(scene, &[("RESOURCE_IDS", &resources.join(","))], sample("stop")).await;
    let is_end = |line: &&str| line.starts_with("answer: ") || line.starts_with("TargetsFailed: ");
    played.lines().find(is_end).unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn many_targets_stay_within_awss_rate() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    let resources = add_services(&scene, 200).await;
    let start = scene.lab.now();
    scene.lab.world(|world| world.scalable_targets.bucket = Some(Bucket::new(40.0, 20.0)));
    let end = stop(&scene, &resources).await;
    assert!(end.contains("asked to stop: 200 stopped"), "{end}");
    let throttled = scene.calls().iter().filter(|call| call.ends_with("ThrottlingException")).count();
    assert!((1..300).contains(&throttled), "{throttled} throttled calls for 604 that succeeded");
    assert!(scene.lab.now() - start < TimeDelta::from_std(Duration::from_secs(50)).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_few_that_are_stuck_hold_up_no_others() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    let resources = add_services(&scene, 60).await;
    // Five at a time never get an answer. With the whole run for each, the first five would use up nearly all of
    // it; with a share, each meets one of these calls.
    scene.lab.faults().script("TagResource", [Hang; 50]);
    let end = stop(&scene, &resources).await;
    assert!(end.contains("asked to stop: 60 stopped"), "{end}");
    assert_eq!(scene.calls().iter().filter(|call| *call == "TagResource: no answer").count(), 50);
}

#[tokio::test(start_paused = true)]
async fn those_that_stay_stuck_hold_up_no_others_that_get_a_second_chance() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    scene.lab.world(|world| world.delays.target_update = HOUR);
    let mut resources = add_services(&scene, 5).await;
    // These are free only after their first share, which is 20 to 40 s after the run's beginning.
    scene.lab.world(|world| world.delays.target_update = Duration::from_secs(45));
    for resource in [WEB, API, JOBS] {
        scene.register(resource, 1, 2).await;
        resources.push(resource.to_owned());
    }
    let end = stop(&scene, &resources).await;
    assert!(end.starts_with("TargetsFailed: 5 of 8 targets failed"), "{end}");
    for resource in [WEB, API, JOBS] {
        assert_eq!(scene.bounds(resource), "0/0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lack_of_time_at_the_end_hides_no_reason() {
    let scene = Scene::at("2026-11-19T15:00:00Z");
    let resources = add_services(&scene, 60).await;
    scene.lab.faults().script("ListTagsForResource", repeat_n(Throttle, 10_000));
    let end = stop(&scene, &resources).await;
    assert!(end.starts_with("TargetsFailed: 60 of 60 targets failed: "), "{end}");
    for resource in &resources {
        assert!(end.contains(resource.as_str()), "{resource} in {end}");
    }
    // An error has 4 KB: the reasons of the first ones, and the names of all.
    let throttled = end.matches("ListTagsForResource failed: ThrottlingException").count();
    assert!(throttled > 20 && !end.contains("Timeout"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_start_of_what_is_on_leaves_a_memory_to_the_stop_that_writes_it() {
    let scene = Scene::afternoon().await;
    scene.tag(WEB, common::REMEMBERED, "min=2:max=6").await;
    let played = play(&scene, &[], sample("start")).await;
    assert!(played.contains("2 unchanged"), "{played}");
    assert_eq!((scene.writes(), scene.memory(WEB).as_deref()), (0, Some("min=2:max=6")));
}
