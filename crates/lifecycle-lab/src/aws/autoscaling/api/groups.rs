//! The actions for groups: create, change, delete, and set the desired capacity. Error texts are AWS's
//! where a public log shows them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use super::hooks::{HookSpecification, add_hook};
use super::tags::TagRequest;
use super::{Answer, find_group, merge};
use crate::aws::autoscaling::Group;
use crate::aws::autoscaling::sources::{LaunchSource, MixedRequest, TemplateRequest};
use crate::aws::ec2::find_subnets;
use crate::aws::error::ApiError;
use crate::aws::request::{Text, list};
use crate::aws::world::{ACCOUNT, REGION, World};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateGroup {
    auto_scaling_group_name: String,
    min_size: Text<u32>,
    max_size: Text<u32>,
    desired_capacity: Option<Text<u32>>,
    #[serde(default)]
    availability_zones: Vec<String>,
    #[serde(rename = "VPCZoneIdentifier")]
    subnets: Option<String>,
    launch_template: Option<TemplateRequest>,
    launch_configuration_name: Option<String>,
    mixed_instances_policy: Option<MixedRequest>,
    new_instances_protected_from_scale_in: Option<Text<bool>>,
    instance_lifecycle_policy: Option<InstanceLifecyclePolicy>,
    #[serde(default)]
    lifecycle_hook_specification_list: Vec<HookSpecification>,
    #[serde(default, deserialize_with = "list")]
    tags: Vec<TagRequest>,
    // Shown; nothing that the lab plays depends on these.
    default_cooldown: Option<Text<u32>>,
    health_check_type: Option<String>,
    health_check_grace_period: Option<Text<u32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct InstanceLifecyclePolicy {
    retention_triggers: RetentionTriggers,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RetentionTriggers {
    terminate_hook_abandon: Retention,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Retention {
    Retain,
    Terminate,
}

impl InstanceLifecyclePolicy {
    fn retains(&self) -> bool {
        self.retention_triggers.terminate_hook_abandon == Retention::Retain
    }
}

pub(super) fn create(world: &mut World, new: CreateGroup) -> Answer {
    let name = new.auto_scaling_group_name;
    if let Some(group) = world.autoscaling.groups.get(&name) {
        let how = match group.deleting {
            true => " and is pending delete".to_owned(),
            false => format!(" - A group with the name {name} already exists"),
        };
        let text = format!("AutoScalingGroup by this name already exists{how}");
        return Err(ApiError::new("AlreadyExists", text));
    }
    if name.is_empty() || name.chars().count() > 255 {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{name}' at 'autoScalingGroupName' failed to satisfy constraint: \
             Member must have length less than or equal to 255"
        )));
    }
    let one_source = || {
        ApiError::validation(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or \
             MixedInstancesPolicy parameter.",
        )
    };
    let (template, policy) = (new.launch_template, new.mixed_instances_policy);
    let source = launch_source(world, template, new.launch_configuration_name, policy, one_source)?;
    let launch_source = source.ok_or_else(one_source)?;
    let subnets: Vec<String> = match &new.subnets {
        Some(subnets) if !subnets.is_empty() => subnets.split(',').map(|id| id.trim().to_owned()).collect(),
        _ => Vec::new(),
    };
    let zones = zones_of(world, new.availability_zones, &subnets)?;
    world.check_source(&launch_source, &zones, &subnets)?;
    let (Text(min), Text(max)) = (new.min_size, new.max_size);
    let desired = new.desired_capacity.map_or(min, |Text(desired)| desired);
    check_capacity(min, max, desired)?;
    let hooks = new.lifecycle_hook_specification_list;
    let tags = new.tags.into_iter().map(TagRequest::read).collect::<Result<_, _>>()?;
    let group = Group {
        arn: format!(
            "arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:{}:autoScalingGroupName/{name}",
            world.uuid()
        ),
        name: name.clone(),
        created: world.now(),
        min,
        max,
        desired: 0,
        hooks: BTreeMap::new(),
        zones,
        subnets,
        launch_source,
        tags,
        suspended: BTreeMap::new(),
        health_check: (
            new.health_check_type.unwrap_or_else(|| "EC2".to_owned()),
            new.health_check_grace_period.map_or(0, |Text(period)| period),
        ),
        cooldown: new.default_cooldown.map_or(300, |Text(cooldown)| cooldown),
        retain_abandoned: new.instance_lifecycle_policy.is_some_and(|policy| policy.retains()),
        protect_new: new.new_instances_protected_from_scale_in.is_some_and(|Text(protect)| protect),
        warm_pool: None,
        refreshes: Vec::new(),
        deleting: false,
        reconcile_due: false,
        change: None,
        replacements: VecDeque::new(),
        launches_failed: 0,
        no_launch_before: None,
        stuck: false,
    };
    world.autoscaling.groups.insert(name.clone(), group);
    for hook in hooks {
        add_hook(world, &name, hook).inspect_err(|_| drop(world.autoscaling.groups.remove(&name)))?;
    }
    world.set_desired(&name, desired, "a user request created an AutoScalingGroup");
    Ok(None)
}

