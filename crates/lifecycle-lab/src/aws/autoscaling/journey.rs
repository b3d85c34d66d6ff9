//! The ways of instances from one resting state to the next, past the hooks of a transition: their states, and what
//! events say of them.

use super::Transition;

/// A way that an instance goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journey {
    Launch,
    IntoPool,
    OutOfPool,
    /// A scale-in that the warm pool takes in.
    BackToPool,
    Terminate,
    TerminateInPool,
    /// The first half of a root volume replacement, past the terminating hooks.
    ReplaceRootVolume,
    /// Its second half, past the launching hooks.
    ReturnToService,
    /// EC2 takes a Spot instance back: no hooks.
    Reclaim,
}

/// The states of a journey, in order, as AWS spells them.
pub(super) struct Stops {
    pub(super) start: &'static str,
    pub(super) wait: &'static str,
    pub(super) proceed: &'static str,
}

impl Journey {
    pub(super) fn stops(self) -> Stops {
        let (start, wait, proceed) = match self {
            Self::Launch | Self::OutOfPool | Self::ReturnToService => {
                ("Pending", "Pending:Wait", "Pending:Proceed")
            }
            // The wait of a return to the pool is recorded; the states before and after it are not.
            Self::IntoPool | Self::BackToPool => {
                ("Warmed:Pending", "Warmed:Pending:Wait", "Warmed:Pending:Proceed")
            }
            Self::Terminate | Self::Reclaim => ("Terminating", "Terminating:Wait", "Terminating:Proceed"),
            Self::TerminateInPool => {
                ("Warmed:Terminating", "Warmed:Terminating:Wait", "Warmed:Terminating:Proceed")
            }
            Self::ReplaceRootVolume => {
                ("ReplacingRootVolume", "ReplacingRootVolume:Wait", "ReplacingRootVolume:Proceed")
            }
        };
        Stops { start, wait, proceed }
    }

    pub(super) fn transition(self) -> Transition {
        match self {
            Self::Launch | Self::IntoPool | Self::OutOfPool | Self::ReturnToService => Transition::Launching,
            Self::BackToPool
            | Self::Terminate
            | Self::TerminateInPool
            | Self::ReplaceRootVolume
            | Self::Reclaim => Transition::Terminating,
        }
    }

    pub(super) fn origin(self) -> &'static str {
        match self {
            Self::Launch | Self::IntoPool => "EC2",
            Self::OutOfPool | Self::TerminateInPool => "WarmPool",
            Self::BackToPool
            | Self::Terminate
            | Self::ReplaceRootVolume
            | Self::ReturnToService
            | Self::Reclaim => "AutoScalingGroup",
        }
    }

    pub(super) fn destination(self) -> &'static str {
        match self {
            Self::Launch | Self::OutOfPool | Self::ReplaceRootVolume | Self::ReturnToService => {
                "AutoScalingGroup"
            }
            Self::IntoPool | Self::BackToPool => "WarmPool",
            Self::Terminate | Self::TerminateInPool | Self::Reclaim => "EC2",
        }
    }

    /// `detail.Action` of every event.
    pub(super) fn action(self) -> &'static str {
        match (self, self.transition()) {
            (Self::ReplaceRootVolume | Self::ReturnToService, _) => "ReplaceRootVolume",
            (_, Transition::Launching) => "Launch",
            (_, Transition::Terminating) => "Terminate",
        }
    }

    /// The state in which a hook's `ABANDON` keeps the instance where the group retains. A root volume replacement has no
    /// such state.
    pub(super) fn retained(self) -> Option<&'static str> {
        match self {
            Self::Terminate => Some("Terminating:Retained"),
            Self::TerminateInPool => Some("Warmed:Terminating:Retained"),
            Self::BackToPool => Some("Warmed:Pending:Retained"),
            _ => None,
        }
    }
}
