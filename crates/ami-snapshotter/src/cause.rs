//! Reads why an instance terminates from the `Cause` text of its scaling activity. AWS writes these texts for people
//! and documents few of them. They contain names of alarms, policies and scheduled actions, which can look like
//! anything, so only AWS's own phrases at their own positions count.
//!
//! Sources: <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-verify-scaling-activity.html>,
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/replace-unhealthy-instance.html> and public logs.

use std::fmt;
use std::str::FromStr;

use lifecycle_core::pending::Activity;

/// Why an instance terminates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// EC2 found the instance stopped, terminated or impaired.
    HealthCheckEc2,
    /// The load balancer found it unhealthy.
    HealthCheckElb,
    /// An instance refresh replaces it.
    InstanceRefresh,
    /// A scheduled action shrank the group.
    ScheduledAction,
    /// An operator, or CloudFormation, terminated the instance, or shrank or deleted its group.
    UserRequest,
    /// It has reached the group's maximum instance lifetime.
    MaxLifetime,
    /// The group balances its Availability Zones, or replaces a Spot Instance at risk.
    Rebalance,
    /// An alarm or a policy shrank the group.
    ScalingPolicy,
    /// EC2 takes a Spot Instance back.
    SpotInterruption,
    /// Its launch was abandoned, so it never served.
    LaunchFailure,
    /// Another cause, or none that is known.
    Unknown,
}

const NAMES: [(&str, Cause); 11] = [
    ("health-check-ec2", Cause::HealthCheckEc2),
    ("health-check-elb", Cause::HealthCheckElb),
    ("instance-refresh", Cause::InstanceRefresh),
    ("scheduled-action", Cause::ScheduledAction),
    ("user-request", Cause::UserRequest),
    ("max-lifetime", Cause::MaxLifetime),
    ("rebalance", Cause::Rebalance),
    ("scaling-policy", Cause::ScalingPolicy),
    ("spot-interruption", Cause::SpotInterruption),
    ("launch-failure", Cause::LaunchFailure),
    ("unknown", Cause::Unknown),
];

/// The prefixes of a cause's first statement, after its time.
const STATEMENT_PREFIXES: [(&str, Cause); 9] = [
    ("a user request ", Cause::UserRequest),
    ("a scheduled action ", Cause::ScheduledAction),
    ("the scheduled action ", Cause::ScheduledAction),
    ("a monitor alarm ", Cause::ScalingPolicy),
    ("a predictive scaling ", Cause::ScalingPolicy),
    ("predictive scaling ", Cause::ScalingPolicy),
    ("a scaling policy ", Cause::ScalingPolicy),
    ("instances were launched to balance instances in zones ", Cause::Rebalance),
    ("an instance was launched to balance instances in zones ", Cause::Rebalance),
];

/// The prefixes of the reason after "in response to", without the article, in lower case.
const RESPONSE_PREFIXES: [(&str, Cause); 16] = [
    ("ec2 health check", Cause::HealthCheckEc2),
    ("ec2 instance status check", Cause::HealthCheckEc2),
    ("system health-check", Cause::HealthCheckEc2),
    ("ebs volume health check", Cause::HealthCheckEc2),
    ("elb system health check", Cause::HealthCheckElb),
    ("elb health check", Cause::HealthCheckElb),
    ("instance refresh", Cause::InstanceRefresh),
    ("scheduled action", Cause::ScheduledAction),
    ("user request", Cause::UserRequest),
    ("group deletion", Cause::UserRequest),
    ("launch failure", Cause::LaunchFailure),
    ("ec2 instance rebalance recommendation", Cause::Rebalance),
    ("instance rebalance recommendation", Cause::Rebalance),
    ("ec2 spot", Cause::SpotInterruption),
    ("spot interruption", Cause::SpotInterruption),
    ("spot instance interruption", Cause::SpotInterruption),
];

/// Words of the causes that report a failure, in lower case. With one of them, a cause that is not known stays
/// unknown, even in a group that is being deleted.
const FAILURE_WORDS: [&str; 5] = ["health", "fail", "impair", "interrupt", "unreachable"];

