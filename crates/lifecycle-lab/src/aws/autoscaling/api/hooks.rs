//! The actions for lifecycle hooks and their waits, such as `CompleteLifecycleAction` and
//! `RecordLifecycleActionHeartbeat`. `engine` has the clock of the waits.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, find_group};
use crate::aws::autoscaling::{Hook, HookResult, Instance, Transition, Wait, engine};
use crate::aws::error::ApiError;
use crate::aws::request::{Text, list, parameters};
use crate::aws::world::{Effect, World};

/// Most hooks on one group.
const MAX_HOOKS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct HookSpecification {
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

pub(super) fn put(world: &mut World, mut put: Value) -> Answer {
    let group = put.as_object_mut().and_then(|put| put.remove("AutoScalingGroupName"));
    let group = group.ok_or_else(|| ApiError::missing("AutoScalingGroupName"))?;
    let group: String = parameters("PutLifecycleHook", group)?;
    find_group(world, &group)?;
    add_hook(world, &group, parameters("PutLifecycleHook", put)?)?;
    Ok(Some(json!({})))
}

/// Makes a hook, or changes one: what is not passed stays.
pub(super) fn add_hook(world: &mut World, group: &str, new: HookSpecification) -> Result<(), ApiError> {
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
    if let Some(target) =
        hook.target.as_ref().filter(|target| world.autoscaling.lost_targets.contains(*target))
    {
        return Err(ApiError::validation(format!(
            "Unable to publish test message to notification target {target} using IAM role {}. Please check your target \
             and role configuration and try to put lifecycle hook again.",
            hook.role.as_deref().unwrap_or("null")
        )));
    }
    let request = world.uuid();
    let now = world.now();
    let owner = world.group_mut(group);
    if owner.hooks.len() >= MAX_HOOKS && !owner.hooks.contains_key(&name) {
        return Err(ApiError::new(
            "LimitExceeded",
            format!("A group has at most {MAX_HOOKS} lifecycle hooks."),
        ));
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
pub(super) struct HookName {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
}

pub(super) fn delete(world: &mut World, delete: HookName) -> Answer {
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
pub(super) struct DescribeHooks {
    auto_scaling_group_name: String,
    #[serde(default, deserialize_with = "list")]
    lifecycle_hook_names: Vec<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeHooks) -> Answer {
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
pub(super) struct ActionName {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    lifecycle_action_token: Option<String>,
    instance_id: Option<String>,
    lifecycle_action_result: Option<String>,
}

pub(super) fn complete(world: &mut World, complete: ActionName) -> Answer {
    let result = complete.lifecycle_action_result.as_deref();
    let result = result.ok_or_else(|| ApiError::missing("LifecycleActionResult"))?;
    let result = hook_result(result)?;
    let id = find_wait(world, &complete)?;
    let how = format!("Lifecycle Action Completed with {} Result", result.as_str());
    world.end_wait(&id, &complete.lifecycle_hook_name, result, &how);
    Ok(Some(json!({})))
}

pub(super) fn heartbeat(world: &mut World, heartbeat: ActionName) -> Answer {
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
