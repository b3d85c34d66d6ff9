//! A copy says everything that its original says. Whatever a new SDK adds to the original or to the copy makes
//! this test fail until it is copied, too. And the token of the request for it depends on everything that it says.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(deprecated, reason = "old templates may say what EC2 takes no more")]

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::*;
use expect_test::expect;
use lambda_kit::Invocation;
use lifecycle_lab::Lab;
use lt_ami_refresher::NAME;
use lt_ami_refresher::copy::copy;
use lt_ami_refresher::plan::Wanted;
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
    let wanted = Wanted { data: data.clone(), request: data, source: Some(3), description };
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
