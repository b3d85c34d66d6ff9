//! A copy says everything that its original says. Whatever a new SDK adds to the original or to the copy makes
//! this test fail until it is copied, too. And the token of the request for it depends on everything that it says.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(deprecated, reason = "old templates may say what EC2 takes no more")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::*;
use expect_test::expect;
use lambda_kit::Invocation;
use lifecycle_lab::Lab;
use lt_ami_refresher::NAME;
use lt_ami_refresher::copy::copy;
use lt_ami_refresher::plan::Wanted;
use lt_ami_refresher::settings::{self, Settings};
use lt_ami_refresher::template::{Templates, token};

/// A version that says everything, and of every list one thing.
fn everything() -> ResponseLaunchTemplateData {
    ResponseLaunchTemplateData::builder()
        .kernel_id("aki-1")
        .ebs_optimized(true)
        .iam_instance_profile(
            LaunchTemplateIamInstanceProfileSpecification::builder().arn("arn").name("profile").build(),
        )
        .block_device_mappings(
            LaunchTemplateBlockDeviceMapping::builder()
                .device_name("/dev/xvdb")
                .virtual_name("ephemeral0")
                .no_device("")
                .ebs(
                    LaunchTemplateEbsBlockDevice::builder()
                        .encrypted(true)
                        .delete_on_termination(false)
                        .iops(3_000)
                        .kms_key_id("key")
                        .snapshot_id("snap-1")
                        .volume_size(8)
                        .volume_type(VolumeType::Gp3)
                        .throughput(125)
                        .volume_initialization_rate(100)
                        .ebs_card_index(0)
                        .build(),
                )
                .build(),
        )
        .network_interfaces(interface())
        .image_id("ami-1")
        .instance_type(InstanceType::M5Large)
        .key_name("key")
        .monitoring(LaunchTemplatesMonitoring::builder().enabled(true).build())
        .placement(
            LaunchTemplatePlacement::builder()
                .availability_zone("us-east-1a")
                .availability_zone_id("use1-az1")
                .affinity("default")
                .group_name("group")
                .host_id("h-1")
                .tenancy(Tenancy::Host)
                .spread_domain("domain")
                .host_resource_group_arn("arn")
                .partition_number(1)
                .group_id("pg-1")
                .build(),
        )
        .ram_disk_id("ari-1")
        .disable_api_termination(true)
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Stop)
        .user_data("IyEvYmluL3No")
        .tag_specifications(
            LaunchTemplateTagSpecification::builder()
                .resource_type(ResourceType::Instance)
                .tags(Tag::builder().key("a").value("b").build())
                .build(),
        )
        .elastic_gpu_specifications(ElasticGpuSpecificationResponse::builder().r#type("eg1.medium").build())
        .elastic_inference_accelerators(
            LaunchTemplateElasticInferenceAcceleratorResponse::builder()
                .r#type("eia1.medium")
                .count(1)
                .build(),
        )
        .security_group_ids("sg-1")
        .security_groups("web")
        .instance_market_options(
            LaunchTemplateInstanceMarketOptions::builder()
                .market_type(MarketType::Spot)
                .spot_options(
                    LaunchTemplateSpotMarketOptions::builder()
                        .max_price("0.1")
                        .spot_instance_type(SpotInstanceType::Persistent)
                        .block_duration_minutes(60)
                        .valid_until(DateTime::from_secs(1))
                        .instance_interruption_behavior(InstanceInterruptionBehavior::Stop)
                        .build(),
                )
                .build(),
        )
        .credit_specification(CreditSpecification::builder().cpu_credits("unlimited").build())
        .cpu_options(
            LaunchTemplateCpuOptions::builder()
                .core_count(2)
                .threads_per_core(1)
                .amd_sev_snp(AmdSevSnpSpecification::Disabled)
                .nested_virtualization(NestedVirtualizationSpecification::Disabled)
                .build(),
        )
        .capacity_reservation_specification(
            LaunchTemplateCapacityReservationSpecificationResponse::builder()
                .capacity_reservation_preference(CapacityReservationPreference::Open)
                .capacity_reservation_target(
                    CapacityReservationTargetResponse::builder()
                        .capacity_reservation_id("cr-1")
                        .capacity_reservation_resource_group_arn("arn")
                        .build(),
                )
                .build(),
        )
        .license_specifications(
            LaunchTemplateLicenseConfiguration::builder().license_configuration_arn("arn").build(),
        )
        .hibernation_options(LaunchTemplateHibernationOptions::builder().configured(true).build())
        .metadata_options(
            LaunchTemplateInstanceMetadataOptions::builder()
                .state(LaunchTemplateInstanceMetadataOptionsState::Applied)
                .http_tokens(LaunchTemplateHttpTokensState::Required)
                .http_put_response_hop_limit(2)
                .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
                .http_protocol_ipv6(LaunchTemplateInstanceMetadataProtocolIpv6::Disabled)
                .instance_metadata_tags(LaunchTemplateInstanceMetadataTagsState::Enabled)
                .build(),
        )
        .enclave_options(LaunchTemplateEnclaveOptions::builder().enabled(false).build())
        .instance_requirements(requirements())
        .private_dns_name_options(
            LaunchTemplatePrivateDnsNameOptions::builder()
                .hostname_type(HostnameType::IpName)
                .enable_resource_name_dns_a_record(true)
                .enable_resource_name_dns_aaaa_record(false)
                .build(),
        )
        .maintenance_options(
            LaunchTemplateInstanceMaintenanceOptions::builder()
                .auto_recovery(LaunchTemplateAutoRecoveryState::Default)
                .build(),
        )
        .disable_api_stop(false)
        .operator(OperatorResponse::builder().managed(true).principal("service").build())
        .network_performance_options(
            LaunchTemplateNetworkPerformanceOptions::builder()
                .bandwidth_weighting(InstanceBandwidthWeighting::Default)
                .build(),
        )
        .secondary_interfaces(
            LaunchTemplateInstanceSecondaryInterfaceSpecification::builder()
                .delete_on_termination(true)
                .device_index(1)
                .private_ip_addresses(
                    SecondaryInterfacePrivateIpAddressSpecification::builder()
                        .private_ip_address("10.0.0.4")
                        .build(),
                )
                .private_ip_address_count(1)
                .secondary_subnet_id("subnet-2")
                .interface_type(SecondaryInterfaceType::Secondary)
                .network_card_index(1)
                .build(),
        )
        .build()
}

