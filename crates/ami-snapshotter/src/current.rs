//! The stored groups: the group in service of each succession, in the function's own configuration. `succession` decides
//! which group takes over.
//!
//! AWS calls: `lambda:GetFunctionConfiguration`, `lambda:UpdateFunctionConfiguration`,
//! `autoscaling:DescribeAutoScalingGroups`.

use std::collections::HashMap;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_lambda::operation::update_function_configuration::UpdateFunctionConfigurationError;
use aws_sdk_lambda::types::Environment;
use lambda_kit::config::Names;
use lambda_kit::error::AwsFailure;
use lambda_kit::retry::pauses;
use lambda_kit::transient::is_transient;
use lambda_kit::{Error, Invocation};
use lifecycle_core::pending::Asgs;
use serde_json::json;
use tracing::{debug, warn};

use crate::config::CURRENT_ASG_NAME;
use crate::succession::Successions;

/// Lambda's maximum of bytes of all variables together, as JSON.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_VARIABLES_BYTES: usize = 4_096;

/// The effect of a launch on the stored groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storing {
    /// Its group is now stored.
    Stored,
    /// The stored groups are as before, with the reason, if it is not that the group is stored already.
    Unchanged(Option<String>),
    /// The name can't be stored, and why.
    NoRoom(String),
}

/// Reads and writes the stored groups.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    client: Client,
    asgs: Asgs,
    function: String,
    /// `AUTO_SCALING_GROUPS`.
    entries: Names,
}

impl Current {
    pub(crate) fn new(client: Client, asgs: Asgs, function: &str, entries: &Names) -> Self {
        Self { client, asgs, function: function.to_owned(), entries: entries.clone() }
    }

    /// Reads the stored groups from the configuration, because the environment of a running process is out of date. If
    /// Lambda can't decrypt the variables, no group counts as stored.
    pub(crate) async fn stored(&self) -> Result<Vec<String>, Error> {
        match variables(&self.configuration().await?) {
            Ok(variables) => Ok(stored_in(&variables)),
            Err(reason) => {
                warn!("the function's own variables can't be read, so no group counts as stored: {reason}");
                Ok(Vec::new())
            }
        }
    }

    /// The group and the stored groups, as far as they exist.
    pub(crate) async fn groups(
        &self,
        group: &str,
        stored: &[String],
    ) -> Result<Vec<AutoScalingGroup>, Error> {
        self.asgs.named(&all(Names::default(), group, stored)).await
    }

    /// Removes `gone`, stored groups that exist no more, as after a rollback. If another change of the configuration
    /// comes first, the next sweep tries again.
    pub(crate) async fn forget(&self, gone: &[String]) -> Result<(), Error> {
        let configuration = self.configuration().await?;
        let Ok(mut variables) = variables(&configuration) else {
            return Ok(());
        };
        let stored = stored_in(&variables);
        let kept: Vec<_> = stored.iter().filter(|stored| !gone.contains(stored)).cloned().collect();
        if kept.len() == stored.len() {
            return Ok(());
        }
        if kept.is_empty() {
            variables.remove(CURRENT_ASG_NAME);
        } else {
            variables.insert(CURRENT_ASG_NAME.to_owned(), kept.join(","));
        }
        match self.update(variables, configuration.revision_id()).await {
            Ok(()) => debug!("no longer stored, because they exist no more: {}", gone.join(", ")),
            Err(error) if can_succeed_later(&error) => {
                debug!("{} can't be removed from the configuration now", gone.join(", "))
            }
            Err(error) => return Err(failed(&error)),
        }
        Ok(())
    }

