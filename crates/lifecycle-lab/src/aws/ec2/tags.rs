//! Tags: the rules of keys and values, tags at creation, and `CreateTags`, `DeleteTags`, `DescribeTags` for every
//! kind of resource.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::{Answer, Tags, done, images, instances, invalid, networks, page, snapshots, templates};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::World;

/// Most tags on a resource; AWS's own don't count.
const MAX_TAGS: usize = 50;

/// What AWS's own keys begin with.
const RESERVED_PREFIX: &str = "aws:";

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// Tags of one kind of resource that a call creates.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TagSpecification {
    resource_type: String,
    #[serde(rename = "Tag", default)]
    tags: Vec<Tag>,
}

/// The tags that a call gives to each of these kinds of resources.
pub(super) fn specified(
    specifications: Vec<TagSpecification>,
    kinds: &[&str],
) -> Result<BTreeMap<String, Tags>, ApiError> {
    let mut by_kind = BTreeMap::new();
    for TagSpecification { resource_type: kind, tags } in specifications {
        if !kinds.contains(&kind.as_str()) {
            let text = format!("'{kind}' is not a valid taggable resource type for this operation.");
            return Err(invalid(text));
        }
        if by_kind.contains_key(&kind) {
            return Err(invalid(format!("Duplicate resource type '{kind}' specified.")));
        }
        let mut given = Tags::new();
        add(&mut given, tags)?;
        by_kind.insert(kind, given);
    }
    Ok(by_kind)
}

/// Adds tags, or replaces the values of those that are there; all of them or none.
fn add(to: &mut Tags, tags: Vec<Tag>) -> Result<(), ApiError> {
    let mut keys = Vec::new();
    for Tag { key, value } in &tags {
        check_key(key)?;
        if value.chars().count() > 256 {
            return Err(invalid("Tag value exceeds the maximum length of 256 characters"));
        }
        if keys.contains(&key) {
            return Err(invalid(format!("Duplicate tag key '{key}' specified.")));
        }
        keys.push(key);
    }
    let mut all = to.clone();
    all.extend(tags.into_iter().map(|Tag { key, value }| (key, value)));
    if all.keys().filter(|key| !key.starts_with(RESERVED_PREFIX)).count() > MAX_TAGS {
        let text = "The maximum number of Tags for a resource has been reached.";
        return Err(ApiError::new("TagLimitExceeded", text));
    }
    *to = all;
    Ok(())
}

fn check_key(key: &str) -> Result<(), ApiError> {
    match key.chars().count() {
        0 => Err(invalid("Tag key must not be empty")),
        129.. => Err(invalid("Tag key exceeds the maximum length of 128 characters")),
        _ if key.to_lowercase().starts_with(RESERVED_PREFIX) => {
            Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"))
        }
        _ => Ok(()),
    }
}

impl World {
    /// The tags of a resource of this account, or the refusal of its id.
    fn tags_mut(&mut self, id: &str) -> Result<&mut Tags, ApiError> {
        match id.split('-').next() {
            Some("i") => instances::find_mut(self, id).map(|instance| &mut instance.tags),
            Some("ami") => images::find_usable_mut(self, id).map(|image| &mut image.tags),
            Some("lt") => templates::find_mut(self, Some(id), None).map(|template| &mut template.tags),
            Some("sg") => networks::find_group_mut(self, id).map(|group| &mut group.tags),
            Some("snap") => snapshots::find_mut(self, id).map(|snapshot| &mut snapshot.tags),
            _ => Err(ApiError::not_modelled(format!("tags of {id}"))),
        }
    }

    /// Every resource with tags: its id, its kind and they.
    fn tagged(&self) -> BTreeMap<&str, (&'static str, &Tags)> {
        let ec2 = &self.ec2;
        let instances = ec2.instances.values().map(|one| (one.id.as_str(), ("instance", &one.tags)));
        let images = ec2.images.values().filter(|image| image.is_usable() && image.is_registered());
        let images = images.map(|one| (one.id.as_str(), ("image", &one.tags)));
        let snapshots = ec2.snapshots.values().map(|one| (one.id.as_str(), ("snapshot", &one.tags)));
        let templates = ec2.templates.values();
        let templates = templates.map(|one| (one.id.as_str(), ("launch-template", &one.tags)));
        let groups = ec2.security_groups.values();
        let groups = groups.map(|one| (one.id.as_str(), ("security-group", &one.tags)));
        instances.chain(images).chain(snapshots).chain(templates).chain(groups).collect()
    }
}

/// Tags as answers list them.
pub(super) fn tag_set(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateTags {
    #[serde(rename = "ResourceId")]
    resources: Vec<String>,
    #[serde(rename = "Tag")]
    tags: Vec<Tag>,
}

pub(super) fn create(world: &mut World, create: CreateTags) -> Answer {
    // All resources get the tags, or none does.
    for id in &create.resources {
        add(&mut world.tags_mut(id)?.clone(), create.tags.clone())?;
    }
    for id in &create.resources {
        add(world.tags_mut(id)?, create.tags.clone())?;
    }
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteTags {
    #[serde(rename = "ResourceId")]
    resources: Vec<String>,
    #[serde(rename = "Tag", default)]
    tags: Vec<TagToDelete>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagToDelete {
    key: String,
    /// Without one, whatever the value is.
    value: Option<String>,
}

/// Without tags, all but AWS's own go.
pub(super) fn delete(world: &mut World, delete: DeleteTags) -> Answer {
    for TagToDelete { key, .. } in &delete.tags {
        check_key(key)?;
    }
    for id in &delete.resources {
        world.tags_mut(id)?;
    }
    for id in &delete.resources {
        world.tags_mut(id)?.retain(|key, value| {
            let fits = |tag: &TagToDelete| {
                tag.key == *key && tag.value.as_ref().is_none_or(|wanted| wanted == value)
            };
            key.starts_with(RESERVED_PREFIX) || !(delete.tags.is_empty() || delete.tags.iter().any(fits))
        });
    }
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeTags {
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeTags) -> Answer {
    filters::check(&describe.filters, &["key", "resource-id", "resource-type", "value"])?;
    let tagged = world.tagged();
    let all = tagged.iter().flat_map(|(id, (kind, tags))| {
        tags.iter().map(move |(key, value)| (*id, *kind, key.clone(), value.clone()))
    });
    let wanted = all.filter(|(id, kind, key, value)| {
        filters::pass(&describe.filters, &Tags::from([(key.clone(), value.clone())]), |field| {
            vec![match field {
                "key" => key.clone(),
                "value" => value.clone(),
                "resource-id" => (*id).to_owned(),
                _ => (*kind).to_owned(),
            }]
        })
    });
    let items = wanted.map(|tag| (format!("{} {}", tag.0, tag.2), tag));
    let to_json = |(id, kind, key, value)| {
        json!({
            "resourceId": id,
            "resourceType": kind,
            "key": key,
            "value": value,
        })
    };
    page("tagSet", items, to_json, world.ec2.page_size, describe.max_results, describe.next_token)
}
