//! From a payload to the answer: one code path for every envelope. Each message is handled alone,
//! within the deadline, and ends in one log line and one metric.

use std::future::Future;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tracing::{error, info};

use crate::event::{self, Payload};
use crate::{ActionResult, Completion, Error, Invocation, Message, Output, Wait, metrics};

/// Messages of one SQS batch that are handled at the same time. SQS delivers ten unless a batching
/// window is set; more at once would only fill Auto Scaling's token bucket with retries.
const AT_ONCE: usize = 10;

/// How a message was dealt with. The contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The lifecycle action was completed by this run.
    Completed,
    /// The lifecycle action had ended before.
    AlreadyFinished,
    /// Nothing to do, rightly.
    Ignored,
    /// The sweep looked after its groups.
    Swept,
    /// The commands were sent to the instance; their end will wake the function.
    CommandSent,
    /// They were sent before, and still run.
    CommandRunning,
    /// They outlive this run; the sweep goes on with them.
    LeftToSweep,
    /// The group is now remembered as the one in service.
    GroupStored,
    /// The group in service stays the one that it was.
    GroupUnchanged,
    /// EC2 accepted an image of the instance; its end will wake the function.
    ImageRequested,
    /// An image was requested before, and is not ready yet.
    ImagePending,
    /// The action is deliberately left to the hook's timeout.
    Left,
    /// A version of the launch template with the newest image is the default now.
    VersionCreated,
    /// The default version of the launch template has the newest image already.
    UpToDate,
    /// Every target is as it should be.
    Scheduled,
}

impl Outcome {
    /// Whether the work that an event asked for is done with it: the metric tells how long that took.
    fn completes(self) -> bool {
        matches!(self, Self::Completed | Self::Scheduled | Self::VersionCreated | Self::UpToDate)
    }

    /// As the answer, the log and the metric spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::AlreadyFinished => "already-finished",
            Self::Ignored => "ignored",
            Self::Swept => "swept",
            Self::CommandSent => "command-sent",
            Self::CommandRunning => "command-running",
            Self::LeftToSweep => "left-to-sweep",
            Self::GroupStored => "group-stored",
            Self::GroupUnchanged => "group-unchanged",
            Self::ImageRequested => "image-requested",
            Self::ImagePending => "image-pending",
            Self::Left => "left",
            Self::VersionCreated => "version-created",
            Self::UpToDate => "up-to-date",
            Self::Scheduled => "scheduled",
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A handled message: what became of it, and the fields that explain it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// What became of it.
    pub outcome: Outcome,
    /// Named as in the logs: `asg.name`, `instance.id`, `reason` …
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Answer {
    /// An answer without any field yet.
    pub fn new(outcome: Outcome) -> Self {
        Self { outcome, fields: Map::new() }
    }

    /// An answer about `wait`, with what identifies it.
    pub fn about(wait: &Wait, outcome: Outcome) -> Self {
        let answer = Self::new(outcome).with("asg.name", wait.group.as_str());
        let answer = answer.with("hook.name", wait.hook.as_str());
        answer.with("instance.id", wait.instance.as_str()).with("action.id", wait.id())
    }

    /// How the completion of `wait` with `result` went.
    pub fn completion(wait: &Wait, result: ActionResult, completion: Completion) -> Self {
        match completion {
            Completion::Completed => {
                Self::about(wait, Outcome::Completed).with("action.result", result.as_str())
            }
            Completion::AlreadyFinished => Self::about(wait, Outcome::AlreadyFinished),
        }
    }

    /// A message that asks for nothing, and why.
    pub fn ignored(reason: &str) -> Self {
        Self::new(Outcome::Ignored).with("reason", reason)
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }
}

/// Handles every message of `payload` and gives what Lambda is answered: the answer itself for a
/// single message, the failed messages for an SQS batch. `function` is the deployed function's name,
/// the metric's dimension.
///
/// # Errors
/// Those of a single message; for a batch only [`Error::InvalidPayload`], where the batch itself
/// can't be read.
pub async fn dispatch<F>(
    function: &str,
    payload: Value,
    invocation: &Invocation,
    output: &Output,
    handle: impl Fn(Message) -> F,
) -> Result<Value, Error>
where
    F: Future<Output = Result<Answer, Error>>,
{
    let one = async |message: Result<Message, Error>| {
        let wait = match &message {
            Ok(Message::Action(action)) => Some(action.wait.clone()),
            _ => None,
        };
        let about = About { wait: wait.as_ref(), time: message.as_ref().ok().and_then(Message::time) };
        if let Ok(message) = &message {
            accept(about.wait, message);
        }
        conclude(function, about, message.map(&handle), invocation, output).await
    };
    match Payload::parse(payload) {
        Ok(Payload::Single(value)) => Ok(json!(one(event::message(value)).await?)),
        Err(error) => Ok(json!(one(Err(error)).await?)),
        Ok(Payload::Batch(records)) => {
            let one = &one;
            let failures = stream::iter(records)
                .map(|record| async move {
                    let failed = one(record.message()).await.is_err();
                    failed.then(|| json!({ "itemIdentifier": record.message_id }))
                })
                .buffered(AT_ONCE)
                .filter_map(std::future::ready)
                .collect::<Vec<_>>()
                .await;
            Ok(json!({ "batchItemFailures": failures }))
        }
    }
}

/// What is known of a message before it is handled.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The wait that a lifecycle action is about.
    pub wait: Option<&'a Wait>,
    /// When AWS sent the message.
    pub time: Option<DateTime<Utc>>,
}

