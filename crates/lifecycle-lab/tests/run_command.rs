//! The rules of Systems Manager Run Command, one test for each, through real SDK clients; the shapes of
//! its faults; and the token bucket that all of Auto Scaling's callers share.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_command_invocation::GetCommandInvocationOutput;
use aws_sdk_ssm::operation::send_command::builders::SendCommandFluentBuilder;
use aws_sdk_ssm::primitives::DateTimeFormat;
use aws_sdk_ssm::types::{
    CloudWatchOutputConfig, CommandFilter, CommandFilterKey, CommandInvocation, CommandInvocationStatus,
    CommandStatus, InstanceInformationFilter, InstanceInformationFilterKey, InstanceInformationStringFilter,
};
use lifecycle_lab::autoscaling::Bucket;
use lifecycle_lab::faults::CallFault;
use lifecycle_lab::run_command::{Document, Invocation, Ping, RunCommand, Script, Step};
use lifecycle_lab::{Lab, Moment, Sight, What};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

const INVOCATION_EVENT: &str = "EC2 Command Invocation Status-change Notification";
const COMMAND_EVENT: &str = "EC2 Command Status-change Notification";

/// A group of instances in service, each with an agent.
struct Scene {
    lab: Lab,
    ssm: Client,
    ids: Vec<String>,
    moments: UnboundedReceiver<Moment>,
}

impl Scene {
    async fn of(instances: i32) -> Self {
        let lab = Lab::new("2026-03-01T12:00:00Z".parse().unwrap(), 7);
        lab.world(|world| {
            world.delays.boot = Duration::ZERO;
            world.delays.agent_registration = Duration::ZERO;
        });
        let sdk = lab.sdk_config("operator");
        let group = aws_sdk_autoscaling::Client::new(&sdk).create_auto_scaling_group();
        let group = group.auto_scaling_group_name("web").availability_zones("us-east-1a");
        let group = group.min_size(0).max_size(instances).desired_capacity(instances);
        group.launch_configuration_name("web").send().await.unwrap();
        let all_in_service = |world: &lifecycle_lab::World| {
            let states = world.autoscaling.instances().map(|instance| instance.state);
            states.filter(|state| *state == "InService").count() == instances as usize
        };
        assert!(lab.until(Duration::from_secs(60), all_in_service).await);
        let ids = lab.world(|world| world.autoscaling.instances().map(|one| one.id.clone()).collect());
        // A refusal is a test's subject here, never something to try again.
        let config = aws_sdk_ssm::config::Builder::from(&sdk).retry_config(RetryConfig::disabled()).build();
        let moments = lab.observe();
        Self { ssm: Client::from_conf(config), ids, moments, lab }
    }

    /// Runs a command on the first instance. Returns the command's id.
    async fn send(&self) -> String {
        id(self.order().send().await.unwrap())
    }

    /// What an agent that does not answer may take to begin and to end: 30 and 60 seconds.
    fn short_order(&self) -> SendCommandFluentBuilder {
        self.order().timeout_seconds(30).parameters("executionTimeout", vec!["60".to_owned()])
    }

    /// A request for a command on the first instance.
    fn order(&self) -> SendCommandFluentBuilder {
        self.order_on(&self.ids[0])
    }

    fn order_on(&self, instance: &str) -> SendCommandFluentBuilder {
        let send = self.ssm.send_command().document_name("AWS-RunShellScript").instance_ids(instance);
        send.parameters("commands", vec!["systemctl stop application".to_owned()])
    }

    async fn get(&self, command: &str) -> GetCommandInvocationOutput {
        let get = self.ssm.get_command_invocation().command_id(command).instance_id(&self.ids[0]);
        get.send().await.unwrap()
    }

    /// The first invocation in the list, with its plugins.
    async fn listed(&self, command: &str) -> CommandInvocation {
        let list = self.ssm.list_command_invocations().command_id(command).details(true);
        list.send().await.unwrap().command_invocations.unwrap().remove(0)
    }

    /// What AWS says of the first instance's agent, and how old its last ping is in seconds.
    async fn agent_told(&self) -> Option<(String, i64)> {
        let filter = InstanceInformationStringFilter::builder().key("InstanceIds").values(&self.ids[0]);
        let describe = self.ssm.describe_instance_information().filters(filter.build().unwrap());
        let list = describe.send().await.unwrap().instance_information_list.unwrap();
        let one = list.first()?;
        let age = self.lab.now().timestamp() - one.last_ping_date_time().unwrap().secs();
        Some((one.ping_status().unwrap().as_str().to_owned(), age))
    }

    fn set(&self, set: impl FnOnce(&mut RunCommand, &str)) {
        self.lab.world(|world| set(&mut world.run_command, &self.ids[0]));
    }

    fn script(&self, seconds: u64, exit_code: i32) {
        let duration = Duration::from_secs(seconds);
        self.set(|run, id| run.set_script(id, Script { duration, exit_code, ..Script::default() }));
    }

    fn agent(&self, ping: Ping) {
        self.set(|run, id| run.set_agent(id, ping));
    }

    async fn sleep(&self, seconds: u64) {
        self.lab.sleep(Duration::from_secs(seconds)).await;
    }

    /// The first instance's last invocation as it is.
    fn truth(&self) -> Invocation {
        self.lab.world(|world| world.run_command.invocations(&self.ids[0]).last().unwrap().1.clone())
    }

    /// The status, and how many seconds after it was sent the command began and ended.
    fn course(&self) -> (&'static str, Option<i64>, Option<i64>) {
        self.lab.world(|world| {
            let (command, one) = world.run_command.invocations(&self.ids[0]).last().unwrap();
            let after = |time: Option<chrono::DateTime<chrono::Utc>>| {
                time.map(|time| (time - command.requested).num_seconds())
            };
            (one.status_details, after(one.started), after(one.ended))
        })
    }

    /// What Run Command has sent out since the last look.
    fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Ok(moment) = self.moments.try_recv() {
            match moment.what {
                What::Sent(event) if event["source"] == "aws.ssm" => events.push(event),
                _ => {}
            }
        }
        events
    }

    /// The statuses in the events of invocations since the last look.
    fn statuses(&mut self) -> Vec<String> {
        let events = self.events().into_iter().filter(|event| event["detail-type"] == INVOCATION_EVENT);
        events.map(|event| event["detail"]["status"].as_str().unwrap().to_owned()).collect()
    }
}

fn id(sent: aws_sdk_ssm::operation::send_command::SendCommandOutput) -> String {
    sent.command.unwrap().command_id.unwrap()
}