fn interface() -> LaunchTemplateInstanceNetworkInterfaceSpecification {
    LaunchTemplateInstanceNetworkInterfaceSpecification::builder()
        .associate_carrier_ip_address(false)
        .associate_public_ip_address(true)
        .delete_on_termination(true)
        .description("primary")
        .device_index(0)
        .groups("sg-1")
        .interface_type("interface")
        .ipv6_address_count(1)
        .ipv6_addresses(InstanceIpv6Address::builder().ipv6_address("::1").is_primary_ipv6(true).build())
        .network_interface_id("eni-1")
        .private_ip_address("10.0.0.1")
        .private_ip_addresses(
            PrivateIpAddressSpecification::builder().primary(true).private_ip_address("10.0.0.1").build(),
        )
        .secondary_private_ip_address_count(1)
        .subnet_id("subnet-1")
        .network_card_index(0)
        .ipv4_prefixes(Ipv4PrefixSpecificationResponse::builder().ipv4_prefix("10.0.0.16/28").build())
        .ipv4_prefix_count(1)
        .ipv6_prefixes(Ipv6PrefixSpecificationResponse::builder().ipv6_prefix("::/80").build())
        .ipv6_prefix_count(1)
        .primary_ipv6(true)
        .ena_srd_specification(
            LaunchTemplateEnaSrdSpecification::builder()
                .ena_srd_enabled(true)
                .ena_srd_udp_specification(
                    LaunchTemplateEnaSrdUdpSpecification::builder().ena_srd_udp_enabled(true).build(),
                )
                .build(),
        )
        .connection_tracking_specification(
            ConnectionTrackingSpecification::builder()
                .tcp_established_timeout(60)
                .udp_stream_timeout(60)
                .udp_timeout(30)
                .build(),
        )
        .ena_queue_count(2)
        .build()
}

