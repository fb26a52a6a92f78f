//! AssignPrivateIpAddresses: secondary addresses of an interface.

use std::net::Ipv4Addr;

use awan_model::address::{Address, Association};
use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses::{self, Free};
use crate::actions::ec2::instance::run_instances::instance_kind;
use crate::error::{Code, Result, combination, invalid, missing, refuse, refuse_if};
use crate::network;

pub fn assign_private_ip_addresses(
    tx: &mut Tx<Tenant>,
    req: ec2::AssignPrivateIpAddressesRequest,
) -> Result<ec2::AssignPrivateIpAddressesResult> {
    let ec2::AssignPrivateIpAddressesRequest {
        ipv4_prefixes,
        ipv4_prefix_count,
        network_interface_id,
        private_ip_addresses,
        secondary_private_ip_address_count,
        allow_reassignment,
    } = req;
    refuse_if(!ipv4_prefixes.is_empty() || ipv4_prefix_count.is_some_and(|n| n != 0), "Ipv4Prefix")?;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let mut eni = (*tx.get::<NetworkInterface>(&id.parse()?)?).clone();
    network::must_be_ones_own(&eni)?;
    let subnet = tx.get::<Subnet>(&eni.subnet)?;
    let more = addresses::count(secondary_private_ip_address_count)?;
    if private_ip_addresses.is_empty() == (more == 0) {
        return Err(match more {
            0 => missing("PrivateIpAddress or SecondaryPrivateIpAddressCount"),
            _ => combination("privateIpAddress and secondaryPrivateIpAddressCount cannot be used together"),
        });
    }
    if private_ip_addresses.len() > addresses::ADDRESSES_MAX {
        return Err(addresses::too_many());
    }
    let mut assigned = Vec::new();
    for text in &private_ip_addresses {
        let ip = addresses::address(&subnet, text)?;
        if eni.private_ip == ip || assigned.contains(&ip) {
            return Err(invalid(format!("Address {ip} is already assigned to interface '{}'", eni.id)));
        }
        take(tx, &eni, ip, allow_reassignment == Some(true))?;
        assigned.push(ip);
    }
    let mut free = Free::default();
    for _ in 0..more {
        let ip = free.any(tx, &subnet)?;
        assigned.push(ip);
    }
    // What it has already, it keeps where it is.
    let new: Vec<_> = assigned.iter().copied().filter(|ip| !eni.has(*ip)).collect();
    eni.secondary.extend(new);
    must_fit(tx, &eni)?;
    tx.put(eni);
    let shown = |ip: &Ipv4Addr| ec2::AssignedPrivateIpAddress { private_ip_address: Some(ip.to_string()) };
    Ok(ec2::AssignPrivateIpAddressesResult {
        network_interface_id: Some(id),
        assigned_private_ip_addresses: assigned.iter().map(shown).collect(),
        ..Default::default()
    })
}

/// Makes an address free that another interface has as a secondary one, if that may be.
fn take(tx: &mut Tx<Tenant>, to: &NetworkInterface, ip: Ipv4Addr, may: bool) -> Result<()> {
    let holder = tx.lookup(NetworkInterface::BY_IP, &NetworkInterface::ip_in(&to.subnet, ip));
    let holder = holder.and_then(|id| tx.find::<NetworkInterface>(&id.parse().ok()?));
    match holder {
        None => Ok(()),
        Some(holder) if holder.id == to.id => Ok(()),
        Some(holder) if may && holder.private_ip != ip => {
            let address = network::elastic_of(tx, &holder, ip);
            network::remove_addresses(tx, &holder, &[ip]);
            // Its elastic address moves along ("AssignPrivateIpAddresses", Amazon EC2 API Reference).
            if let Some((address, association)) = address.and_then(|a| Some((a.clone(), a.association.clone()?))) {
                let association = Some(Association { interface: to.id.clone(), ..association });
                tx.put(Address { association, ..(*address).clone() });
            }
            Ok(())
        }
        Some(_) => Err(refuse(Code::AddressInUse, format!("Address {ip} is in use."))),
    }
}

