//! What a new version says, whether there is one that says it already, and which old ones can go. Pure: makes
//! no AWS calls.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface, LaunchTemplateVersion,
    RequestLaunchTemplateData as Data,
};

use crate::copy::copy;
use crate::images::Image;

/// A version of the launch template.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its number.
    pub number: i64,
    /// What it says, as the request that would say the same.
    pub data: Data,
}

impl Version {
    /// Reads a version as EC2 describes it.
    pub fn read(version: &LaunchTemplateVersion) -> Option<Self> {
        Some(Self { number: version.version_number()?, data: copy(version.launch_template_data()?) })
    }
}

/// A version as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Everything that it says.
    pub data: Data,
    /// What the request for it says.
    pub request: Data,
    /// The version that it inherits the rest from; `None` where that would inherit what must not be.
    pub source: Option<i64>,
    /// For people who look at the template.
    pub description: String,
}

/// The security groups that a source version names, and that must be known by their ids before a version can
/// be based on it.
pub fn named_groups<'a>(source: &'a Version, groups: Option<&[String]>) -> &'a [String] {
    let data = &source.data;
    let has_ids = groups.is_some() || !data.security_group_ids().is_empty();
    if has_ids || !data.network_interfaces().is_empty() { &[] } else { data.security_groups() }
}

/// The version with this image, and with these groups where they are given, that says everything else as
/// `source` does.
///
/// # Errors
/// Why there can be none.
pub fn wanted(source: &Version, image: &Image, groups: Option<&[String]>) -> Result<Wanted, String> {
    let mut data = source.data.clone();
    let mut request = Data::builder().image_id(&image.id).build();
    data.image_id = Some(image.id.clone());

    let has_interfaces = !data.network_interfaces().is_empty();
    // EC2 can replace what a version inherits, but can't take it away.
    let mixes = has_interfaces && !data.security_group_ids().is_empty();
    let source_number = (data.security_groups().is_empty() && !mixes).then_some(source.number);
    match groups {
        Some(groups) if has_interfaces => {
            set_groups(data.network_interfaces.as_deref_mut().unwrap_or_default(), groups)?;
            request.network_interfaces.clone_from(&data.network_interfaces);
        }
        Some(groups) => {
            data.security_group_ids = Some(groups.to_vec());
            request.security_group_ids.clone_from(&data.security_group_ids);
        }
        None if has_interfaces && source_number.is_none() => {
            return Err(format!(
                "version {} has security groups beside its network interfaces, where no instance can be launched: say \
                 the groups in SG_IDS",
                source.number
            ));
        }
        None => {}
    }
    data.security_groups = None;
    if has_interfaces {
        data.security_group_ids = None;
    }
    if release_snapshots(&mut data, image) {
        request.block_device_mappings.clone_from(&data.block_device_mappings);
    }
    Ok(Wanted {
        request: if source_number.is_some() { request } else { data.clone() },
        data,
        source: source_number,
        description: format!(
            "{} ({}), created {}; based on version {}",
            image.name,
            image.id,
            image.time(),
            source.number
        ),
    })
}

/// Puts the groups into each primary interface.
fn set_groups(interfaces: &mut [Interface], groups: &[String]) -> Result<(), String> {
    let mut primary: Vec<_> = interfaces.iter_mut().filter(|interface| is_primary(interface)).collect();
    if primary.is_empty() {
        return Err("none of the network interfaces has device index 0: no place for SG_IDS".to_owned());
    }
    for interface in &mut primary {
        if let Some(id) = interface.network_interface_id() {
            return Err(format!(
                "the primary network interface is {id}, which keeps its own groups, not SG_IDS"
            ));
        }
        interface.groups = Some(groups.to_vec());
    }
    Ok(())
}

fn is_primary(interface: &Interface) -> bool {
    interface.device_index().unwrap_or_default() == 0
}

/// Lets the image's own snapshots be used for its devices: one that the template names holds the data of
/// another day. Says whether the devices must be said anew, because any names a snapshot: EC2 does not inherit
/// snapshots.
fn release_snapshots(data: &mut Data, image: &Image) -> bool {
    let mut names_snapshot = false;
    for mapping in data.block_device_mappings.iter_mut().flatten() {
        let of_image =
            image.devices.iter().any(|(name, _)| Some(name.as_str()) == mapping.device_name.as_deref());
        if let Some(ebs) = &mut mapping.ebs {
            names_snapshot |= ebs.snapshot_id.is_some();
            if of_image {
                ebs.snapshot_id = None;
            }
        }
    }
    names_snapshot
}

/// Whether instances are launched from `version` with the image and the groups that are wanted.
pub fn is_current(version: &Version, wanted: &Wanted) -> bool {
    let data = &version.data;
    let mixes = !data.network_interfaces().is_empty() && !data.security_group_ids().is_empty();
    data.image_id() == wanted.data.image_id()
        && data.security_groups().is_empty()
        && !mixes
        && groups_of(data) == groups_of(&wanted.data)
}

/// The groups of an instance, or of each of its primary interfaces.
fn groups_of(data: &Data) -> BTreeSet<BTreeSet<&str>> {
    let interfaces = data.network_interfaces().iter().filter(|interface| is_primary(interface));
    let mut groups: BTreeSet<BTreeSet<&str>> =
        interfaces.map(|interface| interface.groups().iter().map(String::as_str).collect()).collect();
    if data.network_interfaces().is_empty() {
        groups.insert(data.security_group_ids().iter().map(String::as_str).collect());
    }
    groups
}

/// The newest of these versions that says exactly what is wanted: an earlier run made it, and did not come to
/// make it the default; or somebody has made another one the default since.
pub fn find<'a>(versions: &'a [Version], wanted: &Wanted) -> Option<&'a Version> {
    let same = |version: &&Version| normal(&version.data) == normal(&wanted.data);
    versions.iter().filter(same).max_by_key(|version| version.number)
}

/// The same without the order of groups, and without lists that are there but empty.
fn normal(data: &Data) -> Data {
    let mut data = data.clone();
    let groups = data.network_interfaces.iter_mut().flatten().map(|interface| &mut interface.groups);
    for groups in groups.chain([&mut data.security_group_ids, &mut data.security_groups]) {
        if let Some(ids) = groups {
            ids.sort_unstable();
        }
        *groups = groups.take().filter(|ids| !ids.is_empty());
    }
    data
}

/// The versions that can go, if besides the `keep` newest ones these stay: the default, the latest, and those
/// that a group names.
pub fn superfluous(versions: &BTreeSet<i64>, keep: usize, default: i64, named: &BTreeSet<i64>) -> Vec<i64> {
    let latest = versions.last().copied();
    let old = versions.iter().rev().skip(keep).copied();
    let mut superfluous: Vec<i64> = old
        .filter(|version| *version != default && Some(*version) != latest && !named.contains(version))
        .collect();
    superfluous.reverse();
    superfluous
}
