//! Auto Scaling's actions: what each takes, what it refuses, what it answers. Error codes and texts are
//! AWS's where a public log shows them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Activity, Group, Hook, HookResult, Instance, PoolState, Refresh, Timer, Transition, Wait, WarmPool,
    engine,
};
use crate::query::{ApiError, Request, Text, parameters};
use crate::world::{ACCOUNT, Effect, REGION, World, second, timestamp};

/// Most hooks on one group.
const HOOKS: usize = 50;

/// Items of a page where the request does not say, and at most.
const PAGE: usize = 100;

/// Plays one action. `Ok(None)` is an answer without a result element.
pub(crate) fn call(world: &mut World, request: &Request) -> Result<Option<Value>, ApiError> {
    fn run<T: DeserializeOwned>(
        world: &mut World,
        request: &Request,
        play: impl FnOnce(&mut World, T) -> Result<Option<Value>, ApiError>,
    ) -> Result<Option<Value>, ApiError> {
        play(world, parameters(&request.action, request.parameters.clone())?)
    }
    match request.action.as_str() {
        "CreateAutoScalingGroup" => run(world, request, create_group),
        "UpdateAutoScalingGroup" => run(world, request, update_group),
        "DeleteAutoScalingGroup" => run(world, request, delete_group),
        "DescribeAutoScalingGroups" => run(world, request, describe_groups),
        "DescribeAutoScalingInstances" => run(world, request, describe_instances),
        "SetDesiredCapacity" => run(world, request, set_desired_capacity),
        "SetInstanceHealth" => run(world, request, set_instance_health),
        "TerminateInstanceInAutoScalingGroup" => run(world, request, terminate_instance),
        "DetachInstances" => run(world, request, detach_instances),
        "EnterStandby" => run(world, request, enter_standby),
        "ExitStandby" => run(world, request, exit_standby),
        "PutLifecycleHook" => run(world, request, put_hook),
        "DeleteLifecycleHook" => run(world, request, delete_hook),
        "DescribeLifecycleHooks" => run(world, request, describe_hooks),
        "CompleteLifecycleAction" => run(world, request, complete_action),
        "RecordLifecycleActionHeartbeat" => run(world, request, record_heartbeat),
        "DescribeScalingActivities" => run(world, request, describe_activities),
        "PutWarmPool" => run(world, request, put_warm_pool),
        "DescribeWarmPool" => run(world, request, describe_warm_pool),
        "DeleteWarmPool" => run(world, request, delete_warm_pool),
        "StartInstanceRefresh" => run(world, request, start_refresh),
        "DescribeInstanceRefreshes" => run(world, request, describe_refreshes),
        "CancelInstanceRefresh" => run(world, request, cancel_refresh),
        action => Err(ApiError::not_modelled(format!("autoscaling:{action}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CreateGroup {
    auto_scaling_group_name: String,
    min_size: Text<u32>,
    max_size: Text<u32>,
    desired_capacity: Option<Text<u32>>,
    #[serde(default)]
    availability_zones: Vec<String>,
    #[serde(rename = "VPCZoneIdentifier")]
    subnets: Option<String>,
    launch_template: Option<Value>,
    launch_configuration_name: Option<String>,
    new_instances_protected_from_scale_in: Option<Text<bool>>,
    instance_lifecycle_policy: Option<InstanceLifecyclePolicy>,
    #[serde(default)]
    lifecycle_hook_specification_list: Vec<HookSpecification>,
    // Nothing that the lab plays depends on these.
    #[serde(rename = "DefaultCooldown")]
    _default_cooldown: Option<Text<u32>>,
    #[serde(rename = "HealthCheckType")]
    _health_check_type: Option<String>,
    #[serde(rename = "HealthCheckGracePeriod")]
    _health_check_grace_period: Option<Text<u32>>,
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct HookSpecification {
    lifecycle_hook_name: String,
    lifecycle_transition: Option<String>,
    heartbeat_timeout: Option<Text<u64>>,
    default_result: Option<String>,
    notification_metadata: Option<String>,
    #[serde(rename = "NotificationTargetARN")]
    target: Option<String>,
    #[serde(rename = "RoleARN")]
    role: Option<String>,
}

fn create_group(world: &mut World, new: CreateGroup) -> Result<Option<Value>, ApiError> {
    let name = new.auto_scaling_group_name;
    if world.autoscaling.groups.contains_key(&name) {
        return Err(ApiError::new(
            "AlreadyExists",
            format!(
                "AutoScalingGroup by this name already exists - A group with the name {name} already exists"
            ),
        ));
    }
    if name.is_empty() || name.chars().count() > 255 {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{name}' at 'autoScalingGroupName' failed to satisfy constraint: \
             Member must have length less than or equal to 255"
        )));
    }
    let launch_source = match (new.launch_template, new.launch_configuration_name) {
        (Some(template), None) => json!({ "LaunchTemplate": template }),
        (None, Some(configuration)) => json!({ "LaunchConfigurationName": configuration }),
        _ => {
            return Err(ApiError::validation(
                "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or \
                 MixedInstancesPolicy parameter.",
            ));
        }
    };
    let zones = match (new.availability_zones, &new.subnets) {
        (zones, _) if !zones.is_empty() => zones,
        (_, Some(subnets)) => ["a", "b", "c", "d", "e", "f"]
            .iter()
            .zip(subnets.split(','))
            .map(|(letter, _)| format!("{REGION}{letter}"))
            .collect(),
        _ => {
            return Err(ApiError::validation("At least one Availability Zone or VPC Subnet is required."));
        }
    };
    let (Text(min), Text(max)) = (new.min_size, new.max_size);
    let desired = new.desired_capacity.map_or(min, |Text(desired)| desired);
    check_capacity(min, max, desired)?;
    let hooks = new.lifecycle_hook_specification_list;
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
        subnets: new.subnets,
        launch_source,
        retain_abandoned: new.instance_lifecycle_policy.is_some_and(|policy| policy.retains()),
        protect_new: new.new_instances_protected_from_scale_in.is_some_and(|Text(protect)| protect),
        warm_pool: None,
        refresh: None,
        deleting: false,
        reconcile_due: false,
        change: None,
        replacements: VecDeque::new(),
        launches_abandoned: 0,
        no_launch_before: None,
    };
    world.autoscaling.groups.insert(name.clone(), group);
    for hook in hooks {
        add_hook(world, &name, hook)?;
    }
    world.set_desired(&name, desired, "a user request created an AutoScalingGroup");
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateGroup {
    auto_scaling_group_name: String,
    min_size: Option<Text<u32>>,
    max_size: Option<Text<u32>>,
    desired_capacity: Option<Text<u32>>,
    launch_template: Option<Value>,
    instance_lifecycle_policy: Option<InstanceLifecyclePolicy>,
    new_instances_protected_from_scale_in: Option<Text<bool>>,
}

fn update_group(world: &mut World, update: UpdateGroup) -> Result<Option<Value>, ApiError> {
    let name = update.auto_scaling_group_name;
    let group = find_group(world, &name)?;
    let min = update.min_size.map_or(group.min, |Text(min)| min);
    let max = update.max_size.map_or(group.max, |Text(max)| max);
    let desired = match update.desired_capacity {
        Some(Text(desired)) => desired,
        // A new range pulls the desired capacity into it.
        None => group.desired.max(min).min(max),
    };
    check_capacity(min, max, desired)?;
    let group = world.group_mut(&name);
    (group.min, group.max) = (min, max);
    if let Some(template) = update.launch_template {
        group.launch_source = json!({ "LaunchTemplate": template });
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
struct DeleteGroup {
    auto_scaling_group_name: String,
    force_delete: Option<Text<bool>>,
}

fn delete_group(world: &mut World, delete: DeleteGroup) -> Result<Option<Value>, ApiError> {
    let name = delete.auto_scaling_group_name;
    find_group(world, &name)?;
    let members = world.members(&name, |_| true);
    if !members.is_empty() && !delete.force_delete.is_some_and(|Text(force)| force) {
        return Err(ApiError::new(
            "ResourceInUse",
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) \
             still in the group.",
        ));
    }
    world.group_mut(&name).deleting = true;
    let delay = if members.is_empty() { Duration::ZERO } else { world.delays.proceed * 3 };
    for id in members {
        world.discard(&id);
    }
    world.set_timer(delay, Timer::GroupGone { group: name });
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeGroups {
    #[serde(default)]
    auto_scaling_group_names: Vec<String>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

fn describe_groups(world: &mut World, describe: DescribeGroups) -> Result<Option<Value>, ApiError> {
    let names = describe.auto_scaling_group_names;
    let groups = world.autoscaling.groups.values();
    let groups = groups.filter(|group| names.is_empty() || names.contains(&group.name)).map(|group| {
        let instances = world.members(&group.name, |instance| !instance.state.starts_with("Warmed:"));
        let mut answer = json!({
            "AutoScalingGroupName": group.name,
            "AutoScalingGroupARN": group.arn,
            "MinSize": group.min,
            "MaxSize": group.max,
            "DesiredCapacity": group.desired,
            "DefaultCooldown": 300,
            "AvailabilityZones": group.zones,
            "VPCZoneIdentifier": group.subnets,
            "HealthCheckType": "EC2",
            "HealthCheckGracePeriod": 0,
            "CreatedTime": timestamp(group.created),
            "Status": group.deleting.then_some("Delete in progress"),
            "NewInstancesProtectedFromScaleIn": group.protect_new,
            "WarmPoolConfiguration": group.warm_pool.as_ref().map(pool_json),
            "InstanceLifecyclePolicy": group.retain_abandoned.then(
                || json!({ "RetentionTriggers": { "TerminateHookAbandon": "retain" } })
            ),
            "Instances": instances.iter().map(|id| instance_json(world.instance_ref(id))).collect::<Vec<_>>(),
        });
        merge(&mut answer, &group.launch_source);
        answer
    });
    page("AutoScalingGroups", groups.collect(), describe.max_records, describe.next_token)
}

fn instance_json(instance: &Instance) -> Value {
    json!({
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "LifecycleState": instance.state,
        "HealthStatus": if instance.healthy { "Healthy" } else { "Unhealthy" },
        "ProtectedFromScaleIn": instance.protected,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeInstances {
    #[serde(default)]
    instance_ids: Vec<String>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

fn describe_instances(world: &mut World, describe: DescribeInstances) -> Result<Option<Value>, ApiError> {
    let ids = describe.instance_ids;
    let instances = world.autoscaling.instances();
    let instances =
        instances.filter(|instance| ids.is_empty() || ids.contains(&instance.id)).map(|instance| {
            let mut answer = instance_json(instance);
            answer["AutoScalingGroupName"] = json!(instance.group);
            // Unlike in DescribeAutoScalingGroups, the health is in capitals here.
            answer["HealthStatus"] = json!(if instance.healthy { "HEALTHY" } else { "UNHEALTHY" });
            merge(&mut answer, &world.autoscaling.groups[&instance.group].launch_source);
            answer
        });
    page("AutoScalingInstances", instances.collect(), describe.max_records, describe.next_token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SetDesired {
    auto_scaling_group_name: String,
    desired_capacity: Text<u32>,
    #[serde(rename = "HonorCooldown")]
    _honor_cooldown: Option<Text<bool>>,
}

fn set_desired_capacity(world: &mut World, set: SetDesired) -> Result<Option<Value>, ApiError> {
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SetHealth {
    instance_id: String,
    health_status: String,
    #[serde(rename = "ShouldRespectGracePeriod")]
    _should_respect_grace_period: Option<Text<bool>>,
}

fn set_instance_health(world: &mut World, set: SetHealth) -> Result<Option<Value>, ApiError> {
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
struct TerminateInstance {
    instance_id: String,
    should_decrement_desired_capacity: Text<bool>,
}

fn terminate_instance(world: &mut World, terminate: TerminateInstance) -> Result<Option<Value>, ApiError> {
    let id = terminate.instance_id;
    let instance = find_instance(world, &id)?;
    let (name, state) = (instance.group.clone(), instance.state);
    if state.ends_with(":Retained") {
        world.discard(&id);
        return Ok(Some(json!({})));
    }
    if state.starts_with("Warmed:") {
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
    let journey = super::Journey::Terminate;
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
struct MoveOut {
    auto_scaling_group_name: String,
    instance_ids: Vec<String>,
    should_decrement_desired_capacity: Text<bool>,
}

fn detach_instances(world: &mut World, detach: MoveOut) -> Result<Option<Value>, ApiError> {
    move_out(world, &detach, "Detaching EC2 instance", "detached", "Detached")
}

fn enter_standby(world: &mut World, standby: MoveOut) -> Result<Option<Value>, ApiError> {
    move_out(world, &standby, "Moving EC2 instance to Standby", "moved to standby", "Standby")
}

/// Detach and standby: the instance leaves the group's capacity, and no hook runs.
fn move_out(
    world: &mut World,
    request: &MoveOut,
    what: &str,
    verb: &str,
    state: &'static str,
) -> Result<Option<Value>, ApiError> {
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
struct ExitStandby {
    auto_scaling_group_name: String,
    instance_ids: Vec<String>,
}

fn exit_standby(world: &mut World, exit: ExitStandby) -> Result<Option<Value>, ApiError> {
    let name = exit.auto_scaling_group_name;
    find_group(world, &name)?;
    let mut activities = Vec::new();
    for id in &exit.instance_ids {
        if find_instance(world, id)?.state != "Standby" {
            return Err(ApiError::validation(format!("The instance {id} is not in Standby.")));
        }
        let at = second(world.now());
        let cause = format!("At {at} instance {id} was moved out of standby in response to a user request.");
        world.group_mut(&name).desired += 1;
        let what = format!("Moving EC2 instance out of Standby: {id}");
        activities.push(world.rest(id, "InService", what, cause).to_json());
    }
    Ok(Some(json!({ "Activities": activities })))
}

fn put_hook(world: &mut World, mut put: Value) -> Result<Option<Value>, ApiError> {
    let group = put.as_object_mut().and_then(|put| put.remove("AutoScalingGroupName"));
    let group: String = parameters("PutLifecycleHook", group.unwrap_or_default())?;
    find_group(world, &group)?;
    add_hook(world, &group, parameters("PutLifecycleHook", put)?)?;
    Ok(Some(json!({})))
}

/// Makes a hook, or changes one: what is not passed stays.
fn add_hook(world: &mut World, group: &str, new: HookSpecification) -> Result<(), ApiError> {
    let name = new.lifecycle_hook_name;
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(legal) {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{name}' at 'lifecycleHookName' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: [A-Za-z0-9\\-_\\/]+"
        )));
    }
    let old = world.group_mut(group).hooks.get(&name).cloned();
    let transition = match (new.lifecycle_transition.as_deref(), &old) {
        (Some("autoscaling:EC2_INSTANCE_LAUNCHING"), _) => Transition::Launching,
        (Some("autoscaling:EC2_INSTANCE_TERMINATING"), _) => Transition::Terminating,
        (None, Some(old)) => old.transition,
        (given, _) => {
            return Err(ApiError::validation(format!(
                "LifecycleTransition is not valid: {}",
                given.unwrap_or("null")
            )));
        }
    };
    let heartbeat_timeout = match (new.heartbeat_timeout, &old) {
        (Some(Text(seconds)), _) if (30..=7200).contains(&seconds) => Duration::from_secs(seconds),
        (Some(Text(seconds)), _) => {
            return Err(ApiError::validation(format!(
                "HeartbeatTimeout must be between 30 and 7200 seconds, not {seconds}"
            )));
        }
        (None, Some(old)) => old.heartbeat_timeout,
        (None, None) => Duration::from_secs(3600),
    };
    let default_result = match (new.default_result, &old) {
        (Some(text), _) => hook_result(&text)?,
        (None, Some(old)) => old.default_result,
        (None, None) => HookResult::Abandon,
    };
    let keep = |given: Option<String>, old: Option<String>| given.or(old).filter(|text| !text.is_empty());
    let (metadata, target, role) = old.map_or((None, None, None), |old| (old.metadata, old.target, old.role));
    let notifies = new.target.as_ref().is_some_and(|target| !target.is_empty());
    let hook = Hook {
        name: name.clone(),
        transition,
        heartbeat_timeout,
        default_result,
        metadata: keep(new.notification_metadata, metadata),
        target: keep(new.target, target),
        role: keep(new.role, role),
    };
    let request = world.uuid();
    let now = world.now();
    let owner = world.group_mut(group);
    if owner.hooks.len() >= HOOKS && !owner.hooks.contains_key(&name) {
        return Err(ApiError::new("LimitExceeded", format!("A group has at most {HOOKS} lifecycle hooks.")));
    }
    let notification = hook
        .target
        .clone()
        .filter(|_| notifies)
        .map(|target| (target, engine::test_notification(owner, &request, now)));
    owner.hooks.insert(name, hook);
    if let Some((target, body)) = notification {
        world.send(Effect::Notification { target, body });
    }
    Ok(())
}

fn hook_result(text: &str) -> Result<HookResult, ApiError> {
    match text {
        "CONTINUE" => Ok(HookResult::Continue),
        "ABANDON" => Ok(HookResult::Abandon),
        other => {
            Err(ApiError::validation(format!("Lifecycle action result {other} is not CONTINUE or ABANDON")))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct HookName {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
}

fn delete_hook(world: &mut World, delete: HookName) -> Result<Option<Value>, ApiError> {
    let (group, name) = (delete.auto_scaling_group_name, delete.lifecycle_hook_name);
    find_group(world, &group)?;
    let Some(hook) = world.group_mut(&group).hooks.remove(&name) else {
        return Err(ApiError::validation(format!("No Lifecycle Hook found with name {name}")));
    };
    // Outstanding actions are completed first, and not with the hook's default result.
    let result = match hook.transition {
        Transition::Launching => HookResult::Abandon,
        Transition::Terminating => HookResult::Continue,
    };
    for id in world.members(&group, |instance| instance.waits.contains_key(&name)) {
        world.end_wait(&id, &name, result, "Lifecycle Hook was deleted");
    }
    Ok(Some(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeHooks {
    auto_scaling_group_name: String,
    #[serde(default)]
    lifecycle_hook_names: Vec<String>,
}

fn describe_hooks(world: &mut World, describe: DescribeHooks) -> Result<Option<Value>, ApiError> {
    let names = describe.lifecycle_hook_names;
    let group = find_group(world, &describe.auto_scaling_group_name)?;
    let hooks =
        group.hooks.values().filter(|hook| names.is_empty() || names.contains(&hook.name)).map(|hook| {
            json!({
                "LifecycleHookName": hook.name,
                "AutoScalingGroupName": group.name,
                "LifecycleTransition": hook.transition.as_str(),
                "HeartbeatTimeout": hook.heartbeat_timeout.as_secs(),
                "GlobalTimeout": hook.global_timeout().as_secs(),
                "DefaultResult": hook.default_result.as_str(),
                "NotificationMetadata": hook.metadata,
                "NotificationTargetARN": hook.target,
                "RoleARN": hook.role,
            })
        });
    Ok(Some(json!({ "LifecycleHooks": hooks.collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ActionName {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    lifecycle_action_token: Option<String>,
    instance_id: Option<String>,
    lifecycle_action_result: Option<String>,
}

fn complete_action(world: &mut World, complete: ActionName) -> Result<Option<Value>, ApiError> {
    let result = complete.lifecycle_action_result.clone().ok_or_else(|| {
        ApiError::validation(
            "1 validation error detected: Value null at 'lifecycleActionResult' failed to satisfy constraint: Member \
             must not be null",
        )
    })?;
    let result = hook_result(&result)?;
    let id = find_wait(world, &complete)?;
    let how = format!("Lifecycle Action Completed with {} Result", result.as_str());
    world.end_wait(&id, &complete.lifecycle_hook_name, result, &how);
    Ok(Some(json!({})))
}

fn record_heartbeat(world: &mut World, heartbeat: ActionName) -> Result<Option<Value>, ApiError> {
    let id = find_wait(world, &heartbeat)?;
    world.heartbeat(&id, &heartbeat.lifecycle_hook_name);
    Ok(Some(json!({})))
}

/// The instance whose wait is meant. The token names exactly one wait; without it the instance's
/// current wait in the hook is meant. Where both are given both must fit.
fn find_wait(world: &World, action: &ActionName) -> Result<String, ApiError> {
    let now = world.now();
    let fits = |instance: &&Instance, wait: &Wait| {
        instance.group == action.auto_scaling_group_name
            && wait.accepted_from <= now
            && action.lifecycle_action_token.as_ref().is_none_or(|token| *token == wait.token)
    };
    let not_found = |what: &str, which: &str| {
        Err(ApiError::validation(format!("No active Lifecycle Action found with {what} {which}")))
    };
    let hook = &action.lifecycle_hook_name;
    let found = match (&action.instance_id, &action.lifecycle_action_token) {
        (None, None) => {
            return Err(ApiError::validation("Either LifecycleActionToken or InstanceId must be specified"));
        }
        (Some(id), _) => world
            .autoscaling
            .instance(id)
            .into_iter()
            .find(|instance| instance.waits.get(hook).is_some_and(|wait| fits(instance, wait))),
        (None, _) => world
            .autoscaling
            .instances
            .values()
            .find(|instance| instance.waits.get(hook).is_some_and(|wait| fits(instance, wait))),
    };
    match (found, &action.lifecycle_action_token, &action.instance_id) {
        (Some(instance), _, _) => Ok(instance.id.clone()),
        (None, Some(token), _) => not_found("token", token),
        (None, None, id) => not_found("instance ID", id.as_deref().unwrap_or_default()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeActivities {
    auto_scaling_group_name: Option<String>,
    #[serde(default)]
    activity_ids: Vec<String>,
    include_deleted_groups: Option<Text<bool>>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

fn describe_activities(world: &mut World, describe: DescribeActivities) -> Result<Option<Value>, ApiError> {
    let deleted_too = describe.include_deleted_groups.is_some_and(|Text(deleted)| deleted);
    let fits = |activity: &&Activity| {
        describe.auto_scaling_group_name.as_ref().is_none_or(|name| *name == activity.group)
            && (describe.activity_ids.is_empty() || describe.activity_ids.contains(&activity.id))
            && (deleted_too || world.autoscaling.groups.contains_key(&activity.group))
    };
    let newest_first = world.autoscaling.activities.iter().rev().filter(fits).map(Activity::to_json);
    page("Activities", newest_first.collect(), describe.max_records, describe.next_token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutWarmPool {
    auto_scaling_group_name: String,
    min_size: Option<Text<u32>>,
    max_group_prepared_capacity: Option<Text<i64>>,
    pool_state: Option<String>,
    instance_reuse_policy: Option<ReusePolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ReusePolicy {
    reuse_on_scale_in: Text<bool>,
}

fn put_warm_pool(world: &mut World, put: PutWarmPool) -> Result<Option<Value>, ApiError> {
    let name = put.auto_scaling_group_name;
    let old = find_group(world, &name)?.warm_pool.clone();
    let state = match put.pool_state.as_deref() {
        Some("Stopped") => PoolState::Stopped,
        Some("Running") => PoolState::Running,
        Some("Hibernated") => PoolState::Hibernated,
        Some(other) => return Err(ApiError::validation(format!("Invalid PoolState: {other}"))),
        None => old.as_ref().map_or(PoolState::Stopped, |pool| pool.state),
    };
    let pool = WarmPool {
        min_size: put.min_size.map_or(old.as_ref().map_or(0, |pool| pool.min_size), |Text(size)| size),
        max_prepared: match put.max_group_prepared_capacity {
            Some(Text(capacity)) => u32::try_from(capacity).ok(),
            None => old.as_ref().and_then(|pool| pool.max_prepared),
        },
        state,
        reuse_on_scale_in: match put.instance_reuse_policy {
            Some(policy) => policy.reuse_on_scale_in.0,
            None => old.is_some_and(|pool| pool.reuse_on_scale_in),
        },
        deleting: false,
    };
    world.group_mut(&name).warm_pool = Some(pool);
    world.reconcile_soon(&name);
    Ok(Some(json!({})))
}

fn pool_json(pool: &WarmPool) -> Value {
    json!({
        "MinSize": pool.min_size,
        "MaxGroupPreparedCapacity": pool.max_prepared,
        "PoolState": pool.state.as_str(),
        "Status": pool.deleting.then_some("PendingDelete"),
        "InstanceReusePolicy": { "ReuseOnScaleIn": pool.reuse_on_scale_in },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeOfGroup {
    auto_scaling_group_name: String,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

fn describe_warm_pool(world: &mut World, describe: DescribeOfGroup) -> Result<Option<Value>, ApiError> {
    let group = find_group(world, &describe.auto_scaling_group_name)?;
    let configuration = group.warm_pool.as_ref().map(pool_json);
    let pooled = world.members(&group.name, |instance| instance.state.starts_with("Warmed:"));
    let pooled = pooled.iter().map(|id| instance_json(world.instance_ref(id))).collect();
    let mut answer =
        page("Instances", pooled, describe.max_records, describe.next_token)?.unwrap_or_default();
    answer["WarmPoolConfiguration"] = json!(configuration);
    Ok(Some(answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteWarmPool {
    auto_scaling_group_name: String,
    force_delete: Option<Text<bool>>,
}

fn delete_warm_pool(world: &mut World, delete: DeleteWarmPool) -> Result<Option<Value>, ApiError> {
    let name = delete.auto_scaling_group_name;
    find_group(world, &name)?;
    if let Some(pool) = &mut world.group_mut(&name).warm_pool {
        pool.deleting = true;
    }
    if delete.force_delete.is_some_and(|Text(force)| force) {
        for id in world.members(&name, |instance| instance.state.starts_with("Warmed:")) {
            world.discard(&id);
        }
    }
    world.reconcile_soon(&name);
    Ok(Some(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StartRefresh {
    auto_scaling_group_name: String,
    strategy: Option<String>,
    preferences: Option<RefreshPreferences>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RefreshPreferences {
    min_healthy_percentage: Option<Text<u32>>,
}

fn start_refresh(world: &mut World, start: StartRefresh) -> Result<Option<Value>, ApiError> {
    let name = start.auto_scaling_group_name;
    let group = find_group(world, &name)?;
    if let Some(strategy) = start.strategy.filter(|strategy| strategy != "Rolling") {
        return Err(ApiError::not_modelled(format!("the instance refresh strategy {strategy}")));
    }
    if group.refresh.as_ref().is_some_and(|refresh| refresh.status == "InProgress") {
        return Err(ApiError::new(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        ));
    }
    let to_replace = world.members(&name, |instance| instance.state == "InService");
    let refresh = Refresh {
        id: world.uuid(),
        status: "InProgress",
        started: world.now(),
        ended: None,
        total: to_replace.len(),
        to_replace,
        min_healthy_percentage: start
            .preferences
            .and_then(|preferences| preferences.min_healthy_percentage)
            .map_or(90, |Text(percentage)| percentage),
    };
    let answer = json!({ "InstanceRefreshId": refresh.id });
    world.group_mut(&name).refresh = Some(refresh);
    world.reconcile_soon(&name);
    Ok(Some(answer))
}

/// The lab remembers the newest refresh of each group.
fn describe_refreshes(world: &mut World, describe: DescribeOfGroup) -> Result<Option<Value>, ApiError> {
    let group = find_group(world, &describe.auto_scaling_group_name)?;
    let refreshes = group.refresh.iter().map(|refresh| {
        let left = refresh.to_replace.len();
        json!({
            "InstanceRefreshId": refresh.id,
            "AutoScalingGroupName": group.name,
            "Status": refresh.status,
            "StartTime": timestamp(refresh.started),
            "EndTime": refresh.ended.map(timestamp),
            "InstancesToUpdate": left,
            "PercentageComplete": ((refresh.total - left) * 100).checked_div(refresh.total).unwrap_or(100),
            "Preferences": { "MinHealthyPercentage": refresh.min_healthy_percentage },
        })
    });
    page("InstanceRefreshes", refreshes.collect(), describe.max_records, describe.next_token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CancelRefresh {
    auto_scaling_group_name: String,
}

fn cancel_refresh(world: &mut World, cancel: CancelRefresh) -> Result<Option<Value>, ApiError> {
    let name = cancel.auto_scaling_group_name;
    find_group(world, &name)?;
    let now = world.now();
    let running = world.group_mut(&name).refresh.as_mut().filter(|refresh| refresh.status == "InProgress");
    let Some(refresh) = running else {
        return Err(ApiError::new(
            "ActiveInstanceRefreshNotFound",
            "No in progress or pending Instance Refresh found.",
        ));
    };
    (refresh.status, refresh.ended) = ("Cancelled", Some(now));
    Ok(Some(json!({ "InstanceRefreshId": refresh.id })))
}

fn find_group<'a>(world: &'a World, name: &str) -> Result<&'a Group, ApiError> {
    world.autoscaling.group(name).ok_or_else(|| {
        ApiError::validation(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found"))
    })
}

fn find_instance<'a>(world: &'a World, id: &str) -> Result<&'a Instance, ApiError> {
    world.autoscaling.instance(id).ok_or_else(|| {
        ApiError::validation(format!(
            "Instance Id not found - No managed instance found for instance ID: {id}"
        ))
    })
}

/// One page of a list. A token is the number of the first item.
fn page(
    name: &str,
    items: Vec<Value>,
    size: Option<Text<usize>>,
    token: Option<String>,
) -> Result<Option<Value>, ApiError> {
    let size = size.map_or(PAGE, |Text(size)| size.clamp(1, PAGE));
    let first = match token {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::new("InvalidNextToken", "The NextToken value is not valid."))?,
    };
    let next = first + size;
    let next = (next < items.len()).then(|| next.to_string());
    let items: Vec<_> = items.into_iter().skip(first).take(size).collect();
    Ok(Some(json!({ name: items, "NextToken": next })))
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}
