//! AssignIpv6Addresses.

use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses::Free;
use super::assign_private_ip_addresses::must_fit;
use super::ipv6::Wanted;
use crate::error::{Result, missing, refuse_if};
use crate::network;

pub fn assign_ipv6_addresses(
    tx: &mut Tx<Tenant>,
    req: ec2::AssignIpv6AddressesRequest,
) -> Result<ec2::AssignIpv6AddressesResult> {
    let ec2::AssignIpv6AddressesRequest {
        ipv6_prefix_count,
        ipv6_prefixes,
        network_interface_id,
        ipv6_addresses,
        ipv6_address_count,
    } = req;
    refuse_if(!ipv6_prefixes.is_empty() || ipv6_prefix_count.is_some_and(|n| n != 0), "Ipv6Prefix")?;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let mut eni = (*tx.get::<NetworkInterface>(&id.parse()?)?).clone();
    network::must_be_ones_own(&eni)?;
    let subnet = tx.get::<Subnet>(&eni.subnet)?;
    let wanted = Wanted::asked(&subnet, &ipv6_addresses, ipv6_address_count)?;
    if wanted.count() == 0 {
        return Err(missing("Ipv6Addresses or Ipv6AddressCount"));
    }
    let mut free = Free::default();
    free.keep(&subnet.id, eni.ipv6.iter().copied())?;
    let assigned = wanted.take(tx, &mut free, &subnet, Some(&eni))?;
    // What it has already, it keeps where it is.
    let new: Vec<_> = assigned.iter().copied().filter(|ip| !eni.ipv6.contains(ip)).collect();
    eni.ipv6.extend(new);
    must_fit(tx, &eni)?;
    tx.put(eni);
    Ok(ec2::AssignIpv6AddressesResult {
        assigned_ipv6_addresses: assigned.iter().map(ToString::to_string).collect(),
        network_interface_id: Some(id),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_interface_gets_what_is_free_and_keeps_what_it_has() {
        let mut cloud = Cloud::new();
        let ((_, subnet), range) = cloud.tenant("acme").ipv6_subnet();
        let (a, b) = (cloud.tenant("acme").interface(&subnet), cloud.tenant("acme").interface(&subnet));
        let first = range.replace("/64", "a");
        let assign = |cloud: &mut Cloud, account: &str, eni: &str, more: &[(&str, &str)]| {
            let ask = [&[("NetworkInterfaceId", eni)], more].concat();
            cloud.tenant(account).call("AssignIpv6Addresses", &ask)
        };
        let this = [("Ipv6Addresses.1", first.as_str())];
        let foreign = assign(&mut cloud, "other", &a, &this).expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        for _ in 0..2 {
            let made = assign(&mut cloud, "acme", &a, &this).expect("assigns");
            assert_eq!(Cloud::ids(&made, "item"), [first.as_str()], "{made}");
        }
        let made = assign(&mut cloud, "acme", &a, &[("Ipv6AddressCount", "2")]).expect("assigns");
        assert_eq!(Cloud::ids(&made, "item").len(), 2, "{made}");
        let last = range.replace("/64", "ffff:ffff:ffff:ffff").replace("::", ":");
        for (eni, more, expected) in [
            (&b, &this[..], "InvalidIPAddress.InUse: Address 2001:db8:a"),
            (&b, &[("Ipv6Addresses.1", "2001:db8::7")], "InvalidParameterValue: Address 2001:db8::7 does not fall"),
            (&b, &[("Ipv6Addresses.1", range.trim_end_matches("/64"))], "InvalidParameterValue: Address 2001:db8:a"),
            (&b, &[("Ipv6Addresses.1", &last)], "InvalidParameterValue: Address 2001:db8:a"),
            (&b, &[("Ipv6Addresses.1", "10.0.0.9")], "InvalidParameterValue: Value (10.0.0.9) for"),
            (&b, &[("Ipv6AddressCount", "-1")], "InvalidParameterValue: Value (-1) for parameter ipv6AddressCount"),
            (&b, &[("Ipv6AddressCount", "51")], "PrivateIpAddressLimitExceeded"),
            (&a, &[("Ipv6AddressCount", "48")], "PrivateIpAddressLimitExceeded"),
            (&b, &[("Ipv6AddressCount", "1"), this[0]], "InvalidParameterCombination"),
            (&b, &[], "MissingParameter"),
            (&b, &[("Ipv6PrefixCount", "1")], "UnsupportedOperation"),
        ] {
            let refusal = assign(&mut cloud, "acme", eni, more).expect_err(expected);
            assert!(refusal.starts_with(expected), "{more:?}: {refusal}");
        }
        let filter = [("Filter.1.Name", "ipv6-addresses.ipv6-address"), ("Filter.1.Value.1", first.as_str())];
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &filter).expect("answers");
        assert_eq!(Cloud::ids(&shown, "networkInterfaceId"), [a.as_str()]);
        // Its first address has an element of its own.
        assert_eq!(Cloud::ids(&shown, "ipv6Address")[0], first, "{shown}");
        let (plain, _) = cloud.tenant("acme").subnet();
        let eni = cloud.tenant("acme").interface(&plain);
        let refusal = assign(&mut cloud, "acme", &eni, &[("Ipv6AddressCount", "1")]).expect_err("has no range");
        let expected = "has no IPv6 CIDR block associated with it.";
        assert!(refusal.starts_with("InvalidParameterValue") && refusal.ends_with(expected), "{refusal}");
        cloud.audit();
    }
}
