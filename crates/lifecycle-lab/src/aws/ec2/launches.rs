//! EC2's checks at a launch: whether image, instance type, network and block devices exist and fit together. The
//! texts are EC2's where public logs show them. The order of EC2's checks is not documented.

use serde_json::Value;

use super::networks::{SecurityGroup, Subnet, find_groups, find_named, find_subnets};
use super::{Ec2, Image, ImageState, Tags, images, instance_types, invalid, well_formed};
use crate::aws::error::ApiError;

/// A launch that Auto Scaling asks for: a template's parameters, and what the group puts in their place.
pub(crate) struct LaunchOrder<'a> {
    pub(crate) data: &'a Value,
    pub(crate) image: Option<&'a str>,
    pub(crate) instance_type: Option<&'a str>,
    /// The subnet that the group names.
    pub(crate) subnet: Option<&'a str>,
    pub(crate) zone: &'a str,
}

/// What an instance is launched with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    pub(crate) image: String,
    pub(crate) instance_type: Option<String>,
    pub(super) architecture: String,
    pub(super) virtualization_type: String,
    pub(super) root_device_type: String,
    /// Its devices and their sizes in GiB, the root device first; without them, those of
    /// [`Ec2::devices`].
    pub(super) devices: Option<Vec<(String, u32)>>,
    pub(super) subnet: Option<String>,
    pub(super) vpc: Option<String>,
    /// Ids of its security groups.
    pub(super) groups: Vec<String>,
    pub(crate) tags: Tags,
}

impl Ec2 {
    /// What instances are launched with whose group's launch source the lab does not know.
    pub(crate) fn plain_launch(&self) -> Launch {
        Launch {
            image: self.default_image.clone(),
            architecture: "x86_64".to_owned(),
            virtualization_type: "hvm".to_owned(),
            root_device_type: "ebs".to_owned(),
            ..Launch::default()
        }
    }

    /// Looks at a launch as EC2 does.
    pub(crate) fn plan_launch(&self, order: &LaunchOrder<'_>) -> Result<Launch, ApiError> {
        let data = order.data;
        let image = self.launchable(order.image.or(data["ImageId"].as_str()))?;
        let named = order.instance_type.or(data["InstanceType"].as_str());
        let instance_type = match named {
            None if data["InstanceRequirements"].is_object() => {
                return Err(ApiError::not_modelled("InstanceRequirements at a launch"));
            }
            None => return Err(missing("InstanceType")),
            Some(name) => name,
        };
        check_fit(image, instance_type)?;
        let subnet = self.subnet_of(order)?;
        let groups = self.groups_of(order, subnet)?;
        Ok(Launch {
            image: image.id.clone(),
            instance_type: Some(instance_type.to_owned()),
            architecture: image.architecture.clone(),
            virtualization_type: image.virtualization_type.clone(),
            root_device_type: image.root_device_type.clone(),
            devices: Some(self.planned_devices(data, image)?),
            subnet: Some(subnet.id.clone()),
            vpc: Some(subnet.vpc.clone()),
            groups,
            tags: tags_of(data),
        })
    }

    fn launchable(&self, id: Option<&str>) -> Result<&Image, ApiError> {
        let id = id.ok_or_else(|| missing("ImageId"))?;
        if id.starts_with("resolve:ssm:") {
            return Err(ApiError::not_modelled("image ids that Systems Manager resolves"));
        }
        well_formed("InvalidAMIID.Malformed", "ami", id)?;
        // Of a deregistered image EC2 says here that it does not exist.
        let known = self.images.get(id).filter(|image| image.is_registered());
        let image = known.ok_or_else(|| images::unknown(&[id.to_owned()]))?;
        if !image.is_usable() {
            return Err(ApiError::new("AuthFailure", format!("Not authorized for images: [{id}]")));
        }
        if image.state != ImageState::Available {
            let text = format!("AMI {id} is {}, and cannot be run", image.state.as_str());
            return Err(ApiError::new("InvalidAMIID.Unavailable", text));
        }
        Ok(image)
    }

    fn subnet_of(&self, order: &LaunchOrder<'_>) -> Result<&Subnet, ApiError> {
        match order.subnet {
            Some(id) => Ok(find_subnets(self, &[id.to_owned()])?[0]),
            None => self.default_subnet(order.zone).ok_or_else(|| {
                let text = format!("No default subnet for availability zone: '{}'.", order.zone);
                ApiError::new("MissingInput", text)
            }),
        }
    }

    /// The ids of the security groups.
    fn groups_of(&self, order: &LaunchOrder<'_>, subnet: &Subnet) -> Result<Vec<String>, ApiError> {
        let (ids, names) = (texts(&order.data["SecurityGroupId"]), texts(&order.data["SecurityGroup"]));
        let interfaces = order.data["NetworkInterface"].as_array();
        if interfaces.is_some() && !(ids.is_empty() && names.is_empty()) {
            return Err(combination(
                "Network interfaces and an instance-level security groups may not be specified on the same request",
            ));
        }
        if !names.is_empty() && order.subnet.is_some() {
            return Err(combination("The parameter groupName cannot be used with the parameter subnet"));
        }
        if !names.is_empty() && !ids.is_empty() {
            // No public text of this refusal was found.
            return Err(combination("The parameter groupName cannot be used with the parameter groupId"));
        }
        let of_interfaces = interfaces.into_iter().flatten().flat_map(|one| texts(&one["SecurityGroupId"]));
        let ids: Vec<_> = ids.into_iter().chain(of_interfaces).collect();
        let mut groups = find_groups(self, &ids)?;
        let associated =
            |group: &SecurityGroup| self.associations.contains(&(group.id.clone(), subnet.vpc.clone()));
        if let Some(foreign) = groups.iter().find(|group| group.vpc != subnet.vpc && !associated(group)) {
            let text = format!(
                "Security group {} and subnet {} belong to different networks.",
                foreign.id, subnet.id
            );
            return Err(ApiError::new("InvalidParameter", text));
        }
        groups.extend(find_named(self, &names)?);
        if groups.is_empty() {
            groups.extend(self.group_named("default", &subnet.vpc));
        }
        Ok(groups.into_iter().map(|group| group.id.clone()).collect())
    }

