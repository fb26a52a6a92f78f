//! DescribeInstances.

use awan_model::instance::{Instance, State};
use awan_model::interface::{NetworkInterface, private_dns};
use awan_model::placement_group::PlacementGroup;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view::{self, GroupNames, Interface, Seen};
use super::{metadata, modify_instance_maintenance_options};
use crate::actions::ec2::capacity::preference;
use crate::actions::ec2::interface::view::Mapped;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::identity;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "affinity",
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "boot-mode",
    "capacity-reservation-id",
    "capacity-reservation-specification.capacity-reservation-preference",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
    "client-token",
    "current-instance-boot-mode",
    "dns-name",
    "ebs-optimized",
    "ena-support",
    "enclave-options.enabled",
    "group-id",
    "group-name",
    "hibernation-options.configured",
    "host-id",
    "hypervisor",
    "iam-instance-profile.arn",
    "iam-instance-profile.id",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "ipv6-address",
    "kernel-id",
    "key-name",
    "launch-index",
    "launch-time",
    "maintenance-options.auto-recovery",
    "metadata-options.http-endpoint",
    "metadata-options.http-protocol-ipv4",
    "metadata-options.http-protocol-ipv6",
    "metadata-options.http-put-response-hop-limit",
    "metadata-options.http-tokens",
    "metadata-options.instance-metadata-tags",
    "metadata-options.state",
    "monitoring-state",
    "network-interface.addresses.association.allocation-id",
    "network-interface.addresses.association.association-id",
    "network-interface.addresses.association.carrier-ip",
    "network-interface.addresses.association.customer-owned-ip",
    "network-interface.addresses.association.ip-owner-id",
    "network-interface.addresses.association.public-dns-name",
    "network-interface.addresses.association.public-ip",
    "network-interface.addresses.primary",
    "network-interface.addresses.private-dns-name",
    "network-interface.addresses.private-ip-address",
    "network-interface.association.allocation-id",
    "network-interface.association.association-id",
    "network-interface.association.carrier-ip",
    "network-interface.association.customer-owned-ip",
    "network-interface.association.ip-owner-id",
    "network-interface.association.public-dns-name",
    "network-interface.association.public-ip",
    "network-interface.attachment.attach-time",
    "network-interface.attachment.attachment-id",
    "network-interface.attachment.delete-on-termination",
    "network-interface.attachment.device-index",
    "network-interface.attachment.instance-id",
    "network-interface.attachment.instance-owner-id",
    "network-interface.attachment.network-card-index",
    "network-interface.attachment.status",
    "network-interface.availability-zone",
    "network-interface.deny-all-igw-traffic",
    "network-interface.description",
    "network-interface.group-id",
    "network-interface.group-name",
    "network-interface.ipv4-prefixes.ipv4-prefix",
    "network-interface.ipv6-address",
    "network-interface.ipv6-addresses.ipv6-address",
    "network-interface.ipv6-addresses.is-primary-ipv6",
    "network-interface.ipv6-native",
    "network-interface.ipv6-prefixes.ipv6-prefix",
    "network-interface.mac-address",
    "network-interface.network-interface-id",
    "network-interface.operator.managed",
    "network-interface.operator.principal",
    "network-interface.outpost-arn",
    "network-interface.owner-id",
    "network-interface.private-dns-name",
    "network-interface.private-ip-address",
    "network-interface.public-dns-name",
    "network-interface.requester-id",
    "network-interface.requester-managed",
    "network-interface.source-dest-check",
    "network-interface.status",
    "network-interface.subnet-id",
    "network-interface.tag-key",
    "network-interface.tag-value",
    "network-interface.vpc-id",
    "network-performance-options.bandwidth-weighting",
    "operator.managed",
    "operator.principal",
    "outpost-arn",
    "owner-id",
    "placement-group-name",
    "placement-partition-number",
    "platform",
    "platform-details",
    "private-dns-name",
    "private-dns-name-options.enable-resource-name-dns-a-record",
    "private-dns-name-options.enable-resource-name-dns-aaaa-record",
    "private-dns-name-options.hostname-type",
    "private-ip-address",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "reason",
    "requester-id",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "source-dest-check",
    "spot-instance-request-id",
    "state-reason-code",
    "state-reason-message",
    "subnet-id",
    "tenancy",
    "tpm-support",
    "usage-operation",
    "usage-operation-update-time",
    "virtualization-type",
    "vpc-id",
];

