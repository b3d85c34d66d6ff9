//! The line about each event, and one about each failure. A line holds all fields and is also a metric in CloudWatch's
//! embedded metric format: CloudWatch Logs turns it into metrics without an API call. Format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::answer::Warning;
use crate::calls::Calls;
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
    calls: Calls,
    time: Option<DateTime<Utc>>,
    invocation: &Invocation,
) -> Value {
    let (fields, outcome) = match result {
        Ok(answer) => {
            let mut fields = answer.fields.clone();
            fields.extend(answer.logged.clone());
            (fields, answer.outcome.as_str())
        }
        Err(error) => (about, error.name()),
    };
    let mut line = Value::from(fields);
    let mut metrics = vec![json!({ "Name": "Outcomes", "Unit": "Count" })];
    line["level"] = "INFO".into();
    line["function"] = function.into();
    line["outcome"] = outcome.into();
    line["Outcomes"] = 1.into();
    line["duration_ms"] = u64::try_from(invocation.elapsed().as_millis()).unwrap_or(u64::MAX).into();
    line["calls"] = json!(calls);
    if let Err(error) = result {
        line["error"] = error.chain().into();
    }
    if result.as_ref().is_ok_and(|answer| answer.outcome.completes())
        && let Some(time) = time
    {
        metrics.push(json!({ "Name": "EventToCompletion", "Unit": "Milliseconds" }));
        line["EventToCompletion"] = (invocation.now() - time).num_milliseconds().max(0).into();
    }
    line["_aws"] = metadata(json!([["function", "outcome"]]), metrics, invocation);
    line
}

/// The line about one failure: a warning that is the metric `Failures`, a count of one with the dimensions `function`
/// and `failure`, and with `function` alone, which one alarm can watch for all words. With its level and time, Lambda
/// keeps it where the function's log level is WARN.
pub(crate) fn warning(function: &str, warning: &Warning, invocation: &Invocation) -> Value {
    let mut line = Value::from(warning.about.clone());
    line["timestamp"] = invocation.now().to_rfc3339_opts(SecondsFormat::Millis, true).into();
    line["level"] = "WARN".into();
    line["message"] = warning.text.as_str().into();
    line["function"] = function.into();
    line["failure"] = warning.failure.as_str().into();
    line["Failures"] = 1.into();
    let metrics = vec![json!({ "Name": "Failures", "Unit": "Count" })];
    line["_aws"] = metadata(json!([["function", "failure"], ["function"]]), metrics, invocation);
    line
}

fn metadata(dimensions: Value, metrics: Vec<Value>, invocation: &Invocation) -> Value {
    json!({
        "Timestamp": invocation.now().timestamp_millis(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": dimensions,
            "Metrics": metrics,
        }],
    })
}
