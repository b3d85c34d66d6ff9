//! Decides how many instances a group needs: the desired capacity, replacements of unhealthy instances, the end of a
//! deleted group. It starts launches and terminations; `engine` moves the instances.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use super::engine::{leaving, leaving_pool};
use super::{Instance, Journey, Superseded, Timer};
use crate::aws::world::{World, second};

/// What causes say of `SetInstanceHealth`.
pub(super) const USER_HEALTH_CHECK: &str = "a user health-check";

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
            group.stuck = false;
        }
        self.group_moved(name);
        self.reconcile_after(self.delays.react, name);
    }

    /// The group makes up for an instance that comes or goes.
    pub(super) fn reconcile_soon(&mut self, name: &str) {
        self.reconcile_after(self.delays.replace, name);
    }

    pub(super) fn reconcile_after(&mut self, delay: Duration, name: &str) {
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
            self.empty(name);
            return;
        }
        let desired = group.desired as usize;
        let launches_held =
            group.no_launch_before.is_some_and(|earliest| earliest > now) || group.is_suspended("Launch");
        let terminations_held = group.is_suspended("Terminate");
        let active = self.members(name, Instance::is_active).len();
        match active.cmp(&desired) {
            Ordering::Less if launches_held => {}
            Ordering::Less => self.scale_out(name, active, desired),
            Ordering::Greater if terminations_held => {}
            Ordering::Greater => self.scale_in(name, active, desired),
            Ordering::Equal => {
                let group = self.group_mut(name);
                group.change = None;
                group.replacements.clear();
            }
        }
        if !terminations_held {
            self.let_superseded_go(name);
        }
        self.size_warm_pool(name, launches_held, terminations_held);
        self.step_refresh(name);
    }

    /// Takes all instances out of a group that is being deleted, past their hooks; when none is left, the group goes.
    fn empty(&mut self, name: &str) {
        let members = self.members(name, |one| !one.is_leaving_for_good() && one.state != "Detaching");
        let (pooled, others): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|id| self.instance_ref(id).is_warmed());
        let change = self.group_mut(name).change.take().unwrap_or_default();
        for id in &others {
            let cause = shrunk(&change, second(self.now()), others.len(), 0, id);
            self.begin(id, Journey::Terminate, leaving(id), cause);
        }
        for id in pooled {
            self.delete_from_pool(&id);
        }
        if self.members(name, |_| true).is_empty() {
            self.set_timer(self.delays.group_deletion, Timer::GroupGone { group: name.to_owned() });
        }
    }

    /// Takes an instance out of a pool that is being deleted.
    pub(super) fn delete_from_pool(&mut self, id: &str) {
        let cause = self.out_of_service("a group deletion");
        let cause = format!("{cause}  At {} instance {id} was selected for termination.", second(self.now()));
        self.begin(id, Journey::TerminateInPool, leaving_pool(id), cause);
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
                    self.begin(&id, Journey::Terminate, leaving(&id), cause);
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
        let reuse = group
            .warm_pool
            .as_ref()
            .is_some_and(|pool| pool.reuse_on_scale_in == Some(true) && !pool.deleting);
        let journey = if reuse { Journey::BackToPool } else { Journey::Terminate };
        let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let serves = |one: &Instance| one.state == "InService" && one.superseded.is_none();
        let can_go = |one: &Instance| serves(one) && !one.protected && one.finding.is_none();
        let sick = self.members(name, |one| serves(one) && one.finding.is_some());
        for id in self.members(name, can_go) {
            zones.entry(self.instance_ref(&id).zone.clone()).or_default().push(id);
        }
        let free = sick.len() + zones.values().map(Vec::len).sum::<usize>();
        let protected = self.members(name, |one| serves(one) && one.protected && one.finding.is_none()).len();
        // What can't go yet goes later, for the same reason, unless protection is all that keeps it: then the reason
        // stands in one activity of the group's.
        if free >= active - desired {
            self.group_mut(name).change = None;
        } else if free + protected >= active && !self.group_mut(name).stuck {
            let group = self.group_mut(name);
            (group.stuck, group.change) = (true, None);
            let what = "Could not scale to desired capacity because all remaining instances are protected from \
                        scale-in.";
            let cause = format!("{change}At {} group reached equilibrium.", second(now));
            self.record_cancelled(name, what, cause);
        }
        // The sick go first, and for their health, whatever the desired capacity has become since.
        for id in sick.iter().take(active - desired) {
            if let Some(finding) = self.instance_ref(id).finding {
                self.take_out(id, finding);
            }
        }
        for _ in desired + sick.len()..active {
            let Some(fullest) =
                zones.values_mut().rev().max_by_key(|zone| zone.len()).filter(|zone| !zone.is_empty())
            else {
                break;
            };
            let id = fullest.remove(0);
            let (what, cause) = if reuse {
                let selected = "was selected for scale in to warm pool.";
                let cause = shrunk(&change, second(now), active, desired, &id)
                    .replace("was selected for termination.", selected);
                (format!("Scaling in EC2 instance into warm pool: {id}"), cause)
            } else {
                (leaving(&id), shrunk(&change, second(now), active, desired, &id))
            };
            self.begin(&id, journey, what, cause);
        }
    }

    /// A health check has found an instance unhealthy. A user's finding can have been withdrawn.
    pub(super) fn unhealthy(&mut self, id: &str, finding: &'static str) {
        let Some(instance) = self.autoscaling.instances.get(id).filter(|one| one.state == "InService") else {
            return;
        };
        let group = &self.autoscaling.groups[&instance.group];
        let users = finding == USER_HEALTH_CHECK;
        if users && instance.healthy || !users && group.is_suspended("HealthCheck") {
            return;
        }
        let held = ["Terminate", "ReplaceUnhealthy"].iter().any(|process| group.is_suspended(process));
        let instance = self.instance_mut(id);
        (instance.healthy, instance.finding) = (false, Some(finding));
        if !held {
            self.replace(id, finding);
        }
    }

    /// Takes an unhealthy instance out of service. The replacement is launched at once.
    pub(super) fn replace(&mut self, id: &str, why: &str) {
        let group = self.instance_ref(id).group.clone();
        let launch = "an instance was launched in response to an unhealthy instance needing to be replaced";
        self.group_mut(&group).replacements.push_back(launch.to_owned());
        self.take_out(id, why);
    }

    /// Terminates an instance, for `why`, in AWS's words.
    pub(super) fn take_out(&mut self, id: &str, why: &str) {
        let cause = self.out_of_service(why);
        let group = self.instance_ref(id).group.clone();
        self.reconcile_soon(&group);
        self.instance_mut(id).finding = None;
        self.begin(id, Journey::Terminate, leaving(id), cause);
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