    /// The image's devices, changed and added to by the template's.
    fn planned_devices(&self, data: &Value, image: &Image) -> Result<Vec<(String, u32)>, ApiError> {
        let mut devices: Vec<_> =
            image.devices.iter().map(|device| (device.name.clone(), device.size)).collect();
        for mapping in data["BlockDeviceMapping"].as_array().into_iter().flatten() {
            let name = mapping["DeviceName"].as_str().ok_or_else(|| missing("deviceName"))?;
            if !["/dev/sd", "/dev/xvd", "sd", "xvd"].iter().any(|prefix| name.starts_with(prefix)) {
                return Err(invalid(format!("Invalid device name {name}")));
            }
            check_virtual_name(mapping["VirtualName"].as_str())?;
            let known = devices.iter().position(|(device, _)| device == name);
            if !mapping["NoDevice"].is_null() {
                known.map(|known| devices.remove(known));
            } else if mapping["Ebs"].is_object() {
                let size = self.volume_size(&mapping["Ebs"], image, name)?;
                match known {
                    Some(known) => devices[known].1 = size,
                    None => devices.push((name.to_owned(), size)),
                }
            }
        }
        Ok(devices)
    }

    /// The size of the volume that a template asks for.
    fn volume_size(&self, ebs: &Value, image: &Image, name: &str) -> Result<u32, ApiError> {
        if image.root_device_type == "instance-store" {
            return Err(combination("EBS block device mappings not supported for instance-store AMIs"));
        }
        let wanted: Option<u32> = ebs["VolumeSize"].as_str().and_then(|size| size.parse().ok());
        let device = image.devices.iter().find(|device| device.name == name);
        let given = ebs["SnapshotId"].as_str();
        let is_root = image.devices.first().is_some_and(|root| root.name == name);
        if is_root && given.is_some_and(|given| device.is_none_or(|device| device.snapshot != given)) {
            let text = "snapshotId cannot be modified on root device";
            return Err(ApiError::new("InvalidBlockDeviceMapping", text));
        }
        let (snapshot, least) = match (given, device) {
            (Some(id), _) => {
                let snapshot = self.snapshot(id).ok_or_else(|| super::snapshots::unknown(id))?;
                (id, snapshot.size)
            }
            (None, Some(device)) => (device.snapshot.as_str(), device.size),
            (None, None) => return wanted.ok_or_else(|| missing("size or snapshotId")),
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted < least) {
            let text = format!(
                "Volume of size {wanted}GB is smaller than snapshot '{snapshot}', expect size>= {least}GB"
            );
            return Err(ApiError::new("InvalidBlockDeviceMapping", text));
        }
        Ok(wanted.unwrap_or(least))
    }
}

fn check_fit(image: &Image, instance_type: &str) -> Result<(), ApiError> {
    let known = instance_types::find(instance_type)?;
    if !known.architectures.contains(&image.architecture.as_str()) {
        let own = known.architectures.join(",");
        return Err(invalid(format!(
            "The architecture '{own}' of the specified instance type does not match the architecture '{}' of the \
             specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You \
             can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type \
             or AMI.",
            image.architecture
        )));
    }
    if !known.virtualization_types.contains(&image.virtualization_type.as_str()) {
        let own = known.virtualization_types.join("' or '");
        return Err(combination(&format!(
            "Virtualization type '{own}' is required for instances of type '{instance_type}'. Ensure that you are \
             using an AMI with virtualization type '{own}'."
        )));
    }
    if !known.root_device_types.contains(&image.root_device_type.as_str()) {
        // No public text of this refusal was found.
        return Err(combination(&format!(
            "The instance type '{instance_type}' does not support AMIs with the root device type '{}'",
            image.root_device_type
        )));
    }
    Ok(())
}

fn check_virtual_name(name: Option<&str>) -> Result<(), ApiError> {
    let number = |name: &str| name.strip_prefix("ephemeral").is_some_and(|rest| rest.parse::<u8>().is_ok());
    match name {
        Some(name) if !number(name) => Err(invalid(format!(
            "Value ({name}) for parameter virtualName is invalid. Expected format: 'ephemeralNUMBER'"
        ))),
        _ => Ok(()),
    }
}

/// The tags that the template gives to instances.
fn tags_of(data: &Value) -> Tags {
    let specifications = data["TagSpecification"].as_array().into_iter().flatten();
    let for_instances = specifications.filter(|one| one["ResourceType"] == "instance");
    let tags = for_instances.flat_map(|one| one["Tag"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tags.map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
}

fn texts(values: &Value) -> Vec<&str> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn missing(name: &str) -> ApiError {
    ApiError::new("MissingParameter", format!("The request must contain the parameter {name}"))
}

fn combination(text: &str) -> ApiError {
    ApiError::new("InvalidParameterCombination", text)
}
