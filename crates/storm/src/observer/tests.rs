//! Tests that the observer reports functions that break an invariant, one at a time, in a scene without faults.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod failures;
mod templates;
mod work;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use fleet::functions::{self, add_rules, answering_for};
use fleet::operator;
use futures::FutureExt;
use lambda_kit::Variables;
use lambda_kit::config::FUNCTION_NAME;
use lifecycle_lab::run_command::Script;
use lifecycle_lab::{ACCOUNT, Code, Function, FunctionError, Lab, REGION};
use serde_json::{Value, json};

use super::{Observer, Scene};
use crate::scene::{DRAIN_SWEEP, IMAGE_SWEEP};
use crate::tally::Tally;

/// As the storm's hooks.
const HEARTBEAT_TIMEOUT: i32 = 900;

const TIME_LIMIT: Duration = Duration::from_secs(60);

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
            operator::hook(&self.operator, name, hook, transition, HEARTBEAT_TIMEOUT, "CONTINUE")
                .await
                .unwrap();
        }
        operator::desire(&self.operator, name, 1).await.unwrap();
        self.lab.sleep(Duration::from_secs(1_200)).await;
    }

    fn instance(&self) -> String {
        self.lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone())
    }

    /// The instance fails, and everything comes to its end.
    async fn die(&self) {
        self.die_with(0).await;
    }

    /// The same; its commands take a minute, and end with this code.
    async fn die_with(&self, exit_code: i32) {
        let id = self.instance();
        let script = Script { duration: Duration::from_secs(60), exit_code, ..Script::default() };
        self.lab.world(|world| {
            world.run_command.set_script(&id, script);
            world.fail_load_balancer_check(&id);
        });
        self.lab.sleep(Duration::from_secs(1_500)).await;
    }

    /// A function that completes every action with this result a second after its event, whatever is under way.
    fn deploy_completer(&self, name: &'static str, result: &'static str) {
        let (lab, client) = (self.lab.clone(), Client::new(&self.lab.sdk_config(name)));
        self.deploy(name, move |payload| {
            let (lab, client, detail) = (lab.clone(), client.clone(), payload["detail"].clone());
            async move {
                lab.sleep(Duration::from_secs(1)).await;
                let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
                let complete = client.complete_lifecycle_action().instance_id(text("EC2InstanceId"));
                let complete = complete.auto_scaling_group_name(text("AutoScalingGroupName"));
                let complete = complete.lifecycle_hook_name(text("LifecycleHookName"));
                complete.lifecycle_action_result(result).send().await.unwrap();
            }
        });
    }

    /// A function that sends commands to an instance at its event, and completes the action after this time, if at
    /// all, whatever became of them.
    fn deploy_sender(&self, name: &'static str, completes: Option<Duration>) {
        let lab = self.lab.clone();
        let ssm = aws_sdk_ssm::Client::new(&self.lab.sdk_config(name));
        let client = Client::new(&self.lab.sdk_config(name));
        self.deploy(name, move |payload| {
            let (lab, ssm, client, detail) =
                (lab.clone(), ssm.clone(), client.clone(), payload["detail"].clone());
            async move {
                let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
                let send = ssm
                    .send_command()
                    .document_name("AWS-RunShellScript")
                    .instance_ids(text("EC2InstanceId"));
                send.parameters("commands", vec!["systemctl stop application".to_owned()])
                    .send()
                    .await
                    .unwrap();
                let complete = client.complete_lifecycle_action().instance_id(text("EC2InstanceId"));
                let complete = complete.auto_scaling_group_name(text("AutoScalingGroupName"));
                let complete = complete.lifecycle_hook_name(text("LifecycleHookName"));
                if let Some(after) = completes {
                    tokio::spawn(async move {
                        lab.sleep(after).await;
                        complete.lifecycle_action_result("CONTINUE").send().await.unwrap();
                    });
                }
            }
        });
    }

    /// The function's rule for instances that have just been launched.
    fn at_launches(&self, function: &str) {
        let launches = json!({ "detail-type": ["EC2 Instance-launch Lifecycle Action"] });
        self.lab.add_rule(&launches, function).unwrap();
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
        self.lab.add_function(Function { name: name.to_owned(), time_limit: TIME_LIMIT, code });
    }

    /// Every sweep says that all is well.
    fn sweep_idly(&self, name: &'static str) {
        self.deploy(name, |_| async {});
        self.lab.schedule(Duration::from_secs(300), name, json!({}));
    }

    /// The violations at the end of the storm. An instance that is left does not count as one.
    async fn accused(&self) -> Vec<String> {
        self.judged().await.0
    }

    /// The same, and the counts.
    async fn judged(&self) -> (Vec<String>, Tally) {
        self.lab.sleep(Duration::from_secs(1)).await;
        self.observer.lock().unwrap().lives.clear();
        self.violations()
    }

    /// The violations at the end of the storm, and the counts.
    fn violations(&self) -> (Vec<String>, Tally) {
        let (tally, violations) = self.observer.lock().unwrap().finish(chrono::TimeDelta::zero(), 0);
        for violation in violations.iter().filter(|one| one.what.starts_with("i-")) {
            assert!(
                violation.history.iter().any(|line| line.ends_with("Pending")),
                "the history has the launch"
            );
        }
        (violations.into_iter().map(|one| one.what).collect(), tally)
    }
}

