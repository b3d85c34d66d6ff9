//! Moves groups and instances over time: the desired capacity, the way of instances past the hooks, the clock of each
//! wait, replacements, warm pools and instance refreshes.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Activity, Group, Hook, HookResult, Instance, Journey, Timer, Transition, Wait};
use crate::aws::ec2::InstanceState;
use crate::aws::world::{ACCOUNT, Effect, REGION, Sight, World, timestamp};

impl World {
    pub(crate) fn autoscaling_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Reconcile { group } => self.reconcile(&group),
            Timer::Arrived { instance, journey } => self.arrived(&instance, journey),
            Timer::WaitOver { instance, token } => self.wait_over(&instance, &token),
            Timer::Proceeded { instance, journey } => self.proceeded(&instance, journey),
            Timer::Unhealthy { instance, finding } => self.unhealthy(&instance, finding),
            Timer::GroupGone { group } => {
                self.autoscaling.instances.retain(|_, instance| instance.group != group);
                self.autoscaling.groups.remove(&group);
            }
        }
    }

    /// Sends an instance on a journey; answers the index of its scaling activity.
    pub(super) fn begin(&mut self, id: &str, journey: Journey, description: String, cause: String) -> usize {
        self.break_off(id);
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
                detail["AccountId"] = json!(ACCOUNT);
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
        self.finish_activity(id, "Cancelled", Some(message));
        let name = self.instance_ref(id).group.clone();
        self.discard(id);
        self.slow_down(&name);
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
        self.see_activity(self.autoscaling.activities.len() - 1);
        self.enter(id, state);
        if state == "Detached" {
            self.autoscaling.instances.remove(id);
        }
        activity
    }

    /// Lets an instance end without hooks.
    pub(super) fn discard(&mut self, id: &str) {
        self.break_off(id);
        let instance = self.instance_mut(id);
        instance.journey = Some(Journey::Discard);
        let now = self.now();
        self.ec2.set_state(id, InstanceState::ShuttingDown, now);
        let instance = self.instance_ref(id);
        let state = if instance.is_warmed() { "Warmed:Terminating" } else { "Terminating" };
        self.enter(id, state);
        let delay = self.delays.proceed;
        self.set_timer(delay, Timer::Arrived { instance: id.to_owned(), journey: Journey::Discard });
    }

    /// Whatever the instance waits for ends; a launch that is not finished never will be.
    fn break_off(&mut self, id: &str) {
        let instance = self.instance_mut(id);
        instance.waits.clear();
        if instance.journey.is_some_and(|journey| journey.transition() == Transition::Launching) {
            self.finish_activity(id, "Cancelled", None);
        }
    }

    fn proceed(&mut self, id: &str, journey: Journey) {
        if matches!(journey, Journey::Terminate | Journey::TerminateInPool | Journey::Discard) {
            self.ec2.set_state(id, InstanceState::ShuttingDown, self.now());
        }
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
        if journey.transition() == Transition::Launching {
            self.group_mut(&name).launches_failed = 0;
        }
        match journey {
            Journey::Launch | Journey::OutOfPool => self.enter(id, "InService"),
            Journey::IntoPool | Journey::BackToPool => {
                let pool = self.group_mut(&name).warm_pool.as_ref();
                let rest = pool.map_or("Warmed:Stopped", |pool| pool.state.lifecycle_state());
                self.enter(id, rest);
            }
            Journey::Terminate | Journey::TerminateInPool | Journey::Discard => {
                let warmed = self.instance_ref(id).is_warmed();
                self.enter(id, if warmed { "Warmed:Terminated" } else { "Terminated" });
                self.autoscaling.instances.remove(id);
            }
        }
        self.reconcile_soon(&name);
    }

    fn enter(&mut self, id: &str, state: &'static str) {
        let instance = self.instance_mut(id);
        instance.state = state;
        let group = instance.group.clone();
        let sight = Sight::State { group: group.clone(), instance: id.to_owned(), state };
        let now = self.now();
        self.ec2.follow(id, state, now);
        self.send(Effect::Seen(sight));
        self.group_moved(&group);
    }

    fn update_activity(&mut self, id: &str, update: impl FnOnce(&mut Activity)) {
        if let Some(index) = self.instance_ref(id).activity {
            update(&mut self.autoscaling.activities[index]);
            self.see_activity(index);
        }
    }

    pub(super) fn see_activity(&mut self, index: usize) {
        let activity = self.autoscaling.activities[index].clone();
        self.send(Effect::Seen(Sight::Activity(activity)));
    }

    /// Ends the instance's activity.
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
        self.instance_mut(id).activity = None;
        self.tell_end(index);
    }

    /// Sends the event that AWS sends when an activity has ended.
    pub(super) fn tell_end(&mut self, index: usize) {
        let activity = self.autoscaling.activities[index].clone();
        let id = &activity.instance;
        let what = if activity.description.starts_with("Launching") { "Launch" } else { "Terminate" };
        let how = if activity.status == "Successful" { "Successful" } else { "Unsuccessful" };
        let mut resources = vec![self.autoscaling.groups[&activity.group].arn.clone()];
        if !id.is_empty() {
            resources.push(format!("arn:aws:ec2:{}:{}:instance/{id}", REGION, ACCOUNT));
        }
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
        self.after(delay, crate::aws::world::Timer::AutoScaling(timer))
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
        "AccountId": ACCOUNT,
        "RequestId": request,
        "AutoScalingGroupARN": group.arn,
        "AutoScalingGroupName": group.name,
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
        "Time": timestamp(now),
    })
}
