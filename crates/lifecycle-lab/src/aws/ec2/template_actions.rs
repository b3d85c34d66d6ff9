//! The actions that change launch templates: `CreateLaunchTemplate`, `CreateLaunchTemplateVersion`,
//! `ModifyLaunchTemplate`, `DeleteLaunchTemplateVersions`, `DeleteLaunchTemplate`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::tags::{self, TagSpecification};
use super::template_lists::{template_json, version_json};
use super::templates::{LaunchTemplate, TemplateVersion, check_name, find, find_mut};
use super::{Answer, invalid, template_data};
use crate::aws::error::ApiError;
use crate::aws::world::World;

/// Most versions that one call deletes.
const MAX_DELETIONS: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateTemplate {
    launch_template_name: String,
    version_description: Option<String>,
    launch_template_data: Value,
    #[serde(rename = "TagSpecification", default)]
    tag_specifications: Vec<TagSpecification>,
}

pub(super) fn create(world: &mut World, create: CreateTemplate) -> Answer {
    let name = create.launch_template_name;
    check_name(&name)?;
    check_version(create.version_description.as_deref(), &create.launch_template_data)?;
    let mut tags = tags::specified(create.tag_specifications, &["launch-template"])?;
    if find(&world.ec2, None, Some(&name)).is_ok() {
        let text = "Launch template name already in use.";
        return Err(ApiError::new("InvalidLaunchTemplateName.AlreadyExistsException", text));
    }
    let template = LaunchTemplate {
        id: world.id("lt"),
        name,
        created: world.now(),
        tags: tags.remove("launch-template").unwrap_or_default(),
        default_version: 1,
        versions: BTreeMap::new(),
        numbered: 0,
    };
    let id = template.id.clone();
    world.ec2.templates.insert(id.clone(), template);
    add_version(world, &id, create.version_description, create.launch_template_data)?;
    world.see_default(&id);
    Ok(Some(json!({ "launchTemplate": template_json(find(&world.ec2, Some(&id), None)?) })))
}

fn check_version(description: Option<&str>, data: &Value) -> Result<(), ApiError> {
    if description.is_some_and(|description| description.chars().count() > 255) {
        return Err(invalid("VersionDescription exceeds the maximum length of 255 characters"));
    }
    template_data::check(data)
}

/// Adds a version to the template of this id, which exists; answers its number.
fn add_version(
    world: &mut World,
    id: &str,
    description: Option<String>,
    data: Value,
) -> Result<u64, ApiError> {
    let created = world.now();
    let template = find_mut(world, Some(id), None)?;
    template.numbered += 1;
    let number = template.numbered;
    let description = description.filter(|description| !description.is_empty());
    template.versions.insert(number, TemplateVersion { number, description, created, data });
    world.see_version(id, number, "created");
    Ok(number)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateVersion {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    source_version: Option<String>,
    version_description: Option<String>,
    launch_template_data: Value,
}

pub(super) fn create_version(world: &mut World, create: CreateVersion) -> Answer {
    let (id, name) = (create.launch_template_id.as_deref(), create.launch_template_name.as_deref());
    let template = find(&world.ec2, id, name)?;
    check_version(create.version_description.as_deref(), &create.launch_template_data)?;
    let data = match &create.source_version {
        Some(source) => template_data::based_on(&template.version(source)?.data, create.launch_template_data),
        None => create.launch_template_data,
    };
    if template.versions.len() >= world.ec2.versions_per_template {
        // No public text of this refusal was found.
        let text = format!(
            "The maximum number of versions for the launch template {} has been reached.",
            template.id
        );
        return Err(ApiError::new("VersionLimitExceeded", text));
    }
    let id = template.id.clone();
    let number = add_version(world, &id, create.version_description, data)?;
    let template = find(&world.ec2, Some(&id), None)?;
    let version = template.version(&number.to_string())?;
    Ok(Some(json!({ "launchTemplateVersion": version_json(template, version) })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Modify {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    set_default_version: String,
}

pub(super) fn modify(world: &mut World, modify: Modify) -> Answer {
    let (id, name) = (modify.launch_template_id.as_deref(), modify.launch_template_name.as_deref());
    let template = find_mut(world, id, name)?;
    if modify.set_default_version.starts_with('$') {
        return Err(ApiError::not_modelled(format!("{} as a default version", modify.set_default_version)));
    }
    let number = template.version(&modify.set_default_version)?.number;
    let changed = std::mem::replace(&mut template.default_version, number) != number;
    let (id, answer) = (template.id.clone(), template_json(template));
    if changed {
        world.see_default(&id);
    }
    Ok(Some(json!({ "launchTemplate": answer })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteVersions {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    #[serde(rename = "LaunchTemplateVersion")]
    versions: Vec<String>,
}

pub(super) fn delete_versions(world: &mut World, delete: DeleteVersions) -> Answer {
    let (id, name) = (delete.launch_template_id.as_deref(), delete.launch_template_name.as_deref());
    let template = find_mut(world, id, name)?;
    if delete.versions.len() > MAX_DELETIONS {
        return Err(invalid(format!(
            "You can delete up to {MAX_DELETIONS} launch template versions in one request."
        )));
    }
    let numbers: Result<Vec<u64>, _> = delete.versions.iter().map(|version| version.parse()).collect();
    let numbers = numbers.map_err(|_| invalid("A version to delete is given by its number."))?;
    let (mut deleted, mut kept) = (Vec::new(), Vec::new());
    for number in numbers {
        // Of the codes that AWS has for one version none is for the default one.
        let problem = match number {
            _ if number == template.default_version => Some((
                "unexpectedError",
                "The default version of a launch template cannot be deleted".to_owned(),
            )),
            _ if template.versions.remove(&number).is_none() => {
                let text = format!("The launch template version {number} does not exist");
                Some(("launchTemplateVersionDoesNotExist", text))
            }
            _ => None,
        };
        let mut item = json!({
            "launchTemplateId": template.id,
            "launchTemplateName": template.name,
            "versionNumber": number,
        });
        match problem {
            None => deleted.push((number, item)),
            Some((code, message)) => {
                item["responseError"] = json!({ "code": code, "message": message });
                kept.push(item);
            }
        }
    }
    let id = template.id.clone();
    deleted.iter().for_each(|(number, _)| world.see_version(&id, *number, "deleted"));
    let deleted: Vec<_> = deleted.into_iter().map(|(_, item)| item).collect();
    Ok(Some(json!({
        "successfullyDeletedLaunchTemplateVersionSet": deleted,
        "unsuccessfullyDeletedLaunchTemplateVersionSet": kept,
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteTemplate {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
}

/// Groups that launch from it are not asked: their next launch fails.
pub(super) fn delete(world: &mut World, delete: DeleteTemplate) -> Answer {
    let (id, name) = (delete.launch_template_id.as_deref(), delete.launch_template_name.as_deref());
    let template = find(&world.ec2, id, name)?.clone();
    template.versions.keys().for_each(|number| world.see_version(&template.id, *number, "deleted"));
    world.ec2.templates.remove(&template.id);
    Ok(Some(json!({ "launchTemplate": template_json(&template) })))
}
