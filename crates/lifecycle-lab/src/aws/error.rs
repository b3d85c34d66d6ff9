//! AWS's refusal of a call: an HTTP status, a code, a text. The protocol decides how it is written.

use std::fmt::Display;

/// An error as AWS answers it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// AWS's code, for example `ValidationError`.
    pub code: &'static str,
    /// AWS's text.
    pub message: String,
}

/// The code of what the lab does not play.
const NOT_MODELLED: &str = "LabNotModelled";

impl ApiError {
    /// An error with HTTP status 400.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// `ValidationError`, the code of most of Auto Scaling's refusals.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    /// What Auto Scaling answers when the token bucket of its account and Region is empty.
    pub(crate) fn throttling() -> Self {
        Self::new("Throttling", "Rate exceeded")
    }

    /// The refusal of a request without the parameter `name`.
    pub(crate) fn missing(name: &str) -> Self {
        let (first, rest) = name.split_at(1);
        Self::validation(format!(
            "1 validation error detected: Value null at '{}{rest}' failed to satisfy constraint: Member must not be null",
            first.to_ascii_lowercase()
        ))
    }

    /// The lab's own refusal of what it does not play. AWS has no such code, so no client takes it for
    /// AWS's word.
    pub fn not_modelled(what: impl Display) -> Self {
        Self::new(NOT_MODELLED, format!("lifecycle-lab does not model {what}"))
    }

    /// Whether it is the lab's own refusal.
    pub(crate) fn is_not_modelled(&self) -> bool {
        self.code == NOT_MODELLED
    }
}
