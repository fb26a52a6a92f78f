//! ResetNetworkInterfaceAttribute: EC2 can reset one, the check of source and destination.

use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::network;

pub fn reset_network_interface_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::ResetNetworkInterfaceAttributeRequest,
) -> Result<()> {
    // EC2 reads the presence of SourceDestCheck, not its value.
    let ec2::ResetNetworkInterfaceAttributeRequest { dry_run: _, network_interface_id, source_dest_check } = req;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let eni = tx.get::<NetworkInterface>(&id.parse()?)?;
    network::must_be_ones_own(&eni)?;
    source_dest_check.ok_or_else(|| missing("SourceDestCheck"))?;
    tx.put(NetworkInterface { source_dest_check: true, ..(*eni).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_check_is_on_again() {
        let mut cloud = Cloud::new();
        let (subnet, _) = cloud.tenant("acme").subnet();
        let eni = cloud.tenant("acme").interface(&subnet);
        let off = [("NetworkInterfaceId", eni.as_str()), ("SourceDestCheck.Value", "false")];
        cloud.tenant("acme").call("ModifyNetworkInterfaceAttribute", &off).expect("changes");
        let reset = [("NetworkInterfaceId", eni.as_str()), ("SourceDestCheck", "true")];
        let foreign = cloud.tenant("other").call("ResetNetworkInterfaceAttribute", &reset).expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        cloud.tenant("acme").call("ResetNetworkInterfaceAttribute", &reset).expect("resets");
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert!(shown.contains("<sourceDestCheck>true</sourceDestCheck>"), "{shown}");
    }
}
