//! A version's settings as EC2 answers them: those that the SDK knows, and those that EC2 has added since the SDK was
//! made, which the SDK passes over without a word. `SHAPE` holds the known ones, by EC2's model; what is not in it is
//! unknown. Pure: no AWS calls.

use std::collections::{BTreeMap, BTreeSet};

use aws_smithy_xml::decode::{Document, XmlDecodeError, try_data};
use serde_json::{Map, Value, json};

/// The settings of a version, in EC2's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Those that the SDK knows: `{"ImageId":"ami-…","Monitoring":{"Enabled":true}}`.
    pub known: Map<String, Value>,
    /// The others, by their paths: `Monitoring.NewSetting`, `NetworkInterfaces[0].NewSetting`.
    pub unknown: BTreeMap<String, Value>,
}

impl Settings {
    /// Whether both say the same. The order of security groups and empty lists say nothing.
    pub fn are(&self, other: &Self) -> bool {
        self.unknown == other.unknown && normal(&self.known) == normal(&other.known)
    }

    /// The unknown settings that are inside one of these, or all of them.
    pub fn unknown_in(&self, names: Option<&[&str]>) -> Vec<&str> {
        let inside = |path: &&str| {
            let top = path.split(['.', '[']).next().unwrap_or_default();
            names.is_none_or(|names| names.contains(&top))
        };
        self.unknown.keys().map(String::as_str).filter(inside).collect()
    }

    /// What is other in `to`, by setting: `{"ImageId":{"from":"ami-…","to":"ami-…"}}`. User data may hold secrets and
    /// is only said to have changed.
    pub fn difference(&self, to: &Self) -> Map<String, Value> {
        let (from, to) = (self.all(), to.all());
        let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        let differing = names.into_iter().filter(|name| from.get(*name) != to.get(*name)).map(|name| {
            let said = |side: &Map<String, Value>| short(side.get(name).unwrap_or(&Value::Null));
            let change = match name.as_str() {
                "UserData" => json!({ "changed": true }),
                _ => json!({ "from": said(&from), "to": said(&to) }),
            };
            (name.clone(), change)
        });
        differing.collect()
    }

    fn all(&self) -> Map<String, Value> {
        let mut all = normal(&self.known);
        all.extend(self.unknown.iter().map(|(path, value)| (path.clone(), value.clone())));
        all
    }
}

/// A value whose texts are cut, for an answer.
fn short(value: &Value) -> Value {
    match value {
        Value::String(text) => lambda_kit::error::cut(text).into(),
        Value::Array(items) => items.iter().map(short).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), short(value))).collect(),
        other => other.clone(),
    }
}

/// Settings for comparison: security groups sorted, empty lists and structures left out.
fn normal(settings: &Map<String, Value>) -> Map<String, Value> {
    let is_empty = |value: &Value| {
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
    };
    let fields = settings.iter().map(|(name, value)| {
        let value = match value {
            Value::Object(fields) => Value::Object(normal(fields)),
            Value::Array(items) => {
                let inner = |item: &Value| item.as_object().map_or(item.clone(), |item| normal(item).into());
                let mut items: Vec<Value> = items.iter().map(inner).collect();
                if ["Groups", "SecurityGroupIds", "SecurityGroups"].contains(&name.as_str()) {
                    items.sort_by_key(ToString::to_string);
                }
                items.into()
            }
            other => other.clone(),
        };
        (name.clone(), value)
    });
    fields.filter(|(_, value)| !is_empty(value)).collect()
}

/// The settings of each version in an answer of `DescribeLaunchTemplateVersions`, by its number.
///
/// # Errors
/// The text is not XML.
pub fn read(answer: &str) -> Result<BTreeMap<i64, Settings>, XmlDecodeError> {
    let root = Element::read(answer)?;
    let versions = root.children("launchTemplateVersionSet").flat_map(|set| set.children("item"));
    let read = versions.filter_map(|version| {
        let number = version.children("versionNumber").next()?.text.parse().ok()?;
        let mut settings = Settings::default();
        for data in version.children("launchTemplateData") {
            settings.known = structure(&SHAPE, data, "", &mut settings.unknown);
        }
        Some((number, settings))
    });
    Ok(read.collect())
}

/// An element of XML: a text or other elements.
struct Element {
    name: String,
    text: String,
    inner: Vec<Element>,
}

