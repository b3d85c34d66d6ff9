//! Instance types, with what decides whether they accept an image: `DescribeInstanceTypes`. A few of each kind.

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter};
use super::{Answer, Tags, page};
use crate::aws::error::ApiError;
use crate::aws::request::Text;
use crate::aws::world::World;

/// An instance type.
pub(super) struct InstanceType {
    name: &'static str,
    current: bool,
    pub(super) architectures: &'static [&'static str],
    pub(super) virtualization_types: &'static [&'static str],
    pub(super) root_device_types: &'static [&'static str],
    hypervisor: &'static str,
}

/// Types of one generation: they run images of their own architecture that boot from EBS with `hvm`.
const fn generation(
    name: &'static str,
    architectures: &'static [&'static str],
    hypervisor: &'static str,
) -> InstanceType {
    InstanceType {
        name,
        current: true,
        architectures,
        virtualization_types: &["hvm"],
        root_device_types: &["ebs"],
        hypervisor,
    }
}

/// Types that boot from an instance store and with `paravirtual` too.
const fn previous_generation(name: &'static str, architectures: &'static [&'static str]) -> InstanceType {
    InstanceType {
        name,
        current: false,
        architectures,
        virtualization_types: &["hvm", "paravirtual"],
        root_device_types: &["ebs", "instance-store"],
        hypervisor: "xen",
    }
}

/// In the order of their names, which is that of pages.
const TYPES: [InstanceType; 26] = [
    previous_generation("c3.large", &["i386", "x86_64"]),
    generation("c5.large", &["x86_64"], "nitro"),
    generation("c6g.large", &["arm64"], "nitro"),
    generation("c7g.large", &["arm64"], "nitro"),
    generation("c7i.large", &["x86_64"], "nitro"),
    previous_generation("m1.small", &["i386", "x86_64"]),
    previous_generation("m3.medium", &["x86_64"]),
    generation("m4.large", &["x86_64"], "xen"),
    generation("m5.large", &["x86_64"], "nitro"),
    generation("m5.xlarge", &["x86_64"], "nitro"),
    generation("m6g.large", &["arm64"], "nitro"),
    generation("m6i.large", &["x86_64"], "nitro"),
    generation("m7g.large", &["arm64"], "nitro"),
    generation("m7i.large", &["x86_64"], "nitro"),
    generation("r5.large", &["x86_64"], "nitro"),
    generation("r6g.large", &["arm64"], "nitro"),
    generation("t2.medium", &["i386", "x86_64"], "xen"),
    generation("t2.micro", &["i386", "x86_64"], "xen"),
    generation("t2.small", &["i386", "x86_64"], "xen"),
    generation("t3.large", &["x86_64"], "nitro"),
    generation("t3.medium", &["x86_64"], "nitro"),
    generation("t3.micro", &["x86_64"], "nitro"),
    generation("t3.small", &["x86_64"], "nitro"),
    generation("t4g.medium", &["arm64"], "nitro"),
    generation("t4g.micro", &["arm64"], "nitro"),
    generation("t4g.small", &["arm64"], "nitro"),
];

/// The type of this name.
pub(super) fn find(name: &str) -> Result<&'static InstanceType, ApiError> {
    let found = TYPES.iter().find(|one| one.name == name);
    found.ok_or_else(|| super::invalid(format!("Invalid value '{name}' for InstanceType.")))
}

/// What EC2 says of types that do not exist.
pub(super) fn unknown(names: &[&str]) -> String {
    format!("The following supplied instance types do not exist: [{}]", names.join(", "))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeInstanceTypes {
    #[serde(rename = "InstanceType", default)]
    names: Vec<String>,
    #[serde(rename = "Filter", default)]
    filters: Vec<Filter>,
    max_results: Option<Text<usize>>,
    next_token: Option<String>,
}

const FILTERS: [&str; 6] = [
    "current-generation",
    "hypervisor",
    "instance-type",
    "processor-info.supported-architecture",
    "supported-root-device-type",
    "supported-virtualization-type",
];

pub(super) fn describe(world: &mut World, describe: DescribeInstanceTypes) -> Answer {
    let DescribeInstanceTypes { names, filters, max_results, next_token } = describe;
    filters::check(&filters, &FILTERS)?;
    let unknown: Vec<_> = names.iter().map(String::as_str).filter(|name| find(name).is_err()).collect();
    if !unknown.is_empty() {
        return Err(ApiError::new("InvalidInstanceType", self::unknown(&unknown)));
    }
    let wanted = TYPES.iter().filter(|one| {
        (names.is_empty() || names.iter().any(|name| name == one.name))
            && filters::pass(&filters, &Tags::new(), |field| values_of(one, field))
    });
    let items = wanted.map(|one| (one.name, one));
    // AWS's longest page of them.
    page("instanceTypeSet", items, type_json, world.ec2.page_size.min(100), max_results, next_token)
}

fn values_of(one: &InstanceType, field: &str) -> Vec<String> {
    let all = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match field {
        "current-generation" => vec![one.current.to_string()],
        "hypervisor" => vec![one.hypervisor.to_owned()],
        "instance-type" => vec![one.name.to_owned()],
        "processor-info.supported-architecture" => all(one.architectures),
        "supported-root-device-type" => all(one.root_device_types),
        _ => all(one.virtualization_types),
    }
}

fn boot_modes(one: &InstanceType) -> &'static [&'static str] {
    match (one.hypervisor, one.architectures) {
        (_, ["arm64"]) => &["uefi"],
        ("nitro", _) => &["legacy-bios", "uefi"],
        _ => &["legacy-bios"],
    }
}

fn type_json(one: &InstanceType) -> Value {
    json!({
        "instanceType": one.name,
        "currentGeneration": one.current,
        "bareMetal": false,
        "hypervisor": one.hypervisor,
        "processorInfo": { "supportedArchitectures": one.architectures },
        "networkInfo": { "enaSupport": if one.hypervisor == "nitro" { "required" } else { "supported" } },
        "supportedBootModes": boot_modes(one),
        "supportedRootDeviceTypes": one.root_device_types,
        "supportedVirtualizationTypes": one.virtualization_types,
        "supportedUsageClasses": ["on-demand", "spot"],
    })
}
