//! The fault matrix: every call of a stop, a start and a convergence meets every fault, once or with the
//! run that repeats it delivered twice at the same time. Whatever happens: no target is at 0/0 without its
//! memory, no memory says 0/0, and one run later all is as without the fault.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{API, HOUR, JOBS, MINUTE, REMEMBERED, Scene, WEB, sample};
use ecs_scheduler::NAME;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::faults::CallFault::{self, *};
use serde_json::{Value, json};
use tokio::runtime::Builder;

const FAULTS: [CallFault; 9] =
    [Throttle, ServerError, Contention, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// What a service's target is registered as while it is on, and the text that remembers it.
type Service = (&'static str, &'static str, &'static str);

/// `jobs` has no target, and two tasks.
const SERVICES: [Service; 3] =
    [(WEB, "2/6", "min=2:max=6"), (API, "1/4", "min=1:max=4"), (JOBS, "none", "desired=2")];

const HOURS: &str = "MON-FRI 09:00-18:00";

/// An evening and the next morning.
struct Story {
    variables: &'static [(&'static str, &'static str)],
    services: &'static [Service],
    evening: Value,
    morning: Value,
    /// What is run at night, after an operator has raised the count of `web`.
    night: Option<Value>,
    /// Whether each run is also delivered twice.
    doubled: bool,
}

/// What a matrix met.
struct Met {
    /// The faults that had an effect.
    faults: usize,
    /// Those that had none: only some actions know contention.
    without_effect: usize,
    /// The actions that met one.
    actions: BTreeSet<String>,
}

/// Every call that a story makes without a fault meets every fault.
fn check(story: &Story) -> Met {
    let mut met = Met { faults: 0, without_effect: 0, actions: BTreeSet::new() };
    for doubled in [false, true].into_iter().filter(|doubled| !doubled || story.doubled) {
        let calls = play(story, doubled, None).len();
        for nth in 1..=calls {
            for fault in FAULTS {
                let made = play(story, doubled, Some((nth as u64, fault)));
                assert!(made.len() >= nth, "{}: no call {nth} for {fault:?} in {made:#?}", story.evening);
                let without_effect = made.iter().all(|call| call.ends_with(": ok"));
                assert!(
                    !without_effect || fault == Contention,
                    "{}: call {nth} did not meet {fault:?} in {made:#?}",
                    story.evening
                );
                met.without_effect += usize::from(without_effect);
                met.faults += usize::from(!without_effect);
                let faulted = made.iter().filter(|call| !call.ends_with(": ok"));
                met.actions.extend(faulted.map(|call| call.split_once(':').unwrap().0.to_owned()));
            }
        }
    }
    met
}

/// Plays a story in a runtime of its own, so that nothing of it goes on in the next.
fn play(story: &Story, doubled: bool, fault: Option<(u64, CallFault)>) -> Vec<String> {
    let name = format!("{}, call {fault:?}, doubled: {doubled}", story.evening);
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(play_story(story, fault, doubled, &name))
}

/// The actions that a stop and a start of targets call.
const OF_TARGETS: [&str; 6] = [
    "DescribeScalableTargets",
    "DescribeServices",
    "ListTagsForResource",
    "RegisterScalableTarget",
    "TagResource",
    "UntagResource",
];

/// Checks a story, and that these actions met this number of faults, and this number without effect.
fn check_met(story: &Story, actions: &[&str], faults: usize, without_effect: usize) {
    let met = check(story);
    let expected: BTreeSet<_> = OF_TARGETS.iter().chain(actions).map(|action| (*action).to_owned()).collect();
    assert_eq!(met.actions, expected);
    assert_eq!((met.faults, met.without_effect), (faults, without_effect));
}

#[test]
fn by_stop_and_start_no_memory_is_lost_and_one_run_heals_everything() {
    let story = Story {
        variables: &[],
        services: &SERVICES[..2],
        evening: json!({ "action": "stop" }),
        morning: json!({ "action": "start" }),
        night: None,
        doubled: true,
    };
    check_met(&story, &[], 408, 24);
}

#[test]
fn by_converging_no_memory_is_lost_and_one_run_heals_everything() {
    let converge = json!({ "action": "converge" });
    let story = Story {
        variables: &[("WORKING_HOURS", HOURS)],
        services: &SERVICES[..2],
        evening: converge.clone(),
        morning: converge.clone(),
        night: Some(converge),
        doubled: true,
    };
    check_met(&story, &[], 558, 36);
}

#[test]
fn of_a_whole_cluster_no_memory_is_lost_and_one_run_heals_everything() {
    let story = Story {
        variables: &[("RESOURCE_IDS", "service/shop/*")],
        services: &SERVICES,
        evening: json!({ "action": "stop" }),
        morning: json!({ "action": "start" }),
        night: None,
        doubled: false,
    };
    check_met(&story, &["DeregisterScalableTarget", "ListServices", "UpdateService"], 186, 12);
}

#[test]
fn of_services_found_by_their_tag_no_memory_is_lost_and_one_run_heals_everything() {
    let converge = json!({ "action": "converge" });
    let story = Story {
        variables: &[("DISCOVER_TAG", "office-hours")],
        services: &SERVICES,
        evening: converge.clone(),
        morning: converge,
        night: None,
        doubled: false,
    };
    check_met(&story, &["DeregisterScalableTarget", "GetResources", "UpdateService"], 186, 12);
}

/// Plays an evening and a morning of which the nth call meets a fault. Returns the calls. Whatever that left
/// behind, the next night is as good as the first.
async fn play_story(
    story: &Story,
    fault: Option<(u64, CallFault)>,
    doubled: bool,
    name: &str,
) -> Vec<String> {
    let scene = Scene::afternoon().await;
    for service in ["web", "api", "jobs"] {
        scene.tag_service(service, "office-hours", Some(HOURS));
    }
    scene.deploy(story.variables);
    if let Some((nth, fault)) = fault {
        scene.lab.faults().at_call(NAME, nth, fault);
    }

    scene.lab.sleep(4 * HOUR).await;
    run(&scene, story, &story.evening, doubled, name).await;
    for (resource, _, memory) in story.services {
        assert_eq!(scene.bounds(resource), "0/0", "{name}: {:#?}", scene.calls());
        assert_eq!(scene.memory(resource).as_deref(), Some(*memory), "{name}: {:#?}", scene.calls());
    }
    if let Some(payload) = &story.night {
        scene.set_count("web", 3);
        run(&scene, story, payload, doubled, name).await;
        scene.lab.sleep(MINUTE).await;
        assert_eq!(scene.desired("web"), 0, "{name}: {:#?}", scene.calls());
    }

    scene.lab.sleep(16 * HOUR).await;
    run(&scene, story, &story.morning, doubled, name).await;
    scene.lab.sleep(MINUTE).await;
    for (resource, bounds, _) in story.services {
        assert_eq!(scene.bounds(resource), *bounds, "{name}: {:#?}", scene.calls());
    }
    assert_eq!((scene.desired("web"), scene.desired("jobs")), (2, 2), "{name}: {:#?}", scene.calls());

    let calls = scene.calls();
    scene.register(WEB, 3, 5).await;
    scene.lab.sleep(9 * HOUR).await;
    scene.invoke(story.evening.clone()).await.unwrap();
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB).as_deref()), ("0/0", Some("min=3:max=5")));
    scene.lab.sleep(63 * HOUR).await;
    scene.invoke(story.morning.clone()).await.unwrap();
    assert_eq!((scene.bounds(WEB), scene.memory(WEB)), ("3/5".to_owned(), None), "{name}");
    calls
}