fn requirements() -> InstanceRequirements {
    InstanceRequirements::builder()
        .v_cpu_count(VCpuCountRange::builder().min(1).max(2).build())
        .memory_mib(MemoryMiB::builder().min(1).max(2).build())
        .cpu_manufacturers(CpuManufacturer::Amd)
        .memory_gib_per_v_cpu(MemoryGiBPerVCpu::builder().min(1.0).max(2.0).build())
        .excluded_instance_types("t2.*")
        .instance_generations(InstanceGeneration::Current)
        .spot_max_price_percentage_over_lowest_price(50)
        .on_demand_max_price_percentage_over_lowest_price(20)
        .bare_metal(BareMetal::Excluded)
        .burstable_performance(BurstablePerformance::Included)
        .require_hibernate_support(false)
        .network_interface_count(NetworkInterfaceCount::builder().min(1).max(2).build())
        .local_storage(LocalStorage::Included)
        .local_storage_types(LocalStorageType::Ssd)
        .total_local_storage_gb(TotalLocalStorageGb::builder().min(1.0).max(2.0).build())
        .baseline_ebs_bandwidth_mbps(BaselineEbsBandwidthMbps::builder().min(1).max(2).build())
        .accelerator_types(AcceleratorType::Gpu)
        .accelerator_count(AcceleratorCount::builder().min(1).max(2).build())
        .accelerator_manufacturers(AcceleratorManufacturer::Nvidia)
        .accelerator_names(AcceleratorName::T4)
        .accelerator_total_memory_mib(AcceleratorTotalMemoryMiB::builder().min(1).max(2).build())
        .network_bandwidth_gbps(NetworkBandwidthGbps::builder().min(1.0).max(2.0).build())
        .allowed_instance_types("m5.*")
        .max_spot_price_as_percentage_of_optimal_on_demand_price(80)
        .baseline_performance_factors(
            BaselinePerformanceFactors::builder()
                .cpu(
                    CpuPerformanceFactor::builder()
                        .references(PerformanceFactorReference::builder().instance_family("m5").build())
                        .build(),
                )
                .build(),
        )
        .require_encryption_in_transit(true)
        .build()
}

#[test]
fn nothing_is_forgotten() {
    let copied = copy(&everything());
    let missing: Vec<_> =
        format!("{copied:#?}").lines().filter(|line| line.ends_with(": None,")).map(str::to_owned).collect();
    assert_eq!(missing, Vec::<String>::new());
    // The SDK prints it neither here nor there.
    assert_eq!(copied.user_data(), Some("IyEvYmluL3No"));
}

#[test]
fn the_original_says_nothing_that_this_test_does_not_know() {
    let text = format!("{:#?}", everything());
    // Says more than the request can: EC2 fills it in.
    let more: Vec<_> = text.lines().filter(|line| line.ends_with(": None,")).map(str::trim).collect();
    assert_eq!(more, ["hidden_by_default: None,"]);
}

#[test]
fn nothing_is_made_up() {
    let nothing = copy(&ResponseLaunchTemplateData::builder().build());
    assert_eq!(nothing, RequestLaunchTemplateData::builder().build());
}

/// Asks EC2, which refuses it, for a version that says this. Returns the request's token and its other
/// parameters.
async fn request(data: RequestLaunchTemplateData) -> (String, Vec<String>) {
    let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 5);
    lab.faults().deny("CreateLaunchTemplateVersion");
    let description = "AwsBackup_i-1_1 (ami-1); based on version 3".to_owned();
    let settings = Settings::default();
    let wanted = Wanted { data: data.clone(), settings, request: data, source: Some(3), description };
    let templates = Templates::new(Client::new(&lab.sdk_config(NAME)));
    let invocation = Invocation::new(lab.now(), Duration::from_secs(60));
    templates.create("lt-0123456789abcdef0", &wanted, &invocation).await.unwrap_err();
    let mut parameters = lab.calls().remove(0).parameters;
    let at = parameters.iter().position(|line| line.starts_with("ClientToken=")).unwrap();
    (parameters.remove(at)["ClientToken=".len()..].to_owned(), parameters)
}

