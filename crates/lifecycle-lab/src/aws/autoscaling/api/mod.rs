//! Auto Scaling's actions, one module per subject: parameters, refusals, answers. Error codes and texts are AWS's
//! where a public log shows them. Actions that the lab does not model are refused by name. This module dispatches the
//! actions and has look-ups and pages.

mod activities;
mod group_list;
mod groups;
mod hooks;
mod instances;
mod pools;
mod processes;
mod refreshes;
mod tags;

pub(crate) use groups::like;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Group, Instance};
use crate::aws::error::ApiError;
use crate::aws::request::{Answer, Request, Text, parameters};
use crate::aws::world::World;

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    fn run<T: DeserializeOwned>(
        world: &mut World,
        request: &Request,
        play: impl FnOnce(&mut World, T) -> Answer,
    ) -> Answer {
        play(world, parameters(&request.action, request.parameters.clone())?)
    }
    let now = world.now();
    if world.autoscaling.bucket.as_mut().is_some_and(|bucket| !bucket.draw(now)) {
        return Err(ApiError::throttling());
    }
    match request.action.as_str() {
        "CreateAutoScalingGroup" => run(world, request, groups::create),
        "UpdateAutoScalingGroup" => run(world, request, groups::update),
        "DeleteAutoScalingGroup" => run(world, request, groups::delete),
        "DescribeAutoScalingGroups" => run(world, request, group_list::describe),
        "DescribeAutoScalingInstances" => run(world, request, instances::describe),
        "CreateOrUpdateTags" => run(world, request, tags::create),
        "DeleteTags" => run(world, request, tags::delete),
        "SuspendProcesses" => run(world, request, processes::suspend),
        "ResumeProcesses" => run(world, request, processes::resume),
        "SetInstanceProtection" => run(world, request, instances::set_protection),
        "SetDesiredCapacity" => run(world, request, groups::set_desired_capacity),
        "SetInstanceHealth" => run(world, request, instances::set_health),
        "TerminateInstanceInAutoScalingGroup" => run(world, request, instances::terminate),
        "DetachInstances" => run(world, request, instances::detach),
        "EnterStandby" => run(world, request, instances::enter_standby),
        "ExitStandby" => run(world, request, instances::exit_standby),
        "PutLifecycleHook" => run(world, request, hooks::put),
        "DeleteLifecycleHook" => run(world, request, hooks::delete),
        "DescribeLifecycleHooks" => run(world, request, hooks::describe),
        "CompleteLifecycleAction" => run(world, request, hooks::complete),
        "RecordLifecycleActionHeartbeat" => run(world, request, hooks::heartbeat),
        "DescribeScalingActivities" => run(world, request, activities::describe),
        "PutWarmPool" => run(world, request, pools::put),
        "DescribeWarmPool" => run(world, request, pools::describe),
        "DeleteWarmPool" => run(world, request, pools::delete),
        "StartInstanceRefresh" => run(world, request, refreshes::start),
        "DescribeInstanceRefreshes" => run(world, request, refreshes::describe),
        "CancelInstanceRefresh" => run(world, request, refreshes::cancel),
        action => Err(ApiError::not_modelled(format!("autoscaling:{action}"))),
    }
}

/// What describes the warm pool of one group.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeOfGroup {
    auto_scaling_group_name: String,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

fn find_group<'a>(world: &'a World, name: &str) -> Result<&'a Group, ApiError> {
    world.autoscaling.group(name).ok_or_else(|| {
        ApiError::validation(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"))
    })
}

fn find_instance<'a>(world: &'a World, id: &str) -> Result<&'a Instance, ApiError> {
    world.autoscaling.instance(id).ok_or_else(|| {
        ApiError::validation(format!(
            "Instance Id not found - No managed instance found for instance ID: {id}"
        ))
    })
}

/// One page of a list, of `most` items where the request does not ask for fewer. Only what is on it is put into
/// words. A token is the number of the first item.
fn page<T>(
    name: &str,
    items: impl IntoIterator<Item = T>,
    to_json: impl Fn(T) -> Value,
    most: usize,
    size: Option<Text<usize>>,
    token: Option<String>,
) -> Answer {
    let size = size.map_or(most, |Text(size)| size.clamp(1, most));
    let first = match token {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::new("InvalidNextToken", "The NextToken value is not valid."))?,
    };
    let mut items = items.into_iter().skip(first);
    let page: Vec<_> = items.by_ref().take(size).map(to_json).collect();
    let next = items.next().map(|_| (first + size).to_string());
    Ok(Some(json!({ name: page, "NextToken": next })))
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}
