//! What moves groups and instances: reconciliation with the desired capacity, journeys past the hooks,
//! the clock of each wait, replacements, warm pools and instance refreshes.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Activity, Group, Hook, HookResult, Instance, Journey, Timer, Transition, Wait};
use crate::world::{Effect, Sight, World, second, timestamp};

/// The longest pause between launches of a group whose launches are abandoned. AWS slows such groups
/// down but publishes no numbers.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15 * 60);

impl World {
    pub(crate) fn autoscaling_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Reconcile { group } => self.reconcile(&group),
            Timer::Arrived { instance, journey } => self.arrived(&instance, journey),
            Timer::WaitOver { instance, token } => self.wait_over(&instance, &token),
            Timer::Proceeded { instance, journey } => self.proceeded(&instance, journey),
            Timer::Unhealthy { instance } => self.unhealthy(&instance),
            Timer::GroupGone { group } => {
                self.autoscaling.instances.retain(|_, instance| instance.group != group);
                self.autoscaling.groups.remove(&group);
            }
        }
    }

    /// Lets an instance die under its group: a health check will notice.
    pub fn fail_instance(&mut self, id: &str) {
        let instance = id.to_owned();
        let delay = self.delays.health_check;
        self.set_timer(delay, Timer::Unhealthy { instance });
    }

    /// EC2 takes a Spot instance back: no hook holds it.
    pub fn reclaim_spot(&mut self, id: &str) {
        if let Some(instance) = self.autoscaling.instances.get_mut(id) {
            instance.activity = None;
            let group = instance.group.clone();
            self.discard(id);
            self.reconcile_soon(&group);
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

    fn reconcile(&mut self, name: &str) {
        let Some(group) = self.autoscaling.groups.get_mut(name) else {
            return;
        };
        group.reconcile_due = false;
        if group.deleting {
            return;
        }
        let desired = group.desired as usize;
        let active = self.members(name, Instance::is_active);
        if active.len() < desired {
            self.scale_out(name, active.len(), desired);
        } else if active.len() > desired {
            self.scale_in(name, active.len(), desired);
        } else {
            let group = self.group_mut(name);
            group.change = None;
            group.replacements.clear();
        }
        self.size_warm_pool(name);
        self.step_refresh(name);
    }

    fn scale_out(&mut self, name: &str, active: usize, desired: usize) {
        let now = self.now();
        let group = self.group_mut(name);
        if let Some(earliest) = group.no_launch_before.filter(|earliest| *earliest > now) {
            let wait = (earliest - now).to_std().unwrap_or_default();
            group.reconcile_due = true;
            self.set_timer(wait, Timer::Reconcile { group: name.to_owned() });
            return;
        }
        let growth = format!(
            "{}At {} an instance was started in response to a difference between desired and actual capacity, \
             increasing the capacity from {active} to {desired}.",
            group.change.clone().unwrap_or_default(),
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

    fn size_warm_pool(&mut self, name: &str) {
        let group = self.group_mut(name);
        let Some(pool) = group.warm_pool.clone() else {
            return;
        };
        let room = pool.max_prepared.unwrap_or(group.max).saturating_sub(group.desired);
        let target = if pool.deleting { 0 } else { room.max(pool.min_size) as usize };
        let pooled = self.members(name, Instance::is_pooled);
        let at = second(self.now());
        for _ in pooled.len()..target {
            let cause = format!("At {at} an instance was launched to fill the warm pool.");
            self.launch(name, Journey::IntoPool, "Launching a new EC2 instance into warm pool", cause);
        }
        let ready = self.members(name, Instance::is_ready_in_pool);
        for id in ready.into_iter().take(pooled.len().saturating_sub(target)) {
            let cause = format!("At {at} an instance was taken out of the warm pool.");
            let what = format!("Terminating EC2 instance from warm pool: {id}");
            self.begin(&id, Journey::TerminateInPool, what, cause);
        }
        if pool.deleting && self.members(name, |instance| instance.state.starts_with("Warmed:")).is_empty() {
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

    fn unhealthy(&mut self, id: &str) {
        if self.autoscaling.instances.get(id).is_some_and(|instance| instance.state == "InService") {
            self.replace(id, "an EC2 health check indicating it has been terminated or stopped");
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
    pub(super) fn take_out(&mut self, id: &str, why: &str) -> usize {
        let cause =
            format!("At {} an instance was taken out of service in response to {why}.", second(self.now()));
        self.begin(id, Journey::Terminate, format!("Terminating EC2 instance: {id}"), cause)
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
            protected: owner.protect_new && journey == Journey::Launch,
            journey: None,
            activity: None,
        };
        self.autoscaling.instances.insert(id.clone(), instance);
        self.begin(&id, journey, format!("{what}: {id}"), cause);
    }

    /// Sends an instance on a journey; answers the index of its scaling activity.
    pub(super) fn begin(&mut self, id: &str, journey: Journey, description: String, cause: String) -> usize {
        let activity = Activity {
            id: self.uuid(),
            group: self.instance_ref(id).group.clone(),
            instance: id.to_owned(),
            description,
            cause,
            start: self.now(),
            end: None,
            status: "InProgress",
            message: None,
            progress: 0,
            zone: self.instance_ref(id).zone.clone(),
        };
        self.autoscaling.activities.push(activity);
        let index = self.autoscaling.activities.len() - 1;
        let instance = self.instance_mut(id);
        instance.waits.clear();
        instance.journey = Some(journey);
        instance.activity = Some(index);
        self.enter(id, journey.stops().start);
        self.see_activity(index);
        let delay = match journey {
            Journey::Terminate | Journey::BackToPool | Journey::TerminateInPool => self.delays.deregistration,
            Journey::Launch | Journey::IntoPool => self.vary(self.delays.boot),
            // A warmed instance has been prepared before: the lab lets it start in a quarter of the time.
            Journey::OutOfPool => self.vary(self.delays.boot / 4),
            Journey::Discard => self.delays.proceed,
        };
        self.set_timer(delay, Timer::Arrived { instance: id.to_owned(), journey });
        index
    }

    /// The hooks of the transition begin, all at once, or the instance goes on where there are none.
    fn arrived(&mut self, id: &str, journey: Journey) {
        if !self.is_on(id, journey) {
            return;
        }
        let group = self.instance_ref(id).group.clone();
        let hooks = match journey {
            Journey::Discard => Vec::new(),
            _ => self.autoscaling.groups[&group].hooks_of(journey.transition()),
        };
        if hooks.is_empty() {
            self.proceed(id, journey);
            return;
        }
        self.enter(id, journey.stops().wait);
        self.update_activity(id, |activity| {
            activity.progress = 60;
            // Not in the API's own list of values, but what AWS answers.
            activity.status = match journey.transition() {
                Transition::Launching => "MidLifecycleAction",
                Transition::Terminating => "MidTerminatingLifecycleAction",
            };
        });
        for hook in hooks {
            self.begin_wait(id, journey, hook);
        }
    }

    fn begin_wait(&mut self, id: &str, journey: Journey, hook: Hook) {
        let token = self.uuid();
        let started = self.now();
        let instance = id.to_owned();
        let ends = self.set_timer(hook.heartbeat_timeout, Timer::WaitOver { instance, token: token.clone() });
        let accepted_from = started + TimeDelta::from_std(self.delays.acceptance).unwrap_or_default();
        let group = &self.autoscaling.groups[&self.instance_ref(id).group];
        let (name, arn) = (group.name.clone(), group.arn.clone());
        let mut detail = json!({
            "LifecycleActionToken": token,
            "AutoScalingGroupName": name,
            "LifecycleHookName": hook.name,
            "EC2InstanceId": id,
            "LifecycleTransition": journey.transition().as_str(),
            "Origin": journey.origin(),
            "Destination": journey.destination(),
        });
        if let Some(metadata) = &hook.metadata {
            detail["NotificationMetadata"] = json!(metadata);
        }
        match &hook.target {
            Some(target) => {
                let target = target.clone();
                detail["Service"] = json!("AWS Auto Scaling");
                detail["Time"] = json!(timestamp(started));
                detail["RequestId"] = json!(self.uuid());
                detail["AccountId"] = json!(crate::world::ACCOUNT);
                self.send(Effect::Notification { target, body: detail });
            }
            None => {
                let kind = match journey.transition() {
                    Transition::Launching => "EC2 Instance-launch Lifecycle Action",
                    Transition::Terminating => "EC2 Instance-terminate Lifecycle Action",
                };
                self.send_event("aws.autoscaling", kind, vec![arn], detail);
            }
        }
        let wait = Wait { hook, token, started, ends, accepted_from };
        self.instance_mut(id).waits.insert(wait.hook.name.clone(), wait);
    }

    /// Restarts a wait's timer at its full length, but not beyond the global timeout.
    pub(super) fn heartbeat(&mut self, id: &str, hook: &str) {
        let wait = &self.instance_ref(id).waits[hook];
        let (timeout, token) = (wait.hook.heartbeat_timeout, wait.token.clone());
        let last = wait.started + TimeDelta::from_std(wait.hook.global_timeout()).unwrap_or(TimeDelta::MAX);
        let left = (last - self.now()).to_std().unwrap_or_default();
        let ends = self.set_timer(timeout.min(left), Timer::WaitOver { instance: id.to_owned(), token });
        if let Some(wait) = self.instance_mut(id).waits.get_mut(hook) {
            wait.ends = ends;
        }
    }

    fn wait_over(&mut self, id: &str, token: &str) {
        let now = self.now();
        let Some(instance) = self.autoscaling.instances.get(id) else {
            return;
        };
        let over = instance.waits.values().find(|wait| wait.token == token && wait.ends <= now);
        if let Some(wait) = over {
            let (hook, result) = (wait.hook.name.clone(), wait.hook.default_result);
            self.end_wait(id, &hook, result, "Heartbeat Timeout");
        }
    }

    /// Ends one wait; the last one, or any that is abandoned, decides how the instance goes on.
    pub(super) fn end_wait(&mut self, id: &str, hook: &str, result: HookResult, how: &str) {
        let instance = self.instance_mut(id);
        let (Some(wait), Some(journey)) = (instance.waits.remove(hook), instance.journey) else {
            return;
        };
        if result == HookResult::Continue {
            if instance.waits.is_empty() {
                self.proceed(id, journey);
            }
            return;
        }
        instance.waits.clear();
        if journey.transition() == Transition::Launching {
            let message = format!(
                "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {} was abandoned: {how}",
                wait.token
            );
            self.give_up_launch(id, message);
        } else if self.autoscaling.groups[&self.instance_ref(id).group].retain_abandoned {
            let retained = match journey {
                Journey::TerminateInPool => "Warmed:Terminating:Retained",
                Journey::BackToPool => "Warmed:Pending:Retained",
                _ => "Terminating:Retained",
            };
            self.instance_mut(id).journey = None;
            self.enter(id, retained);
        } else if journey == Journey::BackToPool {
            // Not documented: the lab lets an instance that may not return end as other ABANDONs do.
            self.instance_mut(id).journey = Some(Journey::Terminate);
            self.proceed(id, Journey::Terminate);
        } else {
            self.proceed(id, journey);
        }
    }

    /// An abandoned launch: its activity is cancelled, the instance goes, and the group tries again,
    /// more slowly each time.
    fn give_up_launch(&mut self, id: &str, message: String) {
        let now = self.now();
        self.finish_activity(id, "Cancelled", Some(message));
        let name = self.instance_ref(id).group.clone();
        let backoff = self.delays.launch_backoff;
        let group = self.group_mut(&name);
        group.launches_abandoned += 1;
        if let Some(doublings) = group.launches_abandoned.checked_sub(2) {
            let pause = (backoff * 2u32.pow(doublings.min(10))).min(LONGEST_BACKOFF);
            group.no_launch_before = Some(now + TimeDelta::from_std(pause).unwrap_or_default());
        }
        self.instance_mut(id).activity = None;
        self.discard(id);
        self.reconcile_soon(&name);
    }

    /// Moves an instance between service, standby and outside, with no hook on the way.
    pub(super) fn rest(
        &mut self,
        id: &str,
        state: &'static str,
        description: String,
        cause: String,
    ) -> Activity {
        let instance = self.instance_ref(id);
        let now = self.now();
        let activity = Activity {
            id: String::new(),
            group: instance.group.clone(),
            instance: id.to_owned(),
            description,
            cause,
            start: now,
            end: Some(now),
            status: "Successful",
            message: None,
            progress: 100,
            zone: instance.zone.clone(),
        };
        let activity = Activity { id: self.uuid(), ..activity };
        self.autoscaling.activities.push(activity.clone());
        self.enter(id, state);
        if state == "Detached" {
            self.autoscaling.instances.remove(id);
        }
        activity
    }

    /// Lets an instance end without hooks.
    pub(super) fn discard(&mut self, id: &str) {
        let instance = self.instance_mut(id);
        instance.waits.clear();
        instance.journey = Some(Journey::Discard);
        self.enter(id, Journey::Discard.stops().start);
        let delay = self.delays.proceed;
        self.set_timer(delay, Timer::Arrived { instance: id.to_owned(), journey: Journey::Discard });
    }

    fn proceed(&mut self, id: &str, journey: Journey) {
        if self.instance_ref(id).state == journey.stops().wait {
            self.enter(id, journey.stops().proceed);
        }
        let delay = self.delays.proceed;
        self.set_timer(delay, Timer::Proceeded { instance: id.to_owned(), journey });
    }

    /// The end of a journey.
    fn proceeded(&mut self, id: &str, journey: Journey) {
        if !self.is_on(id, journey) {
            return;
        }
        let name = self.instance_ref(id).group.clone();
        self.instance_mut(id).journey = None;
        self.finish_activity(id, "Successful", None);
        match journey {
            Journey::Launch | Journey::OutOfPool => {
                self.group_mut(&name).launches_abandoned = 0;
                self.enter(id, "InService");
            }
            Journey::IntoPool | Journey::BackToPool => {
                let pool = self.group_mut(&name).warm_pool.as_ref();
                let rest = pool.map_or("Warmed:Stopped", |pool| pool.state.lifecycle_state());
                self.enter(id, rest);
            }
            Journey::Terminate | Journey::TerminateInPool | Journey::Discard => {
                let end =
                    if journey == Journey::TerminateInPool { "Warmed:Terminated" } else { "Terminated" };
                self.enter(id, end);
                self.autoscaling.instances.remove(id);
            }
        }
        self.reconcile_soon(&name);
    }

    fn enter(&mut self, id: &str, state: &'static str) {
        let instance = self.instance_mut(id);
        instance.state = state;
        let sight = Sight::State { group: instance.group.clone(), instance: id.to_owned(), state };
        self.send(Effect::Seen(sight));
    }

    fn update_activity(&mut self, id: &str, update: impl FnOnce(&mut Activity)) {
        if let Some(index) = self.instance_ref(id).activity {
            update(&mut self.autoscaling.activities[index]);
            self.see_activity(index);
        }
    }

    fn see_activity(&mut self, index: usize) {
        let activity = self.autoscaling.activities[index].clone();
        self.send(Effect::Seen(Sight::Activity(activity)));
    }

    /// Ends the instance's activity, and sends the event that AWS sends then.
    fn finish_activity(&mut self, id: &str, status: &'static str, message: Option<String>) {
        let now = self.now();
        let Some(index) = self.instance_ref(id).activity else {
            return;
        };
        self.update_activity(id, |activity| {
            activity.status = status;
            activity.progress = 100;
            activity.end = Some(now);
            if let Some(message) = &message {
                activity.description += &format!(".  Status Reason: {message}");
            }
            activity.message = message;
        });
        let activity = self.autoscaling.activities[index].clone();
        let what = if activity.description.starts_with("Launching") { "Launch" } else { "Terminate" };
        let how = if status == "Successful" { "Successful" } else { "Unsuccessful" };
        let group = &self.autoscaling.groups[&activity.group];
        let resources = vec![
            group.arn.clone(),
            format!("arn:aws:ec2:{}:{}:instance/{id}", crate::REGION, crate::ACCOUNT),
        ];
        let mut detail = activity.to_json();
        detail["EC2InstanceId"] = json!(id);
        detail["Details"] = json!({ "Availability Zone": activity.zone });
        detail["StatusMessage"] = json!(activity.message.unwrap_or_default());
        self.send_event("aws.autoscaling", &format!("EC2 Instance {what} {how}"), resources, detail);
    }

    /// Ids of the group's instances that fit, oldest first.
    pub(super) fn members(&self, group: &str, fits: impl Fn(&Instance) -> bool) -> Vec<String> {
        let members =
            self.autoscaling.instances().filter(|instance| instance.group == group && fits(instance));
        members.map(|instance| instance.id.clone()).collect()
    }

    fn is_on(&self, id: &str, journey: Journey) -> bool {
        self.autoscaling.instances.get(id).is_some_and(|instance| instance.journey == Some(journey))
    }

    pub(super) fn set_timer(&mut self, delay: Duration, timer: Timer) -> chrono::DateTime<chrono::Utc> {
        self.after(delay, crate::world::Timer::AutoScaling(timer))
    }

    /// The group of a name that is known to exist.
    #[expect(clippy::expect_used, reason = "callers looked the name up; a miss is a defect of the lab")]
    pub(super) fn group_mut(&mut self, name: &str) -> &mut Group {
        self.autoscaling.groups.get_mut(name).expect("the group exists")
    }

    #[expect(clippy::expect_used, reason = "as for the group")]
    pub(super) fn instance_mut(&mut self, id: &str) -> &mut Instance {
        self.autoscaling.instances.get_mut(id).expect("the instance exists")
    }

    #[expect(clippy::expect_used, reason = "as for the group")]
    pub(super) fn instance_ref(&self, id: &str) -> &Instance {
        self.autoscaling.instances.get(id).expect("the instance exists")
    }
}

/// The message that a hook's target gets when the hook is made.
pub(super) fn test_notification(group: &Group, request: &str, now: chrono::DateTime<chrono::Utc>) -> Value {
    json!({
        "AccountId": crate::ACCOUNT,
        "RequestId": request,
        "AutoScalingGroupARN": group.arn,
        "AutoScalingGroupName": group.name,
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
        "Time": timestamp(now),
    })
}
