//! UnassignPrivateIpAddresses. An elastic address in front of one becomes free.

use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses::ADDRESSES_MAX;
use crate::error::{Result, invalid, invalid_value, missing, refuse_if};
use crate::network;

pub fn unassign_private_ip_addresses(tx: &mut Tx<Tenant>, req: ec2::UnassignPrivateIpAddressesRequest) -> Result<()> {
    let ec2::UnassignPrivateIpAddressesRequest { ipv4_prefixes, network_interface_id, private_ip_addresses } = req;
    refuse_if(!ipv4_prefixes.is_empty(), "Ipv4Prefix")?;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let eni = tx.get::<NetworkInterface>(&id.parse()?)?;
    network::must_be_ones_own(&eni)?;
    if private_ip_addresses.is_empty() {
        return Err(missing("PrivateIpAddress"));
    }
    if private_ip_addresses.len() > ADDRESSES_MAX {
        return Err(invalid("More addresses are named than an interface can have"));
    }
    let mut gone = Vec::new();
    for text in &private_ip_addresses {
        let shown: String = text.chars().take(64).collect();
        let ip = text.parse().map_err(|_| invalid_value(shown.escape_debug(), "privateIpAddress"))?;
        if eni.private_ip == ip {
            return Err(invalid(format!("The primary address {ip} of interface '{id}' cannot be unassigned")));
        }
        if !eni.has(ip) {
            return Err(invalid(format!("Some of the addresses are not assigned to interface '{id}': [{ip}]")));
        }
        gone.push(ip);
    }
    network::remove_addresses(tx, &eni, &gone);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_what_it_has_besides_its_primary_address_can_go() {
        let mut cloud = Cloud::new();
        let (subnet, base) = cloud.tenant("acme").subnet();
        let eni = cloud.tenant("acme").interface(&subnet);
        let ip = format!("{base}.40");
        let ask = [("NetworkInterfaceId", eni.as_str()), ("PrivateIpAddress.1", ip.as_str())];
        let mut call = |account: &str, action: &str, ask: &[(&str, &str)]| cloud.tenant(account).call(action, ask);
        let refusal = call("acme", "UnassignPrivateIpAddresses", &ask).expect_err("not there");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        call("acme", "AssignPrivateIpAddresses", &ask).expect("assigns");
        let foreign = call("other", "UnassignPrivateIpAddresses", &ask).expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        call("acme", "UnassignPrivateIpAddresses", &ask).expect("unassigns");
        let shown = call("acme", "DescribeNetworkInterfaces", &[]).expect("answers");
        let primary = Cloud::ids(&shown, "privateIpAddress");
        assert_eq!(primary.len(), 2, "{shown}");
        let ask = [("NetworkInterfaceId", eni.as_str()), ("PrivateIpAddress.1", primary[0].as_str())];
        let refusal = call("acme", "UnassignPrivateIpAddresses", &ask).expect_err("the primary");
        assert!(refusal.contains("cannot be unassigned"), "{refusal}");
        cloud.audit();
    }
}
