//! Copies a version's settings from EC2's description into the request that creates the same settings. A version that
//! is based on another one inherits all of its settings, so a setting that must not be inherited requires a full
//! copy. A test checks that no field that the SDK knows is forgotten.

use aws_sdk_ec2::types::*;

/// Makes a value of another type from the fields of this one: `same` fields are moved, others are converted by a
/// function, and of lists `each` item is converted. The SDK's types can't be built or destructured in one expression.
macro_rules! copy {
    ($from:expr => $To:ident {
        $(same: $($same:ident)*;)?
        $(one: $($one:ident($copy_one:expr))*;)?
        $(each: $($each:ident($copy_each:expr))*;)?
    }) => {{
        let from = $from;
        let mut to = $To::builder().build();
        $($(to.$same = from.$same.clone();)*)?
        $($(to.$one = from.$one.as_ref().map($copy_one);)*)?
        $($(to.$each = from.$each.as_ref().map(|items| items.iter().map($copy_each).collect());)*)?
        to
    }};
}

/// The request that creates a version with these settings.
#[expect(
    deprecated,
    reason = "EC2 takes no more of two kinds of accelerators, but old templates may name them"
)]
pub fn copy(data: &ResponseLaunchTemplateData) -> RequestLaunchTemplateData {
    copy!(data => RequestLaunchTemplateData {
        same: kernel_id ebs_optimized image_id instance_type key_name ram_disk_id disable_api_termination
            instance_initiated_shutdown_behavior user_data security_group_ids security_groups disable_api_stop;
        one: iam_instance_profile(profile) monitoring(monitoring) placement(placement)
            instance_market_options(market) credit_specification(credit) cpu_options(cpu)
            capacity_reservation_specification(reservation) hibernation_options(hibernation)
            metadata_options(metadata) enclave_options(enclave) instance_requirements(requirements)
            private_dns_name_options(private_dns) maintenance_options(maintenance) operator(operator)
            network_performance_options(performance);
        each: block_device_mappings(device) network_interfaces(interface) tag_specifications(tags)
            elastic_gpu_specifications(gpu) elastic_inference_accelerators(accelerator)
            license_specifications(license) secondary_interfaces(secondary_interface);
    })
}

/// Functions that copy all fields of one type to another.
macro_rules! copiers {
    ($($name:ident: $From:ident => $To:ident $fields:tt)*) => {
        $(fn $name(from: &$From) -> $To {
            copy!(from => $To $fields)
        })*
    };
}