/// Another version of the SDK or of the function changes no token: what it was made for would be made again.
#[tokio::test(start_paused = true)]
async fn a_request_that_says_everything_keeps_its_token() {
    let (token, parameters) = request(copy(&everything())).await;
    expect!["75192869d40749071075e84bca2c75a44dd5cac9d864d9dfc3fe1333c8db4ba0"].assert_eq(&token);
    expect!["144"].assert_eq(&parameters.len().to_string());
}

#[tokio::test(start_paused = true)]
async fn what_a_request_says_makes_its_token_and_the_order_of_its_parameters_does_not() {
    let data = copy(&everything());
    let (first, mut parameters) = request(data.clone()).await;
    assert_eq!(request(data.clone()).await.0, first);
    // The SDK does not print it.
    let mut other = data;
    other.user_data = Some("IyEvYmluL2Jhc2g=".to_owned());
    assert_ne!(request(other).await.0, first);

    let of = |parameters: &[String]| token(&parameters.join("&"), &[]);
    let whole = of(&parameters);
    for n in 0..parameters.len() {
        let mut changed = parameters.clone();
        changed[n] += "x";
        assert_ne!(of(&changed), whole, "{}", changed[n]);
        let gone = changed.remove(n);
        assert_ne!(of(&changed), whole, "{gone}");
    }
    assert_ne!(token(&parameters.join("&"), &[2]), whole, "another version, after 2 was deleted");
    parameters.reverse();
    parameters.push("ClientToken=of an earlier attempt".to_owned());
    assert_eq!(of(&parameters), whole);
}

#[derive(Debug, Clone, Default)]
struct Raw(Arc<Mutex<String>>);

impl Intercept for Raw {
    fn name(&self) -> &'static str {
        "Raw"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap();
        *self.0.lock().unwrap() = std::str::from_utf8(body).unwrap().to_owned();
        Ok(())
    }
}

/// The lab's answer about a version that says everything, as text, and as the SDK reads it.
async fn answer() -> (String, ResponseLaunchTemplateData) {
    let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 5);
    let ec2 = Client::new(&lab.sdk_config("operator"));
    let create = ec2.create_launch_template().launch_template_name("web");
    create.launch_template_data(copy(&everything())).send().await.unwrap();
    let raw = Raw::default();
    let describe = ec2.describe_launch_template_versions().launch_template_name("web");
    let answer = describe.customize().interceptor(raw.clone()).send().await.unwrap();
    let data = answer.launch_template_versions()[0].launch_template_data().unwrap().clone();
    let raw = raw.0.lock().unwrap().clone();
    (raw, data)
}

fn read(xml: &str) -> Settings {
    settings::read(xml).unwrap().remove(&1).unwrap()
}

/// The places behind the opening tags of the version's data that `inside` chooses by what follows them.
fn places(xml: &str, inside: impl Fn(&str) -> bool) -> Vec<usize> {
    let begin = xml.find("<launchTemplateData>").unwrap();
    let end = xml.find("</launchTemplateData>").unwrap();
    let tags = xml.match_indices('>').map(|(at, _)| at + 1).filter(|at| (begin..end).contains(at));
    let opening = tags.filter(|at| {
        let tag = &xml[xml[..*at].rfind('<').unwrap()..*at];
        !tag.starts_with("</") && !tag.ends_with("/>")
    });
    opening.filter(|at| inside(&xml[*at..])).collect()
}

