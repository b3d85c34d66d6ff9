//! The data of a launch template version: the parameters of a launch, by their names in requests. As in EC2, only
//! their syntax is checked here; `template_warnings` looks at a little more, and a launch checks the rest.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html>

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{invalid, is_well_formed};
use crate::aws::error::ApiError;

/// The members of a structure by what they hold, under their names in requests; in answers these begin
/// with a small letter.
struct Shape {
    texts: &'static str,
    flags: &'static str,
    numbers: &'static str,
    structures: &'static [(&'static str, &'static Shape)],
    /// Name in requests, name in answers, and what each element is; without a shape, a text.
    lists: &'static [(&'static str, &'static str, Option<&'static Shape>)],
}

const EMPTY: Shape = Shape { texts: "", flags: "", numbers: "", structures: &[], lists: &[] };

const DATA: Shape = Shape {
    texts: "ImageId InstanceInitiatedShutdownBehavior InstanceType KernelId KeyName RamDiskId UserData",
    flags: "DisableApiStop DisableApiTermination EbsOptimized",
    structures: &[
        ("CapacityReservationSpecification", &CAPACITY_RESERVATION),
        ("CpuOptions", &CPU),
        ("CreditSpecification", &Shape { texts: "CpuCredits", ..EMPTY }),
        ("EnclaveOptions", &Shape { flags: "Enabled", ..EMPTY }),
        ("HibernationOptions", &Shape { flags: "Configured", ..EMPTY }),
        ("IamInstanceProfile", &Shape { texts: "Arn Name", ..EMPTY }),
        ("InstanceMarketOptions", &MARKET),
        ("InstanceRequirements", &REQUIREMENTS),
        ("MaintenanceOptions", &Shape { texts: "AutoRecovery", ..EMPTY }),
        ("MetadataOptions", &METADATA),
        ("Monitoring", &Shape { flags: "Enabled", ..EMPTY }),
        ("NetworkPerformanceOptions", &Shape { texts: "BandwidthWeighting", ..EMPTY }),
        ("Operator", &Shape { texts: "Principal", ..EMPTY }),
        ("Placement", &PLACEMENT),
        ("PrivateDnsNameOptions", &PRIVATE_DNS),
    ],
    lists: &[
        ("BlockDeviceMapping", "blockDeviceMappingSet", Some(&BLOCK_DEVICE)),
        ("ElasticGpuSpecification", "elasticGpuSpecificationSet", Some(&Shape { texts: "Type", ..EMPTY })),
        ("ElasticInferenceAccelerator", "elasticInferenceAcceleratorSet", Some(&ACCELERATOR)),
        ("LicenseSpecification", "licenseSet", Some(&Shape { texts: "LicenseConfigurationArn", ..EMPTY })),
        ("NetworkInterface", "networkInterfaceSet", Some(&NETWORK_INTERFACE)),
        ("SecondaryInterface", "secondaryInterfaceSet", Some(&SECONDARY_INTERFACE)),
        ("SecurityGroup", "securityGroupSet", None),
        ("SecurityGroupId", "securityGroupIdSet", None),
        ("TagSpecification", "tagSpecificationSet", Some(&TAG_SPECIFICATION)),
    ],
    ..EMPTY
};

const CAPACITY_RESERVATION: Shape = Shape {
    texts: "CapacityReservationPreference",
    structures: &[(
        "CapacityReservationTarget",
        &Shape { texts: "CapacityReservationId CapacityReservationResourceGroupArn", ..EMPTY },
    )],
    ..EMPTY
};

const CPU: Shape =
    Shape { texts: "AmdSevSnp NestedVirtualization", numbers: "CoreCount ThreadsPerCore", ..EMPTY };

const MARKET: Shape = Shape { texts: "MarketType", structures: &[("SpotOptions", &SPOT)], ..EMPTY };

const SPOT: Shape = Shape {
    texts: "InstanceInterruptionBehavior MaxPrice SpotInstanceType ValidUntil",
    numbers: "BlockDurationMinutes",
    ..EMPTY
};

const METADATA: Shape = Shape {
    texts: "HttpEndpoint HttpProtocolIpv6 HttpTokens InstanceMetadataTags",
    numbers: "HttpPutResponseHopLimit",
    ..EMPTY
};

const PLACEMENT: Shape = Shape {
    texts: "Affinity AvailabilityZone AvailabilityZoneId GroupId GroupName HostId HostResourceGroupArn SpreadDomain \
            Tenancy",
    numbers: "PartitionNumber",
    ..EMPTY
};

const PRIVATE_DNS: Shape = Shape {
    texts: "HostnameType",
    flags: "EnableResourceNameDnsAAAARecord EnableResourceNameDnsARecord",
    ..EMPTY
};

const BLOCK_DEVICE: Shape =
    Shape { texts: "DeviceName NoDevice VirtualName", structures: &[("Ebs", &EBS)], ..EMPTY };