pub fn describe_instances(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstancesRequest,
) -> Result<ec2::DescribeInstancesResult> {
    // There are no resources that another service manages.
    let ec2::DescribeInstancesRequest {
        instance_ids,
        include_managed_resources: _,
        dry_run: _,
        filters,
        next_token,
        max_results,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page =
        Page::new(tx, "DescribeInstances", (max_results, next_token.as_deref()), (5, 1000), !instance_ids.is_empty())?;
    let found = match &instance_ids[..] {
        [] => page.candidates::<Instance>(tx, !filters.is_empty()),
        ids => view::by_ids(tx, ids)?,
    };
    let (instances, next_token) = if filters.is_empty() {
        page.cut(found, |i| i.id.clone())
    } else {
        let kept = filtered(tx, found, &filters);
        page.cut(kept, |i| i.id.clone())
    };
    let seen: Vec<_> = instances.into_iter().map(|i| view::see(tx, i)).collect();
    Ok(ec2::DescribeInstancesResult { reservations: view::reservations(tx, &seen), next_token })
}

fn filtered(
    tx: &mut Tx<Tenant>,
    found: Vec<std::sync::Arc<Instance>>,
    filters: &Filters<'_>,
) -> Vec<std::sync::Arc<Instance>> {
    let mut names = GroupNames::default();
    let mut kept = Vec::new();
    for instance in found {
        let seen = view::see(tx, instance);
        if filters.match_all(|name| value(tx, &seen, &mut names, name)) {
            kept.push(seen.instance);
        }
    }
    kept
}

fn profile_value(tx: &mut Tx<Tenant>, seen: &Seen, name: &str) -> Option<String> {
    let shown = identity::instance::shown(&*identity::instance::of(tx, &seen.instance.id)?);
    if name.ends_with("arn") { shown.arn } else { shown.id }
}

fn value(tx: &mut Tx<Tenant>, seen: &Seen, names: &mut GroupNames, name: &str) -> Vec<String> {
    let i = &seen.instance;
    // What a terminated instance had in the network is no longer its own, and is not shown either.
    let alive = seen.state != State::Terminated;
    let eni = seen.eni.as_deref().filter(|_| alive);
    let public_ip = seen.public_ip.filter(|_| alive);
    let region = i.home.region();
    let one = |value: &str| vec![value.to_owned()];
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    if let (Some(what), true) = (name.strip_prefix("network-interface."), alive) {
        return seen.interfaces.iter().flat_map(|one| interface_value(tx, one, names, what)).collect();
    }
    if let Some(what) = name.strip_prefix("block-device-mapping.") {
        return seen.volumes.iter().filter_map(|v| block_device_value(seen, v, what)).collect();
    }
    if name.starts_with("capacity-reservation-") {
        return capacity_value(seen, name);
    }
    if let Some(what) = name.strip_prefix("metadata-options.") {
        return metadata_value(seen, what);
    }
    match name {
        "architecture" => one(&i.architecture),
        "availability-zone" => one(&i.zone),
        "availability-zone-id" => one(&zone_id(&i.zone)),
        "client-token" => some(i.client_token.clone()),
        "current-instance-boot-mode" => one("legacy-bios"),
        "dns-name" => some(seen.public_dns.clone()),
        "ebs-optimized" => one(&i.ebs_optimized.to_string()),
        "ena-support" => one("true"),
        "enclave-options.enabled" | "hibernation-options.configured" | "operator.managed" => one("false"),
        "group-id" | "instance.group-id" => group_ids(eni),
        "group-name" | "instance.group-name" => group_names(tx, eni, names),
        "hypervisor" => one("xen"),
        "iam-instance-profile.arn" | "iam-instance-profile.id" => some(profile_value(tx, seen, name)),
        "image-id" => one(i.image.as_str()),
        "instance-id" => one(i.id.as_str()),
        "instance-state-code" => vec![seen.state.code().to_string()],
        "instance-state-name" => one(seen.state.as_str()),
        "instance-type" => one(&i.instance_type),
        "ipv6-address" => seen.interfaces.iter().filter(|_| alive).flat_map(|one| ipv6(&one.eni)).collect(),
        "ip-address" => some(public_ip.map(|ip| ip.to_string())),
        "key-name" => some(i.key_name.clone()),
        "launch-index" => vec![i.launch_index.to_string()],
        "launch-time" => some(view::text_time(i.launched)),
        "monitoring-state" => one(if i.monitoring { "enabled" } else { "disabled" }),
        "private-ip-address" => some(eni.map(|e| e.private_ip.to_string())),
        "private-dns-name" => some(eni.map(|e| private_dns(e.private_ip, region))),
        "subnet-id" => some(alive.then(|| i.subnet.to_string())),
        "vpc-id" => some(alive.then(|| i.vpc.to_string())),
        "owner-id" => one(i.home.account()),
        "platform-details" => one("Linux/UNIX"),
        "reservation-id" => one(i.reservation.as_str()),
        "root-device-name" => one(&i.root_device),
        "root-device-type" => one("ebs"),
        "source-dest-check" => some(eni.map(|e| e.source_dest_check.to_string())),
        "reason" => one(&view::transition_reason(i, seen.state)),
        "state-reason-message" => some(view::reason(seen).map(|r| r.message)),
        "state-reason-code" => some(view::reason(seen).map(|r| r.code)),
        "usage-operation" => one("RunInstances"),
        "usage-operation-update-time" => some(view::text_time(i.created)),
        "virtualization-type" => one("hvm"),
        tag if tag.starts_with("tag") => tagging::filter_values(&seen.tags, tag),
        _ => option_value(tx, i, name),
    }
}

fn block_device_value(seen: &Seen, volume: &Volume, what: &str) -> Option<String> {
    let attachment = volume.attachment.as_ref()?;
    match what {
        "attach-time" => view::text_time(attachment.at),
        "delete-on-termination" => Some(attachment.delete_on_termination.to_string()),
        "device-name" => Some(attachment.device.clone()),
        "status" => Some(volume.attachment_state(&seen.instance, seen.report.as_deref()).into()),
        "volume-id" => Some(volume.id.to_string()),
        _ => None,
    }
}

fn capacity_value(seen: &Seen, name: &str) -> Vec<String> {
    let chosen = preference::shown(&seen.instance.options.capacity);
    let value = match name {
        "capacity-reservation-id" => seen.reservation.clone(),
        "capacity-reservation-specification.capacity-reservation-preference" => chosen.capacity_reservation_preference,
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id" => {
            chosen.capacity_reservation_target.and_then(|target| target.capacity_reservation_id)
        }
        // There are no groups of reservations.
        _ => None,
    };
    value.into_iter().collect()
}

