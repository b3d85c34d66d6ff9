//! A lifecycle action's end: completing it and prolonging it, for as long as the run has time and no
//! longer. AWS calls: `autoscaling:CompleteLifecycleAction`,
//! `autoscaling:RecordLifecycleActionHeartbeat`.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::config::{Builder, Config};
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::TimeDelta;
use tracing::{debug, info};

use crate::error::{AwsFailure, action_id};
use crate::{Error, Invocation, LifecycleAction};

/// An event this young may be ahead of the action it announces: Auto Scaling can answer that there is
/// no active action and accept it a moment later.
const ACCEPTED_WITHIN: TimeDelta = TimeDelta::seconds(30);

/// How long such an action is asked for again. Longer only costs: what was not accepted by then had
/// already ended, as with every second delivery of an event.
const ASK_AGAIN_FOR: Duration = Duration::from_secs(3);

/// The first pause between two such questions; it doubles, which makes five questions in three
/// seconds.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// The first pause after a throttle, a 5xx, a contention or a broken connection. Auto Scaling has one
/// token bucket per account and Region, refilled many times a second: a shorter pause asks before it
/// has filled.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest such pause, before jitter. With a longer one a short function would not get to its
/// last attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One attempt's limit. The call answers within 100 ms or so; five seconds tell a slow answer from
/// none, and leave a ten-second function time for a second attempt.
const ATTEMPT: Duration = Duration::from_secs(5);

/// No attempt starts with less time than this: it could only end in a timeout, which would hide the
/// answer that AWS gave to the attempt before.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(300);

/// What a lifecycle action is completed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionResult {
    /// The instance goes on: into service, or to its end after the group's other hooks.
    Continue,
    /// A launching instance is terminated and replaced; a terminating one ends without waiting for
    /// the group's other hooks.
    Abandon,
}

impl ActionResult {
    /// As AWS and the variables spell it.
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

/// What AWS said to a completion or a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Accepted.
    Completed,
    /// The action had ended before: completed by an earlier delivery or by hand, or timed out.
    AlreadyFinished,
}

/// Completes lifecycle actions and keeps them alive.
#[derive(Debug, Clone)]
pub struct Actions(Client);

impl Actions {
    /// Speaks to Auto Scaling through this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Completes `action` with `result`. Throttles, contention, 5xx and broken connections are tried
    /// again with jitter while `invocation` has time.
    ///
    /// # Errors
    /// [`Error::AwsError`] where AWS refused, or still failed when the time was over;
    /// [`Error::Timeout`] where it did not answer.
    pub async fn complete(
        &self,
        action: &LifecycleAction,
        result: ActionResult,
        invocation: &Invocation,
    ) -> Result<Completion, Error> {
        let complete = |settings| {
            self.0
                .complete_lifecycle_action()
                .auto_scaling_group_name(&action.group)
                .lifecycle_hook_name(&action.hook)
                .instance_id(&action.instance)
                .lifecycle_action_token(&action.token)
                .lifecycle_action_result(result.as_str())
                .customize()
                .config_override(settings)
                .send()
        };
        let young = invocation.now() - action.time < ACCEPTED_WITHIN;
        let ask_again_until = invocation.elapsed() + if young { ASK_AGAIN_FOR } else { Duration::ZERO };
        let mut pause = ASK_AGAIN_AFTER;
        loop {
            let completion = call("CompleteLifecycleAction", action, invocation, complete).await?;
            let may_wait = ask_again_until
                .saturating_sub(invocation.elapsed())
                .min(invocation.time_left().saturating_sub(SHORTEST_ATTEMPT));
            if completion == Completion::AlreadyFinished && !may_wait.is_zero() {
                debug!("not active yet, or no more: asking again");
                tokio::time::sleep(pause.min(may_wait)).await;
                pause *= 2;
                continue;
            }
            let what = match completion {
                Completion::Completed => format!("completed the lifecycle action with {result}"),
                Completion::AlreadyFinished => "the lifecycle action had ended before".to_owned(),
            };
            info!(
                asg.name = action.group,
                hook.name = action.hook,
                instance.id = action.instance,
                action.id = action_id(&action.token),
                action.result = result.as_str(),
                "{}: {what}",
                action.instance
            );
            return Ok(completion);
        }
    }

    /// Restarts the hook's timer at its full length; AWS stops this at the hook's global timeout.
    ///
    /// # Errors
    /// As [`Actions::complete`].
    pub async fn heartbeat(
        &self,
        action: &LifecycleAction,
        invocation: &Invocation,
    ) -> Result<Completion, Error> {
        let heartbeat = |settings| {
            self.0
                .record_lifecycle_action_heartbeat()
                .auto_scaling_group_name(&action.group)
                .lifecycle_hook_name(&action.hook)
                .instance_id(&action.instance)
                .lifecycle_action_token(&action.token)
                .customize()
                .config_override(settings)
                .send()
        };
        call("RecordLifecycleActionHeartbeat", action, invocation, heartbeat).await
    }
}

/// Sends until AWS gives a definite answer or the time is over.
async fn call<T, E, F>(
    name: &'static str,
    action: &LifecycleAction,
    invocation: &Invocation,
    send: impl Fn(Builder) -> F,
) -> Result<Completion, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times();
    for pause in pauses.build() {
        let error = match send(one_attempt(invocation.time_left())).await {
            Ok(_) => return Ok(Completion::Completed),
            Err(error) if has_ended(&error) => return Ok(Completion::AlreadyFinished),
            Err(error) => error,
        };
        let failure = AwsFailure::new(&error).without_token(&action.token);
        if is_transient(&error) && pause + SHORTEST_ATTEMPT < invocation.time_left() {
            debug!(error = %failure, pause_ms = pause.as_millis(), "{name} failed; trying again");
            tokio::time::sleep(pause).await;
        } else if matches!(error, SdkError::TimeoutError(_)) {
            return Err(Error::Timeout(format!("{name} had no answer in time: {failure}")));
        } else {
            return Err(Error::AwsError { call: name, source: failure });
        }
    }
    unreachable!("the pauses are without end")
}

/// The SDK sends once and gives up in time: repeating is done here, where the deadline is known and
/// AWS's last words are kept for the error.
fn one_attempt(time_left: Duration) -> Builder {
    let limit = ATTEMPT.min(time_left);
    Config::builder().retry_config(RetryConfig::disabled()).timeout_config(
        TimeoutConfig::builder().operation_attempt_timeout(limit).operation_timeout(limit).build(),
    )
}

/// Auto Scaling has no error code of its own for an action that is over, only this text.
fn has_ended<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some("ValidationError")
        && error.message().is_some_and(|message| message.starts_with("No active Lifecycle Action found"))
}

/// Whether the same call can succeed a moment later.
fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        // Not those of a client that has no Region or no credentials.
        SdkError::DispatchFailure(failure) => {
            failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
        }
        SdkError::ServiceError(answer) => {
            answer.raw().status().is_server_error()
                || answer.raw().status().as_u16() == 429
                || answer.err().code().is_some_and(|code| {
                    code.starts_with("Throttl")
                        || [
                            "ResourceContention",
                            "RequestLimitExceeded",
                            "RequestThrottled",
                            "RequestTimeout",
                        ]
                        .contains(&code)
                })
        }
        _ => true,
    }
}
