//! The fault matrix: every call of start, finish, poll and sweep meets every fault, with every event
//! delivered once, twice, late or not at all. Whatever happens, the command is run once, the action is
//! completed, and not before the command has ended.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::{LIFECYCLE_EVENT, STATUS_EVENT, Scene, Setting};
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
