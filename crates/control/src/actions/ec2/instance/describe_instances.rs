//! DescribeInstances.

use awan_model::instance::Instance;
use awan_model::interface::{private_dns, public_dns};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view::{self, GroupNames, Seen};
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "architecture",
    "availability-zone",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "group-id",
    "group-name",
    "hypervisor",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "metadata-options.http-tokens",
    "monitoring-state",
    "network-interface.addresses.private-ip-address",
    "network-interface.group-id",
    "network-interface.mac-address",
    "network-interface.network-interface-id",
    "network-interface.private-dns-name",
    "network-interface.subnet-id",
    "network-interface.vpc-id",
    "owner-id",
    "placement-group-name",
    "private-dns-name",
    "private-ip-address",
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
    let found = if instance_ids.is_empty() { tx.list::<Instance>() } else { view::by_ids(tx, &instance_ids)? };
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

fn value(tx: &mut Tx<Tenant>, seen: &Seen, names: &mut GroupNames, name: &str) -> Vec<String> {
    let i = &seen.instance;
    let eni = seen.eni.as_deref();
    let region = i.home.region();
    let one = |value: &str| vec![value.to_owned()];
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let attachment = seen.volume.as_ref().and_then(|v| v.attachment.clone());
    match name {
        "architecture" => one(&i.architecture),
        "availability-zone" => one(&i.zone),
        "block-device-mapping.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination.to_string())),
        "block-device-mapping.device-name" => some(attachment.map(|a| a.device)),
        "block-device-mapping.status" => some(attachment.map(|_| "attached".into())),
        "block-device-mapping.volume-id" => some(seen.volume.as_ref().map(|v| v.id.to_string())),
        "client-token" => some(i.client_token.clone()),
        "dns-name" => some(seen.public_ip.map(|ip| public_dns(ip, region))),
        "group-id" | "instance.group-id" | "network-interface.group-id" => {
            eni.map(|e| e.groups.iter().map(ToString::to_string).collect()).unwrap_or_default()
        }
        "group-name" | "instance.group-name" => {
            eni.map(|e| e.groups.iter().map(|id| names.of(tx, id)).collect()).unwrap_or_default()
        }
        "hypervisor" => one("xen"),
        "image-id" => one(i.image.as_str()),
        "instance-id" => one(i.id.as_str()),
        "instance-state-code" => vec![seen.state.code().to_string()],
        "instance-state-name" => one(seen.state.as_str()),
        "instance-type" => one(&i.instance_type),
        "ip-address" => some(seen.public_ip.map(|ip| ip.to_string())),
        "key-name" => some(i.key_name.clone()),
        "launch-index" => vec![i.launch_index.to_string()],
        "launch-time" => some(launch_time(i)),
        "metadata-options.http-tokens" => one(if i.metadata.tokens_required { "required" } else { "optional" }),
        "monitoring-state" => one(if i.monitoring { "enabled" } else { "disabled" }),
        "private-ip-address" | "network-interface.addresses.private-ip-address" => {
            some(eni.map(|e| e.private_ip.to_string()))
        }
        "network-interface.mac-address" => some(eni.map(|e| e.mac.to_string())),
        "network-interface.network-interface-id" => one(i.interface.as_str()),
        "private-dns-name" | "network-interface.private-dns-name" => {
            some(eni.map(|e| private_dns(e.private_ip, region)))
        }
        "subnet-id" | "network-interface.subnet-id" => one(i.subnet.as_str()),
        "vpc-id" | "network-interface.vpc-id" => one(i.vpc.as_str()),
        "owner-id" => one(i.home.account()),
        "reservation-id" => one(i.reservation.as_str()),
        "root-device-name" => one(&i.root_device),
        "root-device-type" => one("ebs"),
        "source-dest-check" => some(eni.map(|e| e.source_dest_check.to_string())),
        "reason" | "state-reason-message" => some(view::reason(seen).map(|r| r.message)),
        "state-reason-code" => some(view::reason(seen).map(|r| r.code)),
        "tenancy" => one("default"),
        "virtualization-type" => one("hvm"),
        tag if tag.starts_with("tag") => tagging::filter_values(&seen.tags, tag),
        // Known names of things that no instance here has: lifecycle, requester, spot request, placement group.
        _ => Vec::new(),
    }
}

fn launch_time(i: &Instance) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(view::time(i.launched)?.0).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
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
}
