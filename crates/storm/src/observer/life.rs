//! The observer's facts about instances, their waits, commands and images, and about groups.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_lab::{RunError, Sight, What};
use serde_json::Value;

use crate::scene::{
    APPS, DELIVERY_TIMEOUT, DRAIN_SWEEP, DRAIN_TIMEOUT, IMAGE_SWEEP, IMAGE_TIMEOUT, LAUNCH_SWEEP,
};

/// Time between two sweeps of terminate-drainer and of ami-snapshotter.
const SWEEP_INTERVAL: TimeDelta = TimeDelta::minutes(5);

/// How much later a sweep can come, and how much earlier a function can take a wait to have begun.
const SWEEP_SLACK: TimeDelta = TimeDelta::seconds(90);

/// Characters of an instance's id.
const ID: usize = 19;

/// One instance.
pub(super) struct Life {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) state: &'static str,
    /// Whether it was in service, and not in the warm pool since.
    pub(super) served: bool,
    /// Whether a terminating hook has held it since then.
    pub(super) held: bool,
    /// Why it is terminated, in AWS's words.
    pub(super) cause: String,
    /// Whether its group had no terminating hook when it left service.
    pub(super) unhooked: bool,
    /// Whether it was ever in a terminating hook.
    pub(super) waited: bool,
    /// Whether an earlier termination of it was cancelled.
    pub(super) cancelled: bool,
    /// Whether EC2 had begun to shut it down before Auto Scaling terminated it, as it does with Spot instances.
    pub(super) reclaimed: bool,
    pub(super) commands: BTreeMap<String, CommandSeen>,
    /// Whether its agent could not be reached during a wait.
    pub(super) unreachable: bool,
    /// Whether EC2 refused to make an image of it, for good.
    pub(super) refused: bool,
    /// Whether a wait of it was answered by policy, because it would have ended before the next sweep.
    pub(super) by_policy: bool,
    pub(super) images: BTreeMap<String, ImageSeen>,
    /// Its wait: the present one, or the last one until it is judged.
    pub(super) hold: Option<Hold>,
    pub(super) history: Vec<String>,
}

/// Statuses of commands that the instance has.
const DELIVERED: [&str; 4] = ["InProgress", "Success", "Failed", "ExecutionTimedOut"];

/// A command on an instance.
pub(super) struct CommandSeen {
    pub(super) sent: DateTime<Utc>,
    /// Its statuses, and since when it had them.
    pub(super) statuses: Vec<(DateTime<Utc>, &'static str)>,
}

impl CommandSeen {
    /// What it was at this time.
    pub(super) fn status_at(&self, time: DateTime<Utc>) -> &'static str {
        let until_then = self.statuses.iter().take_while(|(since, _)| *since <= time);
        until_then.last().map_or("Pending", |(_, status)| status)
    }

    /// Whether the instance ran it, as far as AWS says. At first, AWS says `InProgress` of every command, and in the end
    /// `DeliveryTimedOut` also of one whose agent was restarted.
    pub(super) fn was_delivered(&self) -> bool {
        let mut since_pending = self.statuses.iter().rev().take_while(|(_, status)| *status != "Pending");
        let timed_out = self.statuses.last().is_some_and(|(_, status)| *status == "DeliveryTimedOut");
        !timed_out && since_pending.any(|(_, status)| DELIVERED.contains(status))
    }

    /// When terminate-drainer no longer waits for it.
    pub(super) fn ends(&self) -> DateTime<Utc> {
        self.sent + DELIVERY_TIMEOUT + DRAIN_TIMEOUT + TimeDelta::minutes(5)
    }

    /// When it ended, if it has.
    pub(super) fn ended(&self) -> Option<DateTime<Utc>> {
        let (since, status) = self.statuses.last()?;
        (!["Pending", "InProgress", "Delayed"].contains(status)).then_some(*since)
    }
}

/// An image of an instance.
pub(super) struct ImageSeen {
    pub(super) made: DateTime<Utc>,
    pub(super) state: &'static str,
    /// Since when it is in this state.
    pub(super) since: DateTime<Utc>,
}

impl ImageSeen {
    /// Whether it was made, or had failed, or had been pending for too long, by this time.
    pub(super) fn ready_at(&self, time: DateTime<Utc>) -> bool {
        self.state != "pending" && self.since <= time || self.ends() <= time
    }

    /// When ami-snapshotter no longer waits for it. AWS shows whole seconds.
    pub(super) fn ends(&self) -> DateTime<Utc> {
        self.made + IMAGE_TIMEOUT - TimeDelta::seconds(1)
    }
}

/// A wait in a hook.
pub(super) struct Hold {
    pub(super) hook: String,
    /// The state of the instance in it.
    pub(super) state: &'static str,
    /// Whether Auto Scaling reports the instance as healthy.
    pub(super) healthy: bool,
    /// Whether the group still wanted instances, when it began and when it was completed.
    pub(super) wanted: bool,
    pub(super) token: String,
    pub(super) launching: bool,
    pub(super) since: DateTime<Utc>,
    /// The last heartbeat, or the beginning.
    pub(super) beat: DateTime<Utc>,
    pub(super) timeout: TimeDelta,
    /// How long it may last, whatever heartbeats there are.
    pub(super) global: TimeDelta,
    pub(super) over: Option<DateTime<Utc>>,
    pub(super) completed: Option<Completion>,
    /// Whether its agent was seen not to be reachable.
    pub(super) unreachable: bool,
    /// Whether EC2 refused to make an image, for good.
    pub(super) refused: bool,
    /// Whether the instance was gone from EC2 then.
    pub(super) vanished: bool,
    /// Whether a call of ami-snapshotter's was disturbed meanwhile.
    pub(super) disturbed: bool,
    /// Whether its event was lost, or comes minutes late.
    pub(super) lost: bool,
    /// Whether the last attempt at its event failed because it was disturbed.
    pub(super) given_up: bool,
}

