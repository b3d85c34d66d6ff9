//! Launches whose events are lost, late or on their way, with a sweep every minute: none times out, and each is
//! recorded.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::types::InstanceReusePolicy;
use common::{LAUNCH_EVENT, NAME, deploy_swept, lines_with};
use lambda_kit::{Invocation, Output};
use launch_logger::{AUTO_SCALING_GROUPS, Context, LIFECYCLE_HOOKS};
use lifecycle_lab::faults::CallFault::{AccessDenied, CutAfter};
use lifecycle_lab::faults::EventFault::{Delayed, Doubled, Lost};
use lifecycle_lab::{Lab, World};
use serde_json::{Value, json};
use testkit::{LAUNCHING, TERMINATING};

const HOUR: Duration = Duration::from_secs(3_600);
const SWEPT: [(&str, &str); 1] = [(AUTO_SCALING_GROUPS, "web*")];

fn lab() -> (Lab, Client) {
    let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 7);
    let operator = Client::new(&lab.sdk_config("operator"));
    (lab, operator)
}

/// Every launch's event meets this.
fn every_event(lab: &Lab, fault: lifecycle_lab::faults::EventFault) {
    lab.faults().script_events(LAUNCH_EVENT, [fault; 100]);
}

fn in_state(world: &World, state: &str) -> usize {
    world.autoscaling.instances().filter(|one| one.state == state).count()
}

async fn reaches(lab: &Lab, state: &str, count: usize) {
    let reached = lab.until(HOUR, |world| in_state(world, state) == count).await;
    let states: Vec<_> = lab.world(|world| world.autoscaling.instances().map(|one| one.state).collect());
    assert!(reached, "not {count} in {state}: {states:?}, {:#?}", testkit::calls(lab, NAME));
}

/// Waits until no instance is in this state any more.
async fn leaves(lab: &Lab, state: &str) {
    assert!(lab.until(HOUR, |world| in_state(world, state) == 0).await, "still in {state}");
}

fn timeouts(lab: &Lab) -> usize {
    lab.world(|world| {
        let messages =
            world.autoscaling.activities().iter().filter_map(|activity| activity.message.as_deref());
        messages.filter(|message| message.ends_with("Heartbeat Timeout")).count()
    })
}

/// Whenever the sweeps come, two of them fall into the 180 s of the hook after the first 60.
#[tokio::test(start_paused = true)]
async fn a_lost_event_never_lets_a_launch_time_out() {
    for offset in [0, 7, 15, 22, 30, 37, 45, 52, 59] {
        let (lab, operator) = lab();
        deploy_swept(&lab, &SWEPT, Duration::from_secs(offset)).await;
        every_event(&lab, Lost);
        testkit::create_group(&operator, "web", 3, &[("record", LAUNCHING, 180, "ABANDON")]).await;
        reaches(&lab, "InService", 3).await;
        assert_eq!(timeouts(&lab), 0, "{offset}");
        assert_eq!(testkit::completions(&lab), ["CONTINUE"; 3], "{offset}");
        let records = lines_with(&lab, "record", "launch");
        assert_eq!(records.len(), 3, "{offset}: {records:#?}");
        assert!(records.iter().all(|record| record["source"] == "sweep"), "{offset}: {records:#?}");
        assert!(lines_with(&lab, "level", "WARN").is_empty(), "{offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweeps_record_has_what_the_state_tells_and_nothing_else() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &SWEPT, Duration::ZERO).await;
    every_event(&lab, Lost);
    testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 300, "ABANDON")]).await;
    reaches(&lab, "InService", 1).await;
    let instance = lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
    let arn = lab.world(|world| world.autoscaling.group("web").unwrap().arn.clone());
    let [record] = &mut lines_with(&lab, "record", "launch")[..] else { panic!("not one record") };
    assert!(record.as_object_mut().unwrap().remove("time").unwrap().is_string());
    let expected = json!({
        "record": "launch", "source": "sweep", "account": "123456789012", "region": "us-east-1",
        "asg.name": "web", "hook.name": "record", "instance.id": instance, "resources": [arn],
        "transition": LAUNCHING, "destination": "AutoScalingGroup",
    });
    assert_eq!(*record, expected);
}

