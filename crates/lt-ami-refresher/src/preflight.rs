//! Checks whether a version can launch instances, from the version, the image, the instance type and the security groups.
//! EC2 checks a version only at a launch, and then every scale-out fails. What can't be known is a doubt, which prevents
//! nothing. Pure: no AWS calls.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    EnaSupport, InstanceTypeInfo, LaunchTemplateBlockDeviceMappingRequest as Mapping,
    RequestLaunchTemplateData as Data,
};

use crate::images::Image;

/// What an instance type accepts. An empty list says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// `x86_64`, `arm64` …
    pub architectures: Vec<String>,
    /// `hvm`, `paravirtual`.
    pub virtualizations: Vec<String>,
    /// `ebs`, `instance-store`.
    pub root_types: Vec<String>,
    /// `legacy-bios`, `uefi`.
    pub boot_modes: Vec<String>,
    /// Whether it runs only images that support enhanced networking with ENA.
    pub needs_ena: bool,
}

impl Kind {
    /// Reads an instance type as EC2 describes it.
    pub fn read(info: &InstanceTypeInfo) -> Self {
        let architectures =
            info.processor_info().map(|info| info.supported_architectures()).unwrap_or_default();
        let ena = info.network_info().and_then(|info| info.ena_support());
        Self {
            name: info.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            architectures: architectures.iter().map(|one| one.as_str().to_owned()).collect(),
            virtualizations: info
                .supported_virtualization_types()
                .iter()
                .map(|one| one.as_str().to_owned())
                .collect(),
            root_types: info
                .supported_root_device_types()
                .iter()
                .map(|one| one.as_str().to_owned())
                .collect(),
            boot_modes: info.supported_boot_modes().iter().map(|one| one.as_str().to_owned()).collect(),
            needs_ena: ena == Some(&EnaSupport::Required),
        }
    }

    /// The reasons why instances of this type can't be launched from the image.
    fn reasons(&self, image: &Image) -> Vec<String> {
        let (kind, id) = (&self.name, &image.id);
        let lacks = |values: &[String], value: &str| {
            !values.is_empty() && !value.is_empty() && !values.iter().any(|one| one == value)
        };
        let mut reasons = Vec::new();
        if lacks(&self.architectures, &image.architecture) {
            let accepted = self.architectures.join(" and ");
            reasons.push(format!("{id} is for {}, and {kind} is {accepted}", image.architecture));
        }
        if lacks(&self.virtualizations, &image.virtualization) {
            reasons.push(format!("{id} is {}, which {kind} does not accept", image.virtualization));
        }
        if lacks(&self.root_types, &image.root_type) {
            reasons
                .push(format!("{id} has an {} root device, which {kind} does not accept", image.root_type));
        }
        // `uefi-preferred` boots either way.
        let boot_mode = image.boot_mode.as_deref().filter(|mode| *mode != "uefi-preferred");
        if let Some(boot_mode) = boot_mode.filter(|mode| lacks(&self.boot_modes, mode)) {
            reasons.push(format!("{id} boots with {boot_mode}, which {kind} does not accept"));
        }
        if self.needs_ena && image.ena == Some(false) {
            reasons.push(format!("{id} has no ENA support, which {kind} requires"));
        }
        reasons
    }
}

/// Usual names of root devices. If a template maps one that is not the image's root device, it is most likely meant
/// to be.
const ROOTS: [&str; 2] = ["/dev/sda1", "/dev/xvda"];

/// The known reasons why `data` could launch no instance with this image. `kind` is the instance type of `data`, if it
/// names one: one that EC2 does not know is a reason too.
pub fn check(data: &Data, image: &Image, kind: Option<&Kind>) -> Vec<String> {
    let name = data.instance_type().map(|kind| kind.as_str());
    let mut reasons = match (name, kind) {
        (_, Some(kind)) => kind.reasons(image),
        (Some(name), None) => vec![format!("the instance type {name} does not exist in this Region")],
        (None, None) => Vec::new(),
    };
    reasons.extend(data.block_device_mappings().iter().filter_map(|mapping| device(mapping, image)));
    reasons
}

