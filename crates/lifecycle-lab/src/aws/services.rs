//! Maps an action to its service.

use super::error::ApiError;
use super::request::{Answer, Request};
use super::world::World;
use super::{autoscaling, ec2, ecs, lambda, parameters, run_command, scalable_targets, tagging};

/// Runs an action of a service, whose name is the one in IAM.
pub(crate) fn call(world: &mut World, service: &str, request: &Request) -> Answer {
    match service {
        "autoscaling" => autoscaling::call(world, request),
        "ec2" => ec2::call(world, request),
        "lambda" => lambda::call(world, request),
        "application-autoscaling" => scalable_targets::call(world, request),
        "ecs" => ecs::call(world, request),
        // The name in signatures; in IAM it is `tag`.
        "tagging" => tagging::call(world, request),
        "ssm" if request.action == "GetParameter" => parameters::get(world, request),
        "ssm" => run_command::call(world, request),
        other => Err(ApiError::not_modelled(format!("the service {other}"))),
    }
}