/// Plays a story in a runtime of its own.
fn play<T>(story: impl Future<Output = T>) -> T {
    fleet::runtime::paused().unwrap().block_on(story)
}

#[track_caller]
fn check(accused: &[String], words: &str) {
    assert!(accused.len() == 1 && accused[0].contains(words), "expected {words:?}, found {accused:?}");
}

fn drainer(lab: &Lab, name: &'static str, variables: &Variables) {
    functions::deploy::<terminate_drainer::Context>(lab, name, TIME_LIMIT, variables).unwrap();
    add_rules(lab, terminate_drainer::NAME, name, &answering_for("app-*", "out")).unwrap();
}

#[test]
fn a_drain_that_is_done_accuses_nobody() {
    let (accused, tally) = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        drainer(&stage.lab, terminate_drainer::NAME, &Variables::default());
        stage.group("app-1").await;
        stage.die().await;
        stage.judged().await
    });
    assert!(accused.is_empty(), "{accused:?}");
    assert_eq!(tally.commands.get("Success"), Some(&1), "{tally:?}");
    assert_eq!(tally.actions.get(&("out".to_owned(), "CONTINUE")), Some(&1), "{tally:?}");
}

#[test]
fn who_completes_without_a_drain_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        stage.deploy_completer("hasty", "CONTINUE");
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
        stage.deploy_completer("hasty", "CONTINUE");
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
        functions::deploy::<terminate_drainer::Context>(&stage.lab, "other", TIME_LIMIT, &other).unwrap();
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
                "version": "0", "id": "1", "source": "aws.autoscaling", "account": ACCOUNT, "region": REGION,
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
        stage.at_launches(launch_logger::NAME);
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
        stage.deploy("told", |_| async {});
        stage.at_launches("told");
        stage.deploy_completer("hasty", "CONTINUE");
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
fn who_fails_at_a_launch_is_accused_unless_the_last_attempt_was_disturbed() {
    for (chaos, count) in [("", 1), ("throttle=1", 0)] {
        let (accused, tally) = play(async {
            let stage = Stage::new(Vec::new()).await;
            let client = Client::new(&stage.lab.sdk_config(launch_logger::NAME));
            let code = Code::handler(move |_, _| {
                let client = client.clone();
                async move {
                    drop(client.describe_auto_scaling_groups().send().await);
                    Err(FunctionError::new("AwsError", "always"))
                }
            });
            let name = launch_logger::NAME.to_owned();
            stage.lab.add_function(Function { name, time_limit: TIME_LIMIT, code });
            stage.at_launches(launch_logger::NAME);
            operator::create(&stage.operator, "app-1", &["us-east-1a"]).await.unwrap();
            operator::hook(&stage.operator, "app-1", "in", "LAUNCHING", HEARTBEAT_TIMEOUT, "CONTINUE")
                .await
                .unwrap();
            operator::desire(&stage.operator, "app-1", 1).await.unwrap();
            stage.lab.faults().chaos(chaos.parse().unwrap());
            stage.lab.sleep(Duration::from_secs(1_200)).await;
            stage.judged().await
        });
        assert_eq!(tally.actions.get(&("in".to_owned(), "timed out")), Some(&1), "{chaos}: {tally:?}");
        assert_eq!(accused.len(), count, "{chaos}: {accused:?}");
        assert!(accused.iter().all(|one| one.contains("its launch was left to time out")), "{accused:?}");
    }
}

#[test]
fn who_gives_up_what_was_launched_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        stage.deploy_completer("harsh", "ABANDON");
        stage.at_launches("harsh");
        stage.group("app-1").await;
        stage.accused().await
    });
    assert!(!accused.is_empty(), "nobody is accused");
    assert!(
        accused.iter().all(|one| one.contains("its launch was recorded and yet abandoned")),
        "{accused:?}"
    );
}

#[test]
fn who_answers_a_launch_that_is_the_hooks_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        stage.deploy_completer("hasty", "CONTINUE");
        stage.at_launches("hasty");
        stage.group("blog-1").await;
        stage.accused().await
    });
    check(&accused, "should be left to the hook");
}

