//! The lab as the AWS CLI sees it, over TCP and on a real clock: another implementation of the wire
//! protocol, with a parser that nobody here wrote. `AWS_CLI` names the program (scripts/check sets it);
//! without it `aws` on the PATH is taken, and where there is none these tests skip.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "aws_cli/templates.rs"]
mod templates;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lifecycle_lab::ecs::Scheduling;
use lifecycle_lab::run_command::{Ping, Script};
use lifecycle_lab::{Code, Function, Lab, World};
use serde_json::{Value, json};
use tokio::process::Command;

const HOOK: &str = "--auto-scaling-group-name web --lifecycle-hook-name hello";

/// The AWS CLI, pointed at a lab.
struct Cli {
    program: OsString,
    path: OsString,
    lab: SocketAddr,
}

impl Cli {
    /// `None` where there is no AWS CLI.
    #[expect(clippy::disallowed_methods, reason = "where the AWS CLI is, is a matter of the machine")]
    #[expect(clippy::print_stdout, reason = "a test that skips says so")]
    async fn of(lab: &Lab) -> Option<Self> {
        let named = std::env::var_os("AWS_CLI").filter(|program| !program.is_empty());
        let cli = Self {
            program: named.clone().unwrap_or_else(|| "aws".into()),
            path: std::env::var_os("PATH").unwrap_or_default(),
            lab: lab.tcp().await.unwrap(),
        };
        match cli.command("--version").output().await {
            Ok(output) if output.status.success() => Some(cli),
            // Who names a program wants the tests to run.
            result if named.is_some() => {
                panic!("AWS_CLI is {:?}, which does not work: {result:?}", cli.program)
            }
            _ => {
                println!("skipped: there is no AWS CLI on the PATH, and AWS_CLI names none");
                None
            }
        }
    }

    /// The whole environment is given, so that no one's profile or proxy can send a call elsewhere.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("PATH", &self.path)
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.lab))
            .env("AWS_ACCESS_KEY_ID", "lab")
            .env("AWS_SECRET_ACCESS_KEY", "lab")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_PAGER", "")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// What the CLI printed: an answer, or the error's text.
    async fn run(&self, arguments: &str) -> Result<Value, String> {
        let output = self.command(arguments).output().await.unwrap();
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap().trim().to_owned());
        }
        if output.stdout.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    }

    async fn create_group(&self) {
        let created = self.run(
            "autoscaling create-auto-scaling-group --auto-scaling-group-name web --launch-configuration-name web \
             --min-size 0 --max-size 2 --availability-zones us-east-1a",
        );
        assert_eq!(created.await, Ok(Value::Null));
    }
}

fn new_lab() -> Lab {
    Lab::new("2026-01-05T09:00:00Z".parse().unwrap(), 1)
}

/// Whether the only instance is in this state.
fn is_in(state: &str) -> impl FnMut(&World) -> bool {
    move |world| world.autoscaling.instances().map(|instance| instance.state).eq([state])
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_default().parse().unwrap()
}