impl Element {
    /// Reads a whole document. An element has a text if no other one begins inside it, which only the next element's
    /// depth tells; so the document is read twice.
    fn read(xml: &str) -> Result<Self, XmlDecodeError> {
        let mut document = Document::new(xml);
        let mut depths = Vec::new();
        while let Some(start) = document.next_start_element() {
            depths.push(start.depth());
        }
        let mut document = Document::new(xml);
        let mut open = vec![Self { name: String::new(), text: String::new(), inner: Vec::new() }];
        let mut following = depths.iter().skip(1);
        while let Some(start) = document.next_start_element() {
            let depth = start.depth();
            while open.len() > depth + 1 {
                close(&mut open);
            }
            let name = start.local().to_owned();
            let is_text = following.next().is_none_or(|next| *next <= depth);
            let text = match is_text {
                true => try_data(&mut document.scoped_to(start))?.into_owned(),
                false => String::new(),
            };
            open.push(Self { name, text, inner: Vec::new() });
        }
        while open.len() > 1 {
            close(&mut open);
        }
        let root = open.pop().and_then(|mut document| document.inner.pop());
        root.ok_or_else(|| XmlDecodeError::custom("an empty answer"))
    }

    fn children(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.inner.iter().filter(move |element| element.name == name)
    }

    /// What an unknown element says.
    fn value(&self) -> Value {
        if self.inner.is_empty() {
            return self.text.as_str().into();
        }
        self.inner.iter().map(|element| json!({ capital(&element.name): element.value() })).collect()
    }
}

/// Puts the innermost open element into the one around it.
fn close(open: &mut Vec<Element>) {
    if let Some(element) = open.pop()
        && let Some(around) = open.last_mut()
    {
        around.inner.push(element);
    }
}

/// The name of a setting: EC2's answers write it with a small letter.
fn capital(tag: &str) -> String {
    let mut letters = tag.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// Reads the settings of a structure, whose path ends in a dot, and notes the unknown ones.
fn structure(
    shape: &Shape,
    element: &Element,
    path: &str,
    unknown: &mut BTreeMap<String, Value>,
) -> Map<String, Value> {
    let mut known = Map::new();
    for child in &element.inner {
        let (tag, text) = (child.name.as_str(), child.text.as_str());
        let among = |names: &str| names.split_whitespace().any(|name| name == tag);
        let list = shape.lists.iter().find(|(name, ..)| *name == tag);
        let inner = shape.structures.iter().find(|(name, _)| *name == tag);
        let name = list.map_or_else(|| capital(tag), |(_, name, _)| (*name).to_owned());
        let here = format!("{path}{name}");
        let value = match (list, inner) {
            (Some((_, _, items)), _) => {
                let mut values = Vec::new();
                for item in &child.inner {
                    let is_odd = items.is_none() && !item.inner.is_empty();
                    if is_odd || !["item", "groupId"].contains(&item.name.as_str()) {
                        note(unknown, format!("{here}.{}", capital(&item.name)), item.value());
                    } else if let Some(shape) = items {
                        let path = format!("{here}[{}].", values.len());
                        values.push(structure(shape, item, &path, unknown).into());
                    } else {
                        values.push(item.text.as_str().into());
                    }
                }
                Value::Array(values)
            }
            (_, Some((_, shape))) => structure(shape, child, &format!("{here}."), unknown).into(),
            _ if among(shape.derived) => continue,
            _ if !child.inner.is_empty() => {
                note(unknown, here, child.value());
                continue;
            }
            _ if among(shape.texts) => text.into(),
            _ if among(shape.flags) => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
            _ if among(shape.numbers) => text.parse::<f64>().map_or_else(|_| text.into(), number),
            _ => {
                note(unknown, here, child.value());
                continue;
            }
        };
        known.insert(name, value);
    }
    known
}

/// Notes an unknown setting. One that is there twice has both values.
fn note(unknown: &mut BTreeMap<String, Value>, path: String, value: Value) {
    let both = |earlier: &mut Value| *earlier = json!([earlier.take(), value.clone()]);
    unknown.entry(path).and_modify(both).or_insert(value);
}

/// A number, without a point where it has no fraction.
fn number(number: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "settings are counts and sizes; larger ones are compared as they are"
    )]
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => (number as i64).into(),
        false => number.into(),
    }
}

/// The settings of a structure, by their tags in EC2's answers.
struct Shape {
    texts: &'static str,
    flags: &'static str,
    numbers: &'static str,
    structures: &'static [(&'static str, &'static Shape)],
    /// Tag, name, and the structure of an item; without one, items are texts.
    lists: &'static [(&'static str, &'static str, Option<&'static Shape>)],
    /// What EC2 fills in itself, and no request says.
    derived: &'static str,
}