/// The code and the text of a refusal.
fn refusal<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> (String, String) {
    let error = result.unwrap_err();
    (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

fn code<T: Debug, E: ProvideErrorMetadata + Debug>(result: Result<T, SdkError<E>>) -> String {
    refusal(result).0
}

fn filter(key: CommandFilterKey, value: &str) -> CommandFilter {
    CommandFilter::builder().key(key).value(value).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_command_reaches_the_agent_after_a_second_and_ends_when_it_has_run() {
    let scene = Scene::of(1).await;
    scene.script(10, 0);

    let command =
        scene.order().comment("a comment").timeout_seconds(60).send().await.unwrap().command.unwrap();
    assert_eq!(command.status, Some(CommandStatus::Pending));
    assert_eq!(command.status_details.as_deref(), Some("Pending"));
    assert_eq!(command.comment.as_deref(), Some("a comment"));
    assert_eq!(command.timeout_seconds, Some(60));
    assert_eq!(command.instance_ids(), [scene.ids[0].clone()]);
    assert_eq!(command.parameters.unwrap()["commands"], ["systemctl stop application"]);
    let lasts = command.expires_after.unwrap().secs() - command.requested_date_time.unwrap().secs();
    assert_eq!(lasts, 60 + 3_600, "the delivery timeout and AWS-RunShellScript's own time");

    let id = command.command_id.unwrap();
    assert_eq!(id.len(), 36);
    scene.sleep(5).await;
    let running = scene.get(&id).await;
    assert_eq!(running.status, Some(CommandInvocationStatus::InProgress));
    assert_eq!((running.response_code, running.execution_end_date_time.as_deref()), (-1, Some("")));
    scene.sleep(10).await;
    let ended = scene.get(&id).await;
    assert_eq!(ended.status, Some(CommandInvocationStatus::Success));
    assert_eq!((ended.response_code, ended.comment.as_deref()), (0, Some("a comment")));
    assert!(ended.execution_start_date_time.unwrap().starts_with("2026-03-01T12:00:"));
    assert_eq!(ended.execution_elapsed_time.as_deref(), Some("PT10S"));
    assert_eq!(scene.course(), ("Success", Some(1), Some(11)));
}

#[tokio::test(start_paused = true)]
async fn commands_that_exit_with_an_error_have_failed() {
    let scene = Scene::of(1).await;
    let script = Script { exit_code: 3, output: "stopping".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));

    let id = scene.send().await;
    scene.sleep(5).await;

    let ended = scene.get(&id).await;
    assert_eq!(ended.status, Some(CommandInvocationStatus::Failed));
    assert_eq!((ended.response_code, ended.status_details.as_deref()), (3, Some("Failed")));
    assert_eq!(ended.standard_output_content.as_deref(), Some("stopping"));
    assert_eq!(ended.standard_error_content.as_deref(), Some("failed to run commands: exit status 3"));
}

#[tokio::test(start_paused = true)]
async fn commands_that_outlast_the_execution_timeout_time_out() {
    let scene = Scene::of(1).await;
    scene.script(61, 0);

    let id = id(scene.order().parameters("executionTimeout", vec!["60".to_owned()]).send().await.unwrap());
    scene.sleep(100).await;

    let ended = scene.get(&id).await;
    assert_eq!(ended.status, Some(CommandInvocationStatus::TimedOut));
    assert_eq!((ended.response_code, ended.status_details.as_deref()), (137, Some("ExecutionTimedOut")));
    assert_eq!(scene.course(), ("ExecutionTimedOut", Some(1), Some(61)));
    let command = scene.ssm.list_commands().send().await.unwrap().commands.unwrap().remove(0);
    assert_eq!(command.status, Some(CommandStatus::Failed), "the command of an invocation that is TimedOut");
    assert_eq!(command.status_details.as_deref(), Some("Failed"));
    assert_eq!((command.error_count, command.delivery_timed_out_count), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_takes_an_execution_timeout_under_five_seconds_for_an_hour() {
    let scene = Scene::of(1).await;
    for (timeout, seconds, end) in [("4", 3_000, "Success"), ("5", 20, "ExecutionTimedOut")] {
        scene.script(seconds, 0);
        let order = scene.order().parameters("executionTimeout", vec![timeout.to_owned()]);
        let command = order.send().await.unwrap().command.unwrap();
        let lasts = command.expires_after.unwrap().secs() - command.requested_date_time.unwrap().secs();
        assert_eq!(lasts, 3_600 + timeout.parse::<i64>().unwrap());
        scene.sleep(3_100).await;
        assert_eq!(scene.course().0, end, "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn commands_that_fill_the_execution_timeout_succeed() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);

    scene.order().parameters("executionTimeout", vec!["60".to_owned()]).send().await.unwrap();
    scene.sleep(100).await;

    assert_eq!(scene.course(), ("Success", Some(1), Some(61)));
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_dead_agent_is_in_progress_for_a_moment_and_then_delayed_until_both_timeouts_have_passed()
 {
    let mut scene = Scene::of(1).await;
    for ping in [Ping::Silent, Ping::ConnectionLost, Ping::Inactive] {
        scene.agent(ping);
        let order = scene.order().timeout_seconds(30).parameters("executionTimeout", vec!["5".to_owned()]);
        let id = id(order.send().await.unwrap());
        let looked = async |after: u64| {
            scene.sleep(after).await;
            let got = scene.get(&id).await;
            (got.status.unwrap().as_str().to_owned(), got.status_details.unwrap())
        };
        let both = |status: &str, details: &str| (status.to_owned(), details.to_owned());
        assert_eq!(looked(0).await, both("InProgress", "InProgress"), "and no agent has it");
        assert_eq!(looked(3).await, both("Pending", "Delayed"));
        assert_eq!(looked(43).await, both("Pending", "Delayed"), "11 s after ExpiresAfter");
        assert_eq!(looked(5).await, both("TimedOut", "DeliveryTimedOut"));

        let ended = scene.get(&id).await;
        assert_eq!((ended.response_code, ended.execution_end_date_time.as_deref()), (-1, Some("")));
        let plugin = scene.listed(&id).await.command_plugins.unwrap().remove(0);
        assert_eq!((plugin.response_code, plugin.status_details.as_deref()), (-1, Some("DeliveryTimedOut")));
        assert_eq!((plugin.response_start_date_time, plugin.response_finish_date_time), (None, None));
        assert_eq!(plugin.output_s3_region.as_deref(), Some(""));
        let command =
            scene.ssm.list_commands().command_id(&id).send().await.unwrap().commands.unwrap().remove(0);
        assert_eq!(command.status, Some(CommandStatus::TimedOut));
        assert_eq!(command.status_details.as_deref(), Some("DeliveryTimedOut"));
        let counts = (command.error_count, command.delivery_timed_out_count, command.completed_count);
        assert_eq!(counts, (0, 1, 1));
        scene.agent(Ping::Online);
        scene.sleep(60).await;
        assert_eq!(scene.course(), ("DeliveryTimedOut", None, Some(50)), "it is never run");
        assert_eq!(scene.statuses(), ["Pending", "InProgress", "Pending", "TimedOut"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_after_the_delivery_timeout_does_not_run_the_command() {
    let scene = Scene::of(1).await;
    scene.agent(Ping::ConnectionLost);

    scene.short_order().send().await.unwrap();
    scene.sleep(35).await;
    scene.agent(Ping::Online);
    scene.sleep(65).await;
    assert_eq!(scene.course(), ("Delayed", None, None));
    scene.sleep(60).await;

    assert_eq!(scene.course(), ("DeliveryTimedOut", None, Some(105)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_online_until_ten_minutes_after_its_last_ping() {
    let scene = Scene::of(1).await;
    scene.sleep(400).await;
    let online = |age| Some(("Online".to_owned(), age));
    let (_, age) = scene.agent_told().await.unwrap();
    assert!((90..130).contains(&age), "{age} s: a healthy agent pings every five minutes");

    scene.agent(Ping::Silent);
    assert!(scene.order().send().await.is_ok(), "commands are accepted");
    scene.sleep(300).await;
    let (_, now) = scene.agent_told().await.unwrap();
    assert_eq!((scene.agent_told().await, now / 10), (online(now), (age + 300) / 10), "the ping is the same");
    scene.sleep(200).await;
    let (status, age) = scene.agent_told().await.unwrap();
    assert_eq!((status.as_str(), age / 10), ("ConnectionLost", (now + 200) / 10));
    scene.agent(Ping::Online);
    scene.sleep(1).await;
    assert_eq!(scene.agent_told().await.unwrap().0, "Online");
}

#[tokio::test(start_paused = true)]
async fn a_command_does_not_move_the_last_ping() {
    let scene = Scene::of(1).await;
    scene.sleep(100).await;
    let (_, before) = scene.agent_told().await.unwrap();
    scene.send().await;
    scene.sleep(20).await;
    let (_, after) = scene.agent_told().await.unwrap();
    assert!(after >= before + 20, "{before} {after}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_for_a_while_gets_and_reports_commands_afterwards() {
    let scene = Scene::of(1).await;
    scene.lab.world(|world| world.silence_agent(&scene.ids[0], Duration::from_secs(60)));
    scene.order().send().await.unwrap();
    scene.sleep(50).await;
    assert_eq!(scene.course(), ("Delayed", None, None));
    scene.sleep(60).await;
    assert_eq!(scene.course().0, "Success");

    scene.script(30, 0);
    scene.order().send().await.unwrap();
    scene.sleep(5).await;
    scene.lab.world(|world| world.silence_agent(&scene.ids[0], Duration::from_secs(600)));
    scene.sleep(500).await;
    assert_eq!(scene.course(), ("InProgress", Some(1), None), "it has run, and nobody knows");
    scene.sleep(200).await;
    let (status, _, ended) = scene.course();
    assert_eq!((status, ended), ("Success", Some(605)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_restarted_leaves_its_command_in_progress_for_ever() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);
    let id = id(scene.short_order().send().await.unwrap());
    scene.sleep(5).await;
    scene.lab.world(|world| world.restart_agent(&scene.ids[0]));
    scene.sleep(48 * 3_600).await;
    assert_eq!(scene.course(), ("InProgress", Some(1), None));
    scene.ssm.cancel_command().command_id(&id).send().await.unwrap();
    scene.sleep(48 * 3_600).await;
    assert_eq!(scene.course(), ("Cancelling", Some(1), None));
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::Cancelling));

    scene.send().await;
    scene.sleep(65).await;
    assert_eq!(scene.course().0, "Success", "the next command runs");
}

#[tokio::test(start_paused = true)]
async fn an_agent_registers_20_to_40_seconds_after_its_instance_runs_unless_its_group_says_otherwise() {
    let registered = async |set: fn(&mut RunCommand, &str)| {
        let scene = Scene::of(1).await;
        scene.lab.world(|world| world.delays.agent_registration = Duration::from_secs(20));
        scene.set(set);
        let runs = scene.lab.world(|world| world.ec2.instance(&scene.ids[0]).unwrap().runs_since);
        let there = |world: &lifecycle_lab::World| world.agent(&scene.ids[0]).is_some();
        assert_eq!(scene.agent_told().await, None);
        assert_eq!(code(scene.order().send().await), "InvalidInstanceId");
        while scene.lab.now() - runs < chrono::TimeDelta::seconds(1_000) {
            if scene.lab.world(|world| there(world)) {
                assert!(scene.order().send().await.is_ok());
                return Some((scene.lab.now() - runs).num_seconds());
            }
            scene.sleep(1).await;
        }
        None
    };
    let usual = registered(|_, _| ()).await.unwrap();
    assert!((20..=42).contains(&usual), "{usual} s");
    let slow =
        registered(|run, _| run.set_registration("web", Some(Duration::from_secs(300)))).await.unwrap();
    assert!((300..=302).contains(&slow), "{slow} s");
    assert_eq!(registered(|run, _| run.set_registration("web", None)).await, None);
    let own = registered(|run, id| {
        run.set_registration("web", None);
        run.set_registration(id, Some(Duration::from_secs(50)));
    });
    assert!((50..=52).contains(&own.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_instance_is_not_listed_and_takes_no_commands() {
    let scene = Scene::of(1).await;
    assert!(scene.agent_told().await.is_some());
    scene.lab.world(|world| world.fail_instance(&scene.ids[0]));
    assert_eq!(scene.agent_told().await, None);
    let text = "Instances not in a valid state for account".to_owned();
    assert_eq!(refusal(scene.order().send().await), ("InvalidInstanceId".to_owned(), text));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_in_time_gets_the_command_once() {
    let scene = Scene::of(1).await;
    scene.agent(Ping::ConnectionLost);

    scene.order().timeout_seconds(30).send().await.unwrap();
    scene.sleep(20).await;
    scene.agent(Ping::Online);
    scene.agent(Ping::Online);
    scene.sleep(60).await;

    let (status, started, ended) = scene.course();
    assert_eq!((status, ended.unwrap() - started.unwrap()), ("Success", 2));
    assert!((20..=22).contains(&started.unwrap()), "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_on_a_skipped_clock_gets_the_command_when_it_came_back() {
    let scene = Scene::of(1).await;
    scene.agent(Ping::ConnectionLost);

    scene.order().timeout_seconds(30).send().await.unwrap();
    scene.agent(Ping::Online);
    scene.lab.skip(Duration::from_secs(3600));

    assert_eq!(scene.course(), ("Success", Some(1), Some(3)));
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_ran_while_it_was_offline_is_seen_when_it_is_back() {
    let mut scene = Scene::of(1).await;
    scene.script(10, 0);

    let id = scene.send().await;
    scene.sleep(5).await;
    scene.agent(Ping::ConnectionLost);
    scene.sleep(60).await;
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::InProgress));
    assert_eq!(scene.statuses(), ["Pending", "InProgress"]);
    scene.agent(Ping::Online);
    scene.sleep(1).await;

    assert_eq!(scene.statuses(), ["Success"]);
    assert_eq!(scene.get(&id).await.response_code, 0);
    let (status, started, ended) = scene.course();
    assert_eq!((status, started), ("Success", Some(1)));
    assert!(ended.unwrap() >= 65, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_instance_goes_stays_in_progress_until_it_expires() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);

    let order = scene.order().timeout_seconds(30).parameters("executionTimeout", vec!["100".to_owned()]);
    order.send().await.unwrap();
    scene.sleep(5).await;
    scene.lab.world(|world| world.reclaim_spot(&scene.ids[0]));
    scene.sleep(115).await;
    assert!(scene.lab.world(|world| world.autoscaling.instance(&scene.ids[0]).is_none()));
    assert_eq!(scene.course(), ("InProgress", Some(1), None));
    scene.sleep(60).await;

    assert_eq!(scene.course(), ("DeliveryTimedOut", Some(1), Some(145)));
}

#[tokio::test(start_paused = true)]
async fn instances_that_are_not_registered_or_gone_or_unknown_are_refused() {
    let scene = Scene::of(3).await;
    scene.agent(Ping::Unregistered);
    scene.lab.world(|world| world.reclaim_spot(&scene.ids[1]));
    scene.sleep(10).await;

    let text = "Instances not in a valid state for account";
    let invalid = ("InvalidInstanceId".to_owned(), text.to_owned());
    for id in [&scene.ids[0], &scene.ids[1], "i-00000000000000000"] {
        let both = scene.order_on(&scene.ids[2]).instance_ids(id).send().await;
        assert_eq!(refusal(both), invalid);
    }
    assert!(scene.lab.world(|world| world.run_command.commands().is_empty()));
    let twice = scene.order().instance_ids(&scene.ids[0]).send().await;
    assert_eq!(code(twice), "DuplicateInstanceId");
}

#[tokio::test(start_paused = true)]
async fn an_invocation_is_there_at_once_unless_a_test_says_otherwise() {
    let scene = Scene::of(1).await;
    let at_once = scene.get(&scene.send().await).await;
    assert_eq!(at_once.status, Some(CommandInvocationStatus::InProgress));
    assert_eq!(at_once.execution_start_date_time, None);
    assert_eq!(at_once.execution_elapsed_time, None);
    assert_eq!((at_once.execution_end_date_time.as_deref(), at_once.response_code), (Some(""), -1));

    scene.lab.world(|world| world.delays.command_visible = Duration::from_millis(500));

    let id = scene.send().await;
    let get = |id: &str| scene.ssm.get_command_invocation().command_id(id).instance_id(&scene.ids[0]).send();
    let early = get(&id).await.unwrap_err();
    assert!(early.into_service_error().is_invocation_does_not_exist());
    scene.lab.sleep(Duration::from_millis(500)).await;

    assert_eq!(get(&id).await.unwrap().status, Some(CommandInvocationStatus::InProgress));
    let other = get("00000000-0000-4000-8000-000000000000").await;
    assert_eq!(code(other), "InvocationDoesNotExist");
}

#[tokio::test(start_paused = true)]
async fn lists_show_a_command_after_a_second_or_what_a_test_sets() {
    for (set, lag) in [(None, 1_000), (Some(500), 500), (Some(5_000), 5_000)] {
        let scene = Scene::of(1).await;
        let listed = async || {
            let commands = scene.ssm.list_commands().send().await.unwrap().commands().len();
            let invocations = scene.ssm.list_command_invocations().send().await.unwrap();
            (commands, invocations.command_invocations().len())
        };
        if let Some(set) = set {
            scene.lab.world(|world| world.delays.command_listed = Duration::from_millis(set));
        }
        scene.send().await;
        scene.lab.sleep(Duration::from_millis(lag - 300)).await;
        assert_eq!(listed().await, (0, 0), "{lag}");
        scene.lab.sleep(Duration::from_millis(300)).await;
        assert_eq!(listed().await, (1, 1), "{lag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_command_sent_twice_is_two_commands() {
    let scene = Scene::of(1).await;

    let ids = [scene.send().await, scene.send().await];
    scene.sleep(10).await;

    assert_ne!(ids[0], ids[1]);
    let truth = scene.lab.world(|world| world.run_command.commands().to_vec());
    assert_eq!(truth.iter().map(|command| command.id.as_str()).collect::<Vec<_>>(), ids);
    assert!(truth.iter().all(|command| command.invocations[0].started.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_running_command_that_is_cancelled_is_killed_a_moment_later() {
    let mut scene = Scene::of(1).await;
    let script =
        Script { duration: Duration::from_secs(60), output: "so far".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));

    let id = scene.send().await;
    scene.sleep(5).await;
    let cancel = || scene.ssm.cancel_command().command_id(&id);
    cancel().instance_ids(&scene.ids[0]).send().await.unwrap();
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::InProgress));
    scene.sleep(3).await;
    let cancelled = scene.get(&id).await;
    assert_eq!(cancelled.status, Some(CommandInvocationStatus::Cancelled));
    assert_eq!(
        (cancelled.response_code, cancelled.standard_output_content.as_deref()),
        (137, Some("so far"))
    );
    let command = scene.ssm.list_commands().send().await.unwrap().commands.unwrap().remove(0);
    assert_eq!((command.status, command.error_count), (Some(CommandStatus::Cancelled), 0));
    // Once more is no error, and changes nothing.
    cancel().send().await.unwrap();
    scene.sleep(120).await;

    let (status, started, ended) = scene.course();
    assert_eq!((status, started), ("Cancelled", Some(1)));
    assert!((6..=7).contains(&ended.unwrap()), "{ended:?}");
    assert_eq!(code(cancel().instance_ids("i-1").send().await), "InvalidInstanceId");
    let unknown = "00000000-0000-4000-8000-000000000000";
    let other = scene.ssm.cancel_command().command_id(unknown).send().await;
    let text = format!("Command id {unknown} does not exist.");
    assert_eq!(refusal(other), ("InvalidCommandId".to_owned(), text));
    assert_eq!(scene.statuses(), ["Pending", "InProgress", "Cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_cancelled_while_it_waits_is_never_run_and_has_the_response_code_minus_one() {
    let scene = Scene::of(1).await;
    for wait in [0, 20] {
        scene.agent(Ping::ConnectionLost);
        let id = scene.send().await;
        scene.sleep(wait).await;
        scene.ssm.cancel_command().command_id(&id).send().await.unwrap();
        scene.agent(Ping::Online);
        scene.sleep(10).await;

        let (status, started, ended) = scene.course();
        assert_eq!((status, started), ("Cancelled", None));
        assert!(ended.unwrap() <= 2 + wait as i64, "{ended:?}");
        let got = scene.get(&id).await;
        assert_eq!((got.status, got.response_code), (Some(CommandInvocationStatus::Cancelled), -1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_command_is_cancelling_as_long_as_its_agent_does_not_answer() {
    let scene = Scene::of(1).await;
    scene.script(60, 0);
    let id = scene.send().await;
    scene.sleep(5).await;
    scene.agent(Ping::Silent);
    scene.ssm.cancel_command().command_id(&id).send().await.unwrap();
    scene.sleep(600).await;
    assert_eq!(scene.get(&id).await.status, Some(CommandInvocationStatus::Cancelling));
    scene.agent(Ping::Online);
    scene.sleep(1).await;
    let got = scene.get(&id).await;
    assert_eq!((got.status, got.response_code), (Some(CommandInvocationStatus::Cancelled), 137));
}

#[tokio::test(start_paused = true)]
async fn every_status_is_told_by_an_event_without_the_comment() {
    let mut scene = Scene::of(1).await;

    let id = id(scene.order().comment("a comment").timeout_seconds(30).send().await.unwrap());
    scene.sleep(10).await;

    let events = scene.events();
    assert!(!json!(events).to_string().contains("a comment"));
    let requested = scene.lab.world(|world| world.run_command.commands()[0].requested);
    let text =
        |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let exact = format!("{}Z", requested.format("%Y-%m-%dT%H:%M:%S%.9f").to_string().trim_end_matches('0'));
    let told: Vec<_> = events.iter().map(|event| (&event["detail-type"], &event["detail"])).collect();
    let of_invocation = |status: &str| {
        json!({
            "command-id": id,
            "document-name": "AWS-RunShellScript",
            "instance-id": scene.ids[0],
            "requested-date-time": if status == "Success" { text(requested) } else { exact.clone() },
            "status": status,
        })
    };
    assert_ne!(exact, text(requested), "the same time, with fractions of different lengths");
    let of_command = json!({
        "command-id": id,
        "document-name": "AWS-RunShellScript",
        "expire-after": text(requested + chrono::TimeDelta::seconds(3_630)),
        "parameters": { "commands": ["systemctl stop application"] },
        "requested-date-time": text(requested),
        "status": "Success",
    });
    let (invocation, command) = (json!(INVOCATION_EVENT), json!(COMMAND_EVENT));
    assert_eq!(
        told,
        [
            (&invocation, &of_invocation("Pending")),
            (&invocation, &of_invocation("InProgress")),
            (&invocation, &of_invocation("Success")),
            (&command, &of_command),
        ]
    );
    let instance = format!("arn:aws:ec2:us-east-1:123456789012:instance/{}", scene.ids[0]);
    assert!(events.iter().all(|event| event["resources"] == json!([instance])), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn onlookers_see_every_status() {
    let mut scene = Scene::of(1).await;

    let id = scene.send().await;
    scene.sleep(10).await;

    let mut seen = Vec::new();
    while let Ok(moment) = scene.moments.try_recv() {
        if let What::Seen(Sight::Command { instance, command, status }) = moment.what {
            assert_eq!((instance, command), (scene.ids[0].clone(), id.clone()));
            seen.push(status);
        }
    }
    assert_eq!(seen, ["Pending", "InProgress", "Success"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_on_several_instances_ends_with_the_last_of_them() {
    let mut scene = Scene::of(3).await;
    let script = Script { duration: Duration::from_secs(60), exit_code: 1, ..Script::default() };
    scene.lab.world(|world| world.run_command.set_script(&scene.ids[1], script));

    let order = scene.order().instance_ids(&scene.ids[1]).instance_ids(&scene.ids[2]);
    let id = id(order.send().await.unwrap());
    scene.sleep(30).await;
    let command = async || {
        let listed = scene.ssm.list_commands().command_id(&id).send().await.unwrap();
        listed.commands.unwrap().remove(0)
    };
    let running = command().await;
    assert_eq!(running.status, Some(CommandStatus::InProgress));
    assert_eq!((running.target_count, running.completed_count, running.error_count), (3, 2, 0));
    scene.sleep(60).await;

    let ended = command().await;
    assert_eq!(ended.status, Some(CommandStatus::Failed));
    assert_eq!((ended.target_count, ended.completed_count, ended.error_count), (3, 3, 1));
    let events = scene.events();
    assert_eq!(events.iter().filter(|event| event["detail-type"] == COMMAND_EVENT).count(), 1);
    let last = events.last().unwrap();
    assert_eq!(
        (last["detail"]["status"].as_str(), last["resources"].as_array().unwrap().len()),
        (Some("Failed"), 3)
    );
}

#[tokio::test(start_paused = true)]
async fn invocations_come_in_pages_newest_first() {
    let scene = Scene::of(1).await;
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.insert(0, scene.send().await);
    }
    scene.sleep(1).await;

    let list = scene.ssm.list_command_invocations().instance_id(&scene.ids[0]).max_results(2);
    let mut pages = list.into_paginator().send();
    let mut sizes = Vec::new();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let invocations = page.unwrap().command_invocations.unwrap();
        sizes.push(invocations.len());
        listed.extend(invocations.into_iter().map(|invocation| invocation.command_id.unwrap()));
    }
    assert_eq!((sizes, listed), (vec![2, 2, 1], sent.clone()));

    let commands = scene.ssm.list_commands().max_results(3).send().await.unwrap();
    let listed = commands.commands().iter().map(|command| command.command_id().unwrap());
    assert_eq!(listed.collect::<Vec<_>>(), sent[..3]);
    let rest = scene.ssm.list_commands().set_next_token(commands.next_token).send().await.unwrap();
    assert_eq!((rest.commands().len(), rest.next_token), (2, None));

    let most = scene.ssm.list_command_invocations().max_results(51).send().await;
    assert_eq!(code(most), "ValidationException");
    let token = scene.ssm.list_commands().next_token("nonsense").send().await;
    assert_eq!(code(token), "InvalidNextToken");
}

#[tokio::test(start_paused = true)]
async fn invocations_are_filtered() {
    let scene = Scene::of(2).await;
    scene.lab.world(|world| world.run_command.add_document("stop-application"));
    scene.agent(Ping::ConnectionLost);
    let order = scene.order().timeout_seconds(30).parameters("executionTimeout", vec!["5".to_owned()]);
    let lost = id(order.send().await.unwrap());
    scene.sleep(60).await;
    let between = scene.lab.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    scene.sleep(60).await;
    let run = id(scene.order_on(&scene.ids[1]).document_name("stop-application").send().await.unwrap());
    scene.sleep(60).await;

    let list = async |key, value: &str| {
        let list = scene.ssm.list_command_invocations().filters(filter(key, value)).send().await;
        let invocations = list.unwrap().command_invocations.unwrap();
        invocations.into_iter().map(|invocation| invocation.command_id.unwrap()).collect::<Vec<_>>()
    };
    use CommandFilterKey::{DocumentName, InvokedAfter, InvokedBefore, Status};
    assert_eq!(list(InvokedAfter, &between).await, [run.as_str()]);
    assert_eq!(list(InvokedBefore, &between).await, [lost.as_str()]);
    assert_eq!(list(Status, "Success").await, [run.as_str()]);
    assert_eq!(list(Status, "TimedOut").await, [lost.as_str()]);
    assert_eq!(list(Status, "DeliveryTimedOut").await, [lost.as_str()]);
    assert_eq!(list(Status, "Failed").await, [""; 0]);
    assert_eq!(list(DocumentName, "stop-application").await, [run.as_str()]);

    let both = scene.ssm.list_command_invocations().command_id(&run).instance_id(&scene.ids[0]);
    assert!(both.send().await.unwrap().command_invocations().is_empty());
    let commands = scene.ssm.list_commands().filters(filter(Status, "TimedOut")).send().await.unwrap();
    assert_eq!(commands.commands()[0].command_id(), Some(lost.as_str()));
    let list = |key, value| scene.ssm.list_command_invocations().filters(filter(key, value)).send();
    assert_eq!(code(list(InvokedAfter, "2026-03-01T12:00:00.5Z").await), "ValidationException");
    assert_eq!(code(list("Colour".into(), "red").await), "InvalidFilterKey");
}

#[tokio::test(start_paused = true)]
async fn details_tell_of_the_plugin() {
    let scene = Scene::of(1).await;
    let script = Script { output: "stopped".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));
    let id = scene.send().await;
    scene.sleep(10).await;

    let list = || scene.ssm.list_command_invocations().command_id(&id);
    let brief = list().send().await.unwrap();
    assert!(brief.command_invocations()[0].command_plugins().is_empty());
    let detailed = list().details(true).send().await.unwrap();
    let [plugin] = detailed.command_invocations()[0].command_plugins() else { panic!("{detailed:?}") };

    assert_eq!(plugin.name(), Some("aws:runShellScript"));
    assert_eq!((plugin.response_code(), plugin.output()), (0, Some("stopped")));
    let time = |time: Option<&aws_sdk_ssm::primitives::DateTime>| {
        let text = time.unwrap().fmt(DateTimeFormat::DateTime).unwrap();
        text.parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    let truth = scene.truth();
    let to_millisecond = |left: chrono::DateTime<chrono::Utc>,
                          right: Option<chrono::DateTime<chrono::Utc>>| {
        assert_eq!(left.timestamp_millis(), right.unwrap().timestamp_millis());
    };
    to_millisecond(time(plugin.response_start_date_time()), truth.started);
    to_millisecond(time(plugin.response_finish_date_time()), truth.ended);
}

#[tokio::test(start_paused = true)]
async fn requests_that_aws_refuses_are_refused() {
    let scene = Scene::of(1).await;
    let order = || scene.order();

    assert!(order().comment("ä".repeat(100)).send().await.is_ok());
    assert_eq!(
        refusal(order().comment("x".repeat(101)).send().await),
        (
            "ValidationException".to_owned(),
            format!(
                "1 validation error detected: Value '{}' at 'comment' failed to satisfy constraint: Member must \
                 have length less than or equal to 100",
                "x".repeat(101)
            )
        )
    );
    assert_eq!(code(order().timeout_seconds(29).send().await), "ValidationException");
    assert_eq!(code(order().document_name("AWS-StopApplication").send().await), "InvalidDocument");
    assert!(order().document_name("AWS-RunPowerShellScript").send().await.is_ok());
    let parameters = |name: &str, values: &[&str]| {
        order().parameters(name, values.iter().map(|value| (*value).to_owned()).collect()).send()
    };
    assert!(parameters("executionTimeout", &["172800"]).await.is_ok());
    assert_eq!(code(parameters("executionTimeout", &["172801"]).await), "InvalidParameters");
    assert_eq!(code(parameters("executionTimeout", &["1h"]).await), "InvalidParameters");
    assert_eq!(code(parameters("comands", &["true"]).await), "InvalidParameters");
    assert_eq!(code(order().set_parameters(None).send().await), "InvalidParameters");
}

#[tokio::test(start_paused = true)]
async fn what_the_lab_does_not_model_it_refuses_by_name() {
    let scene = Scene::of(1).await;

    let member = scene.order().max_errors("1").send().await;
    let parameter = scene.order().parameters("workingDirectory", vec!["/".to_owned()]).send().await;
    let action = scene.ssm.list_documents().send().await;

    let lab = |text: &str| ("LabNotModelled".to_owned(), format!("lifecycle-lab does not model {text}"));
    assert_eq!(refusal(member), lab("the parameter MaxErrors of SendCommand"));
    assert_eq!(refusal(parameter), lab("the document's parameter workingDirectory"));
    assert_eq!(refusal(action), lab("ssm:ListDocuments"));
}

#[tokio::test(start_paused = true)]
async fn registered_agents_are_described_in_pages() {
    let scene = Scene::of(12).await;
    scene.lab.world(|world| {
        world.run_command.set_agent(&scene.ids[0], Ping::Unregistered);
        world.run_command.set_agent(&scene.ids[1], Ping::ConnectionLost);
        world.run_command.set_agent(&scene.ids[2], Ping::Inactive);
    });
    let lost_at = scene.lab.now();
    scene.sleep(60).await;

    let first = scene.ssm.describe_instance_information().max_results(5).send().await.unwrap();
    assert_eq!((first.instance_information_list().len(), first.next_token()), (5, Some("5")));
    let mut pages = scene.ssm.describe_instance_information().into_paginator().send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.extend(page.unwrap().instance_information_list.unwrap());
    }
    let seen: Vec<_> =
        all.iter().map(|one| (one.instance_id().unwrap(), one.ping_status().unwrap().as_str())).collect();
    assert_eq!(seen.len(), 11);
    assert_eq!(
        seen[..3],
        [
            (scene.ids[1].as_str(), "ConnectionLost"),
            (scene.ids[2].as_str(), "Inactive"),
            (scene.ids[3].as_str(), "Online"),
        ]
    );
    assert_eq!(all[0].last_ping_date_time().unwrap().secs(), lost_at.timestamp());
    assert!(all.iter().all(|one| one.last_ping_date_time().is_some()));
    assert_eq!(all[2].platform_type().unwrap().as_str(), "Linux");
    assert!(all[2].agent_version().is_some());

    let few = scene.ssm.describe_instance_information().max_results(4).send().await;
    assert_eq!(code(few), "ValidationException");
    let token = scene.ssm.describe_instance_information().next_token("nonsense").send().await;
    assert_eq!(refusal(token), ("InvalidNextToken".to_owned(), String::new()));
    let by = |keys: &[&str]| {
        let filter =
            |key: &&str| InstanceInformationStringFilter::builder().key(*key).values("x").build().unwrap();
        let filters = keys.iter().map(filter).collect();
        scene.ssm.describe_instance_information().set_filters(Some(filters)).send()
    };
    let mixed = "Cannot mix tag or inventory filter with any other filter.";
    assert_eq!(
        refusal(by(&["InstanceIds", "tag:a"]).await),
        ("ValidationException".to_owned(), mixed.to_owned())
    );
    let unknown = "UnknownKey filter Key is invalid.";
    assert_eq!(refusal(by(&["UnknownKey"]).await), ("InvalidFilterKey".to_owned(), unknown.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn agents_are_described_by_instance_id() {
    let scene = Scene::of(3).await;
    scene.agent(Ping::Unregistered);
    scene.lab.world(|world| world.reclaim_spot(&scene.ids[1]));
    scene.sleep(10).await;

    let new =
        InstanceInformationStringFilter::builder().key("InstanceIds").set_values(Some(scene.ids.clone()));
    let old = InstanceInformationFilter::builder().key(InstanceInformationFilterKey::InstanceIds);
    let describe = || scene.ssm.describe_instance_information();
    let answers = [
        describe().filters(new.build().unwrap()).send().await.unwrap(),
        describe()
            .instance_information_filter_list(old.set_value_set(Some(scene.ids.clone())).build().unwrap())
            .send()
            .await
            .unwrap(),
    ];

    for answer in answers {
        let [only] = answer.instance_information_list() else { panic!("{answer:?}") };
        assert_eq!(only.instance_id(), Some(scene.ids[2].as_str()), "one is not registered, one is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn every_agent_may_be_unregistered_unless_said_otherwise() {
    let scene = Scene::of(2).await;
    scene.set(|run, id| {
        run.default_agent = Ping::Unregistered;
        run.set_agent(id, Ping::Online);
    });

    assert!(scene.order().send().await.is_ok());
    assert_eq!(code(scene.order_on(&scene.ids[1]).send().await), "InvalidInstanceId");
}

#[tokio::test(start_paused = true)]
async fn commands_are_really_run_where_the_script_says_so() {
    let scene = Scene::of(1).await;
    scene.set(|run, id| run.set_script(id, Script { shell: true, ..Script::default() }));
    let run = async |commands: &[&str]| {
        let commands = commands.iter().map(|line| (*line).to_owned()).collect();
        let order = scene.order().set_parameters(None).parameters("commands", commands);
        let id = id(order.send().await.unwrap());
        scene.sleep(10).await;
        scene.get(&id).await
    };

    let ran = run(&["word=hello", "echo $word $((40 + 2))", "echo oops >&2"]).await;
    assert_eq!((ran.status, ran.response_code), (Some(CommandInvocationStatus::Success), 0));
    assert_eq!(ran.standard_output_content.as_deref(), Some("hello 42\n"));
    assert_eq!(ran.standard_error_content.as_deref(), Some("oops\n"));
    let failed = run(&["exit 7"]).await;
    assert_eq!((failed.status, failed.response_code), (Some(CommandInvocationStatus::Failed), 7));
    let long = run(&["head -c 5000 /dev/zero | tr '\\0' x"]).await;
    assert_eq!(long.standard_output_content.map(|text| text.len()), Some(2_500));
    assert_eq!(scene.course(), ("Success", Some(1), Some(3)), "how long it takes is the script's");
}

#[tokio::test(start_paused = true)]
async fn faults_have_the_shapes_of_ssm() {
    let scene = Scene::of(1).await;
    let denied = "User: arn:aws:sts::123456789012:assumed-role/operator/operator is not authorized to perform: \
                  ssm:SendCommand because no identity-based policy allows the ssm:SendCommand action";
    let shapes = [
        (CallFault::Throttle, 400, "ThrottlingException", "Rate exceeded"),
        (CallFault::ServerError, 500, "InternalServerError", "An error occurred on the server side."),
        (CallFault::AccessDenied, 400, "AccessDeniedException", denied),
    ];
    for (fault, status, code, text) in shapes {
        scene.lab.faults().script("SendCommand", [fault]);

        let error = scene.order().send().await.unwrap_err();

        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!((error.code(), error.message()), (Some(code), Some(text)), "{fault:?}");
    }
    assert!(scene.lab.world(|world| world.run_command.commands().is_empty()));

    scene.lab.faults().script("SendCommand", [CallFault::CutBefore, CallFault::CutAfter]);
    let cut = scene.order().send().await;
    assert!(matches!(cut, Err(SdkError::DispatchFailure(_))), "{cut:?}");
    assert!(scene.lab.world(|world| world.run_command.commands().is_empty()));
    let cut = scene.order().send().await;
    assert!(matches!(cut, Err(SdkError::DispatchFailure(_))), "{cut:?}");
    assert_eq!(scene.lab.world(|world| world.run_command.commands().len()), 1);
}

#[tokio::test(start_paused = true)]
async fn auto_scaling_keeps_its_own_shapes_of_faults() {
    let scene = Scene::of(0).await;
    let sdk = scene.lab.sdk_config("operator");
    let config = aws_sdk_autoscaling::config::Builder::from(&sdk).retry_config(RetryConfig::disabled());
    let autoscaling = aws_sdk_autoscaling::Client::from_conf(config.build());
    let shapes = [
        (CallFault::Throttle, 400, "Throttling"),
        (CallFault::ServerError, 500, "InternalFailure"),
        (CallFault::Contention, 500, "ResourceContention"),
        (CallFault::AccessDenied, 403, "AccessDenied"),
    ];
    for (fault, status, code) in shapes {
        scene.lab.faults().script("DescribeAutoScalingGroups", [fault]);

        let error = autoscaling.describe_auto_scaling_groups().send().await.unwrap_err();

        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!(error.code(), Some(code), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_callers_of_auto_scaling_share_one_bucket_that_refills() {
    let scene = Scene::of(1).await;
    scene.lab.world(|world| world.autoscaling.bucket = Some(Bucket::new(3.0, 0.5)));
    let client = |caller: &str| {
        let sdk = scene.lab.sdk_config(caller);
        let config = aws_sdk_autoscaling::config::Builder::from(&sdk).retry_config(RetryConfig::disabled());
        aws_sdk_autoscaling::Client::from_conf(config.build())
    };
    let (one, other) = (client("drainer"), client("operator"));

    assert!(one.describe_auto_scaling_groups().send().await.is_ok());
    assert!(other.describe_auto_scaling_instances().send().await.is_ok());
    assert!(one.describe_lifecycle_hooks().auto_scaling_group_name("web").send().await.is_ok());
    let throttled = ("Throttling".to_owned(), "Rate exceeded".to_owned());
    assert_eq!(refusal(other.describe_auto_scaling_groups().send().await), throttled);
    // A call that is throttled has no effect.
    let set = one.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(0).send().await;
    assert_eq!(refusal(set), throttled);
    assert_eq!(scene.lab.world(|world| world.autoscaling.group("web").unwrap().desired), 1);
    assert!(scene.ssm.list_commands().send().await.is_ok(), "SSM is not Auto Scaling");

    scene.sleep(2).await;
    assert!(one.describe_auto_scaling_groups().send().await.is_ok());
    assert!(one.describe_auto_scaling_groups().send().await.is_err());
    // Never more than it holds, however long nobody calls.
    scene.sleep(3600).await;
    for _ in 0..3 {
        assert!(one.describe_auto_scaling_groups().send().await.is_ok());
    }
    assert!(one.describe_auto_scaling_groups().send().await.is_err());

    let bucket = scene.lab.world(|world| world.autoscaling.bucket.clone().unwrap());
    assert_eq!((bucket.served, bucket.refused), (7, 4));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_refused_with_the_code_that_a_test_says_once_or_always() {
    let scene = Scene::of(1).await;
    for refused in ["InvalidDocument", "UnsupportedPlatformType", "RequestExpired"] {
        scene.lab.faults().script("SendCommand", [CallFault::Refused(refused)]);
        let (code, text) = refusal(scene.order().send().await);
        assert_eq!((code.as_str(), text.is_empty()), (refused, false));
    }
    assert!(scene.order().send().await.is_ok());

    scene.lab.faults().always("SendCommand", Some(CallFault::Refused("InvalidDocument")));
    for _ in 0..3 {
        assert_eq!(code(scene.order().send().await), "InvalidDocument");
    }
    scene.lab.faults().always("SendCommand", None);
    assert!(scene.order().send().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_document_of_several_steps_shows_an_exit_code_for_each() {
    let scene = Scene::of(1).await;
    let step = |name: &str, skipped| Step { name: name.to_owned(), skipped };
    let steps = vec![step("stopOnWindows", true), step("stopOnLinux", false)];
    scene.lab.world(|world| {
        world.run_command.put_document("stop", Document { parameters: vec!["group".to_owned()], steps });
    });
    scene.script(5, 7);
    let order =
        || scene.ssm.send_command().document_name("stop").instance_ids(&scene.ids[0]).timeout_seconds(30);
    let order = |name: &str| {
        order().parameters("executionTimeout", vec!["60".to_owned()]).parameters(name, vec![String::new()])
    };
    assert_eq!(code(order("colour").send().await), "InvalidParameters");
    let command = order("group").send().await.unwrap().command.unwrap();
    let lasts = command.expires_after.unwrap().secs() - command.requested_date_time.unwrap().secs();
    assert_eq!(lasts, 30 + 2 * 60, "the steps' timeouts add up");
    let id = command.command_id.unwrap();
    scene.sleep(10).await;

    let listed = scene.listed(&id).await;
    assert_eq!(
        (listed.status.unwrap().as_str(), listed.status_details.as_deref()),
        ("Failed", Some("Failed"))
    );
    let plugins: Vec<_> = listed.command_plugins.unwrap();
    let told =
        plugins.iter().map(|one| (one.name().unwrap(), one.status().unwrap().as_str(), one.response_code()));
    assert_eq!(told.collect::<Vec<_>>(), [("stopOnWindows", "Success", 0), ("stopOnLinux", "Failed", 7)]);
    let get = |plugin: Option<&str>| {
        let get = scene.ssm.get_command_invocation().command_id(&id).instance_id(&scene.ids[0]);
        get.set_plugin_name(plugin.map(str::to_owned)).send()
    };
    assert_eq!(code(get(None).await), "InvalidPluginName");
    assert_eq!(code(get(Some("aws:runShellScript")).await), "InvalidPluginName");
    assert_eq!(get(Some("stopOnWindows")).await.unwrap().response_code, 0);
    assert_eq!(get(Some("stopOnLinux")).await.unwrap().response_code, 7);
}

#[tokio::test(start_paused = true)]
async fn an_invocations_end_is_its_start_and_whole_seconds_where_the_list_has_the_true_end() {
    let scene = Scene::of(1).await;
    scene.set(|run, id| {
        run.set_script(id, Script { duration: Duration::from_millis(5_700), ..Script::default() });
    });
    let id = scene.send().await;
    scene.sleep(10).await;

    let got = scene.get(&id).await;
    let time = |text: Option<String>| text.unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let (start, end) = (time(got.execution_start_date_time), time(got.execution_end_date_time));
    assert_eq!(got.execution_elapsed_time.as_deref(), Some("PT5.7S"));
    assert_eq!((end - start).num_milliseconds(), 5_000);
    let listed = scene.listed(&id).await;
    let plugin = &listed.command_plugins()[0];
    let lasted = plugin.response_finish_date_time().unwrap().as_secs_f64()
        - plugin.response_start_date_time().unwrap().as_secs_f64();
    assert!((5.69..5.71).contains(&lasted), "{lasted}");
    let requested = scene.lab.world(|world| world.run_command.commands()[0].requested);
    let late = listed.requested_date_time.unwrap().as_secs_f64() - requested.timestamp_micros() as f64 / 1e6;
    assert!((0.07..0.09).contains(&late), "{late} s after the command");
}

#[tokio::test(start_paused = true)]
async fn a_plugins_output_has_the_errors_behind_a_line() {
    let scene = Scene::of(1).await;
    let script = Script { exit_code: 3, output: "stopping\n".to_owned(), ..Script::default() };
    scene.set(|run, id| run.set_script(id, script));
    let id = scene.send().await;
    scene.sleep(10).await;

    let plugin = scene.listed(&id).await.command_plugins.unwrap().remove(0);
    let output = "stopping\n\n----------ERROR-------\nfailed to run commands: exit status 3";
    assert_eq!(plugin.output.as_deref(), Some(output));
    assert_eq!(plugin.output_s3_region.as_deref(), Some("us-east-1"));
}

#[tokio::test(start_paused = true)]
async fn a_command_says_where_its_whole_output_is() {
    let scene = Scene::of(1).await;
    let logs = CloudWatchOutputConfig::builder().cloud_watch_output_enabled(true);
    let order = scene.order().output_s3_bucket_name("bucket").output_s3_key_prefix("drains");
    let order = order.cloud_watch_output_config(logs.cloud_watch_log_group_name("/drains").build());
    let command = order.send().await.unwrap().command.unwrap();
    assert_eq!(command.output_s3_bucket_name.as_deref(), Some("bucket"));
    assert_eq!(command.output_s3_key_prefix.as_deref(), Some("drains"));
    scene.sleep(10).await;

    let id = command.command_id.unwrap();
    let got = scene.get(&id).await;
    let url = format!("https://s3.us-east-1.amazonaws.com/bucket/drains/{id}");
    assert_eq!(got.standard_output_url, Some(url));
    let logs = got.cloud_watch_output_config.unwrap();
    assert_eq!(logs.cloud_watch_log_group_name.as_deref(), Some("/drains"));
}

#[tokio::test(start_paused = true)]
async fn forty_thousand_foreign_commands_fill_pages_and_filters_leave_them_out() {
    let scene = Scene::of(1).await;
    scene.sleep(12 * 3_600).await;
    let now = scene.lab.now();
    scene.lab.world(|world| {
        let run = &mut world.run_command;
        run.add_document("stop");
        run.add_foreign_commands("AWS-RunShellScript", 40_000, now - chrono::TimeDelta::hours(12), now);
        run.add_foreign_commands("other", 100, now - chrono::TimeDelta::hours(24), now);
        world.delays.page = Duration::from_millis(80);
    });
    let id = id(scene.order().document_name("stop").send().await.unwrap());
    scene.sleep(10).await;

    let began = scene.lab.now();
    let list = || scene.ssm.list_command_invocations();
    let first = list().send().await.unwrap();
    assert_eq!((first.command_invocations().len(), first.next_token()), (50, Some("50")));
    assert_eq!(first.command_invocations()[0].command_id(), Some(id.as_str()), "the newest comes first");
    let passed = (scene.lab.now() - began).num_milliseconds();
    assert!((80 + 30..80 + 65).contains(&passed), "{passed} ms");

    let count = async |filters: Vec<CommandFilter>| {
        let mut pages = list().set_filters(Some(filters)).into_paginator().send();
        let (mut sum, mut count) = (0, 0);
        while let Some(page) = pages.next().await {
            sum += page.unwrap().command_invocations().len();
            count += 1;
        }
        (sum, count)
    };
    use CommandFilterKey::{DocumentName, InvokedAfter};
    assert_eq!(count(vec![filter(DocumentName, "stop")]).await, (1, 1));
    assert_eq!(count(vec![filter(DocumentName, "other")]).await, (100, 2));
    let since = (now - chrono::TimeDelta::hours(3)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let (some, pages) =
        count(vec![filter(DocumentName, "AWS-RunShellScript"), filter(InvokedAfter, &since)]).await;
    assert!((9_995..=10_005).contains(&some), "{some}");
    assert!((200..=201).contains(&pages), "{pages}");
    let own = list().instance_id(&scene.ids[0]).send().await.unwrap();
    assert_eq!((own.command_invocations().len(), own.next_token()), (1, None));
    let own = list().command_id(&id).send().await.unwrap();
    assert_eq!((own.command_invocations().len(), own.next_token()), (1, None));
    let unknown = list().command_id("00000000-0000-4000-8000-000000000000").send().await.unwrap();
    assert!(unknown.command_invocations().is_empty(), "an unknown command is an empty list");
    assert_eq!(scene.lab.world(|world| world.run_command.commands().len()), 1, "the truth has ours only");
}

#[tokio::test(start_paused = true)]
async fn a_script_may_go_by_the_text_of_the_command_and_end_it_as_never_run() {
    let scene = Scene::of(1).await;
    let ends = |ends| Script { ends: Some(ends), ..Script::default() };
    for (details, status, code) in [
        ("Undeliverable", CommandInvocationStatus::Failed, -1),
        ("InvalidPlatform", CommandInvocationStatus::Failed, -1),
        ("Terminated", CommandInvocationStatus::Failed, 0),
        ("DeliveryTimedOut", CommandInvocationStatus::TimedOut, -1),
    ] {
        scene.set(|run, _| run.match_script("systemctl", ends(details)));
        let id = id(scene.short_order().send().await.unwrap());
        scene.sleep(110).await;
        let got = scene.get(&id).await;
        assert_eq!((got.status, got.status_details.as_deref()), (Some(status), Some(details)));
        assert_eq!(got.response_code, code, "{details}");
    }
}
