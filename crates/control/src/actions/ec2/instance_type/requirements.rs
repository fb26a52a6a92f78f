//! Which types have the attributes that `InstanceRequirements` ask for.
//!
//! What no type here has (accelerators, local disks, bare metal, encryption in transit) matches no type where it is
//! required. There are no prices, so no type is too dear: the price protections have nothing to protect from.

use std::sync::Arc;

use awan_model::instance_type::InstanceType;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::vpc::create_vpc::brief;
use crate::describe::wildcard;
use crate::error::{Result, combination, invalid_value, missing, refuse_if};

/// The types of the catalogue that match, in the order of their names.
pub fn matching(tx: &mut Tx<Tenant>, asked: &ec2::InstanceRequirementsRequest) -> Result<Vec<Arc<InstanceType>>> {
    check(asked)?;
    let mut found = tx.all_public::<InstanceType>();
    found.retain(|kind| matches(kind, asked));
    Ok(found)
}

fn check(asked: &ec2::InstanceRequirementsRequest) -> Result<()> {
    let v_cpu = asked.v_cpu_count.as_ref().ok_or_else(|| missing("InstanceRequirements.VCpuCount"))?;
    let memory = asked.memory_mi_b.as_ref().ok_or_else(|| missing("InstanceRequirements.MemoryMiB"))?;
    for (min, max, name) in [(v_cpu.min, v_cpu.max, "VCpuCount"), (memory.min, memory.max, "MemoryMiB")] {
        let min = min.ok_or_else(|| missing(&format!("InstanceRequirements.{name}.Min")))?;
        if min < 0 || max.is_some_and(|max| max < min) {
            return Err(invalid_value(max.unwrap_or(min), &format!("InstanceRequirements.{name}")));
        }
    }
    if !asked.allowed_instance_types.is_empty() && !asked.excluded_instance_types.is_empty() {
        return Err(combination("AllowedInstanceTypes and ExcludedInstanceTypes may not be specified together"));
    }
    // Nothing is known here about how fast a core of a family is.
    refuse_if(asked.baseline_performance_factors.is_some(), "InstanceRequirements.BaselinePerformanceFactors")?;
    for (value, name) in [
        (&asked.bare_metal, "BareMetal"),
        (&asked.burstable_performance, "BurstablePerformance"),
        (&asked.local_storage, "LocalStorage"),
    ] {
        if let Some(value) = value.as_deref().filter(|v| !["included", "required", "excluded"].contains(v)) {
            return Err(invalid_value(brief(value), name));
        }
    }
    Ok(())
}

fn matches(kind: &InstanceType, asked: &ec2::InstanceRequirementsRequest) -> bool {
    let ec2::InstanceRequirementsRequest {
        v_cpu_count,
        memory_mi_b,
        cpu_manufacturers,
        memory_gi_b_per_v_cpu,
        excluded_instance_types,
        instance_generations,
        // There are no prices.
        spot_max_price_percentage_over_lowest_price: _,
        on_demand_max_price_percentage_over_lowest_price: _,
        bare_metal,
        burstable_performance,
        require_hibernate_support,
        network_interface_count,
        local_storage,
        // Where there is no local storage, of whatever type, `LocalStorage` decides.
        local_storage_types: _,
        total_local_storage_gb,
        baseline_ebs_bandwidth_mbps,
        accelerator_types,
        accelerator_count,
        accelerator_manufacturers,
        accelerator_names,
        accelerator_total_memory_mi_b,
        network_bandwidth_gbps,
        allowed_instance_types,
        // There are no prices.
        max_spot_price_as_percentage_of_optimal_on_demand_price: _,
        // Refused before.
        baseline_performance_factors: _,
        require_encryption_in_transit,
    } = asked;
    let like = |patterns: &[String]| patterns.iter().any(|pattern| wildcard(pattern, &kind.id));
    let one_of = |names: &[String], ours: &str| names.is_empty() || names.iter().any(|name| name == ours);
    let memory_gib = gib(kind.memory_mib);
    v_cpu_count.as_ref().is_none_or(|r| within(kind.vcpus.into(), r.min, r.max))
        && memory_mi_b.as_ref().is_none_or(|r| within(gib(kind.memory_mib) * 1024.0, r.min, r.max))
        && memory_gi_b_per_v_cpu
            .as_ref()
            .is_none_or(|r| between(memory_gib / f64::from(kind.vcpus.max(1)), r.min, r.max))
        && one_of(cpu_manufacturers, "intel")
        && one_of(instance_generations, "current")
        && !like(excluded_instance_types)
        && (allowed_instance_types.is_empty() || like(allowed_instance_types))
        && wanted(bare_metal.as_deref().unwrap_or("excluded"), false)
        && wanted(burstable_performance.as_deref().unwrap_or("excluded"), kind.burstable)
        && wanted(local_storage.as_deref().unwrap_or("included"), kind.local_disk_gib > 0)
        && *require_hibernate_support != Some(true)
        && *require_encryption_in_transit != Some(true)
        && network_interface_count.as_ref().is_none_or(|r| within(kind.max_interfaces.into(), r.min, r.max))
        && network_bandwidth_gbps
            .as_ref()
            .is_none_or(|r| between(f64::from(kind.baseline_mbps) / 1000.0, r.min, r.max))
        && total_local_storage_gb.as_ref().is_none_or(|r| between(f64::from(kind.local_disk_gib), r.min, r.max))
        // Types promise nothing about the way to their volumes.
        && baseline_ebs_bandwidth_mbps.as_ref().is_none_or(|r| within(0.0, r.min, r.max))
        && accelerator_types.is_empty()
        && accelerator_manufacturers.is_empty()
        && accelerator_names.is_empty()
        && accelerator_count.as_ref().is_none_or(|r| within(0.0, r.min, r.max))
        && accelerator_total_memory_mi_b.as_ref().is_none_or(|r| within(0.0, r.min, r.max))
}

fn gib(mib: u64) -> f64 {
    f64::from(u32::try_from(mib).unwrap_or(u32::MAX)) / 1024.0
}

fn within(value: f64, min: Option<i32>, max: Option<i32>) -> bool {
    between(value, min.map(f64::from), max.map(f64::from))
}

fn between(value: f64, min: Option<f64>, max: Option<f64>) -> bool {
    min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
}

fn wanted(rule: &str, has: bool) -> bool {
    match rule {
        "required" => has,
        "excluded" => !has,
        _ => true,
    }
}
