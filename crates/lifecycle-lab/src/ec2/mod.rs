//! EC2: instances, images, snapshots and their tags, a file for each matter. This module says which action is
//! whose. The rules are AWS's as documented in the user guide and the API reference; a comment says where
//! they are not documented and the lab had to choose.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::query::{ApiError, Misfit, Request, read};
use crate::world::World;

type Answer = Result<Option<Value>, ApiError>;

/// The service's state.
#[derive(Debug, Default)]
pub struct Ec2 {}

/// Plays one action.
pub(crate) fn call(_world: &mut World, request: &Request) -> Answer {
    match request.action.as_str() {
        action => Err(ApiError::not_modelled(format!("ec2:{action}"))),
    }
}

/// Plays `play` with the parameters that it takes, or refuses them in EC2's words.
#[expect(dead_code, reason = "the first actions come next")]
fn run<T: DeserializeOwned>(
    world: &mut World,
    request: &Request,
    play: impl FnOnce(&mut World, T) -> Answer,
) -> Answer {
    let parameters = read(request.parameters.clone()).map_err(|misfit| match misfit {
        Misfit::Unknown(name) => {
            ApiError::not_modelled(format!("the parameter {name} of {}", request.action))
        }
        Misfit::Missing(name) => {
            ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"))
        }
        Misfit::Wrong(text) => ApiError::new("InvalidParameterValue", text),
    });
    play(world, parameters?)
}
