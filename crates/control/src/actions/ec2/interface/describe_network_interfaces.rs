//! DescribeNetworkInterfaces.

use awan_model::interface::{NetworkInterface, private_dns};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view::{self, Mapped, Seen};
use crate::actions::ec2::instance::view::{GroupNames, text_time};
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
        let seen = view::see(tx, eni);
        if filters.match_all(|name| value(tx, &seen, &mut names, name)) {
            kept.push(seen);
        }
    }
    let (kept, next_token) = page.cut(kept, |seen| seen.eni.id.clone());
    let network_interfaces = kept.iter().map(|seen| view::shown(tx, seen, &mut names)).collect();
    Ok(ec2::DescribeNetworkInterfacesResult { network_interfaces, next_token })
}

fn value(tx: &mut Tx<Tenant>, seen: &Seen, names: &mut GroupNames, name: &str) -> Vec<String> {
    let (eni, attachment) = (&seen.eni, seen.eni.attachment.as_ref());
    let (account, region) = (eni.home.account(), eni.home.region());
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let each = |of: &dyn Fn(&Mapped) -> Option<String>| seen.addresses.iter().filter_map(of).collect::<Vec<_>>();
    match name {
        "association.allocation-id" => each(&Mapped::allocation),
        "association.association-id" => each(&Mapped::association),
        "addresses.association.owner-id" | "association.ip-owner-id" => each(&|m| m.ip_owner(account)),
        "addresses.association.public-ip" | "association.public-ip" => each(&|m| Some(m.public_ip?.to_string())),
        "association.public-dns-name" => each(&|m| m.public_dns.clone()),
        "addresses.primary" => each(&|m| Some(m.primary.to_string())),
        "addresses.private-ip-address" | "private-ip-address" => each(&|m| Some(m.private_ip.to_string())),
        "attachment.attach-time" => some(attachment.and_then(|a| text_time(a.at))),
        "attachment.attachment-id" => some(attachment.map(|a| a.id.to_string())),
        "attachment.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination.to_string())),
        "attachment.device-index" => some(attachment.map(|a| a.device_index.to_string())),
        "attachment.instance-id" => some(attachment.map(|a| a.instance.to_string())),
        "attachment.instance-owner-id" => some(attachment.map(|_| account.into())),
        "attachment.status" => some(seen.status.map(Into::into)),
        "availability-zone" => vec![eni.zone.clone()],
        "availability-zone-id" => vec![zone_id(&eni.zone)],
        "description" => vec![eni.description.clone()],
        "group-id" => eni.groups.iter().map(ToString::to_string).collect(),
        "group-name" => eni.groups.iter().map(|id| names.of(tx, id)).collect(),
        "interface-type" => vec![view::kind(eni).into()],
        "ipv6-addresses.ipv6-address" => eni.ipv6.iter().map(ToString::to_string).collect(),
        "mac-address" => vec![eni.mac.to_string()],
        "network-interface-id" => vec![eni.id.to_string()],
        "owner-id" | "requester-id" => vec![account.into()],
        "private-dns-name" => each(&|m| Some(private_dns(m.private_ip, region))),
        "operator.managed" => vec!["false".into()],
        "requester-managed" => vec![eni.requester_managed.to_string()],
        "source-dest-check" => vec![eni.source_dest_check.to_string()],
        "status" => vec![view::status(eni).into()],
        "subnet-id" => vec![eni.subnet.to_string()],
        "vpc-id" => vec![eni.vpc.to_string()],
        tag if tag.starts_with("tag") => tagging::filter_values(&seen.tags, tag),
        // No interface has a principal that manages it.
        _ => Vec::new(),
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
