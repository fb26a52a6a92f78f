//! AllocateAddress.

use awan_model::address::Address;
use awan_model::id::AllocationId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid_value, refuse, refuse_if};
use crate::{schedule, tagging};

/// EC2's default quota is 5; a private cloud's pool is its owner's to fill.
pub const ADDRESSES_MAX: usize = 1_000;

pub fn allocate_address(tx: &mut Tx<Tenant>, req: ec2::AllocateAddressRequest) -> Result<ec2::AllocateAddressResult> {
    let ec2::AllocateAddressRequest {
        domain,
        address,
        public_ipv4_pool,
        network_border_group,
        customer_owned_ipv4_pool,
        tag_specifications,
        ipam_pool_id,
        dry_run: _,
    } = req;
    refuse_if(customer_owned_ipv4_pool.is_some(), "CustomerOwnedIpv4Pool")?;
    refuse_if(ipam_pool_id.is_some(), "IpamPoolId")?;
    refuse_if(public_ipv4_pool.is_some_and(|p| p != "amazon"), "PublicIpv4Pool")?;
    let shown = |text: &str| text.chars().take(64).collect::<String>().escape_debug().to_string();
    if let Some(domain) = domain.filter(|d| d != "vpc") {
        return Err(invalid_value(shown(&domain), "domain"));
    }
    if let Some(group) = network_border_group.filter(|g| g != tx.home().region()) {
        return Err(invalid_value(shown(&group), "networkBorderGroup"));
    }
    let wanted = address.map(|text| text.parse().map_err(|_| invalid_value(shown(&text), "address"))).transpose()?;
    let tags = tagging::specified(&tag_specifications, "elastic-ip", &["elastic-ip"])?;
    if tx.list::<Address>().len() >= ADDRESSES_MAX {
        return Err(refuse(Code::AddressLimitExceeded, "The maximum number of addresses has been reached."));
    }
    let public_ip = schedule::public_address(tx, wanted)?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = AllocationId::made(tx.new_id(AllocationId::PREFIX));
    let region = home.region().to_owned();
    tx.put(Address { home, id: id.clone(), public_ip, association: None, ptr_record: None, created });
    tagging::add(tx, id.as_str(), &tags)?;
    Ok(ec2::AllocateAddressResult {
        allocation_id: Some(id.to_string()),
        public_ipv4_pool: Some("amazon".into()),
        network_border_group: Some(region),
        domain: Some("vpc".into()),
        public_ip: Some(public_ip.to_string()),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn no_address_is_given_twice() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let mut all = std::collections::BTreeSet::new();
        for account in ["acme", "other", "acme"] {
            let made = cloud.tenant(account).call("AllocateAddress", &[]).expect("allocates");
            assert!(all.insert(Cloud::ids(&made, "publicIp").remove(0)), "{made}");
        }
        cloud.audit();
    }
}
