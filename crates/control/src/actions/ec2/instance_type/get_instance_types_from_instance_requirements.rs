//! GetInstanceTypesFromInstanceRequirements: what attribute-based selection would choose from.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::requirements;
use crate::describe::Page;
use crate::error::{Result, missing, refuse_if};

pub fn get_instance_types_from_instance_requirements(
    tx: &mut Tx<Tenant>,
    req: ec2::GetInstanceTypesFromInstanceRequirementsRequest,
) -> Result<ec2::GetInstanceTypesFromInstanceRequirementsResult> {
    let ec2::GetInstanceTypesFromInstanceRequirementsRequest {
        dry_run: _,
        architecture_types,
        virtualization_types,
        instance_requirements,
        max_results,
        next_token,
        context,
    } = req;
    refuse_if(context.is_some(), "Context")?;
    for (list, name) in [(&architecture_types, "ArchitectureType"), (&virtualization_types, "VirtualizationType")] {
        if list.is_empty() {
            return Err(missing(name));
        }
    }
    let asked = instance_requirements.ok_or_else(|| missing("InstanceRequirements"))?;
    let page = Page::new(
        tx,
        "GetInstanceTypesFromInstanceRequirements",
        (max_results, next_token.as_deref()),
        (1, 1000),
        false,
    )?;
    let mut found = requirements::matching(tx, &asked)?;
    // All types are of one architecture and virtualization.
    let has = |list: &[String], ours: &str| list.iter().any(|name| name == ours);
    found.retain(|_| has(&architecture_types, "x86_64") && has(&virtualization_types, "hvm"));
    let (found, next_token) = page.cut(found, |kind| kind.id.clone());
    let shown = |kind: &std::sync::Arc<awan_model::instance_type::InstanceType>| {
        ec2::InstanceTypeInfoFromInstanceRequirements { instance_type: Some(kind.id.clone()) }
    };
    let instance_types = found.iter().map(shown).collect();
    Ok(ec2::GetInstanceTypesFromInstanceRequirementsResult { instance_types, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn types_are_found_by_what_they_are() {
        let mut cloud = Cloud::new();
        let mut ask = |more: &[(&str, &str)]| {
            let mut ask = vec![
                ("ArchitectureType.1", "x86_64"),
                ("VirtualizationType.1", "hvm"),
                ("InstanceRequirements.VCpuCount.Min", "2"),
                ("InstanceRequirements.VCpuCount.Max", "2"),
                ("InstanceRequirements.MemoryMiB.Min", "4096"),
            ];
            ask.extend(more);
            let shown = cloud.tenant("acme").call("GetInstanceTypesFromInstanceRequirements", &ask)?;
            Ok::<_, String>(Cloud::ids(&shown, "instanceType"))
        };
        assert_eq!(ask(&[]).expect("answers"), ["c5.large", "m5.large", "r5.large"]);
        let burstable = [("InstanceRequirements.BurstablePerformance", "required")];
        assert_eq!(ask(&burstable).expect("answers"), ["t2.large", "t2.medium", "t3.large", "t3.medium"]);
        let allowed = [("InstanceRequirements.AllowedInstanceType.1", "m*")];
        assert_eq!(ask(&allowed).expect("answers"), ["m5.large"]);
        let dense = [("InstanceRequirements.MemoryGiBPerVCpu.Min", "5")];
        assert_eq!(ask(&dense).expect("answers"), ["r5.large"]);
        let accelerated = [("InstanceRequirements.AcceleratorCount.Min", "1")];
        assert!(ask(&accelerated).expect("answers").is_empty());
        let wrong = [("InstanceRequirements.BareMetal", "perhaps")];
        assert!(ask(&wrong).expect_err("no such value").starts_with("InvalidParameterValue"));
    }
}
