//! The fault matrix: every call of a termination and of a launch meets every fault, with every event delivered
//! once, twice, late or not at all. Whatever happens, a termination gets one image, the instance goes when it
//! is ready, and the function's other variables survive.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use ami_snapshotter::NAME;
use common::{IMAGE_EVENT, LAUNCH_EVENT, OTHER_VARIABLE, Scene, Setting, TERMINATION_EVENT, create_group};
use lifecycle_lab::Outcome;
use lifecycle_lab::ec2::ImageState;
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

/// Plays one story in a runtime of its own, so that nothing of it goes on in the next.
fn play<T>(story: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(story)
}

/// Every call that a story makes without a fault meets every fault. Returns how many stories met theirs.
fn check<S: Future<Output = Vec<String>>>(story: impl Fn(Option<(u64, CallFault)>) -> S) -> usize {
    let mut met = 0;
    for nth in 1..=play(story(None)).len() {
        for fault in FAULTS {
            let calls = play(story(Some((nth as u64, fault))));
            // Without any fault AWS refuses what another run has done, or is doing.
            let usual = [
                ": ok",
                ": ValidationError",
                ": InvalidAMIName.Duplicate",
                ": PreconditionFailedException",
                ": ResourceConflictException",
            ];
            let is_usual = |call: &String| usual.iter().any(|end| call.ends_with(end));
            let unmet = calls.len() < nth || calls.iter().all(is_usual);
            assert!(!unmet, "call {nth} did not meet {fault:?} in {calls:#?}");
            met += 1;
        }
    }
    met
}

fn check_terminations(complete_on: &str) -> usize {
    DELIVERIES.iter().map(|&deliveries| check(|fault| play_termination(complete_on, deliveries, fault))).sum()
}

/// Plays a termination whose nth call meets a fault. Returns its calls.
async fn play_termination(
    complete_on: &str,
    (termination, image): (Option<EventFault>, Option<EventFault>),
    fault: Option<(u64, CallFault)>,
) -> Vec<String> {
    let story = format!("{complete_on}, call {fault:?}, events {termination:?} and {image:?}");
    let scene = Setting::default().with("COMPLETE_ON", complete_on).swept().scene().await;
    let before = scene.calls().len();
    if let Some((nth, fault)) = fault {
        scene.lab.faults().at_call(NAME, before as u64 + nth, fault);
    }
    scene.lab.faults().script_events(TERMINATION_EVENT, termination);
    scene.lab.faults().script_events(IMAGE_EVENT, image.into_iter().cycle().take(9));
    scene.fail();
    let waited = scene.released(Duration::from_secs(7_200)).await;
    assert!(waited.is_some(), "{story}: still {} after {:#?}", scene.state(), scene.calls());
    let calls = scene.calls();
    assert_eq!(scene.completions(), ["CONTINUE"], "{story}: {calls:#?}");
    let images = scene.images();
    let made: Vec<_> = scene.lab.calls().into_iter().filter(|call| call.caller == NAME).collect();
    // The contract: what EC2 refuses goes by ON_FAILURE.
    let were = |outcome| made.iter().any(|call| call.action == "CreateImage" && call.outcome == outcome);
    if were(Outcome::Answered(Err("UnauthorizedOperation"))) && !were(Outcome::OK) {
        assert!(images.is_empty(), "{story}: {calls:#?}");
    } else {
        assert_eq!(images.len(), 1, "{story}: {calls:#?}");
        if complete_on == "available" {
            let ready = images[0].created + Duration::from_secs(180);
            assert!(scene.lab.now() >= ready, "{story}: released before its image was ready: {calls:#?}");
        }
    }
    calls[before..].to_vec()
}

#[test]
fn completed_on_available_each_termination_has_exactly_one_image() {
    assert_eq!(check_terminations("available"), 720);
}

#[test]
fn completed_on_requested_each_termination_has_exactly_one_image() {
    assert_eq!(check_terminations("requested"), 464);
}