/// Awaits what handles one message, within the deadline, and ends it in one log line and one metric.
/// `work` is an error where the message could not be read. For a function whose payload is its own;
/// [`dispatch`] does it for each message.
///
/// # Errors
/// Those of `work`, [`Error::Timeout`] or [`Error::Panic`].
pub async fn conclude<F>(
    function: &str,
    about: About<'_>,
    work: Result<F, Error>,
    invocation: &Invocation,
    output: &Output,
) -> Result<Answer, Error>
where
    F: Future<Output = Result<Answer, Error>>,
{
    let result = match work {
        Ok(work) => invocation.guard(work).await,
        Err(error) => Err(error),
    };
    let outcome = report(about.wait, &result, invocation);
    let to_completion = about
        .time
        .filter(|_| result.as_ref().is_ok_and(|answer| answer.outcome.completes()))
        .map(|time| (invocation.now() - time).num_milliseconds().max(0));
    let metric = metrics::emf(function, outcome, to_completion, invocation);
    if let Err(error) = output.line(&metric) {
        error!(%error, "the metric could not be written to standard output");
    }
    result
}

fn accept(wait: Option<&Wait>, message: &Message) {
    match wait {
        Some(wait) => info!(
            asg.name = wait.group,
            hook.name = wait.hook,
            instance.id = wait.instance,
            action.id = wait.id(),
            "accepted: {} of {} waits in {}, {message}",
            wait.instance,
            wait.group,
            wait.hook
        ),
        None => info!("accepted: {message}"),
    }
}

/// Logs how a message ended, once, and gives the name that the metric counts it under.
fn report(wait: Option<&Wait>, result: &Result<Answer, Error>, invocation: &Invocation) -> &'static str {
    let duration_ms = u64::try_from(invocation.elapsed().as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(answer) => {
            let field = |name: &str| answer.fields.get(name).and_then(Value::as_str);
            let outcome = answer.outcome.as_str();
            let about = field("instance.id").map(|id| format!(" {id}")).unwrap_or_default();
            let reason = field("reason").map(|reason| format!(", {reason}")).unwrap_or_default();
            info!(
                asg.name = field("asg.name"),
                hook.name = field("hook.name"),
                instance.id = field("instance.id"),
                action.id = field("action.id"),
                action.result = field("action.result"),
                command.id = field("command.id"),
                command.status = field("command.status"),
                image.id = field("image.id"),
                cause = field("cause"),
                exit_code = answer.fields.get("exit_code").and_then(|code| code.as_i64()),
                outcome,
                duration_ms,
                "handled{about}: {outcome}{reason}"
            );
            outcome
        }
        Err(error) => {
            let name = error.name();
            error!(
                asg.name = wait.map(|wait| wait.group.as_str()),
                hook.name = wait.map(|wait| wait.hook.as_str()),
                instance.id = wait.map(|wait| wait.instance.as_str()),
                action.id = wait.and_then(Wait::id),
                error.type = name,
                duration_ms,
                "not handled: {name}: {}",
                error.chain()
            );
            name
        }
    }
}
