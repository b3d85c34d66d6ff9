//! A lifecycle action: its wait, its token, its completion and its heartbeats. Calls are retried until the run's
//! deadline.
//!
//! AWS calls: `autoscaling:CompleteLifecycleAction`, `autoscaling:RecordLifecycleActionHeartbeat`.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::config::{Builder, Config};
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::error::{AwsFailure, shortened};
use lambda_kit::retry::{MIN_ATTEMPT_TIME, retry_until_deadline};
use lambda_kit::{Answer, Error, Invocation, Outcome};
use serde_json::{Map, Value};
use tracing::debug;

use crate::outcome::{ALREADY_FINISHED, COMPLETED};

/// Maximum age of an event that may arrive before its action is active. Auto Scaling can answer "No active Lifecycle
/// Action found" and accept the same call a moment later.
const MAX_YOUNG_EVENT_AGE: TimeDelta = TimeDelta::seconds(30);

/// How long to retry a completion of a young event that Auto Scaling does not find active. A longer time only costs:
/// an action that is not accepted by then has ended, as with every second delivery of an event.
const NOT_ACTIVE_RETRY_TIMEOUT: Duration = Duration::from_secs(3);

/// The first pause between these attempts. It doubles, which makes five attempts in three seconds.
const NOT_ACTIVE_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The result that completes a lifecycle action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionResult {
    /// A launching instance goes into service. A terminating instance ends after the group's other hooks.
    Continue,
    /// A launching instance is terminated and replaced. A terminating instance ends without the group's other hooks.
    Abandon,
}

impl ActionResult {
    /// The spelling of AWS and of the variables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

impl fmt::Display for ActionResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionResult {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Continue, Self::Abandon]
            .into_iter()
            .find(|result| result.as_str() == text)
            .ok_or_else(|| format!("{text:?} is neither CONTINUE nor ABANDON"))
    }
}

/// AWS's answer to a completion or a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Accepted.
    Completed,
    /// The action had already ended: an earlier delivery or an operator completed it, or it timed out.
    AlreadyFinished,
}

impl Completion {
    /// The answer to the completion of `wait` with `result`.
    pub fn answer(self, wait: &Wait, result: ActionResult) -> Answer {
        match self {
            Self::Completed => wait.answer(COMPLETED).with("action.result", result.as_str()),
            Self::AlreadyFinished => wait.answer(ALREADY_FINISHED),
        }
    }
}

/// The wait of one instance in one hook. Completions and heartbeats refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The Auto Scaling group's name.
    pub group: String,
    /// The lifecycle hook's name.
    pub hook: String,
    /// The instance's id.
    pub instance: String,
    /// The lifecycle action token, which identifies this wait. Only events have it. Without it, calls refer to the
    /// instance's present wait in the hook.
    pub token: Option<ActionToken>,
}

impl Wait {
    /// The first eight characters of the token, for logs.
    pub fn id(&self) -> Option<&str> {
        self.token.as_ref().map(ActionToken::id)
    }

    fn token_text(&self) -> Option<String> {
        self.token.as_ref().map(|token| token.expose().to_owned())
    }

    /// The fields that identify the wait, as answers and logs name them.
    pub fn fields(&self) -> Map<String, Value> {
        self.answer(Outcome::IGNORED).fields
    }

    /// An answer with the fields that identify the wait.
    pub fn answer(&self, outcome: Outcome) -> Answer {
        let answer = Answer::new(outcome).with("asg.name", self.group.as_str());
        let answer = answer.with("hook.name", self.hook.as_str());
        answer.with("instance.id", self.instance.as_str()).with("action.id", self.id())
    }
}

/// A lifecycle action token. Its holder can complete the action, so logs never hold a whole token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ActionToken(String);

impl ActionToken {
    /// The whole token, for calls to AWS only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its first eight characters: `action.id` in answers and logs.
    pub fn id(&self) -> &str {
        shortened(&self.0)
    }
}

impl From<String> for ActionToken {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl fmt::Display for ActionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Debug for ActionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.id())
    }
}

/// Completes lifecycle actions and sends their heartbeats.
#[derive(Debug, Clone)]
pub struct Actions(Client);

