//! The stored group: the group in service, in the function's own configuration. `plan` decides which group takes
//! over.
//!
//! AWS calls: `lambda:GetFunctionConfiguration`, `lambda:UpdateFunctionConfiguration`,
//! `autoscaling:DescribeAutoScalingGroups`.

use std::collections::HashMap;

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
use tracing::{debug, warn};

use crate::config::CURRENT_ASG_NAME;
use crate::plan::takes_over;

/// Reads and writes the stored group.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    client: Client,
    asgs: Asgs,
    function: String,
}

impl Current {
    pub(crate) fn new(client: Client, asgs: Asgs, function: &str) -> Self {
        Self { client, asgs, function: function.to_owned() }
    }

    /// Reads the stored group from the configuration, because the environment of a running process is out of date. If
    /// Lambda can't decrypt the variables, no group counts as stored.
    pub(crate) async fn stored(&self) -> Result<Option<String>, Error> {
        match variables(&self.configuration().await?) {
            Ok(variables) => Ok(stored_in(&variables)),
            Err(reason) => {
                warn!("the function's own variables can't be read, so no group counts as stored: {reason}");
                Ok(None)
            }
        }
    }

    /// Removes `gone`, a stored group that was rolled back. Until the next launch, no termination counts as a
    /// replacement. If another change of the configuration comes first, the next sweep tries again.
    pub(crate) async fn forget(&self, gone: &str) -> Result<(), Error> {
        let configuration = self.configuration().await?;
        let Ok(mut variables) = variables(&configuration) else {
            return Ok(());
        };
        if variables.remove(CURRENT_ASG_NAME).as_deref() != Some(gone) {
            return Ok(());
        }
        match self.update(variables, configuration.revision_id()).await {
            Ok(()) => debug!("{gone} was stored as the group in service and is gone: no group is stored now"),
            Err(error) if can_succeed_later(&error) => {
                debug!("{gone} is gone, but could not be removed from the configuration now")
            }
            Err(error) => return Err(failed(&error)),
        }
        Ok(())
    }

    /// Stores `group`, unless it is stored already or the stored group is newer and still exists. A concurrent change
    /// is not overwritten: AWS refuses an outdated revision, and the configuration is read again. Returns whether it
    /// stored the group.
    pub(crate) async fn store(&self, group: &str, invocation: &Invocation) -> Result<bool, Error> {
        let mut sent = false;
        for pause in pauses() {
            let configuration = self.configuration().await?;
            // A write without the other variables would delete them.
            let mut variables = variables(&configuration).map_err(|reason| Error::AwsError {
                call: "GetFunctionConfiguration",
                source: AwsFailure::of(format!("Lambda does not show the function's variables: {reason}")),
            })?;
            let stored = stored_in(&variables);
            if stored.as_deref() == Some(group) {
                return Ok(sent);
            }
            if let Some(stored) = &stored {
                let names = Names::default().and(Some(group.to_owned())).and(Some(stored.clone()));
                if !takes_over(group, stored, &self.asgs.named(&names).await?) {
                    return Ok(false);
                }
            }
            variables.insert(CURRENT_ASG_NAME.to_owned(), group.to_owned());
            match self.update(variables, configuration.revision_id()).await {
                Ok(()) => {
                    let before = stored.as_deref().unwrap_or("no group");
                    debug!(
                        asg.name = group,
                        "{group} is now stored as the group in service, in place of {before}"
                    );
                    return Ok(true);
                }
                Err(error) if can_succeed_later(&error) && pause < invocation.time_left() => {
                    debug!("the configuration could not be changed: reading it again");
                    sent = true;
                    tokio::time::sleep(pause).await;
                }
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

fn stored_in(variables: &HashMap<String, String>) -> Option<String> {
    variables.get(CURRENT_ASG_NAME).filter(|name| !name.is_empty()).cloned()
}

/// The failure of an update. If the variables are too long, Lambda's text quotes them all, so it is cut.
fn failed(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> Error {
    let call = "UpdateFunctionConfiguration";
    match error.message().and_then(|message| message.split_once("String measured")) {
        Some((text, _)) => Error::AwsError {
            call,
            source: AwsFailure::of(format!("{}: {}", error.code().unwrap_or_default(), text.trim_end())),
        },
        None => Error::aws(call, error),
    }
}

/// Whether the update can succeed after the configuration is read again: another update came first or still runs, or
/// the error is transient.
fn can_succeed_later(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_precondition_failed_exception() || error.is_resource_conflict_exception()
    }) || is_transient(error)
}
