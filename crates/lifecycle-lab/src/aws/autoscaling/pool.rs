//! The size of warm pools, and why it changes.

use super::engine::leaving_pool;
use super::{Group, Instance, Journey, WarmPool};
use crate::aws::world::{World, second};

impl Group {
    /// How many instances a pool of the group prepares.
    fn prepared(&self, pool: Option<&WarmPool>) -> u32 {
        let Some(pool) = pool.filter(|pool| !pool.deleting) else { return 0 };
        pool.max_prepared.unwrap_or(self.max).saturating_sub(self.desired).max(pool.min_size)
    }
}

impl World {
    /// Gives a group a warm pool, or changes the one that it has, and says why, the way AWS words the first half of a
    /// cause. Of the words about an existing pool, only those about the prepared capacity are recorded.
    pub(super) fn set_warm_pool(&mut self, name: &str, mut pool: WarmPool) {
        let at = second(self.now());
        let group = self.group_mut(name);
        let (from, to) = (group.prepared(group.warm_pool.as_ref()), group.prepared(Some(&pool)));
        let number = |capacity: Option<u32>| capacity.map_or("null".to_owned(), |some| some.to_string());
        let put = match &group.warm_pool {
            None => format!(
                "put a new WarmPool with MinSize: {} and MaxGroupPreparedCapacity: {}",
                pool.min_size,
                number(pool.max_prepared)
            ),
            Some(old) if old.max_prepared != pool.max_prepared => format!(
                "update of WarmPool MaxGroupPreparedCapacity from max: {} to max: {}",
                number(old.max_prepared),
                number(pool.max_prepared)
            ),
            Some(old) => {
                format!("update of WarmPool MinSize from min: {} to min: {}", old.min_size, pool.min_size)
            }
        };
        pool.change = (from != to).then(|| {
            format!("At {at} a user request {put} changing the capacity of WarmPool from {from} to {to}.  ")
        });
        group.warm_pool = Some(pool);
        self.reconcile_after(self.delays.react, name);
    }

    /// Fills or empties the group's pool.
    pub(super) fn size_warm_pool(&mut self, name: &str, launches_held: bool, terminations_held: bool) {
        let group = self.group_mut(name);
        let target = group.prepared(group.warm_pool.as_ref()) as usize;
        let Some(pool) = &mut group.warm_pool else {
            return;
        };
        let deleting = pool.deleting;
        let pooled = self.members(name, Instance::is_pooled).len();
        if deleting && !terminations_held {
            // What its hook's ABANDON retained starts again by itself.
            for id in self.members(name, |one| one.is_ready_in_pool() || one.is_warmed() && one.is_retained())
            {
                self.delete_from_pool(&id);
            }
            if self.members(name, Instance::is_warmed).is_empty() {
                self.group_mut(name).warm_pool = None;
            }
            return;
        }
        // The group takes from the pool before the pool shrinks.
        let wanted = self.members(name, Instance::is_active).len() < self.group_mut(name).desired as usize;
        let held = if pooled < target { launches_held } else { terminations_held || wanted };
        if held {
            return;
        }
        let at = second(self.now());
        let change = self.group_mut(name).warm_pool.as_mut().and_then(|pool| pool.change.take());
        let change = change.unwrap_or_default();
        for _ in pooled..target {
            let cause = format!(
                "{change}At {at} an instance was started in response to a difference between desired and actual \
                 capacity, increasing the capacity from {pooled} to {target}."
            );
            if !self.launch(name, Journey::IntoPool, "Launching a new EC2 instance into warm pool", cause) {
                break;
            }
        }
        let ready = self.members(name, Instance::is_ready_in_pool);
        for id in ready.into_iter().take(pooled.saturating_sub(target)) {
            let cause = format!(
                "{change}At {at} an instance was taken out of service in response to a difference between desired and \
                 actual capacity, shrinking the capacity.  At {at} instance {id} was selected for termination."
            );
            self.begin(&id, Journey::TerminateInPool, leaving_pool(&id), cause);
        }
    }
}
