//! Watches a storm from AWS's side: the moments of the lab and the state of its world. Of the functions it sees only
//! their runs and which of their calls were disturbed. This module follows the moments, `life` holds the facts of
//! each instance, `rules` checks the invariants, `work` those of waits, sweeps and of what belongs to others, `failures`
//! those of the reported failures, and `templates` those of the launch template.

mod failures;
mod life;
mod reports;
mod rules;
mod templates;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_lab::autoscaling::{Hook, Transition};
use lifecycle_lab::ec2::InstanceState;
use lifecycle_lab::faults::EventFault;
use lifecycle_lab::run_command::Ping;
use lifecycle_lab::{Call, Lab, Moment, Run, RunError, Sight, What, World};
use serde_json::Value;

use crate::backups::BACKUP_PREFIX;
use crate::effect::{is_disturbed, is_throttle};
use crate::invariant::Invariant;
use crate::recording::Recording;
use crate::scene::{IMAGE_SWEEP, MAX_IMAGES_PER_HOUR, is_foreign};
use crate::tally::Tally;
use life::{CommandSeen, Completion, Group, Hold, ImageSeen, Life};
use reports::Reports;

/// Lambda's attempts at an event; after the last one it is only kept.
const MAX_ATTEMPTS: u32 = 3;

/// What the account's people mean to be true.
pub(crate) struct Scene {
    /// Resources of the services, and the minimum and the maximum that they were registered with.
    pub(crate) services: Vec<(String, (u32, u32))>,
    /// Variables of ami-snapshotter's configuration that are not its own.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
}

/// Something that must not be.
pub(crate) struct Violation {
    /// What, in a sentence.
    pub(crate) what: String,
    /// The instance that it is about, if it is about one.
    pub(crate) instance: Option<String>,
    /// Everything that was seen of the instance, a line for each moment.
    pub(crate) history: Vec<String>,
}

/// A run that is under way, or a sweep that was.
#[derive(Debug, Clone)]
struct RunSeen {
    function: String,
    started: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
    /// Whether no call that the function made in that time was disturbed.
    undisturbed: bool,
    /// Whether, besides, it ended well.
    clean: bool,
    /// The calls that it made, but for those that were disturbed.
    calls: usize,
    /// The tokens of the waits that it could find.
    waits: BTreeSet<String>,
    /// Whether no other run of its function was under way.
    alone: bool,
}

/// What is remembered of the launch template.
#[derive(Default)]
struct TemplateSeen {
    /// Since when backups are available.
    available: BTreeMap<String, DateTime<Utc>>,
    /// When an operator last changed the template by hand.
    touched: Option<DateTime<Utc>>,
}

/// Follows one account.
pub(crate) struct Observer {
    lab: Lab,
    scene: Scene,
    lives: BTreeMap<String, Life>,
    /// Instances whose life is over.
    gone: BTreeSet<String>,
    /// The instances that images were made of, and that commands were sent to.
    instances_of: BTreeMap<String, String>,
    groups: BTreeMap<String, Group>,
    runs: BTreeMap<String, RunSeen>,
    template: TemplateSeen,
    reports: Reports,
    /// When images failed.
    failed_images: BTreeMap<String, DateTime<Utc>>,
    /// When a call of each function was last disturbed.
    disturbed: BTreeMap<String, DateTime<Utc>>,
    /// Sweeps that have ended.
    sweeps: Vec<RunSeen>,
    /// The hour, counted from 1970, and the calls of functions to Auto Scaling in it.
    hour: (i64, u64),
    tally: Tally,
    violations: Vec<Violation>,
    /// What a page will show of the account, if there will be one.
    pub(crate) recording: Option<Recording>,
}

impl Observer {
    pub(crate) fn new(lab: &Lab, scene: Scene) -> Self {
        Self {
            lab: lab.clone(),
            scene,
            lives: BTreeMap::new(),
            gone: BTreeSet::new(),
            instances_of: BTreeMap::new(),
            groups: BTreeMap::new(),
            runs: BTreeMap::new(),
            template: TemplateSeen::default(),
            reports: Reports::default(),
            failed_images: BTreeMap::new(),
            disturbed: BTreeMap::new(),
            sweeps: Vec::new(),
            hour: (0, 0),
            tally: Tally::default(),
            violations: Vec::new(),
            recording: None,
        }
    }

