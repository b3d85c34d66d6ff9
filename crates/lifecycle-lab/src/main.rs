//! The lab as a server: AWS on a local port, for the AWS CLI, SDKs and built binaries. It prints one line for each
//! thing that happens.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Parser;
use lifecycle_lab::faults::Chaos;
use lifecycle_lab::{Lab, Moment, REGION, Sight, What};
use serde_json::Value;

/// A model of AWS on a local port: EC2 Auto Scaling with lifecycle hooks and their clock, EC2's instances, images,
/// launch templates, snapshots and tags, Lambda's function configuration, Systems Manager Run Command, and scalable
/// targets of ECS services.
///
/// It starts empty, at the present time, and loses everything when it ends. It accepts any credentials, so it listens
/// on the loopback interface only. It refuses what it does not model with the error LabNotModelled.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on; port 0 is any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4566", value_parser = loopback)]
    listen: SocketAddr,

    /// The same seed gives the same ids, delays and faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Faults and their probabilities: throttle=0.1,5xx=0.02
    ///
    /// Faults of calls: throttle, 5xx, contention, access-denied, hang, cut, answer-lost, kill, kill-after. Faults of
    /// events: event-lost, event-doubled, event-delayed, event-reordered.
    #[arg(long, value_name = "FAULTS")]
    faults: Option<Chaos>,
}

/// The lab has no authentication, so other hosts must not reach it.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write it as 127.0.0.1:4566 or [::1]:4566")?;
    if !address.ip().is_loopback() {
        return Err("lifecycle-lab has no authentication: it listens on 127.0.0.1 or [::1] only".to_owned());
    }
    Ok(address)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "this lab runs on the wall clock, and starts from it")]
    let lab = Lab::new(SystemTime::now().into(), arguments.seed);
    lab.faults().chaos(arguments.faults.unwrap_or_default());
    let mut moments = lab.observe();
    let address = lab.listen(arguments.listen).await;
    let address = address.with_context(|| format!("can't listen on {}", arguments.listen))?;

    let mut output = io::stdout();
    writeln!(output, "{}", usage(address))?;
    loop {
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => return stopped.context("can't wait for Ctrl-C"),
            Some(moment) = moments.recv() => writeln!(output, "{}", line(&moment))?,
        }
    }
}

/// The commands to use the lab.
fn usage(address: SocketAddr) -> String {
    format!(
        "lifecycle-lab plays AWS on http://{address} until Ctrl-C. In another shell:

  export AWS_ENDPOINT_URL=http://{address} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION}
  export AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab AWS_PAGER=
  unset AWS_PROFILE AWS_SESSION_TOKEN

  aws autoscaling create-auto-scaling-group --auto-scaling-group-name web --min-size 0 --max-size 2 \\
      --launch-configuration-name web --availability-zones {REGION}a
  aws autoscaling put-lifecycle-hook --auto-scaling-group-name web --lifecycle-hook-name hello \\
      --lifecycle-transition autoscaling:EC2_INSTANCE_LAUNCHING --heartbeat-timeout 300
  aws autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 1
  aws autoscaling describe-auto-scaling-instances
  aws ssm describe-instance-information
  aws ec2 describe-instances

  aws ecs create-cluster --cluster-name demo
  aws ecs create-service --cluster demo --service-name web --task-definition web --desired-count 2
  aws application-autoscaling register-scalable-target --service-namespace ecs \
      --scalable-dimension ecs:service:DesiredCount --resource-id service/demo/web \
      --min-capacity 0 --max-capacity 0
  aws ecs describe-services --cluster demo --services web
"
    )
}