#[tokio::test]
async fn the_cli_leads_an_instance_past_a_hook() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    let skip = |seconds| lab.skip(Duration::from_secs(seconds));
    let soon = Duration::from_secs(60);

    aws.create_group().await;
    let put = format!(
        "autoscaling put-lifecycle-hook {HOOK} --lifecycle-transition autoscaling:EC2_INSTANCE_LAUNCHING \
         --heartbeat-timeout 300 --default-result ABANDON --notification-metadata <ä>&\"b\""
    );
    assert_eq!(aws.run(&put).await, Ok(Value::Null));
    let hooks = aws.run("autoscaling describe-lifecycle-hooks --auto-scaling-group-name web").await;
    assert_eq!(
        hooks,
        Ok(json!({ "LifecycleHooks": [{
            "LifecycleHookName": "hello",
            "AutoScalingGroupName": "web",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
            "NotificationMetadata": "<ä>&\"b\"",
            "HeartbeatTimeout": 300,
            "GlobalTimeout": 30000,
            "DefaultResult": "ABANDON",
        }] }))
    );

    let set = "autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity";
    assert_eq!(
        aws.run(&format!("{set} 3")).await.unwrap_err(),
        "An error occurred (ValidationError) when calling the SetDesiredCapacity operation: New \
         SetDesiredCapacity value 3 is above max value 2 for the AutoScalingGroup."
    );
    assert_eq!(aws.run(&format!("{set} 1")).await, Ok(Value::Null));
    skip(30);
    assert!(lab.until(soon, is_in("Pending:Wait")).await);

    let described = aws.run("autoscaling describe-auto-scaling-instances").await.unwrap();
    let id = described["AutoScalingInstances"][0]["InstanceId"].as_str().unwrap_or_default().to_owned();
    assert!(lab.world(|world| world.autoscaling.instance(&id).is_some()), "{described}");
    assert_eq!(
        described,
        json!({ "AutoScalingInstances": [{
            "InstanceId": id,
            "AutoScalingGroupName": "web",
            "AvailabilityZone": "us-east-1a",
            "AvailabilityZoneId": "use1-az6",
            "InstanceType": "t3.micro",
            "LifecycleState": "Pending:Wait",
            "HealthStatus": "HEALTHY",
            "LaunchConfigurationName": "web",
            "ProtectedFromScaleIn": false,
        }] })
    );

    // Twice 200 s is past the 300 s that the wait lasts without the heartbeat.
    skip(200);
    let heartbeat = format!("autoscaling record-lifecycle-action-heartbeat {HOOK} --instance-id {id}");
    assert_eq!(aws.run(&heartbeat).await, Ok(Value::Null));
    skip(200);
    let complete = format!(
        "autoscaling complete-lifecycle-action {HOOK} --instance-id {id} --lifecycle-action-result CONTINUE"
    );
    assert_eq!(aws.run(&complete).await, Ok(Value::Null));
    assert_eq!(
        aws.run(&complete).await.unwrap_err(),
        format!(
            "An error occurred (ValidationError) when calling the CompleteLifecycleAction operation: No active \
             Lifecycle Action found with instance ID {id}"
        )
    );
    skip(2);
    assert!(lab.until(soon, is_in("InService")).await);

    let groups = aws.run("autoscaling describe-auto-scaling-groups").await.unwrap();
    let instance = &groups["AutoScalingGroups"][0]["Instances"][0];
    assert_eq!(instance["InstanceId"], id);
    assert_eq!(instance["LifecycleState"], "InService");
    assert_eq!(instance["HealthStatus"], "Healthy");
    let activities = "autoscaling describe-scaling-activities --auto-scaling-group-name web";
    let activities = aws.run(activities).await.unwrap();
    assert_eq!(activities["Activities"].as_array().map(Vec::len), Some(1), "{activities}");
    let activity = &activities["Activities"][0];
    assert_eq!(activity["StatusCode"], "Successful");
    assert_eq!(activity["Progress"], 100);
    assert_eq!(activity["Description"], format!("Launching a new EC2 instance: {id}"));
    let cause = activity["Cause"].as_str().unwrap_or_default();
    assert!(cause.contains("changing the desired capacity from 0 to 1."), "{cause}");
    let lasted = (time(&activity["EndTime"]) - time(&activity["StartTime"])).num_seconds();
    assert!((400..500).contains(&lasted), "two skips of 200 s and the boot, not {lasted} s");
}

#[tokio::test]
async fn the_cli_runs_a_command_on_an_instance() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    aws.create_group().await;
    let set = "autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 1";
    assert_eq!(aws.run(set).await, Ok(Value::Null));
    lab.skip(Duration::from_secs(60));
    assert!(lab.until(Duration::from_secs(60), is_in("InService")).await);
    let id = lab.world(|world| world.autoscaling.instances().map(|instance| instance.id.clone()).collect());
    let [id]: [String; 1] = Vec::try_into(id).unwrap();
    let script = Script { exit_code: 5, output: "bye\n".to_owned(), ..Script::default() };
    lab.world(|world| world.run_command.set_script(&id, script));

    let agents = format!("ssm describe-instance-information --filters Key=InstanceIds,Values={id}");
    let agents = aws.run(&agents).await.unwrap();
    assert_eq!(agents["InstanceInformationList"].as_array().map(Vec::len), Some(1), "{agents}");
    assert_eq!(agents["InstanceInformationList"][0]["InstanceId"], id);
    assert_eq!(agents["InstanceInformationList"][0]["PingStatus"], "Online");

    let send = format!(
        "ssm send-command --document-name AWS-RunShellScript --instance-ids {id} --comment stop-it \
         --timeout-seconds 30 --parameters commands=hostname,executionTimeout=60"
    );
    let sent = aws.run(&send).await.unwrap();
    let command = sent["Command"]["CommandId"].as_str().unwrap_or_default().to_owned();
    assert_eq!(sent["Command"]["Status"], "Pending");
    assert_eq!(
        sent["Command"]["Parameters"],
        json!({ "commands": ["hostname"], "executionTimeout": ["60"] })
    );
    lab.skip(Duration::from_secs(10));

    let listed = format!("ssm list-command-invocations --command-id {command} --details");
    let listed = aws.run(&listed).await.unwrap();
    let invocation = &listed["CommandInvocations"][0];
    assert_eq!(invocation["Status"], "Failed");
    assert_eq!(invocation["Comment"], "stop-it");
    assert_eq!(invocation["CommandPlugins"][0]["ResponseCode"], 5);
    let output = "bye\n\n----------ERROR-------\nfailed to run commands: exit status 5";
    assert_eq!(invocation["CommandPlugins"][0]["Output"], output);
    let got = format!("ssm get-command-invocation --command-id {command} --instance-id {id}");
    let got = aws.run(&got).await.unwrap();
    assert_eq!(got["StatusDetails"], "Failed");
    assert_eq!(got["StandardOutputContent"], "bye\n");
    assert_eq!(got["StandardErrorContent"], "failed to run commands: exit status 5");
    let failed = aws.run("ssm list-commands --filters key=Status,value=Failed").await.unwrap();
    assert_eq!(failed["Commands"][0]["CommandId"], command);
    assert_eq!(aws.run(&format!("ssm cancel-command --command-id {command}")).await, Ok(Value::Null));

    lab.world(|world| world.run_command.set_agent(&id, Ping::Unregistered));
    assert_eq!(
        aws.run(&send).await.unwrap_err(),
        "An error occurred (InvalidInstanceId) when calling the SendCommand operation: Instances not in a valid \
         state for account"
    );
    let error = aws.run("ssm list-documents").await.unwrap_err();
    assert!(error.contains("lifecycle-lab does not model ssm:ListDocuments"), "{error}");
}

