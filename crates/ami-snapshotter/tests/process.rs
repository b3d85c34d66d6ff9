//! The built binary as Lambda runs it: a process of its own, the Runtime API, AWS over TCP. On a real
//! clock, so what takes AWS minutes is skipped.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ami_snapshotter::NAME;
use aws_sdk_autoscaling::Client;
use chrono::{DateTime, Utc};
use lifecycle_lab::ec2::Image;
use lifecycle_lab::faults::CallFault::{AccessDenied, KillAfter, KillBefore};
use lifecycle_lab::{Code, Function, FunctionError, Lab, What};
use serde_json::{Value, json};

struct Scene {
    lab: Lab,
    instance: String,
    /// The lifecycle event of the instance, which waits.
    event: Value,
}

/// An instance of the stored group waits in a terminating hook after a health check found it dead, the
/// lab's time is close behind the machine's, and the binary is deployed.
async fn scene(variables: &[(&str, &str)]) -> Scene {
    #[expect(clippy::disallowed_methods, reason = "the process under test reads this clock too")]
    let now: DateTime<Utc> = SystemTime::now().into();
    let lab = Lab::new(now - Duration::from_secs(140), 3);
    let variables = [("CURRENT_ASG_NAME", "web"), ("TEAM", "fleet")].iter().chain(variables);
    lab.add_function(Function {
        name: NAME.to_owned(),
        code: Code::Binary {
            path: env!("CARGO_BIN_EXE_ami-snapshotter").into(),
            variables: variables
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect::<BTreeMap<_, _>>(),
        },
        time_limit: Duration::from_secs(20),
    });
    let operator = Client::new(&lab.sdk_config("operator"));
    let create = operator.create_auto_scaling_group().auto_scaling_group_name("web").min_size(0).max_size(3);
    let create = create.launch_configuration_name("web").availability_zones("us-east-1a").desired_capacity(1);
    create.send().await.unwrap();
    let put = operator.put_lifecycle_hook().auto_scaling_group_name("web").lifecycle_hook_name("dying");
    let put = put.lifecycle_transition("autoscaling:EC2_INSTANCE_TERMINATING").heartbeat_timeout(1_800);
    put.send().await.unwrap();
    lab.skip(Duration::from_secs(60));
    let mut moments = lab.observe();
    let instance = lab.world(|world| world.autoscaling.instances().next().unwrap().id.clone());
    lab.world(|world| world.fail_instance(&instance));
    lab.skip(Duration::from_secs(70));
    let event = loop {
        if let What::Sent(event) = moments.recv().await.unwrap().what
            && event["detail-type"] == "EC2 Instance-terminate Lifecycle Action"
        {
            break event;
        }
    };
    Scene { lab, instance, event }
}

impl Scene {
    async fn invoke(&self, payload: Value) -> Result<Value, FunctionError> {
        self.lab.invoke(NAME, payload, 1).await
    }

    fn state(&self) -> &'static str {
        self.lab.world(|world| world.autoscaling.instance(&self.instance).map_or("gone", |one| one.state))
    }

    fn images(&self) -> Vec<Image> {
        self.lab.world(|world| world.ec2.images().into_iter().cloned().collect())
    }

    fn launch(&self, group: &str) -> Value {
        let mut event = self.event.clone();
        event["detail-type"] = "EC2 Instance-launch Lifecycle Action".into();
        event["detail"]["LifecycleTransition"] = "autoscaling:EC2_INSTANCE_LAUNCHING".into();
        event["detail"]["AutoScalingGroupName"] = group.into();
        event
    }

    /// EC2's event of the only image.
    fn image_event(&self, state: &str) -> Value {
        json!({
            "source": "aws.ec2",
            "detail-type": "EC2 AMI State Change",
            "time": self.lab.now(),
            "detail": { "ImageId": self.images()[0].id, "State": state, "RequestId": "1", "ErrorMessage": "" },
        })
    }
}

#[tokio::test]
async fn a_death_is_imaged_and_released_by_the_images_event() {
    let scene = scene(&[]).await;
    let requested = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!(
        (&requested["outcome"], &requested["cause"]),
        (&json!("image-requested"), &json!("health-check-ec2"))
    );
    tokio::time::sleep(Duration::from_millis(600)).await;
    let again = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!((&again["outcome"], &again["image.id"]), (&json!("image-pending"), &requested["image.id"]));
    scene.lab.skip(Duration::from_secs(200));
    assert_eq!(scene.state(), "Terminating:Wait");
    let done = scene.invoke(scene.image_event("available")).await.unwrap();
    assert_eq!((&done["outcome"], &done["action.result"]), (&json!("completed"), &json!("CONTINUE")));
    assert_eq!((scene.state(), scene.images().len()), ("Terminating:Proceed", 1));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let token = scene.event["detail"]["LifecycleActionToken"].as_str().unwrap();
    assert!(!scene.lab.logs().iter().any(|line| line.contains(token)), "{:#?}", scene.lab.logs());
}

#[tokio::test]
async fn a_launch_is_stored_and_the_next_process_goes_by_it() {
    let scene = scene(&[]).await;
    let operator = Client::new(&scene.lab.sdk_config("operator"));
    let create =
        operator.create_auto_scaling_group().auto_scaling_group_name("web-2").min_size(0).max_size(1);
    create.launch_configuration_name("web").availability_zones("us-east-1a").send().await.unwrap();
    assert_eq!(scene.invoke(scene.launch("web-2")).await.unwrap()["outcome"], "group-stored");
    assert_eq!(scene.invoke(scene.launch("web-2")).await.unwrap()["outcome"], "group-unchanged");
    assert_eq!(scene.invoke(scene.launch("web")).await.unwrap()["outcome"], "group-unchanged");
    let variables = scene.lab.world(|world| world.functions.get(NAME).unwrap().variables.clone());
    assert_eq!((&*variables["CURRENT_ASG_NAME"], &*variables["TEAM"]), ("web-2", "fleet"));
    // The old group's death is a planned one now.
    let answer = scene.invoke(scene.event.clone()).await.unwrap();
    assert_eq!(answer["outcome"], "completed", "{answer}");
    assert!(answer["reason"].as_str().unwrap().starts_with("planned: web-2 is in service"), "{answer}");
    assert!(scene.images().is_empty());
}