    /// Whether the instance was seen before.
    pub(crate) fn knows(&self, instance: &str) -> bool {
        self.lives.contains_key(instance) || self.gone.contains(instance)
    }

    /// The end: what was counted, and what did not hold.
    pub(crate) fn finish(&mut self, lab_time: TimeDelta, failures: usize) -> (Tally, Vec<Violation>) {
        self.check_variables();
        self.settle_reports(DateTime::<Utc>::MAX_UTC);
        for life in std::mem::take(&mut self.lives).into_values() {
            self.violate_of(Invariant::ComesToItsEnd, &life, format!("{} is still there", life.id));
        }
        self.tally.lab_time = lab_time;
        self.tally.bucket = self.lab.world(|world| {
            let bucket = world.autoscaling.bucket.as_ref();
            bucket.map_or((0, 0), |bucket| (bucket.served + bucket.refused, bucket.refused))
        });
        self.tally.failures = failures as u64;
        (std::mem::take(&mut self.tally), std::mem::take(&mut self.violations))
    }

    /// Takes in what happened.
    pub(crate) fn see(&mut self, moment: &Moment) {
        let at = moment.at;
        self.settle_reports(at);
        if let What::Seen(Sight::Image { image, .. }) = &moment.what
            && !self.instances_of.contains_key(image)
        {
            let source = self
                .lab
                .world(|world| world.ec2.image(image).and_then(|image| image.source_instance.clone()));
            self.instances_of.insert(image.clone(), source.unwrap_or_default());
        }
        let concerned = self.concerned(&moment.what);
        if let Some(recording) = &mut self.recording {
            recording.see(moment, &concerned, &self.lab);
        }
        for id in concerned {
            // An instance that no longer waits may be on its way out.
            let waits_unreachable = self.lab.world(|world| {
                world.autoscaling.instance(&id).is_some_and(|one| !one.waits.is_empty())
                    && !is_reachable(world, &id)
            });
            if let Some(life) = self.lives.get_mut(&id) {
                life.note(at, &life::line(&moment.what));
                if waits_unreachable && let Some(hold) = life.hold.as_mut().filter(|hold| !hold.unreachable) {
                    (hold.unreachable, life.unreachable) = (true, true);
                    life.note(at, "its agent can't be reached");
                }
            }
        }
        match &moment.what {
            What::Seen(sight) => self.sight(at, sight),
            What::Faulted(fault, event) => self.faulted(*fault, event),
            What::Called(call) => self.called(at, call),
            What::Started(run) => {
                let function = run.function.clone();
                let waits = self.waits_of(&function);
                let mut others: Vec<_> =
                    self.runs.values_mut().filter(|run| run.function == function).collect();
                others.iter_mut().for_each(|run| run.alone = false);
                let seen = RunSeen {
                    alone: others.is_empty(),
                    function,
                    started: at,
                    ended: None,
                    undisturbed: true,
                    clean: true,
                    calls: 0,
                    waits,
                };
                self.runs.insert(run.request_id.clone(), seen);
            }
            What::Throttled { function, .. } => {
                *self.tally.no_room.entry(function.clone()).or_default() += 1;
            }
            What::Ended(run, result) => self.ended(at, run, result),
            What::Logged { function, line } => self.logged(at, function, line),
            What::Sent(_) => {}
        }
    }

