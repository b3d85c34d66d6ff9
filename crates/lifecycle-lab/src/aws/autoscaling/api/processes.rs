//! The processes of a group: suspend and resume.

use serde::Deserialize;

use super::{Answer, find_group};
use crate::aws::autoscaling::Instance;
use crate::aws::error::ApiError;
use crate::aws::request::list;
use crate::aws::world::World;

/// All that can be suspended, as `DescribeScalingProcessTypes` names them.
const PROCESSES: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Processes {
    auto_scaling_group_name: String,
    #[serde(default, deserialize_with = "list")]
    scaling_processes: Vec<String>,
}

impl Processes {
    /// The group and the processes that are meant: all, where none is named.
    fn read(self, world: &World) -> Result<(String, Vec<String>), ApiError> {
        find_group(world, &self.auto_scaling_group_name)?;
        let named = self.scaling_processes;
        if let Some(unknown) = named.iter().find(|process| !PROCESSES.contains(&process.as_str())) {
            return Err(ApiError::validation(format!("{unknown} is not a valid scaling process")));
        }
        let all = || PROCESSES.map(str::to_owned).to_vec();
        Ok((self.auto_scaling_group_name, if named.is_empty() { all() } else { named }))
    }
}

pub(super) fn suspend(world: &mut World, suspend: Processes) -> Answer {
    let (name, processes) = suspend.read(world)?;
    let now = world.now();
    let suspended = &mut world.group_mut(&name).suspended;
    for process in processes {
        suspended.entry(process).or_insert(now);
    }
    Ok(None)
}

pub(super) fn resume(world: &mut World, resume: Processes) -> Answer {
    let (name, processes) = resume.read(world)?;
    let group = world.group_mut(&name);
    group.suspended.retain(|process, _| !processes.contains(process));
    let held = ["Terminate", "ReplaceUnhealthy"].iter().any(|process| group.is_suspended(process));
    if !held {
        for id in world.members(&name, |one: &Instance| one.state == "InService" && !one.healthy) {
            if let Some(finding) = world.instance_ref(&id).finding {
                world.replace(&id, finding);
            }
        }
    }
    world.reconcile_soon(&name);
    Ok(None)
}
