//! Instance refreshes, step by step: which instances are replaced next, or get another root volume, and how a refresh
//! ends.

use serde_json::json;

use super::{Journey, Strategy, Superseded};
use crate::aws::world::{World, second};

/// What causes say of an instance refresh.
const REFRESH: &str = "an instance refresh";

impl World {
    /// Replaces the next instances of a refresh when all others are in service.
    pub(super) fn step_refresh(&mut self, name: &str) {
        let now = self.now();
        let in_service = self.members(name, |one| one.state == "InService" && one.superseded.is_none());
        let group = self.group_mut(name);
        let (desired, suspended) = (group.desired as usize, group.is_suspended("InstanceRefresh"));
        let Some(refresh) = group.running_refresh().filter(|_| !suspended) else {
            return;
        };
        refresh.to_replace.retain(|id| in_service.contains(id));
        if in_service.len() < desired {
            return;
        }
        if refresh.to_replace.is_empty() {
            self.end_refresh(name, "Successful", None);
            return;
        }
        let (percentage, strategy) = (refresh.min_healthy_percentage, refresh.strategy);
        let healthy = (desired * percentage as usize).div_ceil(100);
        let batch = desired.saturating_sub(healthy).max(1).min(refresh.to_replace.len());
        for id in refresh.to_replace.drain(..batch).collect::<Vec<_>>() {
            if strategy == Strategy::ReplaceRootVolume {
                self.replace_root_volume(&id);
                continue;
            }
            let launch = format!("an instance was launched in response to {REFRESH}");
            if percentage >= 100 {
                self.supersede(&id, Superseded::For { why: REFRESH }, launch);
                continue;
            }
            self.group_mut(name).replacements.push_back(launch);
            let why = format!("{REFRESH}.  At {} instance {id} was selected for termination", second(now));
            self.take_out(&id, &why);
        }
    }

    /// Replaces the root volume of an instance in service: it goes past the terminating hooks, and back into service
    /// past the launching ones. No text of such an activity is public; the words are the lab's.
    pub fn replace_root_volume(&mut self, id: &str) {
        if self.autoscaling.instances.get(id).is_some_and(|instance| instance.state == "InService") {
            let cause = self.out_of_service(REFRESH);
            let what = format!("Replacing root volume of EC2 instance: {id}");
            self.begin(id, Journey::ReplaceRootVolume, what, cause);
        }
    }

    /// Ends the running refresh, if there is one.
    pub(super) fn end_refresh(&mut self, name: &str, status: &'static str, reason: Option<String>) {
        let now = self.now();
        let group = self.group_mut(name);
        let Some(refresh) = group.running_refresh() else {
            return;
        };
        (refresh.status, refresh.ended, refresh.reason) = (status, Some(now), reason);
        let (id, desired) = (refresh.id.clone(), refresh.desired.clone());
        if let Some(source) = desired.filter(|_| status == "Successful") {
            group.launch_source = source;
        }
        let how = if status == "Successful" { "Succeeded" } else { status };
        self.tell_refresh(name, &id, how);
    }

    /// Sends the event that a refresh began or ended.
    pub(super) fn tell_refresh(&mut self, name: &str, id: &str, how: &str) {
        let resources = vec![self.autoscaling.groups[name].arn.clone()];
        let detail = json!({ "InstanceRefreshId": id, "AutoScalingGroupName": name });
        self.send_event(
            "aws.autoscaling",
            &format!("EC2 Auto Scaling Instance Refresh {how}"),
            resources,
            detail,
        );
    }
}
