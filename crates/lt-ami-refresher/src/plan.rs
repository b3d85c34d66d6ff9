//! Decides the settings of a new version, whether an existing version already has them, and which old versions to
//! delete. Pure: no AWS calls.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest as Interface, LaunchTemplateVersion,
    RequestLaunchTemplateData as Data,
};
use serde_json::{Map, Value, json};

use crate::copy::copy;
use crate::images::Image;
use crate::preflight::is_primary_index;
use crate::settings::Settings;

/// A version of the launch template.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its number.
    pub number: i64,
    /// Its settings, as the request that would create them, as far as the SDK knows them.
    pub data: Data,
    /// Its settings as EC2 answers them, all of them.
    pub settings: Settings,
}

impl Version {
    /// Reads a version as EC2 describes it. `settings` are those of the raw answer.
    pub fn read(version: &LaunchTemplateVersion, settings: Settings) -> Option<Self> {
        Some(Self {
            number: version.version_number()?,
            data: copy(version.launch_template_data()?),
            settings,
        })
    }
}

/// The wanted version.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// All its settings, as far as the SDK knows them.
    pub data: Data,
    /// All its settings, as EC2 will answer them.
    pub settings: Settings,
    /// The settings in its request.
    pub request: Data,
    /// The version from which it inherits the other settings. `None` if it would inherit a setting that must not
    /// remain.
    pub source: Option<i64>,
    /// The description of the version, for people.
    pub description: String,
}

/// The security groups that a source version has by name. Their ids must be looked up before a version can be based
/// on it.
pub fn named_security_groups<'a>(source: &'a Version, security_groups: Option<&[String]>) -> &'a [String] {
    let data = &source.data;
    let has_ids = security_groups.is_some() || !data.security_group_ids().is_empty();
    if has_ids || !data.network_interfaces().is_empty() { &[] } else { data.security_groups() }
}

