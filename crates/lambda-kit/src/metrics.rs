//! The line about each event. It holds all fields and is also a metric in CloudWatch's embedded metric format:
//! CloudWatch Logs turns it into metrics without an API call. Format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::{Answer, Error, Invocation};

/// The CloudWatch namespace of all metrics.
pub const NAMESPACE: &str = "LifecycleFunctions";

/// The line about one message: the fields of the answer, or, after a failure, the error and the fields in `about`.
/// Its metrics are `Outcomes`, a count of one with the dimensions `function` and `outcome` (the outcome, or the name
/// of the error), and, after completed work, `EventToCompletion`: milliseconds from the event's time to the end of
/// the work.
pub(crate) fn line(
    function: &str,
    result: &Result<Answer, Error>,
    about: Map<String, Value>,
    time: Option<DateTime<Utc>>,
    invocation: &Invocation,
) -> Value {
    let (fields, outcome) = match result {
        Ok(answer) => (answer.fields.clone(), answer.outcome.as_str()),
        Err(error) => (about, error.name()),
    };
    let mut line = Value::from(fields);
    let mut metrics = vec![json!({ "Name": "Outcomes", "Unit": "Count" })];
    line["function"] = function.into();
    line["outcome"] = outcome.into();
    line["Outcomes"] = 1.into();
    line["duration_ms"] = u64::try_from(invocation.elapsed().as_millis()).unwrap_or(u64::MAX).into();
    if let Err(error) = result {
        line["error"] = error.chain().into();
    }
    if result.as_ref().is_ok_and(|answer| answer.outcome.completes())
        && let Some(time) = time
    {
        metrics.push(json!({ "Name": "EventToCompletion", "Unit": "Milliseconds" }));
        line["EventToCompletion"] = (invocation.now() - time).num_milliseconds().max(0).into();
    }
    line["_aws"] = metadata(metrics, invocation);
    line
}

/// A count of one under `outcome`, for a failure whose message was still answered.
pub fn count(function: &str, outcome: &str, invocation: &Invocation) -> Value {
    let mut line = json!({ "function": function, "outcome": outcome, "Outcomes": 1 });
    line["_aws"] = metadata(vec![json!({ "Name": "Outcomes", "Unit": "Count" })], invocation);
    line
}

fn metadata(metrics: Vec<Value>, invocation: &Invocation) -> Value {
    json!({
        "Timestamp": invocation.now().timestamp_millis(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["function", "outcome"]],
            "Metrics": metrics,
        }],
    })
}