#[tokio::test]
async fn the_cli_runs_a_service() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    let counts = |service: &Value| {
        json!([service["status"], service["desiredCount"], service["runningCount"], service["pendingCount"]])
    };

    let cluster = aws.run("ecs create-cluster --cluster-name demo").await.unwrap();
    assert_eq!(cluster["cluster"]["clusterArn"], "arn:aws:ecs:us-east-1:123456789012:cluster/demo");
    let create = "ecs create-service --cluster demo --service-name web --task-definition web --desired-count 2 \
                  --launch-type FARGATE --network-configuration awsvpcConfiguration={subnets=[subnet-1]}";
    let created = aws.run(create).await.unwrap();
    assert_eq!(counts(&created["service"]), json!(["ACTIVE", 2, 0, 2]));
    lab.skip(Duration::from_secs(60));

    let described = aws.run("ecs describe-services --cluster demo --services web nobody").await.unwrap();
    assert_eq!(counts(&described["services"][0]), json!(["ACTIVE", 2, 2, 0]));
    assert_eq!(
        described["failures"],
        json!([{ "arn": "arn:aws:ecs:us-east-1:123456789012:service/demo/nobody", "reason": "MISSING" }])
    );
    let deploy = "ecs update-service --cluster demo --service web --desired-count 3 --task-definition web:2 \
                  --force-new-deployment";
    assert_eq!(counts(&aws.run(deploy).await.unwrap()["service"]), json!(["ACTIVE", 3, 2, 1]));
    let clusters = aws.run("ecs describe-clusters --clusters demo").await.unwrap();
    assert_eq!(clusters["clusters"][0]["runningTasksCount"], 2);
    let services = aws.run("ecs list-services --cluster demo").await.unwrap();
    assert_eq!(services, json!({ "serviceArns": [created["service"]["serviceArn"]] }));
    assert_eq!(
        aws.run("ecs delete-service --cluster demo --service web").await.unwrap_err(),
        "An error occurred (InvalidParameterException) when calling the DeleteService operation: The service \
         cannot be stopped while it is scaled above 0."
    );
    let deleted = aws.run("ecs delete-service --cluster demo --service web --force").await.unwrap();
    assert_eq!(deleted["service"]["status"], "DRAINING");
}

