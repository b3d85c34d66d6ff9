//! The group in service, which the function remembers in its own configuration. AWS calls:
//! `lambda:GetFunctionConfiguration`, `lambda:UpdateFunctionConfiguration`,
//! `autoscaling:DescribeAutoScalingGroups`.

use std::collections::HashMap;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use aws_sdk_lambda::operation::update_function_configuration::UpdateFunctionConfigurationError;
use aws_sdk_lambda::types::Environment;
use lifecycle_core::action::{is_transient, pauses};
use lifecycle_core::config::Names;
use lifecycle_core::error::AwsFailure;
use lifecycle_core::waits::{Groups, time};
use lifecycle_core::{Error, Invocation};
use tracing::{debug, info, warn};

use crate::config::CURRENT_ASG_NAME;

/// Remembers the group in service.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    client: Client,
    groups: Groups,
    function: String,
}

impl Current {
    pub(crate) fn new(client: Client, groups: Groups, function: &str) -> Self {
        Self { client, groups, function: function.to_owned() }
    }

    /// The stored group, read live: the environment of a process is as old as the process. Variables that
    /// Lambda can't decrypt are as good as nothing stored.
    pub(crate) async fn stored(&self) -> Result<Option<String>, Error> {
        match variables(&self.configuration().await?) {
            Ok(variables) => Ok(stored_in(&variables)),
            Err(reason) => {
                warn!("the function's own variables can't be read, so no group counts as stored: {reason}");
                Ok(None)
            }
        }
    }

    /// Forgets `gone`, a stored group that was rolled back: until the next launch, every group's deaths are
    /// looked at. Somebody else's change comes first: then the next sweep tries again.
    pub(crate) async fn forget(&self, gone: &str) -> Result<(), Error> {
        let configuration = self.configuration().await?;
        let Ok(mut variables) = variables(&configuration) else {
            return Ok(());
        };
        if variables.remove(CURRENT_ASG_NAME).as_deref() != Some(gone) {
            return Ok(());
        }
        match self.update(variables, configuration.revision_id()).await {
            Ok(()) => info!(
                "{gone}, which was stored as the group in service, is gone: no group is stored any more"
            ),
            Err(error) if is_passing(&error) => debug!("{gone} is gone, but could not be forgotten now"),
            Err(error) => return Err(failed(&error)),
        }
        Ok(())
    }

    /// Stores `group`, unless it is stored, or is older than the stored one and that one lives. Whoever
    /// changes the configuration in between is not overwritten: AWS refuses an outdated revision, and the
    /// configuration is read again. Says whether it was stored.
    pub(crate) async fn store(&self, group: &str, invocation: &Invocation) -> Result<bool, Error> {
        let mut sent = false;
        for pause in pauses() {
            let configuration = self.configuration().await?;
            // To write without knowing the other variables would delete them.
            let mut variables = variables(&configuration).map_err(|reason| Error::AwsError {
                call: "GetFunctionConfiguration",
                source: AwsFailure::told(format!("Lambda does not show the function's variables: {reason}")),
            })?;
            let stored = stored_in(&variables);
            if stored.as_deref() == Some(group) {
                return Ok(sent);
            }
            if let Some(stored) = &stored
                && !self.replaces(group, stored).await?
            {
                return Ok(false);
            }
            variables.insert(CURRENT_ASG_NAME.to_owned(), group.to_owned());
            match self.update(variables, configuration.revision_id()).await {
                Ok(()) => {
                    let before = stored.as_deref().unwrap_or("no group");
                    info!(
                        asg.name = group,
                        "{group} is now stored as the group in service, in place of {before}"
                    );
                    return Ok(true);
                }
                Err(error) if is_passing(&error) && pause < invocation.time_left() => {
                    debug!("the configuration could not be changed; reading it again");
                    sent = true;
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        unreachable!("the pauses are without end")
    }

    /// Whether `group` takes over from `stored`: it was created later, or the other one is gone or going.
    async fn replaces(&self, group: &str, stored: &str) -> Result<bool, Error> {
        let names = Names::default().and(Some(group.to_owned())).and(Some(stored.to_owned()));
        let groups = self.groups.named(&names).await?;
        let named = |name| groups.iter().find(|found| found.auto_scaling_group_name() == Some(name));
        let created = |group: &AutoScalingGroup| group.created_time().and_then(time);
        Ok(match (named(group).filter(|group| lives(group)), named(stored).filter(|stored| lives(stored))) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(group), Some(stored)) => created(group) > created(stored),
        })
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

/// The variables of a configuration, or why Lambda does not show them.
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

/// The failure of an update. Where the variables are more than Lambda takes, its text quotes them all.
fn failed(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> Error {
    let call = "UpdateFunctionConfiguration";
    match error.message().and_then(|message| message.split_once("String measured")) {
        Some((text, _)) => Error::AwsError {
            call,
            source: AwsFailure::told(format!("{}: {}", error.code().unwrap_or_default(), text.trim_end())),
        },
        None => Error::aws(call, error),
    }
}

/// AWS gives a group a status only while it is being deleted.
pub(crate) fn lives(group: &AutoScalingGroup) -> bool {
    group.status().is_none_or(str::is_empty)
}

/// Whether the update can succeed once the configuration is read again: another one came first or still
/// runs, or AWS failed in passing.
fn is_passing(error: &SdkError<UpdateFunctionConfigurationError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_precondition_failed_exception() || error.is_resource_conflict_exception()
    }) || is_transient(error)
}
