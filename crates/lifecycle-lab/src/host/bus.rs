//! The routes of messages: EventBridge rules with their patterns, and the functions behind the queues and topics of
//! hooks.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::aws::pattern::{Pattern, PatternError};

/// An event in the dead-letter queue of a rule's target.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The event.
    pub event: Value,
    /// The target.
    pub function: String,
    /// The message's attribute `ERROR_CODE`.
    pub error_code: &'static str,
}

/// Rules and subscriptions.
#[derive(Debug, Default)]
pub(super) struct Bus {
    /// Each pattern, with its target function.
    rules: Vec<(Pattern, String)>,
    subscriptions: Vec<Subscription>,
    /// Functions that EventBridge may not invoke.
    pub(super) forbidden: BTreeSet<String>,
    pub(super) dead_letters: Vec<DeadLetter>,
}

#[derive(Debug)]
struct Subscription {
    arn: String,
    function: String,
    envelope: Envelope,
}

impl Bus {
    pub(super) fn add_rule(&mut self, pattern: &Value, function: &str) -> Result<(), PatternError> {
        self.rules.push((Pattern::parse(pattern)?, function.to_owned()));
        Ok(())
    }

    pub(super) fn subscribe(&mut self, arn: &str, function: &str, envelope: Envelope) {
        self.subscriptions.push(Subscription {
            arn: arn.to_owned(),
            function: function.to_owned(),
            envelope,
        });
    }

    /// The functions that an event goes to.
    pub(super) fn targets(&self, event: &Value) -> Vec<String> {
        let rules = self.rules.iter().filter(|(pattern, _)| pattern.matches(event));
        rules.map(|(_, function)| function.clone()).collect()
    }

    /// The functions that read a queue or a topic, each with its envelope.
    pub(super) fn subscribers(&self, arn: &str) -> Vec<(String, Envelope)> {
        let subscriptions = self.subscriptions.iter().filter(|subscription| subscription.arn == arn);
        subscriptions.map(|one| (one.function.clone(), one.envelope)).collect()
    }
}

/// The envelope in which a hook's notification arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// The hook notifies an SQS queue that the function reads.
    Sqs,
    /// The hook notifies an SNS topic that the function subscribes to.
    Sns,
    /// The hook notifies an SNS topic, which feeds an SQS queue that the function reads.
    SnsInSqs,
}
