//! ReleaseAddress.

use std::net::Ipv4Addr;

use awan_model::address::{Address, ReleasedAddress};
use awan_model::tag::Tags;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_addresses::by_ip;
use crate::error::{Code, Result, missing, refuse, refuse_both};

pub fn release_address(tx: &mut Tx<Tenant>, req: ec2::ReleaseAddressRequest) -> Result<()> {
    let ec2::ReleaseAddressRequest { allocation_id, public_ip, network_border_group, dry_run: _ } = req;
    refuse_both((allocation_id.is_some(), "AllocationId"), (public_ip.is_some(), "PublicIp"))?;
    let address = match (allocation_id, public_ip) {
        (Some(id), _) => tx.get::<Address>(&id.parse()?)?,
        (None, Some(ip)) => by_ip(tx, &ip)?,
        (None, None) => return Err(missing("AllocationId")),
    };
    // The API reference has this code for it.
    if let Some(group) = network_border_group.filter(|g| g != tx.home().region()) {
        let shown: String = group.chars().take(64).collect();
        let message = format!("Address '{}' not found in '{}'.", address.public_ip, shown.escape_debug());
        return Err(refuse(Code::InvalidAddressNotFound, message));
    }
    if address.association.is_some() {
        return Err(refuse(Code::AddressInUse, format!("Address {} is in use.", address.public_ip)));
    }
    tx.remove::<Tags>(&address.id.to_string());
    tx.remove::<Address>(&address.id);
    remember(tx, address.public_ip);
    Ok(())
}

/// So that it can be recovered.
fn remember(tx: &mut Tx<Tenant>, ip: Ipv4Addr) {
    let all = tx.list::<ReleasedAddress>();
    if all.len() >= ReleasedAddress::KEPT
        && let Some(oldest) = all.iter().min_by_key(|known| known.released)
    {
        tx.remove::<ReleasedAddress>(&oldest.id);
    }
    let (home, released) = (tx.home().clone(), tx.now());
    tx.put(ReleasedAddress { home, id: ip.to_string(), released });
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

    #[test]
    fn it_is_released_only_where_it_is() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let (id, ip) = (Cloud::ids(&made, "allocationId").remove(0), Cloud::ids(&made, "publicIp").remove(0));
        let mut release = |group: &str| {
            cloud.tenant("acme").call("ReleaseAddress", &[("AllocationId", &id), ("NetworkBorderGroup", group)])
        };
        let refusal = release("us-east-1-mars-1").expect_err("elsewhere");
        assert_eq!(refusal, format!("InvalidAddress.NotFound: Address '{ip}' not found in 'us-east-1-mars-1'."));
        release("us-east-1").expect("releases");
    }
}