/// The launch source in a request, if it has one.
pub(super) fn launch_source(
    world: &World,
    template: Option<TemplateRequest>,
    configuration: Option<String>,
    policy: Option<MixedRequest>,
    several: impl FnOnce() -> ApiError,
) -> Result<Option<LaunchSource>, ApiError> {
    Ok(match (template, configuration, policy) {
        (None, None, None) => None,
        (Some(template), None, None) => Some(LaunchSource::template(world, template)?),
        (None, Some(configuration), None) => Some(LaunchSource::Configuration(configuration)),
        (None, None, Some(policy)) => Some(LaunchSource::mixed(world, policy)?),
        _ => return Err(several()),
    })
}

/// The zones that a request names, or those of its subnets.
fn zones_of(world: &World, named: Vec<String>, subnets: &[String]) -> Result<Vec<String>, ApiError> {
    let found = find_subnets(&world.ec2, subnets).map_err(|error| ApiError::validation(error.message))?;
    let zones: BTreeSet<_> = found.into_iter().map(|subnet| subnet.zone.clone()).collect();
    match (named.is_empty(), zones.is_empty()) {
        (true, true) => {
            Err(ApiError::validation("At least one Availability Zone or VPC Subnet is required."))
        }
        (false, true) => Ok(named),
        (false, false) if zones != named.into_iter().collect() => Err(ApiError::validation(
            "The availability zones of the specified subnets and the Auto Scaling group do not match",
        )),
        (_, false) => Ok(zones.into_iter().collect()),
    }
}

