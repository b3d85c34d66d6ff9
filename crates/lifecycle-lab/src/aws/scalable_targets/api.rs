//! Application Auto Scaling's actions: parameters, refusals, answers. Error codes and texts are AWS's where a public
//! log shows them. Actions that the lab does not model are refused by name.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Registration, Suspended, Target, activities, concurrent_update, tags};
use crate::aws::ecs::{self, Scheduling};
use crate::aws::error::ApiError;
use crate::aws::json_api::{self, constraint, epoch, in_range};
use crate::aws::request::Answer;
use crate::aws::request::Request;
use crate::aws::world::{ACCOUNT, Effect, REGION, Sight, World};

/// The only namespace that the lab plays.
pub(super) const NAMESPACE: &str = "ecs";

/// Its only dimension.
pub(super) const DIMENSION: &str = "ecs:service:DesiredCount";

/// AWS's namespaces.
const NAMESPACES: [&str; 15] = [
    "ecs",
    "elasticmapreduce",
    "ec2",
    "appstream",
    "dynamodb",
    "rds",
    "sagemaker",
    "custom-resource",
    "comprehend",
    "lambda",
    "cassandra",
    "kafka",
    "elasticache",
    "neptune",
    "workspaces",
];

/// The most resources of one description, and the targets of one page.
const PAGE_SIZE: u64 = 50;

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    fn run<T: DeserializeOwned>(
        world: &mut World,
        request: &Request,
        play: impl FnOnce(&mut World, T) -> Answer,
    ) -> Answer {
        play(world, json_api::parameters(request, "ValidationException")?)
    }
    let now = world.now();
    if world.scalable_targets.bucket.as_mut().is_some_and(|bucket| !bucket.draw(now)) {
        return Err(ApiError::new("ThrottlingException", "Rate exceeded"));
    }
    match request.action.as_str() {
        "RegisterScalableTarget" => run(world, request, register),
        "DescribeScalableTargets" => run(world, request, describe),
        "DescribeScalingActivities" => run(world, request, activities::describe),
        "DeregisterScalableTarget" => run(world, request, deregister),
        "TagResource" => run(world, request, tag),
        "UntagResource" => run(world, request, untag),
        "ListTagsForResource" => run(world, request, list_tags),
        action => Err(ApiError::not_modelled(format!("application-autoscaling:{action}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Register {
    service_namespace: String,
    resource_id: String,
    scalable_dimension: String,
    min_capacity: Option<i32>,
    max_capacity: Option<i32>,
    #[serde(rename = "RoleARN")]
    role: Option<String>,
    suspended_state: Option<Suspended>,
    tags: Option<BTreeMap<String, String>>,
}

/// Registers a target, or updates one in place: what is not passed stays. Either way the service's
/// desired count comes into the bounds some time after the answer. A role is taken but not used, and need not
/// exist: ECS has a service-linked one. The caller needs no permissions of ECS (recorded).
fn register(world: &mut World, new: Register) -> Answer {
    check_namespace(&new.service_namespace)?;
    let (cluster, service) = resource(&new.resource_id, &new.scalable_dimension)?;
    if new.role.as_deref() == Some("") {
        return Err(constraint("roleARN", "", "have length greater than or equal to 1"));
    }
    if let Some(role) = new.role.filter(|role| role.splitn(6, ':').count() < 6 || !role.starts_with("arn:")) {
        return Err(invalid(format!("'{role}' is not a valid ARN")));
    }
    let now = world.now();
    let found = world.scalable_targets.targets.get(&new.resource_id).cloned();
    let min = capacity(new.min_capacity, found.as_ref().map(|target| target.min), "Minimum")?;
    let max = capacity(new.max_capacity, found.as_ref().map(|target| target.max), "Maximum")?;
    if max < min {
        return Err(invalid("Maximum capacity cannot be less than minimum capacity"));
    }
    if let Some(tags) = &new.tags {
        world.scalable_targets.check_tags(tags)?;
    }
    let mut target = match found {
        Some(_) if new.tags.is_some() => {
            return Err(invalid(
                "The scalable target that you tried to tag already exists. To update tags on an existing scalable \
                 target, use the TagResource API.",
            ));
        }
        Some(target) if target.updating > now => return Err(concurrent_update()),
        Some(target) => target,
        None => Target {
            arn: new_arn(world),
            resource: new.resource_id,
            min,
            max,
            tags: BTreeMap::new(),
            suspended: Suspended::default(),
            created: now,
            updating: now,
        },
    };
    tags::add(&mut target.tags, new.tags.unwrap_or_default())?;
    check_service(world, &cluster, &service)?;
    (target.min, target.max) = (min, max);
    target.suspended = target.suspended.with(new.suspended_state.unwrap_or_default());
    target.updating = now + TimeDelta::from_std(world.delays.target_update).unwrap_or_default();
    let (arn, resource) = (Some(target.arn.clone()).filter(|arn| !arn.is_empty()), target.resource.clone());
    world.scalable_targets.targets.insert(resource.clone(), target);
    world.scalable_targets.history.push(Registration { at: now, resource: resource.clone(), min, max });
    world.send(Effect::Seen(Sight::Target { resource: resource.clone(), min, max }));
    world.clamp_later(resource);
    Ok(Some(json!({ "ScalableTargetARN": arn })))
}

/// A capacity as it will be: what is passed, or what is there.
fn capacity(passed: Option<i32>, found: Option<u32>, which: &str) -> Result<u32, ApiError> {
    match passed {
        Some(passed) => {
            passed.try_into().map_err(|_| invalid(format!("{which} capacity cannot be less than 0")))
        }
        None => found.ok_or_else(|| invalid(format!("{which} capacity must be specified"))),
    }
}

/// Refuses what is no active service that can be scaled. The text for a daemon service is the lab's own: AWS documents
/// only that such services don't use scaling.
fn check_service(world: &World, cluster: &str, service: &str) -> Result<(), ApiError> {
    let found = world.ecs.service(cluster, service).filter(|service| service.status == "ACTIVE");
    match found {
        None => Err(invalid(format!("ECS service doesn't exist: service/{cluster}/{service}"))),
        Some(found) if found.scheduling == Scheduling::Daemon => Err(invalid(format!(
            "ECS service uses the DAEMON scheduling strategy, which does not support scaling: \
             service/{cluster}/{service}"
        ))),
        Some(_) => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Describe {
    service_namespace: String,
    #[serde(default)]
    resource_ids: Vec<String>,
    scalable_dimension: Option<String>,
    max_results: Option<u64>,
    next_token: Option<String>,
}

/// Tags are not among what is answered.
fn describe(world: &mut World, describe: Describe) -> Answer {
    check_namespace(&describe.service_namespace)?;
    let ids = describe.resource_ids;
    if ids.len() as u64 > PAGE_SIZE {
        return Err(constraint("resourceIds", format!("{ids:?}"), "have length less than or equal to 50"));
    }
    if ids.is_empty() && describe.scalable_dimension.is_some() {
        return Err(invalid("A resource ID must be specified when a scalable dimension is specified"));
    }
    let dimension = describe.scalable_dimension.unwrap_or_else(|| DIMENSION.to_owned());
    for id in &ids {
        resource(id, &dimension)?;
    }
    let targets = world.scalable_targets.targets.values();
    let targets = targets.filter(|target| ids.is_empty() || ids.contains(&target.resource));
    let targets = targets.map(target_json).collect();
    let (targets, token) = page(targets, describe.max_results, describe.next_token.as_deref())?;
    Ok(Some(json!({ "ScalableTargets": targets, "NextToken": token })))
}

/// One page of a list, and the token of the next one.
pub(super) fn page(
    items: Vec<Value>,
    size: Option<u64>,
    token: Option<&str>,
) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let size = size.unwrap_or(PAGE_SIZE);
    in_range("maxResults", size, 1..=PAGE_SIZE)?;
    json_api::page(items, size, token)
        .ok_or_else(|| ApiError::new("InvalidNextTokenException", "The next token supplied was invalid."))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Deregister {
    service_namespace: String,
    resource_id: String,
    scalable_dimension: String,
}

/// Deregisters a target; the service keeps its desired count.
fn deregister(world: &mut World, old: Deregister) -> Answer {
    check_namespace(&old.service_namespace)?;
    resource(&old.resource_id, &old.scalable_dimension)?;
    let now = world.now();
    match world.scalable_targets.targets.get(&old.resource_id) {
        None => Err(ApiError::new(
            "ObjectNotFoundException",
            format!(
                "No scalable target found for service namespace: {}, resource ID: {}, scalable dimension: {}",
                old.service_namespace, old.resource_id, old.scalable_dimension
            ),
        )),
        Some(target) if target.updating > now => Err(concurrent_update()),
        Some(_) => {
            world.scalable_targets.targets.remove(&old.resource_id);
            Ok(Some(json!({})))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    #[serde(rename = "ResourceARN")]
    arn: String,
    tags: BTreeMap<String, String>,
}

fn tag(world: &mut World, tag: Tag) -> Answer {
    if tag.tags.is_empty() {
        return Err(invalid("Tags cannot be empty"));
    }
    world.scalable_targets.check_tags(&tag.tags)?;
    tags::add(&mut find_target(world, &tag.arn)?.tags, tag.tags)?;
    Ok(Some(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Untag {
    #[serde(rename = "ResourceARN")]
    arn: String,
    tag_keys: Vec<String>,
}

/// A key that is not there is no error.
fn untag(world: &mut World, untag: Untag) -> Answer {
    if untag.tag_keys.is_empty() {
        return Err(invalid("TagKeys cannot be null or empty"));
    }
    for key in &untag.tag_keys {
        world.scalable_targets.check_key(key)?;
    }
    find_target(world, &untag.arn)?.tags.retain(|key, _| !untag.tag_keys.contains(key));
    Ok(Some(json!({})))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListTags {
    #[serde(rename = "ResourceARN")]
    arn: String,
}

fn list_tags(world: &mut World, list: ListTags) -> Answer {
    Ok(Some(json!({ "Tags": find_target(world, &list.arn)?.tags })))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

pub(super) fn check_namespace(namespace: &str) -> Result<(), ApiError> {
    if !NAMESPACES.contains(&namespace) {
        let must = format!("satisfy enum value set: [{}]", NAMESPACES.join(", "));
        return Err(constraint("serviceNamespace", namespace, must));
    }
    if namespace != NAMESPACE {
        return Err(ApiError::not_modelled(format!("the service namespace {namespace}")));
    }
    Ok(())
}

/// The cluster and the service of a resource id.
pub(super) fn resource(id: &str, dimension: &str) -> Result<(String, String), ApiError> {
    let parts: Vec<_> = id.split('/').collect();
    match parts.as_slice() {
        ["service", cluster, service]
            if ecs::is_name(cluster) && ecs::is_name(service) && dimension == DIMENSION =>
        {
            Ok(((*cluster).to_owned(), (*service).to_owned()))
        }
        _ => Err(invalid("Unsupported service namespace, resource type or scalable dimension")),
    }
}

fn find_target<'a>(world: &'a mut World, arn: &str) -> Result<&'a mut Target, ApiError> {
    let id = arn.strip_prefix("arn:").and_then(|rest| rest.split_once(":scalable-target/"));
    let shaped = id.is_some_and(|(before, id)| {
        before.contains(":application-autoscaling:")
            && !id.is_empty()
            && id.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    });
    if !shaped {
        let pattern = "^arn:.+:application-autoscaling:.+:[0-9]+:scalable-target\\/[a-zA-Z0-9-]+$";
        return Err(constraint("resourceARN", arn, format!("satisfy regular expression pattern: {pattern}")));
    }
    let mut targets = world.scalable_targets.targets.values_mut();
    let found = targets.find(|target| target.arn == arn);
    found.ok_or_else(|| ApiError::new("ResourceNotFoundException", "Scalable Target not found"))
}

fn new_arn(world: &mut World) -> String {
    // 36 characters, as in AWS's examples.
    let id = world.uuid().replace('-', "");
    format!("arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/0ec5{id}")
}

fn target_json(target: &Target) -> Value {
    let suspended = target.suspended;
    let mut answer = json!({
        "ServiceNamespace": NAMESPACE,
        "ResourceId": target.resource,
        "ScalableDimension": DIMENSION,
        "MinCapacity": target.min,
        "MaxCapacity": target.max,
        "RoleARN": format!(
            "arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/\
             AWSServiceRoleForApplicationAutoScaling_ECSService"
        ),
        "CreationTime": epoch(target.created),
        "SuspendedState": {
            "DynamicScalingInSuspended": suspended.dynamic_scaling_in_suspended.unwrap_or_default(),
            "DynamicScalingOutSuspended": suspended.dynamic_scaling_out_suspended.unwrap_or_default(),
            "ScheduledScalingSuspended": suspended.scheduled_scaling_suspended.unwrap_or_default(),
        },
    });
    if !target.arn.is_empty() {
        answer["ScalableTargetARN"] = target.arn.as_str().into();
    }
    answer
}

impl Suspended {
    /// This, with what `new` says.
    fn with(self, new: Self) -> Self {
        let said = |new: Option<bool>, old: Option<bool>| new.or(old);
        Self {
            dynamic_scaling_in_suspended: said(
                new.dynamic_scaling_in_suspended,
                self.dynamic_scaling_in_suspended,
            ),
            dynamic_scaling_out_suspended: said(
                new.dynamic_scaling_out_suspended,
                self.dynamic_scaling_out_suspended,
            ),
            scheduled_scaling_suspended: said(
                new.scheduled_scaling_suspended,
                self.scheduled_scaling_suspended,
            ),
        }
    }
}
