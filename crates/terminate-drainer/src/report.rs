//! The answer about one wait: made from the last step, its effect and the observations, with the failure to tell.

use lambda_kit::Answer;
use lifecycle_core::Wait;
use lifecycle_core::outcome::{ALREADY_FINISHED, COMPLETED};
use tracing::debug;

use crate::config::Config;
use crate::drain::Agent;
use crate::outcome::{COMMAND_RUNNING, COMMAND_SENT, LEFT_TO_SWEEP};
use crate::plan::{self, Ending, Excuse, Observed, Step};

/// Makes the answer about a wait. `has_ended` is whether the step found that the wait had already ended.
pub(crate) fn report(wait: &Wait, seen: &Observed, config: &Config, step: Step, has_ended: bool) -> Answer {
    let with_command = |answer: Answer| match &seen.command {
        Some(command) => answer.with("command.id", command.id.as_str()),
        None => answer,
    };
    match step {
        _ if has_ended => with_command(wait.answer(ALREADY_FINISHED)),
        Step::Complete(ending) => {
            let answer = with_command(wait.answer(COMPLETED));
            completed(answer, wait, seen, config, ending)
        }
        Step::AwaitAgent => wait
            .answer(LEFT_TO_SWEEP)
            .with("reason", format!("{}; the sweep sends the commands", agent_to_come(seen.agent, wait))),
        Step::LeaveToSweep if seen.leaves_cancelled => with_command(wait.answer(LEFT_TO_SWEEP))
            .with("reason", "the commands were cancelled before they began; they are sent once more"),
        Step::LeaveToSweep => with_command(wait.answer(LEFT_TO_SWEEP))
            .with("reason", "the commands outlast this run; the sweep completes the action"),
        _ if seen.sent => with_command(wait.answer(COMMAND_SENT)),
        _ => with_command(wait.answer(COMMAND_RUNNING)),
    }
}

/// The answer about a completed action, with its failure.
fn completed(answer: Answer, wait: &Wait, seen: &Observed, config: &Config, ending: Ending) -> Answer {
    let result = plan::result(&seen.transition, ending, config);
    let answer = answer.with("action.result", result.as_str());
    let answer = match &seen.command {
        Some(command) => {
            answer.with("command.status", command.detail.as_str()).with("exit_code", command.exit_code)
        }
        None => answer,
    };
    let reason = reason(seen, config, ending);
    debug!(
        asg.name = wait.group,
        hook.name = wait.hook,
        instance.id = wait.instance,
        action.id = wait.id(),
        action.result = result.as_str(),
        "{}: {}",
        wait.instance,
        reason.as_deref().unwrap_or("the commands have ended")
    );
    let answer = match &reason {
        Some(reason) => answer.with("reason", reason.as_str()),
        None => answer,
    };
    let Some(failure) = plan::failure(ending, seen.excuse) else { return answer };
    let what = reason.unwrap_or_else(|| match &seen.command {
        Some(command) => {
            format!("the commands ended as {} with exit code {}", command.detail, command.exit_code)
        }
        None => "the commands failed".to_owned(),
    });
    answer.failure(failure, format!("{} of {}: {what}; completed with {result}", wait.instance, wait.group))
}

/// Why the action was completed, unless the command's own end says it.
fn reason(seen: &Observed, config: &Config, ending: Ending) -> Option<String> {
    Some(match ending {
        Ending::Succeeded | Ending::Failed => return None,
        Ending::Overdue => {
            format!("the commands have not ended {} s after they were sent", config.max_drain_age().as_secs())
        }
        Ending::Cut => "the hook's global timeout ends before the next sweep".to_owned(),
        Ending::Refused => {
            let error = seen.error.as_deref().unwrap_or("AWS refused a call");
            format!("the wait ends before the next sweep, and this one failed: {error}")
        }
        Ending::Retained => "an earlier ABANDON retained the instance, so it is not drained again".to_owned(),
        Ending::Unreachable => {
            let why = match seen.agent {
                Some(agent) => unreachable_because(agent),
                None => "no agent picked the commands up",
            };
            match seen.excuse {
                None | Some(Excuse::None) => why.to_owned(),
                Some(Excuse::InPool) => format!("{why}; the instance dies in its warm pool"),
                Some(Excuse::Unhealthy) => format!("{why}; Auto Scaling reports the instance as unhealthy"),
                Some(Excuse::LaunchAbandoned) => format!("{why}; the launch was abandoned"),
            }
        }
    })
}

/// The reason why the agent is unreachable.
fn unreachable_because(agent: Agent) -> &'static str {
    match agent {
        Agent::Silent { .. } => "the agent is silent",
        Agent::Unregistered => "the agent is not registered",
        Agent::Online => "no agent picked the commands up",
        Agent::Refused => "Run Command refuses the instance: InvalidInstanceId",
    }
}

/// What is waited for while the agent can't take commands.
pub(crate) fn agent_to_come(agent: Option<Agent>, wait: &Wait) -> String {
    let state = match agent {
        Some(Agent::Silent { .. }) => "is silent",
        _ => "is not registered yet",
    };
    format!("the agent of {} {state}", wait.instance)
}
