//! The record of a launch: one JSON object. `origin`, `destination` and `action` distinguish a warm pool's two pauses
//! and a replaced root volume. The token is cut to `action.id`, texts from outside are cut, and so is the list of
//! resources, so that no event makes a long record.

use lambda_kit::Invocation;
use lambda_kit::error::{MAX_FOREIGN_CHARS, cut};
use lambda_kit::event::Origin;
use lifecycle_core::LifecycleAction;
use lifecycle_core::pending::Found;
use serde_json::{Value, json};

/// Maximum of resources in a record. AWS sends the group's ARN, and in some events the instance's.
const MAX_RESOURCES: usize = 3;

/// Maximum of characters of a resource's ARN: that of a group has at most 255 in its name, and about 110 before it.
const MAX_ARN_CHARS: usize = 400;

/// The record of a launch that its event announced. What the event doesn't have is `null`.
pub(crate) fn of_event(action: &LifecycleAction, invocation: &Invocation) -> Value {
    let text = |text: &Option<String>| text.as_deref().map(cut);
    let metadata = action.metadata.as_deref().map(|text| first_chars(text, MAX_FOREIGN_CHARS));
    let resources = action.resources.iter().take(MAX_RESOURCES);
    json!({
        "record": "launch",
        "time": invocation.now(),
        "event.id": text(&action.event_id),
        "event.time": action.time,
        "event.age_ms": (invocation.now() - action.time).num_milliseconds(),
        "account": text(&action.account),
        "region": text(&action.region),
        "resources": resources.map(|arn| first_chars(arn, MAX_ARN_CHARS)).collect::<Vec<_>>(),
        "asg.name": action.wait.group,
        "hook.name": action.wait.hook,
        "instance.id": action.wait.instance,
        "transition": action.transition.as_str(),
        "origin": text(&action.origin),
        "destination": text(&action.destination),
        "action": text(&action.action),
        "action.id": action.wait.id(),
        "notification.metadata": metadata,
        "notification.metadata_length": action.metadata.as_ref().map(|text| text.chars().count()),
    })
}

/// The record of a launch that the sweep completed. What the instance's state doesn't tell is absent.
pub(crate) fn of_sweep(found: &Found, group: Option<&str>, invocation: &Invocation) -> Value {
    let mut record = json!({
        "record": "launch",
        "source": "sweep",
        "time": invocation.now(),
        "asg.name": found.wait.group,
        "hook.name": found.wait.hook,
        "instance.id": found.wait.instance,
        "transition": found.transition.as_str(),
        "destination": if found.to_pool { "WarmPool" } else { "AutoScalingGroup" },
    });
    if let Some(arn) = group {
        let Origin { account, region } = Origin::of_arn(arn).unwrap_or_default();
        record["resources"] = json!([arn]);
        for (name, value) in [("account", account), ("region", region)] {
            if let Some(value) = value {
                record[name] = value.into();
            }
        }
    }
    record
}

fn first_chars(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}
