//! Decides how many instances a group needs: the desired capacity, replacements of unhealthy instances, the size of
//! the warm pool, instance refreshes. It starts launches and terminations; `engine` moves the instances.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Instance, Journey, Superseded, Timer};
use crate::aws::world::{World, second};

impl World {
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
        self.let_superseded_go(name);
        self.size_warm_pool(name, launches_held);
        self.step_refresh(name);
    }

    /// Terminates what others were launched in place of, as soon as the group is complete without it.
    fn let_superseded_go(&mut self, name: &str) {
        let now = self.now();
        let in_service = self.members(name, |one| one.state == "InService" && one.superseded.is_none()).len();
        let desired = self.group_mut(name).desired as usize;
        if in_service < desired {
            return;
        }
        for id in self.members(name, |one| one.state == "InService" && one.superseded.is_some()) {
            match self.instance_mut(&id).superseded.take() {
                Some(Superseded::ByZone { launched }) => {
                    let cause = shrunk(&launched, second(now), desired + 1, desired, &id);
                    self.begin(&id, Journey::Terminate, format!("Terminating EC2 instance: {id}"), cause);
                }
                Some(Superseded::For { why }) => self.take_out(&id, why),
                None => {}
            }
        }
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
            let cause = match &replacement {
                Some(launch) => format!("At {} {launch}.", second(now)),
                None => growth.clone(),
            };
            if let Some(warmed) = (!ready.is_empty()).then(|| ready.remove(0)) {
                let what = format!("Launching a new EC2 instance from warm pool: {warmed}");
                self.begin(&warmed, Journey::OutOfPool, what, cause);
            } else if !self.launch(name, Journey::Launch, "Launching a new EC2 instance", cause) {
                // The next try is for the same reason.
                if let Some(replacement) = replacement {
                    self.group_mut(name).replacements.push_front(replacement);
                }
                return;
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
        let can_go = |one: &Instance| one.state == "InService" && !one.protected && one.superseded.is_none();
        for id in self.members(name, can_go) {
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
            let cause = shrunk(&change, second(now), active, desired, &id);
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
            if !self.launch(name, Journey::IntoPool, "Launching a new EC2 instance into warm pool", cause) {
                break;
            }
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
        let Some(refresh) = group.running_refresh() else {
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
            let launch = format!("an instance was launched in response to {why}");
            self.group_mut(name).replacements.push_back(launch);
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
        let launch = "an instance was launched in response to an unhealthy instance needing to be replaced";
        self.group_mut(&group).replacements.push_back(launch.to_owned());
        self.take_out(id, why);
    }

    /// Terminates an instance, for `why`, in AWS's words.
    pub(super) fn take_out(&mut self, id: &str, why: &str) {
        let cause = self.out_of_service(why);
        let group = self.instance_ref(id).group.clone();
        self.reconcile_soon(&group);
        self.begin(id, Journey::Terminate, format!("Terminating EC2 instance: {id}"), cause);
    }

    /// The cause of a termination, for `why`, in AWS's words.
    pub(super) fn out_of_service(&self, why: &str) -> String {
        format!("At {} an instance was taken out of service in response to {why}.", second(self.now()))
    }
}

/// The cause of a termination by which a group gets smaller, in AWS's words.
fn shrunk(change: &str, at: String, from: usize, to: usize, id: &str) -> String {
    format!(
        "{change}At {at} an instance was taken out of service in response to a difference between desired and actual \
         capacity, shrinking the capacity from {from} to {to}.  At {at} instance {id} was selected for termination."
    )
}
