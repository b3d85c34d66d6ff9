//! A run of a function and its end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::aws::world::{ACCOUNT, REGION, timestamp};

/// A run of a function.
#[derive(Debug, Clone)]
pub struct Run {
    /// The function.
    pub function: String,
    /// The request's id. All attempts of an asynchronous invocation have the same one.
    pub request_id: String,
    /// The number of the attempt. 1 is the first attempt, higher numbers are retries.
    pub attempt: u32,
    /// The payload.
    pub payload: Value,
}

/// The error that a function returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// Stable name.
    pub error_type: String,
    /// Text.
    pub error_message: String,
}

impl FunctionError {
    /// An error of this name with this text.
    pub fn new(error_type: &str, error_message: impl Into<String>) -> Self {
        Self { error_type: error_type.to_owned(), error_message: error_message.into() }
    }
}

/// The reason why a run or an event has no answer. It displays as in Lambda: `errorType: errorMessage`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.error_type(), self.error_message())]
pub enum RunError {
    /// The function returned an error, in a run or at its start.
    Function(FunctionError),
    /// It was killed at one of its calls.
    Killed,
    /// It was killed at its time limit.
    TimedOut(Duration),
    /// Its process ended without an answer. Holds the exit status.
    Exited(String),
    /// Its handler panicked.
    Panicked,
    /// Its process could not be started.
    NotStarted(String),
    /// Its answer is not JSON.
    Unreadable(String),
    /// There is no function of this name.
    NotFound(String),
    /// Lambda throttled it.
    NoRoom,
    /// Lambda throttled it until the event was too old.
    TooOld,
    /// It read a queue, and reported messages that failed.
    MessagesFailed(Value),
}

/// Lambda's `errorType` and `errorMessage`.
impl Serialize for RunError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FunctionError::new(self.error_type(), self.error_message()).serialize(serializer)
    }
}

impl From<FunctionError> for RunError {
    fn from(error: FunctionError) -> Self {
        Self::Function(error)
    }
}

impl RunError {
    /// The error's name, as Lambda or the function gives it.
    pub fn error_type(&self) -> &str {
        match self {
            Self::Function(error) => &error.error_type,
            Self::Killed | Self::Exited(_) | Self::Panicked => "Runtime.ExitError",
            Self::TimedOut(_) => "Sandbox.Timedout",
            Self::NotStarted(_) => "Runtime.StartError",
            Self::Unreadable(_) => "Runtime.InvalidResponse",
            Self::NotFound(_) => "ResourceNotFoundException",
            Self::NoRoom => "TooManyRequestsException",
            Self::TooOld => "EventAgeExceeded",
            Self::MessagesFailed(_) => "batchItemFailures",
        }
    }

    /// The error's text, as Lambda or the function gives it.
    pub fn error_message(&self) -> String {
        match self {
            Self::Function(error) => error.error_message.clone(),
            Self::Killed => "Runtime exited with error: signal: killed".to_owned(),
            Self::TimedOut(limit) => format!("Task timed out after {:.2} seconds", limit.as_secs_f64()),
            Self::Exited(why) if why == "exit status: 0" => {
                "Runtime exited without providing a reason".to_owned()
            }
            Self::Exited(why) => {
                format!("Runtime exited with error: {}", why.replace("exit status: ", "exit status "))
            }
            Self::Panicked => "the handler panicked".to_owned(),
            Self::NotStarted(why) | Self::Unreadable(why) => why.clone(),
            Self::NotFound(name) => format!("Function not found: {name}"),
            Self::NoRoom | Self::TooOld => "Rate Exceeded.".to_owned(),
            Self::MessagesFailed(answer) => answer.to_string(),
        }
    }
}

impl RunError {
    /// What Lambda answers in the function's place. Where Lambda itself ended the run, the text carries the request's
    /// id (recorded).
    pub fn answered(&self, request_id: &str) -> FunctionError {
        let text = self.error_message();
        let by_lambda = matches!(self, Self::Killed | Self::TimedOut(_) | Self::Exited(_) | Self::Panicked);
        let text = if by_lambda { format!("RequestId: {request_id} Error: {text}") } else { text };
        FunctionError::new(self.error_type(), text)
    }
}

/// Why an asynchronous invocation is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It failed, and so did all its retries.
    RetriesExhausted,
    /// The next try would come after its `MaximumEventAgeInSeconds`.
    EventAgeExceeded,
    /// The function's reserved concurrency is 0.
    ZeroReservedConcurrency,
}

/// An event that the failure queue keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The function.
    pub function: String,
    /// The payload.
    pub payload: Value,
    /// The error of the last attempt.
    pub error: RunError,
    /// The number of attempts.
    pub attempts: u32,
    /// Why Lambda gave it up; `None` where SQS did, after too many receives.
    pub condition: Option<Condition>,
    /// The request's id.
    pub request_id: String,
    /// When it was given up.
    pub at: DateTime<Utc>,
}

impl Failure {
    /// The message as it is in the queue: Lambda's record of a failed invocation, as recorded, or, of an SQS message,
    /// its own body.
    pub fn record(&self) -> Value {
        let Some(condition) = self.condition else {
            let body = self.payload["Records"][0]["body"].as_str().unwrap_or_default();
            return serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        };
        let mut record = json!({
            "version": "1.0",
            "timestamp": timestamp(self.at),
            "requestContext": {
                "requestId": self.request_id,
                "functionArn": format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}:$LATEST", self.function),
                "condition": format!("{condition:?}"),
                "approximateInvokeCount": self.attempts,
            },
            "requestPayload": self.payload,
        });
        // What never ran has no response.
        if self.attempts > 0 {
            record["responseContext"] =
                json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" });
            record["responsePayload"] = json!(self.error.answered(&self.request_id));
        }
        record
    }
}
