//! The actions for warm pools: create, change, describe, delete. `engine` fills and empties the pools.

use serde::Deserialize;
use serde_json::{Value, json};

use super::instances::instance_json;
use super::{Answer, DescribeOfGroup, find_group, page};
use crate::aws::autoscaling::{Instance, PoolState, WarmPool};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::World;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct PutWarmPool {
    auto_scaling_group_name: String,
    min_size: Option<Text<u32>>,
    max_group_prepared_capacity: Option<Text<i64>>,
    pool_state: Option<String>,
    instance_reuse_policy: Option<ReusePolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ReusePolicy {
    reuse_on_scale_in: Text<bool>,
}

pub(super) fn put(world: &mut World, put: PutWarmPool) -> Answer {
    let name = put.auto_scaling_group_name;
    let old = find_group(world, &name)?.warm_pool.clone();
    let state = match put.pool_state.as_deref() {
        Some("Stopped") => PoolState::Stopped,
        Some("Running") => PoolState::Running,
        Some("Hibernated") => PoolState::Hibernated,
        Some(other) => return Err(ApiError::validation(format!("Invalid PoolState: {other}"))),
        None => old.as_ref().map_or(PoolState::Stopped, |pool| pool.state),
    };
    let pool = WarmPool {
        min_size: put.min_size.map_or(old.as_ref().map_or(0, |pool| pool.min_size), |Text(size)| size),
        max_prepared: match put.max_group_prepared_capacity {
            Some(Text(capacity)) => u32::try_from(capacity).ok(),
            None => old.as_ref().and_then(|pool| pool.max_prepared),
        },
        state,
        reuse_on_scale_in: match put.instance_reuse_policy {
            Some(policy) => Some(policy.reuse_on_scale_in.0),
            None => old.and_then(|pool| pool.reuse_on_scale_in),
        },
        deleting: false,
        change: None,
    };
    world.set_warm_pool(&name, pool);
    Ok(Some(json!({})))
}

pub(super) fn pool_json(pool: &WarmPool) -> Value {
    json!({
        "MinSize": pool.min_size,
        "MaxGroupPreparedCapacity": pool.max_prepared,
        "PoolState": pool.state.as_str(),
        "Status": pool.deleting.then_some("PendingDelete"),
        "InstanceReusePolicy": pool.reuse_on_scale_in.map(|reuse| json!({ "ReuseOnScaleIn": reuse })),
    })
}

pub(super) fn describe(world: &mut World, describe: DescribeOfGroup) -> Answer {
    let group = find_group(world, &describe.auto_scaling_group_name)?;
    let configuration = group.warm_pool.as_ref().map(pool_json);
    let pooled = world.members(&group.name, Instance::is_warmed);
    let to_json = |id: String| {
        let mut instance = instance_json(world, world.instance_ref(&id));
        instance["ProtectedFromScaleIn"] = Value::Null;
        instance
    };
    let mut answer = page("Instances", pooled, to_json, 50, describe.max_records, describe.next_token)?
        .unwrap_or_default();
    answer["WarmPoolConfiguration"] = json!(configuration);
    Ok(Some(answer))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteWarmPool {
    auto_scaling_group_name: String,
    force_delete: Option<Text<bool>>,
}

pub(super) fn delete(world: &mut World, delete: DeleteWarmPool) -> Answer {
    let name = delete.auto_scaling_group_name;
    find_group(world, &name)?;
    if let Some(pool) = &mut world.group_mut(&name).warm_pool {
        pool.deleting = true;
    }
    if delete.force_delete.is_some_and(|Text(force)| force) {
        for id in world.members(&name, |one| one.is_warmed() && !one.is_leaving_for_good()) {
            world.delete_from_pool(&id);
        }
    }
    world.reconcile_soon(&name);
    Ok(Some(json!({})))
}
