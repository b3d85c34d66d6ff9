//! Run Command's actions: parameters, refusals, answers. Times in answers are seconds since 1970, except where the
//! API has texts. Actions that the lab does not model are refused by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::engine::Order;
use super::{Command, DOCUMENTS, Document, Invocation, Ping, RunCommand, delta, invocations_on};
use crate::aws::error::ApiError;
use crate::aws::json_api::{self, constraint, epoch, in_range};
use crate::aws::request::Answer;
use crate::aws::request::Request;
use crate::aws::world::{REGION, World, timestamp};

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
    #[serde(rename = "OutputS3BucketName")]
    output_s3_bucket_name: Option<String>,
    #[serde(rename = "OutputS3KeyPrefix")]
    output_s3_key_prefix: Option<String>,
    cloud_watch_output_config: Option<CloudWatchOutput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CloudWatchOutput {
    cloud_watch_log_group_name: Option<String>,
    #[serde(default)]
    cloud_watch_output_enabled: bool,
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
    let own = world.run_command.documents.get(&send.document_name);
    if !aws && own.is_none() {
        let message = format!("Document with name {} does not exist.", send.document_name);
        return Err(ApiError::new("InvalidDocument", message));
    }
    let execution_timeout = execution_timeout(&send.parameters, own)?;
    if !ids.iter().all(|id| world.accepts_commands(id)) {
        return Err(ApiError::new("InvalidInstanceId", "Instances not in a valid state for account"));
    }
    let logs = send.cloud_watch_output_config.filter(|config| config.cloud_watch_output_enabled);
    // The name that AWS gives to a log group that the request does not name.
    let log_group = logs.map(|config| {
        config.cloud_watch_log_group_name.unwrap_or_else(|| format!("/aws/ssm/{}", send.document_name))
    });
    let index = world.order(Order {
        document: send.document_name,
        comment: send.comment,
        instances: send.instance_ids,
        parameters: send.parameters,
        delivery_timeout: Duration::from_secs(delivery_timeout),
        execution_timeout,
        output_s3: send
            .output_s3_bucket_name
            .map(|bucket| (bucket, send.output_s3_key_prefix.unwrap_or_default())),
        output_log_group: log_group,
    });
    Ok(Some(json!({ "Command": command_json(&world.run_command.commands[index]) })))
}

/// The `executionTimeout` among the parameters, if the document takes these parameters.
fn execution_timeout(
    parameters: &BTreeMap<String, Vec<String>>,
    own: Option<&Document>,
) -> Result<Duration, ApiError> {
    let invalid = |message: String| ApiError::new("InvalidParameters", message);
    let taken = |name: &&String| {
        ["commands", "executionTimeout"].contains(&name.as_str())
            || own.is_some_and(|document| document.parameters.contains(name))
    };
    if let Some(other) = parameters.keys().find(|name| !taken(name)) {
        return Err(match other.as_str() {
            "workingDirectory" if own.is_none() => {
                ApiError::not_modelled("the document's parameter workingDirectory")
            }
            other => invalid(format!("Parameter [{other}] is not defined in the document.")),
        });
    }
    if own.is_none() && parameters.get("commands").is_none_or(Vec::is_empty) {
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
        let message = format!("Command id {} does not exist.", cancel.command_id);
        return Err(ApiError::new("InvalidCommandId", message));
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
    plugin_name: Option<String>,
}

fn get_invocation(world: &mut World, get: GetInvocation) -> Answer {
    let visible = world.now() - delta(world.delays.command_visible);
    let RunCommand { commands, foreign, .. } = &world.run_command;
    let mut sent =
        invocations_on(commands, &get.instance_id).chain(invocations_on(foreign, &get.instance_id));
    let found = sent.find(|(command, _)| command.id == get.command_id && command.requested <= visible);
    let Some((command, invocation)) = found else {
        return Err(ApiError::new("InvocationDoesNotExist", ""));
    };
    let mut plugins = command.plugins();
    let plugin = match get.plugin_name {
        Some(name) => plugins.find(|(plugin, _)| *plugin == name),
        // Of several steps one has to be named.
        None => plugins.next().filter(|_| command.steps.len() < 2),
    };
    let Some((plugin, skipped)) = plugin else {
        return Err(ApiError::new("InvalidPluginName", "The plugin name isn't valid."));
    };
    // While it runs, start and elapsed time are absent and the end is empty (recorded). The end is the start plus
    // whole seconds, whatever the elapsed time (recorded).
    let (started, ended) = (invocation.started, invocation.ended.filter(|_| invocation.started.is_some()));
    let run = started.zip(ended).map(|(started, ended)| (started, ended - started));
    let end = run.map(|(started, elapsed)| timestamp(started + TimeDelta::seconds(elapsed.num_seconds())));
    let url = command.output_url();
    Ok(Some(json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "PluginName": plugin,
        "ResponseCode": if skipped { skipped_code(invocation) } else { invocation.exit_code },
        "ExecutionStartDateTime": run.map(|(started, _)| timestamp(started)),
        "ExecutionElapsedTime": run.map(|(_, elapsed)| format!("PT{}S", elapsed.num_milliseconds() as f64 / 1_000.0)),
        "ExecutionEndDateTime": end.unwrap_or_default(),
        "Status": invocation.status,
        "StatusDetails": invocation.status_details,
        "StandardOutputContent": if skipped { SKIPPED } else { invocation.output.as_str() },
        "StandardOutputUrl": url,
        "StandardErrorContent": if skipped { "" } else { invocation.error_output.as_str() },
        "StandardErrorUrl": url,
        "CloudWatchOutputConfig": logs_json(command),
    })))
}