fn option_value(tx: &mut Tx<Tenant>, i: &Instance, name: &str) -> Vec<String> {
    let value = match name {
        "maintenance-options.auto-recovery" => modify_instance_maintenance_options::shown(&i.options).auto_recovery,
        "private-dns-name-options.hostname-type" => Some("ip-name".to_owned()),
        "private-dns-name-options.enable-resource-name-dns-a-record"
        | "private-dns-name-options.enable-resource-name-dns-aaaa-record" => Some("false".to_owned()),
        "tenancy" => Some(view::tenancy(i).to_owned()),
        "placement-group-name" => {
            let group = i.options.group.as_ref().and_then(|id| tx.find::<PlacementGroup>(id));
            group.map(|g| g.name.clone())
        }
        "placement-partition-number" => i.options.partition.map(|n| n.to_string()),
        // Known names of things that no instance here has: lifecycle, requester, spot request, ….
        _ => None,
    };
    value.into_iter().collect()
}

fn metadata_value(seen: &Seen, what: &str) -> Vec<String> {
    let i = &seen.instance;
    let on = |yes: bool| if yes { "enabled" } else { "disabled" }.to_owned();
    let value = match what {
        "http-endpoint" => on(i.metadata.endpoint),
        "http-protocol-ipv4" => on(true),
        "http-protocol-ipv6" => on(i.metadata.ipv6),
        "http-put-response-hop-limit" => i.metadata.hop_limit.to_string(),
        "http-tokens" => if i.metadata.tokens_required { "required" } else { "optional" }.to_owned(),
        "instance-metadata-tags" => on(i.metadata.tags),
        "state" => metadata::progress(i, seen.state, seen.report.as_deref()).to_owned(),
        _ => return Vec::new(),
    };
    vec![value]
}