impl Hold {
    /// Whether only the root volume of the instance is replaced.
    pub(super) fn replaces_root_volume(&self) -> bool {
        self.state.starts_with("ReplacingRootVolume")
    }

    /// Whether it would have ended before the next sweep, so that its policy had to decide. A function can take the
    /// beginning of the activity for that of the wait.
    pub(super) fn ends_soon(&self, at: DateTime<Utc>) -> bool {
        let ends = (self.beat + self.timeout).min(self.since + self.global);
        ends <= at + SWEEP_INTERVAL + SWEEP_SLACK
    }
}

/// How a wait was completed by a call.
pub(super) struct Completion {
    pub(super) at: DateTime<Utc>,
    pub(super) result: String,
    /// The runs of the caller that were under way.
    pub(super) runs: BTreeSet<String>,
    /// Whether it names the instance alone, and a run that is older than the wait may have made it: the completion of
    /// the instance's wait before, which had no answer and was repeated.
    pub(super) may_be_of_earlier: bool,
}

/// A group.
pub(super) struct Group {
    pub(super) created: DateTime<Utc>,
    /// When it was seen to be gone.
    pub(super) gone: Option<DateTime<Utc>>,
    /// The images of its instances, and when they were made.
    pub(super) images: Vec<(DateTime<Utc>, String)>,
}

impl Group {
    pub(super) fn new(created: DateTime<Utc>) -> Self {
        Self { created, gone: None, images: Vec::new() }
    }
}

impl Life {
    pub(super) fn new(id: &str, group: &str) -> Self {
        Self {
            id: id.to_owned(),
            group: group.to_owned(),
            state: "",
            served: false,
            held: false,
            cause: String::new(),
            unhooked: false,
            cancelled: false,
            waited: false,
            unreachable: false,
            refused: false,
            by_policy: false,
            reclaimed: false,
            commands: BTreeMap::new(),
            images: BTreeMap::new(),
            hold: None,
            history: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, at: DateTime<Utc>, text: &str) {
        self.history.push(format!("{}  {text}", at.format("%a %H:%M:%S%.3f")));
    }
}

/// The ids of instances that stand in the parameters of a call.
pub(super) fn instances_in(parameters: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for line in parameters {
        for (start, _) in line.match_indices("i-0") {
            let alone = !line[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
            if alone
                && let Some(id) = line.get(start..start + ID)
                && !found.iter().any(|known| known == id)
            {
                found.push(id.to_owned());
            }
        }
    }
    found
}

/// One line for what happened.
pub(super) fn line(what: &What) -> String {
    let kind = |event: &Value| event["detail-type"].as_str().unwrap_or("?").to_owned();
    match what {
        What::Seen(Sight::State { state, .. }) => (*state).to_owned(),
        What::Seen(Sight::Activity(activity)) => {
            format!("activity {}: {} {}", activity.status, activity.description, activity.cause)
        }
        What::Seen(Sight::Command { command, status, .. }) => format!("command {command}: {status}"),
        What::Seen(Sight::Image { image, state, .. }) => format!("image {image}: {state}"),
        What::Seen(other) => format!("{other:?}"),
        What::Sent(event) => format!("event: {}", kind(event)),
        What::Faulted(fault, event) => format!("{fault:?} on its way: {}", kind(event)),
        What::Called(call) => {
            let result = call.parameter("LifecycleActionResult");
            let result = result.map(|result| format!(" {result}")).unwrap_or_default();
            format!("{} calls {}{result}: {}", call.caller, call.action, call.outcome)
        }
        What::Throttled { function, payload } => {
            format!("Lambda has no room for {function}: {} is throttled", kind(payload))
        }
        What::Started(run) => {
            let id = &run.request_id[..8];
            format!("{} runs for {}, attempt {} ({id})", run.function, kind(&run.payload), run.attempt)
        }
        What::Ended(run, result) => {
            format!("{} ends ({}): {}", run.function, &run.request_id[..8], answer(result))
        }
        What::Logged { line, .. } => line.clone(),
    }
}

/// What a function answered, in a line.
pub(super) fn answer(result: &Result<Value, RunError>) -> String {
    match result {
        Ok(answer) => answer.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Whether a sweep finds the wait of this instance.
pub(super) fn is_found_by(sweep: &str, life: &Life) -> bool {
    let app = life.group.starts_with(APPS);
    life.hold.as_ref().filter(|hold| hold.over.is_none()).is_some_and(|hold| match sweep {
        LAUNCH_SWEEP => app && hold.launching,
        DRAIN_SWEEP => app && !hold.launching,
        IMAGE_SWEEP => !app,
        _ => false,
    })
}
