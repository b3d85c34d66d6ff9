//! The actions that change launch templates: `CreateLaunchTemplate`, `CreateLaunchTemplateVersion`,
//! `ModifyLaunchTemplate`, `DeleteLaunchTemplateVersions`, `DeleteLaunchTemplate`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::tags::{self, TagSpecification};
use super::template_lists::{template_json, version_json};
use super::templates::{LaunchTemplate, NO_VERSION, TemplateVersion, check_name, find, find_mut};
use super::{Answer, Ec2, invalid, template_data, template_warnings};
use crate::aws::error::ApiError;
use crate::aws::world::World;

/// Most versions that one call deletes.
const MAX_DELETIONS: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateTemplate {
    launch_template_name: String,
    version_description: Option<String>,
    launch_template_data: Option<Value>,
    #[serde(rename = "TagSpecification", default)]
    tag_specifications: Vec<TagSpecification>,
}

pub(super) fn create(world: &mut World, create: CreateTemplate) -> Answer {
    let name = create.launch_template_name;
    check_name(&name)?;
    let data = create.launch_template_data.ok_or_else(no_data)?;
    check_version(&world.ec2, create.version_description.as_deref(), &data)?;
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
    let warning = template_warnings::of(&world.ec2, &data);
    add_version(world, &id, create.version_description, data)?;
    world.see_default(&id);
    let template = template_json(find(&world.ec2, Some(&id), None)?);
    Ok(Some(json!({ "launchTemplate": template, "warning": warning })))
}

/// Whether the template of this name is as it was created.
pub(super) fn is_fresh(ec2: &Ec2, name: &str) -> bool {
    ec2.launch_template(name).is_some_and(|template| template.numbered == 1)
}

/// Empty structures leave no trace in a request, so they are no data either (recorded).
fn no_data() -> ApiError {
    let text =
        "No launch template data was provided. Launch template data is required to create a launch template.";
    ApiError::new("MissingParameter", text)
}

fn check_version(ec2: &Ec2, description: Option<&str>, data: &Value) -> Result<(), ApiError> {
    if description.is_some_and(|description| description.chars().count() > 255) {
        return Err(invalid("VersionDescription exceeds the maximum length of 255 characters"));
    }
    template_data::check(data, &ec2.newer_settings)
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
    launch_template_data: Option<Value>,
}

pub(super) fn create_version(world: &mut World, create: CreateVersion) -> Answer {
    let (id, name) = (create.launch_template_id.as_deref(), create.launch_template_name.as_deref());
    let template = find(&world.ec2, id, name)?;
    let data = create.launch_template_data.ok_or_else(no_data)?;
    check_version(&world.ec2, create.version_description.as_deref(), &data)?;
    let data = match &create.source_version {
        Some(source) => template_data::based_on(&template.version(source)?.data, data),
        None => data,
    };
    let warning = template_warnings::of(&world.ec2, &data);
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
    Ok(Some(json!({ "launchTemplateVersion": version_json(template, version), "warning": warning })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Modify {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    set_default_version: Option<String>,
}

pub(super) fn modify(world: &mut World, modify: Modify) -> Answer {
    let (id, name) = (modify.launch_template_id.as_deref(), modify.launch_template_name.as_deref());
    let template = find_mut(world, id, name)?;
    let Some(version) = modify.set_default_version else {
        let text = format!(
            "A launch template version must be specified to set the new default version for the template with ID {}.",
            template.id
        );
        return Err(ApiError::new("MissingParameter", text));
    };
    let number = template.version(&version).map(|version| version.number).map_err(|_| {
        let text =
            format!("The launch template version {version} is not found for the specified launch template.");
        ApiError::new(NO_VERSION, text)
    })?;
    let changed = std::mem::replace(&mut template.default_version, number) != number;
    let (id, mut answer) = (template.id.clone(), template_json(template));
    // As recorded: not when it was created, and no tags.
    answer["createTime"] = json!("1970-01-01T00:00:00.000Z");
    answer["tagSet"] = json!([]);
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
    let number = |version: &String| match (version.as_str(), version.parse::<u64>()) {
        ("$Latest", _) => Ok(template.latest_version()),
        ("$Default", _) => Ok(template.default_version),
        (_, Ok(number @ 1..)) => Ok(number),
        _ => Err(invalid(format!("Invalid value for version: {version}"))),
    };
    let numbers = delete.versions.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    // As recorded: with it among them, none is deleted.
    if numbers.contains(&template.default_version) {
        return Err(invalid(
            "The default version cannot be deleted. Either specify another version as default or delete the launch \
             template.",
        ));
    }
    let (mut deleted, mut kept) = (Vec::new(), Vec::new());
    for number in numbers {
        let problem = template
            .versions
            .remove(&number)
            .is_none()
            .then_some(("launchTemplateVersionDoesNotExist", "The launch template version does not exist."));
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