/// What the agent writes for a step of another platform.
const SKIPPED: &str = "Step execution skipped due to unsupported platform";

/// The exit code of a skipped step.
fn skipped_code(invocation: &Invocation) -> i32 {
    if invocation.started.zip(invocation.ended).is_some() { 0 } else { -1 }
}

fn logs_json(command: &Command) -> Value {
    json!({
        "CloudWatchLogGroupName": command.output_log_group.as_deref().unwrap_or_default(),
        "CloudWatchOutputEnabled": command.output_log_group.is_some(),
    })
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
    let wanted = &wanted;
    let invocations = listed.flat_map(move |command| {
        let all = command.invocations.iter().map(move |invocation| (command, invocation));
        all.filter(move |(command, invocation)| wanted(command, invocation))
    });
    let to_json = |(command, invocation)| invocation_json(command, invocation, list.details);
    page("CommandInvocations", invocations, to_json, 50, list.max_results, 1..=50, list.next_token)
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
    page("Commands", commands, command_json, 50, list.max_results, 1..=50, list.next_token)
}

/// Commands that can be seen in lists, newest first.
fn listed<'a>(world: &'a World, id: Option<&'a str>) -> impl Iterator<Item = &'a Command> {
    let seen = world.now() - delta(world.delays.command_listed);
    let mut own = world.run_command.commands.iter().rev().peekable();
    let mut foreign = world.run_command.foreign.iter().rev().peekable();
    let commands = std::iter::from_fn(move || match (own.peek(), foreign.peek()) {
        (Some(one), Some(other)) if one.requested < other.requested => foreign.next(),
        (Some(_), _) => own.next(),
        _ => foreign.next(),
    });
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
    let ids = |(key, _): &(String, _)| key == "InstanceIds";
    if filters.iter().any(ids) && filters.iter().any(|(key, _)| key.starts_with("tag")) {
        let text = "Cannot mix tag or inventory filter with any other filter.";
        return Err(ApiError::new("ValidationException", text));
    }
    for (key, values) in &filters {
        match key.as_str() {
            "InstanceIds" | "PingStatus" => {}
            key if UNPLAYED_FILTERS.contains(&key) || key.starts_with("tag") => {
                return Err(ApiError::not_modelled(format!("the filter {key}")));
            }
            key => return Err(ApiError::new("InvalidFilterKey", format!("{key} filter Key is invalid."))),
        }
        if values.is_empty() || values.len() > 100 {
            return Err(constraint("filters", format!("{values:?}"), "have length from 1 to 100"));
        }
    }
    let registered = world.autoscaling.instances().filter_map(|one| Some((&one.id, world.agent(&one.id)?)));
    let wanted = registered.filter(|(id, ping)| {
        filters.iter().all(|(key, values)| match key.as_str() {
            "InstanceIds" => values.contains(*id),
            _ => values.iter().any(|value| value == ping.as_str()),
        })
    });
    let to_json = |(id, ping): (&String, Ping)| {
        json!({
            "InstanceId": id,
            "PingStatus": ping.as_str(),
            "LastPingDateTime": epoch(world.last_ping(id)),
            "AgentVersion": "3.3.2299.0",
            "IsLatestVersion": true,
            "PlatformType": "Linux",
            "PlatformName": "Amazon Linux",
            "PlatformVersion": "2023",
            "ResourceType": "EC2Instance",
        })
    };
    // The size of a page for those who don't ask for one is not documented: a small one, so that they
    // notice that there are pages.
    page("InstanceInformationList", wanted, to_json, 10, describe.max_results, 5..=50, describe.next_token)
}

