//! From a payload to the answer: one code path for every envelope. Each message is handled alone,
//! within the deadline, and ends in one log line and one metric.

use futures::StreamExt;
use futures::stream;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::future::Future;
use tracing::{error, info};

use crate::error::action_id;
use crate::event::{self, Payload};
use crate::{Error, Invocation, LifecycleAction, Message, Output, metrics};

/// Messages of one SQS batch that are handled at the same time. SQS delivers ten unless a batching
/// window is set; more at once would only fill Auto Scaling's token bucket with retries.
const AT_ONCE: usize = 10;

/// How a message was dealt with. The contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The lifecycle action was completed by this run.
    Completed,
    /// The lifecycle action had ended before.
    AlreadyFinished,
    /// Nothing to do, rightly.
    Ignored,
}

impl Outcome {
    /// As the answer, the log and the metric spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::AlreadyFinished => "already-finished",
            Self::Ignored => "ignored",
        }
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
    /// A message that asks for nothing, and why.
    pub fn ignored(reason: &str) -> Self {
        Self { outcome: Outcome::Ignored, fields: Map::from_iter([("reason".to_owned(), reason.into())]) }
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
        let action = match &message {
            Ok(Message::Action(action)) => Some(action.clone()),
            _ => None,
        };
        let action = action.as_deref();
        if let Some(action) = action {
            info!(
                asg.name = action.group,
                hook.name = action.hook,
                instance.id = action.instance,
                action.id = action_id(&action.token),
                transition = action.transition.as_str(),
                "accepted: {} of {} waits in {}",
                action.instance,
                action.group,
                action.hook
            );
        }
        let result = match message {
            Ok(message) => invocation.guard(handle(message)).await,
            Err(error) => Err(error),
        };
        let outcome = report(action, &result, invocation);
        let to_completion = action
            .filter(|_| outcome == Outcome::Completed.as_str())
            .map(|action| (invocation.now() - action.time).num_milliseconds().max(0));
        let metric = metrics::emf(function, outcome, to_completion, invocation);
        if let Err(error) = output.line(&metric) {
            error!(%error, "the metric could not be written to standard output");
        }
        result
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

/// Logs how a message ended, once, and gives the name that the metric counts it under.
fn report(
    action: Option<&LifecycleAction>,
    result: &Result<Answer, Error>,
    invocation: &Invocation,
) -> &'static str {
    let group = action.map(|action| action.group.as_str());
    let hook = action.map(|action| action.hook.as_str());
    let instance = action.map(|action| action.instance.as_str());
    let id = action.map(|action| action_id(&action.token));
    let duration_ms = u64::try_from(invocation.elapsed().as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok(answer) => {
            let outcome = answer.outcome.as_str();
            info!(
                asg.name = group,
                hook.name = hook,
                instance.id = instance,
                action.id = id,
                outcome,
                duration_ms,
                "handled{}: {outcome}",
                instance.map(|id| format!(" {id}")).unwrap_or_default()
            );
            outcome
        }
        Err(error) => {
            let name = error.name();
            error!(
                asg.name = group,
                hook.name = hook,
                instance.id = instance,
                action.id = id,
                error.type = name,
                duration_ms,
                "not handled: {name}: {}",
                error.chain()
            );
            name
        }
    }
}
