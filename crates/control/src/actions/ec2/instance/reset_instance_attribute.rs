//! ResetInstanceAttribute.

use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::modify_instance_attribute::must_be_there;
use crate::error::{Result, invalid_value, missing, refuse_if};

pub fn reset_instance_attribute(tx: &mut Tx<Tenant>, req: ec2::ResetInstanceAttributeRequest) -> Result<()> {
    let ec2::ResetInstanceAttributeRequest { dry_run: _, instance_id, attribute } = req;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    let attribute = attribute.ok_or_else(|| missing("Attribute"))?;
    // Instances have the kernel of their disk.
    refuse_if(matches!(&*attribute, "kernel" | "ramdisk"), &attribute)?;
    if attribute != "sourceDestCheck" {
        return Err(invalid_value(attribute.chars().take(64).collect::<String>().escape_debug(), "attribute"));
    }
    must_be_there(tx, &instance)?;
    let eni = tx.get::<NetworkInterface>(&instance.interface)?;
    tx.put(NetworkInterface { source_dest_check: true, ..(*eni).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_check_of_sources_comes_back_and_nothing_else_can_be_reset() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let off = [("InstanceId", id.as_str()), ("SourceDestCheck.Value", "false")];
        cloud.tenant("acme").call("ModifyInstanceAttribute", &off).expect("changes");
        let mut reset = |attribute: &str| {
            let ask = [("InstanceId", id.as_str()), ("Attribute", attribute)];
            cloud.tenant("acme").call("ResetInstanceAttribute", &ask)
        };
        assert!(reset("kernel").expect_err("none").starts_with("UnsupportedOperation"));
        assert!(reset("userData").expect_err("stays").starts_with("InvalidParameterValue"));
        reset("sourceDestCheck").expect("resets");
        let ask = [("InstanceId", id.as_str()), ("Attribute", "sourceDestCheck")];
        let shown = cloud.tenant("acme").call("DescribeInstanceAttribute", &ask).expect("answers");
        assert!(shown.contains("<sourceDestCheck><value>true</value></sourceDestCheck>"), "{shown}");
    }
}
