//! DescribeNetworkInterfaces.

use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::instance::Placement;
use awan_model::interface::{NetworkInterface, private_dns, public_dns};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::{GroupNames, text_time, time};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "association.allocation-id",
    "association.association-id",
    "addresses.association.owner-id",
    "addresses.association.public-ip",
    "addresses.primary",
    "addresses.private-ip-address",
    "association.ip-owner-id",
    "association.public-dns-name",
    "association.public-ip",
    "attachment.attach-time",
    "attachment.attachment-id",
    "attachment.delete-on-termination",
    "attachment.device-index",
    "attachment.instance-id",
    "attachment.instance-owner-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "description",
    "group-id",
    "group-name",
    "interface-type",
    "ipv6-addresses.ipv6-address",
    "mac-address",
    "network-interface-id",
    "operator.managed",
    "operator.principal",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "requester-id",
    "requester-managed",
    "source-dest-check",
    "status",
    "subnet-id",
    "vpc-id",
];

pub fn describe_network_interfaces(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeNetworkInterfacesRequest,
) -> Result<ec2::DescribeNetworkInterfacesResult> {
    let ec2::DescribeNetworkInterfacesRequest {
        next_token,
        max_results,
        // There are no resources that another service manages.
        include_managed_resources: _,
        dry_run: _,
        network_interface_ids,
        filters,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !network_interface_ids.is_empty();
    let page = Page::new(tx, "DescribeNetworkInterfaces", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &network_interface_ids {
        found.push(tx.get::<NetworkInterface>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<NetworkInterface>();
    }
    let mut names = GroupNames::default();
    let mut kept = Vec::new();
    for eni in found {
        let seen = Seen::of(tx, eni);
        if filters.match_all(|name| seen.value(tx, &mut names, name)) {
            kept.push(seen);
        }
    }
    let (kept, next_token) = page.cut(kept, |seen| seen.eni.id.clone());
    let network_interfaces = kept.iter().map(|seen| seen.shown(tx, &mut names)).collect();
    Ok(ec2::DescribeNetworkInterfacesResult { network_interfaces, next_token })
}

struct Seen {
    eni: Arc<NetworkInterface>,
    elastic: Option<Arc<Address>>,
    public_ip: Option<Ipv4Addr>,
    /// Where the VPC gives such names.
    public_dns: Option<String>,
    tags: std::collections::BTreeMap<String, String>,
}

impl Seen {
    fn of(tx: &mut Tx<Tenant>, eni: Arc<NetworkInterface>) -> Self {
        let elastic = tx.lookup(Address::BY_INTERFACE, eni.id.as_str());
        let elastic = elastic.and_then(|id| tx.find::<Address>(&id.parse().ok()?));
        let instance = eni.attachment.as_ref().map(|a| a.instance.clone());
        let automatic = instance.and_then(|id| tx.find::<Placement>(&id)).and_then(|p| p.public_ip);
        let public_ip = elastic.as_ref().map(|a| a.public_ip).or(automatic);
        let tags = tagging::of(tx, eni.id.as_str());
        let named = tx.find::<Vpc>(&eni.vpc).is_some_and(|vpc| vpc.dns_hostnames);
        let public_dns = public_ip.filter(|_| named).map(|ip| public_dns(ip, eni.home.region()));
        Self { eni, elastic, public_ip, public_dns, tags }
    }

    fn status(&self) -> &'static str {
        if self.eni.attachment.is_some() { "in-use" } else { "available" }
    }

    fn ip_owner(&self) -> String {
        if self.elastic.is_some() { self.eni.home.account().into() } else { "amazon".into() }
    }

    fn value(&self, tx: &mut Tx<Tenant>, names: &mut GroupNames, name: &str) -> Vec<String> {
        let (eni, attachment) = (&self.eni, self.eni.attachment.as_ref());
        let region = eni.home.region();
        let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
        let association = self.elastic.as_ref().and_then(|a| a.association.as_ref());
        match name {
            "association.allocation-id" => some(self.elastic.as_ref().map(|a| a.id.to_string())),
            "association.association-id" => some(association.map(|a| a.id.to_string())),
            "addresses.association.owner-id" | "association.ip-owner-id" => {
                some(self.public_ip.map(|_| self.ip_owner()))
            }
            "addresses.association.public-ip" | "association.public-ip" => {
                some(self.public_ip.map(|ip| ip.to_string()))
            }
            "association.public-dns-name" => some(self.public_dns.clone()),
            "addresses.primary" => vec!["true".into()],
            "addresses.private-ip-address" | "private-ip-address" => vec![eni.private_ip.to_string()],
            "attachment.attach-time" => some(attachment.and_then(|a| text_time(a.at))),
            "attachment.attachment-id" => some(attachment.map(|a| a.id.to_string())),
            "attachment.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination.to_string())),
            "attachment.device-index" => some(attachment.map(|a| a.device_index.to_string())),
            "attachment.instance-id" => some(attachment.map(|a| a.instance.to_string())),
            "attachment.instance-owner-id" => some(attachment.map(|_| eni.home.account().into())),
            "attachment.status" => some(attachment.map(|_| "attached".into())),
            "availability-zone" => vec![eni.zone.clone()],
            "availability-zone-id" => vec![zone_id(&eni.zone)],
            "description" => vec![eni.description.clone()],
            "group-id" => eni.groups.iter().map(ToString::to_string).collect(),
            "group-name" => eni.groups.iter().map(|id| names.of(tx, id)).collect(),
            "interface-type" => vec!["interface".into()],
            "mac-address" => vec![eni.mac.to_string()],
            "network-interface-id" => vec![eni.id.to_string()],
            "owner-id" => vec![eni.home.account().into()],
            "private-dns-name" => vec![private_dns(eni.private_ip, region)],
            "operator.managed" => vec!["false".into()],
            "requester-managed" => vec![eni.requester_managed.to_string()],
            "source-dest-check" => vec![eni.source_dest_check.to_string()],
            "status" => vec![self.status().into()],
            "subnet-id" => vec![eni.subnet.to_string()],
            "vpc-id" => vec![eni.vpc.to_string()],
            tag if tag.starts_with("tag") => tagging::filter_values(&self.tags, tag),
            _ => Vec::new(),
        }
    }

    fn association(&self) -> Option<ec2::NetworkInterfaceAssociation> {
        let ip = self.public_ip?;
        let association = self.elastic.as_ref().and_then(|a| a.association.as_ref());
        Some(ec2::NetworkInterfaceAssociation {
            allocation_id: self.elastic.as_ref().map(|a| a.id.to_string()),
            association_id: association.map(|a| a.id.to_string()),
            ip_owner_id: Some(self.ip_owner()),
            public_dns_name: Some(self.public_dns.clone().unwrap_or_default()),
            public_ip: Some(ip.to_string()),
            ..Default::default()
        })
    }

    fn shown(&self, tx: &mut Tx<Tenant>, names: &mut GroupNames) -> ec2::NetworkInterface {
        let eni = &self.eni;
        let (account, region) = (eni.home.account(), eni.home.region());
        let attachment = eni.attachment.as_ref().map(|a| ec2::NetworkInterfaceAttachment {
            attach_time: time(a.at),
            attachment_id: Some(a.id.to_string()),
            delete_on_termination: Some(a.delete_on_termination),
            device_index: i32::try_from(a.device_index).ok(),
            network_card_index: Some(0),
            instance_id: Some(a.instance.to_string()),
            instance_owner_id: Some(account.into()),
            status: Some("attached".into()),
            ..Default::default()
        });
        let address = ec2::NetworkInterfacePrivateIpAddress {
            association: self.association(),
            primary: Some(true),
            private_dns_name: Some(private_dns(eni.private_ip, region)),
            private_ip_address: Some(eni.private_ip.to_string()),
        };
        ec2::NetworkInterface {
            association: self.association(),
            attachment,
            availability_zone: Some(eni.zone.clone()),
            availability_zone_id: Some(zone_id(&eni.zone)),
            description: Some(eni.description.clone()),
            groups: names.shown(tx, &eni.groups),
            interface_type: Some("interface".into()),
            mac_address: Some(eni.mac.to_string()),
            network_interface_id: Some(eni.id.to_string()),
            owner_id: Some(account.into()),
            private_dns_name: Some(private_dns(eni.private_ip, region)),
            private_ip_address: Some(eni.private_ip.to_string()),
            private_ip_addresses: vec![address],
            requester_managed: Some(eni.requester_managed),
            source_dest_check: Some(eni.source_dest_check),
            status: Some(self.status().into()),
            subnet_id: Some(eni.subnet.to_string()),
            tag_set: tagging::shown(&self.tags),
            vpc_id: Some(eni.vpc.to_string()),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_has_its_interface_until_it_is_terminated() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let ask = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", id.as_str())];
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "networkInterfaceId").len(), 1, "{shown}");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert!(Cloud::ids(&shown, "networkInterfaceId").is_empty(), "{shown}");
    }
}
