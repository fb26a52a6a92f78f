//! DeleteNetworkInterface: one that an instance left.

use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, invalid, missing};
use crate::network;

pub fn delete_network_interface(tx: &mut Tx<Tenant>, req: ec2::DeleteNetworkInterfaceRequest) -> Result<()> {
    let ec2::DeleteNetworkInterfaceRequest { dry_run: _, network_interface_id } = req;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let eni = tx.get::<NetworkInterface>(&id.parse()?)?;
    network::must_be_ones_own(&eni)?;
    if eni.attachment.is_some() {
        return Err(invalid(format!("Network interface '{}' is currently in use.", eni.id)));
    }
    network::remove_interface(tx, &eni);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_a_launch_left_can_be_deleted_and_frees_its_address() {
        let mut cloud = Cloud::new();
        let subnets = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let subnet = Cloud::ids(&subnets, "subnetId").remove(0);
        let keep = [
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SubnetId", subnet.as_str()),
            ("NetworkInterface.1.DeleteOnTermination", "false"),
        ];
        let instance = cloud.tenant("acme").run_with(&keep).expect("launches").remove(0);
        cloud.settle();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let shown = call("DescribeNetworkInterfaces", &[]).expect("answers");
        let eni = Cloud::ids(&shown, "networkInterfaceId").remove(0);
        let address = Cloud::ids(&call("AllocateAddress", &[]).expect("allocates"), "allocationId").remove(0);
        let pair = [("AllocationId", address.as_str()), ("NetworkInterfaceId", eni.as_str())];
        call("AssociateAddress", &pair).expect("associates");
        let refusal = call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]).expect_err("in use");
        assert_eq!(refusal, format!("InvalidParameterValue: Network interface '{eni}' is currently in use."));
        call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect_err("has an interface");
        call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]).expect("deletes");
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("is empty");
        call("ReleaseAddress", &[("AllocationId", &address)]).expect("is free");
        cloud.audit();
    }
}
