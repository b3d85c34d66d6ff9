//! The fault matrix: every call of a stop, a start and a convergence meets every fault, once or with the
//! run that repeats it delivered twice at the same time. Whatever happens: no target is at 0/0 without its
//! memory, no memory says 0/0, and one run later all is as without the fault.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{API, HOUR, REMEMBERED, Scene, WEB};
use ecs_scheduler::NAME;
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::faults::CallFault::{self, *};
use serde_json::{Value, json};
use tokio::runtime::Builder;

const FAULTS: [CallFault; 9] =
    [Throttle, ServerError, Contention, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// What the targets are registered as while they are on, with the text that remembers it.
const TARGETS: [(&str, &str, &str); 2] = [(WEB, "2/6", "min=2,max=6"), (API, "1/4", "min=1,max=4")];

/// An evening and the next morning.
struct Story {
    evening: Value,
    morning: Value,
}

/// Every call that a story makes without a fault meets every fault. Returns how many faults had an effect,
/// and how many had none: calls for tags know no contention.
fn check(story: &Story) -> [usize; 2] {
    let mut met = [0; 2];
    for doubled in [false, true] {
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
                met[usize::from(without_effect)] += 1;
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

#[test]
fn by_stop_and_start_no_memory_is_lost_and_one_run_heals_everything() {
    assert_eq!(
        check(&Story { evening: json!({ "action": "stop" }), morning: json!({ "action": "start" }) }),
        [360, 18]
    );
}

#[test]
fn by_converging_no_memory_is_lost_and_one_run_heals_everything() {
    let converge = json!({ "action": "converge" });
    assert_eq!(check(&Story { evening: converge.clone(), morning: converge }), [360, 18]);
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
    scene.deploy(&[("WORKING_HOURS", "MON-FRI 09:00-18:00")]);
    if let Some((nth, fault)) = fault {
        scene.lab.faults().at_call(NAME, nth, fault);
    }

    scene.lab.sleep(4 * HOUR).await;
    run(&scene, &story.evening, doubled, name).await;
    for (resource, _, memory) in TARGETS {
        assert_eq!(scene.bounds(resource), "0/0", "{name}: {:#?}", scene.calls());
        assert_eq!(scene.memory(resource).as_deref(), Some(memory), "{name}: {:#?}", scene.calls());
    }

    scene.lab.sleep(16 * HOUR).await;
    run(&scene, &story.morning, doubled, name).await;
    for (resource, bounds, _) in TARGETS {
        assert_eq!(scene.bounds(resource), bounds, "{name}: {:#?}", scene.calls());
    }

    let calls = scene.calls();
    scene.register(WEB, 3, 5).await;
    scene.lab.sleep(9 * HOUR).await;
    scene.invoke(story.evening.clone()).await.unwrap();
    assert_eq!((scene.bounds(WEB).as_str(), scene.memory(WEB).as_deref()), ("0/0", Some("min=3,max=5")));
    scene.lab.sleep(63 * HOUR).await;
    scene.invoke(story.morning.clone()).await.unwrap();
    assert_eq!((scene.bounds(WEB), scene.memory(WEB)), ("3/5".to_owned(), None), "{name}");
    calls
}

/// A run, and one more where it failed, as Lambda does it. In between, nothing is lost.
async fn run(scene: &Scene, payload: &Value, doubled: bool, name: &str) {
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
    for (resource, _, memory) in TARGETS {
        let tags = scene.tags(resource);
        assert_ne!(tags.get(REMEMBERED).map(String::as_str), Some("min=0,max=0"), "{name}");
        if scene.bounds(resource) == "0/0" {
            assert_eq!(
                tags.get(REMEMBERED).map(String::as_str),
                Some(memory),
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
            scene.tag(resource, REMEMBERED, &format!("min=2,max={}", 4 + number)).await;
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

/// Calls that a run with two targets makes: the look at both, and three for each.
const CALLS: u64 = 7;

/// A toggle that was killed at any call goes the same way when it is run again.
#[test]
fn a_toggle_that_was_killed_goes_on_in_the_same_direction() {
    for nth in 1..=CALLS {
        for fault in [KillBefore, KillAfter] {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let scene = Scene::afternoon().await;
                scene.deploy(&[]);
                scene.lab.faults().at_call(NAME, nth, fault);
                assert!(scene.invoke(json!({})).await.is_err());
                // Only a kill after the very last change comes too late for that.
                if scene.bounds(WEB) != "0/0" {
                    scene.invoke(json!({})).await.unwrap();
                    assert_eq!(
                        [scene.bounds(WEB), scene.bounds(API)],
                        ["0/0", "0/0"],
                        "call {nth} {fault:?}"
                    );
                } else {
                    assert_eq!((nth, fault), (CALLS, KillAfter));
                    assert_eq!(scene.bounds(API), "0/0");
                }
            });
        }
    }
}
