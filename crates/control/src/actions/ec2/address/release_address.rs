//! ReleaseAddress.

use awan_model::address::Address;
use awan_model::tag::Tags;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_addresses::by_ip;
use crate::error::{Code, Result, invalid_value, missing, refuse, refuse_both};

pub fn release_address(tx: &mut Tx<Tenant>, req: ec2::ReleaseAddressRequest) -> Result<()> {
    let ec2::ReleaseAddressRequest { allocation_id, public_ip, network_border_group, dry_run: _ } = req;
    if let Some(group) = network_border_group.filter(|g| g != tx.home().region()) {
        return Err(invalid_value(group.chars().take(64).collect::<String>().escape_debug(), "networkBorderGroup"));
    }
    refuse_both((allocation_id.is_some(), "AllocationId"), (public_ip.is_some(), "PublicIp"))?;
    let address = match (allocation_id, public_ip) {
        (Some(id), _) => tx.get::<Address>(&id.parse()?)?,
        (None, Some(ip)) => by_ip(tx, &ip)?,
        (None, None) => return Err(missing("AllocationId")),
    };
    if address.association.is_some() {
        return Err(refuse(Code::AddressInUse, format!("Address {} is in use.", address.public_ip)));
    }
    tx.remove::<Tags>(&address.id.to_string());
    tx.remove::<Address>(&address.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_released_address_is_gone() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let id = Cloud::ids(&made, "allocationId").remove(0);
        cloud.tenant("acme").call("ReleaseAddress", &[("AllocationId", &id)]).expect("releases");
        let refusal = cloud.tenant("acme").call("ReleaseAddress", &[("AllocationId", &id)]).expect_err("gone");
        assert_eq!(refusal, format!("InvalidAllocationID.NotFound: The allocation ID '{id}' does not exist"));
    }
}