#[tokio::test(start_paused = true)]
async fn all_that_the_sdk_knows_is_known() {
    let (xml, data) = answer().await;
    // What the lab answers is what the SDK knows.
    let copied = format!("{:#?}", copy(&data));
    assert_eq!(copied.lines().filter(|line| line.ends_with(": None,")).collect::<Vec<_>>(), [] as [&str; 0]);
    let whole = read(&xml);
    assert_eq!(whole.unknown, Default::default());
    assert_eq!(whole.known.len(), 34);

    // Each value counts.
    let values = places(&xml, |rest| !rest.starts_with('<'));
    for at in &values {
        let changed = format!("{}9{}", &xml[..*at], &xml[*at..]);
        assert!(!whole.are(&read(&changed)), "{}", &changed[at - 60..at + 20]);
    }
    expect!["140"].assert_eq(&values.len().to_string());
}

/// The settings of EC2's model, which `scripts/check` compares with botocore.
const MODEL: &str = include_str!("ec2-model.txt");

/// What EC2 fills in itself, and no request has.
const DERIVED: [&str; 4] = [
    "metadataOptions/state",
    "networkInterfaceSet/item/ipv6AddressesSet/item/isPrimaryIpv6",
    "operator/hiddenByDefault",
    "operator/managed",
];

/// An answer with one version of this data.
fn version_of(data: &str) -> String {
    format!(
        "<R><launchTemplateVersionSet><item><versionNumber>1</versionNumber><launchTemplateData>{data}\
         </launchTemplateData></item></launchTemplateVersionSet></R>"
    )
}

/// Data that has the setting of this path alone.
fn data_with(path: &str, value: &str) -> String {
    path.rsplit('/').fold(value.to_owned(), |inside, tag| format!("<{tag}>{inside}</{tag}>"))
}

