//! Scaling activities: what Application Auto Scaling does after a registration to bring a service's desired count into
//! the bounds, and how it tells of it. An activity begins a moment after the answer, sets the count, and ends when the
//! service has followed or somebody else has changed the count.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{DIMENSION, NAMESPACE, check_namespace, page, resource};
use crate::aws::json_api::epoch;
use crate::aws::request::Answer;
use crate::aws::world::World;

/// From the answer of `RegisterScalableTarget` until the activity begins. Recorded.
const START_DELAY: Duration = Duration::from_millis(150);

/// From a change of the service until its activity shows it. Recorded: a change by somebody else showed 15 s later.
const NOTICE_DELAY: Duration = Duration::from_secs(15);

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Timer {
    /// A target was registered.
    Registered { resource: String },
    /// An activity sets the desired count.
    Set { activity: usize },
    /// An activity shows what became of the service.
    Notice { activity: usize },
}

/// An activity that began.
#[derive(Debug)]
pub(super) struct Activity {
    resource: String,
    count: u32,
    cause: String,
    start: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
    status: &'static str,
    message: Option<String>,
}

impl World {
    /// A target was registered or updated: its service comes into the bounds some time later.
    pub(super) fn clamp_later(&mut self, resource: String) {
        let delay = START_DELAY.min(self.delays.clamp);
        self.set_target_timer(delay, Timer::Registered { resource });
    }

    pub(crate) fn target_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Registered { resource } => self.begin_activity(resource),
            Timer::Set { activity } => self.set_count(activity),
            Timer::Notice { activity } => self.notice(activity),
        }
    }

    /// The counts of a service changed.
    pub(crate) fn service_moved(&mut self, (cluster, service): &(String, String)) {
        let open = self.scalable_targets.open.get(&super::resource_of(cluster, service));
        for activity in open.cloned().unwrap_or_default() {
            self.set_target_timer(NOTICE_DELAY, Timer::Notice { activity });
        }
    }

    /// Begins an activity where the service is outside of the bounds that the target has by now, after one that has not
    /// set its count yet. One that a deployment holds back does not come later.
    fn begin_activity(&mut self, resource: String) {
        let targets = &self.scalable_targets;
        let last = targets.open.get(&resource).and_then(|open| open.last());
        if last.is_some_and(|place| targets.activities[*place].status == "Pending") {
            return self.clamp_later(resource);
        }
        let (Some(target), Some(service)) = (targets.target(&resource), self.ecs.service_of(&resource))
        else {
            return;
        };
        let count = service.desired.clamp(target.min, target.max);
        let held = targets.deployments_hold_scale_in && service.is_rolling() && count < service.desired;
        if service.status != "ACTIVE" || count == service.desired || held {
            return;
        }
        let (bound, value) =
            if count < service.desired { ("maximum", target.max) } else { ("minimum", target.min) };
        let cause = format!("{bound} capacity was set to {value}");
        let (start, activity) = (self.now(), targets.activities.len());
        self.scalable_targets.open.entry(resource.clone()).or_default().push(activity);
        let begun = Activity { resource, count, cause, start, end: None, status: "Pending", message: None };
        self.scalable_targets.activities.push(begun);
        let delay = self.delays.clamp.saturating_sub(START_DELAY);
        self.set_target_timer(delay, Timer::Set { activity });
    }

    fn set_count(&mut self, place: usize) {
        let activity = &mut self.scalable_targets.activities[place];
        let (resource, count) = (activity.resource.clone(), activity.count);
        let done =
            format!("Successfully set desired count to {count}. Waiting for change to be fulfilled by ecs.");
        (activity.status, activity.message) = ("InProgress", Some(done));
        let (cluster, service) = super::parts(&resource);
        if let Err(error) = self.set_desired_count(cluster, service, count) {
            let failed = format!("Failed to set desired count to {count}. Reason: {error}");
            self.end_activity(place, "Failed", failed);
        }
    }

    fn notice(&mut self, place: usize) {
        let activity = &self.scalable_targets.activities[place];
        let Some(service) =
            self.ecs.service_of(&activity.resource).filter(|_| activity.status == "InProgress")
        else {
            return;
        };
        let count = activity.count;
        let (status, end) = match service.desired {
            desired if desired != count => {
                ("Overridden", format!("Found it was later changed to {desired}."))
            }
            _ if service.running() == count => {
                ("Successful", "Change successfully fulfilled by ecs.".to_owned())
            }
            _ => return,
        };
        self.end_activity(place, status, format!("Successfully set desired count to {count}. {end}"));
    }

    fn end_activity(&mut self, place: usize, status: &'static str, message: String) {
        let (now, targets) = (self.now(), &mut self.scalable_targets);
        let activity = &mut targets.activities[place];
        (activity.status, activity.message, activity.end) = (status, Some(message), Some(now));
        if let Some(open) = targets.open.get_mut(&activity.resource) {
            open.retain(|one| *one != place);
        }
    }

    fn set_target_timer(&mut self, delay: Duration, timer: Timer) {
        self.after(delay, crate::aws::world::Timer::ScalableTarget(timer));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Describe {
    service_namespace: String,
    resource_id: Option<String>,
    scalable_dimension: Option<String>,
    max_results: Option<u64>,
    next_token: Option<String>,
    // There are none: only policies have activities that scale nothing.
    #[serde(rename = "IncludeNotScaledActivities")]
    _include_not_scaled_activities: Option<bool>,
}

/// The activities, those of targets and services that are gone included, the newest first.
pub(super) fn describe(world: &mut World, describe: Describe) -> Answer {
    check_namespace(&describe.service_namespace)?;
    if let Some(id) = &describe.resource_id {
        resource(id, describe.scalable_dimension.as_deref().unwrap_or(DIMENSION))?;
    }
    let activities = world.scalable_targets.activities.iter().enumerate().rev();
    let wanted = activities
        .filter(|(_, activity)| describe.resource_id.as_ref().is_none_or(|id| *id == activity.resource));
    let wanted = wanted.map(|(place, activity)| activity_json(place, activity)).collect();
    let (activities, token) = page(wanted, describe.max_results, describe.next_token.as_deref())?;
    Ok(Some(json!({ "ScalingActivities": activities, "NextToken": token })))
}

fn activity_json(place: usize, activity: &Activity) -> Value {
    let mut answer = json!({
        // Not of the world's stream of random numbers: an activity more must not change the world's ids.
        "ActivityId": format!("{place:08x}-0000-4000-8000-000000000000"),
        "ServiceNamespace": NAMESPACE,
        "ResourceId": activity.resource,
        "ScalableDimension": DIMENSION,
        "Description": format!("Setting desired count to {}.", activity.count),
        "Cause": activity.cause,
        "StartTime": epoch(activity.start),
        "StatusCode": activity.status,
    });
    if let Some(end) = activity.end {
        answer["EndTime"] = epoch(end).into();
    }
    if let Some(message) = &activity.message {
        answer["StatusMessage"] = message.as_str().into();
    }
    answer
}
