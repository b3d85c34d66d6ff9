//! The actions for instances of a group: describe, set the health, terminate, detach, put on standby. `engine` moves
//! the instances afterwards.

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, find_group, find_instance, merge, page};
use crate::aws::autoscaling::activity::zone_id;
use crate::aws::autoscaling::capacity::USER_HEALTH_CHECK;
use crate::aws::autoscaling::engine::{leaving, leaving_pool};
use crate::aws::autoscaling::{Activity, Instance, Journey, LaunchedFrom, Timer};
use crate::aws::error::ApiError;
use crate::aws::request::{Text, list};
use crate::aws::world::{World, second};

/// The type of instances whose launch configuration has one that the lab does not know.
const ANY_TYPE: &str = "t3.micro";

pub(super) fn instance_json(world: &World, instance: &Instance) -> Value {
    let lag = TimeDelta::from_std(world.delays.state_visible).unwrap_or_default();
    let (was, until) = instance.was;
    let state = if !was.is_empty() && until + lag > world.now() { was } else { instance.state };
    let mut answer = json!({
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "AvailabilityZoneId": zone_id(&instance.zone),
        "LifecycleState": state,
        "HealthStatus": if instance.healthy { "Healthy" } else { "Unhealthy" },
        "ProtectedFromScaleIn": instance.protected,
    });
    merge(&mut answer, &launch_json(instance));
    answer
}

/// The image is shown only where an override named it, or where it came with another root volume. The lab knows
/// nothing of a launch configuration but its name, so the type that it shows is any.
fn launch_json(instance: &Instance) -> Value {
    match &instance.launched_from {
        LaunchedFrom::Configuration(name) => {
            json!({ "LaunchConfigurationName": name, "InstanceType": ANY_TYPE })
        }
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
    #[serde(default, deserialize_with = "list")]
    instance_ids: Vec<String>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeInstances) -> Answer {
    let ids = describe.instance_ids;
    let instances = world.autoscaling.instances();
    let wanted = instances.filter(|instance| ids.is_empty() || ids.contains(&instance.id));
    let to_json = |instance: &Instance| {
        let mut answer = instance_json(world, instance);
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
    let serves = instance.state == "InService";
    let id = set.instance_id;
    match set.health_status.as_str() {
        "Healthy" if serves => {
            let instance = world.instance_mut(&id);
            (instance.healthy, instance.finding) = (true, None);
        }
        "Unhealthy" if serves => {
            let instance = world.instance_mut(&id);
            (instance.healthy, instance.finding) = (false, Some(USER_HEALTH_CHECK));
            let delay = world.delays.user_health_check;
            world.set_timer(delay, Timer::Unhealthy { instance: id, finding: USER_HEALTH_CHECK });
        }
        "Healthy" | "Unhealthy" => {}
        other => return Err(ApiError::validation(format!("Invalid health status: {other}"))),
    }
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct SetProtection {
    auto_scaling_group_name: String,
    instance_ids: Vec<String>,
    protected_from_scale_in: Text<bool>,
}

pub(super) fn set_protection(world: &mut World, set: SetProtection) -> Answer {
    find_group(world, &set.auto_scaling_group_name)?;
    for id in &set.instance_ids {
        let state = find_instance(world, id)?.state;
        if !["InService", "EnteringStandby", "Standby"].contains(&state) {
            let text = format!("The instance {id} is not in InService or EnteringStandby or Standby.");
            return Err(ApiError::validation(text));
        }
    }
    for id in &set.instance_ids {
        world.instance_mut(id).protected = set.protected_from_scale_in.0;
    }
    world.reconcile_soon(&set.auto_scaling_group_name);
    Ok(Some(json!({})))
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
    let (retained, warmed) = (instance.is_retained(), instance.is_warmed());
    let decrements = terminate.should_decrement_desired_capacity.0;
    // What a second termination answers is not documented: here, the activity that runs already.
    if instance.is_leaving_for_good() {
        let running =
            instance.activity.map(|index| world.activity_json(&world.autoscaling.activities[index]));
        return Ok(Some(json!({ "Activity": running })));
    }
    if retained && decrements {
        return Err(ApiError::validation(format!(
            "The instance {id} is in a Retained state and can't be terminated while decreasing desired capacity. To \
             terminate these instances, retry without decreasing the Auto Scaling group's desired capacity."
        )));
    }
    if warmed && !retained {
        return Err(ApiError::validation(format!("The instance {id} is in a warm pool.")));
    }
    let mut why = format!(
        "At {} instance {id} was taken out of service in response to a user request",
        second(world.now())
    );
    if decrements {
        let shrinking = decrement(world, &name, 1)?;
        why += &shrinking;
    }
    let (journey, what) = match warmed {
        true => (Journey::TerminateInPool, leaving_pool(&id)),
        false => (Journey::Terminate, leaving(&id)),
    };
    let activity = world.begin(&id, journey, what, why + ".");
    world.reconcile_soon(&name);
    Ok(Some(json!({ "Activity": world.activity_json(&activity) })))
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
    move_out(world, &detach, "Detaching EC2 instance", "detached", "Detaching")
}

pub(super) fn enter_standby(world: &mut World, standby: MoveOut) -> Answer {
    move_out(world, &standby, "Moving EC2 instance to Standby", "moved to standby", "EnteringStandby")
}

/// Detach and standby: the instance leaves the group's capacity, and no hook runs. A retained instance, which is outside
/// the capacity already, can be detached.
fn move_out(world: &mut World, request: &MoveOut, what: &str, verb: &str, state: &'static str) -> Answer {
    let name = &request.auto_scaling_group_name;
    find_group(world, name)?;
    for id in &request.instance_ids {
        let instance = find_instance(world, id)?;
        let retained = state == "Detaching" && instance.state == "Terminating:Retained";
        let out = retained && !request.should_decrement_desired_capacity.0;
        if instance.group != *name || instance.state != "InService" && !out {
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
        let activity = world.leave(id, state, format!("{what}: {id}"), cause);
        activities.push(world.activity_json(&activity));
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
    if find_group(world, &name)?.is_suspended("Launch") {
        return Err(ApiError::validation(format!(
            "Cannot move instances out of Standby for AutoScalingGroup {name} while the Launch process is suspended"
        )));
    }
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
        let activity = world.new_activity_of(id, what, cause);
        let (end, status) = (Some(activity.start), "Successful");
        let activity = Activity { end, status, progress: 100, ..activity };
        activities.push(world.activity_json(&activity));
        world.record(activity);
        world.enter(id, "InService");
    }
    Ok(Some(json!({ "Activities": activities })))
}
