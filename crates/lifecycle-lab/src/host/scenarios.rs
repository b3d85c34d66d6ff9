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

/// Longest time of a step: longer than the longest wait of a hook. An instance that still waits then is
/// stuck.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(72 * 3600);

/// Plays a stack update that replaces the group `old` by `new`: creates a group like the old one, waits until
/// its instances are in service, and deletes the old one. Returns `false` if either takes more than three
/// days.
///
/// # Errors
/// The error of Auto Scaling for one of the calls.
pub async fn replace_group(lab: &Lab, old: &str, new: &str) -> Result<bool, ApiError> {
    create_group_like(lab, old, new)?;
    let filled = lab
        .until(SCENARIO_TIMEOUT, |world| world.autoscaling.group(new).is_some_and(|new| filled(world, new)));
    Ok(filled.await && delete_group(lab, old).await?)
}

/// Plays a stack update that fails and is rolled back: creates a group `new` like `old`, and deletes it after
/// `timeout`. The old group stays. Returns `false` if the new group still has instances after three days.
///
/// # Errors
/// The error of Auto Scaling for one of the calls.
pub async fn roll_back_group(lab: &Lab, old: &str, new: &str, timeout: Duration) -> Result<bool, ApiError> {
    create_group_like(lab, old, new)?;
    lab.sleep(timeout).await;
    delete_group(lab, new).await
}

/// Plays the deletion of a stack's group: scales it to zero, waits until its instances are gone, and deletes
/// it. Returns `false` if it still has instances after three days.
///
/// # Errors
/// The error of Auto Scaling for one of the calls.
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

/// Creates a group `new` with the size, zones, launch source, policies, tags and hooks of `old`.
///
/// # Errors
/// There is no group `old`, or a group `new` exists already.
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