    fn sight(&mut self, at: DateTime<Utc>, sight: &Sight) {
        match sight {
            Sight::State { group, .. } if is_foreign(group) => {}
            Sight::State { group, instance, state } => self.state(at, group, instance, state),
            Sight::Activity(activity) if activity.status == "Failed" => {
                let why = activity.message.as_deref().unwrap_or_default();
                let what = format!("a launch of {} failed at {at}: {why}", activity.group);
                self.violate(Invariant::LaunchSucceeds, what);
            }
            Sight::Activity(activity) if !activity.description.starts_with("Launching") => {
                let Some(life) = self.lives.get_mut(&activity.instance) else { return };
                life.cancelled |= activity.status == "Cancelled";
                if life.cause != activity.cause {
                    life.cause.clone_from(&activity.cause);
                    let state =
                        self.lab.world(|world| world.ec2.instance(&activity.instance).map(|one| one.state));
                    life.reclaimed = state == Some(InstanceState::ShuttingDown);
                }
            }
            Sight::Command { instance, command, status } => {
                self.instances_of.insert(command.clone(), instance.clone());
                let status = if *status == "TimedOut" { self.details_of(command) } else { *status };
                let Some(life) = self.lives.get_mut(instance) else { return };
                let first = || CommandSeen { sent: at, statuses: Vec::new() };
                life.commands.entry(command.clone()).or_insert_with(first).statuses.push((at, status));
            }
            Sight::TemplateVersion { version, state, .. } => self.see_version(*version, state),
            Sight::TemplateDefault { version, .. } => self.see_default(*version),
            Sight::Image { image, name, state } if name.starts_with(BACKUP_PREFIX) => {
                self.see_backup(at, image, state);
            }
            Sight::Image { image, state, .. } => {
                if *state == "failed" {
                    self.failed_images.insert(image.clone(), at);
                }
                let id = self.instances_of.get(image).cloned().unwrap_or_default();
                let Some(life) = self.lives.get_mut(&id) else {
                    if *state != "pending" {
                        *self.tally.images.entry("ended after the instance").or_default() += 1;
                    }
                    return;
                };
                let made = !life.images.contains_key(image);
                let seen =
                    life.images.entry(image.clone()).or_insert(ImageSeen { made: at, state, since: at });
                (seen.state, seen.since) = (state, at);
                if made && let Some(group) = self.groups.get_mut(&life.group) {
                    let recent = group.images.iter().filter(|(made, _)| *made > at - TimeDelta::hours(1));
                    if recent.filter(|(_, id)| !self.failed_images.contains_key(id)).count()
                        >= MAX_IMAGES_PER_HOUR
                    {
                        *self.tally.limits.entry("an image beyond MAX_IMAGES_PER_HOUR").or_default() += 1;
                    }
                    group.images.push((at, image.clone()));
                }
            }
            _ => {}
        }
    }

    fn state(&mut self, at: DateTime<Utc>, group: &str, id: &str, state: &'static str) {
        self.see_groups(at, group);
        let Some(mut life) = self.lives.remove(id).or_else(|| {
            (!self.gone.contains(id)).then(|| {
                self.tally.instances += 1;
                self.check(Invariant::LaunchSucceeds);
                let mut life = Life::new(id, group);
                life.note(at, &format!("in {group}: {state}"));
                life
            })
        }) else {
            return;
        };
        if let Some(hold) = life.hold.take_if(|hold| hold.over.is_some()) {
            self.judge(&life, &hold);
        }
        if let Some(hold) = &mut life.hold {
            hold.over = Some(at);
        }
        if state.ends_with(":Wait") {
            life.hold = self.hold(id);
            let terminating = life.hold.as_ref().is_some_and(|hold| !hold.launching);
            life.unreachable |= life.hold.as_ref().is_some_and(|hold| hold.unreachable);
            (life.held, life.waited) = (life.held | terminating, life.waited | terminating);
        }
        match state {
            "InService" => (life.served, life.held, life.unhooked) = (true, false, false),
            "Terminating" | "Terminating:Proceed" | "Terminated" | "Warmed:Pending" => {
                life.unhooked |= self.has_no_terminating_hook(group)
            }
            "Warmed:Running" => self.returned(&mut life),
            _ => {}
        }
        life.state = state;
        if state.ends_with("Terminated") {
            self.bury(at, &life);
            self.gone.insert(id.to_owned());
        } else {
            self.lives.insert(id.to_owned(), life);
        }
    }

    /// The wait that the instance has just begun; its groups have one hook for each transition.
    fn hold(&self, id: &str) -> Option<Hold> {
        self.lab.world(|world| {
            let instance = world.autoscaling.instance(id)?;
            let wait = instance.waits.values().next()?;
            Some(Hold {
                state: instance.state,
                healthy: instance.healthy,
                wanted: is_wanted(world, &instance.group),
                hook: wait.hook.name.clone(),
                token: wait.token.clone(),
                launching: wait.hook.transition == Transition::Launching,
                since: wait.started,
                beat: wait.started,
                timeout: TimeDelta::from_std(wait.hook.heartbeat_timeout).unwrap_or(TimeDelta::MAX),
                global: TimeDelta::from_std(wait.hook.global_timeout()).unwrap_or(TimeDelta::MAX),
                over: None,
                completed: None,
                unreachable: !is_reachable(world, id),
                refused: false,
                vanished: false,
                disturbed: false,
                lost: false,
                given_up: false,
            })
        })
    }