const EBS: Shape = Shape {
    texts: "KmsKeyId SnapshotId VolumeType",
    flags: "DeleteOnTermination Encrypted",
    numbers: "EbsCardIndex Iops Throughput VolumeInitializationRate VolumeSize",
    ..EMPTY
};

const ACCELERATOR: Shape = Shape { texts: "Type", numbers: "Count", ..EMPTY };

const NETWORK_INTERFACE: Shape = Shape {
    texts: "Description InterfaceType NetworkInterfaceId PrivateIpAddress SubnetId",
    flags: "AssociateCarrierIpAddress AssociatePublicIpAddress DeleteOnTermination PrimaryIpv6",
    numbers: "DeviceIndex EnaQueueCount Ipv4PrefixCount Ipv6AddressCount Ipv6PrefixCount NetworkCardIndex \
              SecondaryPrivateIpAddressCount",
    structures: &[
        ("ConnectionTrackingSpecification", &CONNECTION_TRACKING),
        ("EnaSrdSpecification", &ENA_SRD),
    ],
    lists: &[
        ("Ipv4Prefix", "ipv4PrefixSet", Some(&Shape { texts: "Ipv4Prefix", ..EMPTY })),
        ("Ipv6Addresses", "ipv6AddressesSet", Some(&Shape { texts: "Ipv6Address", ..EMPTY })),
        ("Ipv6Prefix", "ipv6PrefixSet", Some(&Shape { texts: "Ipv6Prefix", ..EMPTY })),
        ("PrivateIpAddresses", "privateIpAddressesSet", Some(&PRIVATE_IP)),
        ("SecurityGroupId", "groupSet/groupId", None),
    ],
};

const CONNECTION_TRACKING: Shape =
    Shape { numbers: "TcpEstablishedTimeout UdpStreamTimeout UdpTimeout", ..EMPTY };

const ENA_SRD: Shape = Shape {
    flags: "EnaSrdEnabled",
    structures: &[("EnaSrdUdpSpecification", &Shape { flags: "EnaSrdUdpEnabled", ..EMPTY })],
    ..EMPTY
};

const PRIVATE_IP: Shape = Shape { texts: "PrivateIpAddress", flags: "Primary", ..EMPTY };

const SECONDARY_INTERFACE: Shape = Shape {
    texts: "InterfaceType SecondarySubnetId",
    flags: "DeleteOnTermination",
    numbers: "DeviceIndex NetworkCardIndex PrivateIpAddressCount",
    lists: &[(
        "PrivateIpAddress",
        "privateIpAddressesSet",
        Some(&Shape { texts: "PrivateIpAddress", ..EMPTY }),
    )],
    ..EMPTY
};

const TAG_SPECIFICATION: Shape = Shape {
    texts: "ResourceType",
    lists: &[("Tag", "tagSet", Some(&Shape { texts: "Key Value", ..EMPTY }))],
    ..EMPTY
};

const REQUIREMENTS: Shape = Shape {
    texts: "BareMetal BurstablePerformance LocalStorage",
    flags: "RequireEncryptionInTransit RequireHibernateSupport",
    numbers: "MaxSpotPriceAsPercentageOfOptimalOnDemandPrice OnDemandMaxPricePercentageOverLowestPrice \
              SpotMaxPricePercentageOverLowestPrice",
    structures: &[
        ("AcceleratorCount", &RANGE),
        ("AcceleratorTotalMemoryMiB", &RANGE),
        ("BaselineEbsBandwidthMbps", &RANGE),
        ("BaselinePerformanceFactors", &Shape { structures: &[("Cpu", &CPU_FACTOR)], ..EMPTY }),
        ("MemoryGiBPerVCpu", &RANGE),
        ("MemoryMiB", &RANGE),
        ("NetworkBandwidthGbps", &RANGE),
        ("NetworkInterfaceCount", &RANGE),
        ("TotalLocalStorageGB", &RANGE),
        ("VCpuCount", &RANGE),
    ],
    lists: &[
        ("AcceleratorManufacturer", "acceleratorManufacturerSet", None),
        ("AcceleratorName", "acceleratorNameSet", None),
        ("AcceleratorType", "acceleratorTypeSet", None),
        ("AllowedInstanceType", "allowedInstanceTypeSet", None),
        ("CpuManufacturer", "cpuManufacturerSet", None),
        ("ExcludedInstanceType", "excludedInstanceTypeSet", None),
        ("InstanceGeneration", "instanceGenerationSet", None),
        ("LocalStorageType", "localStorageTypeSet", None),
    ],
};

const RANGE: Shape = Shape { numbers: "Max Min", ..EMPTY };

const CPU_FACTOR: Shape = Shape {
    lists: &[("Reference", "referenceSet", Some(&Shape { texts: "InstanceFamily", ..EMPTY }))],
    ..EMPTY
};

