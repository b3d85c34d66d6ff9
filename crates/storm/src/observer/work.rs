//! Checks the invariants of waits, of sweeps and of what belongs to others: a wait is prolonged for work only and ends
//! by its policy, a sweep costs what waits, and nothing is changed that belongs to others or does not wait.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_lab::autoscaling::Transition;
use lifecycle_lab::{Call, World};

use super::life::{Hold, Life, is_found_by};
use super::rules::MIN_SWEEPS;
use super::{Observer, RunSeen};
use crate::invariant::Invariant;
use crate::scene::{APPS, FOREIGN, IMAGE_SWEEP, is_foreign, leaves_images};

/// A run reads how work is, and prolongs the wait so much later at most: terminate-drainer's time limit.
const LAG: TimeDelta = TimeDelta::seconds(60);

/// Calls that a sweep makes where nothing waits: pages of groups, and a look at the function's own configuration.
const BASE_CALLS: usize = 10;

/// Calls for each group: its hooks, its warm pool, and pages of its scaling activities, present and cancelled.
const CALLS_PER_GROUP: usize = 6;

/// Calls for each wait: a look at the agent and at the work, its start or cancellation, and the completion, some of
/// them in pages or twice.
const CALLS_PER_WAIT: usize = 10;

impl Observer {
    /// A wait was prolonged. Is there work for it that has not run out of its own time?
    pub(super) fn prolonged(&mut self, at: DateTime<Utc>, id: &str) {
        self.check(Invariant::ProlongedForWork);
        let Some(life) = self.lives.remove(id) else { return };
        if let Some(hold) = &life.hold
            && !has_work(&life, hold, at)
        {
            let what = "its wait was prolonged without work under way";
            self.accuse(Invariant::ProlongedForWork, &life, what);
        }
        self.lives.insert(id.to_owned(), life);
    }

    /// A wait is over. AWS ends it within its hook's timeout after its work, and undisturbed sweeps do so before.
    pub(super) fn judge_length(&mut self, life: &Life, hold: &Hold, sweep: &str) {
        let over = hold.over.unwrap_or(hold.since);
        let commands = life.commands.values().filter(|command| command.sent >= hold.since);
        let commands = commands.map(|command| command.ended().unwrap_or(command.ends()).min(command.ends()));
        let images = life.images.values().filter(|image| image.made >= hold.since);
        let images = images.map(|image| match image.state {
            "pending" => image.ends(),
            _ => image.since.min(image.ends()),
        });
        let worked_until = commands.chain(images).max();
        let last = worked_until.unwrap_or(hold.since).max(hold.since);
        self.check(Invariant::EndsByPolicy);
        if over > last + hold.timeout + LAG {
            self.accuse(Invariant::EndsByPolicy, life, "its wait lasted longer than its policy allows");
        } else if worked_until.is_some() && self.swept(sweep, last + LAG, over, MIN_SWEEPS) {
            let what = "its wait lasted longer than its policy allows: undisturbed sweeps saw that its work was over";
            self.accuse(Invariant::EndsByPolicy, life, what);
        }
    }

    /// The tokens of the waits that a sweep can find now.
    pub(super) fn waits_of(&self, sweep: &str) -> BTreeSet<String> {
        let waiting = self.lives.values().filter(|life| is_found_by(sweep, life));
        waiting.filter_map(|life| life.hold.as_ref().map(|hold| hold.token.clone())).collect()
    }

    /// A call of a function was answered.
    pub(super) fn count_call_of_sweep(&mut self, caller: &str) {
        if !caller.ends_with("sweep") {
            return;
        }
        let waits = self.waits_of(caller);
        for run in self.runs.values_mut().filter(|run| run.function == caller) {
            run.calls += 1;
            run.waits.extend(waits.iter().cloned());
        }
    }