#[test]
fn a_death_that_no_hook_holds_is_a_violation_where_there_is_a_hook_and_ec2_did_not_take_the_instance_back() {
    for (reclaimed, put_back, count) in [(false, true, 1), (false, false, 0), (true, true, 0)] {
        let accused = play(async {
            let stage = Stage::new(Vec::new()).await;
            stage.group("app-1").await;
            let id = stage.instance();
            stage
                .lab
                .world(|world| if reclaimed { world.reclaim_spot(&id) } else { world.fail_instance(&id) });
            let leaves = |world: &lifecycle_lab::World| {
                world.autoscaling.instance(&id).is_some_and(|one| one.state == "Terminating")
            };
            assert!(stage.lab.until(Duration::from_secs(600), leaves).await, "it leaves");
            // Its hook would begin within seconds.
            let delete = stage.operator.delete_lifecycle_hook().auto_scaling_group_name("app-1");
            delete.lifecycle_hook_name("out").send().await.unwrap();
            stage.lab.sleep(Duration::from_secs(10)).await;
            if put_back {
                let hook = operator::hook(
                    &stage.operator,
                    "app-1",
                    "out",
                    "TERMINATING",
                    HEARTBEAT_TIMEOUT,
                    "CONTINUE",
                );
                hook.await.unwrap();
            }
            stage.lab.sleep(Duration::from_secs(600)).await;
            assert!(stage.observer.lock().unwrap().gone.contains(&id), "it died");
            stage.accused().await
        });
        // Nobody answers its launch either.
        let held = accused.iter().filter(|one| one.contains("it died without waiting for its hook")).count();
        assert_eq!(held, count, "{accused:?}");
    }
}

#[test]
fn who_makes_two_images_of_a_death_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        let ec2 = aws_sdk_ec2::Client::new(&stage.lab.sdk_config("twice"));
        stage.deploy("twice", move |payload| {
            let (ec2, instance) =
                (ec2.clone(), payload["detail"]["EC2InstanceId"].as_str().map(str::to_owned));
            async move {
                for name in ["one", "another"] {
                    let create = ec2.create_image().set_instance_id(instance.clone()).name(name);
                    create.send().await.unwrap();
                }
            }
        });
        stage.at_deaths("twice");
        stage.group("blog-1").await;
        stage.die().await;
        stage.accused().await
    });
    check(&accused, "more than one image was made of its death");
}

#[test]
fn who_makes_an_image_of_a_planned_death_is_accused() {
    let accused = play(async {
        let stage = Stage::new(Vec::new()).await;
        let none = [(ami_snapshotter::config::SKIP_CAUSES, "")];
        functions::deploy_ami_snapshotter(&stage.lab, ami_snapshotter::NAME, &none).unwrap();
        let blogs = answering_for("blog-*", "in,out");
        add_rules(&stage.lab, ami_snapshotter::NAME, ami_snapshotter::NAME, &blogs).unwrap();
        stage.group("blog-1").await;
        operator::desire(&stage.operator, "blog-1", 0).await.unwrap();
        stage.lab.sleep(Duration::from_secs(1_500)).await;
        stage.accused().await
    });
    check(&accused, "its death was planned, and yet there is an image");
}

#[test]
fn an_instance_that_stays_and_a_bucket_that_is_emptied_are_violations() {
    let (violations, _) = play(async {
        let stage = Stage::new(Vec::new()).await;
        functions::deploy_launch_logger(&stage.lab, "app-*", "in").unwrap();
        stage.group("app-1").await;
        let now = stage.lab.now();
        for _ in 0..=super::rules::MAX_CALLS_PER_HOUR {
            stage.observer.lock().unwrap().count_call(now);
        }
        stage.violations()
    });
    assert_eq!(violations.len(), 2, "{violations:?}");
    assert!(violations[0].contains("more than 3600 calls to Auto Scaling in the hour"), "{violations:?}");
    assert!(violations[1].contains("is still there"), "{violations:?}");
}

#[test]
fn a_death_that_its_sweep_only_watches_is_accused_unless_sweeps_were_disturbed() {
    for (chaos, count) in [("", 1), ("throttle=1", 0)] {
        let (accused, tally) = play(async {
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
            stage.judged().await
        });
        assert_eq!(tally.actions.get(&("out".to_owned(), "timed out")), Some(&1), "{chaos}: {tally:?}");
        assert_eq!(accused.len(), count, "{chaos}: {accused:?}");
    }
}

#[test]
fn a_lost_variable_and_a_service_that_wakes_at_night_are_violations() {
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
