//! Checks whether a version can launch instances, from the version, the image and the security groups. EC2 checks a
//! version only at a launch, and then every scale-out fails. Pure: no AWS calls.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    LaunchTemplateBlockDeviceMappingRequest as Mapping, RequestLaunchTemplateData as Data,
};

use crate::images::Image;

/// Instance families that accept paravirtual images. All others accept only HVM.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/virtualization_types.html>
const PARAVIRTUAL: [&str; 8] = ["c1", "c3", "hi1", "hs1", "m1", "m2", "m3", "t1"];

/// Instance families that accept a root device in the instance store.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/RootDeviceStorage.html>
const ROOT_IN_INSTANCE_STORE: [&str; 9] = ["c1", "c3", "d2", "i2", "m1", "m2", "m3", "r3", "x1"];

/// Instance types that accept 32-bit images: those with `i386` in `DescribeInstanceTypes`.
const THIRTY_TWO_BITS: [&str; 9] = [
    "c1.medium",
    "c3.large",
    "m1.medium",
    "m1.small",
    "t1.micro",
    "t2.medium",
    "t2.micro",
    "t2.nano",
    "t2.small",
];

/// Usual names of root devices. If a template maps one that is not the image's root device, it is most likely meant
/// to be.
const ROOTS: [&str; 2] = ["/dev/sda1", "/dev/xvda"];

/// The known reasons why `data` could launch no instance with this image.
pub fn check(data: &Data, image: &Image) -> Vec<String> {
    let kind = data.instance_type().map(|kind| kind.as_str()).unwrap_or_default();
    let of_kind = [architecture(kind, image), virtualization(kind, image), root_device(kind, image)];
    let mappings = data.block_device_mappings().iter();
    of_kind.into_iter().flatten().chain(mappings.filter_map(|mapping| device(mapping, image))).collect()
}

/// The doubts about `data` with this image that don't prevent launches.
pub fn doubts(data: &Data, image: &Image) -> Vec<String> {
    let names = data.block_device_mappings().iter().filter_map(|mapping| mapping.device_name());
    let odd = names.filter(|name| {
        let in_image = image.devices.iter().any(|(device, _)| device == name);
        ROOTS.contains(name) && *name != image.root && !in_image
    });
    odd.map(|name| {
        format!(
            "the template maps {name}, but the root device of {} is {}: instances get an additional volume, and the \
             root volume is unchanged",
            image.id, image.root
        )
    })
    .collect()
}

/// The ids of all security groups of a version.
pub fn security_groups(data: &Data) -> BTreeSet<String> {
    let of_interfaces = data.network_interfaces().iter().flat_map(|interface| interface.groups());
    of_interfaces.chain(data.security_group_ids()).cloned().collect()
}

/// The reasons why an instance can't have these security groups. `found` has the VPCs of the existing ones.
pub fn check_security_groups(groups: &BTreeSet<String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let missing: Vec<&str> =
        groups.iter().filter(|id| !found.contains_key(*id)).map(String::as_str).collect();
    let vpcs: BTreeSet<&String> = found.values().collect();
    let mut reasons = Vec::new();
    if !missing.is_empty() {
        let (plural, verb) = if missing.len() == 1 { ("", "does") } else { ("s", "do") };
        reasons.push(format!("the security group{plural} {} {verb} not exist", missing.join(", ")));
    }
    if vpcs.len() > 1 {
        let places: Vec<String> = found.iter().map(|(id, vpc)| format!("{id} is in {vpc}")).collect();
        reasons.push(format!("the security groups are not in one VPC: {}", places.join(", ")));
    }
    reasons
}

fn architecture(kind: &str, image: &Image) -> Option<String> {
    let of_kind = architecture_of(kind)?;
    let fits = match image.architecture.as_str() {
        "" => true,
        "i386" => THIRTY_TWO_BITS.contains(&kind),
        of_image => of_image == of_kind,
    };
    (!fits).then(|| format!("{} is for {}, and {kind} is {of_kind}", image.id, image.architecture))
}

/// The architecture of an instance type, from the naming convention: `g` after the generation means Graviton.
/// <https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>
fn architecture_of(kind: &str) -> Option<&'static str> {
    let family = family(kind)?;
    let (series, rest) = family.split_at(family.find(|c: char| !c.is_ascii_alphabetic())?);
    Some(match (series, rest) {
        ("mac", "1") => "x86_64_mac",
        ("mac", _) => "arm64_mac",
        ("a", _) => "arm64",
        (_, rest) if rest.contains('g') => "arm64",
        _ => "x86_64",
    })
}

/// The family of an instance type: `m6g` of `m6g.large`.
fn family(kind: &str) -> Option<&str> {
    kind.split_once('.').map(|(family, _)| family)
}

fn virtualization(kind: &str, image: &Image) -> Option<String> {
    let fits = image.virtualization != "paravirtual" || PARAVIRTUAL.contains(&family(kind)?);
    (!fits).then(|| format!("{} is paravirtual, which {kind} does not accept", image.id))
}

fn root_device(kind: &str, image: &Image) -> Option<String> {
    let fits = !image.in_instance_store || ROOT_IN_INSTANCE_STORE.contains(&family(kind)?);
    (!fits).then(|| format!("{} has an instance-store root device, which {kind} does not accept", image.id))
}

/// The problem of one block device.
fn device(mapping: &Mapping, image: &Image) -> Option<String> {
    let name = mapping.device_name().unwrap_or_default();
    let in_image = image.devices.iter().find(|(device, _)| device == name);
    if mapping.no_device().is_some() {
        return (name == image.root)
            .then(|| format!("the template suppresses {name}, the root device of {}", image.id));
    }
    if mapping.virtual_name().is_some() {
        return None;
    }
    let size = mapping.ebs().and_then(|ebs| ebs.volume_size());
    match (in_image, size) {
        (Some((_, least)), Some(size)) if size < *least => Some(format!(
            "the template's {size} GiB for {name} are less than the {least} GiB of {}",
            image.id
        )),
        (None, None) if mapping.ebs().is_none_or(|ebs| ebs.snapshot_id().is_none()) => Some(format!(
            "the template maps {name} without size and snapshot, and {} has no such device",
            image.id
        )),
        _ => None,
    }
}