#[tokio::test]
async fn the_cli_lets_a_service_sleep_and_wakes_it() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    lab.world(|world| world.add_service("demo", "web", Scheduling::Replica, 2)).unwrap();
    // Bounds are in effect half a second after the answer.
    let desired = || {
        lab.skip(Duration::from_secs(1));
        lab.world(|world| world.ecs.service("demo", "web").map(|service| service.desired))
    };
    let target = "--service-namespace ecs --scalable-dimension ecs:service:DesiredCount --resource-id";
    let register = format!("application-autoscaling register-scalable-target {target} service/demo");

    assert_eq!(
        aws.run(&format!("{register}/nobody --min-capacity 0 --max-capacity 0")).await.unwrap_err(),
        "An error occurred (ValidationException) when calling the RegisterScalableTarget operation: ECS service \
         doesn't exist: service/demo/nobody"
    );
    let asleep = format!("{register}/web --min-capacity 0 --max-capacity 0 --tags team=blue");
    let registered = aws.run(&asleep).await.unwrap();
    let arn = registered["ScalableTargetARN"].as_str().unwrap_or_default();
    assert_eq!(desired(), Some(0));

    let describe = "application-autoscaling describe-scalable-targets --service-namespace ecs --resource-ids";
    let targets = aws.run(&format!("{describe} service/demo/web")).await.unwrap();
    let found = &targets["ScalableTargets"][0];
    assert_eq!(found["ScalableTargetARN"], arn);
    assert_eq!((&found["MinCapacity"], &found["MaxCapacity"]), (&json!(0), &json!(0)));
    assert_eq!(found.get("Tags"), None, "AWS tells them only to ListTagsForResource");
    let tag =
        format!("application-autoscaling tag-resource --resource-arn {arn} --tags team=green,night=off");
    assert_eq!(aws.run(&tag).await, Ok(Value::Null));
    let untag = format!("application-autoscaling untag-resource --resource-arn {arn} --tag-keys night");
    assert_eq!(aws.run(&untag).await, Ok(Value::Null));
    let tags = format!("application-autoscaling list-tags-for-resource --resource-arn {arn}");
    assert_eq!(aws.run(&tags).await, Ok(json!({ "Tags": { "team": "green" } })));

    let awake = format!("{register}/web --min-capacity 1 --max-capacity 3");
    assert_eq!(aws.run(&awake).await, Ok(registered.clone()));
    assert_eq!(desired(), Some(1));
    let deregister = format!("application-autoscaling deregister-scalable-target {target} service/demo/web");
    assert_eq!(aws.run(&deregister).await, Ok(Value::Null));
    let error = aws.run(&deregister).await.unwrap_err();
    assert!(error.contains("(ObjectNotFoundException)"), "{error}");
}

