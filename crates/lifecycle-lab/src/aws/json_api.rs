//! The common parts of the services with JSON parameters (ECS, Run Command, scalable targets): typed parameters,
//! AWS's validation texts, times and pages.

use std::fmt::Display;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;
use super::request::{self, Request};

/// The parameters as the type that an action takes; `invalid` is the service's code for those that it
/// can't be made of.
///
/// # Errors
/// The refusal with the code `invalid`, or [`ApiError::not_modelled`].
pub(crate) fn parameters<T: DeserializeOwned>(
    request: &Request,
    invalid: &'static str,
) -> Result<T, ApiError> {
    request::parameters(&request.action, request.parameters.clone()).map_err(|error| match error.code {
        "ValidationError" => ApiError { code: invalid, ..error },
        _ => error,
    })
}

/// Seconds since 1970, with milliseconds.
pub(crate) fn epoch(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1_000.0
}

/// Refuses a number that is not in this range.
pub(crate) fn in_range(name: &str, value: u64, range: RangeInclusive<u64>) -> Result<(), ApiError> {
    if value < *range.start() {
        let must = format!("have value greater than or equal to {}", range.start());
        return Err(constraint(name, value, must));
    }
    if value > *range.end() {
        return Err(constraint(name, value, format!("have value less than or equal to {}", range.end())));
    }
    Ok(())
}

/// AWS's text for a value that breaks a constraint of its type.
pub(crate) fn constraint(name: &str, value: impl Display, must: impl Display) -> ApiError {
    ApiError::new(
        "ValidationException",
        format!(
            "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must \
             {must}"
        ),
    )
}

/// One page of a list, and the token of the next one. A token is the number of the first item; `None` is
/// the answer to one that is no such number.
pub(crate) fn page(
    items: Vec<Value>,
    size: u64,
    token: Option<&str>,
) -> Option<(Vec<Value>, Option<String>)> {
    let first: usize = match token {
        None => 0,
        Some(token) => token.parse().ok()?,
    };
    let next = first.saturating_add(size as usize);
    let token = (next < items.len()).then(|| next.to_string());
    Some((items.into_iter().skip(first).take(size as usize).collect(), token))
}
