//! `DescribeAutoScalingGroups`, with every field that AWS was recorded answering.

use serde::Deserialize;
use serde_json::{Value, json};

use super::instances::instance_json;
use super::pools::pool_json;
use super::tags::tags_json;
use super::{Answer, merge, page};
use crate::aws::autoscaling::activity::zone_id;
use crate::aws::autoscaling::{Group, Instance};
use crate::aws::request::{Text, list};
use crate::aws::world::{ACCOUNT, World, second, timestamp};

/// How many groups a page has where the request does not say.
const PAGE_SIZE: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeGroups {
    #[serde(default, deserialize_with = "list")]
    auto_scaling_group_names: Vec<String>,
    max_records: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeGroups) -> Answer {
    let names = describe.auto_scaling_group_names;
    let groups = world.autoscaling.groups.values();
    let wanted = groups.filter(|group| names.is_empty() || names.contains(&group.name));
    let size = describe.max_records.unwrap_or(Text(PAGE_SIZE));
    let to_json = |group: &Group| group_json(world, group);
    page("AutoScalingGroups", wanted, to_json, 100, Some(size), describe.next_token)
}

fn group_json(world: &World, group: &Group) -> Value {
    let instances = world.members(&group.name, |instance| !instance.is_warmed());
    let instances = instances.iter().map(|id| instance_json(world, world.instance_ref(id)));
    let suspended = group.suspended.iter().map(|(process, since)| {
        let reason = format!("User suspended at {}", second(*since));
        json!({ "ProcessName": process, "SuspensionReason": reason })
    });
    let abandoned = if group.retain_abandoned { "retain" } else { "terminate" };
    let pooled = || world.members(&group.name, Instance::is_warmed).len();
    let role = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling";
    let mut answer = json!({
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "MinSize": group.min,
        "MaxSize": group.max,
        "DesiredCapacity": group.desired,
        "DefaultCooldown": group.cooldown,
        "AvailabilityZones": group.zones,
        "AvailabilityZoneIds": group.zones.iter().map(|zone| zone_id(zone)).collect::<Vec<_>>(),
        "AvailabilityZoneDistribution": { "CapacityDistributionStrategy": "balanced-best-effort" },
        "VPCZoneIdentifier": (!group.subnets.is_empty()).then(|| group.subnets.join(",")),
        "HealthCheckType": group.health_check.0,
        "HealthCheckGracePeriod": group.health_check.1,
        "CreatedTime": timestamp(group.created),
        "Status": group.deleting.then_some("Delete in progress"),
        "NewInstancesProtectedFromScaleIn": group.protect_new,
        "InstanceLifecyclePolicy": { "RetentionTriggers": { "TerminateHookAbandon": abandoned } },
        "Instances": instances.collect::<Vec<_>>(),
        "LoadBalancerNames": [],
        "TargetGroupARNs": [],
        "TrafficSources": [],
        "EnabledMetrics": [],
        "SuspendedProcesses": suspended.collect::<Vec<_>>(),
        "Tags": tags_json(group),
        "TerminationPolicies": ["Default"],
        "CapacityReservationSpecification": { "CapacityReservationPreference": "default" },
        "ServiceLinkedRoleARN": format!("arn:aws:iam::{ACCOUNT}:{role}"),
        "WarmPoolConfiguration": group.warm_pool.as_ref().map(pool_json),
        "WarmPoolSize": group.warm_pool.is_some().then(pooled),
    });
    merge(&mut answer, &group.launch_source.to_json());
    answer
}
