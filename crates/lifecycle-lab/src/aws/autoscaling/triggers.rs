//! Events that no call starts: failures, Spot, schedules, alarms, and AWS's own replacements. Each has its cause in
//! the scaling activities, in AWS's words if they are public; a comment marks where they are not.

use super::engine::leaving;
use super::{Group, Instance, Journey, Superseded, Timer, Transition};
use crate::aws::ec2::InstanceState;
use crate::aws::world::{ACCOUNT, REGION, World, second};

/// What EC2's health check finds of an instance that does not run.
const STOPPED: &str = "an EC2 health check indicating it has been terminated or stopped";

impl World {
    /// Lets an instance stop under its group: a health check will notice. EC2 can still make an image of it;
    /// after [`World::terminate_in_ec2`] it can't.
    pub fn fail_instance(&mut self, id: &str) {
        self.ec2.set_state(id, InstanceState::Stopped, self.now());
        self.find_unhealthy(id, STOPPED);
    }

    /// Lets EC2's status checks find an instance impaired. It runs on.
    pub fn fail_status_check(&mut self, id: &str) {
        self.find_unhealthy(id, "an EC2 instance status checks failure");
    }

    /// Lets the load balancer find an instance unhealthy.
    pub fn fail_load_balancer_check(&mut self, id: &str) {
        self.find_unhealthy(id, "an ELB system health check failure");
    }

    fn find_unhealthy(&mut self, id: &str, finding: &'static str) {
        let instance = id.to_owned();
        let delay = self.delays.health_check;
        self.set_timer(delay, Timer::Unhealthy { instance, finding });
    }

    /// EC2 takes a Spot instance back: no hook holds it.
    pub fn reclaim_spot(&mut self, id: &str) {
        let Some(instance) = self.autoscaling.instances.get(id) else {
            return;
        };
        let group = instance.group.clone();
        if instance.activity.is_some() || instance.is_warmed() {
            self.take_back(id);
        } else {
            let cause = self.out_of_service(STOPPED);
            self.begin(id, Journey::Reclaim, leaving(id), cause);
        }
        self.instance_mut(id).healthy = false;
        self.ec2.set_state(id, InstanceState::ShuttingDown, self.now());
        self.reconcile_soon(&group);
    }

    /// Turns an instance that is on its way, or in the pool, to its end without hooks.
    fn take_back(&mut self, id: &str) {
        let instance = self.instance_mut(id);
        instance.waits.clear();
        let journey = instance.journey.replace(Journey::Reclaim);
        let state = if instance.is_warmed() { "Warmed:Terminating" } else { "Terminating" };
        if journey.is_some_and(|journey| journey.transition() == Transition::Launching) {
            self.finish_activity(id, "Cancelled", None);
        }
        self.enter(id, state);
        let delay = self.delays.proceed;
        self.set_timer(delay, Timer::Arrived { instance: id.to_owned(), journey: Journey::Reclaim });
    }

    /// EC2 recommends to replace a Spot instance that it may soon take back, and the group's Capacity
    /// Rebalancing does: when the replacement is in service, the instance goes, past its hooks. No public
    /// text of these causes was found; the words are the lab's.
    pub fn recommend_rebalance(&mut self, id: &str) {
        let detail = serde_json::json!({ "instance-id": id });
        let resources = vec![format!("arn:aws:ec2:{}:{}:instance/{id}", REGION, ACCOUNT)];
        self.send_event("aws.ec2", "EC2 Instance Rebalance Recommendation", resources, detail);
        let why = "an EC2 instance rebalance recommendation";
        let launch = format!("an instance was launched in response to {why}");
        self.supersede(id, Superseded::For { why }, launch);
    }