/// The parameters of [`create`] that make a group of this name like another one; its warm pool, and the tags that AWS
/// gave it, they leave out.
pub(crate) fn like(group: &Group, name: &str) -> Value {
    let hooks = group.hooks.values().map(|hook| {
        json!({
            "LifecycleHookName": hook.name,
            "LifecycleTransition": hook.transition.as_str(),
            "HeartbeatTimeout": hook.heartbeat_timeout.as_secs().to_string(),
            "DefaultResult": hook.default_result.as_str(),
            "NotificationMetadata": hook.metadata,
            "NotificationTargetARN": hook.target,
            "RoleARN": hook.role,
        })
    });
    let mut parameters = json!({
        "AutoScalingGroupName": name,
        "MinSize": group.min.to_string(),
        "MaxSize": group.max.to_string(),
        "DesiredCapacity": group.desired.to_string(),
        "AvailabilityZones": group.zones,
        "VPCZoneIdentifier": group.subnets.join(","),
        "NewInstancesProtectedFromScaleIn": group.protect_new.to_string(),
        "LifecycleHookSpecificationList": hooks.collect::<Vec<_>>(),
        "HealthCheckType": group.health_check.0,
        "HealthCheckGracePeriod": group.health_check.1.to_string(),
        "DefaultCooldown": group.cooldown.to_string(),
    });
    let own = group.tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    let tags = own.map(|(key, (value, propagates))| {
        json!({ "Key": key, "Value": value, "PropagateAtLaunch": propagates.to_string() })
    });
    parameters["Tags"] = tags.collect();
    if group.retain_abandoned {
        let retain = json!({ "RetentionTriggers": { "TerminateHookAbandon": "retain" } });
        parameters["InstanceLifecyclePolicy"] = retain;
    }
    merge(&mut parameters, &group.launch_source.to_parameters());
    parameters
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct UpdateGroup {
    auto_scaling_group_name: String,
    min_size: Option<Text<u32>>,
    max_size: Option<Text<u32>>,
    desired_capacity: Option<Text<u32>>,
    launch_template: Option<TemplateRequest>,
    launch_configuration_name: Option<String>,
    mixed_instances_policy: Option<MixedRequest>,
    instance_lifecycle_policy: Option<InstanceLifecyclePolicy>,
    new_instances_protected_from_scale_in: Option<Text<bool>>,
}

pub(super) fn update(world: &mut World, update: UpdateGroup) -> Answer {
    let name = update.auto_scaling_group_name;
    let not_found = |_| ApiError::validation("AutoScalingGroup name not found - null");
    let group = find_group(world, &name).map_err(not_found)?;
    let min = update.min_size.map_or(group.min, |Text(min)| min);
    let max = update.max_size.map_or(group.max, |Text(max)| max);
    let desired = match update.desired_capacity {
        Some(Text(desired)) => desired,
        // A new range pulls the desired capacity into it.
        None => group.desired.max(min).min(max),
    };
    check_capacity(min, max, desired)?;
    let several =
        || ApiError::validation("A group launches from one source: a template, a policy or a configuration.");
    let (template, policy) = (update.launch_template, update.mixed_instances_policy);
    let source = launch_source(world, template, update.launch_configuration_name, policy, several)?;
    if let Some(source) = &source {
        world.check_source(source, &group.zones, &group.subnets)?;
    }
    let group = world.group_mut(&name);
    (group.min, group.max) = (min, max);
    if let Some(source) = source {
        group.launch_source = source;
    }
    if let Some(policy) = update.instance_lifecycle_policy {
        group.retain_abandoned = policy.retains();
    }
    if let Some(Text(protect)) = update.new_instances_protected_from_scale_in {
        group.protect_new = protect;
    }
    let why = format!(
        "a user request update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired}"
    );
    world.set_desired(&name, desired, &why);
    Ok(None)
}

fn check_capacity(min: u32, max: u32, desired: u32) -> Result<(), ApiError> {
    if max < min {
        return Err(ApiError::validation("Max bound, must be greater than or equal to min bound"));
    }
    above_or_below("Desired capacity", min, max, desired)
}

fn above_or_below(what: &str, min: u32, max: u32, desired: u32) -> Result<(), ApiError> {
    let refuse = |side, bound| {
        Err(ApiError::validation(format!(
            "New {what} value {desired} is {side} value {bound} for the AutoScalingGroup."
        )))
    };
    match desired {
        _ if desired > max => refuse("above max", max),
        _ if desired < min => refuse("below min", min),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteGroup {
    auto_scaling_group_name: String,
    force_delete: Option<Text<bool>>,
}

pub(super) fn delete(world: &mut World, delete: DeleteGroup) -> Answer {
    let name = delete.auto_scaling_group_name;
    let group = find_group(world, &name)?;
    if group.deleting {
        return Ok(None);
    }
    let force = delete.force_delete.is_some_and(|Text(force)| force);
    if force && group.retain_abandoned {
        return Err(ApiError::validation(
            "You can't force delete this Auto Scaling group because the TerminateHookAbandon retention trigger is set \
             to retain. Change the retention trigger to terminate and try again.",
        ));
    }
    let empty = world.members(&name, |_| true).is_empty();
    if !empty && !force {
        return Err(ApiError::new(
            "ResourceInUse",
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) \
             still in the group.",
        ));
    }
    let group = world.group_mut(&name);
    (group.deleting, group.min, group.max) = (true, 0, 0);
    world.set_desired(&name, 0, "a user request force deleted AutoScaling group");
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct SetDesired {
    auto_scaling_group_name: String,
    desired_capacity: Text<u32>,
    #[serde(rename = "HonorCooldown")]
    _honor_cooldown: Option<Text<bool>>,
}

pub(super) fn set_desired_capacity(world: &mut World, set: SetDesired) -> Answer {
    let group = find_group(world, &set.auto_scaling_group_name)?;
    let Text(desired) = set.desired_capacity;
    above_or_below("SetDesiredCapacity", group.min, group.max, desired)?;
    world.set_desired(
        &set.auto_scaling_group_name,
        desired,
        "a user request explicitly set group desired capacity",
    );
    Ok(None)
}