#[tokio::test]
async fn the_sweep_takes_an_image_and_releases_the_instance() {
    let scene = scene(&[]).await;
    let sweep = || scene.invoke(json!({ "action": "reconcile" }));
    assert_eq!(sweep().await.unwrap()["started"], 1);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(sweep().await.unwrap()["started"], 0);
    scene.lab.skip(Duration::from_secs(200));
    assert_eq!(sweep().await.unwrap()["completed"], 1);
    assert_eq!((scene.state(), scene.images().len()), ("Terminating:Proceed", 1));
}

#[tokio::test]
async fn a_refused_image_goes_by_on_failure_and_a_configuration_that_cannot_be_read_is_an_error() {
    let refused = scene(&[("ON_FAILURE", "ABANDON")]).await;
    refused.lab.faults().script("CreateImage", [AccessDenied]);
    let answer = refused.invoke(refused.event.clone()).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["action.result"]), (&json!("completed"), &json!("ABANDON")));
    assert!(answer["reason"].as_str().unwrap().contains("UnauthorizedOperation"), "{answer}");

    let denied = scene(&[]).await;
    denied.lab.faults().script("GetFunctionConfiguration", [AccessDenied]);
    let error = denied.invoke(denied.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type, "AwsError");
    assert!(error.error_message.contains("AccessDeniedException"), "{}", error.error_message);
    assert_eq!(denied.state(), "Terminating:Wait");
}

#[tokio::test]
async fn every_bad_variable_is_named_at_once() {
    let bad = [
        ("NO_REBOOT", "yes"),
        ("COMPLETE_ON", "Available"),
        ("COMPLETE_LAUNCH", "1"),
        ("SKIP_CAUSES", "instance-refresh,sunspots"),
        ("ON_FAILURE", "continue"),
        ("MAX_IMAGES_PER_HOUR", "-1"),
        ("IMAGE_RETENTION", "30"),
        ("AUTO_SCALING_GROUPS", "a,,b"),
        ("LIFECYCLE_HOOKS", ""),
    ];
    let scene = scene(&bad).await;
    let error = scene.invoke(scene.event.clone()).await.unwrap_err();
    assert_eq!(error.error_type, "InvalidConfig");
    for (name, _) in bad {
        assert!(error.error_message.contains(name), "{name} in {}", error.error_message);
    }
}

/// Kills the process at each of the calls of a death, before and after AWS has played it, and runs the
/// event again: one image, as without the kill.
#[tokio::test]
async fn killed_at_any_call_and_run_again_it_takes_one_image() {
    let undisturbed = scene(&[]).await;
    undisturbed.invoke(undisturbed.event.clone()).await.unwrap();
    let calls: Vec<_> = undisturbed.lab.calls().into_iter().filter(|call| call.caller == NAME).collect();
    // An image is looked for twice, because the time that the scene skipped has made the event a late one.
    assert_eq!(
        calls.iter().map(|call| call.action.as_str()).collect::<Vec<_>>(),
        [
            "DescribeImages",
            "GetFunctionConfiguration",
            "DescribeScalingActivities",
            "DescribeImages",
            "DescribeAutoScalingInstances",
            "CreateImage",
        ]
    );
    for nth in 1..=calls.len() as u64 {
        for fault in [KillBefore, KillAfter] {
            let scene = scene(&[]).await;
            scene.lab.faults().at_call(NAME, nth, fault);
            let killed = scene.invoke(scene.event.clone()).await.unwrap_err();
            assert_eq!(killed.error_type, "Runtime.ExitError");
            scene.invoke(scene.event.clone()).await.unwrap();
            assert_eq!(scene.images().len(), 1, "call {nth}, {fault:?}");
        }
    }
}

/// Every sample of `events/ami-snapshotter`, and the outcome where nothing of it is true in AWS.
#[tokio::test]
async fn every_sample_is_dealt_with_as_documented() {
    let samples = [
        ("image-available", "ignored"),
        ("image-deregistered", "ignored"),
        ("image-failed", "ignored"),
        ("launch", "group-unchanged"),
        ("malformed-refused", "InvalidPayload"),
        ("reconcile", "swept"),
        ("return-to-warm-pool", "already-finished"),
        ("scheduled", "swept"),
        ("sqs-hook-notification", ""),
        ("stopped-refused", "UnsupportedEvent"),
        ("terminate", "already-finished"),
    ];
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/ami-snapshotter"));
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files, samples.map(|(name, _)| folder.join(name).with_extension("json")));
    let scene = scene(&[]).await;
    for (name, expected) in samples {
        let text = fs::read_to_string(folder.join(name).with_extension("json")).unwrap();
        let outcome = match scene.invoke(serde_json::from_str(&text).unwrap()).await {
            Ok(answer) if answer["batchItemFailures"] == json!([]) => String::new(),
            Ok(answer) => answer["outcome"].as_str().unwrap().to_owned(),
            Err(error) => error.error_type,
        };
        assert_eq!(outcome, expected, "{name}");
    }
}
