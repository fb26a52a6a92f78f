//! DeleteSubnet.

use awan_model::id::SubnetId;
use awan_model::interface::NetworkInterface;
use awan_model::route::RouteTable;
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, dependency, missing};
use crate::network;

pub fn delete_subnet(tx: &mut Tx<Tenant>, req: ec2::DeleteSubnetRequest) -> Result<()> {
    let ec2::DeleteSubnetRequest { subnet_id, dry_run: _ } = req;
    let id: SubnetId = subnet_id.ok_or_else(|| missing("SubnetId"))?.parse()?;
    tx.get::<Subnet>(&id)?;
    if tx.list::<NetworkInterface>().iter().any(|eni| eni.subnet == id) {
        return Err(dependency(format!("The subnet '{id}' has dependencies and cannot be deleted.")));
    }
    let table = tx.lookup(RouteTable::BY_SUBNET, id.as_str());
    if let Some(table) = table.and_then(|table| tx.find::<RouteTable>(&table.parse().ok()?)) {
        let mut table = (*table).clone();
        table.associations.retain(|a| a.subnet != id);
        tx.put(table);
    }
    network::leave_acl(tx, &id);
    network::remove::<Subnet>(tx, &id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_subnet_stays_until_its_last_guest_is_gone() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let subnet = cloud.instance(&id).0.subnet.to_string();
        let refusal = cloud.tenant("acme").call("DeleteSubnet", &[("SubnetId", &subnet)]).expect_err("in use");
        let expected = format!("DependencyViolation: The subnet '{subnet}' has dependencies and cannot be deleted.");
        assert_eq!(refusal, expected);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        cloud.tenant("acme").call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("is empty");
        let refusal = cloud.tenant("acme").call("DeleteSubnet", &[("SubnetId", &subnet)]).expect_err("gone");
        assert_eq!(refusal, format!("InvalidSubnetID.NotFound: The subnet ID '{subnet}' does not exist"));
        cloud.audit();
    }
}
