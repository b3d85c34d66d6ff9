//! `DescribeScalingActivities`: newest first. AWS keeps the activities of deleted groups for six weeks; the lab keeps
//! them for good.

use chrono::TimeDelta;
use serde::Deserialize;

use super::{Answer, page};
use crate::aws::autoscaling::Activity;
use crate::aws::request::Text;
use crate::aws::world::World;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeActivities {
    auto_scaling_group_name: Option<String>,
    #[serde(default)]
    activity_ids: Vec<String>,
    include_deleted_groups: Option<Text<bool>>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeActivities) -> Answer {
    let deleted_too = describe.include_deleted_groups.is_some_and(|Text(deleted)| deleted);
    let lag = TimeDelta::from_std(world.delays.activity_visible).unwrap_or_default();
    let shown = world.now() - lag;
    let fits = |activity: &&Activity| {
        activity.start <= shown
            && describe.auto_scaling_group_name.as_ref().is_none_or(|name| *name == activity.group)
            && (describe.activity_ids.is_empty() || describe.activity_ids.contains(&activity.id))
            && (deleted_too || world.autoscaling.groups.contains_key(&activity.group))
    };
    let newest_first = world.autoscaling.activities.iter().rev().filter(fits);
    page("Activities", newest_first, Activity::to_json, 100, describe.max_records, describe.next_token)
}