impl Actions {
    /// Uses this client of Auto Scaling.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Completes the action of `wait` with `result`. Throttles, contention, 5xx and broken connections are retried
    /// with jitter while `invocation` has time. `announced` is the time of the action's event, if there is one. A
    /// young event can arrive before its action is active, so a "not found" is retried. After an attempt whose answer was
    /// lost, a lasting "not found" means that this attempt completed the action.
    ///
    /// # Errors
    /// [`Error::AwsError`] if AWS refused, or still failed when the time was over. [`Error::Timeout`] if AWS did not
    /// answer.
    pub async fn complete(
        &self,
        wait: &Wait,
        result: ActionResult,
        announced: Option<DateTime<Utc>>,
        invocation: &Invocation,
    ) -> Result<Completion, Error> {
        let complete = |limit| {
            self.0
                .complete_lifecycle_action()
                .auto_scaling_group_name(&wait.group)
                .lifecycle_hook_name(&wait.hook)
                .instance_id(&wait.instance)
                .set_lifecycle_action_token(wait.token_text())
                .lifecycle_action_result(result.as_str())
                .customize()
                .config_override(one_attempt(limit))
                .send()
        };
        let young = announced.is_some_and(|time| invocation.now() - time < MAX_YOUNG_EVENT_AGE);
        let ask_again_until =
            invocation.elapsed() + if young { NOT_ACTIVE_RETRY_TIMEOUT } else { Duration::ZERO };
        let mut pause = NOT_ACTIVE_RETRY_INTERVAL;
        let (call, no_answer) = (&complete, &AtomicBool::new(false));
        loop {
            let attempt = |limit| async move {
                let result = call(limit).await;
                no_answer.fetch_or(result.as_ref().is_err_and(has_no_answer), Ordering::Relaxed);
                result
            };
            let completion = answer("CompleteLifecycleAction", wait, invocation, attempt).await?;
            let may_wait = ask_again_until
                .saturating_sub(invocation.elapsed())
                .min(invocation.time_left().saturating_sub(MIN_ATTEMPT_TIME));
            if completion == Completion::AlreadyFinished && !may_wait.is_zero() {
                debug!("the lifecycle action is not active (yet): retrying");
                tokio::time::sleep(pause.min(may_wait)).await;
                pause *= 2;
                continue;
            }
            let is_ours = no_answer.load(Ordering::Relaxed);
            let completion = if is_ours { Completion::Completed } else { completion };
            match completion {
                Completion::Completed => debug!(
                    asg.name = wait.group,
                    hook.name = wait.hook,
                    instance.id = wait.instance,
                    action.id = wait.id(),
                    action.result = result.as_str(),
                    "{}: completed the lifecycle action with {result}",
                    wait.instance
                ),
                Completion::AlreadyFinished => debug!("the lifecycle action had already ended"),
            }
            return Ok(completion);
        }
    }

    /// Restarts the heartbeat timeout. The global timeout still limits the wait.
    ///
    /// # Errors
    /// As [`Actions::complete`].
    pub async fn heartbeat(&self, wait: &Wait, invocation: &Invocation) -> Result<Completion, Error> {
        let heartbeat = |limit| {
            self.0
                .record_lifecycle_action_heartbeat()
                .auto_scaling_group_name(&wait.group)
                .lifecycle_hook_name(&wait.hook)
                .instance_id(&wait.instance)
                .set_lifecycle_action_token(wait.token_text())
                .customize()
                .config_override(one_attempt(limit))
                .send()
        };
        let completion = answer("RecordLifecycleActionHeartbeat", wait, invocation, heartbeat).await?;
        if completion == Completion::Completed {
            debug!(
                asg.name = wait.group,
                hook.name = wait.hook,
                instance.id = wait.instance,
                action.id = wait.id(),
                "{}: sent a heartbeat",
                wait.instance
            );
        }
        Ok(completion)
    }
}

async fn answer<T, E, F>(
    name: &'static str,
    wait: &Wait,
    invocation: &Invocation,
    send: impl Fn(Duration) -> F,
) -> Result<Completion, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    match retry_until_deadline(name, invocation, send).await {
        Ok(_) => Ok(Completion::Completed),
        Err(error) if has_ended(&error) => Ok(Completion::AlreadyFinished),
        Err(error) => {
            let failure = AwsFailure::new(&error);
            let failure = wait.token.iter().fold(failure, |failure, token| failure.without(token.expose()));
            Err(Error::of_failure(name, &error, failure))
        }
    }
}

/// One attempt of the SDK, with a time limit.
fn one_attempt(limit: Duration) -> Builder {
    Config::builder().retry_config(RetryConfig::disabled()).timeout_config(
        TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit).build(),
    )
}

/// Whether AWS's answer did not arrive, so that the call may have taken effect.
fn has_no_answer<E>(error: &SdkError<E, HttpResponse>) -> bool {
    !matches!(error, SdkError::ConstructionFailure(_) | SdkError::ServiceError(_))
}

/// Auto Scaling reports an ended action only in this text, not in an error code.
fn has_ended<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some("ValidationError")
        && error.message().is_some_and(|message| message.starts_with("No active Lifecycle Action found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_eight_characters_only() {
        let token = ActionToken::from("2ab28dd5-0c9b-4b61-9f0d-6a3d3d1f7a10".to_owned());
        assert_eq!(format!("{token} {token:?}"), "2ab28dd5 \"2ab28dd5\"");
        let wait =
            Wait { group: "web".into(), hook: "drain".into(), instance: "i-1".into(), token: Some(token) };
        assert!(!format!("{wait:?}").contains("0c9b"), "{wait:?}");
    }
}