    /// Stores `group`, in which an instance launches, if it takes over in its succession. A concurrent change is not
    /// overwritten: AWS refuses an outdated revision, and the configuration is read again.
    pub(crate) async fn store(&self, group: &str, invocation: &Invocation) -> Result<Storing, Error> {
        let mut sent = false;
        for pause in pauses() {
            let configuration = self.configuration().await?;
            // A write without the other variables would delete them.
            let mut variables = variables(&configuration).map_err(|reason| Error::AwsError {
                call: "GetFunctionConfiguration",
                source: AwsFailure::of(format!("Lambda does not show the function's variables: {reason}")),
            })?;
            let stored = stored_in(&variables);
            if stored.iter().any(|stored| stored == group) {
                return Ok(if sent { Storing::Stored } else { Storing::Unchanged(None) });
            }
            // A group that is not named may be of one succession with a named one.
            let is_named = self.entries.contain(group);
            let others = if is_named { Names::default() } else { self.entries.clone() };
            let groups = self.asgs.named(&all(others, group, &stored)).await?;
            let successions = Successions { stored: &stored, groups: &groups, entries: &self.entries };
            let names = match successions.after_launch(group) {
                Ok(names) => names,
                Err(reason) => return Ok(Storing::Unchanged(Some(reason))),
            };
            if group.contains(',') {
                return Ok(Storing::NoRoom("its name has a comma, which separates names".to_owned()));
            }
            variables.insert(CURRENT_ASG_NAME.to_owned(), names.join(","));
            if json!(variables).to_string().len() > MAX_VARIABLES_BYTES {
                return Ok(no_room());
            }
            match self.update(variables, configuration.revision_id()).await {
                Ok(()) => {
                    debug!(
                        asg.name = group,
                        "{group} is now stored as the group in service of its succession"
                    );
                    return Ok(Storing::Stored);
                }
                Err(error) if can_succeed_later(&error) && pause < invocation.time_left() => {
                    debug!("the configuration could not be changed: reading it again");
                    sent = true;
                    tokio::time::sleep(pause).await;
                }
                Err(error) if is_too_long(&error) => return Ok(no_room()),
                Err(error) => return Err(failed(&error)),
            }
        }
        unreachable!("the pauses are endless")
    }

    async fn configuration(&self) -> Result<GetFunctionConfigurationOutput, Error> {
        let answer = self.client.get_function_configuration().function_name(&self.function).send().await;
        answer.map_err(|error| Error::aws("GetFunctionConfiguration", &error))
    }

    async fn update(
        &self,
        variables: HashMap<String, String>,
        revision: Option<&str>,
    ) -> Result<(), SdkError<UpdateFunctionConfigurationError, HttpResponse>> {
        let environment = Environment::builder().set_variables(Some(variables)).build();
        let update = self.client.update_function_configuration().function_name(&self.function);
        let update = update.environment(environment).set_revision_id(revision.map(str::to_owned));
        update.send().await.map(drop)
    }
}

/// The variables of a configuration, or the reason why Lambda does not show them.
fn variables(configuration: &GetFunctionConfigurationOutput) -> Result<HashMap<String, String>, String> {
    let Some(environment) = configuration.environment() else {
        return Ok(HashMap::new());
    };
    match environment.error() {
        Some(error) => Err(error.error_code().unwrap_or("no error code").to_owned()),
        None => Ok(environment.variables().cloned().unwrap_or_default()),
    }
}

fn stored_in(variables: &HashMap<String, String>) -> Vec<String> {
    let names = variables.get(CURRENT_ASG_NAME).map(String::as_str).unwrap_or_default().split(',');
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// `names`, the group and the stored groups.
fn all(names: Names, group: &str, stored: &[String]) -> Names {
    let others = stored.iter().filter(|stored| *stored != group).cloned();
    others.fold(names.and(Some(group.to_owned())), |names, stored| names.and(Some(stored)))
}

fn no_room() -> Storing {
    Storing::NoRoom(format!("the function's variables have at most {MAX_VARIABLES_BYTES} bytes"))
}

/// Whether the variables are too long. Lambda reports this only in a text, which then quotes them all.
fn is_too_long(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> bool {
    error.code() == Some("InvalidParameterValueException")
        && error.message().is_some_and(|message| message.contains("4KB limit"))
}

/// The failure of an update.
fn failed(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> Error {
    Error::aws("UpdateFunctionConfiguration", error)
}

/// Whether the update can succeed after the configuration is read again: another update came first or still runs, or
/// the error is transient.
fn can_succeed_later(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_precondition_failed_exception() || error.is_resource_conflict_exception()
    }) || is_transient(error)
}
