//! `DescribeScalingActivities`: newest first. AWS keeps the activities of deleted groups for six weeks; the lab keeps
//! them for good.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::Deserialize;

use super::{Answer, page};
use crate::aws::autoscaling::Activity;
use crate::aws::error::ApiError;
use crate::aws::request::{Text, list};
use crate::aws::world::World;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeActivities {
    auto_scaling_group_name: Option<String>,
    #[serde(default, deserialize_with = "list")]
    activity_ids: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    filters: Vec<Filter>,
    include_deleted_groups: Option<Text<bool>>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    name: String,
    #[serde(default, deserialize_with = "list")]
    values: Vec<String>,
}

/// A filter that an activity passes or not. Bounds are inclusive, to the millisecond.
enum Wanted {
    From(DateTime<Utc>),
    To(DateTime<Utc>),
    Status(Vec<String>),
}

impl Wanted {
    fn of(filter: Filter) -> Result<Self, ApiError> {
        let invalid =
            |why: &str| ApiError::validation(format!("The filter configuration isn't valid. {why}"));
        let time = || {
            let [text] = filter.values.as_slice() else {
                return Err(invalid("A time bound takes one value."));
            };
            let time = DateTime::parse_from_rfc3339(text);
            Ok(time.map_err(|_| invalid("The specified timestamp isn't valid."))?.to_utc())
        };
        match filter.name.as_str() {
            "StartTimeLowerBound" => Ok(Self::From(time()?)),
            "StartTimeUpperBound" => Ok(Self::To(time()?)),
            "Status" => Ok(Self::Status(filter.values)),
            other => Err(invalid(&format!("There is no filter {other}."))),
        }
    }

    fn fits(&self, activity: &Activity) -> bool {
        let start = activity.start.trunc_subsecs(3);
        match self {
            Self::From(bound) => start >= *bound,
            Self::To(bound) => start <= *bound,
            Self::Status(statuses) => statuses.iter().any(|status| status == activity.status),
        }
    }
}

pub(super) fn describe(world: &mut World, describe: DescribeActivities) -> Answer {
    let deleted_too = describe.include_deleted_groups.is_some_and(|Text(deleted)| deleted);
    let lag = TimeDelta::from_std(world.delays.activity_visible).unwrap_or_default();
    let shown = world.now() - lag;
    let wanted = describe.filters.into_iter().map(Wanted::of).collect::<Result<Vec<_>, _>>()?;
    let lives = |activity: &Activity| {
        world.autoscaling.group(&activity.group).is_some_and(|group| group.arn == activity.arn)
    };
    let fits = |activity: &&Activity| {
        activity.start <= shown
            && describe.auto_scaling_group_name.as_ref().is_none_or(|name| *name == activity.group)
            && (describe.activity_ids.is_empty() || describe.activity_ids.contains(&activity.id))
            && wanted.iter().all(|wanted| wanted.fits(activity))
            && (deleted_too || lives(activity))
    };
    let newest_first = world.autoscaling.activities.iter().rev().filter(fits);
    let to_json = |activity: &Activity| world.activity_json(activity);
    page("Activities", newest_first, to_json, 100, describe.max_records, describe.next_token)
}
