//! Run Command's actions: parameters, refusals, answers. Times in answers are seconds since 1970, except where the
//! API has texts. Actions that the lab does not model are refused by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, Timelike, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::engine::Order;
use super::{Command, DOCUMENTS, Invocation, Ping, delta};
use crate::aws::error::ApiError;
use crate::aws::json_api::{self, constraint, epoch, in_range};
use crate::aws::request::Answer;
use crate::aws::request::Request;
use crate::aws::world::{ACCOUNT, World, timestamp};

/// `TimeoutSeconds` of a command that has none, and `executionTimeout` of one that has none.
const DEFAULT_TIMEOUT: u64 = 3_600;

/// The longest `executionTimeout` of AWS's documents, in seconds.
const MAX_EXECUTION_TIMEOUT: u64 = 172_800;

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    fn run<T: DeserializeOwned>(
        world: &mut World,
        request: &Request,
        play: impl FnOnce(&mut World, T) -> Answer,
    ) -> Answer {
        play(world, json_api::parameters(request, "ValidationException")?)
    }
    match request.action.as_str() {
        "SendCommand" => run(world, request, send),
        "CancelCommand" => run(world, request, cancel),
        "GetCommandInvocation" => run(world, request, get_invocation),
        "ListCommandInvocations" => run(world, request, list_invocations),
        "ListCommands" => run(world, request, list_commands),
        "DescribeInstanceInformation" => run(world, request, describe_instances),
        action => Err(ApiError::not_modelled(format!("ssm:{action}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Send {
    document_name: String,
    instance_ids: Vec<String>,
    #[serde(default)]
    comment: String,
    timeout_seconds: Option<u64>,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
}

fn send(world: &mut World, send: Send) -> Answer {
    if send.comment.chars().count() > 100 {
        let must = "have length less than or equal to 100";
        return Err(constraint("comment", &send.comment, must));
    }
    let delivery_timeout = send.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT);
    in_range("timeoutSeconds", delivery_timeout, 30..=2_592_000)?;
    let ids = &send.instance_ids;
    if ids.is_empty() || ids.len() > 50 {
        return Err(constraint("instanceIds", format!("{ids:?}"), "have length from 1 to 50"));
    }
    if (1..ids.len()).any(|n| ids[..n].contains(&ids[n])) {
        return Err(ApiError::new("DuplicateInstanceId", "An instance ID is specified twice."));
    }
    let aws = DOCUMENTS.iter().any(|(document, _)| *document == send.document_name);
    if !aws && !world.run_command.documents.contains(&send.document_name) {
        let message = format!("Document with name {} does not exist.", send.document_name);
        return Err(ApiError::new("InvalidDocument", message));
    }
    let execution_timeout = execution_timeout(&send.parameters)?;
    let known = |id: &&String| matches!(world.agent(id), None | Some(Ping::Unregistered));
    let unknown: Vec<_> = ids.iter().filter(known).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(ApiError::new(
            "InvalidInstanceId",
            format!("Instances [[{}]] not in a valid state for account {}", unknown.join(", "), ACCOUNT),
        ));
    }
    let index = world.order(Order {
        document: send.document_name,
        comment: send.comment,
        instances: send.instance_ids,
        parameters: send.parameters,
        delivery_timeout: Duration::from_secs(delivery_timeout),
        execution_timeout,
    });
    Ok(Some(json!({ "Command": command_json(&world.run_command.commands[index]) })))
}

/// The parameters of the documents that the lab plays.
fn execution_timeout(parameters: &BTreeMap<String, Vec<String>>) -> Result<Duration, ApiError> {
    let invalid = |message: String| ApiError::new("InvalidParameters", message);
    if let Some(other) =
        parameters.keys().find(|name| !["commands", "executionTimeout"].contains(&name.as_str()))
    {
        return Err(match other.as_str() {
            "workingDirectory" => ApiError::not_modelled("the document's parameter workingDirectory"),
            other => invalid(format!("Parameter [{other}] is not defined in the document.")),
        });
    }
    if parameters.get("commands").is_none_or(Vec::is_empty) {
        return Err(invalid("Parameter [commands] is required.".to_owned()));
    }
    let seconds = match parameters.get("executionTimeout").map(Vec::as_slice) {
        None => DEFAULT_TIMEOUT,
        Some([text]) if let Ok(seconds @ 1..=MAX_EXECUTION_TIMEOUT) = text.parse() => seconds,
        Some(other) => return Err(invalid(format!("Parameter [executionTimeout] can't be {other:?}."))),
    };
    Ok(Duration::from_secs(seconds))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Cancel {
    command_id: String,
    #[serde(default)]
    instance_ids: Vec<String>,
}

fn cancel(world: &mut World, cancel: Cancel) -> Answer {
    let commands = &world.run_command.commands;
    let Some(index) = commands.iter().position(|command| command.id == cancel.command_id) else {
        return Err(ApiError::new("InvalidCommandId", "The specified command ID isn't valid."));
    };
    let sent_to = &commands[index].instances;
    let instances = if cancel.instance_ids.is_empty() { sent_to.clone() } else { cancel.instance_ids };
    if let Some(other) = instances.iter().find(|id| !sent_to.contains(id)) {
        return Err(ApiError::new("InvalidInstanceId", format!("The command was not sent to {other}.")));
    }
    world.cancel(index, &instances);
    Ok(Some(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetInvocation {
    command_id: String,
    instance_id: String,
}

fn get_invocation(world: &mut World, get: GetInvocation) -> Answer {
    let visible = world.now() - delta(world.delays.command_visible);
    let mut sent = world.run_command.invocations(&get.instance_id);
    let found = sent.find(|(command, _)| command.id == get.command_id && command.requested <= visible);
    let Some((command, invocation)) = found else {
        return Err(ApiError::new("InvocationDoesNotExist", ""));
    };
    // AWS leaves these texts empty until there is something to say. The clock of what runs on the
    // instance is known when it has told.
    let text = |time: Option<DateTime<Utc>>| time.map(timestamp).unwrap_or_default();
    let ended = invocation.ended.filter(|_| invocation.started.is_some());
    let elapsed = invocation.started.zip(ended).map(|(started, ended)| (ended - started).as_seconds_f64());
    Ok(Some(json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "Comment": command.comment,
        "DocumentName": command.document,
        "PluginName": command.plugin(),
        "ResponseCode": invocation.exit_code,
        "ExecutionStartDateTime": text(invocation.started),
        "ExecutionElapsedTime": elapsed.map(|seconds| format!("PT{seconds}S")).unwrap_or_default(),
        "ExecutionEndDateTime": text(ended),
        "Status": invocation.status,
        "StatusDetails": invocation.status_details,
        "StandardOutputContent": invocation.output,
        "StandardOutputUrl": "",
        "StandardErrorContent": invocation.error_output,
        "StandardErrorUrl": "",
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListInvocations {
    command_id: Option<String>,
    instance_id: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    details: bool,
    max_results: Option<u64>,
    next_token: Option<String>,
}

fn list_invocations(world: &mut World, list: ListInvocations) -> Answer {
    let filters = filters(list.filters)?;
    let wanted = |command: &Command, invocation: &Invocation| {
        list.instance_id.as_ref().is_none_or(|id| *id == invocation.instance)
            && filters.iter().all(|filter| match filter {
                Wanted::Status(status) => {
                    [invocation.status, invocation.status_details].contains(&status.as_str())
                }
                filter => filter.of_command(command),
            })
    };
    let listed = listed(world, list.command_id.as_deref());
    let invocations = listed.flat_map(|command| {
        let wanted = command.invocations.iter().filter(|invocation| wanted(command, invocation));
        wanted.map(|invocation| invocation_json(command, invocation, list.details)).collect::<Vec<_>>()
    });
    page("CommandInvocations", invocations.collect(), 50, list.max_results, 1..=50, list.next_token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListCommands {
    command_id: Option<String>,
    instance_id: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<u64>,
    next_token: Option<String>,
}

fn list_commands(world: &mut World, list: ListCommands) -> Answer {
    let filters = filters(list.filters)?;
    let listed = listed(world, list.command_id.as_deref());
    let commands = listed.filter(|command| {
        list.instance_id.as_ref().is_none_or(|id| command.instances.contains(id))
            && filters.iter().all(|filter| filter.of_command(command))
    });
    page("Commands", commands.map(command_json).collect(), 50, list.max_results, 1..=50, list.next_token)
}

/// Commands that can be seen in lists, newest first.
fn listed<'a>(world: &'a World, id: Option<&'a str>) -> impl Iterator<Item = &'a Command> {
    let seen = world.now() - delta(world.delays.command_listed);
    let commands = world.run_command.commands.iter().rev();
    commands.filter(move |command| command.requested <= seen && id.is_none_or(|id| id == command.id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    key: String,
    value: String,
}

/// What a list is narrowed to.
enum Wanted {
    InvokedAfter(DateTime<Utc>),
    InvokedBefore(DateTime<Utc>),
    Status(String),
    DocumentName(String),
}

impl Wanted {
    fn of_command(&self, command: &Command) -> bool {
        match self {
            Self::InvokedAfter(time) => command.requested >= *time,
            Self::InvokedBefore(time) => command.requested < *time,
            Self::Status(status) => command.status() == status,
            Self::DocumentName(name) => command.document == *name,
        }
    }
}

fn filters(filters: Vec<Filter>) -> Result<Vec<Wanted>, ApiError> {
    let filters = filters.into_iter().map(|Filter { key, value }| {
        Ok(match key.as_str() {
            "InvokedAfter" => Wanted::InvokedAfter(filter_time(&value)?),
            "InvokedBefore" => Wanted::InvokedBefore(filter_time(&value)?),
            "Status" => Wanted::Status(value),
            "DocumentName" => Wanted::DocumentName(value),
            "ExecutionStage" => return Err(ApiError::not_modelled("the filter ExecutionStage")),
            _ => return Err(ApiError::new("InvalidFilterKey", "The specified key isn't valid.")),
        })
    });
    filters.collect()
}

/// As documented: `2024-07-07T00:00:00Z`. Whether AWS takes fractions of a second is not documented, so
/// the lab does not.
fn filter_time(text: &str) -> Result<DateTime<Utc>, ApiError> {
    let time =
        text.parse::<DateTime<Utc>>().ok().filter(|time| time.nanosecond() == 0 && text.ends_with('Z'));
    time.ok_or_else(|| constraint("filters", text, "be a time like 2024-07-07T00:00:00Z"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeInstances {
    #[serde(default)]
    filters: Vec<StringFilter>,
    #[serde(default)]
    instance_information_filter_list: Vec<OldFilter>,
    max_results: Option<u64>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StringFilter {
    key: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldFilter {
    key: String,
    value_set: Vec<String>,
}

fn describe_instances(world: &mut World, describe: DescribeInstances) -> Answer {
    let old = describe.instance_information_filter_list.into_iter().map(|old| (old.key, old.value_set));
    let filters: Vec<_> =
        describe.filters.into_iter().map(|filter| (filter.key, filter.values)).chain(old).collect();
    for (key, values) in &filters {
        if !["InstanceIds", "PingStatus"].contains(&key.as_str()) {
            return Err(ApiError::not_modelled(format!("the filter {key}")));
        }
        if values.is_empty() || values.len() > 100 {
            return Err(constraint("filters", format!("{values:?}"), "have length from 1 to 100"));
        }
    }
    let mut answers = Vec::new();
    for instance in world.autoscaling.instances() {
        let ping = world.run_command.ping(&instance.id);
        let wanted = filters.iter().all(|(key, values)| match key.as_str() {
            "InstanceIds" => values.contains(&instance.id),
            _ => values.iter().any(|value| value == ping.as_str()),
        });
        if ping == Ping::Unregistered || !wanted {
            continue;
        }
        let lost = world.run_command.agents.get(&instance.id).and_then(|agent| agent.lost);
        let heard = if ping == Ping::Online { Some(world.now()) } else { lost };
        answers.push(json!({
            "InstanceId": instance.id,
            "PingStatus": ping.as_str(),
            "LastPingDateTime": heard.map(epoch),
            "AgentVersion": "3.3.2299.0",
            "IsLatestVersion": true,
            "PlatformType": "Linux",
            "PlatformName": "Amazon Linux",
            "PlatformVersion": "2023",
            "ResourceType": "EC2Instance",
        }));
    }
    // The size of a page for those who don't ask for one is not documented: a small one, so that they
    // notice that there are pages.
    page("InstanceInformationList", answers, 10, describe.max_results, 5..=50, describe.next_token)
}

fn command_json(command: &Command) -> Value {
    let count = |counts: fn(&&Invocation) -> bool| command.invocations.iter().filter(counts).count();
    let details = match command.invocations.as_slice() {
        [only] => only.status_details,
        _ => command.status(),
    };
    json!({
        "CommandId": command.id,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "Comment": command.comment,
        "ExpiresAfter": epoch(command.expires()),
        "Parameters": command.parameters,
        "InstanceIds": command.instances,
        "Targets": [],
        "RequestedDateTime": epoch(command.requested),
        "Status": command.status(),
        "StatusDetails": details,
        "MaxConcurrency": "50",
        "MaxErrors": "0",
        "TargetCount": command.invocations.len(),
        "CompletedCount": count(|invocation| invocation.ended.is_some()),
        "ErrorCount": count(|invocation| matches!(invocation.status_details, "Failed" | "ExecutionTimedOut")),
        "DeliveryTimedOutCount": count(|invocation| invocation.status_details == "DeliveryTimedOut"),
        "TimeoutSeconds": command.delivery_timeout.as_secs(),
    })
}

fn invocation_json(command: &Command, invocation: &Invocation, details: bool) -> Value {
    let plugin = json!({
        "Name": command.plugin(),
        // Plugins have no `Cancelling`.
        "Status": if invocation.status == "Cancelling" { "InProgress" } else { invocation.status },
        "StatusDetails": invocation.status_details,
        "ResponseCode": invocation.exit_code,
        "ResponseStartDateTime": invocation.started.map(epoch),
        "ResponseFinishDateTime": invocation.ended.filter(|_| invocation.started.is_some()).map(epoch),
        "Output": invocation.output,
    });
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "InstanceName": "",
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "RequestedDateTime": epoch(command.requested),
        "Status": invocation.status,
        "StatusDetails": invocation.status_details,
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": if details { vec![plugin] } else { Vec::new() },
    })
}

/// One page of a list.
fn page(
    name: &str,
    items: Vec<Value>,
    usual: u64,
    size: Option<u64>,
    sizes: RangeInclusive<u64>,
    token: Option<String>,
) -> Answer {
    let size = size.unwrap_or(usual);
    in_range("maxResults", size, sizes)?;
    let Some((items, token)) = json_api::page(items, size, token.as_deref()) else {
        return Err(ApiError::new("InvalidNextToken", "The specified token isn't valid."));
    };
    Ok(Some(json!({ name: items, "NextToken": token })))
}
