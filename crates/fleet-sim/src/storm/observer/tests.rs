//! The observer must accuse: functions that do wrong, one way each, in a scene without faults.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod templates;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use futures::FutureExt;
use lifecycle_core::config::{FUNCTION_NAME, Variables};
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{Code, Function, Lab};
use serde_json::{Value, json};

use super::{Observer, Scene};
use crate::functions::{self, add_rules, answering_for};
use crate::operator;
use crate::storm::account::{DRAIN_SWEEP, IMAGE_SWEEP};

/// As the storm's hooks.
const HEARTBEAT: i32 = 900;

const LIMIT: Duration = Duration::from_secs(60);

/// A group of one instance in a lab where nothing goes wrong but what a test adds.
struct Stage {
    lab: Lab,
    operator: Client,
    observer: Arc<Mutex<Observer>>,
}

impl Stage {
    async fn new(variables: Vec<(&'static str, &'static str)>) -> Self {
        let lab = Lab::new("2026-05-04T07:00:00Z".parse().unwrap(), 7);
        let services = vec![("service/shop/web".to_owned(), (1, 3))];
        let observer = Arc::new(Mutex::new(Observer::new(&lab, Scene { services, variables })));
        let (mut moments, watching) = (lab.observe(), observer.clone());
        tokio::spawn(async move {
            while let Some(moment) = moments.recv().await {
                watching.lock().unwrap().see(&moment);
            }
        });
        Self { operator: Client::new(&lab.sdk_config("operator")), lab, observer }
    }

    async fn group(&self, name: &str) {
        operator::create(&self.operator, name, &["us-east-1a"]).await.unwrap();
        for (hook, transition) in [("in", "LAUNCHING"), ("out", "TERMINATING")] {
            operator::hook(&self.operator, name, hook, transition, HEARTBEAT, "CONTINUE").await.unwrap();
        }
        operator::desire(&self.operator, name, 1).await.unwrap();
        self.lab.sleep(Duration::from_secs(1_200)).await;
    }

    fn instance(&self) -> String {
        self.lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone())
    }

    /// The instance fails, and everything comes to its end.
    async fn die(&self) {
        let id = self.instance();
        self.lab.world(|world| {
            world
                .run_command
                .set_script(&id, Script { duration: Duration::from_secs(60), ..Script::default() });
            world.fail_load_balancer_check(&id);
        });
        self.lab.sleep(Duration::from_secs(1_500)).await;
    }

    /// A function that completes every action a second after its event, whatever is under way.
    fn deploy_completer(&self, name: &'static str) {
        let (lab, client) = (self.lab.clone(), Client::new(&self.lab.sdk_config(name)));
        self.deploy(name, move |payload| {
            let (lab, client, detail) = (lab.clone(), client.clone(), payload["detail"].clone());
            async move {
                lab.sleep(Duration::from_secs(1)).await;
                let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
                let complete = client.complete_lifecycle_action().instance_id(text("EC2InstanceId"));
                let complete = complete.auto_scaling_group_name(text("AutoScalingGroupName"));
                let complete = complete.lifecycle_hook_name(text("LifecycleHookName"));
                complete.lifecycle_action_result("CONTINUE").send().await.unwrap();
            }
        });
    }

    /// The function's rule for instances that are about to die.
    fn at_deaths(&self, function: &str) {
        let deaths = json!({ "detail-type": ["EC2 Instance-terminate Lifecycle Action"] });
        self.lab.add_rule(&deaths, function).unwrap();
    }

    fn deploy<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &str,
        run: impl Fn(Value) -> F + Send + Sync + 'static,
    ) {
        let code =
            Code::handler(move |payload, _| run(payload).map(|()| Ok(json!({ "outcome": "ignored" }))));
        self.lab.add_function(Function { name: name.to_owned(), time_limit: LIMIT, code });
    }

    /// Every sweep says that all is well.
    fn sweep_idly(&self, name: &'static str) {
        self.deploy(name, |_| async {});
        self.lab.schedule(Duration::from_secs(300), name, json!({}));
    }

    /// What the observer says in the end.
    async fn accused(&self) -> Vec<String> {
        self.lab.sleep(Duration::from_secs(1)).await;
        let mut observer = self.observer.lock().unwrap();
        observer.lives.clear();
        let (_, violations) = observer.finish(chrono::TimeDelta::zero(), 0);
        for violation in violations.iter().filter(|one| one.what.starts_with("i-")) {
            assert!(violation.history.iter().any(|line| line.ends_with("Pending")), "its history is told");
        }
        violations.into_iter().map(|one| one.what).collect()
    }
}

/// Plays a story in a runtime of its own.
fn play(story: impl Future<Output = Vec<String>>) -> Vec<String> {
    crate::paused_runtime().unwrap().block_on(story)
}

#[track_caller]
fn check(accused: &[String], words: &str) {
    assert!(accused.len() == 1 && accused[0].contains(words), "expected {words:?}, found {accused:?}");
}

fn drainer(lab: &Lab, name: &'static str, variables: &Variables) {
    functions::deploy_terminate_drainer(lab, name, LIMIT, variables).unwrap();
    add_rules(lab, terminate_drainer::NAME, name, &answering_for("app-*", "out")).unwrap();
}

#[test]
fn a_drain_that_is_done_accuses_nobody() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        drainer(&stage.lab, terminate_drainer::NAME, &Variables::default());
        stage.group("app-1").await;
        stage.die().await;
        stage.accused().await
    });
    assert!(accused.is_empty(), "{accused:?}");
}