const EMPTY: Shape = Shape { texts: "", flags: "", numbers: "", structures: &[], lists: &[], derived: "" };

/// `ResponseLaunchTemplateData` of EC2's model. A test compares it with the SDK.
const SHAPE: Shape = Shape {
    texts: "imageId instanceInitiatedShutdownBehavior instanceType kernelId keyName ramDiskId userData",
    flags: "disableApiStop disableApiTermination ebsOptimized",
    structures: &[
        ("capacityReservationSpecification", &CAPACITY_RESERVATION),
        ("cpuOptions", &CPU),
        ("creditSpecification", &Shape { texts: "cpuCredits", ..EMPTY }),
        ("enclaveOptions", &ENABLED),
        ("hibernationOptions", &Shape { flags: "configured", ..EMPTY }),
        ("iamInstanceProfile", &Shape { texts: "arn name", ..EMPTY }),
        ("instanceMarketOptions", &MARKET),
        ("instanceRequirements", &REQUIREMENTS),
        ("maintenanceOptions", &Shape { texts: "autoRecovery", ..EMPTY }),
        ("metadataOptions", &METADATA),
        ("monitoring", &ENABLED),
        ("networkPerformanceOptions", &Shape { texts: "bandwidthWeighting", ..EMPTY }),
        ("operator", &Shape { texts: "principal", derived: "hiddenByDefault managed", ..EMPTY }),
        ("placement", &PLACEMENT),
        ("privateDnsNameOptions", &PRIVATE_DNS),
    ],
    lists: &[
        ("blockDeviceMappingSet", "BlockDeviceMappings", Some(&BLOCK_DEVICE)),
        ("elasticGpuSpecificationSet", "ElasticGpuSpecifications", Some(&Shape { texts: "type", ..EMPTY })),
        ("elasticInferenceAcceleratorSet", "ElasticInferenceAccelerators", Some(&ACCELERATOR)),
        ("licenseSet", "LicenseSpecifications", Some(&Shape { texts: "licenseConfigurationArn", ..EMPTY })),
        ("networkInterfaceSet", "NetworkInterfaces", Some(&NETWORK_INTERFACE)),
        ("secondaryInterfaceSet", "SecondaryInterfaces", Some(&SECONDARY_INTERFACE)),
        ("securityGroupIdSet", "SecurityGroupIds", None),
        ("securityGroupSet", "SecurityGroups", None),
        ("tagSpecificationSet", "TagSpecifications", Some(&TAG_SPECIFICATION)),
    ],
    ..EMPTY
};

const ENABLED: Shape = Shape { flags: "enabled", ..EMPTY };

const CAPACITY_RESERVATION: Shape = Shape {
    texts: "capacityReservationPreference",
    structures: &[(
        "capacityReservationTarget",
        &Shape { texts: "capacityReservationId capacityReservationResourceGroupArn", ..EMPTY },
    )],
    ..EMPTY
};

const CPU: Shape =
    Shape { texts: "amdSevSnp nestedVirtualization", numbers: "coreCount threadsPerCore", ..EMPTY };

const MARKET: Shape = Shape {
    texts: "marketType",
    structures: &[(
        "spotOptions",
        &Shape {
            texts: "instanceInterruptionBehavior maxPrice spotInstanceType validUntil",
            numbers: "blockDurationMinutes",
            ..EMPTY
        },
    )],
    ..EMPTY
};

const METADATA: Shape = Shape {
    texts: "httpEndpoint httpProtocolIpv6 httpTokens instanceMetadataTags",
    numbers: "httpPutResponseHopLimit",
    derived: "state",
    ..EMPTY
};

const PLACEMENT: Shape = Shape {
    texts: "affinity availabilityZone availabilityZoneId groupId groupName hostId hostResourceGroupArn spreadDomain \
            tenancy",
    numbers: "partitionNumber",
    ..EMPTY
};

const PRIVATE_DNS: Shape = Shape {
    texts: "hostnameType",
    flags: "enableResourceNameDnsAAAARecord enableResourceNameDnsARecord",
    ..EMPTY
};

const BLOCK_DEVICE: Shape =
    Shape { texts: "deviceName noDevice virtualName", structures: &[("ebs", &EBS)], ..EMPTY };

const EBS: Shape = Shape {
    texts: "kmsKeyId snapshotId volumeType",
    flags: "deleteOnTermination encrypted",
    numbers: "ebsCardIndex iops throughput volumeInitializationRate volumeSize",
    ..EMPTY
};