#[test]
fn after_a_failed_image_there_is_exactly_one_more() {
    let deliveries = [DELIVERIES[0], DELIVERIES[1], DELIVERIES[5], DELIVERIES[6]];
    let met = deliveries.iter().map(|&deliveries| check(|fault| play_second_image(deliveries, fault)));
    assert_eq!(met.sum::<usize>(), 864);
}

/// Plays a termination whose first image fails, and whose nth call meets a fault. Returns its calls.
async fn play_second_image(
    (termination, image): (Option<EventFault>, Option<EventFault>),
    fault: Option<(u64, CallFault)>,
) -> Vec<String> {
    let story = format!("second image, call {fault:?}, events {termination:?} and {image:?}");
    let scene = Setting::default().swept().scene().await;
    let before = scene.calls().len();
    if let Some((nth, fault)) = fault {
        scene.lab.faults().at_call(NAME, before as u64 + nth, fault);
    }
    scene.lab.faults().script_events(TERMINATION_EVENT, termination);
    scene.lab.faults().script_events(IMAGE_EVENT, image.into_iter().cycle().take(9));
    scene.script(60, Some("Server.InternalError"));
    scene.fail();
    let taken = |world: &lifecycle_lab::World| {
        !world.ec2.images().is_empty() || world.autoscaling.instance(&scene.instance).is_none()
    };
    assert!(scene.lab.until(Duration::from_secs(7_200), taken).await, "{story}");
    scene.script(180, None);
    let gone = |world: &lifecycle_lab::World| world.autoscaling.instance(&scene.instance).is_none();
    assert!(scene.lab.until(Duration::from_secs(7_200), gone).await, "{story}: {:#?}", scene.calls());
    let calls = scene.calls();
    assert_eq!(scene.completions(), ["CONTINUE"], "{story}: {calls:#?}");
    // The contract: what EC2 refuses goes by ON_FAILURE. The second one is refused only after the first one was made.
    let states: Vec<_> = scene.images().iter().map(|image| image.state).collect();
    if states != [ImageState::Failed, ImageState::Available] {
        let refused = calls.contains(&"CreateImage: UnauthorizedOperation".to_owned());
        assert!(refused && states.len() < 2, "{story}: {calls:#?}");
        assert_eq!(scene.failures(), ["image-refused"], "{story}: {calls:#?}");
    }
    calls[before..].to_vec()
}

#[test]
fn the_end_of_a_replaced_group_is_planned() {
    let met = [DELIVERIES[0], DELIVERIES[1], DELIVERIES[4]]
        .map(|(termination, _)| check(|fault| play_replacement(termination, fault)));
    assert_eq!(met.iter().sum::<usize>(), 104);
}

/// Plays the scale-in of a group whose successor serves. Returns its calls.
async fn play_replacement(termination: Option<EventFault>, fault: Option<(u64, CallFault)>) -> Vec<String> {
    let story = format!("replaced, call {fault:?}, events {termination:?}");
    let setting = Setting::default().with("CURRENT_ASG_NAME", "web-2").swept().succession();
    let scene = setting.scene().await;
    create_group(&scene.operator, "web-2", 1, 1_800, false).await;
    scene.lab.sleep(Duration::from_secs(120)).await;
    let before = scene.calls().len();
    if let Some((nth, fault)) = fault {
        scene.lab.faults().at_call(NAME, before as u64 + nth, fault);
    }
    scene.lab.faults().script_events(TERMINATION_EVENT, termination);
    scene.scale_in().await;
    let waited = scene.released(Duration::from_secs(7_200)).await;
    let calls = scene.calls();
    assert!(waited.is_some_and(|waited| waited < 700), "{story}: {waited:?} after {calls:#?}");
    assert_eq!((scene.completions().len(), scene.images().len()), (1, 0), "{story}: {calls:#?}");
    calls[before..].to_vec()
}

