//! What a drain's end means for the instance: a pure function, and the reading of Run Command's
//! statuses.
//! <https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html>

use lifecycle_core::{ActionResult, Transition};

use crate::Config;

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The commands ran and succeeded.
    Succeeded,
    /// They failed, took too long, were cancelled, or were refused on the instance.
    Failed,
    /// The agent can't be reached, or never picked them up.
    Unreachable,
}

impl Ending {
    /// What a status and its detail mean; `None` while the commands may still run. AWS writes details
    /// with and without spaces.
    pub fn of(status: &str, detail: &str) -> Option<Self> {
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

/// The result that the action is completed with.
pub fn result(transition: &Transition, ending: Ending, config: &Config) -> ActionResult {
    let by_transition = match transition {
        Transition::Launching => ActionResult::Abandon,
        _ => ActionResult::Continue,
    };
    let on_failure = config.on_failure.unwrap_or(by_transition);
    match ending {
        Ending::Succeeded => ActionResult::Continue,
        Ending::Failed => on_failure,
        Ending::Unreachable => config.on_unreachable.unwrap_or(on_failure),
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

    #[test]
    fn the_result_follows_the_transition_unless_the_operator_says_otherwise() {
        use ActionResult::{Abandon, Continue};
        use Transition::{Launching, Terminating};
        for (variables, transition, ending, expected) in [
            (&[][..], Terminating, Succeeded, Continue),
            (&[], Terminating, Failed, Continue),
            (&[], Terminating, Unreachable, Continue),
            (&[], Launching, Succeeded, Continue),
            (&[], Launching, Failed, Abandon),
            (&[], Launching, Unreachable, Abandon),
            (&[("ON_FAILURE", "ABANDON")], Terminating, Succeeded, Continue),
            (&[("ON_FAILURE", "ABANDON")], Terminating, Failed, Abandon),
            (&[("ON_FAILURE", "ABANDON")], Terminating, Unreachable, Abandon),
            (&[("ON_UNREACHABLE", "ABANDON")], Terminating, Failed, Continue),
            (&[("ON_UNREACHABLE", "ABANDON")], Terminating, Unreachable, Abandon),
            (&[("ON_FAILURE", "CONTINUE")], Launching, Failed, Continue),
            (&[("ON_FAILURE", "CONTINUE")], Launching, Unreachable, Continue),
            (&[("ON_FAILURE", "CONTINUE"), ("ON_UNREACHABLE", "ABANDON")], Launching, Unreachable, Abandon),
        ] {
            let config = Config::parse(&variables.iter().copied().collect()).unwrap();
            assert_eq!(
                result(&transition, ending, &config),
                expected,
                "{variables:?} {transition:?} {ending:?}"
            );
        }
    }
}
