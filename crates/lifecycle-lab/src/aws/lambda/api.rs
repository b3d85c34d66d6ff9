//! Lambda's actions: parameters, refusals, answers. Error codes and texts are AWS's where a public log shows them.
//! Actions that the lab does not model are refused by name.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html>

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Configuration, Variables};
use crate::aws::error::ApiError;
use crate::aws::request::{Answer, Misfit, Request, read};
use crate::aws::world::{ACCOUNT, REGION, World};

/// Most bytes of all variables together, as JSON.
const MAX_VARIABLES_BYTES: usize = 4_096;

/// Variables that Lambda sets and a function's configuration can't.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
const RESERVED_VARIABLES: [&str; 17] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
];

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    fn run<T: DeserializeOwned>(
        world: &mut World,
        request: &Request,
        play: impl FnOnce(&mut World, T) -> Answer,
    ) -> Answer {
        let parameters = read(request.parameters.clone()).map_err(|misfit| match misfit {
            Misfit::Unknown(name) => {
                ApiError::not_modelled(format!("the parameter {name} of {}", request.action))
            }
            Misfit::Missing(name) => ApiError::new("ValidationException", format!("{name} is missing")),
            Misfit::Wrong(text) => ApiError::new("SerializationException", text),
        });
        play(world, parameters?)
    }
    match request.action.as_str() {
        "GetFunction" => run(world, request, get_function),
        "GetFunctionConfiguration" => run(world, request, get_configuration),
        "UpdateFunctionConfiguration" => run(world, request, update),
        action => Err(ApiError::not_modelled(format!("lambda:{action}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FunctionName {
    function_name: String,
    qualifier: Option<String>,
}

fn get_configuration(world: &mut World, get: FunctionName) -> Answer {
    Ok(Some(configuration_json(find(world, &get)?)))
}

fn get_function(world: &mut World, get: FunctionName) -> Answer {
    let configuration = configuration_json(find(world, &get)?);
    Ok(Some(json!({ "Configuration": configuration, "Code": { "RepositoryType": "S3" } })))
}

/// The function of a name, an ARN or a part of an ARN, with or without a qualifier. The lab has no
/// versions but `$LATEST`, and no aliases.
fn find<'a>(world: &'a World, named: &FunctionName) -> Result<&'a Configuration, ApiError> {
    let name = named.function_name.as_str();
    let account = format!("{ACCOUNT}:");
    let name = name.strip_prefix(&format!("arn:aws:lambda:{REGION}:{account}")).unwrap_or(name);
    let name = name.strip_prefix(&account).unwrap_or(name);
    let name = name.strip_prefix("function:").unwrap_or(name);
    let (name, within) = name.split_once(':').map_or((name, None), |(name, within)| (name, Some(within)));
    let qualifier = named.qualifier.as_deref().or(within);
    let latest = qualifier.is_none_or(|qualifier| qualifier == "$LATEST");
    world.functions.get(name).filter(|_| latest).ok_or_else(|| {
        let qualifier = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        ApiError {
            status: 404,
            code: "ResourceNotFoundException",
            message: format!("Function not found: {}{qualifier}", arn(name)),
        }
    })
}

fn arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

fn configuration_json(function: &Configuration) -> Value {
    let environment = match &function.decryption_error {
        Some((code, text)) => Some(json!({ "Error": { "ErrorCode": code, "Message": text } })),
        None if function.variables.is_empty() => None,
        None => Some(json!({ "Variables": function.variables })),
    };
    let mut answer = json!({
        "FunctionName": function.name,
        "FunctionArn": arn(&function.name),
        "Runtime": "provided.al2023",
        "Role": format!("arn:aws:iam::{ACCOUNT}:role/{}", function.name),
        "Handler": "bootstrap",
        "Description": function.description,
        "Timeout": function.timeout,
        "MemorySize": 128,
        "LastModified": function.modified.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string(),
        "Version": "$LATEST",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "RevisionId": function.revision,
        "State": "Active",
        "LastUpdateStatus": if function.updating { "InProgress" } else { "Successful" },
    });
    if function.updating {
        answer["LastUpdateStatusReason"] = json!("The function is being created.");
        answer["LastUpdateStatusReasonCode"] = json!("Creating");
    }
    if let Some(environment) = environment {
        answer["Environment"] = environment;
    }
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Update {
    function_name: String,
    environment: Option<Environment>,
    description: Option<String>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Environment {
    #[serde(default)]
    variables: Variables,
}

fn update(world: &mut World, update: Update) -> Answer {
    let named = FunctionName { function_name: update.function_name, qualifier: None };
    let Configuration { name, updating, revision, .. } = find(world, &named)?.clone();
    let variables = update.environment.map(|environment| environment.variables);
    if let Some(variables) = &variables {
        check(variables)?;
    }
    if updating {
        let message = format!(
            "The operation cannot be performed at this time. An update is in progress for resource: {}",
            arn(&name)
        );
        return Err(ApiError { status: 409, code: "ResourceConflictException", message });
    }
    if update.revision_id.is_some_and(|given| given != revision) {
        let message = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias \
                       API to retrieve the latest Revision Id";
        let code = "PreconditionFailedException";
        return Err(ApiError { status: 412, code, message: message.to_owned() });
    }
    world.begin_update(&name, variables, update.description);
    Ok(Some(configuration_json(find(world, &named)?)))
}

fn check(variables: &Variables) -> Result<(), ApiError> {
    let refuse = |why: String| {
        let text = format!("Lambda was unable to configure your environment variables because {why}");
        Err(ApiError::new("InvalidParameterValueException", text))
    };
    let legal = |name: &str| {
        name.len() >= 2
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let reserved = |name: &&String| RESERVED_VARIABLES.contains(&name.as_str());
    let taken: Vec<_> = variables.keys().filter(reserved).map(String::as_str).collect();
    if !taken.is_empty() {
        return refuse(format!(
            "the environment variables you have provided contains reserved keys that are currently not supported for \
             modification. Reserved keys used in this request: {}",
            taken.join(", ")
        ));
    }
    if let Some(name) = variables.keys().find(|name| !legal(name)) {
        return Err(ApiError::new(
            "ValidationException",
            format!(
                "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys \
                 must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+], \
                 not {name}"
            ),
        ));
    }
    let measured = json!(variables).to_string();
    if measured.len() > MAX_VARIABLES_BYTES {
        return refuse(format!(
            "the environment variables you have provided exceeded the 4KB limit. String measured: {measured}"
        ));
    }
    Ok(())
}