#[tokio::test]
async fn the_cli_makes_finds_tags_and_deregisters_an_image() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    aws.create_group().await;
    let set = "autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 1";
    assert_eq!(aws.run(set).await, Ok(Value::Null));
    lab.skip(Duration::from_secs(60));
    assert!(lab.until(Duration::from_secs(60), is_in("InService")).await);

    let running = "ec2 describe-instances --filters Name=instance-state-name,Values=running \
                   Name=tag:aws:autoscaling:groupName,Values=web";
    let described = aws.run(running).await.unwrap();
    let instance = &described["Reservations"][0]["Instances"][0];
    let id = instance["InstanceId"].as_str().unwrap_or_default();
    assert!(lab.world(|world| world.autoscaling.instance(id).is_some()), "{described}");
    assert_eq!(instance["State"], json!({ "Code": 16, "Name": "running" }));
    assert_eq!(instance["Tags"], json!([{ "Key": "aws:autoscaling:groupName", "Value": "web" }]));

    let create = format!(
        "ec2 create-image --instance-id {id} --name post-mortem --no-reboot --tag-specifications \
         ResourceType=image,Tags=[{{Key=lifecycle/group,Value=web}}] \
         ResourceType=snapshot,Tags=[{{Key=lifecycle/group,Value=web}}]"
    );
    let created = aws.run(&create).await.unwrap();
    let image = created["ImageId"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        aws.run(&create).await.unwrap_err(),
        format!(
            "An error occurred (InvalidAMIName.Duplicate) when calling the CreateImage operation: AMI name post-mortem \
             is already in use by AMI {image}"
        )
    );
    lab.skip(Duration::from_secs(180));
    let found =
        "ec2 describe-images --owners self --filters Name=name,Values=post-* Name=state,Values=available";
    let found = aws.run(found).await.unwrap();
    assert_eq!(found["Images"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["Images"][0]["ImageId"], image);
    assert_eq!(found["Images"][0]["SourceInstanceId"], id);
    let snapshot = found["Images"][0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"].clone();
    let snapshot = snapshot.as_str().unwrap_or_default();

    let tag = format!("ec2 create-tags --resources {image} {snapshot} --tags Key=Name,Value=web");
    assert_eq!(aws.run(&tag).await, Ok(Value::Null));
    let untag = format!("ec2 delete-tags --resources {image} --tags Key=lifecycle/group");
    assert_eq!(aws.run(&untag).await, Ok(Value::Null));
    let tags = format!("ec2 describe-tags --filters Name=resource-id,Values={image}");
    let tags = aws.run(&tags).await.unwrap();
    let expected = json!([{ "Key": "Name", "ResourceId": image, "ResourceType": "image", "Value": "web" }]);
    assert_eq!(tags["Tags"], expected);
    let snapshots = aws.run("ec2 describe-snapshots --owner-ids self").await.unwrap();
    assert_eq!(snapshots["Snapshots"][0]["SnapshotId"], snapshot);
    assert_eq!(snapshots["Snapshots"][0]["State"], "completed");

    let delete = format!("ec2 delete-snapshot --snapshot-id {snapshot}");
    let error = aws.run(&delete).await.unwrap_err();
    assert!(error.contains(&format!("The snapshot {snapshot} is currently in use by {image}")), "{error}");
    let deregister = format!("ec2 deregister-image --image-id {image}");
    aws.run(&format!("{deregister} --delete-associated-snapshots")).await.unwrap();
    let error = aws.run(&deregister).await.unwrap_err();
    assert!(error.starts_with("An error occurred (InvalidAMIID.Unavailable)"), "{error}");
    let error = aws.run(&delete).await.unwrap_err();
    assert!(error.starts_with("An error occurred (InvalidSnapshot.NotFound)"), "{error}");
    let error = aws.run("ec2 describe-volumes").await.unwrap_err();
    assert!(error.contains("lifecycle-lab does not model ec2:DescribeVolumes"), "{error}");
}

#[tokio::test]
async fn the_cli_changes_a_functions_variables() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    // The lab's clock is the machine's here, and the CLI takes its time to start.
    lab.world(|world| world.delays.function_update = Duration::from_secs(300));
    lab.add_function(Function {
        name: "f".to_owned(),
        time_limit: Duration::from_secs(30),
        code: Code::handler(|_, _| async { Ok(json!(null)) }),
    });

    let update =
        "lambda update-function-configuration --function-name f --environment Variables={ONE=1,TWO=2}";
    let updated = aws.run(update).await.unwrap();
    assert_eq!(updated["LastUpdateStatus"], "InProgress");
    assert_eq!(
        aws.run(update).await.unwrap_err(),
        "An error occurred (ResourceConflictException) when calling the UpdateFunctionConfiguration operation: The \
         operation cannot be performed at this time. An update is in progress for resource: \
         arn:aws:lambda:us-east-1:123456789012:function:f"
    );
    lab.skip(Duration::from_secs(301));
    let get =
        "lambda get-function-configuration --function-name arn:aws:lambda:us-east-1:123456789012:function:f";
    let configuration = aws.run(get).await.unwrap();
    assert_eq!(configuration["LastUpdateStatus"], "Successful");
    assert_eq!(configuration["Environment"], json!({ "Variables": { "ONE": "1", "TWO": "2" } }));
    let function = aws.run("lambda get-function --function-name f").await.unwrap();
    assert_eq!(function["Configuration"], configuration);
    let stale = format!("{update} --revision-id {}", updated["RevisionId"].as_str().unwrap_or_default());
    let error = aws.run(&stale).await.unwrap_err();
    assert!(error.starts_with("An error occurred (PreconditionFailedException)"), "{error}");
    let error = aws.run("lambda get-function-configuration --function-name g").await.unwrap_err();
    assert!(error.starts_with("An error occurred (ResourceNotFoundException)"), "{error}");
    let error = aws.run("lambda list-functions").await.unwrap_err();
    assert!(error.contains("lifecycle-lab does not model lambda:GET /2015-03-31/functions"), "{error}");
}

#[tokio::test]
async fn what_the_lab_does_not_model_the_cli_reports_by_name() {
    let lab = new_lab();
    let Some(aws) = Cli::of(&lab).await else { return };
    aws.create_group().await;

    assert_eq!(
        aws.run("autoscaling describe-policies").await.unwrap_err(),
        "An error occurred (LabNotModelled) when calling the DescribePolicies operation: lifecycle-lab does not \
         model autoscaling:DescribePolicies"
    );
    let update = "autoscaling update-auto-scaling-group --auto-scaling-group-name web --placement-group near";
    assert_eq!(
        aws.run(update).await.unwrap_err(),
        "An error occurred (LabNotModelled) when calling the UpdateAutoScalingGroup operation: lifecycle-lab does \
         not model the parameter PlacementGroup of UpdateAutoScalingGroup"
    );
    // Not SQS: the CLI's version 1 sends its calls to AWS, whatever AWS_ENDPOINT_URL says.
    let error = aws.run("dynamodb list-tables").await.unwrap_err();
    assert!(error.contains("lifecycle-lab does not model the service dynamodb"), "{error}");
}
