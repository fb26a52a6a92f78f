//! The tree that the metadata service shows: built for each question from the plan, so it is never stale.
//! Source: "Instance metadata categories", EC2 documentation.

use std::collections::BTreeMap;

use awan_model::interface::{private_dns, public_dns};
use awan_model::plan::{HostPlan, InterfacePlan, ProfilePlan, VmPlan, VpcPlan};
use serde_json::json;

/// All show the same tree.
const VERSIONS: [&str; 29] = [
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
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
    "latest",
];

const TEXT: &str = "text/plain";

/// What lies at a path and what kind of text it is; none: nothing does. A folder shows its names, folders among them
/// with a slash.
pub fn find(
    plan: &HostPlan,
    network: &VpcPlan,
    interface: &InterfacePlan,
    vm: &VmPlan,
    parts: &[&str],
) -> Option<(&'static str, Vec<u8>)> {
    let Some((version, parts)) = parts.split_first() else {
        return Some((TEXT, VERSIONS.join("\n").into_bytes()));
    };
    if !VERSIONS.contains(version) {
        return None;
    }
    if parts == ["user-data"] {
        return vm.metadata.user_data.clone().map(|data| ("application/octet-stream", data));
    }
    let (network, interface) = primary(plan, vm).unwrap_or((network, interface));
    let files = files(plan, network, interface, vm);
    let path = parts.join("/");
    let text = files.get(&path).cloned().or_else(|| folder(&files, &path, vm))?;
    Some((TEXT, text.into_bytes()))
}

/// The interface that speaks for the instance, whichever it asked by.
fn primary<'a>(plan: &'a HostPlan, vm: &VmPlan) -> Option<(&'a VpcPlan, &'a InterfacePlan)> {
    own(plan, vm).min_by_key(|(_, interface)| interface.device_index)
}

fn own<'a>(plan: &'a HostPlan, vm: &VmPlan) -> impl Iterator<Item = (&'a VpcPlan, &'a InterfacePlan)> {
    let all = plan.network.vpcs.iter().flat_map(|network| network.interfaces.iter().map(move |i| (network, i)));
    all.filter(|(_, interface)| interface.instance == vm.id)
}

/// The names in a folder, in order. Keys of instances are shown as `0=name`, the roots of the tree without a slash.
fn folder(files: &BTreeMap<String, String>, path: &str, vm: &VmPlan) -> Option<String> {
    let top = path.is_empty();
    let prefix = if top { String::new() } else { format!("{path}/") };
    let below = files.range(prefix.clone()..).map_while(|(path, _)| path.strip_prefix(&prefix));
    let mut names: Vec<String> = below
        .map(|rest| match rest.split_once('/') {
            Some((folder, _)) if top => folder.to_owned(),
            Some((folder, _)) => format!("{folder}/"),
            None => rest.to_owned(),
        })
        .collect();
    names.dedup();
    if path == "meta-data/public-keys" && !names.is_empty() {
        return Some(format!("0={}", vm.metadata.key_name.as_deref().unwrap_or_default()));
    }
    if top && vm.metadata.user_data.is_some() {
        names.push("user-data".to_owned());
    }
    (!names.is_empty()).then(|| names.join("\n"))
}

