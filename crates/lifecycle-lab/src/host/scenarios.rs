//! CloudFormation's work on Auto Scaling groups: a stack update that replaces a group, one that fails and is rolled
//! back, and a deletion. Each makes CloudFormation's calls in its order, and ends when CloudFormation would report
//! its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::lab::Lab;
use crate::aws::autoscaling::{self, Group};
use crate::aws::error::ApiError;
use crate::aws::request::Request;
use crate::aws::world::World;

/// Longer than the longest wait of a hook. An instance that still waits then is stuck.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(72 * 3600);

/// A stack update replaces the group `old` by `new`: a group like the old one is created; when it is
/// filled, the old one is deleted. `false` if the new group was not filled, or the old one not emptied,
/// in three days.
///
/// # Errors
/// What Auto Scaling answers to one of the calls.
pub async fn replace_group(lab: &Lab, old: &str, new: &str) -> Result<bool, ApiError> {
    create_group_like(lab, old, new)?;
    let filled = lab
        .until(SCENARIO_TIMEOUT, |world| world.autoscaling.group(new).is_some_and(|new| filled(world, new)));
    Ok(filled.await && delete_group(lab, old).await?)
}

/// A stack update fails and is rolled back: a group `new` like `old` is created, never succeeds, and is
/// deleted after `timeout`, while the old one lives on. `false` if the new group was not emptied in
/// three days.
///
/// # Errors
/// What Auto Scaling answers to one of the calls.
pub async fn roll_back_group(lab: &Lab, old: &str, new: &str, timeout: Duration) -> Result<bool, ApiError> {
    create_group_like(lab, old, new)?;
    lab.sleep(timeout).await;
    delete_group(lab, new).await
}

/// A stack's group is deleted: scaled to zero first, then, when its instances are gone, deleted. `false` if
/// they are not gone in three days.
///
/// # Errors
/// What Auto Scaling answers to one of the calls.
pub async fn delete_group(lab: &Lab, name: &str) -> Result<bool, ApiError> {
    let named = json!({ "AutoScalingGroupName": name });
    let mut zero = named.clone();
    for bound in ["MinSize", "MaxSize", "DesiredCapacity"] {
        zero[bound] = json!("0");
    }
    call(lab, "UpdateAutoScalingGroup", zero)?;
    let emptied = lab.until(SCENARIO_TIMEOUT, |world| {
        world.autoscaling.instances().all(|instance| instance.group != name)
    });
    if !emptied.await {
        return Ok(false);
    }
    call(lab, "DeleteAutoScalingGroup", named)?;
    Ok(lab.until(SCENARIO_TIMEOUT, |world| world.autoscaling.group(name).is_none()).await)
}

/// A group `new` of the size, zones, launch source, policies, tags and hooks of `old`.
///
/// # Errors
/// What Auto Scaling answers: there is no group `old`, or there is a group `new`.
pub fn create_group_like(lab: &Lab, old: &str, new: &str) -> Result<(), ApiError> {
    let parameters =
        lab.world(|world| world.autoscaling.group(old).map(|group| autoscaling::like(group, new)));
    let missing = || ApiError::validation(format!("There is no group {old} to make {new} like"));
    call(lab, "CreateAutoScalingGroup", parameters.ok_or_else(missing)?)?;
    lab.world(|world| world.inherit_stack_tags(old, new));
    Ok(())
}

fn filled(world: &World, group: &Group) -> bool {
    let mine = world.autoscaling.instances().filter(|instance| instance.group == group.name);
    mine.filter(|instance| instance.state == "InService").count() >= group.desired as usize
}

fn call(lab: &Lab, action: &str, parameters: Value) -> Result<(), ApiError> {
    let request =
        Request { method: "POST".to_owned(), action: action.to_owned(), lines: Vec::new(), parameters };
    lab.world(|world| autoscaling::call(world, &request)).map(drop)
}
