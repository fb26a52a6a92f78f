//! DescribeInstanceTypes.

use awan_model::instance_type::InstanceType;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::{Code, Result, refuse};

const FILTERS: &[&str] = &[
    "auto-recovery-supported",
    "bare-metal",
    "burstable-performance-supported",
    "current-generation",
    "dedicated-hosts-supported",
    "ebs-info.attachment-limit-type",
    "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps",
    "ebs-info.ebs-optimized-info.baseline-iops",
    "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps",
    "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps",
    "ebs-info.ebs-optimized-info.maximum-iops",
    "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps",
    "ebs-info.ebs-optimized-support",
    "ebs-info.encryption-support",
    "ebs-info.maximum-ebs-attachments",
    "ebs-info.nvme-support",
    "free-tier-eligible",
    "hibernation-supported",
    "hypervisor",
    "instance-storage-info.disk.count",
    "instance-storage-info.disk.size-in-gb",
    "instance-storage-info.disk.type",
    "instance-storage-info.encryption-support",
    "instance-storage-info.nvme-support",
    "instance-storage-info.total-size-in-gb",
    "instance-storage-supported",
    "instance-type",
    "memory-info.size-in-mib",
    "network-info.bandwidth-weightings",
    "network-info.efa-info.maximum-efa-interfaces",
    "network-info.efa-supported",
    "network-info.ena-support",
    "network-info.encryption-in-transit-supported",
    "network-info.flexible-ena-queues-support",
    "network-info.ipv4-addresses-per-interface",
    "network-info.ipv6-addresses-per-interface",
    "network-info.ipv6-supported",
    "network-info.maximum-network-cards",
    "network-info.maximum-network-interfaces",
    "network-info.network-performance",
    "nitro-enclaves-support",
    "nitro-tpm-info.supported-versions",
    "nitro-tpm-support",
    "processor-info.supported-architecture",
    "processor-info.supported-features",
    "processor-info.sustained-clock-speed-in-ghz",
    "reboot-migration-support",
    "supported-boot-mode",
    "supported-root-device-type",
    "supported-usage-class",
    "supported-virtualization-type",
    "vcpu-info.default-cores",
    "vcpu-info.default-threads-per-core",
    "vcpu-info.default-vcpus",
    "vcpu-info.valid-cores",
    "vcpu-info.valid-threads-per-core",
];