/// The doubts about `data` with this image that don't prevent launches. `security_groups` are those of `SG_IDS`.
pub fn doubts(
    data: &Data,
    image: &Image,
    kind: Option<&Kind>,
    security_groups: Option<&[String]>,
) -> Vec<String> {
    let names = data.block_device_mappings().iter().filter_map(|mapping| mapping.device_name());
    let odd = names.filter(|name| {
        let in_image = image.devices.iter().any(|device| device.name == *name);
        ROOTS.contains(name) && *name != image.root && !in_image
    });
    let devices = odd.map(|name| {
        format!(
            "the template maps {name}, but the root device of {} is {}: instances get an additional volume, and the \
             root volume is unchanged",
            image.id, image.root
        )
    });
    let ena = kind.filter(|kind| kind.needs_ena && image.ena.is_none()).map(|kind| {
        format!("{} does not say whether it supports ENA, which {} requires", image.id, kind.name)
    });
    let cards = data.network_interfaces().iter().filter_map(|interface| {
        let card = interface.network_card_index().filter(|card| *card > 0)?;
        let wanted: BTreeSet<&String> = security_groups?.iter().collect();
        let kept: BTreeSet<&String> = interface.groups().iter().collect();
        (!is_primary_index(interface.device_index()) && !kept.is_empty() && kept != wanted).then(|| {
            let kept: Vec<&str> = kept.into_iter().map(String::as_str).collect();
            format!(
                "the network interface on network card {card} keeps the groups {}, not SG_IDS",
                kept.join(", ")
            )
        })
    });
    devices.chain(ena).chain(cards).collect()
}

/// Whether a network interface with this device index is a primary one.
pub(crate) fn is_primary_index(index: Option<i32>) -> bool {
    index.unwrap_or_default() == 0
}

/// The ids of all security groups of a version.
pub fn security_groups(data: &Data) -> BTreeSet<String> {
    let of_interfaces = data.network_interfaces().iter().flat_map(|interface| interface.groups());
    of_interfaces.chain(data.security_group_ids()).cloned().collect()
}

/// The reason why instances can't have these security groups, if some don't exist. `found` has the VPCs of the
/// existing ones.
pub fn check_security_groups(groups: &BTreeSet<String>, found: &BTreeMap<String, String>) -> Option<String> {
    let missing: Vec<&str> =
        groups.iter().filter(|id| !found.contains_key(*id)).map(String::as_str).collect();
    let (plural, verb) = if missing.len() == 1 { ("", "does") } else { ("s", "do") };
    (!missing.is_empty())
        .then(|| format!("the security group{plural} {} {verb} not exist", missing.join(", ")))
}

/// Whether these security groups, of these VPCs, are of more than one.
pub fn are_apart(found: &BTreeMap<String, String>) -> bool {
    found.values().collect::<BTreeSet<_>>().len() > 1
}

/// Whether there is a VPC for security groups of several VPCs: `Err` if there is none, otherwise a doubt, because the
/// subnet decides. `further` are the VPCs that groups are associated with; without them it can't be known.
///
/// # Errors
/// The reason why no instance can have these groups.
pub fn check_vpcs(
    found: &BTreeMap<String, String>,
    further: Option<&BTreeSet<(String, String)>>,
) -> Result<String, String> {
    let fits = |id: &String, vpc: &String| {
        found.get(id) == Some(vpc)
            || further.is_some_and(|further| further.contains(&(id.clone(), vpc.clone())))
    };
    let candidates = found.values().chain(further.into_iter().flatten().map(|(_, vpc)| vpc));
    let mut common = candidates.filter(|vpc| found.keys().all(|id| fits(id, vpc)));
    let places: Vec<String> = found.iter().map(|(id, vpc)| format!("{id} is in {vpc}")).collect();
    let places = format!("the security groups are not in one VPC: {}", places.join(", "));
    match (further, common.next()) {
        (None, _) => Ok(format!("{places}; whether they are associated with a common one is not known")),
        (Some(_), Some(vpc)) => Ok(format!("{places}; instances launch in subnets of {vpc} only")),
        (Some(_), None) => Err(places),
    }
}

/// The problem of one block device.
fn device(mapping: &Mapping, image: &Image) -> Option<String> {
    let name = mapping.device_name().unwrap_or_default();
    let in_image = image.devices.iter().find(|device| device.name == name);
    if mapping.no_device().is_some() {
        return (name == image.root)
            .then(|| format!("the template suppresses {name}, the root device of {}", image.id));
    }
    if mapping.virtual_name().is_some() {
        return None;
    }
    let size = mapping.ebs().and_then(|ebs| ebs.volume_size());
    let unencrypted = mapping.ebs().is_some_and(|ebs| ebs.encrypted() == Some(false));
    match (in_image, size) {
        (Some(device), _) if device.encrypted && unencrypted => Some(format!(
            "the template leaves {name} unencrypted, and the snapshot of {} is encrypted: EC2 does not undo encryption",
            image.id
        )),
        (Some(device), Some(size)) if size < device.size => Some(format!(
            "the template's {size} GiB for {name} are less than the {} GiB of {}",
            device.size, image.id
        )),
        (None, None) if mapping.ebs().is_none_or(|ebs| ebs.snapshot_id().is_none()) => Some(format!(
            "the template maps {name} without size and snapshot, and {} has no such device",
            image.id
        )),
        _ => None,
    }
}