/// Filters of `DescribeInstanceInformation` that the lab does not play.
const UNPLAYED_FILTERS: [&str; 7] = [
    "ActivationIds",
    "AgentVersion",
    "AssociationStatus",
    "IamRole",
    "PlatformTypes",
    "ResourceType",
    "SourceTypes",
];

fn command_json(command: &Command) -> Value {
    let count = |counts: fn(&&Invocation) -> bool| command.invocations.iter().filter(counts).count();
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
        "StatusDetails": command.status_details(),
        "OutputS3BucketName": command.output_s3.as_ref().map(|(bucket, _)| bucket.as_str()).unwrap_or_default(),
        "OutputS3KeyPrefix": command.output_s3.as_ref().map(|(_, prefix)| prefix.as_str()).unwrap_or_default(),
        "CloudWatchOutputConfig": logs_json(command),
        "MaxConcurrency": "50",
        "MaxErrors": "0",
        "TargetCount": command.invocations.len(),
        "CompletedCount": count(|invocation| invocation.ended.is_some()),
        "ErrorCount": count(|invocation| invocation.is_error()),
        "DeliveryTimedOutCount": count(|invocation| invocation.status_details == "DeliveryTimedOut"),
        "TimeoutSeconds": command.delivery_timeout.as_secs(),
    })
}

fn invocation_json(command: &Command, invocation: &Invocation, details: bool) -> Value {
    let run = invocation.started.zip(invocation.ended);
    let plugin_json = |(name, skipped): (&str, bool)| {
        let ended = run.is_some();
        json!({
            "Name": name,
            // Plugins have no `Cancelling`.
            "Status": match invocation.status {
                "Cancelling" => "InProgress",
                _ if skipped && ended => "Success",
                status => status,
            },
            "StatusDetails": if skipped && ended { "Success" } else { invocation.status_details },
            "ResponseCode": if skipped { skipped_code(invocation) } else { invocation.exit_code },
            "ResponseStartDateTime": invocation.started.map(epoch),
            "ResponseFinishDateTime": run.map(|(_, ended)| epoch(ended)),
            "Output": match (skipped, invocation.error_output.as_str()) {
                (true, _) => SKIPPED.to_owned(),
                (false, "") => invocation.output.clone(),
                (false, error) => format!("{}\n----------ERROR-------\n{error}", invocation.output),
            },
            // Empty where the command was never delivered (recorded).
            "OutputS3Region": if invocation.status_details == "DeliveryTimedOut" { "" } else { REGION },
        })
    };
    let plugins = command.plugins().filter(|_| details).map(plugin_json);
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "InstanceName": "",
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "RequestedDateTime": epoch(command.requested + INVOCATION_LATENESS),
        "Status": invocation.status,
        "StatusDetails": invocation.status_details,
        "StandardOutputUrl": command.output_url(),
        "StandardErrorUrl": command.output_url(),
        "CommandPlugins": plugins.collect::<Vec<_>>(),
        "CloudWatchOutputConfig": logs_json(command),
    })
}

/// How much later an invocation says that it was requested than its command: 70 to 90 ms were recorded.
const INVOCATION_LATENESS: TimeDelta = TimeDelta::milliseconds(80);

impl Command {
    /// Where in S3 the whole output is; empty if nowhere.
    fn output_url(&self) -> String {
        let url = |(bucket, prefix): &(String, String)| {
            let path = [bucket, prefix, &self.id].into_iter().filter(|part| !part.is_empty());
            format!(
                "https://s3.{REGION}.amazonaws.com/{}",
                path.map(String::as_str).collect::<Vec<_>>().join("/")
            )
        };
        self.output_s3.as_ref().map(url).unwrap_or_default()
    }
}

/// One page of a list. Only what is on it is put into words.
fn page<T>(
    name: &str,
    items: impl Iterator<Item = T>,
    to_json: impl Fn(T) -> Value,
    usual: u64,
    size: Option<u64>,
    sizes: RangeInclusive<u64>,
    token: Option<String>,
) -> Answer {
    let size = size.unwrap_or(usual);
    in_range("maxResults", size, sizes)?;
    // AWS's text is empty (recorded).
    let first: usize = match token.as_deref().map(str::parse).transpose() {
        Ok(first) => first.unwrap_or_default(),
        Err(_) => return Err(ApiError::new("InvalidNextToken", "")),
    };
    let size = size as usize;
    let mut rest = items.skip(first).peekable();
    let page: Vec<_> = rest.by_ref().take(size).map(to_json).collect();
    let token = rest.peek().map(|_| (first + size).to_string());
    Ok(Some(json!({ name: page, "NextToken": token })))
}
