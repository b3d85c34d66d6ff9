//! Moves instances over time: their way past the hooks, the clock of each wait, and what its end leads to.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Activity, Group, Hook, HookResult, Instance, Journey, PoolState, Timer, Transition, Wait};
use crate::aws::ec2::InstanceState;
use crate::aws::world::{ACCOUNT, Effect, Sight, World, second, timestamp};

/// How soon the terminating hooks of an instance begin that serves nothing, and how long `Detaching` and
/// `EnteringStandby` last: recorded as about a second.
const MOMENT: Duration = Duration::from_secs(1);

/// How soon a wait ends whose notification could not be delivered: recorded after 2 to 5 seconds.
const UNDELIVERED: Duration = Duration::from_secs(2);

impl World {
    pub(crate) fn autoscaling_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Reconcile { group } => self.reconcile(&group),
            Timer::Arrived { instance, journey } => self.arrived(&instance, journey),
            Timer::WaitOver { instance, token } => self.wait_over(&instance, &token),
            Timer::Proceeded { instance, journey } => self.proceeded(&instance, journey),
            Timer::Unhealthy { instance, finding } => self.unhealthy(&instance, finding),
            Timer::Passed { instance, state } => self.passed(&instance, state),
            Timer::GroupGone { group } => {
                let empty = self.members(&group, |_| true).is_empty();
                if empty && self.autoscaling.group(&group).is_some_and(|group| group.deleting) {
                    self.autoscaling.groups.remove(&group);
                }
            }
        }
    }

    /// Sends an instance on a journey; answers its scaling activity as it begins.
    pub(super) fn begin(
        &mut self,
        id: &str,
        journey: Journey,
        description: String,
        cause: String,
    ) -> Activity {
        self.break_off(id);
        let activity = self.new_activity_of(id, description, cause);
        let activity = Activity { journey: Some(journey), ..activity };
        let served = self.instance_ref(id).state == "InService";
        self.instance_mut(id).journey = Some(journey);
        self.enter(id, journey.stops().start);
        let index = self.record(activity.clone());
        self.instance_mut(id).activity = Some(index);
        self.travel(id, journey, served);
        activity
    }

    /// The part of a journey before the hooks.
    fn travel(&mut self, id: &str, journey: Journey, served: bool) {
        match (journey.transition(), self.hooks_for(id, journey).is_empty()) {
            (Transition::Launching, false) => self.update_activity(id, "PreInService", 30),
            (Transition::Launching, true) => self.update_activity(id, "InProgress", 50),
            // Not in the API's own list of values, but what AWS answers.
            (Transition::Terminating, false) => {
                self.update_activity(id, "MidTerminatingLifecycleAction", 60);
            }
            (Transition::Terminating, true) => {}
        }
        let delay = match journey {
            Journey::Launch | Journey::IntoPool | Journey::ReturnToService => self.vary(self.delays.boot),
            // A warmed instance has been prepared before: the lab lets it start in a quarter of the time.
            Journey::OutOfPool => self.vary(self.delays.boot / 4),
            Journey::Reclaim => self.delays.proceed,
            _ if served => self.delays.deregistration,
            _ => MOMENT,
        };
        self.set_timer(delay, Timer::Arrived { instance: id.to_owned(), journey });
    }

    fn hooks_for(&self, id: &str, journey: Journey) -> Vec<Hook> {
        match journey {
            Journey::Reclaim => Vec::new(),
            _ => self.autoscaling.groups[&self.instance_ref(id).group].hooks_of(journey.transition()),
        }
    }

    /// The hooks of the transition begin, all at once, or the instance goes on where there are none.
    fn arrived(&mut self, id: &str, journey: Journey) {
        if !self.is_on(id, journey) {
            return;
        }
        let hooks = self.hooks_for(id, journey);
        if hooks.is_empty() {
            self.proceed(id, journey);
            return;
        }
        self.enter(id, journey.stops().wait);
        match journey.transition() {
            Transition::Launching => self.update_activity(id, "MidLifecycleAction", 40),
            Transition::Terminating => self.update_activity(id, "MidTerminatingLifecycleAction", 60),
        }
        for hook in hooks {
            self.begin_wait(id, journey, hook);
        }
    }

    fn begin_wait(&mut self, id: &str, journey: Journey, hook: Hook) {
        let token = self.uuid();
        let started = self.now();
        let instance = id.to_owned();
        let lost = hook.target.as_ref().is_some_and(|target| self.autoscaling.lost_targets.contains(target));
        let timeout = if lost { UNDELIVERED } else { hook.heartbeat_timeout };
        let ends = self.set_timer(timeout, Timer::WaitOver { instance, token: token.clone() });
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
            "Action": journey.action(),
        });
        if let Some(metadata) = &hook.metadata {
            detail["NotificationMetadata"] = json!(metadata);
        }
        match &hook.target {
            Some(_) if lost => {}
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
        let message = format!(
            "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {} was abandoned: {how}",
            wait.token
        );
        let retains = self.autoscaling.groups[&self.instance_ref(id).group].retain_abandoned;
        match journey.retained().filter(|_| retains) {
            _ if journey.transition() == Transition::Launching => self.give_up_launch(id, journey, message),
            Some(state) => self.retain(id, state, message),
            // A return to the pool and, though recorded nowhere, the replacement of a root volume go on as well.
            None => self.proceed(id, journey),
        }
    }

    /// An abandoned launch: its activity is cancelled, the instance goes past its terminating hooks, and the
    /// group tries again, more slowly each time.
    fn give_up_launch(&mut self, id: &str, journey: Journey, message: String) {
        self.finish_activity(id, "Cancelled", Some(message));
        let name = self.instance_ref(id).group.clone();
        let cause = self.out_of_service("a launch failure");
        if journey == Journey::IntoPool {
            let cause =
                format!("{cause}  At {} instance {id} was selected for termination.", second(self.now()));
            self.begin(id, Journey::TerminateInPool, leaving_pool(id), cause);
        } else {
            self.begin(id, Journey::Terminate, leaving(id), cause);
        }
        self.slow_down(&name);
    }

    /// An abandoned termination in a group that retains: it is over, and the instance stays outside the capacity.
    fn retain(&mut self, id: &str, state: &'static str, message: String) {
        self.finish_activity(id, "Cancelled", Some(message));
        self.instance_mut(id).journey = None;
        self.enter(id, state);
        let group = self.instance_ref(id).group.clone();
        self.reconcile_soon(&group);
    }

    /// Moves an instance out of service past no hook; answers the activity as it begins.
    pub(super) fn leave(
        &mut self,
        id: &str,
        state: &'static str,
        description: String,
        cause: String,
    ) -> Activity {
        let activity = self.new_activity_of(id, description, cause);
        let activity = Activity { progress: 50, ..activity };
        let index = self.record(activity.clone());
        self.instance_mut(id).activity = Some(index);
        self.enter(id, state);
        self.set_timer(MOMENT, Timer::Passed { instance: id.to_owned(), state });
        activity
    }

    fn passed(&mut self, id: &str, state: &str) {
        let Some(instance) = self.autoscaling.instances.get(id).filter(|instance| instance.state == state)
        else {
            return;
        };
        let group = instance.group.clone();
        match state {
            "Detaching" => {
                self.finish_activity(id, "Successful", None);
                self.enter(id, "Detached");
                self.ec2.untag(id, "aws:autoscaling:groupName");
                self.autoscaling.instances.remove(id);
                self.reconcile_soon(&group);
            }
            "EnteringStandby" => {
                self.finish_activity(id, "Successful", None);
                self.enter(id, "Standby");
            }
            _ => {
                self.instance_mut(id).journey = Some(Journey::ReturnToService);
                self.enter(id, Journey::ReturnToService.stops().start);
                self.travel(id, Journey::ReturnToService, false);
            }
        }
    }

    /// Whatever the instance waits for ends, and what it was on its way to never will be.
    fn break_off(&mut self, id: &str) {
        self.instance_mut(id).waits.clear();
        self.finish_activity(id, "Cancelled", None);
    }

    fn proceed(&mut self, id: &str, journey: Journey) {
        if matches!(journey, Journey::Terminate | Journey::TerminateInPool | Journey::Reclaim) {
            self.ec2.set_state(id, InstanceState::ShuttingDown, self.now());
        }
        if self.instance_ref(id).state == journey.stops().wait {
            self.enter(id, journey.stops().proceed);
            if journey.transition() == Transition::Launching {
                self.update_activity(id, "InProgress", 50);
            }
        }
        let group = &self.autoscaling.groups[&self.instance_ref(id).group];
        let runs_on = group.warm_pool.as_ref().is_some_and(|pool| pool.state == PoolState::Running);
        let delay = match journey {
            Journey::Terminate | Journey::TerminateInPool => self.vary(self.delays.shutdown),
            // EC2 stops it first.
            Journey::IntoPool | Journey::BackToPool if !runs_on => self.vary(self.delays.shutdown),
            _ => self.delays.proceed,
        };
        self.set_timer(delay, Timer::Proceeded { instance: id.to_owned(), journey });
    }

    /// The end of a journey.
    fn proceeded(&mut self, id: &str, journey: Journey) {
        if !self.is_on(id, journey) {
            return;
        }
        let name = self.instance_ref(id).group.clone();
        self.instance_mut(id).journey = None;
        if journey == Journey::ReplaceRootVolume {
            self.renew(id);
            let state = "RootVolumeReplaced";
            self.enter(id, state);
            self.set_timer(self.delays.proceed, Timer::Passed { instance: id.to_owned(), state });
            return;
        }
        self.finish_activity(id, "Successful", None);
        if journey.transition() == Transition::Launching {
            self.group_mut(&name).launches_failed = 0;
        }
        match journey {
            Journey::IntoPool | Journey::BackToPool => {
                let pool = self.group_mut(&name).warm_pool.as_ref();
                let rest = pool.map_or("Warmed:Stopped", |pool| pool.state.lifecycle_state());
                self.enter(id, rest);
            }
            Journey::Terminate | Journey::TerminateInPool | Journey::Reclaim => {
                let warmed = self.instance_ref(id).is_warmed();
                self.enter(id, if warmed { "Warmed:Terminated" } else { "Terminated" });
                self.autoscaling.instances.remove(id);
            }
            _ => self.enter(id, "InService"),
        }
        self.reconcile_soon(&name);
    }

    pub(super) fn enter(&mut self, id: &str, state: &'static str) {
        let now = self.now();
        let instance = self.instance_mut(id);
        instance.was = (instance.state, now);
        instance.state = state;
        let group = instance.group.clone();
        let sight = Sight::State { group: group.clone(), instance: id.to_owned(), state };
        self.ec2.follow(id, state, now);
        self.send(Effect::Seen(sight));
        self.group_moved(&group);
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

/// What the activity of a termination is called.
pub(super) fn leaving(id: &str) -> String {
    format!("Terminating EC2 instance: {id}")
}

/// What the activity of a termination from the warm pool is called.
pub(super) fn leaving_pool(id: &str) -> String {
    format!("Terminating EC2 instance from warm pool: {id}")
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
