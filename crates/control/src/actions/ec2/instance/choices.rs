//! What a launch chooses beside what is to run and where: credits, maintenance, what has one possible value only.

use awan_model::instance_type::InstanceType;
use awan_model::options::Options;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::credits;
use super::modify_instance_maintenance_options::disabled;
use super::placing::Placing;
use crate::error::{Result, refuse_if};

pub struct Asked {
    pub credits: Option<ec2::CreditSpecificationRequest>,
    pub cpu: Option<ec2::CpuOptionsRequest>,
    pub private_dns: Option<ec2::PrivateDnsNameOptionsRequest>,
    pub maintenance: Option<ec2::InstanceMaintenanceOptionsRequest>,
}

pub fn options(tx: &mut Tx<Tenant>, asked: Asked, kind: &InstanceType, placing: &Placing) -> Result<Options> {
    let Asked { credits, cpu, private_dns, maintenance } = asked;
    if let Some(asked) = cpu {
        must_be_whole(&asked, kind)?;
    }
    if let Some(asked) = private_dns {
        must_be_by_address(asked)?;
    }
    let ec2::InstanceMaintenanceOptionsRequest { auto_recovery } = maintenance.unwrap_or_default();
    let mut options = Options {
        credits: credits::of_launch(tx, credits, kind)?,
        no_recovery: disabled(auto_recovery.as_deref(), "AutoRecovery")?.unwrap_or_default(),
        ..Options::default()
    };
    placing.set(&mut options);
    Ok(options)
}

/// Machines have all threads of their type; what says just that is fine.
fn must_be_whole(asked: &ec2::CpuOptionsRequest, kind: &InstanceType) -> Result<()> {
    let ec2::CpuOptionsRequest { core_count, threads_per_core, amd_sev_snp, nested_virtualization } = asked;
    let whole = cpu(kind);
    let differs = |asked: &Option<i32>, whole: Option<i32>| asked.is_some() && *asked != whole;
    refuse_if(differs(core_count, whole.core_count), "CpuOptions.CoreCount")?;
    refuse_if(differs(threads_per_core, whole.threads_per_core), "CpuOptions.ThreadsPerCore")?;
    refuse_if(amd_sev_snp.as_deref().is_some_and(|v| v != "disabled"), "CpuOptions.AmdSevSnp")?;
    refuse_if(nested_virtualization.as_deref().is_some_and(|v| v != "disabled"), "CpuOptions.NestedVirtualization")
}

pub fn cpu(kind: &InstanceType) -> ec2::CpuOptions {
    let threads = kind.threads_per_core.max(1);
    ec2::CpuOptions {
        core_count: i32::try_from(kind.vcpus / threads).ok(),
        threads_per_core: i32::try_from(threads).ok(),
        ..Default::default()
    }
}

/// Names of instances follow from their addresses.
fn must_be_by_address(asked: ec2::PrivateDnsNameOptionsRequest) -> Result<()> {
    let ec2::PrivateDnsNameOptionsRequest {
        hostname_type,
        enable_resource_name_dns_a_record,
        enable_resource_name_dns_aaaa_record,
    } = asked;
    refuse_if(hostname_type.is_some_and(|t| t != "ip-name"), "PrivateDnsNameOptions.HostnameType")?;
    let (a, aaaa) = (enable_resource_name_dns_a_record, enable_resource_name_dns_aaaa_record);
    refuse_if(a == Some(true), "PrivateDnsNameOptions.EnableResourceNameDnsARecord")?;
    refuse_if(aaaa == Some(true), "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord")
}

pub fn private_dns() -> ec2::PrivateDnsNameOptionsResponse {
    ec2::PrivateDnsNameOptionsResponse {
        hostname_type: Some("ip-name".into()),
        enable_resource_name_dns_a_record: Some(false),
        enable_resource_name_dns_aaaa_record: Some(false),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_every_instance_has_can_be_asked_for_and_nothing_else() {
        let mut cloud = Cloud::new();
        let mut run = |ask: &[(&str, &str)]| cloud.tenant("acme").run_with(ask);
        run(&[
            ("CpuOptions.CoreCount", "1"),
            ("CpuOptions.ThreadsPerCore", "2"),
            ("PrivateDnsNameOptions.HostnameType", "ip-name"),
            ("CapacityReservationSpecification.CapacityReservationPreference", "none"),
        ])
        .expect("a t3.micro");
        for (ask, code) in [
            (("CpuOptions.CoreCount", "2"), "UnsupportedOperation"),
            (("CpuOptions.AmdSevSnp", "enabled"), "UnsupportedOperation"),
            (("PrivateDnsNameOptions.HostnameType", "resource-name"), "UnsupportedOperation"),
            (("CapacityReservationSpecification.CapacityReservationPreference", "some"), "InvalidParameterValue"),
            (("MaintenanceOptions.AutoRecovery", "some"), "InvalidParameterValue"),
            (("CreditSpecification.CpuCredits", "some"), "InvalidParameterValue"),
        ] {
            let refusal = run(&[ask]).expect_err(code);
            assert!(refusal.starts_with(code), "{ask:?}: {refusal}");
        }
        let large = [("InstanceType", "m5.large"), ("CreditSpecification.CpuCredits", "standard")];
        assert!(run(&large).expect_err("no credits").starts_with("InvalidParameterCombination"));
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        for part in [
            "<coreCount>1</coreCount>",
            "<threadsPerCore>2</threadsPerCore>",
            "<hostnameType>ip-name</hostnameType>",
            "<capacityReservationPreference>none</capacityReservationPreference>",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