/// A run, and one more where it failed, as Lambda does it. In between, nothing is lost.
async fn run(scene: &Scene, story: &Story, payload: &Value, doubled: bool, name: &str) {
    let first = async {
        match doubled {
            true => {
                let (one, other) = tokio::join!(scene.invoke(payload.clone()), scene.invoke(payload.clone()));
                one.and(other)
            }
            false => scene.invoke(payload.clone()).await,
        }
    };
    let first = first.await;
    for (resource, _, memory) in story.services {
        let tags = scene.tags(resource);
        assert_ne!(tags.get(REMEMBERED).map(String::as_str), Some("min=0:max=0"), "{name}");
        if scene.bounds(resource) == "0/0" {
            assert_eq!(
                tags.get(REMEMBERED).map(String::as_str),
                Some(*memory),
                "{name}: {:#?}",
                scene.calls()
            );
        }
    }
    if first.is_err() {
        let again = scene.invoke(payload.clone()).await;
        assert!(again.is_ok(), "{name}: {again:?}");
    }
}

/// Two runs of the same, one a little behind the other, with so many targets that the second gets to most
/// of them long after it looked at them: the first has restored them by then, and forgotten the memory.
#[tokio::test(start_paused = true)]
async fn a_start_that_is_delivered_twice_restores_every_size() {
    for behind in [0, 40, 100, 150, 250] {
        let scene = Scene::at("2026-11-20T08:00:00Z");
        let resources: Vec<_> = (0..40).map(|number| format!("service/shop/s{number}")).collect();
        for (number, resource) in (0..).zip(&resources) {
            scene
                .lab
                .world(|world| world.add_service("shop", &resource[13..], Scheduling::Replica, 0))
                .unwrap();
            scene.register(resource, 0, 0).await;
            scene.tag(resource, REMEMBERED, &format!("min=2:max={}", 4 + number)).await;
        }
        scene.deploy(&[("RESOURCE_IDS", &resources.join(","))]);
        let late = async {
            tokio::time::sleep(Duration::from_millis(behind)).await;
            scene.invoke(json!({ "action": "start" })).await
        };
        let (first, second) = tokio::join!(scene.invoke(json!({ "action": "start" })), late);
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
        for (number, resource) in (0..).zip(&resources) {
            assert_eq!(scene.bounds(resource), format!("2/{}", 4 + number), "{resource}, {behind} ms behind");
            assert_eq!(scene.memory(resource), None);
        }
    }
}

/// A toggle that met a fault goes the same way when Lambda runs its event again, whatever it had changed.
#[test]
fn a_toggle_that_is_run_again_goes_on_in_the_same_direction() {
    // The looks at the targets, the services and two targets' tags, the direction, and two calls for each target.
    const CALLS: u64 = 9;
    let (mut met, mut without_effect, mut failed) = (0, 0, 0);
    for nth in 1..=CALLS {
        for fault in FAULTS {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let scene = Scene::afternoon().await;
                scene.deploy(&[]);
                scene.lab.faults().at_call(NAME, nth, fault);
                failed += usize::from(scene.invoke(sample("scheduled")).await.is_err());
                match scene.calls().iter().all(|call| call.ends_with(": ok")) {
                    false => met += 1,
                    true => {
                        without_effect += 1;
                        assert_eq!(fault, Contention, "call {nth}");
                    }
                }
                scene.invoke(sample("scheduled")).await.unwrap();
                assert_eq!([scene.bounds(WEB), scene.bounds(API)], ["0/0"; 2], "call {nth} {fault:?}");
                assert_eq!(scene.memory(WEB).as_deref(), Some("min=2:max=6"), "call {nth} {fault:?}");
            });
        }
    }
    assert_eq!((met, without_effect, failed), (75, 6, 26));
}
