//! What a group wants: reconciliation with the desired capacity, replacements of unhealthy instances,
//! the size of the warm pool, instance refreshes. It sends instances on their journeys; `engine` moves
//! them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Group, Instance, Journey, Timer};
use crate::world::{World, second};

impl World {
    /// Lets an instance die under its group: a health check will notice.
    pub fn fail_instance(&mut self, id: &str) {
        self.find_unhealthy(id, "an EC2 health check indicating it has been terminated or stopped");
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

    /// A scheduled action of the group sets its desired capacity.
    pub fn run_scheduled_action(&mut self, group: &str, desired: u32) {
        if let Some(Group { min, max, .. }) = self.autoscaling.group(group) {
            let why = format!(
                "a scheduled action update of AutoScalingGroup constraints to min: {min}, max: {max}, desired: {desired}"
            );
            self.set_desired(group, desired, &why);
        }
    }

    /// An alarm triggers a scaling policy of the group, which sets its desired capacity.
    pub fn raise_alarm(&mut self, group: &str, alarm: &str, policy: &str, desired: u32) {
        if self.autoscaling.group(group).is_some() {
            let why = format!("a monitor alarm {alarm} in state ALARM triggered policy {policy}");
            self.set_desired(group, desired, &why);
        }
    }

    /// Changes the desired capacity and says why, the way AWS words the first half of a cause.
    pub(super) fn set_desired(&mut self, name: &str, desired: u32, why: &str) {
        let now = self.now();
        let group = self.group_mut(name);
        if desired != group.desired {
            group.change = Some(format!(
                "At {} {why} changing the desired capacity from {} to {desired}.  ",
                second(now),
                group.desired
            ));
            group.desired = desired;
        }
        self.group_moved(name);
        self.reconcile_soon(name);
    }

    pub(super) fn reconcile_soon(&mut self, name: &str) {
        let delay = self.delays.react;
        let group = self.group_mut(name);
        if !group.reconcile_due {
            group.reconcile_due = true;
            self.set_timer(delay, Timer::Reconcile { group: name.to_owned() });
        }
    }

    pub(super) fn reconcile(&mut self, name: &str) {
        let now = self.now();
        let Some(group) = self.autoscaling.groups.get_mut(name) else {
            return;
        };
        group.reconcile_due = false;
        if group.deleting {
            return;
        }
        let desired = group.desired as usize;
        let launches_held = group.no_launch_before.is_some_and(|earliest| earliest > now);
        let active = self.members(name, Instance::is_active).len();
        match active.cmp(&desired) {
            Ordering::Less if launches_held => {}
            Ordering::Less => self.scale_out(name, active, desired),
            Ordering::Greater => self.scale_in(name, active, desired),
            Ordering::Equal => {
                let group = self.group_mut(name);
                group.change = None;
                group.replacements.clear();
            }
        }
        self.size_warm_pool(name, launches_held);
        self.step_refresh(name);
    }

    fn scale_out(&mut self, name: &str, active: usize, desired: usize) {
        let now = self.now();
        let growth = format!(
            "{}At {} an instance was started in response to a difference between desired and actual capacity, \
             increasing the capacity from {active} to {desired}.",
            self.group_mut(name).change.take().unwrap_or_default(),
            second(now)
        );
        let mut ready = self.members(name, Instance::is_ready_in_pool);
        for _ in active..desired {
            let replacement = self.group_mut(name).replacements.pop_front();
            let cause = match replacement {
                Some(why) => format!("At {} an instance was launched in response to {why}.", second(now)),
                None => growth.clone(),
            };
            if let Some(warmed) = (!ready.is_empty()).then(|| ready.remove(0)) {
                let what = format!("Launching a new EC2 instance from warm pool: {warmed}");
                self.begin(&warmed, Journey::OutOfPool, what, cause);
            } else {
                self.launch(name, Journey::Launch, "Launching a new EC2 instance", cause);
            }
        }
    }

    /// Terminates what is too much: from the zone with the most instances, oldest first, and only what
    /// is in service and not protected. AWS's default policy looks at the age of the launch template
    /// before that of the instance, which comes to the same here.
    fn scale_in(&mut self, name: &str, active: usize, desired: usize) {
        let now = self.now();
        let group = self.group_mut(name);
        let change = group.change.clone().unwrap_or_default();
        let reuse = group.warm_pool.as_ref().is_some_and(|pool| pool.reuse_on_scale_in && !pool.deleting);
        let journey = if reuse { Journey::BackToPool } else { Journey::Terminate };
        let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in self.members(name, |instance| instance.state == "InService" && !instance.protected) {
            zones.entry(self.instance_ref(&id).zone.clone()).or_default().push(id);
        }
        // What can't go yet goes later, for the same reason.
        if zones.values().map(Vec::len).sum::<usize>() >= active - desired {
            self.group_mut(name).change = None;
        }
        for _ in desired..active {
            let Some(fullest) =
                zones.values_mut().rev().max_by_key(|zone| zone.len()).filter(|zone| !zone.is_empty())
            else {
                break;
            };
            let id = fullest.remove(0);
            let at = second(now);
            let cause = format!(
                "{change}At {at} an instance was taken out of service in response to a difference between desired \
                 and actual capacity, shrinking the capacity from {active} to {desired}.  At {at} instance {id} was \
                 selected for termination."
            );
            self.begin(&id, journey, format!("Terminating EC2 instance: {id}"), cause);
        }
    }

    fn size_warm_pool(&mut self, name: &str, launches_held: bool) {
        let group = self.group_mut(name);
        let Some(pool) = group.warm_pool.clone() else {
            return;
        };
        let room = pool.max_prepared.unwrap_or(group.max).saturating_sub(group.desired);
        let target = if pool.deleting { 0 } else { room.max(pool.min_size) as usize };
        let pooled = self.members(name, Instance::is_pooled);
        let at = second(self.now());
        for _ in (pooled.len()..target).take_while(|_| !launches_held) {
            let cause = format!("At {at} an instance was launched to fill the warm pool.");
            self.launch(name, Journey::IntoPool, "Launching a new EC2 instance into warm pool", cause);
        }
        let ready = self.members(name, Instance::is_ready_in_pool);
        for id in ready.into_iter().take(pooled.len().saturating_sub(target)) {
            let cause = format!("At {at} an instance was taken out of the warm pool.");
            let what = format!("Terminating EC2 instance from warm pool: {id}");
            self.begin(&id, Journey::TerminateInPool, what, cause);
        }
        if pool.deleting && self.members(name, Instance::is_warmed).is_empty() {
            self.group_mut(name).warm_pool = None;
        }
    }

    /// Replaces the next instances of a refresh when all others are in service.
    fn step_refresh(&mut self, name: &str) {
        let now = self.now();
        let in_service = self.members(name, |instance| instance.state == "InService");
        let group = self.group_mut(name);
        let desired = group.desired as usize;
        let Some(refresh) = group.refresh.as_mut().filter(|refresh| refresh.status == "InProgress") else {
            return;
        };
        refresh.to_replace.retain(|id| in_service.contains(id));
        if in_service.len() < desired {
            return;
        }
        if refresh.to_replace.is_empty() {
            refresh.status = "Successful";
            refresh.ended = Some(now);
            return;
        }
        let healthy = (desired * refresh.min_healthy_percentage as usize).div_ceil(100);
        let batch = desired.saturating_sub(healthy).max(1).min(refresh.to_replace.len());
        for id in refresh.to_replace.drain(..batch).collect::<Vec<_>>() {
            let why = "an instance refresh";
            self.group_mut(name).replacements.push_back(why.to_owned());
            self.take_out(
                &id,
                &format!("{why}.  At {} instance {id} was selected for termination", second(now)),
            );
        }
    }

    pub(super) fn unhealthy(&mut self, id: &str, finding: &str) {
        if self.autoscaling.instances.get(id).is_some_and(|instance| instance.state == "InService") {
            self.replace(id, finding);
        }
    }

    /// Takes an unhealthy instance out of service. The replacement is launched at once.
    pub(super) fn replace(&mut self, id: &str, why: &str) {
        let instance = self.instance_mut(id);
        instance.healthy = false;
        let group = instance.group.clone();
        self.group_mut(&group)
            .replacements
            .push_back("an unhealthy instance needing to be replaced".to_owned());
        self.take_out(id, why);
    }

    /// Terminates an instance, for `why`, in AWS's words.
    pub(super) fn take_out(&mut self, id: &str, why: &str) {
        let cause =
            format!("At {} an instance was taken out of service in response to {why}.", second(self.now()));
        let group = self.instance_ref(id).group.clone();
        self.reconcile_soon(&group);
        self.begin(id, Journey::Terminate, format!("Terminating EC2 instance: {id}"), cause);
    }

    fn launch(&mut self, group: &str, journey: Journey, what: &str, cause: String) {
        let id = self.instance_id();
        self.autoscaling.launched += 1;
        let order = self.autoscaling.launched;
        let owner = self.group_mut(group);
        let zone = owner.zones[order as usize % owner.zones.len()].clone();
        let instance = Instance {
            id: id.clone(),
            group: group.to_owned(),
            state: "",
            zone,
            healthy: true,
            waits: BTreeMap::new(),
            order,
            launch_source: owner.launch_source.clone(),
            protected: owner.protect_new && journey == Journey::Launch,
            journey: None,
            activity: None,
        };
        self.autoscaling.instances.insert(id.clone(), instance);
        self.begin(&id, journey, format!("{what}: {id}"), cause);
    }
}