    /// Notices groups that have come or gone.
    fn see_groups(&mut self, at: DateTime<Utc>, group: &str) {
        let Self { lab, groups, .. } = self;
        lab.world(|world| {
            if let Some(found) = world.autoscaling.group(group) {
                groups.entry(group.to_owned()).or_insert_with(|| Group::new(found.created));
            }
            for (name, group) in groups.iter_mut().filter(|(_, group)| group.gone.is_none()) {
                if world.autoscaling.group(name).is_none() {
                    group.gone = Some(at);
                }
            }
        });
    }

    fn faulted(&mut self, fault: EventFault, event: &Value) {
        *self.tally.events.entry(format!("{fault:?}")).or_default() += 1;
        if matches!(fault, EventFault::Lost | EventFault::Delayed)
            && let Some(hold) = self.hold_of(event)
        {
            hold.lost = true;
        }
    }

    /// The wait of a lifecycle event, if it is the instance's present or last one.
    fn hold_of(&mut self, event: &Value) -> Option<&mut Hold> {
        let life = self.lives.get_mut(event["detail"]["EC2InstanceId"].as_str()?)?;
        let token = event["detail"]["LifecycleActionToken"].as_str()?;
        life.hold.as_mut().filter(|hold| hold.token == token)
    }

    fn called(&mut self, at: DateTime<Utc>, call: &Call) {
        if call.caller == "operator" {
            return self.touched(at, call);
        }
        let disturbed = is_disturbed(call.outcome);
        let (all, throttled) = self.tally.calls.entry(call.caller.clone()).or_default();
        *all += 1;
        *throttled += u64::from(is_throttle(call.outcome));
        if disturbed {
            self.disturbed.insert(call.caller.clone(), at);
            for run in self.runs.values_mut().filter(|run| run.function == call.caller) {
                run.undisturbed = false;
            }
            if [ami_snapshotter::NAME, IMAGE_SWEEP].contains(&call.caller.as_str()) {
                for hold in self.lives.values_mut().filter_map(|life| life.hold.as_mut()) {
                    hold.disturbed = true;
                }
            }
        }
        // A call that the bucket refuses takes nothing from it.
        if call.service == "autoscaling" && !is_throttle(call.outcome) {
            self.count_call(at);
        }
        if !disturbed {
            self.count_call_of_sweep(&call.caller);
        }
        self.check_target(call);
        let took_effect = call.outcome.took_effect();
        if call.action == "UpdateFunctionConfiguration" && took_effect {
            self.check_variables();
        }
        let parameter = |name| call.parameter(name).unwrap_or_default().to_owned();
        let id = parameter("InstanceId");
        let Some(life) = self.lives.get_mut(&id) else { return };
        let Some(hold) = &mut life.hold else { return };
        match call.action.as_str() {
            "CompleteLifecycleAction" if took_effect && hold.over.is_none_or(|over| over == at) => {
                let result = parameter("LifecycleActionResult");
                let runs = self.runs.iter().filter(|(_, run)| run.function == call.caller);
                let is_older = runs.clone().any(|(_, run)| run.started < hold.since);
                let may_be_of_earlier = is_older && call.parameter("LifecycleActionToken").is_none();
                let runs = runs.map(|(id, _)| id.clone()).collect();
                hold.completed = Some(Completion { at, result, runs, may_be_of_earlier });
                life.by_policy |= !hold.launching && hold.ends_soon(at);
                self.lab.world(|world| {
                    hold.wanted &= is_wanted(world, &life.group);
                    hold.healthy &= world.autoscaling.instance(&id).is_some_and(|one| one.healthy);
                });
            }
            "RecordLifecycleActionHeartbeat" if took_effect => {
                hold.beat = at;
                self.prolonged(at, &id);
            }
            "CreateImage" if !took_effect => {
                // A passing failure is no refusal: another attempt can succeed.
                let denied =
                    matches!(call.outcome.error_code(), Some("AccessDenied" | "UnauthorizedOperation"));
                hold.refused |= denied || !disturbed;
                life.refused |= hold.refused;
                let state = self.lab.world(|world| world.ec2.instance(&id).map(|one| one.state));
                let gone =
                    matches!(state, None | Some(InstanceState::ShuttingDown | InstanceState::Terminated));
                hold.vanished |= gone;
            }
            _ => {}
        }
    }

