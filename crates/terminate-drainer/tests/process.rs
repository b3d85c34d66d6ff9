//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real
//! clock, so what takes AWS minutes is skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lifecycle_lab::faults::CallFault::{AccessDenied, KillAfter, KillBefore};
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{Code, Function, FunctionError, Lab, What, World};
use serde_json::{Value, json};
use terminate_drainer::NAME;

const STATUS_EVENT: &str = "EC2 Command Invocation Status-change Notification";

struct Scene {
    lab: Lab,
    instance: String,
    /// The lifecycle event of the instance, which waits.
    event: Value,
}

/// An instance waits in a terminating hook, the lab's time is close behind the machine's, and the binary
/// is deployed.
async fn scene(variables: &[(&str, &str)], seconds: u64) -> Scene {
    #[expect(clippy::disallowed_methods, reason = "the process under test reads this clock too")]
    let now: DateTime<Utc> = SystemTime::now().into();
    let lab = Lab::new(now - Duration::from_secs(140), 3);
    lab.world(|world| {
        world.run_command.default_script =
            Script { duration: Duration::from_secs(seconds), ..Script::default() };
    });
    lab.add_function(Function {
        name: NAME.to_owned(),
        code: Code::Binary {
            path: env!("CARGO_BIN_EXE_terminate-drainer").into(),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect::<BTreeMap<_, _>>(),
        },
        time_limit: Duration::from_secs(20),
    });
    let operator = Client::new(&lab.sdk_config("operator"));
    let create = operator.create_auto_scaling_group().auto_scaling_group_name("web").min_size(0).max_size(3);
    let create = create.launch_configuration_name("web").availability_zones("us-east-1a").desired_capacity(1);
    create.send().await.unwrap();
    let put = operator.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("drain");
    let put = put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").heartbeat_timeout(3_600);
    put.send().await.unwrap();
    lab.skip(Duration::from_secs(80));
    let mut moments = lab.observe();
    operator.set_desired_capacity().auto_scaling_group_name("web").desired_capacity(0).send().await.unwrap();
    lab.skip(Duration::from_secs(40));
    let event = loop {
        if let What::Sent(event) = moments.recv().await.unwrap().what
            && event["detail-type"] == "EC2 Instance-terminate Lifecycle Action"
        {
            break event;
        }
    };
    let instance = event["detail"]["EC2InstanceId"].as_str().unwrap().to_owned();
    Scene { lab, instance, event }
}

impl Scene {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        self.lab.invoke(NAME, payload, 1).await
    }

    fn state(&self) -> &'static str {
        self.lab.world(|world| {
            world.autoscaling.instance(&self.instance).map_or("gone", |instance| instance.state)
        })
    }

    fn commands(&self) -> usize {
        self.lab.world(|world: &mut World| world.run_command.commands().len())
    }

    /// The event of the end of the only command.
    fn ended(&self) -> Value {
        let command = self.lab.world(|world| world.run_command.commands()[0].id.clone());
        json!({
            "source": "aws.ssm",
            "detail-type": STATUS_EVENT,
            "time": self.lab.now(),
            "detail": { "command-id": command, "document-name": "AWS-RunShellScript", "instance-id": self.instance, "status": "Success" },
        })
    }
}

#[tokio::test]
async fn a_drain_is_started_by_its_event_and_finished_by_the_commands_end() {
    let scene = scene(&[], 60).await;
    let sent = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!(sent["outcome"], "command-sent");
    let again = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!((&again["outcome"], &again["command.id"]), (&json!("command-running"), &sent["command.id"]));
    scene.lab.skip(Duration::from_secs(70));
    assert_eq!(scene.state(), "Terminating:Wait");
    let done = scene.invoke(scene.ended()).await.unwrap();
    assert_eq!(
        (&done["outcome"], &done["action.result"], &done["exit_code"]),
        (&json!("completed"), &json!("CONTINUE"), &json!(0))
    );
    assert_eq!((scene.state(), scene.commands()), ("Terminating:Proceed", 1));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let token = scene.event["detail"]["LifecycleActionToken"].as_str().unwrap();
    assert!(!scene.lab.logs().iter().any(|line| line.contains(token)), "{:#?}", scene.lab.logs());
}

#[tokio::test]
async fn polling_finishes_in_one_run() {
    let scene = scene(&[("WAIT", "poll")], 2).await;
    let done = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!((&done["outcome"], &done["command.status"]), (&json!("completed"), &json!("Success")));
}

#[tokio::test]
async fn the_sweep_starts_and_finishes() {
    let scene = scene(&[("AUTO_SCALING_GROUPS", "w*")], 60).await;
    let sweep = || scene.invoke(json!({ "action": "reconcile" }));
    assert_eq!(sweep().await.unwrap()["started"], 1);
    let second = sweep().await.unwrap();
    assert_eq!(
        (&second["waiting"], &second["started"], &second["completed"]),
        (&json!(1), &json!(0), &json!(0))
    );
    scene.lab.skip(Duration::from_secs(70));
    assert_eq!(sweep().await.unwrap()["completed"], 1);
    assert_eq!((scene.state(), scene.commands()), ("Terminating:Proceed", 1));
}

