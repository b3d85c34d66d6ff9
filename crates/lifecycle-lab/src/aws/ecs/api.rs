//! ECS's actions for services: parameters, refusals, answers. Error codes and texts are AWS's where a public log
//! shows them. Actions that the lab does not model are refused by name.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::engine::{Order, daemon_has_no_count};
use super::{Key, Scheduling, Service, arn};
use crate::aws::error::ApiError;
use crate::aws::json_api::{self, epoch};
use crate::aws::request::Answer;
use crate::aws::request::Request;
use crate::aws::world::World;

/// The cluster of a request that names none.
const DEFAULT_CLUSTER: &str = "default";

/// Plays one action.
pub(crate) fn call(world: &mut World, request: &Request) -> Answer {
    fn run<T: DeserializeOwned>(
        world: &mut World,
        request: &Request,
        play: impl FnOnce(&mut World, T) -> Answer,
    ) -> Answer {
        play(world, json_api::parameters(request, "InvalidParameterException")?)
    }
    match request.action.as_str() {
        "CreateCluster" => run(world, request, create_cluster),
        "DescribeClusters" => run(world, request, describe_clusters),
        "CreateService" => run(world, request, create_service),
        "UpdateService" => run(world, request, update_service),
        "DeleteService" => run(world, request, delete_service),
        "DescribeServices" => run(world, request, describe_services),
        "ListServices" => run(world, request, list_services),
        action => Err(ApiError::not_modelled(format!("ecs:{action}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateCluster {
    cluster_name: Option<String>,
}

/// A cluster that exists already is answered as it is.
fn create_cluster(world: &mut World, new: CreateCluster) -> Answer {
    let name = new.cluster_name.unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
    if !is_name(&name) {
        return Err(invalid(
            "Cluster name should have at least 1 and at most 255 characters of letters, numbers, \
                            hyphens and underscores.",
        ));
    }
    world.add_cluster(&name);
    Ok(Some(json!({ "cluster": cluster_json(world, &name) })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DescribeClusters {
    #[serde(default)]
    clusters: Vec<String>,
}

fn describe_clusters(world: &mut World, describe: DescribeClusters) -> Answer {
    let mut names: Vec<_> = describe.clusters.iter().map(|name| short(name)).collect();
    if names.is_empty() {
        names.push(DEFAULT_CLUSTER.to_owned());
    }
    let (known, missing): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| world.ecs.clusters.contains_key(name));
    Ok(Some(json!({
        "clusters": known.iter().map(|name| cluster_json(world, name)).collect::<Vec<_>>(),
        "failures": missing.iter().map(|name| failure(arn("cluster", name))).collect::<Vec<_>>(),
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateService {
    cluster: Option<String>,
    service_name: String,
    task_definition: Option<String>,
    desired_count: Option<u32>,
    scheduling_strategy: Option<String>,
    launch_type: Option<String>,
    // Nothing that the lab plays depends on it.
    #[serde(rename = "networkConfiguration")]
    _network_configuration: Option<Value>,
}

fn create_service(world: &mut World, new: CreateService) -> Answer {
    let key = key(new.cluster, &new.service_name);
    find_cluster(world, &key.0)?;
    if !is_name(&key.1) {
        return Err(invalid("Invalid service name."));
    }
    let Some(task_definition) = new.task_definition else {
        return Err(invalid("TaskDefinition can not be blank."));
    };
    let scheduling = match new.scheduling_strategy.as_deref() {
        None | Some("REPLICA") => Scheduling::Replica,
        Some("DAEMON") => Scheduling::Daemon,
        Some(other) => return Err(invalid(format!("Invalid scheduling strategy {other}."))),
    };
    let fargate = match new.launch_type.as_deref() {
        None | Some("EC2") => false,
        Some("FARGATE") => true,
        Some(other) => return Err(ApiError::not_modelled(format!("the launch type {other}"))),
    };
    let desired = match (scheduling, new.desired_count) {
        (Scheduling::Replica, Some(desired)) => desired,
        (Scheduling::Replica, None) => return Err(invalid("DesiredCount is missing.")),
        (Scheduling::Daemon, Some(_)) => return Err(daemon_has_no_count()),
        (Scheduling::Daemon, None) if fargate => {
            return Err(invalid("The daemon scheduling strategy does not support the Fargate launch type."));
        }
        (Scheduling::Daemon, None) => 0,
    };
    world.create_service(key.clone(), Order { scheduling, desired, task_definition, fargate })?;
    Ok(Some(json!({ "service": service_json(&world.ecs.services[&key]) })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateService {
    cluster: Option<String>,
    service: String,
    desired_count: Option<i32>,
    task_definition: Option<String>,
    #[serde(default)]
    force_new_deployment: bool,
}

fn update_service(world: &mut World, update: UpdateService) -> Answer {
    let key = key(update.cluster, &update.service);
    world.active_service(&key)?;
    if let Some(desired) = update.desired_count {
        let desired = desired.try_into().map_err(|_| invalid("Task count can not be lesser than 0"))?;
        world.set_desired_count(&key.0, &key.1, desired)?;
    }
    match update.task_definition {
        Some(task_definition) => world.replace_deployment(&key, task_definition)?,
        None if update.force_new_deployment => world.begin_deployment(&key.0, &key.1)?,
        None => {}
    }
    Ok(Some(json!({ "service": service_json(world.active_service(&key)?) })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteService {
    cluster: Option<String>,
    service: String,
    #[serde(default)]
    force: bool,
}

/// The service's scalable target goes with it (recorded).
fn delete_service(world: &mut World, delete: DeleteService) -> Answer {
    let (key, now) = (key(delete.cluster, &delete.service), world.now());
    let service = world.active_service(&key)?;
    if service.scheduling == Scheduling::Replica && service.desired > 0 && !delete.force {
        return Err(invalid("The service cannot be stopped while it is scaled above 0."));
    }
    service.desired = 0;
    service.status = "DRAINING";
    service.deleted = Some(now);
    let answer = json!({ "service": service_json(service) });
    world.scalable_targets.remove(&key);
    world.settle(&key.0);
    Ok(Some(answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DescribeServices {
    cluster: Option<String>,
    services: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
}

fn describe_services(world: &mut World, describe: DescribeServices) -> Answer {
    let cluster = cluster(describe.cluster);
    find_cluster(world, &cluster)?;
    match describe.services.len() {
        0 => return Err(invalid("Services cannot be empty.")),
        1..=10 => {}
        _ => return Err(invalid("Cannot describe more than 10 services at once.")),
    }
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in describe.services.iter().map(|name| short(name)) {
        match world.ecs.service(&cluster, &name) {
            Some(service) => {
                let mut answer = service_json(service);
                if describe.include.iter().any(|part| part == "TAGS") {
                    let tags = service.tags.iter().map(|(key, value)| json!({ "key": key, "value": value }));
                    answer["tags"] = tags.collect();
                }
                services.push(answer);
            }
            None => failures.push(failure(arn("service", &format!("{cluster}/{name}")))),
        }
    }
    Ok(Some(json!({ "services": services, "failures": failures })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListServices {
    cluster: Option<String>,
    scheduling_strategy: Option<String>,
    max_results: Option<u64>,
    next_token: Option<String>,
}

fn list_services(world: &mut World, list: ListServices) -> Answer {
    let cluster = cluster(list.cluster);
    find_cluster(world, &cluster)?;
    let size = list.max_results.unwrap_or(10);
    if !(1..=100).contains(&size) {
        return Err(invalid("maxResults must be between 1 and 100."));
    }
    let services = world.ecs.services.values().filter(|service| {
        let strategy = list.scheduling_strategy.as_deref();
        service.cluster == cluster
            && service.status == "ACTIVE"
            && strategy.is_none_or(|strategy| strategy == service.scheduling.as_str())
    });
    let arns = services.map(|service| Value::from(service.arn())).collect();
    let Some((arns, token)) = json_api::page(arns, size, list.next_token.as_deref()) else {
        return Err(invalid("Invalid token."));
    };
    Ok(Some(json!({ "serviceArns": arns, "nextToken": token })))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn find_cluster(world: &World, name: &str) -> Result<(), ApiError> {
    match world.ecs.clusters.contains_key(name) {
        true => Ok(()),
        false => Err(ApiError::new("ClusterNotFoundException", "Cluster not found.")),
    }
}

fn cluster(name: Option<String>) -> String {
    name.map_or_else(|| DEFAULT_CLUSTER.to_owned(), |name| short(&name))
}

fn key(cluster_name: Option<String>, service: &str) -> Key {
    (cluster(cluster_name), short(service))
}

/// The name in an ARN; a name is itself.
fn short(name_or_arn: &str) -> String {
    name_or_arn.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Whether this can name a cluster or a service.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    (1..=255).contains(&text.len()) && text.chars().all(fits)
}

fn failure(arn: String) -> Value {
    json!({ "arn": arn, "reason": "MISSING" })
}

fn cluster_json(world: &World, name: &str) -> Value {
    let services: Vec<_> = world.ecs.services.values().filter(|service| service.cluster == name).collect();
    let sum = |count: fn(&Service) -> u32| services.iter().map(|service| count(service)).sum::<u32>();
    json!({
        "clusterArn": arn("cluster", name),
        "clusterName": name,
        "status": "ACTIVE",
        "registeredContainerInstancesCount": world.container_instances(name).map_or(0, |all| all.len()),
        "runningTasksCount": sum(Service::running),
        "pendingTasksCount": sum(Service::pending),
        "activeServicesCount": services.iter().filter(|service| service.status == "ACTIVE").count(),
        "statistics": [],
        "tags": [],
        "settings": [],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    })
}

fn task_definition_arn(named: &str) -> String {
    let revision = if named.contains(':') { "" } else { ":1" };
    match named.starts_with("arn:") {
        true => named.to_owned(),
        false => arn("task-definition", &format!("{named}{revision}")),
    }
}

fn service_json(service: &Service) -> Value {
    let launch_type = if service.fargate { "FARGATE" } else { "EC2" };
    let deployments = service.deployments.iter().enumerate();
    // Until a deployment has rolled out, the tasks are those of the one that it replaces.
    let (pending, rolling) = (service.pending(), service.is_rolling());
    let deployments = deployments.map(|(place, deployment)| {
        let id = format!("ecs-svc/{:019}", deployment.id);
        let (state, word) = match deployment.completed {
            true => ("COMPLETED", "completed"),
            false => ("IN_PROGRESS", "in progress"),
        };
        json!({
            "id": id,
            "status": if place == 0 { "PRIMARY" } else { "ACTIVE" },
            "taskDefinition": task_definition_arn(&deployment.task_definition),
            "desiredCount": deployment.desired,
            "pendingCount": if place == 0 { pending } else { 0 },
            "runningCount": if place == usize::from(rolling) { service.running() } else { 0 },
            "failedTasks": 0,
            "createdAt": epoch(deployment.created),
            "updatedAt": epoch(deployment.updated),
            "launchType": launch_type,
            "rolloutState": state,
            "rolloutStateReason": format!("ECS deployment {id} {word}."),
        })
    });
    let deployments: Vec<_> = deployments.collect();
    json!({
        "serviceArn": service.arn(),
        "serviceName": service.name,
        "clusterArn": arn("cluster", &service.cluster),
        "loadBalancers": [],
        "serviceRegistries": [],
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": service.running(),
        "pendingCount": service.pending(),
        "launchType": launch_type,
        "taskDefinition": task_definition_arn(&service.deployments[0].task_definition),
        "deploymentConfiguration": { "maximumPercent": 200, "minimumHealthyPercent": 100 },
        "deployments": deployments,
        "events": [],
        "createdAt": epoch(service.created),
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": service.scheduling.as_str(),
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
        "enableExecuteCommand": false,
    })
}
