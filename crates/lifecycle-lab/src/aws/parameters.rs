//! Systems Manager's parameters: `GetParameter`. AWS's public ones, such as `/aws/service/…`, are there only if a scene
//! has put them.

use serde::Deserialize;
use serde_json::json;

use super::error::ApiError;
use super::json_api::{self, epoch};
use super::request::{Answer, Request};
use super::world::{ACCOUNT, REGION, World};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetParameter {
    name: String,
}

/// Plays `GetParameter`.
pub(crate) fn get(world: &mut World, request: &Request) -> Answer {
    let GetParameter { name } = json_api::parameters(request, "ValidationException")?;
    let now = epoch(world.now());
    let value = world.parameters.get(&name).ok_or_else(|| ApiError::new("ParameterNotFound", ""))?;
    let owner = if name.starts_with("/aws/") { "" } else { ACCOUNT };
    let path = if name.starts_with('/') { name.clone() } else { format!("/{name}") };
    Ok(Some(json!({
        "Parameter": {
            "Name": name,
            "Type": "String",
            "Value": value,
            "Version": 1,
            "LastModifiedDate": now,
            "ARN": format!("arn:aws:ssm:{REGION}:{owner}:parameter{path}"),
            "DataType": "text",
        }
    })))
}