/// The wanted version: this image, these security groups, if any, and otherwise the settings of `source`.
///
/// # Errors
/// The reason why there can be no such version.
pub fn wanted(source: &Version, image: &Image, security_groups: Option<&[String]>) -> Result<Wanted, String> {
    let mut data = source.data.clone();
    let mut request = Data::builder().image_id(&image.id).build();
    data.image_id = Some(image.id.clone());

    let has_interfaces = !data.network_interfaces().is_empty();
    // A request can replace an inherited setting, but can't remove it.
    let mixes = has_interfaces && !data.security_group_ids().is_empty();
    let source_number = (data.security_groups().is_empty() && !mixes).then_some(source.number);
    match security_groups {
        Some(ids) if has_interfaces => {
            set_security_groups(data.network_interfaces.as_deref_mut().unwrap_or_default(), ids)?;
            request.network_interfaces.clone_from(&data.network_interfaces);
        }
        Some(ids) => {
            data.security_group_ids = Some(ids.to_vec());
            request.security_group_ids.clone_from(&data.security_group_ids);
        }
        None if has_interfaces && source_number.is_none() => {
            return Err(format!(
                "version {} has security groups beside its network interfaces, and EC2 launches no instance from it: \
                 set SG_IDS",
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
    let mut settings = source.settings.clone();
    apply(&mut settings.known, image, security_groups);
    Ok(Wanted {
        request: if source_number.is_some() { request } else { data.clone() },
        data,
        settings,
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

/// The changes of [`wanted`] to the settings as EC2 answers them.
fn apply(settings: &mut Map<String, Value>, image: &Image, security_groups: Option<&[String]>) {
    settings.insert("ImageId".to_owned(), json!(image.id));
    settings.remove("SecurityGroups");
    let is = |name: &str, settings: &Map<String, Value>| {
        settings.get(name).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
    };
    if is("NetworkInterfaces", settings) {
        settings.remove("SecurityGroupIds");
        for interface in items(settings, "NetworkInterfaces") {
            if let Some(ids) = security_groups.filter(|_| interface["DeviceIndex"].as_i64().unwrap_or(0) == 0)
            {
                interface["Groups"] = json!(ids);
            }
        }
    } else if let Some(ids) = security_groups {
        settings.insert("SecurityGroupIds".to_owned(), json!(ids));
    }
    for mapping in items(settings, "BlockDeviceMappings") {
        let of_image = image.devices.iter().any(|device| mapping["DeviceName"] == *device.name);
        if let Some(ebs) = mapping.get_mut("Ebs").and_then(Value::as_object_mut).filter(|_| of_image) {
            ebs.remove("SnapshotId");
        }
    }
}

fn items<'a>(settings: &'a mut Map<String, Value>, name: &str) -> impl Iterator<Item = &'a mut Value> {
    settings.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The settings of `source` that a request for the wanted version would lose, because the SDK does not know them: each
/// setting in the request replaces the inherited one as a whole.
pub fn lost<'a>(source: &'a Version, wanted: &Wanted) -> Vec<&'a str> {
    if wanted.source.is_none() {
        return source.settings.unknown_in(None);
    }
    let request = &wanted.request;
    let replaced = [
        ("NetworkInterfaces", request.network_interfaces.is_some()),
        ("BlockDeviceMappings", request.block_device_mappings.is_some()),
        ("SecurityGroupIds", request.security_group_ids.is_some()),
    ];
    let names: Vec<&str> = replaced.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    source.settings.unknown_in(Some(&names))
}

/// Puts the security groups into each primary interface.
fn set_security_groups(interfaces: &mut [Interface], security_groups: &[String]) -> Result<(), String> {
    let mut primary: Vec<_> = interfaces.iter_mut().filter(|interface| is_primary(interface)).collect();
    if primary.is_empty() {
        return Err("no network interface has device index 0, so there is no place for SG_IDS".to_owned());
    }
    for interface in &mut primary {
        if let Some(id) = interface.network_interface_id() {
            return Err(format!(
                "the primary network interface is {id}, which keeps its own groups, not SG_IDS"
            ));
        }
        interface.groups = Some(security_groups.to_vec());
    }
    Ok(())
}

fn is_primary(interface: &Interface) -> bool {
    is_primary_index(interface.device_index())
}

/// Removes the snapshots of the image's devices, so that the image's own snapshots are used; a snapshot in the
/// template is older. Returns whether the request must contain the devices, because any of them has a snapshot: EC2
/// does not inherit snapshots.
fn release_snapshots(data: &mut Data, image: &Image) -> bool {
    let mut names_snapshot = false;
    for mapping in data.block_device_mappings.iter_mut().flatten() {
        let of_image =
            image.devices.iter().any(|device| Some(device.name.as_str()) == mapping.device_name.as_deref());
        if let Some(ebs) = &mut mapping.ebs {
            names_snapshot |= ebs.snapshot_id.is_some();
            if of_image {
                ebs.snapshot_id = None;
            }
        }
    }
    names_snapshot
}

/// Whether `version` has the wanted image and security groups.
pub fn is_current(version: &Version, wanted: &Wanted) -> bool {
    let data = &version.data;
    let mixes = !data.network_interfaces().is_empty() && !data.security_group_ids().is_empty();
    data.image_id() == wanted.data.image_id()
        && data.security_groups().is_empty()
        && !mixes
        && security_groups_of(data) == security_groups_of(&wanted.data)
}

/// The security groups of an instance, or of each of its primary interfaces.
fn security_groups_of(data: &Data) -> BTreeSet<BTreeSet<&str>> {
    let interfaces = data.network_interfaces().iter().filter(|interface| is_primary(interface));
    let mut security_groups: BTreeSet<BTreeSet<&str>> =
        interfaces.map(|interface| interface.groups().iter().map(String::as_str).collect()).collect();
    if data.network_interfaces().is_empty() {
        security_groups.insert(data.security_group_ids().iter().map(String::as_str).collect());
    }
    security_groups
}

/// The newest of these versions with exactly the wanted settings. An earlier run created it and ended before it made
/// it the default, or an operator has made another version the default since.
pub fn find<'a>(versions: &'a [Version], wanted: &Wanted) -> Option<&'a Version> {
    let same = |version: &&Version| version.settings.are(&wanted.settings);
    versions.iter().filter(same).max_by_key(|version| version.number)
}

/// The versions to delete. The `keep` newest, the default, the latest and those in `needed` stay.
pub fn superfluous(versions: &BTreeSet<i64>, keep: usize, default: i64, needed: &BTreeSet<i64>) -> Vec<i64> {
    let latest = versions.last().copied();
    let old = versions.iter().rev().skip(keep).copied();
    let mut superfluous: Vec<i64> = old
        .filter(|version| *version != default && Some(*version) != latest && !needed.contains(version))
        .collect();
    superfluous.reverse();
    superfluous
}
