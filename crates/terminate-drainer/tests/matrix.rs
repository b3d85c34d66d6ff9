//! The fault matrix: every call of start, finish, poll and sweep meets every fault, with every event
//! delivered once, twice, late or not at all. Whatever happens, the command is run once, the action is
//! completed, and not before the command has ended.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{LIFECYCLE_EVENT, STATUS_EVENT, Scene, Setting};
use lifecycle_lab::World;
use lifecycle_lab::faults::CallFault::{self, *};
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::Script;
use terminate_drainer::NAME;
use tokio::runtime::Builder;

const FAULTS: [CallFault; 8] =
    [Throttle, ServerError, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// What befalls every delivery of the lifecycle event and of the status events.
const DELIVERIES: [(Option<EventFault>, Option<EventFault>); 7] = [
    (None, None),
    (Some(EventFault::Doubled), Some(EventFault::Doubled)),
    (Some(EventFault::Delayed), None),
    (None, Some(EventFault::Delayed)),
    (Some(EventFault::Lost), None),
    (None, Some(EventFault::Lost)),
    (Some(EventFault::Lost), Some(EventFault::Lost)),
];

/// Calls of a story that can meet a fault: as many as the longest story, a polled one, makes to its completion.
const CALLS: u64 = 18;

/// Plays the matrix with this `WAIT`, and with names of this length for group and hook.
fn check(mode: &str, names: usize) {
    for nth in 1..=CALLS {
        for fault in FAULTS {
            for (lifecycle, status) in DELIVERIES {
                let story = format!("{mode}, call {nth} {fault:?}, events {lifecycle:?} and {status:?}");
                // A runtime of its own, so that nothing of one story goes on in the next.
                let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
                runtime.block_on(async {
                    let setting = Setting {
                        group: "g".repeat(names),
                        hook: "h".repeat(names),
                        script: Script { duration: Duration::from_secs(45), ..Script::default() },
                        time_limit: Duration::from_secs(if mode == "poll" { 120 } else { 30 }),
                        ..Setting::default()
                    };
                    let scene = setting.with("WAIT", mode).swept().scene().await;
                    scene.lab.faults().at_call(NAME, nth, fault);
                    scene.lab.faults().script_events(LIFECYCLE_EVENT, lifecycle);
                    scene.lab.faults().script_events(STATUS_EVENT, status.into_iter().cycle().take(9));
                    tell(&scene, &story).await;
                });
            }
        }
    }
}

async fn tell(scene: &Scene, story: &str) {
    scene.scale_in().await;
    let waited = scene.released(Duration::from_secs(3_500)).await;
    assert!(waited.is_some(), "{story}: still {} after {:#?}", scene.state(), scene.calls());
    let commands = scene.commands();
    let [(_, Some(ended))] = commands[..] else {
        panic!("{story}: commands {commands:?} of {:#?}", scene.calls());
    };
    assert!(scene.lab.now() >= ended, "{story}: released before its command had ended");
    assert_eq!(scene.completions(), ["CONTINUE"], "{story}: {:#?}", scene.calls());
}

#[test]
fn by_event_nothing_is_lost_or_done_twice() {
    check("event", 3);
}

#[test]
fn by_event_with_names_that_are_looked_up_nothing_is_lost_or_done_twice() {
    check("event", 200);
}

#[test]
fn by_polling_nothing_is_lost_or_done_twice() {
    check("poll", 3);
}

/// An instance that was drained on its way back to the warm pool serves again and fails.
async fn drained_before(scene: &Scene) {
    let pool = scene.operator.put_warm_pool().auto_scaling_group_name("web").max_group_prepared_capacity(1);
    let reuse = aws_sdk_autoscaling::types::InstanceReusePolicy::builder().reuse_on_scale_in(true).build();
    pool.min_size(0).instance_reuse_policy(reuse).send().await.unwrap();
    let reach = async |state| {
        let is =
            |world: &World| world.autoscaling.instance(&scene.instance).map(|one| one.state) == Some(state);
        assert!(scene.lab.until(Duration::from_secs(3_600), is).await, "{} and not {state}", scene.state());
    };
    scene.scale_in().await;
    reach("Warmed:Stopped").await;
    let out = scene.operator.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(1);
    out.send().await.unwrap();
    reach("InService").await;
    scene.lab.world(|world| world.fail_load_balancer_check(&scene.instance));
}

#[test]
fn a_sweep_that_is_not_told_when_a_wait_began_does_not_take_an_earlier_drain_for_its_own() {
    for (fault, times) in [(Throttle, 3), (ServerError, 3), (AccessDenied, 9)] {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script { duration: Duration::from_secs(800), ..Script::default() };
            let scene = Setting { script, ..Setting::default() }.swept().scene().await;
            drained_before(&scene).await;
            scene.lab.faults().script_events(LIFECYCLE_EVENT, [EventFault::Lost]);
            scene.lab.faults().script("DescribeScalingActivities", vec![fault; times]);
            assert!(scene.released(Duration::from_secs(7_200)).await.is_some(), "{fault:?}");
            let [_, (_, ended)] = scene.commands()[..] else { panic!("{fault:?}: {:#?}", scene.calls()) };
            assert!(ended.is_some(), "{fault:?}: let go while its drain ran: {:#?}", scene.calls());
        });
    }
}

#[test]
fn without_its_warm_pool_and_the_scaling_activities_a_group_s_newest_drain_counts() {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let script = Script { duration: Duration::from_secs(800), ..Script::default() };
        let scene = Setting { script, ..Setting::default() }.swept().scene().await;
        drained_before(&scene).await;
        scene.operator.delete_warm_pool().auto_scaling_group_name("web").send().await.unwrap();
        scene.lab.faults().script("DescribeScalingActivities", vec![AccessDenied; 9]);
        assert!(scene.released(Duration::from_secs(7_200)).await.is_some());
        let [_, (_, ended)] = scene.commands()[..] else { panic!("{:#?}", scene.calls()) };
        assert!(ended.is_some(), "let go while its drain ran: {:#?}", scene.calls());
    });
}