#[tokio::test]
async fn an_instance_without_an_agent_is_released_and_a_denied_call_is_an_error() {
    let unreachable = scene(&[("ON_UNREACHABLE", "ABANDON")], 60).await;
    unreachable.lab.world(|world| world.run_command.set_agent(&unreachable.instance, Ping::ConnectionLost));
    let answer = unreachable.invoke(unreachable.event.clone()).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["action.result"]), (&json!("completed"), &json!("ABANDON")));

    let denied = scene(&[], 60).await;
    denied.lab.faults().script("SendCommand", [AccessDenied]);
    let error = denied.invoke(denied.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type, "AwsError");
    assert!(error.error_message.contains("AccessDeniedException"), "{}", error.error_message);
    assert_eq!(denied.state(), "Terminating:Wait");
}

#[tokio::test]
async fn every_bad_variable_is_named_at_once() {
    let bad = [
        ("DRAIN_COMMANDS", " "),
        ("DRAIN_TIMEOUT", "90"),
        ("DELIVERY_TIMEOUT", "10s"),
        ("WAIT", "Poll"),
        ("ON_FAILURE", "continue"),
        ("AUTO_SCALING_GROUPS", "a,,b"),
    ];
    let scene = scene(&bad, 60).await;
    let error = scene.invoke(scene.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type, "InvalidConfig");
    for (name, _) in bad {
        assert!(error.error_message.contains(name), "{name} in {}", error.error_message);
    }
}

/// Kills the process at each of the calls that start a drain, before and after AWS has played it, and
/// runs the event again: one command, as without the kill.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_sends_one_command() {
    let undisturbed = scene(&[], 60).await;
    undisturbed.invoke(undisturbed.event.clone()).await.unwrap();
    let calls = undisturbed.lab.calls().iter().filter(|call| call.caller == NAME).count() as u64;
    assert!(calls >= 4);
    for nth in 1..=calls {
        for fault in [KillBefore, KillAfter] {
            let scene = scene(&[], 60).await;
            scene.lab.faults().at_call(NAME, nth, fault);
            let killed = scene.invoke(scene.event.clone()).await.unwrap_err();
            assert_eq!(killed.error_type, "Runtime.ExitError");
            scene.invoke(scene.event.clone()).await.unwrap();
            assert_eq!(scene.commands(), 1, "call {nth}, {fault:?}");
        }
    }
}

/// Every sample of `events/terminate-drainer`, and the outcome where nothing of it is true in AWS.
#[tokio::test]
async fn every_sample_is_dealt_with_as_documented() {
    let samples = [
        ("ami-refused", "UnsupportedEvent"),
        ("command-in-progress", "ignored"),
        ("command-success", "Timeout"),
        ("launch", "already-finished"),
        ("malformed-refused", "InvalidPayload"),
        ("reconcile", "swept"),
        ("return-to-warm-pool", "already-finished"),
        ("scheduled", "swept"),
        ("sqs-hook-notification", ""),
        ("terminate", "already-finished"),
    ];
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/terminate-drainer"));
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, samples.map(|(name, _)| folder.join(name).with_extension("json")));
    let scene = scene(&[], 60).await;
    for (name, expected) in samples {
        let text = fs::read_to_string(folder.join(name).with_extension("json")).unwrap();
        let outcome = match scene.invoke(serde_json::from_str(&text).unwrap()).await {
            Ok(answer) if answer["batchItemFailures"] == json!([]) => String::new(),
            Ok(answer) => answer["outcome"].as_str().unwrap().to_owned(),
            Err(error) => error.error_type,
        };
        assert_eq!(outcome, expected, "{name}");
    }
    assert_eq!((scene.commands(), scene.state()), (0, "Terminating:Wait"));
}

#[tokio::test]
async fn timers_that_cannot_work_are_warned_about_once_and_output_stays_out_of_the_log() {
    let scene = scene(&[("DRAIN_TIMEOUT", "48h")], 8).await;
    scene.lab.world(|world| world.run_command.default_script.output = "the password".to_owned());
    scene.invoke(scene.event.clone()).await.unwrap();
    scene.invoke(scene.event.clone()).await.unwrap();
    scene.lab.skip(Duration::from_secs(10));
    assert_eq!(scene.invoke(scene.ended()).await.unwrap()["outcome"], "completed");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let logs = scene.lab.logs();
    let warnings: Vec<_> =
        logs.iter().filter(|line| line.contains("drain of web: DELIVERY_TIMEOUT 120 s")).collect();
    assert_eq!(warnings.len(), 1, "{logs:#?}");
    assert!(warnings[0].contains("is longer than the hook's global timeout of 172800 s"), "{}", warnings[0]);
    assert!(!logs.iter().any(|line| line.contains("the password")), "{logs:#?}");
    assert!(logs.iter().any(|line| line.contains("exit_code=0")), "{logs:#?}");
}