/// What one member holds.
enum Kind {
    Text,
    Flag,
    Number,
    Structure(&'static Shape),
    List(&'static str, Option<&'static Shape>),
}

impl Shape {
    fn kind(&self, name: &str) -> Option<Kind> {
        let among = |names: &str| names.split_whitespace().any(|one| one == name);
        let structure = || self.structures.iter().find(|(one, _)| *one == name);
        let list = || self.lists.iter().find(|(one, _, _)| *one == name);
        match () {
            () if among(self.texts) => Some(Kind::Text),
            () if among(self.flags) => Some(Kind::Flag),
            () if among(self.numbers) => Some(Kind::Number),
            () => structure()
                .map(|(_, shape)| Kind::Structure(shape))
                .or_else(|| list().map(|(_, answer, shape)| Kind::List(answer, *shape))),
        }
    }
}

/// Refuses parameters that are none, and values that can't be read.
pub(super) fn check(data: &Value, newer: &BTreeSet<String>) -> Result<(), ApiError> {
    check_structure("LaunchTemplateData", &DATA, data, newer)?;
    if let Some(id) = data["ImageId"].as_str().filter(|id| !id.starts_with("resolve:ssm:"))
        && !is_well_formed("ami", id)
    {
        let text = format!(
            "The image ID '{id}' is not valid. The expected format is ami-xxxxxxxx or ami-xxxxxxxxxxxxxxxxx."
        );
        return Err(ApiError::new("InvalidAMIID.Malformed", text));
    }
    if data["UserData"].as_str().is_some_and(|text| !is_base64(text)) {
        let text = "Invalid BASE64 encoding of user data.";
        return Err(ApiError::new("InvalidUserData.Malformed", text));
    }
    let hops = data["MetadataOptions"]["HttpPutResponseHopLimit"].as_str();
    if let Some(hops) = hops.filter(|hops| !hops.parse().is_ok_and(|hops| (1..=64).contains(&hops))) {
        return Err(invalid(format!(
            "A value of ‘{hops}’ is not valid for http-put-response-hop-limit. Specify a value between 1 and 64, and try \
             again."
        )));
    }
    Ok(())
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

fn check_structure(
    path: &str,
    shape: &Shape,
    value: &Value,
    newer: &BTreeSet<String>,
) -> Result<(), ApiError> {
    let wrong = |path: &str| invalid(format!("The value of the parameter {path} is invalid."));
    let Value::Object(members) = value else {
        return Err(wrong(path));
    };
    for (name, value) in members {
        let path = format!("{path}.{name}");
        let text = value.as_str();
        let right = match shape.kind(name) {
            None if newer.contains(name) => true,
            None => return Err(ApiError::not_modelled(format!("the parameter {path}"))),
            Some(Kind::Text) => text.is_some(),
            Some(Kind::Flag) => text.is_some_and(|text| matches!(text, "true" | "false")),
            Some(Kind::Number) => text.is_some_and(|text| text.parse::<f64>().is_ok()),
            Some(Kind::Structure(shape)) => {
                check_structure(&path, shape, value, newer)?;
                true
            }
            Some(Kind::List(_, shape)) => match (value, shape) {
                (Value::Array(items), None) => items.iter().all(Value::is_string),
                (Value::Array(items), Some(shape)) => {
                    items.iter().try_for_each(|item| check_structure(&path, shape, item, newer))?;
                    true
                }
                _ => false,
            },
        };
        if !right {
            return Err(wrong(&path));
        }
    }
    Ok(())
}

/// The parameters as answers show them.
pub(super) fn answer(data: &Value) -> Value {
    structure_answer(&DATA, data)
}

fn structure_answer(shape: &Shape, value: &Value) -> Value {
    let members = value.as_object().into_iter().flatten();
    let shown = members.filter_map(|(name, value)| {
        let (first, rest) = name.split_at_checked(1)?;
        let small = format!("{}{rest}", first.to_ascii_lowercase());
        // A setting that is newer than the SDK has no shape here.
        let Some(kind) = shape.kind(name) else {
            return Some((small, value.clone()));
        };
        Some(match kind {
            Kind::Text | Kind::Flag | Kind::Number => (small, value.clone()),
            Kind::Structure(shape) => (small, structure_answer(shape, value)),
            Kind::List(answer, None) => (answer.to_owned(), value.clone()),
            Kind::List(answer, Some(shape)) => {
                let items = value.as_array().into_iter().flatten();
                (answer.to_owned(), items.map(|item| structure_answer(shape, item)).collect())
            }
        })
    });
    Value::Object(shown.collect::<Map<_, _>>())
}

/// The parameters of a version that is based on another one: each that is given takes the place of the
/// source's, as a whole. Snapshots in the source's block devices are not taken over.
pub(super) fn based_on(source: &Value, given: Value) -> Value {
    let mut data = source.clone();
    for mapping in data["BlockDeviceMapping"].as_array_mut().into_iter().flatten() {
        if let Some(ebs) = mapping.get_mut("Ebs").and_then(Value::as_object_mut) {
            ebs.remove("SnapshotId");
        }
    }
    if let (Value::Object(data), Value::Object(given)) = (&mut data, given) {
        data.extend(given);
        data.retain(|_, value| !value.is_null());
    }
    data
}
