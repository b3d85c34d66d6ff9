//! The fault matrix: every call of a launch and of the sweeps meets every fault, with the event delivered once, twice,
//! late or not at all. Whatever happens, the instance comes into service and is recorded.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use common::{LAUNCH_EVENT, NAME, deploy_swept, lines_with};
use launch_logger::{AUTO_SCALING_GROUPS, LIFECYCLE_HOOKS};
use lifecycle_lab::Lab;
use lifecycle_lab::faults::CallFault::{self, *};
use lifecycle_lab::faults::EventFault;
use tokio::runtime::Builder;

const FAULTS: [CallFault; 9] =
    [Throttle, ServerError, Contention, Hang, CutBefore, CutAfter, AccessDenied, KillBefore, KillAfter];

/// What befalls the delivery of the event.
const DELIVERIES: [Option<EventFault>; 4] =
    [None, Some(EventFault::Doubled), Some(EventFault::Delayed), Some(EventFault::Lost)];

/// Plays a launch whose nth call meets a fault; answers its calls.
async fn play(delivery: Option<EventFault>, fault: Option<(u64, CallFault)>) -> Vec<String> {
    let story = format!("{delivery:?}, call {fault:?}");
    let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
    let variables = [(AUTO_SCALING_GROUPS, "web"), (LIFECYCLE_HOOKS, "record")];
    deploy_swept(&lab, &variables, Duration::from_secs(40)).await;
    if let Some((nth, fault)) = fault {
        lab.faults().at_call(NAME, nth, fault);
    }
    lab.faults().script_events(LAUNCH_EVENT, delivery);
    let operator = Client::new(&lab.sdk_config("operator"));
    testkit::create_group(&operator, "web", 1, &[("record", testkit::LAUNCHING, 300, "ABANDON")]).await;
    let instance =
        || lab.world(|world| world.autoscaling.instances().next().map(|one| (one.id.clone(), one.state)));
    let served = lab.until(Duration::from_secs(400), |world| {
        world.autoscaling.instances().any(|one| one.state == "InService")
    });
    assert!(served.await, "{story}: {:?}, {:#?}", instance(), testkit::calls(&lab, NAME));
    let (served, _) = instance().unwrap();
    let calls = testkit::calls(&lab, NAME);
    lab.sleep(Duration::from_secs(900)).await;
    assert_eq!(instance(), Some((served.clone(), "InService")), "{story}");
    assert_eq!(testkit::completions(&lab), ["CONTINUE"], "{story}: {calls:#?}");
    let records = lines_with(&lab, "record", "launch");
    // A sweep that is killed after AWS accepted its completion can't record it.
    let killed = delivery == Some(EventFault::Lost) && matches!(fault, Some((_, KillAfter)));
    assert!(!records.is_empty() || killed, "{story}: {calls:#?}");
    assert!(records.iter().all(|record| record["instance.id"] == served), "{story}: {records:#?}");
    calls
}

#[test]
fn whatever_call_fails_a_launch_comes_into_service_and_is_recorded() {
    let run = |story| {
        Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(story)
    };
    let mut met = 0;
    for delivery in DELIVERIES {
        for nth in 1..=run(Box::pin(play(delivery, None))).len() {
            for fault in FAULTS {
                let calls = run(Box::pin(play(delivery, Some((nth as u64, fault)))));
                let is_usual = |call: &String| call.ends_with(": ok") || call.ends_with(": ValidationError");
                assert!(
                    !calls.iter().all(is_usual),
                    "{delivery:?}: call {nth} did not meet {fault:?}: {calls:#?}"
                );
                met += 1;
            }
        }
    }
    assert!(met >= 150, "only {met} faults were met");
}