fn ipv6(eni: &NetworkInterface) -> Vec<String> {
    eni.ipv6.iter().map(ToString::to_string).collect()
}

fn group_ids(eni: Option<&NetworkInterface>) -> Vec<String> {
    eni.map(|e| e.groups.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn group_names(tx: &mut Tx<Tenant>, eni: Option<&NetworkInterface>, names: &mut GroupNames) -> Vec<String> {
    eni.map(|e| e.groups.iter().map(|id| names.of(tx, id)).collect()).unwrap_or_default()
}

/// Of the interface of an instance that is not terminated.
fn interface_value(tx: &mut Tx<Tenant>, seen: &Interface, names: &mut GroupNames, what: &str) -> Vec<String> {
    let eni = &*seen.eni;
    let each = |of: &dyn Fn(&Mapped) -> Option<String>| seen.addresses.iter().filter_map(of).collect::<Vec<_>>();
    let (account, attachment) = (eni.home.account(), eni.attachment.as_ref());
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    match what {
        "addresses.association.allocation-id" | "association.allocation-id" => each(&Mapped::allocation),
        "addresses.association.association-id" | "association.association-id" => each(&Mapped::association),
        "addresses.association.public-dns-name" | "association.public-dns-name" | "public-dns-name" => {
            each(&|m| m.public_dns.clone())
        }
        "addresses.association.ip-owner-id" | "association.ip-owner-id" => each(&|m| m.ip_owner(account)),
        "addresses.association.public-ip" | "association.public-ip" => each(&|m| Some(m.public_ip?.to_string())),
        "addresses.primary" => each(&|m| Some(m.primary.to_string())),
        "addresses.private-ip-address" | "private-ip-address" => each(&|m| Some(m.private_ip.to_string())),
        "attachment.attach-time" => some(attachment.and_then(|a| view::text_time(a.at))),
        "attachment.attachment-id" => some(attachment.map(|a| a.id.to_string())),
        "attachment.network-card-index" => vec!["0".into()],
        "attachment.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination.to_string())),
        "attachment.device-index" => some(attachment.map(|a| a.device_index.to_string())),
        "attachment.instance-id" => some(attachment.map(|a| a.instance.to_string())),
        "attachment.instance-owner-id" | "owner-id" => vec![account.to_owned()],
        "attachment.status" => vec![seen.status.into()],
        "availability-zone" => vec![eni.zone.clone()],
        "description" => vec![eni.description.clone()],
        "group-id" => group_ids(Some(eni)),
        "group-name" => group_names(tx, Some(eni), names),
        "ipv6-address" | "ipv6-addresses.ipv6-address" => ipv6(eni),
        "ipv6-addresses.is-primary-ipv6" => eni.ipv6.iter().map(|_| "false".into()).collect(),
        "mac-address" => vec![eni.mac.to_string()],
        "network-interface-id" => vec![eni.id.to_string()],
        "private-dns-name" | "addresses.private-dns-name" => {
            each(&|m| Some(private_dns(m.private_ip, eni.home.region())))
        }
        "ipv6-native" | "operator.managed" => vec!["false".into()],
        "tag-key" | "tag-value" => tagging::filter_values(&tagging::of(tx, eni.id.as_str()), what),
        "requester-managed" => vec![eni.requester_managed.to_string()],
        "source-dest-check" => vec![eni.source_dest_check.to_string()],
        "status" => vec!["in-use".into()],
        "subnet-id" => vec![eni.subnet.to_string()],
        "vpc-id" => vec![eni.vpc.to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_foreign_instance_answers_as_an_absent_one() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let absent = "i-00000000000000000";
        let foreign =
            cloud.tenant("other").call("DescribeInstances", &[("InstanceId.1", id.as_str())]).expect_err("foreign");
        let missing = cloud.tenant("other").call("DescribeInstances", &[("InstanceId.1", absent)]).expect_err("absent");
        assert_eq!(foreign.replace(id.as_str(), absent), missing);
        assert_eq!(cloud.tenant("other").instances().len(), 0);
    }

    #[test]
    fn filters_and_pages_show_each_instance_once() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").run_with(&[("MinCount", "12"), ("MaxCount", "12")]).expect("launches");
        cloud.settle();
        let mut shown = Vec::new();
        let mut token = String::new();
        loop {
            let mut ask =
                vec![("MaxResults", "5"), ("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "run*")];
            if !token.is_empty() {
                ask.push(("NextToken", token.as_str()));
            }
            let answer = cloud.tenant("acme").call("DescribeInstances", &ask).expect("answers");
            shown.extend(Cloud::ids(&answer, "instanceId"));
            match Cloud::ids(&answer, "nextToken").pop() {
                Some(next) => token = next,
                None => break,
            }
        }
        let mut made = made;
        made.sort();
        assert_eq!(shown, made);
        let unknown =
            cloud.tenant("acme").call("DescribeInstances", &[("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")]);
        assert_eq!(unknown.expect_err("unknown"), "InvalidParameterValue: The filter 'colour' is invalid");
    }
    #[test]
    fn nobody_else_manages_an_instance_its_interface_or_its_volume() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        for (name, found) in [("operator.managed", 2), ("network-interface.operator.managed", 2)] {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", "false")];
            let shown = cloud.tenant("acme").call("DescribeInstances", &ask).expect(name);
            assert_eq!(Cloud::ids(&shown, "managed"), vec!["false"; found], "{name}: {shown}");
        }
    }

    #[test]
    fn an_instance_is_found_by_what_its_interface_has() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let allocation = Cloud::ids(&made, "allocationId").remove(0);
        let ask = [("AllocationId", allocation.as_str()), ("InstanceId", &id)];
        let association = cloud.tenant("acme").call("AssociateAddress", &ask).expect("associates");
        let association = Cloud::ids(&association, "associationId").remove(0);
        for (name, value) in [
            ("network-interface.association.allocation-id", allocation.as_str()),
            ("network-interface.addresses.association.association-id", &association),
            ("network-interface.association.public-dns-name", "ec2-198-*"),
            ("network-interface.attachment.attach-time", "2026-*"),
            ("metadata-options.http-protocol-ipv4", "enabled"),
        ] {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = cloud.tenant("acme").call("DescribeInstances", &ask).expect(name);
            assert_eq!(Cloud::ids(&shown, "instanceId").first(), Some(&id), "{name}");
        }
    }

    #[test]
    fn what_is_not_shown_of_a_terminated_instance_does_not_find_it() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        let of = |element: &str| Cloud::ids(&shown, element).remove(0);
        let network = [
            ("vpc-id", of("vpcId")),
            ("subnet-id", of("subnetId")),
            ("private-ip-address", of("privateIpAddress")),
            ("ip-address", of("ipAddress")),
            ("network-interface.network-interface-id", of("networkInterfaceId")),
            ("instance.group-id", of("groupId")),
            ("network-interface.status", "in-use".into()),
        ];
        let found = |cloud: &mut Cloud, name: &str, value: &str| {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            Cloud::ids(&cloud.tenant("acme").call("DescribeInstances", &ask).expect(name), "instanceId").len()
        };
        for (name, value) in &network {
            assert_eq!(found(&mut cloud, name, value), 1, "{name}");
        }
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.exit(&id, awan_model::instance::Exit::Asked);
        for (name, value) in &network {
            assert_eq!(found(&mut cloud, name, value), 0, "{name}");
        }
        assert_eq!(found(&mut cloud, "reason", "User initiated (*"), 1);
        assert_eq!(found(&mut cloud, "state-reason-code", "Client.UserInitiatedShutdown"), 1);
    }
}