    /// A sweep has ended. Runs of one function at the same time can't be told apart.
    pub(super) fn check_costs(&mut self, run: &RunSeen) {
        if !run.alone {
            return;
        }
        self.check(Invariant::SweepCostsWhatWaits);
        let mine = |name: &str| leaves_images(name) == (run.function == IMAGE_SWEEP) && !is_foreign(name);
        let lived = |gone: Option<DateTime<Utc>>| gone.is_none_or(|gone| gone >= run.started);
        let groups = self.groups.iter().filter(|(name, group)| mine(name) && lived(group.gone)).count();
        let allowed = BASE_CALLS + CALLS_PER_GROUP * groups + CALLS_PER_WAIT * run.waits.len();
        if run.calls > allowed {
            let what = format!(
                "{} made {} calls for {} waits in {groups} groups, more than {allowed}, from {}",
                run.function,
                run.calls,
                run.waits.len(),
                run.started
            );
            self.violate(Invariant::SweepCostsWhatWaits, what);
        }
    }

    /// A function changed something. Was it its own, and did it wait?
    pub(super) fn check_target(&mut self, call: &Call) {
        let reads = ["Describe", "List", "Get"].iter().any(|reads| call.action.starts_with(reads));
        if reads || !call.outcome.took_effect() {
            return;
        }
        self.check(Invariant::ForeignLeftAlone);
        if let Some(what) = self.wrong_target(call) {
            let what = format!("{} called {} on {what}", call.caller, call.action);
            self.violate(Invariant::ForeignLeftAlone, what);
        }
    }

    /// What a call changed, if it should not have.
    fn wrong_target(&self, call: &Call) -> Option<String> {
        let values = || call.parameters.iter().filter_map(|line| Some(line.split_once('=')?.1));
        let foreign = self.lab.world(|world| {
            values().find(|value| {
                let group = world.autoscaling.instance(value).is_some_and(|one| is_foreign(&one.group));
                let image = world.ec2.image(value).is_some_and(|image| image.name.starts_with(FOREIGN));
                group || image || is_foreign(value)
            })
        });
        if let Some(value) = foreign {
            return Some(format!("{value}, which belongs to others"));
        }
        if ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"].contains(&call.action.as_str()) {
            let hook = call.parameter("LifecycleHookName").unwrap_or_default();
            let group = call.parameter("AutoScalingGroupName").unwrap_or_default();
            let (app, found) = (group.starts_with(APPS), self.transition(group, hook));
            let own = match call.caller.split('\'').next() {
                Some(launch_logger::NAME) => app && found != Some(Transition::Terminating),
                Some(terminate_drainer::NAME) => app && found != Some(Transition::Launching),
                Some(ami_snapshotter::NAME) => leaves_images(group),
                _ => true,
            };
            return (!own).then(|| format!("{hook} of {group}, which is not its hook"));
        }
        if ["SendCommand", "CreateImage"].contains(&call.action.as_str()) {
            let waits = |id: &&str| self.lives.get(*id).is_none_or(|life| life.waited);
            let idle = values().filter(|value| value.starts_with("i-")).find(|id| !waits(id))?;
            return Some(format!("{idle}, which waits in no terminating hook"));
        }
        None
    }

    /// The transition of a hook; there may be none of this name any more.
    fn transition(&self, group: &str, hook: &str) -> Option<Transition> {
        let of_group = |world: &mut World| Some(world.autoscaling.group(group)?.hooks.get(hook)?.transition);
        self.lab.world(of_group)
    }
}

/// Whether something was under way for a wait, or had just ended.
fn has_work(life: &Life, hold: &Hold, at: DateTime<Utc>) -> bool {
    let runs = |since: DateTime<Utc>, ended: Option<DateTime<Utc>>, ends: DateTime<Utc>| {
        since >= hold.since && ended.is_none_or(|ended| at < ended + LAG) && at < ends + LAG
    };
    let mut commands = life.commands.values();
    let mut images = life.images.values();
    commands.any(|command| runs(command.sent, command.ended(), command.ends()))
        || images
            .any(|image| runs(image.made, (image.state != "pending").then_some(image.since), image.ends()))
}
