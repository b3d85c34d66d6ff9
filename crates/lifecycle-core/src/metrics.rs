//! Metrics in CloudWatch's embedded metric format: a line on standard output that CloudWatch Logs
//! turns into metrics, without an API call.
//! Format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use serde_json::{Value, json};

use crate::Invocation;

/// The CloudWatch namespace of every metric here.
pub const NAMESPACE: &str = "LifecycleFunctions";

/// One handled message: `Outcomes` (a count of one) under the dimensions `function` and `outcome`
/// (an outcome of the contract, or the name of an error), and, where it completed an action,
/// `EventToCompletion`: milliseconds from the event's time to the completion, or to the end of the work that
/// a scheduled run or a backup's event asked for.
pub fn emf(function: &str, outcome: &str, to_completion_ms: Option<i64>, invocation: &Invocation) -> Value {
    let mut metrics = vec![json!({ "Name": "Outcomes", "Unit": "Count" })];
    let mut line = json!({ "function": function, "outcome": outcome, "Outcomes": 1 });
    if let Some(milliseconds) = to_completion_ms {
        metrics.push(json!({ "Name": "EventToCompletion", "Unit": "Milliseconds" }));
        line["EventToCompletion"] = milliseconds.into();
    }
    line["_aws"] = json!({
        "Timestamp": invocation.now().timestamp_millis(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["function", "outcome"]],
            "Metrics": metrics,
        }],
    });
    line
}
