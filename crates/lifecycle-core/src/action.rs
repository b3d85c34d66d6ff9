//! A lifecycle action's end: completing it and prolonging it, for as long as the run has time and no
//! longer. Also the repeating of calls under a deadline, which others use. AWS calls: `autoscaling:CompleteLifecycleAction`,
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
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{debug, info};

use crate::error::{AwsFailure, action_id};
use crate::{Error, Invocation};

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

/// How Auto Scaling and Application Auto Scaling refuse a call while another update is under way, which is over in
/// a moment.
const CONTENTIONS: [&str; 2] = ["ResourceContention", "ConcurrentUpdateException"];

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

/// One instance's wait in one hook: what a completion or a heartbeat is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The Auto Scaling group's name.
    pub group: String,
    /// The lifecycle hook's name.
    pub hook: String,
    /// The instance's id.
    pub instance: String,
    /// The lifecycle action token: names exactly this wait. `None` where AWS does not say it, which is
    /// everywhere but in events; then the instance's present wait in the hook is meant. Secret enough to
    /// stay out of logs: see [`Wait::id`].
    pub token: Option<String>,
}

impl Wait {
    /// The first eight characters of the token, for logs.
    pub fn id(&self) -> Option<&str> {
        self.token.as_deref().map(action_id)
    }
}

/// Completes lifecycle actions and keeps them alive.
#[derive(Debug, Clone)]
pub struct Actions(Client);

impl Actions {
    /// Speaks to Auto Scaling through this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Completes the action of `wait` with `result`. Throttles, contention, 5xx and broken connections
    /// are tried again with jitter while `invocation` has time. `announced` is when AWS sent the event of
    /// this action, where one led here: a young one is asked for again.
    ///
    /// # Errors
    /// [`Error::AwsError`] where AWS refused, or still failed when the time was over;
    /// [`Error::Timeout`] where it did not answer.
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
                .set_lifecycle_action_token(wait.token.clone())
                .lifecycle_action_result(result.as_str())
                .customize()
                .config_override(one_attempt(limit))
                .send()
        };
        let young = announced.is_some_and(|time| invocation.now() - time < ACCEPTED_WITHIN);
        let ask_again_until = invocation.elapsed() + if young { ASK_AGAIN_FOR } else { Duration::ZERO };
        let mut pause = ASK_AGAIN_AFTER;
        loop {
            let completion = answer("CompleteLifecycleAction", wait, invocation, complete).await?;
            let may_wait = ask_again_until
                .saturating_sub(invocation.elapsed())
                .min(invocation.time_left().saturating_sub(SHORTEST_ATTEMPT));
            if completion == Completion::AlreadyFinished && !may_wait.is_zero() {
                debug!("not active yet, or no more: asking again");
                tokio::time::sleep(pause.min(may_wait)).await;
                pause *= 2;
                continue;
            }
            match completion {
                Completion::Completed => info!(
                    asg.name = wait.group,
                    hook.name = wait.hook,
                    instance.id = wait.instance,
                    action.id = wait.id(),
                    action.result = result.as_str(),
                    "{}: completed the lifecycle action with {result}",
                    wait.instance
                ),
                Completion::AlreadyFinished => debug!("the lifecycle action had ended before"),
            }
            return Ok(completion);
        }
    }

    /// Restarts the hook's timer at its full length; AWS stops this at the hook's global timeout.
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
                .set_lifecycle_action_token(wait.token.clone())
                .customize()
                .config_override(one_attempt(limit))
                .send()
        };
        let completion = answer("RecordLifecycleActionHeartbeat", wait, invocation, heartbeat).await?;
        if completion == Completion::Completed {
            info!(
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
    match patiently(name, invocation, send).await {
        Ok(_) => Ok(Completion::Completed),
        Err(error) if has_ended(&error) => Ok(Completion::AlreadyFinished),
        Err(error) => {
            let failure = AwsFailure::new(&error).without_token(wait.token.as_deref().unwrap_or_default());
            Err(Error::of_failure(name, &error, failure))
        }
    }
}

/// Sends until AWS gives an answer that is not [`is_transient`], or the time is over. `send` gets the time that
/// this attempt may take, and must not repeat by itself: the deadline is known here, and AWS's last words are
/// kept.
///
/// # Errors
/// That of the last attempt.
pub async fn patiently<T, E, F>(
    name: &str,
    invocation: &Invocation,
    send: impl Fn(Duration) -> F,
) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut pauses = pauses();
    if invocation.time_left() < SHORTEST_ATTEMPT {
        return Err(SdkError::timeout_error(format!("no time was left for {name}")));
    }
    loop {
        let error = match send(ATTEMPT.min(invocation.time_left())).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let spare = invocation.time_left().saturating_sub(SHORTEST_ATTEMPT);
        if !is_transient(&error) || spare.is_zero() {
            return Err(error);
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE).min(spare);
        debug!(code = error.code(), pause_ms = pause.as_millis(), "{name} failed; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// The pauses between attempts: growing, with jitter, without end.
pub fn pauses() -> impl Iterator<Item = Duration> {
    let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
    pauses.with_jitter().without_max_times().build()
}

/// The SDK sends once, and gives up in time.
fn one_attempt(limit: Duration) -> Builder {
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
pub fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        // Not those of a client that has no Region or no credentials.
        SdkError::DispatchFailure(failure) => {
            failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
        }
        SdkError::ServiceError(answer) => {
            answer.raw().status().is_server_error()
                || error.code().is_some_and(|code| CONTENTIONS.contains(&code))
                || is_throttle(error)
        }
        _ => true,
    }
}

/// Whether AWS refused the call because there were too many: it had no effect, and can be sent again.
pub fn is_throttle<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|answer| answer.status().as_u16() == 429)
        || error.code().is_some_and(|code| {
            code.starts_with("Throttl") || ["RequestLimitExceeded", "RequestThrottled"].contains(&code)
        })
}
