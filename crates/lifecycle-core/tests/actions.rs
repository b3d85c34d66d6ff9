//! Completing and prolonging an action, against a hook's real clock in the lab.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use lambda_kit::Invocation;
use lifecycle_core::{ActionResult, Actions, Completion, LifecycleAction, Message, Transition};
use lifecycle_lab::faults::CallFault::{CutAfter, CutBefore, Hang, Throttle};
use lifecycle_lab::{Lab, What};

/// A lab in which an instance has just begun to wait in a hook of 60 seconds, and its action.
async fn waiting() -> (Lab, Actions, LifecycleAction) {
    let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
    let operator = Client::new(&lab.sdk_config("operator"));
    let mut moments = lab.observe();
    operator
        .create_auto_scaling_group()
        .auto_scaling_group_name("web")
        .launch_configuration_name("web")
        .availability_zones("us-east-1a")
        .min_size(1)
        .max_size(1)
        .send()
        .await
        .unwrap();
    operator
        .put_lifecycle_hook()
        .auto_scaling_group_name("web")
        .lifecycle_hook_name("hook")
        .lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING")
        .heartbeat_timeout(60)
        .send()
        .await
        .unwrap();
    loop {
        if let What::Sent(event) = moments.recv().await.unwrap().what
            && let Ok(Message::Action(action)) = lifecycle_core::event::message(event)
        {
            let actions = Actions::new(Client::new(&lab.sdk_config("function")));
            return (lab, actions, *action);
        }
    }
}

fn run(lab: &Lab, seconds: u64) -> Invocation {
    Invocation::new(lab.now(), Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn an_event_of_the_lab_is_an_action() {
    let (_, _, action) = waiting().await;
    assert_eq!(
        (action.transition, action.wait.group.as_str(), action.wait.hook.as_str()),
        (Transition::Launching, "web", "hook")
    );
    assert_eq!(
        (action.origin.as_deref(), action.destination.as_deref()),
        (Some("EC2"), Some("AutoScalingGroup"))
    );
    assert_eq!(action.wait.token.as_ref().unwrap().expose().len(), 36);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_wait_alive_and_a_late_one_finds_it_finished() {
    let (lab, actions, action) = waiting().await;
    for _ in 0..3 {
        lab.sleep(Duration::from_secs(50)).await;
        let beat = actions.heartbeat(&action.wait, &run(&lab, 10)).await.unwrap();
        assert_eq!(beat, Completion::Completed);
    }
    lab.sleep(Duration::from_secs(70)).await;
    let started = lab.now();
    assert_eq!(actions.heartbeat(&action.wait, &run(&lab, 10)).await.unwrap(), Completion::AlreadyFinished);
    assert!(lab.now() - started < chrono::TimeDelta::seconds(1), "a heartbeat does not ask again");
}

#[tokio::test(start_paused = true)]
async fn token_and_instance_are_always_sent() {
    let (lab, actions, action) = waiting().await;
    actions.heartbeat(&action.wait, &run(&lab, 10)).await.unwrap();
    actions.complete(&action.wait, ActionResult::Abandon, None, &run(&lab, 10)).await.unwrap();
    let calls: Vec<_> = lab.calls().into_iter().filter(|call| call.caller == "function").collect();
    let actions: Vec<_> = calls.iter().map(|call| call.action.as_str()).collect();
    assert_eq!(actions, ["RecordLifecycleActionHeartbeat", "CompleteLifecycleAction"]);
    for call in calls {
        assert!(
            call.parameters
                .contains(&format!("LifecycleActionToken={}", action.wait.token.as_ref().unwrap().expose())),
            "{call:?}"
        );
        assert!(call.parameters.contains(&format!("InstanceId={}", action.wait.instance)), "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_earlier_wait_does_not_end_this_one() {
    let (lab, actions, mut action) = waiting().await;
    action.wait.token = Some("00000000-0000-4000-8000-000000000000".to_owned().into());
    let completion = actions
        .complete(&action.wait, ActionResult::Continue, Some(action.time), &run(&lab, 10))
        .await
        .unwrap();
    assert_eq!(completion, Completion::AlreadyFinished);
    let state = lab.world(|world| world.autoscaling.instance(&action.wait.instance).unwrap().state);
    assert_eq!(state, "Pending:Wait");
}

#[tokio::test(start_paused = true)]
async fn a_completion_whose_answer_was_lost_is_a_completion() {
    for fault in [CutAfter, CutBefore] {
        let (lab, actions, action) = waiting().await;
        lab.faults().script("CompleteLifecycleAction", [fault]);
        let complete = || async {
            let run = run(&lab, 20);
            let (wait, time) = (&action.wait, Some(action.time));
            actions.complete(wait, ActionResult::Continue, time, &run).await.unwrap()
        };
        assert_eq!(complete().await, Completion::Completed, "{fault:?}");
        assert_eq!(complete().await, Completion::AlreadyFinished, "a second delivery after {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_outlives_the_deadline() {
    for (fault, name) in [(Hang, "Timeout"), (Throttle, "AwsError")] {
        for seconds in [1, 3, 10, 60] {
            let (lab, actions, action) = waiting().await;
            lab.faults().script("CompleteLifecycleAction", [fault; 1000]);
            let run = run(&lab, seconds);
            let error = actions
                .complete(&action.wait, ActionResult::Continue, Some(action.time), &run)
                .await
                .unwrap_err();
            assert_eq!(error.name(), name);
            assert!(run.elapsed() < Duration::from_secs(seconds), "{:?} of {seconds} s", run.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn awss_text_that_quotes_the_token_is_shortened() {
    let (lab, actions, mut action) = waiting().await;
    // Too long for AWS's pattern, so that the refusal quotes it and is not "No active Lifecycle Action".
    lab.faults().deny("RecordLifecycleActionHeartbeat");
    action.wait.token = Some("autoscaling".to_owned().into());
    let error = actions.heartbeat(&action.wait, &run(&lab, 10)).await.unwrap_err().chain();
    assert!(error.contains("AccessDenied"), "{error}");
    assert!(error.contains("autoscal:Record") && !error.contains("autoscaling"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_endless_work_are_errors_of_their_own() {
    let run = Invocation::new(Default::default(), Duration::from_secs(10));
    let panicked = run.guard::<()>(async { panic!("seven is not eight") }).await.unwrap_err();
    assert_eq!((panicked.name(), panicked.chain().as_str()), ("Panic", "seven is not eight"));
    let endless = run.guard::<()>(std::future::pending()).await.unwrap_err();
    assert_eq!(endless.name(), "Timeout");
    assert!(run.elapsed() < Duration::from_secs(10));
}
