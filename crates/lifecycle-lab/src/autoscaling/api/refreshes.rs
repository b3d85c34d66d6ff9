//! Instance refreshes, of the strategy `Rolling`: started, described, cancelled. The lab remembers the
//! newest one of each group.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, DescribeOfGroup, find_group, page};
use crate::autoscaling::Refresh;
use crate::query::{ApiError, Text};
use crate::world::{World, timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct StartRefresh {
    auto_scaling_group_name: String,
    strategy: Option<String>,
    preferences: Option<RefreshPreferences>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RefreshPreferences {
    min_healthy_percentage: Option<Text<u32>>,
}

pub(super) fn start(world: &mut World, start: StartRefresh) -> Answer {
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
pub(super) fn describe(world: &mut World, describe: DescribeOfGroup) -> Answer {
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
    page("InstanceRefreshes", refreshes.collect(), 100, describe.max_records, describe.next_token)
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