impl Cause {
    /// The spelling in the variable, the tag and the answer.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(_, cause)| *cause == self).map_or("unknown", |(name, _)| name)
    }

    /// Reads AWS's text: one or more statements that each begin with a time, such as `At 2026-11-21T08:00:00Z an
    /// instance was taken out of service in response to …`. The first statement has the cause. The others describe
    /// what Auto Scaling did next.
    pub fn of(text: &str) -> Self {
        let statement = text.trim_start().strip_prefix("At ").and_then(|rest| rest.split_once(' '));
        let Some((_, statement)) = statement else {
            return Self::Unknown;
        };
        let statement = statement.trim_start();
        let beginning = STATEMENT_PREFIXES.iter().find(|(beginning, _)| statement.starts_with(beginning));
        match beginning.map(|(_, cause)| *cause) {
            // These statements contain no names, and a later statement may have a cause of its own.
            Some(cause @ (Self::UserRequest | Self::ScheduledAction)) if !statement.starts_with("the ") => {
                let later = statement.split_once(" an instance was taken out of service in response to ");
                later.and_then(|(_, response)| Self::of_response(response)).unwrap_or(cause)
            }
            Some(cause) => cause,
            None => Self::of_removal(statement).unwrap_or(Self::Unknown),
        }
    }

    /// The cause in a statement about "an instance", or "instance i-0123", that was taken out of service.
    fn of_removal(statement: &str) -> Option<Self> {
        let (subject, response) = statement.split_once(" was taken out of service in response to ")?;
        let named = |id: &str| !id.contains(' ');
        let is_instance = subject == "an instance" || subject.strip_prefix("instance i-").is_some_and(named);
        is_instance.then(|| Self::of_response(response)).flatten()
    }

    /// The cause in the text after "in response to".
    fn of_response(response: &str) -> Option<Self> {
        let response = response.to_ascii_lowercase();
        let article = ["an ", "a ", "the ", "its "].iter().find_map(|article| response.strip_prefix(article));
        let response = article.unwrap_or(&response);
        // No public text shows AWS's exact words. The sentence contains no names.
        if response.split('.').next().is_some_and(|sentence| sentence.contains("instance lifetime")) {
            return Some(Self::MaxLifetime);
        }
        // A caller that sets an instance's health reports a failure. It does not request the termination.
        if response.starts_with("user health-check") {
            return Some(Self::Unknown);
        }
        RESPONSE_PREFIXES
            .iter()
            .find(|(beginning, _)| response.starts_with(beginning))
            .map(|(_, cause)| *cause)
    }
}

/// The termination of an instance, as the group's scaling activities describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Termination {
    pub(crate) cause: Cause,
    pub(crate) activity: Option<Activity>,
}

impl Termination {
    /// Reads the activity. Without one the cause is unknown.
    pub(crate) fn of(activity: Option<Activity>) -> Self {
        let cause = activity.as_ref().map_or(Cause::Unknown, |activity| Cause::of(&activity.cause));
        Self { cause, activity }
    }

    /// Whether AWS's text names neither a request nor a failure, as that of an instance whose group is force-deleted:
    /// `in response to a difference between desired and actual capacity`.
    pub(crate) fn names_nothing(&self) -> bool {
        let text = self.text().to_ascii_lowercase();
        self.cause == Cause::Unknown
            && !text.is_empty()
            && !FAILURE_WORDS.iter().any(|word| text.contains(word))
    }

    /// AWS's text.
    pub(crate) fn text(&self) -> &str {
        self.activity.as_ref().map_or("", |activity| &activity.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, cause)| *cause);
        known.ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not a cause; causes are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: &str = "2026-11-21T08:00:00Z";

