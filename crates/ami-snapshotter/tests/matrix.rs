//! The fault matrix: every call of a death and of a launch meets every fault, with every event delivered
//! once, twice, late or not at all. Whatever happens, a death gets one image, the instance goes when it
//! is ready, and the function's other variables survive.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::cell::Cell;
use std::time::Duration;

use ami_snapshotter::NAME;
use common::{DEATH_EVENT, IMAGE_EVENT, LAUNCH_EVENT, OTHER_VARIABLE, Scene, Setting, create_group};
use lifecycle_lab::faults::CallFault::{self, *};
use lifecycle_lab::faults::EventFault;
use tokio::runtime::Builder;

const FAULTS: [CallFault; 8] =
    [Throttle, ServerError, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// What befalls every delivery of the lifecycle event and of the image's event.
const DELIVERIES: [(Option<EventFault>, Option<EventFault>); 7] = [
    (None, None),
    (Some(EventFault::Doubled), Some(EventFault::Doubled)),
    (Some(EventFault::Delayed), None),
    (None, Some(EventFault::Delayed)),
    (Some(EventFault::Lost), None),
    (None, Some(EventFault::Lost)),
    (Some(EventFault::Lost), Some(EventFault::Lost)),
];

/// Calls of a story that can meet a fault: as many as a death takes with a sweep on its way.
const CALLS: u64 = 14;

/// Plays one story in a runtime of its own, so that nothing of it goes on in the next.
fn play(story: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(story);
}

fn check_deaths(complete_on: &str) {
    let stories_that_met = Cell::new(0);
    for nth in 1..=CALLS {
        for fault in FAULTS {
            for (death, image) in DELIVERIES {
                let story = format!("{complete_on}, call {nth} {fault:?}, events {death:?} and {image:?}");
                play(async {
                    let setting = Setting::default().with("COMPLETE_ON", complete_on).swept();
                    let scene = setting.scene().await;
                    let before = scene.calls().len() as u64;
                    scene.lab.faults().at_call(NAME, before + nth, fault);
                    scene.lab.faults().script_events(DEATH_EVENT, death);
                    scene.lab.faults().script_events(IMAGE_EVENT, image.into_iter().cycle().take(9));
                    let met = tell_death(&scene, &story, complete_on).await;
                    stories_that_met.set(stories_that_met.get() + usize::from(met));
                });
            }
        }
    }
    let stories = CALLS as usize * FAULTS.len() * DELIVERIES.len();
    let met = stories_that_met.get();
    assert!(met * 2 > stories, "only {met} of {stories} stories met their fault");
}

/// Says whether a call met a fault.
async fn tell_death(scene: &Scene, story: &str, complete_on: &str) -> bool {
    scene.fail();
    let waited = scene.released(Duration::from_secs(7_200)).await;
    assert!(waited.is_some(), "{story}: still {} after {:#?}", scene.state(), scene.calls());
    let calls = scene.calls();
    assert_eq!(scene.completions(), ["CONTINUE"], "{story}: {calls:#?}");
    let images = scene.images();
    // A fault that no call met proves nothing.
    let met = calls.iter().any(|call| !call.ends_with(": ok") && !call.ends_with(": ValidationError"));
    // The contract: what EC2 refuses goes by ON_FAILURE.
    let were = |outcome| calls.iter().any(|call| call == &format!("CreateImage: {outcome}"));
    if were("UnauthorizedOperation") && !were("ok") {
        assert!(images.is_empty(), "{story}: {calls:#?}");
        return met;
    }
    assert_eq!(images.len(), 1, "{story}: {calls:#?}");
    if complete_on == "available" {
        let ready = images[0].created + Duration::from_secs(180);
        assert!(scene.lab.now() >= ready, "{story}: released before its image was ready: {calls:#?}");
    }
    met
}

#[test]
fn completed_on_available_no_death_is_without_its_one_image() {
    check_deaths("available");
}

#[test]
fn completed_on_requested_no_death_is_without_its_one_image() {
    check_deaths("requested");
}

/// Calls of two launches that interleave.
const LAUNCH_CALLS: u64 = 8;

#[test]
fn whatever_befalls_two_launches_the_younger_group_is_stored_and_every_other_variable_survives() {
    for nth in 1..=LAUNCH_CALLS {
        for fault in FAULTS {
            for launch in [None, Some(EventFault::Doubled), Some(EventFault::Delayed)] {
                for update in [0, 4] {
                    let story = format!("call {nth} {fault:?}, events {launch:?}, updates of {update} s");
                    play(async {
                        let scene = Setting { rules: false, ..Setting::default() }.fresh().scene().await;
                        common::add_rules(&scene.lab);
                        scene.lab.world(|world| world.delays.function_update = Duration::from_secs(update));
                        scene.lab.faults().at_call(NAME, nth, fault);
                        scene.lab.faults().script_events(LAUNCH_EVENT, launch.into_iter().cycle().take(2));
                        create_group(&scene.operator, "web-2", 1, 1_800, true).await;
                        scene.lab.sleep(Duration::from_millis(100)).await;
                        create_group(&scene.operator, "web-3", 1, 1_800, true).await;
                        scene.lab.sleep(Duration::from_secs(1_500)).await;
                        let calls = scene.calls();
                        assert_eq!(
                            scene.variable("CURRENT_ASG_NAME").as_deref(),
                            Some("web-3"),
                            "{story}: {calls:#?}"
                        );
                        assert_eq!(
                            scene.variable(OTHER_VARIABLE.0).as_deref(),
                            Some(OTHER_VARIABLE.1),
                            "{story}: {calls:#?}"
                        );
                    });
                }
            }
        }
    }
}

/// Each question is asked three times by the SDK.
fn why_is_not_told(scene: &Scene, fault: CallFault, questions: usize) {
    scene.lab.faults().script("DescribeScalingActivities", vec![fault; 3 * questions]);
}

#[test]
fn a_planned_death_whose_cause_aws_does_not_tell_at_once_gets_no_image() {
    for fault in [Throttle, ServerError, CutAfter] {
        play(async {
            let scene = Setting::default().scene().await;
            why_is_not_told(&scene, fault, 1);
            scene.lab.world(|world| world.expire_lifetime(&scene.instance));
            let waited = scene.released(Duration::from_secs(7_200)).await.unwrap();
            assert!((0..10).contains(&waited), "{fault:?}: {waited}: {:#?}", scene.calls());
            assert!(scene.images().is_empty(), "{fault:?}: {:#?}", scene.calls());
            assert_eq!(scene.completions(), ["CONTINUE"], "{fault:?}");
        });
    }
}

#[test]
fn a_cause_that_aws_does_not_tell_within_the_run_is_unknown() {
    for fault in [Throttle, ServerError, CutAfter] {
        play(async {
            let scene = Setting::default().scene().await;
            why_is_not_told(&scene, fault, 20);
            scene.lab.world(|world| world.expire_lifetime(&scene.instance));
            let waited = scene.released(Duration::from_secs(7_200)).await.unwrap();
            assert!((180..260).contains(&waited), "{fault:?}: {waited}: {:#?}", scene.calls());
            let [image] = &scene.images()[..] else { panic!("{fault:?}: {:#?}", scene.calls()) };
            assert_eq!(image.tags["lifecycle/cause"], "unknown");
        });
    }
}
