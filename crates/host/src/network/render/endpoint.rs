//! Endpoints: addresses of subnets at which the VPC's namespace itself answers. What goes there and comes back passes
//! what it would pass between two guests, in the hooks of what is the namespace's own.
//!
//! ```text
//!   tap ── leave_<subnet> ── enter_<endpoint's> ── the guest's groups ── TCP 80, 443 ── the endpoint's groups ──► relay
//!   tap ◄── enter_<subnet> ── leave_<endpoint's> ◄──────────────────────────────────────────────────── answers
//! ```
//!
//! **Invariant:** only guests of the VPC get there. Peers and the internet gateway do not.

use std::collections::BTreeMap;

use awan_model::id::SubnetId;
use awan_model::plan::{EndpointInterfacePlan, VpcPlan};

use super::Ruleset;

pub fn rules(rules: &mut Ruleset, plan: &VpcPlan) {
    let all = || plan.endpoint_interfaces();
    rules.set("endpoints", "ipv4_addr", all().map(|i| i.private_ip.to_string()));
    for side in ["enter", "leave"] {
        let jump = |i: &EndpointInterfacePlan| format!("{} : jump {side}_{}", i.private_ip, i.subnet.digits());
        rules.map(&format!("endpoint_{side}"), "ipv4_addr : verdict", all().map(jump));
    }
}

/// Of each subnet with endpoints, what tells that a packet to one of them does not leave it.
pub fn near(plan: &VpcPlan) -> BTreeMap<&SubnetId, String> {
    let mut near: BTreeMap<&SubnetId, Vec<String>> = BTreeMap::new();
    for interface in plan.endpoint_interfaces() {
        near.entry(&interface.subnet).or_default().push(interface.private_ip.to_string());
    }
    near.into_iter().map(|(subnet, ips)| (subnet, format!("ip daddr {{ {} }} accept", ips.join(", ")))).collect()
}

pub const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        "acl_input",
        "type filter hook input priority -20; policy accept;",
        &["ip daddr @endpoints iifname vmap @leave", "ip daddr vmap @endpoint_enter"],
    ),
    (
        "acl_output",
        "type filter hook output priority -20; policy accept;",
        &["ip saddr vmap @endpoint_leave", "ip saddr @endpoints oifname vmap @enter"],
    ),
    (
        "sg_input",
        "type filter hook input priority -10; policy accept;",
        &["ip daddr @endpoints ct state new iifname vmap @egress"],
    ),
    (
        "endpoint_in",
        "",
        &[
            r#"iifname != "tap*" counter drop"#,
            "ct state established,related accept",
            "ct state invalid drop",
            // Source: "Access an AWS service using an interface VPC endpoint": endpoints carry TCP alone.
            "meta l4proto != tcp counter drop",
            "tcp dport != { 80, 443 } counter drop",
            "ip daddr vmap @endpoint_ingress",
            "drop",
        ],
    ),
];
