//! The facts of a drain: the state of the agent, the command and its wait, and how Run Command says that the command
//! ended. `plan` decides what an end means for the instance. No AWS calls.

use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::Wait;

use crate::comment::Comment;

/// Maximum clock skew between a wait and its command. Some answers of Run Command round times to seconds, so a
/// command of the wait can look this much older than the wait.
pub(crate) const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// Run Command's response code of a step that has not ended or never began.
pub(crate) const NO_RESPONSE: i32 = -1;

/// The state of an instance's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// The agent has reported within the last minutes.
    Online,
    /// The agent has stopped reporting.
    Silent {
        /// When it last reported.
        heard: DateTime<Utc>,
    },
    /// The instance is not registered with Systems Manager (yet), or is stopped.
    Unregistered,
    /// Run Command refuses the instance although its agent has reported: the agent was stopped since, or lacks
    /// permissions.
    Refused,
}

/// A command of this function, as Run Command last showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) requested: DateTime<Utc>,
    /// Whether it repeats one that was not delivered.
    pub(crate) again: bool,
    /// `Success`, `InProgress` …
    pub(crate) status: String,
    /// `ExecutionTimedOut`, `Undeliverable` …
    pub(crate) detail: String,
    /// The exit code of the step that failed, otherwise of the first; [`NO_RESPONSE`] before that.
    pub(crate) exit_code: i32,
    /// Whether a step has ended on the instance.
    pub(crate) has_begun: bool,
}

impl Command {
    /// How the command ended. `None` while it may still run. AWS writes details with and without spaces. A command
    /// that was cancelled before it began never reached the agent.
    /// <https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html>
    pub(crate) fn end(&self) -> Option<End> {
        match self.status.as_str() {
            "Success" => Some(End::Succeeded),
            "Cancelled" if !self.has_begun => Some(End::NotDelivered),
            "Failed" | "TimedOut" | "Cancelled" => Some(match self.detail.replace(' ', "").as_str() {
                "DeliveryTimedOut" | "Undeliverable" => End::NotDelivered,
                _ => End::Failed,
            }),
            _ => None,
        }
    }

    /// Whether the agent has not picked the command up, as far as Run Command knows.
    pub(crate) fn is_pending(&self) -> bool {
        ["Pending", "Delayed"].contains(&self.status.as_str())
    }
}

/// How Run Command says that a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The commands succeeded.
    Succeeded,
    /// The commands failed, timed out, were cancelled, or were refused on the instance.
    Failed,
    /// The agent never picked the commands up.
    NotDelivered,
}

/// A command and the wait that it was sent for.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    pub(crate) instance: String,
    pub(crate) comment: Comment,
    pub(crate) command: Command,
}

impl Drain {
    /// Whether the command was sent for `wait`, which began at `began`: the tokens are equal, or, if either token is
    /// unknown, group and hook are equal and the command is not older than the wait.
    pub(crate) fn belongs_to(&self, wait: &Wait, began: DateTime<Utc>) -> bool {
        let same_token = match (&self.comment.token, &wait.token) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.command.requested >= began - MAX_CLOCK_SKEW,
        };
        same_token && self.instance == wait.instance && self.comment.is_about(&wait.group, &wait.hook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use End::*;

    #[test]
    fn every_status_means_what_the_contract_says() {
        for (status, detail, has_begun, end) in [
            ("Pending", "Pending", false, None),
            ("Pending", "Delayed", false, None),
            ("InProgress", "InProgress", false, None),
            ("Delayed", "Delayed", false, None),
            ("Cancelling", "Cancelling", false, None),
            ("Dreaming", "Dreaming", false, None),
            ("Success", "Success", true, Some(Succeeded)),
            ("Failed", "Failed", true, Some(Failed)),
            ("Failed", "Undeliverable", false, Some(NotDelivered)),
            ("Failed", "AccessDenied", false, Some(Failed)),
            ("Failed", "InvalidPlatform", false, Some(Failed)),
            ("Failed", "Terminated", false, Some(Failed)),
            ("Cancelled", "Cancelled", true, Some(Failed)),
            ("Cancelled", "Cancelled", false, Some(NotDelivered)),
            ("TimedOut", "ExecutionTimedOut", true, Some(Failed)),
            ("TimedOut", "Execution Timed Out", true, Some(Failed)),
            ("TimedOut", "DeliveryTimedOut", false, Some(NotDelivered)),
            ("TimedOut", "Delivery Timed Out", false, Some(NotDelivered)),
            ("TimedOut", "Undeliverable", false, Some(NotDelivered)),
        ] {
            let command = Command {
                id: "c-1".to_owned(),
                requested: DateTime::UNIX_EPOCH,
                again: false,
                status: status.to_owned(),
                detail: detail.to_owned(),
                exit_code: NO_RESPONSE,
                has_begun,
            };
            assert_eq!(command.end(), end, "{status} {detail} {has_begun}");
        }
    }
}
