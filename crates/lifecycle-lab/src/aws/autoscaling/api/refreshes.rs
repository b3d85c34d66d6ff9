//! The actions for instance refreshes: start, describe, cancel. `refresh` plays them. AWS replaces root volumes only in
//! groups with a mixed instances policy whose overrides name images and whose version is a number; the lab does not ask
//! for that.

use serde::Deserialize;
use serde_json::json;

use super::groups::launch_source;
use super::{Answer, find_group, page};
use crate::aws::autoscaling::sources::{MixedRequest, TemplateRequest};
use crate::aws::autoscaling::{Instance, Refresh, Strategy};
use crate::aws::error::ApiError;
use crate::aws::request::{Text, list};
use crate::aws::world::{World, timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct StartRefresh {
    auto_scaling_group_name: String,
    strategy: Option<String>,
    desired_configuration: Option<DesiredConfiguration>,
    preferences: Option<RefreshPreferences>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DesiredConfiguration {
    launch_template: Option<TemplateRequest>,
    mixed_instances_policy: Option<MixedRequest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RefreshPreferences {
    min_healthy_percentage: Option<Text<u32>>,
    skip_matching: Option<Text<bool>>,
    // Nothing that the lab plays depends on these.
    #[serde(rename = "MaxHealthyPercentage")]
    _max_healthy_percentage: Option<Text<u32>>,
    #[serde(rename = "InstanceWarmup")]
    _instance_warmup: Option<Text<u32>>,
}

pub(super) fn start(world: &mut World, start: StartRefresh) -> Answer {
    let name = start.auto_scaling_group_name;
    let group = find_group(world, &name)?;
    let strategy = match start.strategy.as_deref() {
        None | Some("Rolling") => Strategy::Rolling,
        Some("ReplaceRootVolume") if group.warm_pool.is_some() => {
            let text = "An instance refresh can't replace root volumes in an Auto Scaling group that has a warm pool.";
            return Err(ApiError::validation(text));
        }
        Some("ReplaceRootVolume") => Strategy::ReplaceRootVolume,
        Some(other) => return Err(ApiError::not_modelled(format!("the instance refresh strategy {other}"))),
    };
    if group.refreshes.last().is_some_and(|refresh| refresh.status == "InProgress") {
        return Err(ApiError::new(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        ));
    }
    let several =
        || ApiError::validation("A desired configuration has a launch template or a policy, not both.");
    let configuration = start.desired_configuration.unwrap_or_default();
    let (template, policy) = (configuration.launch_template, configuration.mixed_instances_policy);
    let desired = launch_source(world, template, None, policy, several)?;
    if let Some(source) = &desired {
        world.check_source(source, &group.zones, &group.subnets)?;
    }
    let source = desired.as_ref().unwrap_or(&group.launch_source);
    let preferences = start.preferences.unwrap_or_default();
    let skips = preferences.skip_matching.is_some_and(|Text(skip)| skip);
    let to_replace = world.members(&name, |instance| {
        let Instance { launched_from, instance_type, .. } = instance;
        let matches = || world.matches(source, launched_from, instance_type.as_deref());
        instance.state == "InService" && !(skips && matches())
    });
    let refresh = Refresh {
        id: world.uuid(),
        strategy,
        status: "InProgress",
        started: world.now(),
        ended: None,
        reason: None,
        desired,
        skip_matching: skips,
        total: to_replace.len(),
        to_replace,
        min_healthy_percentage: preferences.min_healthy_percentage.map_or(90, |Text(percentage)| percentage),
    };
    let (id, nothing_to_do) = (refresh.id.clone(), refresh.total == 0);
    world.group_mut(&name).refreshes.push(refresh);
    world.tell_refresh(&name, &id, "Started");
    if nothing_to_do {
        world.end_refresh(&name, "Successful", None);
    }
    world.reconcile_soon(&name);
    Ok(Some(json!({ "InstanceRefreshId": id })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeRefreshes {
    auto_scaling_group_name: String,
    #[serde(default, deserialize_with = "list")]
    instance_refresh_ids: Vec<String>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

/// The newest first. AWS remembers six weeks of them, the lab all.
pub(super) fn describe(world: &mut World, describe: DescribeRefreshes) -> Answer {
    let group = find_group(world, &describe.auto_scaling_group_name)?;
    let ids = &describe.instance_refresh_ids;
    let wanted = group.refreshes.iter().rev().filter(|refresh| ids.is_empty() || ids.contains(&refresh.id));
    let to_json = |refresh: &Refresh| {
        let left = refresh.to_replace.len();
        json!({
            "InstanceRefreshId": refresh.id,
            "AutoScalingGroupName": group.name,
            "Strategy": refresh.strategy.as_str(),
            "Status": refresh.status,
            "StatusReason": refresh.reason,
            "StartTime": timestamp(refresh.started),
            "EndTime": refresh.ended.map(timestamp),
            "InstancesToUpdate": left,
            "PercentageComplete": ((refresh.total - left) * 100).checked_div(refresh.total).unwrap_or(100),
            "Preferences": {
                "MinHealthyPercentage": refresh.min_healthy_percentage,
                "SkipMatching": refresh.skip_matching,
            },
        })
    };
    page("InstanceRefreshes", wanted, to_json, 100, describe.max_records, describe.next_token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CancelRefresh {
    auto_scaling_group_name: String,
}

pub(super) fn cancel(world: &mut World, cancel: CancelRefresh) -> Answer {
    let name = cancel.auto_scaling_group_name;
    find_group(world, &name)?;
    let Some(refresh) = world.group_mut(&name).running_refresh() else {
        return Err(ApiError::new(
            "ActiveInstanceRefreshNotFound",
            "No in progress or pending Instance Refresh found.",
        ));
    };
    let id = refresh.id.clone();
    world.end_refresh(&name, "Cancelled", None);
    Ok(Some(json!({ "InstanceRefreshId": id })))
}