#[test]
fn every_setting_of_ec2s_model_is_known_and_makes_another_version() {
    let derived: Vec<_> = MODEL.lines().filter(|path| DERIVED.contains(path)).collect();
    assert_eq!((MODEL.lines().count(), derived), (145, DERIVED.to_vec()));
    for path in MODEL.lines() {
        let [one, other] = ["1", "2"].map(|value| read(&version_of(&data_with(path, value))));
        assert_eq!((one.unknown.len(), other.unknown.len()), (0, 0), "{path}");
        assert_eq!(one.are(&other), DERIVED.contains(&path), "{path}");
        // One that is spelled in another way is unknown.
        let newer = read(&version_of(&data_with(&format!("{path}Newer"), "1")));
        assert_eq!(newer.unknown.len(), 1, "{path}: {newer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_the_sdk_does_not_know_is_seen_in_every_structure() {
    let (xml, _) = answer().await;
    let whole = read(&xml);
    let structures = places(&xml, |rest| rest.starts_with('<') && !rest.starts_with("</"));
    let mut paths = Vec::new();
    for at in &structures {
        for new in
            ["<newSetting>x</newSetting>", "<newSetting/>", "<newSetting><item><a>x</a></item></newSetting>"]
        {
            let more = read(&format!("{}{new}{}", &xml[..*at], &xml[*at..]));
            assert!(!whole.are(&more), "{}", &xml[at - 60..*at]);
            assert_eq!(more.unknown.len(), 1, "{:?}", more.unknown);
            assert_eq!(more.known, whole.known);
            let path = more.unknown.keys().next().unwrap();
            assert!(path.ends_with("NewSetting"), "{path}");
            paths.push(path.clone());
            let other = read(&format!("{}{}{}", &xml[..*at], new.replace('x', "y"), &xml[*at..]));
            assert_eq!(more.are(&other), !new.contains('x'), "{path}");
        }
    }
    paths.dedup();
    assert_eq!(paths.len(), structures.len());
    expect![[r#"
        NewSetting
        BlockDeviceMappings.NewSetting
        BlockDeviceMappings[0].NewSetting
        BlockDeviceMappings[0].Ebs.NewSetting
        CapacityReservationSpecification.NewSetting
        CapacityReservationSpecification.CapacityReservationTarget.NewSetting
        CpuOptions.NewSetting
        CreditSpecification.NewSetting
        ElasticGpuSpecifications.NewSetting
        ElasticGpuSpecifications[0].NewSetting
        ElasticInferenceAccelerators.NewSetting
        ElasticInferenceAccelerators[0].NewSetting
        EnclaveOptions.NewSetting
        HibernationOptions.NewSetting
        IamInstanceProfile.NewSetting
        InstanceMarketOptions.NewSetting
        InstanceMarketOptions.SpotOptions.NewSetting
        InstanceRequirements.NewSetting
        InstanceRequirements.AcceleratorCount.NewSetting
        InstanceRequirements.AcceleratorManufacturers.NewSetting
        InstanceRequirements.AcceleratorNames.NewSetting
        InstanceRequirements.AcceleratorTotalMemoryMiB.NewSetting
        InstanceRequirements.AcceleratorTypes.NewSetting
        InstanceRequirements.AllowedInstanceTypes.NewSetting
        InstanceRequirements.BaselineEbsBandwidthMbps.NewSetting
        InstanceRequirements.BaselinePerformanceFactors.NewSetting
        InstanceRequirements.BaselinePerformanceFactors.Cpu.NewSetting
        InstanceRequirements.BaselinePerformanceFactors.Cpu.References.NewSetting
        InstanceRequirements.BaselinePerformanceFactors.Cpu.References[0].NewSetting
        InstanceRequirements.CpuManufacturers.NewSetting
        InstanceRequirements.ExcludedInstanceTypes.NewSetting
        InstanceRequirements.InstanceGenerations.NewSetting
        InstanceRequirements.LocalStorageTypes.NewSetting
        InstanceRequirements.MemoryGiBPerVCpu.NewSetting
        InstanceRequirements.MemoryMiB.NewSetting
        InstanceRequirements.NetworkBandwidthGbps.NewSetting
        InstanceRequirements.NetworkInterfaceCount.NewSetting
        InstanceRequirements.TotalLocalStorageGB.NewSetting
        InstanceRequirements.VCpuCount.NewSetting
        LicenseSpecifications.NewSetting
        LicenseSpecifications[0].NewSetting
        MaintenanceOptions.NewSetting
        MetadataOptions.NewSetting
        Monitoring.NewSetting
        NetworkInterfaces.NewSetting
        NetworkInterfaces[0].NewSetting
        NetworkInterfaces[0].ConnectionTrackingSpecification.NewSetting
        NetworkInterfaces[0].EnaSrdSpecification.NewSetting
        NetworkInterfaces[0].EnaSrdSpecification.EnaSrdUdpSpecification.NewSetting
        NetworkInterfaces[0].Groups.NewSetting
        NetworkInterfaces[0].Ipv4Prefixes.NewSetting
        NetworkInterfaces[0].Ipv4Prefixes[0].NewSetting
        NetworkInterfaces[0].Ipv6Addresses.NewSetting
        NetworkInterfaces[0].Ipv6Addresses[0].NewSetting
        NetworkInterfaces[0].Ipv6Prefixes.NewSetting
        NetworkInterfaces[0].Ipv6Prefixes[0].NewSetting
        NetworkInterfaces[0].PrivateIpAddresses.NewSetting
        NetworkInterfaces[0].PrivateIpAddresses[0].NewSetting
        NetworkPerformanceOptions.NewSetting
        Operator.NewSetting
        Placement.NewSetting
        PrivateDnsNameOptions.NewSetting
        SecondaryInterfaces.NewSetting
        SecondaryInterfaces[0].NewSetting
        SecondaryInterfaces[0].PrivateIpAddresses.NewSetting
        SecondaryInterfaces[0].PrivateIpAddresses[0].NewSetting
        SecurityGroupIds.NewSetting
        SecurityGroups.NewSetting
        TagSpecifications.NewSetting
        TagSpecifications[0].NewSetting
        TagSpecifications[0].Tags.NewSetting
        TagSpecifications[0].Tags[0].NewSetting
    "#]]
    .assert_eq(&(paths.join("\n") + "\n"));
}