    fn ended(&mut self, at: DateTime<Utc>, run: &Run, result: &Result<Value, RunError>) {
        let (all, failed) = self.tally.runs.entry(run.function.clone()).or_default();
        *all += 1;
        *failed += u64::from(result.is_err());
        let Some(mut seen) = self.runs.remove(&run.request_id) else { return };
        seen.ended = Some(at);
        seen.clean = seen.undisturbed && result.is_ok();
        if !seen.clean {
            self.reports.disturbed(at, &run.request_id);
        }
        if run.function.ends_with("sweep") {
            self.see_groups(at, "");
            self.check_costs(&seen);
            for life in self.lives.values_mut().filter(|life| life::is_found_by(&run.function, life)) {
                let disturbed = if seen.clean { "" } else { ", disturbed" };
                life.note(at, &format!("{} ends{disturbed}: {}", run.function, life::answer(result)));
            }
            self.sweeps.push(seen);
            return;
        }
        if run.function == ecs_scheduler::NAME && seen.clean {
            self.check_services(seen.started, at);
        }
        if run.function == lt_ami_refresher::NAME {
            self.check_template(at, &seen, run, result);
        }
        if result.is_err()
            && !seen.undisturbed
            && run.attempt == MAX_ATTEMPTS
            && let Some(hold) = self.hold_of(&run.payload)
        {
            hold.given_up = true;
        }
    }

    /// The instances that something is about.
    fn concerned(&self, what: &What) -> Vec<String> {
        let of_detail = |event: &Value| {
            let detail = &event["detail"];
            let direct = ["EC2InstanceId", "instance-id"].into_iter().find_map(|key| detail[key].as_str());
            let image =
                detail["ImageId"].as_str().and_then(|image| self.instances_of.get(image).map(String::as_str));
            direct.or(image).map(str::to_owned).into_iter().collect()
        };
        match what {
            What::Seen(Sight::State { instance, .. } | Sight::Command { instance, .. }) => {
                vec![instance.clone()]
            }
            What::Seen(Sight::Activity(activity)) => vec![activity.instance.clone()],
            What::Seen(Sight::Image { image, .. }) => {
                self.instances_of.get(image).cloned().into_iter().collect()
            }
            What::Sent(event) | What::Faulted(_, event) => of_detail(event),
            What::Started(run) | What::Ended(run, _) => of_detail(&run.payload),
            What::Throttled { payload, .. } => of_detail(payload),
            What::Called(call) => life::instances_in(&call.parameters),
            What::Logged { line, .. } if reports::is_failure(line) => {
                life::instances_in(std::slice::from_ref(line))
            }
            What::Seen(_) | What::Logged { .. } => Vec::new(),
        }
    }

    /// Why a command timed out, as AWS details it.
    fn details_of(&self, command: &str) -> &'static str {
        self.lab.world(|world| {
            let found = world.run_command.commands().iter().rev().find(|one| one.id == command);
            found.and_then(|one| one.invocations.first()).map_or("TimedOut", |one| one.status_details)
        })
    }

    /// Whether the instances of a group leave service past no hook.
    fn has_no_terminating_hook(&self, group: &str) -> bool {
        self.lab.world(|world| {
            let found = world.autoscaling.group(group);
            let terminates = |hook: &Hook| hook.transition == Transition::Terminating;
            found.is_none_or(|group| !group.hooks.values().any(terminates))
        })
    }

    /// Counts that it was looked whether this holds.
    fn check(&mut self, invariant: Invariant) {
        self.tally.checks.entry(invariant).or_default().0 += 1;
    }

    fn violate(&mut self, invariant: Invariant, what: String) {
        self.tally.checks.entry(invariant).or_default().1 += 1;
        self.violations.push(Violation { what, instance: None, history: Vec::new() });
    }

    fn violate_of(&mut self, invariant: Invariant, life: &Life, what: String) {
        self.violate_with(invariant, &life.id, life.history.clone(), what);
    }

    fn violate_with(&mut self, invariant: Invariant, id: &str, history: Vec<String>, what: String) {
        self.violate(invariant, what);
        if let Some(violation) = self.violations.last_mut() {
            violation.instance = Some(id.to_owned());
            violation.history = history;
        }
        if let Some(recording) = &mut self.recording {
            recording.keep(id);
        }
    }
}

/// Whether commands reach the instance at once.
fn is_reachable(world: &World, instance: &str) -> bool {
    world.agent(instance) == Some(Ping::Online)
}

/// Whether the group wants instances.
fn is_wanted(world: &World, group: &str) -> bool {
    world.autoscaling.group(group).is_some_and(|group| group.desired > 0)
}
