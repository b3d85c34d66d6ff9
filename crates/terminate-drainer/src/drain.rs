//! The facts of a drain: the state of the agent, the command and its wait, and how the command ended. `plan` decides
//! what an end means for the instance. No AWS calls.

use chrono::{DateTime, TimeDelta, Utc};
use lifecycle_core::Wait;

use crate::comment::Comment;

/// Maximum clock skew between a wait and its command. Some answers of Run Command round times to seconds, so a
/// command of the wait can look this much older than the wait.
pub(crate) const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// The state of an instance's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// The agent has reported within the last minutes.
    Online,
    /// The agent has stopped reporting.
    Silent,
    /// The instance is not registered with Systems Manager (yet).
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
    /// `Success`, `InProgress` …
    pub(crate) status: String,
    /// `ExecutionTimedOut`, `Undeliverable` …
    pub(crate) detail: String,
    pub(crate) exit_code: Option<i32>,
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

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The commands succeeded.
    Succeeded,
    /// The commands failed, timed out, were cancelled, or were refused on the instance.
    Failed,
    /// The agent is unreachable, or never picked the commands up.
    Unreachable,
}

impl Ending {
    /// Reads the end from a status and its detail. `None` while the commands may still run. AWS writes details with
    /// and without spaces.
    /// <https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html>
    pub(crate) fn of(status: &str, detail: &str) -> Option<Self> {
        match status {
            "Success" => Some(Self::Succeeded),
            "Failed" | "TimedOut" | "Cancelled" => Some(match detail.replace(' ', "").as_str() {
                "DeliveryTimedOut" | "Undeliverable" => Self::Unreachable,
                _ => Self::Failed,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ending::*;

    #[test]
    fn every_status_means_what_the_contract_says() {
        for (status, detail, ending) in [
            ("Pending", "Pending", None),
            ("InProgress", "InProgress", None),
            ("Delayed", "Delayed", None),
            ("Cancelling", "Cancelling", None),
            ("Dreaming", "Dreaming", None),
            ("Success", "Success", Some(Succeeded)),
            ("Failed", "Failed", Some(Failed)),
            ("Failed", "Undeliverable", Some(Unreachable)),
            ("Failed", "AccessDenied", Some(Failed)),
            ("Failed", "InvalidPlatform", Some(Failed)),
            ("Failed", "Terminated", Some(Failed)),
            ("Cancelled", "Cancelled", Some(Failed)),
            ("TimedOut", "ExecutionTimedOut", Some(Failed)),
            ("TimedOut", "Execution Timed Out", Some(Failed)),
            ("TimedOut", "DeliveryTimedOut", Some(Unreachable)),
            ("TimedOut", "Delivery Timed Out", Some(Unreachable)),
            ("TimedOut", "Undeliverable", Some(Unreachable)),
        ] {
            assert_eq!(Ending::of(status, detail), ending, "{status} {detail}");
        }
    }
}
