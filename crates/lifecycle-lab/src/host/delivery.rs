//! Delivers messages from AWS's state to functions: events through the rules of the bus, notifications through a queue
//! or a topic. Delivery is at least once, with a short delay and the requested faults.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::bus::{DeadLetter, Envelope};
use super::faults::EventFault;
use super::lab::Lab;
use super::lambda::run::RunError;
use super::moment::What;
use crate::aws::pattern::PatternError;
use crate::aws::world::{Effect, REGION};

/// Shortest time of a delivery. A delivery takes up to three times as long.
const MIN_DELIVERY_DELAY: Duration = Duration::from_millis(200);

/// Shortest and longest delay of a delayed event. EventBridge retries a target for up to 24 h. Some minutes
/// are enough to outlast a hook.
const LATE_DELAYS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];

/// Shortest and longest delay of a reordered event: more than every usual delivery takes.
const REORDER_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// SQS's default visibility timeout: a received message that was not deleted is received again after this
/// time.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// Receives before a message moves to the failure queue; the templates' `maxReceiveCount`.
const MAX_RECEIVES: u32 = 3;

impl Lab {
    /// Sends every event that matches to the function, as an EventBridge rule does.
    ///
    /// # Errors
    /// The pattern is wrong or uses an operator that the lab does not model.
    pub fn add_rule(&self, pattern: &Value, function: &str) -> Result<(), PatternError> {
        self.bus().add_rule(pattern, function)
    }

    /// Sends the notifications of the queue or topic `arn` to the function.
    pub fn subscribe(&self, arn: &str, function: &str, envelope: Envelope) {
        self.bus().subscribe(arn, function, envelope);
    }

    /// Takes EventBridge's permission to invoke a function. It does not try what can't succeed again: such events go
    /// to the dead-letter queue at once (recorded).
    pub fn forbid_rules(&self, function: &str) {
        self.bus().forbidden.insert(function.to_owned());
    }

    /// What the dead-letter queues of rules' targets hold.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.bus().dead_letters.clone()
    }

    /// Puts an event on the bus, of whatever account and Region it says. AWS's own events come here by themselves.
    pub fn publish(&self, event: Value) {
        self.spread(self.now(), Effect::Event(event));
    }

    /// Reports or delivers an effect of AWS's state.
    pub(super) fn spread(&self, at: DateTime<Utc>, effect: Effect) {
        match effect {
            Effect::Seen(sight) => self.notice_at(at, What::Seen(sight)),
            Effect::Event(event) => {
                self.notice_at(at, What::Sent(event.clone()));
                let targets = self.bus().targets(&event);
                for function in targets {
                    tokio::spawn(self.clone().deliver(event.clone(), Route::Event { function }));
                }
            }
            Effect::Notification { target, body } => {
                self.notice_at(at, What::Sent(body.clone()));
                let subscribers = self.bus().subscribers(&target);
                for (function, envelope) in subscribers {
                    let route = Route::Hook { arn: target.clone(), function, envelope };
                    tokio::spawn(self.clone().deliver(body.clone(), route));
                }
            }
        }
    }

    async fn deliver(self, message: Value, route: Route) {
        let kind = message.get("detail-type").and_then(Value::as_str).unwrap_or("notification").to_owned();
        let (fault, slowness) = {
            let mut faults = self.faults();
            (faults.of_event(&kind), faults.share())
        };
        if let Some(fault) = fault {
            self.notice(What::Faulted(fault, message.clone()));
        }
        let usual = MIN_DELIVERY_DELAY.mul_f64(1.0 + 2.0 * slowness);
        let delay = match fault {
            Some(EventFault::Lost) => return,
            Some(EventFault::Delayed) => LATE_DELAYS[0] + (LATE_DELAYS[1] - LATE_DELAYS[0]).mul_f64(slowness),
            Some(EventFault::Reordered) => {
                REORDER_DELAYS[0] + (REORDER_DELAYS[1] - REORDER_DELAYS[0]).mul_f64(slowness)
            }
            Some(EventFault::Doubled) | None => usual,
        };
        self.sleep(delay).await;
        if fault == Some(EventFault::Doubled) {
            tokio::spawn(self.clone().hand_over(message.clone(), route.clone()));
            self.sleep(usual).await;
        }
        self.hand_over(message, route).await;
    }

    async fn hand_over(self, message: Value, route: Route) {
        match route {
            Route::Event { function } if self.bus().forbidden.contains(&function) => {
                let letter = DeadLetter { event: message, function, error_code: "NO_PERMISSIONS" };
                self.bus().dead_letters.push(letter);
            }
            Route::Event { function } => self.invoke_async(&function, message).await,
            Route::Hook { arn, function, envelope: Envelope::Sns } => {
                let record = json!({
                    "EventSource": "aws:sns",
                    "EventVersion": "1.0",
                    "EventSubscriptionArn": format!("{arn}:lab"),
                    "Sns": sns(&arn, &message),
                });
                self.invoke_async(&function, json!({ "Records": [record] })).await;
            }
            Route::Hook { arn, function, envelope } => {
                let body = if envelope == Envelope::SnsInSqs { sns(&arn, &message) } else { message };
                self.receive(&arn, &function, &body.to_string()).await;
            }
        }
    }

    /// Reads a message of a queue, as Lambda does. A message that the function reports as failed is received
    /// again. After the last receive, it goes to the failure queue.
    async fn receive(&self, arn: &str, function: &str, body: &str) {
        let id = self.faults().uuid();
        let batch = json!({ "Records": [{
            "messageId": id,
            "receiptHandle": "lab",
            "body": body,
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": REGION,
        }] });
        for attempt in 1..=MAX_RECEIVES {
            let error = match self.invoke(function, batch.clone(), attempt).await {
                Ok(answer) if answer["batchItemFailures"].as_array().is_none_or(Vec::is_empty) => return,
                Ok(answer) => RunError::MessagesFailed(answer),
                Err(error) => error,
            };
            if attempt == MAX_RECEIVES {
                self.keep(function, batch.clone(), None, error, attempt, id.clone());
            } else {
                self.sleep(VISIBILITY_TIMEOUT).await;
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Route {
    Event { function: String },
    Hook { arn: String, function: String, envelope: Envelope },
}

/// SNS's envelope around a message.
fn sns(arn: &str, message: &Value) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "00000000-0000-4000-8000-000000000000",
        "TopicArn": arn,
        "Subject": "Auto Scaling:  Lifecycle action",
        "Message": message.to_string(),
        "Timestamp": message["Time"],
    })
}
