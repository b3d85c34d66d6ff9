//! Tags of groups: what a request says, how they are shown, and the actions that set and remove them.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, find_group};
use crate::aws::autoscaling::Group;
use crate::aws::error::ApiError;
use crate::aws::request::{Text, list};
use crate::aws::world::World;

/// A tag: its key, its value, and whether new instances get it.
type NamedTag = (String, (String, bool));

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TagRequest {
    key: String,
    value: Option<String>,
    propagate_at_launch: Option<Text<bool>>,
    resource_id: Option<String>,
    #[serde(rename = "ResourceType")]
    _resource_type: Option<String>,
}

impl TagRequest {
    /// The tag's key, value, and whether instances get it.
    pub(super) fn read(self) -> Result<NamedTag, ApiError> {
        if self.key.to_ascii_lowercase().starts_with("aws:") {
            let text = format!("Tag keys that begin with aws: are reserved for AWS: {}", self.key);
            return Err(ApiError::validation(text));
        }
        let propagates = self.propagate_at_launch.is_some_and(|Text(propagates)| propagates);
        Ok((self.key, (self.value.unwrap_or_default(), propagates)))
    }
}

pub(super) fn tags_json(group: &Group) -> Value {
    let tag = |(key, (value, propagates)): (&String, &(String, bool))| {
        json!({
            "ResourceId": group.name,
            "ResourceType": "auto-scaling-group",
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": propagates,
        })
    };
    group.tags.iter().map(tag).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tags {
    #[serde(deserialize_with = "list")]
    tags: Vec<TagRequest>,
}

impl Tags {
    /// Each tag with the group that it is about.
    fn read(self, world: &World) -> Result<Vec<(String, NamedTag)>, ApiError> {
        let read = |tag: TagRequest| {
            let group = tag.resource_id.clone().ok_or_else(|| ApiError::missing("ResourceId"))?;
            find_group(world, &group)?;
            Ok((group, tag.read()?))
        };
        self.tags.into_iter().map(read).collect()
    }
}

pub(super) fn create(world: &mut World, create: Tags) -> Answer {
    for (group, (key, tag)) in create.read(world)? {
        world.group_mut(&group).tags.insert(key, tag);
    }
    Ok(None)
}

pub(super) fn delete(world: &mut World, delete: Tags) -> Answer {
    for (group, (key, _)) in delete.read(world)? {
        world.group_mut(&group).tags.remove(&key);
    }
    Ok(None)
}
