//! UnassignIpv6Addresses.

use std::net::Ipv6Addr;

use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses::ADDRESSES_MAX;
use crate::error::{Result, invalid, invalid_value, missing, refuse_if};
use crate::network;

pub fn unassign_ipv6_addresses(
    tx: &mut Tx<Tenant>,
    req: ec2::UnassignIpv6AddressesRequest,
) -> Result<ec2::UnassignIpv6AddressesResult> {
    let ec2::UnassignIpv6AddressesRequest { ipv6_prefixes, network_interface_id, ipv6_addresses } = req;
    refuse_if(!ipv6_prefixes.is_empty(), "Ipv6Prefix")?;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let mut eni = (*tx.get::<NetworkInterface>(&id.parse()?)?).clone();
    network::must_be_ones_own(&eni)?;
    if ipv6_addresses.is_empty() {
        return Err(missing("Ipv6Addresses"));
    }
    if ipv6_addresses.len() > ADDRESSES_MAX {
        return Err(invalid("More addresses are named than an interface can have"));
    }
    let mut gone = Vec::new();
    for text in &ipv6_addresses {
        let shown: String = text.chars().take(64).collect();
        let ip: Ipv6Addr = text.parse().map_err(|_| invalid_value(shown.escape_debug(), "ipv6Addresses"))?;
        if !eni.ipv6.contains(&ip) {
            return Err(invalid(format!("Some of the addresses are not assigned to interface '{id}': [{ip}]")));
        }
        gone.push(ip);
    }
    eni.ipv6.retain(|ip| !gone.contains(ip));
    tx.put(eni);
    Ok(ec2::UnassignIpv6AddressesResult {
        network_interface_id: Some(id),
        unassigned_ipv6_addresses: gone.iter().map(ToString::to_string).collect(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_address_that_was_given_back_is_anothers() {
        let mut cloud = Cloud::new();
        let ((_, subnet), range) = cloud.tenant("acme").ipv6_subnet();
        let (a, b) = (cloud.tenant("acme").interface(&subnet), cloud.tenant("acme").interface(&subnet));
        let ip = range.replace("/64", "a");
        let mut call = |account: &str, action: &str, eni: &str| {
            let ask = [("NetworkInterfaceId", eni), ("Ipv6Addresses.1", ip.as_str())];
            cloud.tenant(account).call(action, &ask)
        };
        let refusal = call("acme", "UnassignIpv6Addresses", &a).expect_err("has none");
        assert!(refusal.starts_with("InvalidParameterValue: Some of the addresses"), "{refusal}");
        call("acme", "AssignIpv6Addresses", &a).expect("assigns");
        let foreign = call("other", "UnassignIpv6Addresses", &a).expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        let gone = call("acme", "UnassignIpv6Addresses", &a).expect("unassigns");
        assert_eq!(Cloud::ids(&gone, "item"), [ip.as_str()]);
        call("acme", "AssignIpv6Addresses", &b).expect("is free");
        cloud.audit();
    }
}
