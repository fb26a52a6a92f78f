//! DescribeInstanceAttribute.

use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::view::{self, GroupNames};
use crate::error::{Result, invalid_value, missing};

pub fn describe_instance_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstanceAttributeRequest,
) -> Result<ec2::InstanceAttribute> {
    let ec2::DescribeInstanceAttributeRequest { dry_run: _, instance_id, attribute } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?;
    let i = tx.get::<Instance>(&id.parse()?)?;
    let text = |value: &str| Some(ec2::AttributeValue { value: Some(value.to_owned()) });
    let flag = |value: bool| Some(ec2::AttributeBooleanValue { value: Some(value) });
    let mut out = ec2::InstanceAttribute { instance_id: Some(i.id.to_string()), ..Default::default() };
    match attribute.as_deref().ok_or_else(|| missing("Attribute"))? {
        "instanceType" => out.instance_type = text(&i.instance_type),
        "kernel" => out.kernel_id = Some(ec2::AttributeValue::default()),
        "ramdisk" => out.ramdisk_id = Some(ec2::AttributeValue::default()),
        "userData" => {
            let value = i.user_data.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes));
            out.user_data = Some(ec2::AttributeValue { value });
        }
        "disableApiTermination" => out.disable_api_termination = flag(i.termination_protection),
        "disableApiStop" => out.disable_api_stop = flag(i.stop_protection),
        "instanceInitiatedShutdownBehavior" => out.instance_initiated_shutdown_behavior = text(i.shutdown.as_str()),
        "rootDeviceName" => out.root_device_name = text(&i.root_device),
        "blockDeviceMapping" => out.block_device_mappings = block_devices(tx, &i),
        "productCodes" => {}
        "sourceDestCheck" => out.source_dest_check = flag(interface(tx, &i).is_none_or(|e| e.source_dest_check)),
        "groupSet" => {
            let groups = interface(tx, &i).map(|e| e.groups.clone()).unwrap_or_default();
            out.groups = GroupNames::default().shown(tx, &groups);
        }
        "ebsOptimized" => out.ebs_optimized = flag(i.ebs_optimized),
        "sriovNetSupport" => out.sriov_net_support = Some(ec2::AttributeValue::default()),
        "enaSupport" => out.ena_support = flag(true),
        "enclaveOptions" => out.enclave_options = Some(ec2::EnclaveOptions { enabled: Some(false) }),
        other => return Err(invalid_value(other.chars().take(64).collect::<String>().escape_debug(), "attribute")),
    }
    Ok(out)
}

fn interface(tx: &mut Tx<Tenant>, i: &Instance) -> Option<std::sync::Arc<NetworkInterface>> {
    tx.find::<NetworkInterface>(&i.interface)
}

fn block_devices(tx: &mut Tx<Tenant>, i: &Instance) -> Vec<ec2::InstanceBlockDeviceMapping> {
    let Some(instance) = tx.find::<Instance>(&i.id) else { return Vec::new() };
    let seen = view::see(tx, instance);
    view::shown(tx, &seen, &mut GroupNames::default()).block_device_mappings
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_attribute_is_shown_alone() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let ask = |cloud: &mut Cloud, name| {
            cloud.tenant("acme").call("DescribeInstanceAttribute", &[("InstanceId", id.as_str()), ("Attribute", name)])
        };
        let shown = ask(&mut cloud, "instanceType").expect("answers");
        assert!(shown.contains("<instanceType><value>t3.micro</value></instanceType>"), "{shown}");
        assert!(!shown.contains("disableApiTermination"), "{shown}");
        assert!(!shown.contains("Set") && !shown.contains("productCodes"), "{shown}");
        assert!(ask(&mut cloud, "productCodes").expect("answers").contains("<productCodes/>"));
        assert!(ask(&mut cloud, "groupSet").expect("answers").contains("<groupSet><item>"));
        assert!(ask(&mut cloud, "colour").expect_err("unknown").starts_with("InvalidParameterValue"));
    }
}
