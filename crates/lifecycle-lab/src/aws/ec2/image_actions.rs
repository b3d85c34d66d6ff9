//! The actions for images: `CreateImage`, `DescribeImages`, `DeregisterImage`. `images` moves the images afterwards.

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::images::{self, Image, ImageState, Order};
use super::tags::{self, TagSpecification, tag_set};
use super::{Answer, InstanceState, instances, invalid, page};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::{World, timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateImage {
    instance_id: String,
    name: String,
    #[serde(default)]
    description: String,
    no_reboot: Option<Text<bool>>,
    #[serde(rename = "TagSpecification", default)]
    tag_specifications: Vec<TagSpecification>,
}

pub(super) fn create(world: &mut World, create: CreateImage) -> Answer {
    let CreateImage { instance_id: id, name, description, no_reboot, tag_specifications } = create;
    check_name(&name)?;
    if description.chars().count() > 255 {
        return Err(invalid("Description exceeds the maximum length of 255 characters"));
    }
    let mut tags = tags::specified(tag_specifications, &["image", "snapshot"])?;
    let instance = instances::find_mut(world, &id)?;
    if !InstanceState::is_imageable(instance.state) {
        // Public logs show this code and text, although EC2's list of codes has `IncorrectState`.
        return Err(invalid(format!(
            "Invalid value '{id}' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'"
        )));
    }
    if let Some(holder) = world.ec2.image_named(&name) {
        let text = format!("AMI name {name} is already in use by AMI {}", holder.id);
        return Err(ApiError::new("InvalidAMIName.Duplicate", text));
    }
    if world.ec2.pending_images(&id) >= world.ec2.images_at_once {
        let (code, text) = if no_reboot.is_some_and(|Text(no_reboot)| no_reboot) {
            (
                "ConcurrentCreateImageNoRebootLimitExceeded",
                "The maximum number of concurrent CreateImage requests for the instance has been reached. Wait for \
                 the current CreateImage requests to complete, and then retry your request.",
            )
        } else {
            (
                "ConcurrentSnapshotLimitExceeded",
                "Maximum allowed in-progress snapshots for a single volume exceeded.",
            )
        };
        return Err(ApiError::new(code, text));
    }
    let image = world.create_image(Order {
        instance: id,
        name,
        description,
        no_reboot: no_reboot.is_some_and(|Text(no_reboot)| no_reboot),
        image_tags: tags.remove("image").unwrap_or_default(),
        snapshot_tags: tags.remove("snapshot").unwrap_or_default(),
    });
    Ok(Some(json!({ "imageId": image })))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(legal) {
        return Ok(());
    }
    // AWS's text lists fewer characters than it takes.
    let text = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', \
                '.', '-', '/' and '_'";
    Err(ApiError::new("InvalidAMIName.Malformed", text))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeImages {
    #[serde(rename = "ImageId", default)]
    ids: Vec<String>,
    #[serde(rename = "Owner", default)]
    owners: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    include_deprecated: Option<Text<bool>>,
    include_disabled: Option<Text<bool>>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

const FILTERS: [&str; 16] = [
    "architecture",
    "block-device-mapping.device-name",
    "block-device-mapping.snapshot-id",
    "creation-date",
    "description",
    "image-id",
    "image-type",
    "is-public",
    "name",
    "owner-alias",
    "owner-id",
    "root-device-name",
    "root-device-type",
    "source-instance-id",
    "state",
    "virtualization-type",
];

pub(super) fn describe(world: &mut World, describe: DescribeImages) -> Answer {
    let DescribeImages {
        ids,
        owners,
        filters,
        include_deprecated,
        include_disabled,
        max_results,
        next_token,
    } = describe;
    filters::check(&filters, &FILTERS)?;
    for id in &ids {
        images::check_id(id)?;
    }
    if !ids.is_empty() && max_results.is_some() {
        let text = "The parameter imageIdsSet cannot be used with the parameter maxResults";
        return Err(ApiError::new("InvalidParameterCombination", text));
    }
    if let Some(Text(few @ ..5)) = max_results {
        return Err(invalid(format!(
            "Invalid value '{few}' for maxResults. Expecting a value greater than 5."
        )));
    }
    let ec2 = &world.ec2;
    let known = |image: &Image| world.knows_image(image);
    let missing: Vec<_> = ids.iter().filter(|id| !ec2.image(id).is_some_and(known)).cloned().collect();
    if !missing.is_empty() {
        return Err(images::unknown(&missing));
    }
    let deprecated_too = include_deprecated.is_some_and(|Text(deprecated)| deprecated);
    let disabled_too = include_disabled.is_some_and(|Text(disabled)| disabled);
    let of_owner = |image: &Image| {
        let is = |owner: &String| match owner.as_str() {
            "self" => image.is_own(),
            owner => owner == image.owner || Some(owner) == image.owner_alias.as_deref(),
        };
        owners.is_empty() || owners.iter().any(is)
    };
    let current = |image: &Image| {
        deprecated_too || image.is_own() || image.deprecated.is_none_or(|from| from > world.now())
    };
    let wanted = ec2.images.values().filter(|image| {
        (ids.is_empty() || ids.contains(&image.id))
            && image.is_registered()
            && image.is_usable()
            && known(image)
            && of_owner(image)
            && current(image)
            && (disabled_too || image.state != ImageState::Disabled)
            && filters::pass(&filters, &image.tags, |field| values_of(image, field))
    });
    let items = wanted.map(|image| (&image.id, image));
    page("imagesSet", items, image_json, ec2.page_size, max_results, next_token)
}

fn values_of(image: &Image, field: &str) -> Vec<String> {
    let devices = image.devices.iter();
    match field {
        "architecture" => vec![image.architecture.clone()],
        "block-device-mapping.device-name" => devices.map(|device| device.name.clone()).collect(),
        "block-device-mapping.snapshot-id" => devices.map(|device| device.snapshot.clone()).collect(),
        "creation-date" => vec![image.creation_date()],
        "description" => vec![image.description.clone()],
        "image-id" => vec![image.id.clone()],
        "image-type" => vec!["machine".to_owned()],
        "is-public" => vec![image.public.to_string()],
        "name" => vec![image.name.clone()],
        "owner-alias" => image.owner_alias.clone().into_iter().collect(),
        "owner-id" => vec![image.owner.clone()],
        "root-device-name" => devices.take(1).map(|device| device.name.clone()).collect(),
        "root-device-type" => vec![image.root_device_type.clone()],
        "source-instance-id" => image.source_instance.clone().into_iter().collect(),
        "state" => vec![image.state.as_str().to_owned()],
        _ => vec![image.virtualization_type.clone()],
    }
}

fn image_json(image: &Image) -> Value {
    let devices = image.devices.iter().map(|device| {
        let ebs = json!({
            "snapshotId": device.snapshot,
            "volumeSize": device.size,
            "volumeType": "gp3",
            "deleteOnTermination": true,
            "encrypted": false,
        });
        json!({ "deviceName": device.name, "ebs": ebs })
    });
    let reason = image.failure.as_ref().map(|text| {
        // Which code AWS gives to which failure is not documented.
        let code =
            text.split(':').next().filter(|code| code.starts_with("Server.") || code.starts_with("Client."));
        json!({ "code": code.unwrap_or("Server.InternalError"), "message": text })
    });
    json!({
        "imageId": image.id,
        "imageLocation": format!("{}/{}", image.owner, image.name),
        "imageState": image.state.as_str(),
        "stateReason": reason,
        "imageOwnerId": image.owner,
        "imageOwnerAlias": image.owner_alias,
        "isPublic": image.public,
        "architecture": image.architecture,
        "imageType": "machine",
        "name": image.name,
        "description": Some(&image.description).filter(|text| !text.is_empty()),
        "creationDate": image.creation_date(),
        "deprecationTime": image.deprecated.map(timestamp),
        "rootDeviceType": image.root_device_type,
        "rootDeviceName": image.devices.first().map(|device| &device.name),
        "blockDeviceMapping": devices.collect::<Vec<_>>(),
        "virtualizationType": image.virtualization_type,
        "hypervisor": "xen",
        "deregistrationProtection": "disabled",
        "freeTierEligible": false,
        "enaSupport": image.ena_support,
        "bootMode": image.boot_mode,
        "imageAllowed": image.allowed,
        "platformDetails": "Linux/UNIX",
        "usageOperation": "RunInstances",
        "sourceInstanceId": image.source_instance,
        "tagSet": tag_set(&image.tags),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Deregister {
    image_id: String,
    delete_associated_snapshots: Option<Text<bool>>,
}

pub(super) fn deregister(world: &mut World, deregister: Deregister) -> Answer {
    let id = deregister.image_id;
    images::find_mut(world, &id)?;
    let snapshots = world.deregister_image(&id);
    if !deregister.delete_associated_snapshots.is_some_and(|Text(delete)| delete) {
        return Ok(Some(json!({ "return": true })));
    }
    let results = snapshots.into_iter().map(|snapshot| {
        // A snapshot that another image uses as well stays.
        let code = if !world.ec2.users_of(&snapshot).is_empty() {
            "skipped"
        } else if world.ec2.snapshots.remove(&snapshot).is_some() {
            "success"
        } else {
            "client-error"
        };
        json!({ "snapshotId": snapshot, "returnCode": code })
    });
    Ok(Some(json!({ "return": true, "deleteSnapshotResultSet": results.collect::<Vec<_>>() })))
}