fn files(plan: &HostPlan, network: &VpcPlan, interface: &InterfacePlan, vm: &VmPlan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let about = &vm.metadata;
    let private_name = private_dns(interface.private_ip, &about.region);
    let mut put = |path: &str, text: &str| drop(files.insert(format!("meta-data/{path}"), text.to_owned()));
    put("ami-id", vm.metadata.image.as_str());
    put("ami-launch-index", &about.launch_index.to_string());
    put("ami-manifest-path", "(unknown)");
    put("block-device-mapping/ami", about.root_device.trim_start_matches("/dev/"));
    put("block-device-mapping/root", &about.root_device);
    for (number, disk) in vm.disks.iter().filter(|disk| disk.device != about.root_device).enumerate() {
        put(&format!("block-device-mapping/ebs{}", number + 1), disk.device.trim_start_matches("/dev/"));
    }
    put("hostname", &private_name);
    put("local-hostname", &private_name);
    put("local-ipv4", &interface.private_ip.to_string());
    if let Some(ip) = interface.ipv6.first() {
        put("ipv6", &ip.to_string());
    }
    put("instance-action", "none");
    put("instance-id", vm.id.as_str());
    put("instance-life-cycle", "on-demand");
    put("instance-type", &vm.instance_type);
    put("mac", &interface.mac.to_string());
    put("placement/availability-zone", &about.zone);
    put("placement/availability-zone-id", &zone_id(&about.zone));
    put("placement/region", &about.region);
    put("profile", "default-hvm");
    put("reservation-id", about.reservation.as_str());
    put("security-groups", &group_names(network, interface).join("\n"));
    put("services/domain", "amazonaws.com");
    put("services/partition", "aws");
    put("system", "nitro");
    put("events/maintenance/history", "[]");
    put("events/maintenance/scheduled", "[]");
    if let Some(key) = &about.public_key {
        put("public-keys/0/openssh-key", key);
    }
    for (path, text) in about.profile.iter().flat_map(role) {
        put(&path, &text);
    }
    if let Some(ip) = interface.public_ip {
        put("public-ipv4", &ip.to_string());
    }
    if let Some(name) = public_name(network, interface) {
        put("public-hostname", &name);
    }
    for (key, value) in about.tags.iter().filter(|(key, _)| about.options.tags && is_name(key)) {
        put(&format!("tags/instance/{key}"), value);
    }
    for (network, interface) in own(plan, vm) {
        for (name, text) in one_interface(network, interface, vm) {
            put(&format!("network/interfaces/macs/{}/{name}", interface.mac), &text);
        }
    }
    files.insert("dynamic/instance-identity/document".into(), document(interface, vm));
    files
}

/// Keys that can be a name in the tree, as EC2 has it.
fn is_name(key: &str) -> bool {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c));
    plain && !["", ".", "..", "_index"].contains(&key)
}

fn public_name(network: &VpcPlan, interface: &InterfacePlan) -> Option<String> {
    interface.public_ip.filter(|_| network.dns_hostnames).map(|ip| public_dns(ip, &network.region))
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
        ("local-ipv4s", interface.addresses().map(|(ip, _)| ip.to_string()).collect::<Vec<_>>().join("\n")),
        ("mac", interface.mac.to_string()),
        ("owner-id", vm.metadata.account.clone()),
        ("security-group-ids", ids.join("\n")),
        ("security-groups", group_names(network, interface).join("\n")),
        ("subnet-id", interface.subnet.to_string()),
        ("subnet-ipv4-cidr-block", subnet),
        ("vpc-id", network.id.to_string()),
        ("vpc-ipv4-cidr-block", network.cidr.to_string()),
        ("vpc-ipv4-cidr-blocks", network.cidrs().map(|cidr| cidr.to_string()).collect::<Vec<_>>().join("\n")),
    ];
    let lines = |all: Vec<String>| all.join("\n");
    if !interface.ipv6.is_empty() {
        out.push(("ipv6s", lines(interface.ipv6.iter().map(ToString::to_string).collect())));
    }
    let subnet = network.subnets.iter().find(|s| s.id == interface.subnet).and_then(|s| s.ipv6);
    out.extend(subnet.map(|net| ("subnet-ipv6-cidr-blocks", net.to_string())));
    if !network.ipv6.is_empty() {
        out.push(("vpc-ipv6-cidr-blocks", lines(network.ipv6.iter().map(ToString::to_string).collect())));
    }
    let public: Vec<_> = interface.addresses().filter_map(|(private, public)| Some((public?, private))).collect();
    let associations: Vec<_> =
        public.iter().map(|(public, private)| (format!("ipv4-associations/{public}"), private.to_string())).collect();
    if !public.is_empty() {
        out.push(("public-ipv4s", public.iter().map(|(ip, _)| ip.to_string()).collect::<Vec<_>>().join("\n")));
    }
    out.extend(associations.iter().map(|(name, private)| (name.as_str(), private.clone())));
    out.extend(public_name(network, interface).map(|name| ("public-hostname", name)));
    out.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

