//! The actions for instance refreshes: start, describe, cancel. Only the strategy `Rolling`, to the group's own
//! launch source.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, find_group, page};
use crate::aws::autoscaling::{Instance, Refresh};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{World, timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct StartRefresh {
    auto_scaling_group_name: String,
    strategy: Option<String>,
    preferences: Option<RefreshPreferences>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RefreshPreferences {
    min_healthy_percentage: Option<Text<u32>>,
    skip_matching: Option<Text<bool>>,
}

pub(super) fn start(world: &mut World, start: StartRefresh) -> Answer {
    let name = start.auto_scaling_group_name;
    let group = find_group(world, &name)?;
    if let Some(strategy) = start.strategy.filter(|strategy| strategy != "Rolling") {
        return Err(ApiError::not_modelled(format!("the instance refresh strategy {strategy}")));
    }
    if group.refreshes.last().is_some_and(|refresh| refresh.status == "InProgress") {
        return Err(ApiError::new(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
        ));
    }
    let preferences = start.preferences.unwrap_or_default();
    let skips = preferences.skip_matching.is_some_and(|Text(skip)| skip);
    let to_replace = world.members(&name, |instance| {
        let Instance { launched_from, instance_type, .. } = instance;
        let matches = || world.matches(&group.launch_source, launched_from, instance_type.as_deref());
        instance.state == "InService" && !(skips && matches())
    });
    let refresh = Refresh {
        id: world.uuid(),
        status: "InProgress",
        started: world.now(),
        ended: None,
        reason: None,
        skip_matching: skips,
        total: to_replace.len(),
        to_replace,
        min_healthy_percentage: preferences.min_healthy_percentage.map_or(90, |Text(percentage)| percentage),
    };
    let answer = json!({ "InstanceRefreshId": refresh.id });
    world.group_mut(&name).refreshes.push(refresh);
    world.reconcile_soon(&name);
    Ok(Some(answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeRefreshes {
    auto_scaling_group_name: String,
    #[serde(default)]
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
    let now = world.now();
    let Some(refresh) = world.group_mut(&name).running_refresh() else {
        return Err(ApiError::new(
            "ActiveInstanceRefreshNotFound",
            "No in progress or pending Instance Refresh found.",
        ));
    };
    (refresh.status, refresh.ended) = ("Cancelled", Some(now));
    Ok(Some(json!({ "InstanceRefreshId": refresh.id })))
}
