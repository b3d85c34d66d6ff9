//! The actions for instances of a group: describe, set the health, terminate, detach, put on standby. `engine` moves
//! the instances afterwards.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, find_group, find_instance, merge, page};
use crate::aws::autoscaling::{Instance, Journey, LaunchedFrom};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{World, second};

pub(super) fn instance_json(instance: &Instance) -> Value {
    let mut answer = json!({
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "LifecycleState": instance.state,
        "HealthStatus": if instance.healthy { "Healthy" } else { "Unhealthy" },
        "ProtectedFromScaleIn": instance.protected,
    });
    merge(&mut answer, &launch_json(instance));
    answer
}

/// Instances that a template launched have a type; the image is shown only where an override named it.
fn launch_json(instance: &Instance) -> Value {
    match &instance.launched_from {
        LaunchedFrom::Configuration(name) => json!({ "LaunchConfigurationName": name }),
        LaunchedFrom::Template { id, name, version } => json!({
            "InstanceType": instance.instance_type,
            "ImageId": instance.image_override,
            "LaunchTemplate": {
                "LaunchTemplateId": id,
                "LaunchTemplateName": name,
                "Version": version.to_string(),
            },
        }),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeInstances {
    #[serde(default)]
    instance_ids: Vec<String>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeInstances) -> Answer {
    let ids = describe.instance_ids;
    let instances = world.autoscaling.instances();
    let wanted = instances.filter(|instance| ids.is_empty() || ids.contains(&instance.id));
    let to_json = |instance: &Instance| {
        let mut answer = instance_json(instance);
        answer["AutoScalingGroupName"] = json!(instance.group);
        // Unlike in DescribeAutoScalingGroups, the health is in capitals here.
        answer["HealthStatus"] = json!(if instance.healthy { "HEALTHY" } else { "UNHEALTHY" });
        answer
    };
    page("AutoScalingInstances", wanted, to_json, 50, describe.max_records, describe.next_token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct SetHealth {
    instance_id: String,
    health_status: String,
    #[serde(rename = "ShouldRespectGracePeriod")]
    _should_respect_grace_period: Option<Text<bool>>,
}

pub(super) fn set_health(world: &mut World, set: SetHealth) -> Answer {
    let instance = find_instance(world, &set.instance_id)?;
    match set.health_status.as_str() {
        "Healthy" => {}
        "Unhealthy" if instance.state == "InService" => {
            world.replace(&set.instance_id, "a user health-check")
        }
        "Unhealthy" => {}
        other => return Err(ApiError::validation(format!("Invalid health status: {other}"))),
    }
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TerminateInstance {
    instance_id: String,
    should_decrement_desired_capacity: Text<bool>,
}

pub(super) fn terminate(world: &mut World, terminate: TerminateInstance) -> Answer {
    let id = terminate.instance_id;
    let instance = find_instance(world, &id)?;
    let name = instance.group.clone();
    let retained = instance.state.ends_with(":Retained");
    // What a second termination answers is not documented: here, the activity that runs already.
    if retained || instance.is_leaving_for_good() {
        let running = instance.activity.map(|index| world.autoscaling.activities[index].to_json());
        if retained {
            world.discard(&id);
        }
        return Ok(Some(json!({ "Activity": running })));
    }
    if instance.is_warmed() {
        return Err(ApiError::validation(format!("The instance {id} is in a warm pool.")));
    }
    let mut why = format!(
        "At {} instance {id} was taken out of service in response to a user request",
        second(world.now())
    );
    if terminate.should_decrement_desired_capacity.0 {
        let shrinking = decrement(world, &name, 1)?;
        why += &shrinking;
    }
    let journey = Journey::Terminate;
    let index = world.begin(&id, journey, format!("Terminating EC2 instance: {id}"), why + ".");
    world.reconcile_soon(&name);
    Ok(Some(json!({ "Activity": world.autoscaling.activities[index].to_json() })))
}

/// Lowers the desired capacity; answers the words that AWS adds to the cause.
fn decrement(world: &mut World, name: &str, by: u32) -> Result<String, ApiError> {
    let group = find_group(world, name)?;
    let (before, min) = (group.desired, group.min);
    if before < min + by {
        return Err(ApiError::validation(format!(
            "Currently, desiredSize equals minSize ({min}). Terminating instance without replacement will violate \
             group's min size constraint."
        )));
    }
    let after = before - by;
    world.group_mut(name).desired = after;
    Ok(format!(", shrinking the capacity from {before} to {after}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MoveOut {
    auto_scaling_group_name: String,
    instance_ids: Vec<String>,
    should_decrement_desired_capacity: Text<bool>,
}

pub(super) fn detach(world: &mut World, detach: MoveOut) -> Answer {
    move_out(world, &detach, "Detaching EC2 instance", "detached", "Detached")
}

pub(super) fn enter_standby(world: &mut World, standby: MoveOut) -> Answer {
    move_out(world, &standby, "Moving EC2 instance to Standby", "moved to standby", "Standby")
}

/// Detach and standby: the instance leaves the group's capacity, and no hook runs.
fn move_out(world: &mut World, request: &MoveOut, what: &str, verb: &str, state: &'static str) -> Answer {
    let name = &request.auto_scaling_group_name;
    find_group(world, name)?;
    for id in &request.instance_ids {
        let instance = find_instance(world, id)?;
        if instance.group != *name || instance.state != "InService" {
            return Err(ApiError::validation(format!("The instance {id} is not in InService.")));
        }
    }
    let mut activities = Vec::new();
    let shrinking = match request.should_decrement_desired_capacity.0 {
        true => decrement(world, name, u32::try_from(request.instance_ids.len()).unwrap_or(u32::MAX))?,
        false => String::new(),
    };
    for id in &request.instance_ids {
        let at = second(world.now());
        let cause = format!("At {at} instance {id} was {verb} in response to a user request{shrinking}.");
        activities.push(world.rest(id, state, format!("{what}: {id}"), cause).to_json());
    }
    world.reconcile_soon(name);
    Ok(Some(json!({ "Activities": activities })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ExitStandby {
    auto_scaling_group_name: String,
    instance_ids: Vec<String>,
}

pub(super) fn exit_standby(world: &mut World, exit: ExitStandby) -> Answer {
    let name = exit.auto_scaling_group_name;
    find_group(world, &name)?;
    let mut activities = Vec::new();
    for id in &exit.instance_ids {
        let instance = find_instance(world, id)?;
        if instance.group != name || instance.state != "Standby" {
            return Err(ApiError::validation(format!("The instance {id} is not in Standby.")));
        }
        let at = second(world.now());
        let group = world.group_mut(&name);
        group.desired += 1;
        let cause = format!(
            "At {at} instance {id} was moved out of standby in response to a user request, increasing the capacity \
             from {} to {}.",
            group.desired - 1,
            group.desired
        );
        let what = format!("Moving EC2 instance out of Standby: {id}");
        activities.push(world.rest(id, "InService", what, cause).to_json());
    }
    Ok(Some(json!({ "Activities": activities })))
}