copiers! {
    profile: LaunchTemplateIamInstanceProfileSpecification => LaunchTemplateIamInstanceProfileSpecificationRequest {
        same: arn name;
    }
    monitoring: LaunchTemplatesMonitoring => LaunchTemplatesMonitoringRequest { same: enabled; }
    placement: LaunchTemplatePlacement => LaunchTemplatePlacementRequest {
        same: availability_zone availability_zone_id affinity group_name host_id tenancy spread_domain
            host_resource_group_arn partition_number group_id;
    }
    market: LaunchTemplateInstanceMarketOptions => LaunchTemplateInstanceMarketOptionsRequest {
        same: market_type;
        one: spot_options(spot);
    }
    spot: LaunchTemplateSpotMarketOptions => LaunchTemplateSpotMarketOptionsRequest {
        same: max_price spot_instance_type block_duration_minutes valid_until instance_interruption_behavior;
    }
    credit: CreditSpecification => CreditSpecificationRequest { same: cpu_credits; }
    cpu: LaunchTemplateCpuOptions => LaunchTemplateCpuOptionsRequest {
        same: core_count threads_per_core amd_sev_snp nested_virtualization;
    }
    reservation: LaunchTemplateCapacityReservationSpecificationResponse
        => LaunchTemplateCapacityReservationSpecificationRequest {
        same: capacity_reservation_preference;
        one: capacity_reservation_target(reservation_target);
    }
    reservation_target: CapacityReservationTargetResponse => CapacityReservationTarget {
        same: capacity_reservation_id capacity_reservation_resource_group_arn;
    }
    hibernation: LaunchTemplateHibernationOptions => LaunchTemplateHibernationOptionsRequest { same: configured; }
    // The `state` belongs to EC2, not to the template.
    metadata: LaunchTemplateInstanceMetadataOptions => LaunchTemplateInstanceMetadataOptionsRequest {
        same: http_tokens http_put_response_hop_limit http_endpoint http_protocol_ipv6 instance_metadata_tags;
    }
    enclave: LaunchTemplateEnclaveOptions => LaunchTemplateEnclaveOptionsRequest { same: enabled; }
    private_dns: LaunchTemplatePrivateDnsNameOptions => LaunchTemplatePrivateDnsNameOptionsRequest {
        same: hostname_type enable_resource_name_dns_a_record enable_resource_name_dns_aaaa_record;
    }
    maintenance: LaunchTemplateInstanceMaintenanceOptions => LaunchTemplateInstanceMaintenanceOptionsRequest {
        same: auto_recovery;
    }
    // EC2 derives the other fields from the principal.
    operator: OperatorResponse => OperatorRequest { same: principal; }
    performance: LaunchTemplateNetworkPerformanceOptions => LaunchTemplateNetworkPerformanceOptionsRequest {
        same: bandwidth_weighting;
    }
    device: LaunchTemplateBlockDeviceMapping => LaunchTemplateBlockDeviceMappingRequest {
        same: device_name virtual_name no_device;
        one: ebs(ebs);
    }
    ebs: LaunchTemplateEbsBlockDevice => LaunchTemplateEbsBlockDeviceRequest {
        same: encrypted delete_on_termination iops kms_key_id snapshot_id volume_size volume_type throughput
            volume_initialization_rate ebs_card_index;
    }
    interface: LaunchTemplateInstanceNetworkInterfaceSpecification
        => LaunchTemplateInstanceNetworkInterfaceSpecificationRequest {
        same: associate_carrier_ip_address associate_public_ip_address delete_on_termination description
            device_index groups interface_type ipv6_address_count network_interface_id private_ip_address
            private_ip_addresses secondary_private_ip_address_count subnet_id network_card_index
            ipv4_prefix_count ipv6_prefix_count primary_ipv6 ena_queue_count;
        one: ena_srd_specification(ena_srd) connection_tracking_specification(connection_tracking);
        each: ipv6_addresses(ipv6_address) ipv4_prefixes(ipv4_prefix) ipv6_prefixes(ipv6_prefix);
    }
    // The interface's `primary_ipv6` marks the primary address.
    ipv6_address: InstanceIpv6Address => InstanceIpv6AddressRequest { same: ipv6_address; }
    ipv4_prefix: Ipv4PrefixSpecificationResponse => Ipv4PrefixSpecificationRequest { same: ipv4_prefix; }
    ipv6_prefix: Ipv6PrefixSpecificationResponse => Ipv6PrefixSpecificationRequest { same: ipv6_prefix; }
    ena_srd: LaunchTemplateEnaSrdSpecification => EnaSrdSpecificationRequest {
        same: ena_srd_enabled;
        one: ena_srd_udp_specification(ena_srd_udp);
    }
    ena_srd_udp: LaunchTemplateEnaSrdUdpSpecification => EnaSrdUdpSpecificationRequest { same: ena_srd_udp_enabled; }
    connection_tracking: ConnectionTrackingSpecification => ConnectionTrackingSpecificationRequest {
        same: tcp_established_timeout udp_stream_timeout udp_timeout;
    }
    tags: LaunchTemplateTagSpecification => LaunchTemplateTagSpecificationRequest { same: resource_type tags; }
    gpu: ElasticGpuSpecificationResponse => ElasticGpuSpecification { same: r#type; }
    accelerator: LaunchTemplateElasticInferenceAcceleratorResponse => LaunchTemplateElasticInferenceAccelerator {
        same: r#type count;
    }
    license: LaunchTemplateLicenseConfiguration => LaunchTemplateLicenseConfigurationRequest {
        same: license_configuration_arn;
    }
    secondary_interface: LaunchTemplateInstanceSecondaryInterfaceSpecification
        => LaunchTemplateInstanceSecondaryInterfaceSpecificationRequest {
        same: delete_on_termination device_index private_ip_address_count secondary_subnet_id interface_type
            network_card_index;
        each: private_ip_addresses(secondary_address);
    }
    secondary_address: SecondaryInterfacePrivateIpAddressSpecification
        => SecondaryInterfacePrivateIpAddressSpecificationRequest {
        same: private_ip_address;
    }
    requirements: InstanceRequirements => InstanceRequirementsRequest {
        same: cpu_manufacturers excluded_instance_types instance_generations
            spot_max_price_percentage_over_lowest_price on_demand_max_price_percentage_over_lowest_price bare_metal
            burstable_performance require_hibernate_support local_storage local_storage_types accelerator_types
            accelerator_manufacturers accelerator_names allowed_instance_types
            max_spot_price_as_percentage_of_optimal_on_demand_price require_encryption_in_transit;
        one: v_cpu_count(v_cpus) memory_mib(memory) memory_gib_per_v_cpu(memory_per_v_cpu)
            network_interface_count(interfaces) total_local_storage_gb(storage) baseline_ebs_bandwidth_mbps(bandwidth)
            accelerator_count(accelerators) accelerator_total_memory_mib(accelerator_memory)
            network_bandwidth_gbps(network_bandwidth) baseline_performance_factors(baseline);
    }
    v_cpus: VCpuCountRange => VCpuCountRangeRequest { same: min max; }
    memory: MemoryMiB => MemoryMiBRequest { same: min max; }
    memory_per_v_cpu: MemoryGiBPerVCpu => MemoryGiBPerVCpuRequest { same: min max; }
    interfaces: NetworkInterfaceCount => NetworkInterfaceCountRequest { same: min max; }
    storage: TotalLocalStorageGb => TotalLocalStorageGbRequest { same: min max; }
    bandwidth: BaselineEbsBandwidthMbps => BaselineEbsBandwidthMbpsRequest { same: min max; }
    accelerators: AcceleratorCount => AcceleratorCountRequest { same: min max; }
    accelerator_memory: AcceleratorTotalMemoryMiB => AcceleratorTotalMemoryMiBRequest { same: min max; }
    network_bandwidth: NetworkBandwidthGbps => NetworkBandwidthGbpsRequest { same: min max; }
    baseline: BaselinePerformanceFactors => BaselinePerformanceFactorsRequest { one: cpu(baseline_cpu); }
    baseline_cpu: CpuPerformanceFactor => CpuPerformanceFactorRequest { each: references(reference); }
    reference: PerformanceFactorReference => PerformanceFactorReferenceRequest { same: instance_family; }
}
