//! The tree that the metadata service shows: built for each question from the plan, so it is never stale.

use std::collections::BTreeMap;

use awan_model::interface::{private_dns, public_dns};
use awan_model::plan::{HostPlan, InterfacePlan, VmPlan, VpcPlan};
use serde_json::json;

const VERSIONS: [&str; 20] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2018-09-24",
    "2021-03-23",
    "2021-07-15",
    "latest",
];

/// What lies at a path; none: nothing does. A folder shows its names, folders among them with a slash.
pub fn find(plan: &HostPlan, network: &VpcPlan, interface: &InterfacePlan, vm: &VmPlan, path: &str) -> Option<Vec<u8>> {
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return Some(VERSIONS.join("\n").into_bytes());
    }
    if path.len() > 1024 {
        return None;
    }
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    if !VERSIONS.contains(&version) {
        return None;
    }
    if rest.trim_end_matches('/') == "user-data" {
        return vm.metadata.user_data.clone();
    }
    let files = files(plan, network, interface, vm);
    if let Some(text) = files.get(rest).or_else(|| files.get(rest.strip_suffix('/').unwrap_or(rest))) {
        return Some(text.clone().into_bytes());
    }
    folder(&files, rest, vm)
}

/// The names in a folder, in order. Keys of instances are shown as `0=name`.
fn folder(files: &BTreeMap<String, String>, path: &str, vm: &VmPlan) -> Option<Vec<u8>> {
    let prefix = if path.is_empty() || path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
    let mut names: Vec<String> = Vec::new();
    let below = files.range(prefix.clone()..).take_while(|(k, _)| k.starts_with(&prefix));
    for (key, _) in below {
        let rest = &key[prefix.len()..];
        let name = match rest.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => rest.to_owned(),
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    if prefix == "meta-data/public-keys/" {
        let key = vm.metadata.key_name.as_ref().filter(|_| !names.is_empty())?;
        return Some(format!("0={key}").into_bytes());
    }
    if prefix.is_empty() && vm.metadata.user_data.is_some() {
        names.push("user-data".to_owned());
    }
    if names.is_empty() { None } else { Some(names.join("\n").into_bytes()) }
}

fn files(plan: &HostPlan, network: &VpcPlan, interface: &InterfacePlan, vm: &VmPlan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let about = &vm.metadata;
    let private_name = private_dns(interface.private_ip, &about.region);
    let mut put = |path: &str, text: &str| drop(files.insert(format!("meta-data/{path}"), text.to_owned()));
    put("ami-id", vm.image.as_str());
    put("ami-launch-index", &about.launch_index.to_string());
    put("ami-manifest-path", "(unknown)");
    put("block-device-mapping/ami", about.root_device.trim_start_matches("/dev/"));
    put("block-device-mapping/root", &about.root_device);
    put("hostname", &private_name);
    put("local-hostname", &private_name);
    put("local-ipv4", &interface.private_ip.to_string());
    put("instance-action", "none");
    put("instance-id", vm.id.as_str());
    put("instance-life-cycle", "on-demand");
    put("instance-type", &vm.instance_type);
    put("mac", &interface.mac.to_string());
    put("placement/availability-zone", &about.zone);
    put("placement/region", &about.region);
    put("profile", "default-hvm");
    put("reservation-id", about.reservation.as_str());
    put("security-groups", &group_names(network, interface).join("\n"));
    put("services/domain", "amazonaws.com");
    put("services/partition", "aws");
    put("events/maintenance/history", "[]");
    put("events/maintenance/scheduled", "[]");
    if let Some(key) = &about.public_key {
        put("public-keys/0/openssh-key", key);
    }
    if let Some(ip) = interface.public_ip {
        put("public-ipv4", &ip.to_string());
        put("public-hostname", &public_dns(ip, &about.region));
    }
    for (key, value) in &about.tags {
        put(&format!("tags/instance/{key}"), value);
    }
    let own = plan.network.vpcs.iter().flat_map(|v| v.interfaces.iter().map(move |i| (v, i)));
    for (network, interface) in own.filter(|(_, i)| i.instance == vm.id) {
        for (name, text) in one_interface(network, interface, vm) {
            put(&format!("network/interfaces/macs/{}/{name}", interface.mac), &text);
        }
    }
    files.insert("dynamic/instance-identity/document".into(), document(interface, vm));
    files
}

fn group_names(network: &VpcPlan, interface: &InterfacePlan) -> Vec<String> {
    let name = |id: &awan_model::id::GroupId| network.groups.iter().find(|g| g.id == *id).map(|g| g.name.clone());
    interface.groups.iter().filter_map(name).collect()
}

fn one_interface(network: &VpcPlan, interface: &InterfacePlan, vm: &VmPlan) -> Vec<(String, String)> {
    let region = &vm.metadata.region;
    let subnet =
        network.subnets.iter().find(|s| s.id == interface.subnet).map(|s| s.cidr.to_string()).unwrap_or_default();
    let ids: Vec<_> = interface.groups.iter().map(ToString::to_string).collect();
    let mut out = vec![
        ("device-number", interface.device_index.to_string()),
        ("interface-id", interface.id.to_string()),
        ("local-hostname", private_dns(interface.private_ip, region)),
        ("local-ipv4s", interface.private_ip.to_string()),
        ("mac", interface.mac.to_string()),
        ("owner-id", vm.metadata.account.clone()),
        ("security-group-ids", ids.join("\n")),
        ("security-groups", group_names(network, interface).join("\n")),
        ("subnet-id", interface.subnet.to_string()),
        ("subnet-ipv4-cidr-block", subnet),
        ("vpc-id", network.id.to_string()),
        ("vpc-ipv4-cidr-block", network.cidr.to_string()),
        ("vpc-ipv4-cidr-blocks", network.cidr.to_string()),
    ];
    let association = interface.public_ip.map(|ip| format!("ipv4-associations/{ip}"));
    if let (Some(ip), Some(association)) = (interface.public_ip, &association) {
        out.push(("public-ipv4s", ip.to_string()));
        out.push(("public-hostname", public_dns(ip, region)));
        out.push((association, interface.private_ip.to_string()));
    }
    out.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn document(interface: &InterfacePlan, vm: &VmPlan) -> String {
    let about = &vm.metadata;
    let pending = i64::try_from(about.launched / 1000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());

    let document = json!({
        "accountId": about.account,
        "architecture": about.architecture,
        "availabilityZone": about.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": vm.image,
        "instanceId": vm.id,
        "instanceType": vm.instance_type,
        "kernelId": null,
        "pendingTime": pending.map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        "privateIp": interface.private_ip.to_string(),
        "ramdiskId": null,
        "region": about.region,
        "version": "2017-09-30",
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use awan_model::instance::Wish;
    use proptest::prelude::*;

    use super::*;
    use crate::hypervisor::testing::{plan, vm};
    use crate::network::testing::vpc_plan;

    fn ask(path: &str) -> Option<String> {
        let mut plan = plan(vec![vm("i-00000000000000001", Wish::On, 1)]);
        plan.network.vpcs.push(vpc_plan());
        let network = &plan.network.vpcs[0];
        let found = find(&plan, network, &network.interfaces[0], &plan.vms[0], path);
        found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn folders_list_and_files_answer() {
        assert!(ask("/").expect("versions").ends_with("latest"));
        assert_eq!(ask("/latest").as_deref(), Some("dynamic/\nmeta-data/\nuser-data"));
        assert_eq!(ask("/latest/meta-data/public-keys/").as_deref(), Some("0=key"));
        assert_eq!(ask("/latest/meta-data/public-keys/0/").as_deref(), Some("openssh-key"));
        assert_eq!(ask("/2021-03-23/meta-data/public-keys/0/openssh-key").as_deref(), Some("ssh-ed25519 AAAA"));
        assert_eq!(ask("/latest/meta-data/public-ipv4").as_deref(), Some("198.18.0.3"));
        assert_eq!(ask("/latest/meta-data/tags/instance/Name").as_deref(), Some("web"));
        assert_eq!(ask("/latest/meta-data/network/interfaces/macs/").as_deref(), Some("0a:00:00:00:00:01/"));
        assert_eq!(ask("/latest/user-data").as_deref(), Some("#!/bin/sh\n"));
        assert!(
            ask("/latest/dynamic/instance-identity/document")
                .expect("there")
                .contains("\"accountId\": \"123456789012\"")
        );
    }

    #[test]
    fn what_is_not_there_is_not_there() {
        for path in [
            "/1999-01-01/meta-data/",
            "/latest/meta-data/nothing",
            "/latest/meta-data/instance-id/x",
            "/latest/../x",
            "//",
            "/%2e%2e",
        ] {
            assert_eq!(ask(path).filter(|_| path != "//"), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,80}") {
            let _ = ask(&path);
        }
    }
}