    #[test]
    fn causes_are_read_from_awss_texts() {
        let shrunk = "At T an instance was taken out of service in response to a difference between desired and actual \
                      capacity, shrinking the capacity from 2 to 1.  At T instance i-0123 was selected for termination.";
        for (text, expected) in [
            (
                "At T an instance was taken out of service in response to a EC2 health check indicating it has been \
                 terminated or stopped.",
                "health-check-ec2",
            ),
            (
                "At T an instance was taken out of service in response to an EC2 health check indicating it has been \
                 terminated or stopped.",
                "health-check-ec2",
            ),
            (
                "At T an instance was taken out of service in response to EC2 instance status checks failure.",
                "health-check-ec2",
            ),
            (
                "At T an instance was taken out of service in response to a system health-check.",
                "health-check-ec2",
            ),
            (
                "At T an instance was taken out of service in response to EBS volume health check failure",
                "health-check-ec2",
            ),
            (
                "At T an instance was taken out of service in response to an ELB system health check failure.",
                "health-check-elb",
            ),
            (
                "At T an instance was taken out of service in response to an instance refresh.",
                "instance-refresh",
            ),
            (
                "At T an instance was taken out of service in response to an instance refresh.  At T instance i-0123 \
                 was selected for termination.",
                "instance-refresh",
            ),
            (
                "At T a scheduled action update of AutoScalingGroup constraints to min: 1, max: 5, desired: 1 changing \
                 the desired capacity from 5 to 1.  SHRUNK",
                "scheduled-action",
            ),
            (
                "At T the scheduled action evening executed. Setting desired capacity from 5 to 1.  SHRUNK",
                "scheduled-action",
            ),
            (
                "At T a user request update of AutoScalingGroup constraints to min: 0, max: 0, desired: 0 changing the \
                 desired capacity from 1 to 0.  SHRUNK",
                "user-request",
            ),
            (
                "At T a user request explicitly set group desired capacity changing the desired capacity from 2 to 1.  \
                 SHRUNK",
                "user-request",
            ),
            ("At T an instance was taken out of service in response to a user request.", "user-request"),
            ("At T instance i-0123 was taken out of service in response to a user request.", "user-request"),
            (
                "At T a monitor alarm TargetTracking-web-AlarmLow in state ALARM triggered policy cpu changing the \
                 desired capacity from 2 to 1.  SHRUNK",
                "scaling-policy",
            ),
            (
                "At T instances were launched to balance instances in zones us-east-1a us-east-1b with other zones \
                 resulting in more than desired number of instances in the group.  SHRUNK",
                "rebalance",
            ),
            (
                "At T an instance was taken out of service in response to an EC2 instance rebalance recommendation.",
                "rebalance",
            ),
            (
                "At T an instance was taken out of service in response to a spot interruption notice.",
                "spot-interruption",
            ),
            (
                "At T an instance was taken out of service in response to its maximum instance lifetime.",
                "max-lifetime",
            ),
            (
                "At T an instance was taken out of service in response to an instance reaching the maximum instance \
                 lifetime.",
                "max-lifetime",
            ),
            (
                "At T a user request update of AutoScalingGroup constraints to min: 1, max: 3, desired: 2 changing the \
                 desired capacity from 3 to 2.  At T an instance was taken out of service in response to an EC2 health \
                 check indicating it has been terminated or stopped.",
                "health-check-ec2",
            ),
            (
                "At T a scheduled action update of AutoScalingGroup constraints to min: 1, max: 3, desired: 2.  At T an \
                 instance was taken out of service in response to a user health-check.",
                "unknown",
            ),
            // As AWS was recorded to say it, in September 2026.
            (
                "At T a user request force deleted AutoScaling group changing the desired capacity from 1 to 0.  SHRUNK",
                "user-request",
            ),
            (
                "At T an instance was taken out of service in response to a launch failure.  At T instance i-0123 was \
                 selected for termination.",
                "launch-failure",
            ),
            (
                "At T instance i-0123 was taken out of service in response to a group deletion.  At T instance i-0123 \
                 was selected for termination.",
                "user-request",
            ),
            (
                "At T a user request update of WarmPool MaxGroupPreparedCapacity from max: 1 to max: 0 changing the \
                 capacity of WarmPool from 1 to 0.  SHRUNK",
                "user-request",
            ),
            (
                "At T instance i-0123 was taken out of service in response to a user request, shrinking the capacity \
                 from 1 to 0.",
                "user-request",
            ),
            // A failure, not a request.
            ("At T an instance was taken out of service in response to a user health-check.", "unknown"),
            ("SHRUNK", "unknown"),
            // Names that look like causes.
            (
                "At T a monitor alarm a user request update in state ALARM triggered policy an instance was taken out of \
                 service in response to an instance refresh changing the desired capacity from 2 to 1.  SHRUNK",
                "scaling-policy",
            ),
            (
                "At T a monitor alarm in response to an EC2 health check in state ALARM triggered policy x changing the \
                 desired capacity from 2 to 1.  SHRUNK",
                "scaling-policy",
            ),
            ("At T an alarm of nobody was taken out of service in response to a user request.", "unknown"),
            ("in response to a user request", "unknown"),
            ("a user request update", "unknown"),
            ("At", "unknown"),
            ("", "unknown"),
        ] {
            let text = text.replace("SHRUNK", shrunk).replace("At T ", &format!("At {TIME} "));
            assert_eq!(Cause::of(&text).as_str(), expected, "{text}");
        }
    }

    #[test]
    fn only_a_text_that_names_neither_a_request_nor_a_failure_names_nothing() {
        let names_nothing = |text: &str| {
            let cause = text.to_owned();
            let activity =
                Activity { id: "a".to_owned(), began: Default::default(), transition: None, cause };
            Termination::of(Some(activity)).names_nothing()
        };
        let removed = format!("At {TIME} an instance was taken out of service in response to ");
        let shrunk = "a difference between desired and actual capacity, shrinking the capacity from 1 to 0.  At T \
                      instance i-0123 was selected for termination.";
        assert!(names_nothing(&format!("{removed}{shrunk}")));
        assert!(names_nothing(&format!("At {TIME} something new happened.")));
        for text in ["a user health-check.", "a user request.", "a new kind of failure."] {
            assert!(!names_nothing(&format!("{removed}{text}")), "{text}");
        }
        assert!(!names_nothing("") && !Termination::of(None).names_nothing());
    }

    #[test]
    fn names_of_causes_are_read_back() {
        for (name, cause) in NAMES {
            assert_eq!(name.parse(), Ok(cause));
            assert_eq!(cause.to_string(), name);
        }
        let error = "Instance-Refresh".parse::<Cause>().unwrap_err();
        assert!(error.contains("instance-refresh, scheduled-action"), "{error}");
    }

    proptest! {
        #[test]
        fn no_name_of_an_alarm_or_policy_changes_the_cause(alarm in "\\PC{1,255}", policy in "\\PC{1,255}") {
            let text = format!("At {TIME} a monitor alarm {alarm} in state ALARM triggered policy {policy} changing …");
            prop_assert_eq!(Cause::of(&text), Cause::ScalingPolicy);
        }
    }
}
