//! The actions that describe launch templates: `DescribeLaunchTemplates`, `DescribeLaunchTemplateVersions`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::tags::tag_set;
use super::templates::{LaunchTemplate, TemplateVersion, find};
use super::{Answer, Tags, page, template_data, whole_second};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{ACCOUNT, World};

/// The longest page that a request can ask for.
const PAGE_SIZE: usize = 200;

fn check_size(size: Option<&Text<usize>>) -> Result<(), ApiError> {
    match size {
        Some(Text(size)) if !(1..=PAGE_SIZE).contains(size) => {
            let text = format!(
                "Value ( {size} ) for parameter maxResults is invalid. Expecting a value from 1 to {PAGE_SIZE}"
            );
            Err(ApiError::new("InvalidMaxResults", text))
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeTemplates {
    #[serde(rename = "LaunchTemplateId", default)]
    ids: Vec<String>,
    #[serde(rename = "LaunchTemplateName", default)]
    names: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

pub(super) fn describe(world: &mut World, describe: DescribeTemplates) -> Answer {
    let DescribeTemplates { ids, names, filters, max_results, next_token } = describe;
    check_size(max_results.as_ref())?;
    filters::check(&filters, &["create-time", "launch-template-name"])?;
    let by_id = ids.iter().map(|id| find(&world.ec2, Some(id), None));
    let by_name = names.iter().map(|name| find(&world.ec2, None, Some(name)));
    let named = by_id.chain(by_name).map(|found| found.map(|template| template.id.as_str()).map_err(missing));
    let named: BTreeSet<&str> = named.collect::<Result<_, _>>()?;
    let wanted = world.ec2.launch_templates().filter(|template| {
        (named.is_empty() || named.contains(template.id.as_str()))
            && filters::pass(&filters, &template.tags, |field| {
                vec![match field {
                    "create-time" => whole_second(template.created),
                    _ => template.name.clone(),
                }]
            })
    });
    let items = wanted.map(|template| (&template.id, template));
    page("launchTemplates", items, template_json, world.ec2.page_size.min(PAGE_SIZE), max_results, next_token)
}

/// Which of them is missing this call does not say.
fn missing(error: ApiError) -> ApiError {
    let text = "At least one of the launch templates specified in the request does not exist.";
    if error.code.contains("NotFound") { ApiError::new(error.code, text) } else { error }
}

pub(super) fn template_json(template: &LaunchTemplate) -> Value {
    json!({
        "launchTemplateId": template.id,
        "launchTemplateName": template.name,
        "createTime": whole_second(template.created),
        "createdBy": created_by(),
        "defaultVersionNumber": template.default_version,
        "latestVersionNumber": template.latest_version(),
        "tagSet": tag_set(&template.tags),
        "operator": { "managed": false },
    })
}

fn created_by() -> String {
    format!("arn:aws:iam::{ACCOUNT}:root")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeVersions {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    #[serde(rename = "LaunchTemplateVersion", default)]
    versions: Vec<String>,
    min_version: Option<Text<u64>>,
    max_version: Option<Text<u64>>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

const FILTERS: [&str; 8] = [
    "create-time",
    "ebs-optimized",
    "iam-instance-profile",
    "image-id",
    "instance-type",
    "is-default-version",
    "kernel-id",
    "ram-disk-id",
];

pub(super) fn describe_versions(world: &mut World, describe: DescribeVersions) -> Answer {
    check_size(describe.max_results.as_ref())?;
    filters::check(&describe.filters, &FILTERS)?;
    let found = versions(world, &describe)?;
    // AWS does not say whether the bounds belong to the range; here they do.
    let above = |number| describe.min_version.is_none_or(|Text(min)| min <= number);
    let below = |number| describe.max_version.is_none_or(|Text(max)| number <= max);
    let wanted = found.into_iter().filter(|(template, version)| {
        above(version.number)
            && below(version.number)
            && filters::pass(&describe.filters, &Tags::new(), |field| value_of(template, version, field))
    });
    // The newest of a template first; one that is named twice comes twice (recorded).
    let keyed = wanted.enumerate().map(|(n, (template, version))| {
        (format!("{} {:020} {n:05}", template.id, u64::MAX - version.number), (template, version))
    });
    let items = keyed.collect::<BTreeMap<_, _>>().into_iter();
    let to_json = |(template, version)| version_json(template, version);
    let most = world.ec2.page_size.min(PAGE_SIZE);
    page("launchTemplateVersionSet", items, to_json, most, describe.max_results, describe.next_token)
}

/// The versions that a request names: of one template any, of all templates the latest and the default
/// ones.
fn versions<'a>(
    world: &'a World,
    describe: &DescribeVersions,
) -> Result<Vec<(&'a LaunchTemplate, &'a TemplateVersion)>, ApiError> {
    let (id, name) = (describe.launch_template_id.as_deref(), describe.launch_template_name.as_deref());
    let templates: Vec<_> = match (id, name) {
        (None, None) => {
            let named = |version: &String| matches!(version.as_str(), "$Latest" | "$Default");
            if describe.versions.is_empty() || !describe.versions.iter().all(named) {
                let text = "To describe the launch template data for all your launch templates, for ‘--versions’ specify \
                            ‘$Latest’, ‘$Default’, or both, and omit ‘--launch-template-id’, \
                            ‘--launch-template-name’, and version numbers. To describe the launch template data for a \
                            specific launch template, specify ‘--launch-template-id’ or ‘--launch-template-name’, and \
                            for ‘--versions’ specify one or more of the following values: ‘$Latest’, ‘$Default’, or \
                            one or more version numbers.";
                return Err(ApiError::new("MissingParameter", text));
            }
            world.ec2.launch_templates().collect()
        }
        _ => vec![find(&world.ec2, id, name)?],
    };
    let mut found = Vec::new();
    for template in templates {
        if describe.versions.is_empty() {
            found.extend(template.versions.values().map(|version| (template, version)));
        }
        for version in &describe.versions {
            found.push((template, template.version(version)?));
        }
    }
    Ok(found)
}

fn value_of(template: &LaunchTemplate, version: &TemplateVersion, field: &str) -> Vec<String> {
    let data = &version.data;
    let value = match field {
        "create-time" => return vec![whole_second(version.created)],
        "is-default-version" => return vec![(version.number == template.default_version).to_string()],
        "ebs-optimized" => &data["EbsOptimized"],
        "iam-instance-profile" => &data["IamInstanceProfile"]["Arn"],
        "image-id" => &data["ImageId"],
        "instance-type" => &data["InstanceType"],
        "kernel-id" => &data["KernelId"],
        _ => &data["RamDiskId"],
    };
    value.as_str().map(str::to_owned).into_iter().collect()
}

pub(super) fn version_json(template: &LaunchTemplate, version: &TemplateVersion) -> Value {
    json!({
        "launchTemplateId": template.id,
        "launchTemplateName": template.name,
        "versionNumber": version.number,
        "versionDescription": version.description,
        "createTime": whole_second(version.created),
        "createdBy": created_by(),
        "defaultVersion": version.number == template.default_version,
        "launchTemplateData": template_data::answer(&version.data),
        "operator": { "managed": false },
    })
}
