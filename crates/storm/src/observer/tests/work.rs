//! Tests of the invariants of waits, of sweeps and of what belongs to others, with faulty functions.

use std::time::Duration;

use aws_sdk_autoscaling::Client;
use fleet::{functions, operator};
use lifecycle_lab::ec2::Image;
use lifecycle_lab::faults::EventFault;
use serde_json::json;

use super::{Stage, check, play};
use crate::scene::{DRAIN_SWEEP, LAUNCH_SWEEP};

#[track_caller]
fn check_any(accused: &[String], words: &str) {
    assert!(accused.iter().any(|one| one.contains(words)), "expected {words:?}, found {accused:?}");
}

#[test]
fn who_prolongs_a_wait_for_nothing_is_accused_twice() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        let client = Client::new(&stage.lab.sdk_config("keeper"));
        let lab = stage.lab.clone();
        stage.deploy("keeper", move |payload| {
            let (client, lab, detail) = (client.clone(), lab.clone(), payload["detail"].clone());
            async move {
                let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
                let beat = client.record_lifecycle_action_heartbeat().instance_id(text("EC2InstanceId"));
                let beat = beat.auto_scaling_group_name(text("AutoScalingGroupName"));
                let beat = beat.lifecycle_hook_name(text("LifecycleHookName"));
                tokio::spawn(async move {
                    lab.sleep(Duration::from_secs(300)).await;
                    beat.send().await.unwrap();
                });
            }
        });
        stage.at_deaths("keeper");
        stage.group("app-1").await;
        stage.die().await;
        stage.accused().await
    });
    assert_eq!(accused.len(), 2, "{accused:?}");
    check_any(&accused, "its wait was prolonged without work under way");
    check_any(&accused, "its wait lasted longer than its policy allows");
}

#[test]
fn who_leaves_a_wait_whose_work_is_over_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        stage.deploy_sender("forgetful", None);
        stage.at_deaths("forgetful");
        stage.sweep_idly(DRAIN_SWEEP);
        stage.group("app-1").await;
        stage.die().await;
        stage.accused().await
    });
    check_any(&accused, "undisturbed sweeps saw that its work was over");
}

#[test]
fn a_sweep_that_looks_at_what_does_not_wait_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        let client = Client::new(&stage.lab.sdk_config(DRAIN_SWEEP));
        stage.deploy(DRAIN_SWEEP, move |_| {
            let client = client.clone();
            async move {
                for _ in 0..20 {
                    client.describe_auto_scaling_groups().send().await.unwrap();
                }
            }
        });
        stage.lab.schedule(Duration::from_secs(300), DRAIN_SWEEP, json!({}));
        stage.lab.sleep(Duration::from_secs(400)).await;
        stage.accused().await
    });
    check(&accused, "made 20 calls for 0 waits in 0 groups");
}

#[test]
fn who_completes_an_action_of_others_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        stage.deploy_completer("greedy", "CONTINUE");
        stage.at_deaths("greedy");
        stage.group("other-1").await;
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "greedy called CompleteLifecycleAction on other-1, which belongs to others");
}

#[test]
fn who_deletes_an_image_of_others_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        let yesterday = stage.lab.now() - Duration::from_secs(86_400);
        let image = stage.lab.world(|world| world.add_image(Image::new("other-1", yesterday)));
        let ec2 = aws_sdk_ec2::Client::new(&stage.lab.sdk_config("tidy"));
        ec2.deregister_image().image_id(image).send().await.unwrap();
        stage.accused().await
    });
    check(&accused, "which belongs to others");
}

#[test]
fn who_drains_an_instance_in_service_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        stage.group("app-1").await;
        stage.deploy_sender("eager", None);
        stage.lab.invoke_async("eager", json!({ "detail": { "EC2InstanceId": stage.instance() } })).await;
        stage.accused().await
    });
    check(&accused, "which waits in no terminating hook");
}

#[test]
fn a_sweep_that_lets_a_launch_time_out_is_accused_unless_it_was_disturbed() {
    for (chaos, count) in [("", 1), ("throttle=1", 0)] {
        let (accused, tally) = play(async {
            let stage = Stage::new(Vec::new()).await;
            stage.deploy(launch_logger::NAME, |_| async {});
            stage.at_launches(launch_logger::NAME);
            let client = Client::new(&stage.lab.sdk_config(LAUNCH_SWEEP));
            stage.deploy(LAUNCH_SWEEP, move |_| {
                let client = client.clone();
                async move { drop(client.describe_auto_scaling_groups().send().await) }
            });
            stage.lab.schedule(Duration::from_secs(60), LAUNCH_SWEEP, json!({}));
            stage.lab.faults().script_events("EC2 Instance-launch Lifecycle Action", [EventFault::Lost]);
            operator::create(&stage.operator, "app-1", &["us-east-1a"]).await.unwrap();
            operator::hook(&stage.operator, "app-1", "in", "LAUNCHING", 180, "CONTINUE").await.unwrap();
            operator::desire(&stage.operator, "app-1", 1).await.unwrap();
            stage.lab.faults().chaos(chaos.parse().unwrap());
            stage.lab.sleep(Duration::from_secs(600)).await;
            stage.judged().await
        });
        assert_eq!(tally.actions.get(&("in".to_owned(), "timed out")), Some(&1), "{chaos}: {tally:?}");
        assert_eq!(accused.len(), count, "{chaos}: {accused:?}");
        assert!(accused.iter().all(|one| one.contains("although a sweep saw it undisturbed")), "{accused:?}");
    }
}
