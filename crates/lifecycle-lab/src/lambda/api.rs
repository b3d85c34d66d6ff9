//! Lambda's actions: what an action takes, what it refuses, what it answers.

use serde_json::Value;

use crate::query::{ApiError, Request};
use crate::world::World;

type Answer = Result<Option<Value>, ApiError>;

/// Plays one action.
pub(crate) fn call(_world: &mut World, request: &Request) -> Answer {
    match request.action.as_str() {
        action => Err(ApiError::not_modelled(format!("lambda:{action}"))),
    }
}