#[test]
fn who_completes_without_a_drain_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        stage.deploy_completer("hasty");
        stage.at_deaths("hasty");
        stage.group("app-1").await;
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "without a drain, although its agent was there");
}

#[test]
fn who_completes_while_the_drain_runs_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        drainer(&stage.lab, terminate_drainer::NAME, &Variables::default());
        stage.deploy_completer("hasty");
        stage.at_deaths("hasty");
        stage.lab.world(|world| world.delays.command_delivery = Duration::from_millis(100));
        stage.group("app-1").await;
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "while its drain was running");
}

#[test]
fn who_sends_the_commands_again_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        drainer(&stage.lab, terminate_drainer::NAME, &Variables::default());
        // Another function of the same code does not know the first one's commands.
        let other = [(FUNCTION_NAME, "other")].into_iter().collect();
        functions::deploy_terminate_drainer(&stage.lab, "other", LIMIT, &other).unwrap();
        stage.group("app-1").await;
        let (lab, instance) = (stage.lab.clone(), stage.instance());
        tokio::spawn(async move {
            let dies = |world: &lifecycle_lab::World| {
                world.autoscaling.instance(&instance).is_some_and(|one| one.state == "Terminating:Wait")
            };
            lab.until(Duration::from_secs(600), dies).await;
            lab.sleep(Duration::from_secs(10)).await;
            let wait = lab.world(|world| world.autoscaling.instance(&instance).unwrap().waits["out"].clone());
            let event = json!({
                "version": "0", "id": "1", "source": "aws.autoscaling", "account": "1", "region": "us-east-1",
                "detail-type": "EC2 Instance-terminate Lifecycle Action", "time": wait.started, "resources": [],
                "detail": {
                    "LifecycleActionToken": wait.token, "AutoScalingGroupName": "app-1", "LifecycleHookName": "out",
                    "EC2InstanceId": instance, "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
                },
            });
            lab.invoke_async("other", event).await;
        });
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "its commands were sent twice");
}

#[test]
fn who_leaves_a_launch_or_a_death_to_time_out_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        stage.deploy(launch_logger::NAME, |_| async {});
        let launched = json!({ "detail-type": ["EC2 Instance-launch Lifecycle Action"] });
        stage.lab.add_rule(&launched, launch_logger::NAME).unwrap();
        stage.sweep_idly(DRAIN_SWEEP);
        stage.group("app-1").await;
        stage.die().await;
        stage.accused().await
    });
    assert!(accused.len() >= 2, "{accused:?}");
    assert!(accused[0].contains("its launch was left to time out"), "{accused:?}");
    assert!(accused.iter().any(|one| one.contains("although sweeps saw it undisturbed")), "{accused:?}");
}

#[test]
fn who_lets_an_unexpected_death_go_without_an_image_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        let launched = json!({ "detail-type": ["EC2 Instance-launch Lifecycle Action"] });
        stage.deploy("told", |_| async {});
        stage.lab.add_rule(&launched, "told").unwrap();
        stage.deploy_completer("hasty");
        stage.at_deaths("hasty");
        stage.group("blog-1").await;
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "there is no image of it");
}

#[test]
fn who_does_not_wait_for_the_image_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        let requested = [(ami_snapshotter::config::COMPLETE_ON, "requested")];
        functions::deploy_ami_snapshotter(&stage.lab, ami_snapshotter::NAME, &requested).unwrap();
        let blogs = answering_for("blog-*", "in,out");
        add_rules(&stage.lab, ami_snapshotter::NAME, ami_snapshotter::NAME, &blogs).unwrap();
        stage.group("blog-1").await;
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "before its image was ready");
}

#[test]
fn a_death_that_its_sweep_only_watches_is_accused_unless_sweeps_were_disturbed() {
    for (chaos, count) in [("", 1), ("throttle=1", 0)] {
        let accused = play(async {
            let stage = Stage::new(Vec::new()).await;
            let client = Client::new(&stage.lab.sdk_config(IMAGE_SWEEP));
            stage.deploy(IMAGE_SWEEP, move |_| {
                let client = client.clone();
                async move { drop(client.describe_auto_scaling_groups().send().await) }
            });
            stage.lab.schedule(Duration::from_secs(300), IMAGE_SWEEP, json!({}));
            stage.lab.faults().chaos(chaos.parse().unwrap());
            stage.group("blog-1").await;
            stage.die().await;
            stage.accused().await
        });
        assert_eq!(accused.len(), count, "{chaos}: {accused:?}");
    }
}

#[test]
fn a_lost_variable_and_a_service_that_wakes_at_night_are_told() {
    let accused = play(async {
        let stage = Stage::new(vec![("OWNER", "us")]).await;
        stage
            .lab
            .world(|world| {
                world.add_cluster("shop");
                world.add_service("shop", "web", lifecycle_lab::ecs::Scheduling::Replica, 1)
            })
            .unwrap();
        functions::deploy_ami_snapshotter(&stage.lab, ami_snapshotter::NAME, &[]).unwrap();
        // Every run finds the service asleep when it should be, and never wakes it.
        stage.deploy(ecs_scheduler::NAME, |_| async {});
        functions::on_schedule(&stage.lab, ecs_scheduler::NAME, Duration::from_secs(3_600)).unwrap();
        stage.lab.sleep(Duration::from_secs(3_700)).await;
        stage.accused().await
    });
    assert_eq!(accused.len(), 2, "{accused:?}");
    assert!(accused[0].contains("service/shop/web is None and should be (0, 0)"), "{accused:?}");
    assert!(accused[1].contains("OWNER"), "{accused:?}");
}