/// One line: the time, the kind of the moment, and its subject.
fn line(moment: &Moment) -> String {
    let text = match &moment.what {
        What::Seen(Sight::State { group, instance, state }) => {
            format!("state     {group} {instance} {state}")
        }
        What::Seen(Sight::Activity(activity)) => {
            format!("activity  {} {}: {}", activity.group, activity.description, activity.status)
        }
        What::Seen(Sight::Command { instance, command, status }) => {
            format!("command   {command} on {instance} {status}")
        }
        What::Seen(Sight::Image { image, name, state }) => format!("image     {image} {name} {state}"),
        What::Seen(Sight::TemplateVersion { template, name, version, state }) => {
            format!("template  {template} {name} version {version} {state}")
        }
        What::Seen(Sight::TemplateDefault { template, name, version }) => {
            format!("template  {template} {name} default version {version}")
        }
        What::Seen(Sight::Service { cluster, service, desired, running }) => {
            format!("service   {cluster}/{service} {running} of {desired}")
        }
        What::Seen(Sight::Target { resource, min, max }) => format!("target    {resource} {min} to {max}"),
        What::Called(call) => {
            let parameters = call.parameters.join(" ");
            format!("call      {}:{} {parameters} => {}", call.service, call.action, call.outcome)
        }
        What::Sent(event) => format!("event     {}", headline(event)),
        What::Faulted(fault, event) => format!("fault     {fault:?}: {}", headline(event)),
        // A lab without functions has no other moments.
        other => format!("other     {other:?}"),
    };
    format!("{} {text}", moment.at.format("%H:%M:%S%.3f"))
}

/// An event's detail-type, or a hook notification's transition, with its subject and its status, if there is one.
fn headline(event: &Value) -> String {
    let text = |pointers: &[&str]| {
        pointers.iter().find_map(|pointer| event.pointer(pointer)?.as_str()).unwrap_or_default()
    };
    let what = text(&["/detail-type", "/LifecycleTransition", "/Event"]);
    let who = text(&[
        "/detail/EC2InstanceId",
        "/EC2InstanceId",
        "/detail/instance-id",
        "/detail/command-id",
        "/detail/ImageId",
        "/detail/resourceArn",
    ]);
    format!("{what} {who} {}", text(&["/detail/status", "/detail/State", "/detail/state"]))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_loopback_interface_only() {
        let listens = |address| Arguments::try_parse_from(["lifecycle-lab", "--listen", address]);
        for address in ["127.0.0.1:0", "127.1.2.3:80", "[::1]:4566"] {
            assert_eq!(listens(address).unwrap().listen.to_string(), address);
        }
        for address in ["0.0.0.0:4566", "[::]:4566", "192.168.1.1:4566", "[::ffff:127.0.0.1]:4566"] {
            let error = listens(address).unwrap_err().to_string();
            assert!(error.contains("lifecycle-lab has no authentication"), "{address}: {error}");
        }
        assert!(listens("localhost").is_err());
    }

    #[test]
    fn an_image_and_its_event_are_a_line_each() {
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let printed = |what| line(&Moment { at, what });
        let (image, name) = ("ami-1".to_owned(), "post-mortem".to_owned());
        let seen = printed(What::Seen(Sight::Image { image, name, state: "pending" }));
        assert_eq!(seen, "12:00:00.000 image     ami-1 post-mortem pending");
        let event = serde_json::json!({
            "detail-type": "EC2 AMI State Change",
            "detail": { "ImageId": "ami-1", "State": "available" },
        });
        assert_eq!(printed(What::Sent(event)), "12:00:00.000 event     EC2 AMI State Change ami-1 available");
    }

    #[test]
    fn a_version_a_default_and_a_backup_are_a_line_each() {
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let printed = |what| line(&Moment { at, what }).split_off("12:00:00.000 ".len());
        let (template, name) = (|| "lt-1".to_owned(), || "web".to_owned());
        let version =
            Sight::TemplateVersion { template: template(), name: name(), version: 2, state: "created" };
        assert_eq!(printed(What::Seen(version)), "template  lt-1 web version 2 created");
        let default = Sight::TemplateDefault { template: template(), name: name(), version: 2 };
        assert_eq!(printed(What::Seen(default)), "template  lt-1 web default version 2");
        let event = serde_json::json!({
            "detail-type": "Backup Job State Change",
            "detail": { "resourceArn": "arn:aws:ec2:us-east-1:123456789012:instance/i-1", "state": "COMPLETED" },
        });
        assert_eq!(
            printed(What::Sent(event)),
            "event     Backup Job State Change arn:aws:ec2:us-east-1:123456789012:instance/i-1 COMPLETED"
        );
    }

    #[test]
    fn an_unknown_fault_is_refused_by_name() {
        let error = Arguments::try_parse_from(["lifecycle-lab", "--faults", "gremlins=1"]).unwrap_err();
        assert!(error.to_string().contains("\"gremlins\" is no fault"), "{error}");
    }
}