/// As many of either family as the type of its instance can have, or as any type can.
pub fn must_fit(tx: &mut Tx<Tenant>, eni: &NetworkInterface) -> Result<()> {
    let all = eni.addresses().count().max(eni.ipv6.len());
    if all > addresses::ADDRESSES_MAX {
        return Err(addresses::too_many());
    }
    let Some(instance) = eni.attachment.as_ref().and_then(|a| tx.find::<Instance>(&a.instance)) else { return Ok(()) };
    let kind = instance_kind(tx, &instance.instance_type)?;
    addresses::must_fit(&kind, all)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_secondary_address_moves_only_if_it_may() {
        let mut cloud = Cloud::new();
        let (subnet, base) = cloud.tenant("acme").subnet();
        let (a, b) = (cloud.tenant("acme").interface(&subnet), cloud.tenant("acme").interface(&subnet));
        let ip = format!("{base}.30");
        let assign = |cloud: &mut Cloud, account: &str, eni: &str, more: &[(&str, &str)]| {
            let ask = [&[("NetworkInterfaceId", eni)], more].concat();
            cloud.tenant(account).call("AssignPrivateIpAddresses", &ask)
        };
        let foreign = assign(&mut cloud, "other", &a, &[("PrivateIpAddress.1", &ip)]).expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        let made = assign(&mut cloud, "acme", &a, &[("PrivateIpAddress.1", &ip)]).expect("assigns");
        assert_eq!(Cloud::ids(&made, "privateIpAddress")[0], ip);
        assign(&mut cloud, "acme", &a, &[("PrivateIpAddress.1", &ip)]).expect("has it");
        let address = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let address = Cloud::ids(&address, "allocationId").remove(0);
        let pair =
            [("AllocationId", address.as_str()), ("NetworkInterfaceId", a.as_str()), ("PrivateIpAddress", ip.as_str())];
        cloud.tenant("acme").call("AssociateAddress", &pair).expect("associates");
        let refusal = assign(&mut cloud, "acme", &b, &[("PrivateIpAddress.1", &ip)]).expect_err("is the other's");
        assert_eq!(refusal, format!("InvalidIPAddress.InUse: Address {ip} is in use."));
        let force = [("PrivateIpAddress.1", ip.as_str()), ("AllowReassignment", "true")];
        assign(&mut cloud, "acme", &b, &force).expect("moves");
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &a)]);
        assert!(!shown.expect("answers").contains(&ip));
        let counted = assign(&mut cloud, "acme", &a, &[("SecondaryPrivateIpAddressCount", "3")]).expect("assigns");
        assert_eq!(Cloud::ids(&counted, "privateIpAddress").len(), 3);
        let refusal = assign(&mut cloud, "acme", &a, &[]).expect_err("nothing");
        assert!(refusal.starts_with("MissingParameter"), "{refusal}");
        let refusal = assign(&mut cloud, "acme", &a, &[("SecondaryPrivateIpAddressCount", "49")]).expect_err("53");
        assert!(refusal.starts_with("PrivateIpAddressLimitExceeded"), "{refusal}");
        let shown = cloud.tenant("acme").call("DescribeAddresses", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "networkInterfaceId"), [b.as_str()], "its elastic address moved along: {shown}");
        let ask = [("NetworkInterfaceId", b.as_str()), ("PrivateIpAddress.1", ip.as_str())];
        cloud.tenant("acme").call("UnassignPrivateIpAddresses", &ask).expect("unassigns");
        let free = cloud.tenant("acme").call("ReleaseAddress", &[("AllocationId", &address)]);
        free.expect("its private address went away");
        cloud.audit();
    }

    #[test]
    fn an_instance_has_as_many_as_its_type() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        let eni = Cloud::ids(&shown, "networkInterfaceId").remove(0);
        let ask = [("NetworkInterfaceId", eni.as_str()), ("SecondaryPrivateIpAddressCount", "1")];
        cloud.tenant("acme").call("AssignPrivateIpAddresses", &ask).expect("a t3.micro has two");
        let refusal = cloud.tenant("acme").call("AssignPrivateIpAddresses", &ask).expect_err("three");
        let expected = "PrivateIpAddressLimitExceeded: Number of private addresses will exceed limit.";
        assert_eq!(refusal, expected);
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "primary"), ["true", "false"], "{shown}");
        cloud.audit();
    }
}
