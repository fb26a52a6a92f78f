//! DescribeAddresses.

use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::Filters;
use crate::error::{Code, Error, Result, refuse};
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "allocation-id",
    "association-id",
    "domain",
    "instance-id",
    "network-border-group",
    "network-interface-id",
    "network-interface-owner-id",
    "private-ip-address",
    "public-ip",
];

/// The allocation of this home that holds a public address.
pub fn by_ip(tx: &mut Tx<Tenant>, ip: &str) -> Result<Arc<Address>> {
    let ip: Ipv4Addr = ip.parse().map_err(|_| malformed(ip))?;
    let missing = || refuse(Code::InvalidAddressNotFound, format!("Address '{ip}' not found."));
    tx.list::<Address>().into_iter().find(|a| a.public_ip == ip).ok_or_else(missing)
}

pub fn malformed(ip: &str) -> Error {
    let shown: String = ip.chars().take(64).collect();
    refuse(Code::InvalidAddressMalformed, format!("The address '{}' is not an IPv4 address.", shown.escape_debug()))
}

pub fn describe_addresses(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeAddressesRequest,
) -> Result<ec2::DescribeAddressesResult> {
    let ec2::DescribeAddressesRequest { public_ips, dry_run: _, filters, allocation_ids } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let mut found = Vec::new();
    for id in &allocation_ids {
        found.push(tx.get::<Address>(&id.parse()?)?);
    }
    for ip in &public_ips {
        found.push(by_ip(tx, ip)?);
    }
    if allocation_ids.is_empty() && public_ips.is_empty() {
        found = tx.list::<Address>();
    }
    let mut addresses = Vec::new();
    for address in found {
        let shown = shown(tx, &address);
        let text = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        let tags = tagging::of(tx, address.id.as_str());
        let values = |name: &str| match name {
            "allocation-id" => text(&shown.allocation_id),
            "association-id" => text(&shown.association_id),
            "domain" => text(&shown.domain),
            "instance-id" => text(&shown.instance_id),
            "network-border-group" => text(&shown.network_border_group),
            "network-interface-id" => text(&shown.network_interface_id),
            "network-interface-owner-id" => text(&shown.network_interface_owner_id),
            "private-ip-address" => text(&shown.private_ip_address),
            "public-ip" => text(&shown.public_ip),
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            addresses.push(shown);
        }
    }
    Ok(ec2::DescribeAddressesResult { addresses })
}

fn shown(tx: &mut Tx<Tenant>, address: &Address) -> ec2::Address {
    let association = address.association.as_ref();
    let eni = association.and_then(|a| tx.find::<NetworkInterface>(&a.interface));
    let tags = tagging::of(tx, address.id.as_str());
    ec2::Address {
        allocation_id: Some(address.id.to_string()),
        association_id: association.map(|a| a.id.to_string()),
        domain: Some("vpc".into()),
        network_interface_id: association.map(|a| a.interface.to_string()),
        network_interface_owner_id: association.map(|_| address.home.account().into()),
        private_ip_address: association.map(|a| a.private_ip.to_string()),
        tags: tagging::shown(&tags),
        public_ipv4_pool: Some("amazon".into()),
        network_border_group: Some(address.home.region().into()),
        instance_id: eni.and_then(|e| e.attachment.as_ref().map(|a| a.instance.to_string())),
        public_ip: Some(address.public_ip.to_string()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_foreign_address_is_an_absent_one() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let ip = Cloud::ids(&made, "publicIp").remove(0);
        let refusal = cloud.tenant("other").call("DescribeAddresses", &[("PublicIp.1", &ip)]).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidAddress.NotFound: Address '{ip}' not found."));
    }

    #[test]
    fn what_is_no_address_is_told_so() {
        let mut cloud = Cloud::new();
        for (action, name) in
            [("DescribeAddresses", "PublicIp.1"), ("ReleaseAddress", "PublicIp"), ("DisassociateAddress", "PublicIp")]
        {
            for ip in ["foo", "198.18.0", "198.18.0.256", "::1", ""] {
                let refusal = cloud.tenant("acme").call(action, &[(name, ip)]).expect_err(ip);
                assert_eq!(refusal, format!("InvalidAddress.Malformed: The address '{ip}' is not an IPv4 address."));
            }
        }
    }
}