pub fn describe_instance_types(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstanceTypesRequest,
) -> Result<ec2::DescribeInstanceTypesResult> {
    // Every type is there in every region.
    let ec2::DescribeInstanceTypesRequest {
        dry_run: _,
        instance_types,
        filters,
        max_results,
        next_token,
        include_unsupported_in_region: _,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page = Page::new(
        tx,
        "DescribeInstanceTypes",
        (max_results, next_token.as_deref()),
        (5, 100),
        !instance_types.is_empty(),
    )?;
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for name in &instance_types {
        match tx.public::<InstanceType>(name) {
            Some(kind) => found.push(kind),
            None => unknown.push(name.chars().take(64).collect::<String>().escape_debug().to_string()),
        }
    }
    if !unknown.is_empty() {
        let message = format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
        return Err(refuse(Code::InvalidInstanceType, message));
    }
    if instance_types.is_empty() {
        found = tx.all_public::<InstanceType>();
    }
    found.retain(|kind| filters.match_all(|name| value(kind, name)));
    let (found, next_token) = page.cut(found, |kind| kind.id.clone());
    Ok(ec2::DescribeInstanceTypesResult { instance_types: found.iter().map(|kind| shown(kind)).collect(), next_token })
}

fn clock(kind: &InstanceType) -> f64 {
    f64::from(kind.clock_mhz) / 1000.0
}

fn cores(kind: &InstanceType) -> u32 {
    kind.vcpus / kind.threads_per_core.max(1)
}

fn value(kind: &InstanceType, name: &str) -> Vec<String> {
    let value = match name {
        "instance-type" => kind.id.clone(),
        "auto-recovery-supported" | "current-generation" | "network-info.ipv6-supported" => "true".into(),
        "bare-metal"
        | "dedicated-hosts-supported"
        | "hibernation-supported"
        | "network-info.efa-supported"
        | "network-info.encryption-in-transit-supported" => "false".into(),
        "ebs-info.ebs-optimized-support" => "default".into(),
        "ebs-info.encryption-support" | "ebs-info.nvme-support" | "nitro-enclaves-support" | "nitro-tpm-support" => {
            "unsupported".into()
        }
        "burstable-performance-supported" => kind.burstable.to_string(),
        "free-tier-eligible" => kind.free_tier.to_string(),
        "hypervisor" => "nitro".into(),
        "instance-storage-supported" => (kind.local_disk_gib > 0).to_string(),
        "memory-info.size-in-mib" => kind.memory_mib.to_string(),
        "network-info.ena-support" => "supported".into(),
        "network-info.ipv4-addresses-per-interface" | "network-info.ipv6-addresses-per-interface" => {
            kind.addresses_per_interface.to_string()
        }
        "network-info.maximum-network-cards" => "1".into(),
        "network-info.maximum-network-interfaces" => kind.max_interfaces.to_string(),
        "network-info.network-performance" => kind.network_performance.clone(),
        "processor-info.supported-architecture" => "x86_64".into(),
        "processor-info.sustained-clock-speed-in-ghz" => clock(kind).to_string(),
        "supported-boot-mode" => "legacy-bios".into(),
        "supported-root-device-type" => "ebs".into(),
        "supported-usage-class" => "on-demand".into(),
        "supported-virtualization-type" => "hvm".into(),
        "vcpu-info.default-cores" => cores(kind).to_string(),
        "vcpu-info.default-threads-per-core" => kind.threads_per_core.to_string(),
        "vcpu-info.default-vcpus" => kind.vcpus.to_string(),
        // Of what no type here has: disks of its own, reserved bandwidth, features.
        _ => return Vec::new(),
    };
    vec![value]
}

fn shown(kind: &InstanceType) -> ec2::InstanceTypeInfo {
    let int = |n: u32| i32::try_from(n).ok();
    ec2::InstanceTypeInfo {
        instance_type: Some(kind.id.clone()),
        current_generation: Some(true),
        free_tier_eligible: Some(kind.free_tier),
        supported_usage_classes: vec!["on-demand".into()],
        supported_root_device_types: vec!["ebs".into()],
        supported_virtualization_types: vec!["hvm".into()],
        bare_metal: Some(false),
        hypervisor: Some("nitro".into()),
        processor_info: Some(ec2::ProcessorInfo {
            supported_architectures: vec!["x86_64".into()],
            sustained_clock_speed_in_ghz: Some(clock(kind)),
            ..Default::default()
        }),
        v_cpu_info: Some(ec2::VCpuInfo {
            default_v_cpus: int(kind.vcpus),
            default_cores: int(cores(kind)),
            default_threads_per_core: int(kind.threads_per_core),
            ..Default::default()
        }),
        memory_info: Some(ec2::MemoryInfo { size_in_mi_b: i64::try_from(kind.memory_mib).ok() }),
        instance_storage_supported: Some(kind.local_disk_gib > 0),
        ebs_info: Some(ec2::EbsInfo {
            ebs_optimized_support: Some("default".into()),
            encryption_support: Some("unsupported".into()),
            nvme_support: Some("unsupported".into()),
            ..Default::default()
        }),
        network_info: Some(network(kind)),
        placement_group_info: Some(ec2::PlacementGroupInfo { supported_strategies: strategies(kind) }),
        hibernation_supported: Some(false),
        burstable_performance_supported: Some(kind.burstable),
        dedicated_hosts_supported: Some(false),
        auto_recovery_supported: Some(true),
        supported_boot_modes: vec!["legacy-bios".into()],
        nitro_enclaves_support: Some("unsupported".into()),
        nitro_tpm_support: Some("unsupported".into()),
        ..Default::default()
    }
}

/// What a launch into a placement group takes.
fn strategies(kind: &InstanceType) -> Vec<String> {
    let all = ["cluster", "partition", "spread"];
    all.iter().skip(usize::from(kind.burstable)).map(|strategy| (*strategy).to_owned()).collect()
}

fn network(kind: &InstanceType) -> ec2::NetworkInfo {
    let int = |n: u32| i32::try_from(n).ok();
    let card = ec2::NetworkCardInfo {
        network_card_index: Some(0),
        network_performance: Some(kind.network_performance.clone()),
        maximum_network_interfaces: int(kind.max_interfaces),
        baseline_bandwidth_in_gbps: Some(f64::from(kind.baseline_mbps) / 1000.0),
        peak_bandwidth_in_gbps: kind.peak_mbps().map(|peak| f64::from(peak) / 1000.0),
        ..Default::default()
    };
    ec2::NetworkInfo {
        network_performance: Some(kind.network_performance.clone()),
        maximum_network_interfaces: int(kind.max_interfaces),
        maximum_network_cards: Some(1),
        default_network_card_index: Some(0),
        network_cards: vec![card],
        ipv4_addresses_per_interface: int(kind.addresses_per_interface),
        ipv6_addresses_per_interface: int(kind.addresses_per_interface),
        ipv6_supported: Some(true),
        ena_support: Some("supported".into()),
        efa_supported: Some(false),
        encryption_in_transit_supported: Some(false),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn sizes_are_ec2s() {
        let mut cloud = Cloud::new();
        let shown =
            cloud.tenant("acme").call("DescribeInstanceTypes", &[("InstanceType.1", "m5.xlarge")]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "sizeInMiB"), ["16384"]);
        assert_eq!(Cloud::ids(&shown, "defaultVCpus"), ["4"]);
    }

    #[test]
    fn types_that_are_not_there_are_named() {
        let mut cloud = Cloud::new();
        let ask = [("InstanceType.1", "t9.giant"), ("InstanceType.2", "t3.nano"), ("InstanceType.3", "x")];
        let refusal = cloud.tenant("acme").call("DescribeInstanceTypes", &ask).expect_err("two are not there");
        let expected = "InvalidInstanceType: The following supplied instance types do not exist: [t9.giant, x]";
        assert_eq!(refusal, expected);
    }

    #[test]
    fn filters_ask_for_what_is_shown() {
        let mut cloud = Cloud::new();
        let mut count = |name, value| {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value), ("InstanceType.1", "t3.micro")];
            Cloud::ids(&cloud.tenant("acme").call("DescribeInstanceTypes", &ask).expect(name), "instanceType").len()
        };
        assert_eq!(count("network-info.efa-supported", "false"), 1);
        assert_eq!(count("nitro-tpm-support", "supported"), 0);
        assert_eq!(count("instance-storage-info.disk.type", "ssd"), 0);
    }
}