#[tokio::test(start_paused = true)]
async fn a_young_launch_is_left_to_its_event_whatever_its_hook() {
    let (lab, operator) = lab();
    testkit::deploy::<Context>(&lab, &SWEPT, Duration::from_secs(30));
    testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 30, "CONTINUE")]).await;
    lab.until(HOUR, |world| in_state(world, "Pending:Wait") == 1).await;
    let began = lab.world(|world| world.autoscaling.activities()[0].start);
    let end = began + Duration::from_secs(60);
    while lab.now() + Duration::from_secs(2) < end && lab.world(|world| in_state(world, "Pending:Wait")) == 1
    {
        let answer = lab.invoke(NAME, json!({ "action": "reconcile" }), 1).await.unwrap();
        assert_eq!((&answer["waiting"], &answer["completed"]), (&json!(1), &json!(0)), "{answer}");
        lab.sleep(Duration::from_secs(5)).await;
    }
    assert!(testkit::completions(&lab).is_empty());
    assert!(lines_with(&lab, "record", "launch").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_in_time_leaves_the_sweep_nothing_to_do() {
    for fault in [None, Some(Doubled)] {
        let (lab, operator) = lab();
        deploy_swept(&lab, &SWEPT, Duration::from_secs(30)).await;
        fault.into_iter().for_each(|fault| every_event(&lab, fault));
        testkit::create_group(&operator, "web", 2, &[("record", LAUNCHING, 300, "ABANDON")]).await;
        reaches(&lab, "InService", 2).await;
        lab.sleep(Duration::from_secs(600)).await;
        assert!(lines_with(&lab, "source", "sweep").is_empty(), "{fault:?}");
        assert_eq!(testkit::completions(&lab), ["CONTINUE"; 2], "{fault:?}");
    }
}

/// The event still finds something to record: when it was sent, and its token's beginning.
#[tokio::test(start_paused = true)]
async fn an_event_after_the_sweep_is_already_finished() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &SWEPT, Duration::ZERO).await;
    every_event(&lab, Delayed);
    testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 300, "ABANDON")]).await;
    reaches(&lab, "InService", 1).await;
    lab.sleep(HOUR).await;
    assert_eq!(testkit::completions(&lab), ["CONTINUE"]);
    assert_eq!(lines_with(&lab, "outcome", "already-finished").len(), 1, "{:#?}", lab.logs());
    assert_eq!(lines_with(&lab, "record", "launch").len(), 2);
    assert!(lines_with(&lab, "level", "WARN").is_empty());
}

