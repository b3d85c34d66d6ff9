//! Scaling activities: how they begin, change and end, the event that AWS sends at an end, and their answer's shape.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::journey::Journey;
use super::{Instance, Transition};
use crate::aws::world::{ACCOUNT, Effect, REGION, Sight, World, second, timestamp};

/// A scaling activity.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// Its id.
    pub id: String,
    /// The group's name.
    pub group: String,
    /// The instance; empty when EC2 refused to launch one, and in an activity of the group alone.
    pub instance: String,
    /// `Launching a new EC2 instance: i-…`
    pub description: String,
    /// Why, in AWS's words.
    pub cause: String,
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended.
    pub end: Option<DateTime<Utc>>,
    /// `InProgress`, `MidLifecycleAction`, `Successful`, `Cancelled` …
    pub status: &'static str,
    /// Why it failed.
    pub message: Option<String>,
    /// Percent.
    pub progress: u32,
    /// Where the instance is, as AWS names it.
    pub(super) details: Value,
    pub(super) arn: String,
    /// The way that it is about; none for moves past no hook, and for activities of the group.
    pub(super) journey: Option<Journey>,
}

/// The activity's `Details`: where an instance is.
pub(super) fn details(zone: &str, subnet: Option<&str>) -> Value {
    let mut details = json!({ "Availability Zone": zone, "Availability Zone ID": zone_id(zone) });
    if let Some(subnet) = subnet {
        details["Subnet ID"] = json!(subnet);
    }
    details
}

/// The id of a zone. AWS maps names to ids differently in each account; this is one such map.
pub(super) fn zone_id(zone: &str) -> String {
    let number = match zone.chars().last() {
        Some('a') => 6,
        Some('b') => 1,
        Some('c') => 2,
        Some('d') => 4,
        Some('e') => 3,
        _ => 5,
    };
    format!("use1-az{number}")
}

impl Activity {
    /// As answers show it; the start to the millisecond, the end to the second, so that an end can lie before
    /// its start.
    pub(super) fn to_json(&self, group_lives: bool) -> Value {
        json!({
            "ActivityId": self.id,
            "AutoScalingGroupName": self.group,
            "AutoScalingGroupARN": self.arn,
            "AutoScalingGroupState": if group_lives { "InService" } else { "Deleted" },
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": timestamp(self.start),
            "EndTime": self.end.map(second),
            "StatusCode": self.status,
            "StatusMessage": self.message,
            "Progress": self.progress,
            "Details": self.details.to_string(),
        })
    }

    /// The detail of the event about its end.
    fn event(&self, journey: Journey, end: DateTime<Utc>) -> Value {
        json!({
            "ActivityId": self.id,
            "RequestId": self.id,
            "AutoScalingGroupName": self.group,
            "EC2InstanceId": self.instance,
            "Description": self.description,
            "Cause": self.cause,
            "StartTime": timestamp(self.start),
            "EndTime": timestamp(end),
            "StatusCode": self.status,
            "StatusMessage": self.message.as_deref().unwrap_or_default(),
            "Details": self.details,
            "Origin": journey.origin(),
            "Destination": journey.destination(),
            "Action": journey.action(),
        })
    }
}

impl World {
    /// An activity that begins now, about no instance.
    pub(super) fn new_activity(&mut self, group: &str, description: String, cause: String) -> Activity {
        Activity {
            id: self.uuid(),
            group: group.to_owned(),
            instance: String::new(),
            description,
            cause,
            start: self.now(),
            end: None,
            status: "InProgress",
            message: None,
            progress: 0,
            details: json!({}),
            arn: self.autoscaling.groups[group].arn.clone(),
            journey: None,
        }
    }

    /// An activity about an instance that begins now.
    pub(super) fn new_activity_of(&mut self, id: &str, description: String, cause: String) -> Activity {
        let Instance { group, zone, .. } = self.instance_ref(id).clone();
        let subnet = self.ec2.instance(id).and_then(|instance| instance.subnet().map(str::to_owned));
        let activity = self.new_activity(&group, description, cause);
        Activity { instance: id.to_owned(), details: details(&zone, subnet.as_deref()), ..activity }
    }

    /// Puts an activity on record; answers its index.
    pub(super) fn record(&mut self, activity: Activity) -> usize {
        self.autoscaling.activities.push(activity);
        let index = self.autoscaling.activities.len() - 1;
        self.see_activity(index);
        index
    }

    /// An activity of the group that ended as soon as it began, `Cancelled`.
    pub(super) fn record_cancelled(&mut self, group: &str, description: &str, cause: String) {
        let activity = self.new_activity(group, description.to_owned(), cause);
        let end = Some(activity.start);
        self.record(Activity { end, status: "Cancelled", progress: 100, ..activity });
    }

    /// Changes the running activity of an instance.
    pub(super) fn update_activity(&mut self, id: &str, status: &'static str, progress: u32) {
        if let Some(index) = self.instance_ref(id).activity {
            let activity = &mut self.autoscaling.activities[index];
            (activity.status, activity.progress) = (status, progress);
            self.see_activity(index);
        }
    }

    fn see_activity(&mut self, index: usize) {
        let activity = self.autoscaling.activities[index].clone();
        self.send(Effect::Seen(Sight::Activity(activity)));
    }

    /// Ends the instance's activity, and sends the event about it. The event shows the activity as it was
    /// before, but for launches that came to nothing.
    pub(super) fn finish_activity(&mut self, id: &str, status: &'static str, message: Option<String>) {
        let now = self.now();
        let Some(index) = self.instance_mut(id).activity.take() else {
            return;
        };
        let activity = &mut self.autoscaling.activities[index];
        let before = activity.clone();
        (activity.status, activity.progress, activity.end) = (status, 100, Some(now));
        if let Some(message) = &message {
            activity.description += &format!(".  Status Reason: {message}");
        }
        activity.message = message;
        let after = activity.clone();
        self.see_activity(index);
        let launch = before.journey.is_some_and(|journey| journey.transition() == Transition::Launching);
        let shown = if launch && status != "Successful" { &after } else { &before };
        self.tell_end(shown, status == "Successful");
    }

    /// Sends the event that AWS sends when an activity has ended. None is known about root volumes.
    pub(super) fn tell_end(&mut self, activity: &Activity, successful: bool) {
        let Some(journey) = activity.journey else { return };
        if journey.action() == "ReplaceRootVolume" && successful {
            return;
        }
        let what = match journey.transition() {
            Transition::Launching => "Launch",
            Transition::Terminating => "Terminate",
        };
        let how = if successful { "Successful" } else { "Unsuccessful" };
        let mut resources = vec![activity.arn.clone()];
        if !activity.instance.is_empty() {
            resources.push(format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{}", activity.instance));
        }
        let detail = activity.event(journey, self.now());
        self.send_event("aws.autoscaling", &format!("EC2 Instance {what} {how}"), resources, detail);
    }

    /// The activity as answers show it now.
    pub(super) fn activity_json(&self, activity: &Activity) -> Value {
        let group = self.autoscaling.groups.get(&activity.group);
        activity.to_json(group.is_some_and(|group| group.arn == activity.arn))
    }
}