#[test]
fn whatever_befalls_two_launches_the_younger_group_is_stored_and_every_other_variable_survives() {
    let launches = [None, Some(EventFault::Doubled), Some(EventFault::Delayed)];
    let stories = launches.iter().flat_map(|launch| [0, 4].map(|update| (*launch, update)));
    let met = stories.map(|(launch, update)| check(|fault| play_launches(launch, update, fault)));
    assert_eq!(met.sum::<usize>(), 520);
}

/// Plays two launches that interleave. Returns their calls.
async fn play_launches(
    launch: Option<EventFault>,
    update: u64,
    fault: Option<(u64, CallFault)>,
) -> Vec<String> {
    let story = format!("call {fault:?}, events {launch:?}, updates of {update} s");
    let setting = Setting { rules: false, ..Setting::default() }.fresh().succession();
    let scene = setting.scene().await;
    common::add_rules(&scene.lab);
    scene.lab.world(|world| world.delays.function_update = Duration::from_secs(update));
    if let Some((nth, fault)) = fault {
        scene.lab.faults().at_call(NAME, nth, fault);
    }
    scene.lab.faults().script_events(LAUNCH_EVENT, launch.into_iter().cycle().take(2));
    create_group(&scene.operator, "web-2", 1, 1_800, true).await;
    scene.lab.sleep(Duration::from_millis(100)).await;
    create_group(&scene.operator, "web-3", 1, 1_800, true).await;
    scene.lab.sleep(Duration::from_secs(1_500)).await;
    let calls = scene.calls();
    assert_eq!(scene.variable("CURRENT_ASG_NAME").as_deref(), Some("web-3"), "{story}: {calls:#?}");
    assert_eq!(scene.variable(OTHER_VARIABLE.0).as_deref(), Some(OTHER_VARIABLE.1), "{story}: {calls:#?}");
    calls
}

/// Makes the cause unreadable for this many calls. The SDK tries each call three times.
fn cause_is_unreadable(scene: &Scene, fault: CallFault, questions: usize) {
    scene.lab.faults().script("DescribeScalingActivities", vec![fault; 3 * questions]);
}

#[test]
fn a_planned_termination_whose_cause_is_readable_only_later_gets_no_image() {
    for fault in [Throttle, ServerError, CutAfter] {
        play(async {
            let scene = Setting::default().scene().await;
            cause_is_unreadable(&scene, fault, 1);
            scene.lab.world(|world| world.expire_lifetime(&scene.instance));
            let waited = scene.released(Duration::from_secs(7_200)).await.unwrap();
            assert!((0..10).contains(&waited), "{fault:?}: {waited}: {:#?}", scene.calls());
            assert!(scene.images().is_empty(), "{fault:?}: {:#?}", scene.calls());
            assert_eq!(scene.completions(), ["CONTINUE"], "{fault:?}");
            let unread =
                |call: &&String| call.starts_with("DescribeScalingActivities") && !call.ends_with(": ok");
            assert_eq!(scene.calls().iter().filter(unread).count(), 3, "{fault:?}: {:#?}", scene.calls());
        });
    }
}

#[test]
fn a_cause_that_aws_does_not_tell_within_the_run_is_unknown() {
    for fault in [Throttle, ServerError, CutAfter] {
        play(async {
            let scene = Setting::default().scene().await;
            cause_is_unreadable(&scene, fault, 20);
            scene.lab.world(|world| world.expire_lifetime(&scene.instance));
            let waited = scene.released(Duration::from_secs(7_200)).await.unwrap();
            assert!((180..260).contains(&waited), "{fault:?}: {waited}: {:#?}", scene.calls());
            let [image] = &scene.images()[..] else { panic!("{fault:?}: {:#?}", scene.calls()) };
            assert_eq!(image.tags["lifecycle/cause"], "unknown");
        });
    }
}
