//! The operator's actions: creating groups, hooks, capacity and scalable targets, and waiting until an instance is in
//! service.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_applicationautoscaling::types::{ScalableDimension, ServiceNamespace};
use aws_sdk_autoscaling::Client;
use lifecycle_lab::{Lab, World};

/// Timeout of the launching hook of ami-snapshotter's groups, in seconds: it ends the wait of every launch,
/// so it is the time that the load balancer has to register a new instance.
pub const LAUNCH_HEARTBEAT: i32 = 300;

/// Timeout of their terminating hook, in seconds: half an hour for an image.
pub const TERMINATION_HEARTBEAT: i32 = 1_800;

/// Longer than an instance is held here before its successor is launched; lab time costs nothing.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);

/// A group of one instance with the hooks that ami-snapshotter needs.
pub async fn create_for_snapshots(operator: &Client, group: &str) -> anyhow::Result<()> {
    create(operator, group, &["us-east-1a"]).await?;
    hook(operator, group, "born", "LAUNCHING", LAUNCH_HEARTBEAT, "CONTINUE").await?;
    hook(operator, group, "dying", "TERMINATING", TERMINATION_HEARTBEAT, "CONTINUE").await?;
    desire(operator, group, 1).await
}

/// A group without instances, for up to six.
pub async fn create(operator: &Client, group: &str, zones: &[&str]) -> anyhow::Result<()> {
    let zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
    let create = operator.create_auto_scaling_group().auto_scaling_group_name(group);
    let create = create.launch_configuration_name(group).set_availability_zones(Some(zones));
    create.min_size(0).max_size(6).send().await?;
    Ok(())
}

/// A lifecycle hook whose timeout is `heartbeat` seconds; `transition` is `LAUNCHING` or `TERMINATING`.
pub async fn hook(
    operator: &Client,
    group: &str,
    name: &str,
    transition: &str,
    heartbeat: i32,
    result: &str,
) -> anyhow::Result<()> {
    let put = operator.put_lifecycle_hook().auto_scaling_group_name(group).lifecycle_hook_name(name);
    let put = put.lifecycle_transition(format!("autoscaling:EC2_INSTANCE_{transition}"));
    put.heartbeat_timeout(heartbeat).default_result(result).send().await?;
    Ok(())
}

/// Sets the desired capacity.
pub async fn desire(operator: &Client, group: &str, capacity: i32) -> anyhow::Result<()> {
    let desire = operator.set_desired_capacity().auto_scaling_group_name(group).desired_capacity(capacity);
    desire.send().await.with_context(|| format!("setting the desired capacity to {capacity}"))?;
    Ok(())
}

/// Registers the scalable target of an ECS service, or updates it, as a deployment does.
pub async fn register(
    operator: &aws_sdk_applicationautoscaling::Client,
    resource: &str,
    (min, max): (i32, i32),
) -> anyhow::Result<()> {
    let register = operator.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
    let register = register.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
    let register = register.resource_id(resource).min_capacity(min).max_capacity(max);
    register.send().await.with_context(|| format!("registering {resource} as {min}/{max}"))?;
    Ok(())
}

/// The one instance, once it serves alone.
pub async fn serving(lab: &Lab) -> anyhow::Result<String> {
    let alone = |world: &World| {
        let mut instances = world.autoscaling.instances();
        instances.next().is_some_and(|one| one.state == "InService") && instances.next().is_none()
    };
    ensure!(lab.until(WAIT_TIMEOUT, alone).await, "expected one instance in service");
    let id = lab.world(|world| world.autoscaling.instances().next().map(|one| one.id.clone()));
    id.context("expected an instance")
}