/// The role of the instance and its credentials. Source: "Retrieve security credentials from instance metadata".
fn role(profile: &ProfilePlan) -> [(String, String); 2] {
    let info = json!({
        "Code": "Success",
        "LastUpdated": time(profile.issued),
        "InstanceProfileArn": profile.arn,
        "InstanceProfileId": profile.id,
    });
    let credentials = json!({
        "Code": "Success",
        "LastUpdated": time(profile.issued),
        "Type": "AWS-HMAC",
        "AccessKeyId": profile.access_key_id,
        "SecretAccessKey": profile.secret_access_key,
        "Token": profile.token,
        "Expiration": time(profile.expires),
    });
    let text = |value| serde_json::to_string_pretty(&value).unwrap_or_default();
    [("iam/info".to_owned(), text(info)), (format!("iam/security-credentials/{}", profile.role), text(credentials))]
}

fn time(millis: u64) -> Option<String> {
    let at = i64::try_from(millis / 1000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn document(interface: &InterfacePlan, vm: &VmPlan) -> String {
    let about = &vm.metadata;
    let document = json!({
        "accountId": about.account,
        "architecture": about.architecture,
        "availabilityZone": about.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": vm.metadata.image,
        "instanceId": vm.id,
        "instanceType": vm.instance_type,
        "kernelId": null,
        "pendingTime": time(about.launched),
        "privateIp": interface.private_ip.to_string(),
        "ramdiskId": null,
        "region": about.region,
        "version": "2017-09-30",
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// `us-east-1a` → `use1-az1`, the same id that DescribeAvailabilityZones gives.
fn zone_id(zone: &str) -> String {
    let letter = zone.chars().next_back();
    let region = letter.and_then(|letter| zone.strip_suffix(letter)).unwrap_or(zone);
    let number = letter.map_or(1, |letter| u32::from(letter).saturating_sub(u32::from('a')) + 1);
    let short = match region.split('-').collect::<Vec<_>>()[..] {
        [area, direction, n] => match direction {
            "northeast" => format!("{area}ne{n}"),
            "northwest" => format!("{area}nw{n}"),
            "southeast" => format!("{area}se{n}"),
            "southwest" => format!("{area}sw{n}"),
            other => format!("{area}{}{n}", other.chars().take(1).collect::<String>()),
        },
        _ => region.replace('-', ""),
    };
    format!("{short}-az{number}")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use awan_model::instance::Wish;
    use awan_model::plan::DiskPlan;
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;
    use crate::hypervisor::testing::{plan, vm};
    use crate::network::testing::vpc_plan;

    fn a_plan() -> HostPlan {
        let mut plan = plan(vec![vm("i-00000000000000001", Wish::On, 1)]);
        plan.vms[0]
            .disks
            .push(DiskPlan { volume: "vol-0123456789abcdef1".parse().expect("an id"), device: "/dev/sdf".into() });
        plan.vms[0].metadata.options.tags = true;
        plan.network.vpcs.push(vpc_plan());
        plan
    }

    fn ask(plan: &HostPlan, path: &str) -> Option<String> {
        let network = &plan.network.vpcs[0];
        let parts = super::super::path::parts(path)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (_, bytes) = find(plan, network, &network.interfaces[0], &plan.vms[0], &parts)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All that a guest finds when it follows every name.
    fn crawl(plan: &HostPlan, path: &str, out: &mut String) {
        let text = ask(plan, path).expect("a listed name is there");
        for name in text.lines() {
            let name = if path.ends_with("/public-keys/") { "0/" } else { name };
            if name.ends_with('/') {
                crawl(plan, &format!("{path}{name}"), out);
            } else {
                let text = ask(plan, &format!("{path}{name}")).expect("a listed name is there");
                writeln!(out, "{path}{name}: {}", text.replace('\n', " ")).expect("memory");
            }
        }
    }

    #[test]
    fn the_whole_tree() {
        let mut out = String::new();
        for root in ["/latest/dynamic/", "/latest/meta-data/"] {
            crawl(&a_plan(), root, &mut out);
        }
        expect![[r#"
            /latest/dynamic/instance-identity/document: {   "accountId": "123456789012",   "architecture": "x86_64",   "availabilityZone": "us-east-1a",   "billingProducts": null,   "devpayProductCodes": null,   "imageId": "ami-00000000000000001",   "instanceId": "i-00000000000000001",   "instanceType": "t3.micro",   "kernelId": null,   "marketplaceProductCodes": null,   "pendingTime": "2026-11-24T12:00:00Z",   "privateIp": "10.0.0.5",   "ramdiskId": null,   "region": "us-east-1",   "version": "2017-09-30" }
            /latest/meta-data/ami-id: ami-00000000000000001
            /latest/meta-data/ami-launch-index: 0
            /latest/meta-data/ami-manifest-path: (unknown)
            /latest/meta-data/block-device-mapping/ami: xvda
            /latest/meta-data/block-device-mapping/ebs1: sdf
            /latest/meta-data/block-device-mapping/root: /dev/xvda
            /latest/meta-data/events/maintenance/history: []
            /latest/meta-data/events/maintenance/scheduled: []
            /latest/meta-data/hostname: ip-10-0-0-5.ec2.internal
            /latest/meta-data/instance-action: none
            /latest/meta-data/instance-id: i-00000000000000001
            /latest/meta-data/instance-life-cycle: on-demand
            /latest/meta-data/instance-type: t3.micro
            /latest/meta-data/local-hostname: ip-10-0-0-5.ec2.internal
            /latest/meta-data/local-ipv4: 10.0.0.5
            /latest/meta-data/mac: 0a:00:00:00:00:01
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/device-number: 0
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/interface-id: eni-00000000000000001
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/ipv4-associations/198.18.0.3: 10.0.0.5
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/local-hostname: ip-10-0-0-5.ec2.internal
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/local-ipv4s: 10.0.0.5
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/mac: 0a:00:00:00:00:01
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/owner-id: 123456789012
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/public-hostname: ec2-198-18-0-3.compute-1.amazonaws.com
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/public-ipv4s: 198.18.0.3
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/security-group-ids: sg-00000000000000001
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/security-groups: default
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/subnet-id: subnet-00000000000000001
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/subnet-ipv4-cidr-block: 10.0.0.0/24
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/vpc-id: vpc-00000000000000001
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/vpc-ipv4-cidr-block: 10.0.0.0/16
            /latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01/vpc-ipv4-cidr-blocks: 10.0.0.0/16
            /latest/meta-data/placement/availability-zone: us-east-1a
            /latest/meta-data/placement/availability-zone-id: use1-az1
            /latest/meta-data/placement/region: us-east-1
            /latest/meta-data/profile: default-hvm
            /latest/meta-data/public-hostname: ec2-198-18-0-3.compute-1.amazonaws.com
            /latest/meta-data/public-ipv4: 198.18.0.3
            /latest/meta-data/public-keys/0/openssh-key: ssh-ed25519 AAAA
            /latest/meta-data/reservation-id: r-00000000000000001
            /latest/meta-data/security-groups: default
            /latest/meta-data/services/domain: amazonaws.com
            /latest/meta-data/services/partition: aws
            /latest/meta-data/system: nitro
            /latest/meta-data/tags/instance/Name: web
        "#]].assert_eq(&out);
    }

    #[test]
    fn a_role_is_shown_with_its_credentials() {
        let mut plan = a_plan();
        plan.vms[0].metadata.profile = Some(ProfilePlan {
            arn: "arn:aws:iam::123456789012:instance-profile/web".into(),
            id: "AIPAEXAMPLE".into(),
            role: "web+x".into(),
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "secret".into(),
            token: "token".into(),
            issued: 1_795_521_600_000,
            expires: 1_795_543_200_000,
        });
        let mut out = String::new();
        crawl(&plan, "/latest/meta-data/iam/", &mut out);
        expect![[r#"
            /latest/meta-data/iam/info: {   "Code": "Success",   "InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/web",   "InstanceProfileId": "AIPAEXAMPLE",   "LastUpdated": "2026-11-24T12:00:00Z" }
            /latest/meta-data/iam/security-credentials/web+x: {   "AccessKeyId": "ASIAEXAMPLE",   "Code": "Success",   "Expiration": "2026-11-24T18:00:00Z",   "LastUpdated": "2026-11-24T12:00:00Z",   "SecretAccessKey": "secret",   "Token": "token",   "Type": "AWS-HMAC" }
        "#]].assert_eq(&out);
        assert_eq!(ask(&plan, "/latest/meta-data/iam/security-credentials/").as_deref(), Some("web+x"));
    }

    #[test]
    fn folders_list_their_names() {
        let plan = a_plan();
        for (path, names) in [
            ("/latest", "dynamic\nmeta-data\nuser-data"),
            ("/latest/dynamic/", "instance-identity/"),
            ("/latest/meta-data/public-keys", "0=key"),
            ("/latest/meta-data/public-keys/0/", "openssh-key"),
            ("/latest/meta-data/network/interfaces/macs/", "0a:00:00:00:00:01/"),
            ("/latest/meta-data/tags/", "instance/"),
            ("/latest/user-data/", "#!/bin/sh\n"),
        ] {
            assert_eq!(ask(&plan, path).as_deref(), Some(names), "{path}");
        }
    }

    #[test]
    fn every_version_shows_the_same_tree() {
        let plan = a_plan();
        let versions = ask(&plan, "/").expect("versions");
        assert!(versions.ends_with("\nlatest"));
        let all = ask(&plan, "/latest/meta-data/");
        for version in versions.lines() {
            assert_eq!(ask(&plan, &format!("/{version}/meta-data/")), all, "{version}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_there() {
        let mut plan = a_plan();
        plan.vms[0].metadata.user_data = None;
        plan.vms[0].metadata.public_key = None;
        plan.vms[0].metadata.options.tags = false;
        plan.network.vpcs[0].interfaces[0].public_ip = None;
        for path in [
            "/1999-01-01/meta-data/",
            "/latest/meta-data/nothing",
            "/latest/meta-data/instance-id/x",
            "/latest/meta-data/instance",
            "/latest/meta-data/iam/",
            "/latest/meta-data/public-keys/",
            "/latest/meta-data/public-ipv4",
            "/latest/meta-data/public-hostname",
            "/latest/meta-data/tags/",
            "/latest/user-data",
        ] {
            assert_eq!(ask(&plan, path), None, "{path}");
        }
        assert_eq!(ask(&plan, "/latest/").as_deref(), Some("dynamic\nmeta-data"));
    }

    #[test]
    fn tags_that_can_be_no_name_are_not_shown() {
        let mut plan = a_plan();
        let keys = ["ok:key@1", "a/b", "a b", "a\nb", ".", "..", "", "_index", "ü"];
        plan.vms[0].metadata.tags = keys.into_iter().map(|key| (key.to_owned(), "x".to_owned())).collect();
        assert_eq!(ask(&plan, "/latest/meta-data/tags/instance/").as_deref(), Some("ok:key@1"));
    }

    #[test]
    fn the_first_interface_speaks_for_the_instance() {
        let mut plan = a_plan();
        let mut first = plan.network.vpcs[0].interfaces[0].clone();
        first.mac.0[5] = 2;
        first.private_ip = "10.0.0.7".parse().expect("an address");
        plan.network.vpcs[0].interfaces[0].device_index = 1;
        plan.network.vpcs[0].interfaces.push(first);
        assert_eq!(ask(&plan, "/latest/meta-data/local-ipv4").as_deref(), Some("10.0.0.7"));
        let macs = ask(&plan, "/latest/meta-data/network/interfaces/macs/");
        assert_eq!(macs.as_deref(), Some("0a:00:00:00:00:01/\n0a:00:00:00:00:02/"));
    }

    #[test]
    fn secondary_addresses_are_told_after_the_primary() {
        let mut plan = a_plan();
        let (private_ip, public_ip) = ("10.0.0.6".parse().expect("an address"), "198.18.0.4".parse().ok());
        plan.network.vpcs[0].interfaces[0].secondary = vec![awan_model::plan::SecondaryPlan { private_ip, public_ip }];
        let macs = "/latest/meta-data/network/interfaces/macs/0a:00:00:00:00:01";
        assert_eq!(ask(&plan, &format!("{macs}/local-ipv4s")).as_deref(), Some("10.0.0.5\n10.0.0.6"));
        assert_eq!(ask(&plan, &format!("{macs}/public-ipv4s")).as_deref(), Some("198.18.0.3\n198.18.0.4"));
        assert_eq!(ask(&plan, &format!("{macs}/ipv4-associations/198.18.0.4")).as_deref(), Some("10.0.0.6"));
    }

    #[test]
    fn zones_have_the_ids_that_the_api_gives_them() {
        let zones = ["us-east-1a", "eu-central-1b", "ap-southeast-2c", "home", "rack-1a", ""];
        let ids = zones.map(zone_id);
        assert_eq!(ids, ["use1-az1", "euc1-az2", "apse2-az3", "hom-az5", "rack1-az1", "-az1"]);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "/(latest|meta-data|public-keys|/|\\PC){0,12}") {
            let _ = ask(&a_plan(), &path);
        }
    }
}
