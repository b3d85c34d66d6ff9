//! The decisions, as pure functions: which result completes a launch, and what the sweep does with a wait.

use chrono::TimeDelta;
use lifecycle_core::{ActionResult, Transition};

/// How long the sweep leaves a wait to its event, counted from the start of the scaling activity. An event arrives
/// within seconds, and Lambda repeats a failed run after about a minute. With less, the sweep would record launches
/// whose events are on their way. With more, hooks would have to be longer.
pub(crate) const PATIENCE: TimeDelta = TimeDelta::seconds(60);

/// What the sweep does with a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the instance terminates, or returns to its warm pool.
    NoLaunch,
    /// Leave it to its event, which may still be on its way.
    Leave,
    /// Complete it with `CONTINUE`, then record it.
    Continue,
}

/// The sweep's decision. `age` is the time since the start of the wait's scaling activity, if that is known. A wait of
/// unknown age is completed: a second record does no harm, a launch that times out does.
pub(crate) fn decide(transition: &Transition, age: Option<TimeDelta>) -> Step {
    match (transition, age) {
        (Transition::Launching, Some(age)) if age < PATIENCE => Step::Leave,
        (Transition::Launching, _) => Step::Continue,
        _ => Step::NoLaunch,
    }
}

/// The result that completes a launch after its event.
pub(crate) fn result(is_recorded: bool, on_failure: ActionResult) -> ActionResult {
    if is_recorded { ActionResult::Continue } else { on_failure }
}

#[cfg(test)]
mod tests {
    use lifecycle_core::ActionResult::{Abandon, Continue};

    use super::*;

    #[test]
    fn the_sweep_completes_launches_that_have_waited_for_a_minute() {
        use Transition::{Launching, Terminating};
        for (transition, age, step) in [
            (Launching, Some(-1), Step::Leave),
            (Launching, Some(0), Step::Leave),
            (Launching, Some(59), Step::Leave),
            (Launching, Some(60), Step::Continue),
            (Launching, Some(200_000), Step::Continue),
            (Launching, None, Step::Continue),
            (Terminating, Some(59), Step::NoLaunch),
            (Terminating, Some(60), Step::NoLaunch),
            (Terminating, None, Step::NoLaunch),
            (Transition::Other("autoscaling:X".to_owned()), Some(60), Step::NoLaunch),
        ] {
            assert_eq!(decide(&transition, age.map(TimeDelta::seconds)), step, "{transition:?} {age:?}");
        }
    }

    #[test]
    fn on_failure_decides_where_there_is_no_record() {
        for (is_recorded, on_failure, expected) in [
            (true, Abandon, Continue),
            (true, Continue, Continue),
            (false, Abandon, Abandon),
            (false, Continue, Continue),
        ] {
            assert_eq!(result(is_recorded, on_failure), expected, "{is_recorded} {on_failure}");
        }
    }
}