#[tokio::test(start_paused = true)]
async fn both_pauses_of_a_warm_pool_are_launches_and_the_way_back_is_none() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &[(AUTO_SCALING_GROUPS, "web"), (LIFECYCLE_HOOKS, "record,drain")], Duration::ZERO)
        .await;
    every_event(&lab, Lost);
    let hooks = [("record", LAUNCHING, 300, "ABANDON"), ("drain", TERMINATING, 3_600, "CONTINUE")];
    testkit::create_group(&operator, "web", 0, &hooks).await;
    let reuse = InstanceReusePolicy::builder().reuse_on_scale_in(true).build();
    let pool = operator.put_warm_pool().auto_scaling_group_name("web").instance_reuse_policy(reuse);
    pool.max_group_prepared_capacity(1).send().await.unwrap();

    reaches(&lab, "Warmed:Stopped", 1).await;
    testkit::resize(&operator, "web", 1).await;
    reaches(&lab, "InService", 1).await;
    let ways = || {
        let records = lines_with(&lab, "record", "launch").into_iter();
        records.map(|record| record["destination"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ways(), ["WarmPool", "AutoScalingGroup"]);

    testkit::resize(&operator, "web", 0).await;
    reaches(&lab, "Warmed:Pending:Wait", 1).await;
    lab.sleep(Duration::from_secs(1_800)).await;
    reaches(&lab, "Warmed:Pending:Wait", 1).await;
    assert_eq!((ways().len(), testkit::completions(&lab).len()), (2, 2), "{:#?}", testkit::calls(&lab, NAME));
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_root_volume_was_replaced_goes_on_by_its_event_or_by_the_sweep() {
    for (fault, action) in [(None, json!("ReplaceRootVolume")), (Some(Lost), Value::Null)] {
        let (lab, operator) = lab();
        deploy_swept(&lab, &SWEPT, Duration::ZERO).await;
        testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 300, "ABANDON")]).await;
        reaches(&lab, "InService", 1).await;
        let instance = lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
        fault.into_iter().for_each(|fault| every_event(&lab, fault));
        lab.world(|world| world.replace_root_volume(&instance));
        leaves(&lab, "InService").await;
        reaches(&lab, "InService", 1).await;
        assert_eq!(testkit::state(&lab, &instance), "InService", "it lives on");
        let records = lines_with(&lab, "record", "launch");
        let actions: Vec<_> = records.iter().map(|record| &record["action"]).collect();
        assert_eq!(actions, [&json!("Launch"), &action], "{records:#?}");
        assert_eq!(testkit::completions(&lab), ["CONTINUE"; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_launching_hooks_only_a_named_one_is_answered_and_recorded_once() {
    for (named, expected) in [(None, 0), (Some("record"), 1)] {
        let (lab, operator) = lab();
        let named = named.map(|name| (LIFECYCLE_HOOKS, name));
        let variables: Vec<_> = SWEPT.into_iter().chain(named).collect();
        deploy_swept(&lab, &variables, Duration::ZERO).await;
        every_event(&lab, Lost);
        let hooks = [("record", LAUNCHING, 1_800, "ABANDON"), ("bootstrap", LAUNCHING, 1_800, "ABANDON")];
        testkit::create_group(&operator, "web", 1, &hooks).await;
        reaches(&lab, "Pending:Wait", 1).await;
        lab.sleep(Duration::from_secs(1_200)).await;
        reaches(&lab, "Pending:Wait", 1).await;
        assert_eq!(lines_with(&lab, "source", "sweep").len(), expected, "{named:?}");
        assert_eq!(testkit::completions(&lab).len(), expected, "{named:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn groups_that_are_not_named_are_left_alone() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &[(AUTO_SCALING_GROUPS, "api,shop-*")], Duration::ZERO).await;
    every_event(&lab, Lost);
    testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 300, "CONTINUE")]).await;
    reaches(&lab, "InService", 1).await;
    assert!(testkit::completions(&lab).is_empty(), "the hook's default result let it go on");
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_the_sweep_cannot_record_goes_on_and_is_told() {
    let (lab, operator) = lab();
    testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 300, "ABANDON")]).await;
    reaches(&lab, "Pending:Wait", 1).await;
    lab.sleep(Duration::from_secs(60)).await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let running = testkit::running::<Context>(&lab, &SWEPT, Output::File(Arc::new(full)));
    let invocation = Invocation::new(lab.now(), Duration::from_secs(30));
    let answer = running.invoke(json!({ "action": "reconcile" }), &invocation).await.unwrap();
    assert_eq!(
        (&answer["completed"], &answer["failures"]),
        (&json!(1), &json!({ "not-recorded": 1 })),
        "{answer}"
    );
    reaches(&lab, "InService", 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_completion_of_the_sweep_whose_answer_was_lost_is_recorded() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &SWEPT, Duration::ZERO).await;
    every_event(&lab, Lost);
    lab.faults().script("CompleteLifecycleAction", [CutAfter]);
    testkit::create_group(&operator, "web", 1, &[("record", LAUNCHING, 300, "ABANDON")]).await;
    reaches(&lab, "InService", 1).await;
    lab.sleep(Duration::from_secs(120)).await;
    assert_eq!(lines_with(&lab, "source", "sweep").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_aws_refuses_to_complete_is_told_by_each_sweep_until_it_is_completed() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &SWEPT, Duration::ZERO).await;
    every_event(&lab, Lost);
    testkit::create_group(&operator, "web-1", 1, &[("record", LAUNCHING, 900, "ABANDON")]).await;
    testkit::create_group(&operator, "web-2", 1, &[("record", LAUNCHING, 900, "ABANDON")]).await;
    lab.faults().script("CompleteLifecycleAction", [AccessDenied; 5]);
    reaches(&lab, "InService", 2).await;
    // A sweep in which nothing succeeds is an error; Lambda repeats it.
    let told =
        lines_with(&lab, "failure", "sweep-incomplete").len() + lines_with(&lab, "outcome", "AwsError").len();
    assert!((3..=5).contains(&told), "{:#?}", lab.logs());
    assert_eq!(lines_with(&lab, "source", "sweep").len(), 2);
    assert_eq!(timeouts(&lab), 0);
}

/// An outage of EventBridge: no event comes. One run completes hundreds of launches, and the next ones the rest.
#[tokio::test(start_paused = true)]
async fn many_launches_without_events_are_completed_before_their_hooks_end() {
    let (lab, operator) = lab();
    deploy_swept(&lab, &SWEPT, Duration::ZERO).await;
    every_event(&lab, Lost);
    lab.faults().script_events(LAUNCH_EVENT, [Lost; 1_000]);
    testkit::create_group(&operator, "web", 800, &[("record", LAUNCHING, 300, "ABANDON")]).await;
    reaches(&lab, "InService", 800).await;
    assert_eq!(timeouts(&lab), 0);
    leaves(&lab, "Pending:Wait").await;
}