const ACCELERATOR: Shape = Shape { texts: "type", numbers: "count", ..EMPTY };

const NETWORK_INTERFACE: Shape = Shape {
    texts: "description interfaceType networkInterfaceId privateIpAddress subnetId",
    flags: "associateCarrierIpAddress associatePublicIpAddress deleteOnTermination primaryIpv6",
    numbers: "deviceIndex enaQueueCount ipv4PrefixCount ipv6AddressCount ipv6PrefixCount networkCardIndex \
              secondaryPrivateIpAddressCount",
    structures: &[
        (
            "connectionTrackingSpecification",
            &Shape { numbers: "tcpEstablishedTimeout udpStreamTimeout udpTimeout", ..EMPTY },
        ),
        (
            "enaSrdSpecification",
            &Shape {
                flags: "enaSrdEnabled",
                structures: &[("enaSrdUdpSpecification", &Shape { flags: "enaSrdUdpEnabled", ..EMPTY })],
                ..EMPTY
            },
        ),
    ],
    lists: &[
        ("groupSet", "Groups", None),
        ("ipv4PrefixSet", "Ipv4Prefixes", Some(&Shape { texts: "ipv4Prefix", ..EMPTY })),
        ("ipv6AddressesSet", "Ipv6Addresses", Some(&IPV6_ADDRESS)),
        ("ipv6PrefixSet", "Ipv6Prefixes", Some(&Shape { texts: "ipv6Prefix", ..EMPTY })),
        (
            "privateIpAddressesSet",
            "PrivateIpAddresses",
            Some(&Shape { texts: "privateIpAddress", flags: "primary", ..EMPTY }),
        ),
    ],
    ..EMPTY
};

/// The interface's `primaryIpv6` marks the primary address.
const IPV6_ADDRESS: Shape = Shape { texts: "ipv6Address", derived: "isPrimaryIpv6", ..EMPTY };

const SECONDARY_INTERFACE: Shape = Shape {
    texts: "interfaceType secondarySubnetId",
    flags: "deleteOnTermination",
    numbers: "deviceIndex networkCardIndex privateIpAddressCount",
    lists: &[(
        "privateIpAddressesSet",
        "PrivateIpAddresses",
        Some(&Shape { texts: "privateIpAddress", ..EMPTY }),
    )],
    ..EMPTY
};

const TAG_SPECIFICATION: Shape = Shape {
    texts: "resourceType",
    lists: &[("tagSet", "Tags", Some(&Shape { texts: "key value", ..EMPTY }))],
    ..EMPTY
};

const REQUIREMENTS: Shape = Shape {
    texts: "bareMetal burstablePerformance localStorage",
    flags: "requireEncryptionInTransit requireHibernateSupport",
    numbers: "maxSpotPriceAsPercentageOfOptimalOnDemandPrice onDemandMaxPricePercentageOverLowestPrice \
              spotMaxPricePercentageOverLowestPrice",
    structures: &[
        ("acceleratorCount", &RANGE),
        ("acceleratorTotalMemoryMiB", &RANGE),
        ("baselineEbsBandwidthMbps", &RANGE),
        ("baselinePerformanceFactors", &Shape { structures: &[("cpu", &CPU_FACTOR)], ..EMPTY }),
        ("memoryGiBPerVCpu", &RANGE),
        ("memoryMiB", &RANGE),
        ("networkBandwidthGbps", &RANGE),
        ("networkInterfaceCount", &RANGE),
        ("totalLocalStorageGB", &RANGE),
        ("vCpuCount", &RANGE),
    ],
    lists: &[
        ("acceleratorManufacturerSet", "AcceleratorManufacturers", None),
        ("acceleratorNameSet", "AcceleratorNames", None),
        ("acceleratorTypeSet", "AcceleratorTypes", None),
        ("allowedInstanceTypeSet", "AllowedInstanceTypes", None),
        ("cpuManufacturerSet", "CpuManufacturers", None),
        ("excludedInstanceTypeSet", "ExcludedInstanceTypes", None),
        ("instanceGenerationSet", "InstanceGenerations", None),
        ("localStorageTypeSet", "LocalStorageTypes", None),
    ],
    ..EMPTY
};

const RANGE: Shape = Shape { numbers: "max min", ..EMPTY };

const CPU_FACTOR: Shape = Shape {
    lists: &[("referenceSet", "References", Some(&Shape { texts: "instanceFamily", ..EMPTY }))],
    ..EMPTY
};