    /// The group balances its Availability Zones at this instance's expense: when one in another zone is in
    /// service, the instance goes, past its hooks.
    pub fn rebalance_zones(&mut self, id: &str) {
        let Some(instance) = self.autoscaling.instances.get(id) else {
            return;
        };
        let group = &self.autoscaling.groups[&instance.group];
        let in_zone = |zone: &String| {
            let here = |other: &Instance| other.is_active() && other.zone == *zone;
            self.members(&group.name, here).len().to_string()
        };
        if group.is_suspended("AZRebalance") {
            return;
        }
        let (zones, counts) = (group.zones.join(" "), group.zones.iter().map(in_zone).collect::<Vec<_>>());
        let launched = format!(
            "At {} instances were launched to balance instances in zones {zones} with other zones resulting in more \
             than desired number of instances in the group.  ",
            second(self.now())
        );
        let launch = format!(
            "availability zones {zones} had {} instances respectively. An instance was launched to aid in balancing \
             the group's zones",
            counts.join(" ")
        );
        self.supersede(id, Superseded::ByZone { launched }, launch);
    }

    /// The instance no longer counts; when the group is complete without it, it goes.
    pub(super) fn supersede(&mut self, id: &str, how: Superseded, launch: String) {
        let in_service = self.autoscaling.instances.get_mut(id).filter(|one| one.state == "InService");
        if let Some(instance) = in_service {
            instance.superseded = Some(how);
            let group = instance.group.clone();
            self.group_mut(&group).replacements.push_back(launch);
            self.reconcile_soon(&group);
        }
    }

    /// An instance has reached the group's maximum instance lifetime, and is replaced. No public text of this
    /// cause was found; the words are the lab's.
    pub fn expire_lifetime(&mut self, id: &str) {
        let why = "the maximum instance lifetime";
        if let Some(instance) = self.autoscaling.instances.get(id).filter(|one| one.state == "InService") {
            let group = instance.group.clone();
            let launch = format!("an instance was launched in response to {why}");
            self.group_mut(&group).replacements.push_back(launch);
            self.take_out(id, why);
        }
    }

    /// A scheduled action of the group sets its desired capacity.
    pub fn run_scheduled_action(&mut self, group: &str, desired: u32) {
        let active = |group: &&Group| !group.is_suspended("ScheduledActions");
        if let Some(Group { min, max, .. }) = self.autoscaling.group(group).filter(active) {
            let why = format!(
                "a scheduled action update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired}"
            );
            self.set_desired(group, desired, &why);
        }
    }

    /// An alarm triggers a scaling policy of the group, which sets its desired capacity.
    pub fn raise_alarm(&mut self, group: &str, alarm: &str, policy: &str, desired: u32) {
        if self.autoscaling.group(group).is_some_and(|group| !group.is_suspended("AlarmNotification")) {
            let why = format!("a monitor alarm {alarm} in state ALARM triggered policy {policy}");
            self.set_desired(group, desired, &why);
        }
    }

    /// The queue or topic of this ARN is deleted: hooks that name it can no longer notify it, and their waits
    /// end at once with the default result.
    pub fn lose_notification_target(&mut self, arn: &str) {
        self.autoscaling.lost_targets.insert(arn.to_owned());
    }

    /// CloudFormation made the group `new` in place of `old`: it has the same tags of AWS's.
    pub(crate) fn inherit_stack_tags(&mut self, old: &str, new: &str) {
        let Some(old) = self.autoscaling.groups.get(old) else { return };
        let tags = old.tags.clone().into_iter().filter(|(key, _)| key.starts_with("aws:"));
        let tags: Vec<_> = tags.collect();
        if let Some(new) = self.autoscaling.groups.get_mut(new) {
            new.tags.extend(tags);
        }
    }

    /// CloudFormation made the group: it gives it its own tags, which no caller can set.
    pub fn tag_as_stack_resource(&mut self, group: &str, stack: &str, logical_id: &str) {
        let name = "aws:cloudformation:stack-name";
        let of_stack = |group: &&Group| group.tags.get(name).is_some_and(|(value, _)| value == stack);
        let sibling = self.autoscaling.groups.values().find(of_stack);
        let stack_id = sibling.map(|sibling| sibling.tags["aws:cloudformation:stack-id"].0.clone());
        let stack_id = stack_id.unwrap_or_else(|| {
            format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/{}", self.uuid())
        });
        let Some(group) = self.autoscaling.groups.get_mut(group) else { return };
        for (key, value) in [("stack-id", &*stack_id), ("stack-name", stack), ("logical-id", logical_id)] {
            group.tags.insert(format!("aws:cloudformation:{key}"), (value.to_owned(), true));
        }
    }
}
