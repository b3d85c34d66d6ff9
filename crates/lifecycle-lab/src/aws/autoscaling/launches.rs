//! Launches the instances of a group. A failed launch leaves a scaling activity with the reason, and a pause before
//! the next attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use super::activity::details;
use super::{Activity, Instance, Journey, Timer};
use crate::aws::error::ApiError;
use crate::aws::world::World;

/// The longest pause between launches of a group whose launches come to nothing. AWS slows such groups
/// down but publishes no numbers.
const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);

impl World {
    /// Launches an instance; answers whether EC2 accepted it.
    pub(super) fn launch(&mut self, group: &str, journey: Journey, what: &str, cause: String) -> bool {
        self.autoscaling.launched += 1;
        let order = self.autoscaling.launched;
        let owner = &self.autoscaling.groups[group];
        let zone = owner.zones[order as usize % owner.zones.len()].clone();
        let subnet = self.subnet_in(&owner.subnets, &zone);
        let planned = match self.plan(owner.source(), &zone, subnet) {
            Ok(planned) => planned,
            Err(error) => {
                let details = details(&zone, subnet);
                let activity = self.new_activity(group, what.to_owned(), cause);
                self.launch_refused(Activity { details, journey: Some(journey), ..activity }, &error);
                return false;
            }
        };
        let protected = owner.protect_new && journey == Journey::Launch;
        let id = self.id("i");
        let instance = Instance {
            id: id.clone(),
            group: group.to_owned(),
            state: "",
            zone,
            healthy: true,
            waits: BTreeMap::new(),
            launched_from: planned.from,
            order,
            was: ("", self.now()),
            instance_type: planned.launch.instance_type.clone(),
            image_override: planned.image_override,
            protected,
            superseded: None,
            finding: None,
            journey: None,
            activity: None,
        };
        let mut launch = planned.launch;
        let propagated =
            self.autoscaling.groups[group].tags.iter().filter(|(_, (_, propagates))| *propagates);
        launch.tags.extend(propagated.map(|(key, (value, _))| (key.clone(), value.clone())));
        self.instance_launched(&id, group, &instance.zone, launch);
        self.autoscaling.instances.insert(id.clone(), instance);
        self.begin(&id, journey, format!("{what}: {id}"), cause);
        true
    }

    /// EC2 did not accept a launch: there is no instance, but an activity that has failed. A running
    /// instance refresh fails with it; AWS says that launches that fail can do that, but not how many it
    /// takes.
    fn launch_refused(&mut self, activity: Activity, error: &ApiError) {
        let message = format!("{}. Launching EC2 instance failed.", error.message.trim_end_matches('.'));
        let group = activity.group.clone();
        let activity = Activity {
            description: format!("{}.  Status Reason: {message}", activity.description),
            end: Some(activity.start),
            status: "Failed",
            message: Some(message.clone()),
            progress: 100,
            ..activity
        };
        self.record(activity.clone());
        self.tell_end(&activity, false);
        self.end_refresh(&group, "Failed", Some(message));
        self.slow_down(&group);
    }

    /// Gives an instance the root volume that the group's source has now for its type. Where that source can launch
    /// nothing, the instance keeps what it has.
    pub(super) fn renew(&mut self, id: &str) {
        let Instance { group, zone, instance_type, .. } = self.instance_ref(id);
        let owner = &self.autoscaling.groups[group];
        let subnet = self.subnet_in(&owner.subnets, zone);
        let planned = self.plan_for(owner.source(), instance_type.as_deref(), zone, subnet);
        let Ok(planned) = planned else { return };
        let image = planned.launch.image;
        self.ec2.renew_root_volume(id, &image);
        let instance = self.instance_mut(id);
        (instance.launched_from, instance.image_override) = (planned.from, Some(image));
    }

    /// A launch came to nothing: the group tries again, more slowly each time.
    pub(super) fn slow_down(&mut self, name: &str) {
        let backoff = self.delays.launch_backoff;
        let group = self.group_mut(name);
        group.launches_failed += 1;
        if let Some(doublings) = group.launches_failed.checked_sub(2) {
            let pause = (backoff * 2u32.pow(doublings.min(10))).min(MAX_BACKOFF);
            let over = self.set_timer(pause, Timer::Reconcile { group: name.to_owned() });
            self.group_mut(name).no_launch_before = Some(over);
        }
        self.reconcile_soon(name);
    }
}
