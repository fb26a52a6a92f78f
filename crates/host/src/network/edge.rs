//! The edge: one namespace in which the public addresses of all VPCs meet the host.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use awan_model::id::VpcId;
use ipnet::Ipv4Net;

use super::driver::NetworkConfig;
use super::netns;
use super::render::{self, Edge};
use super::vpc::VPC_IP;

const HOST_MAC: &str = "0a:ff:00:00:01:01";
const UP_MAC: &str = "0a:ff:00:00:01:02";

/// A VPC's link at the edge: at most 15 characters.
pub fn link_name(vpc: &VpcId) -> String {
    let digits = vpc.digits();
    format!("g-{}", &digits[digits.len().saturating_sub(12)..])
}

fn host_link(tag: &str) -> String {
    format!("aw{tag}")
}

/// The host's address in the pool, and the edge's.
fn ends(pool: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let first = u32::from(pool.network());
    (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2))
}

pub fn ensure(config: &NetworkConfig, name: &str, pool: Ipv4Net) -> Result<()> {
    let link = host_link(&config.tag);
    netns::add(name)?;
    let ready = netns::inside(name, || Ok(nix::net::if_::if_nametoindex(netns::WHOLE).is_ok()))?;
    if ready && nix::net::if_::if_nametoindex(link.as_str()).is_ok() {
        return Ok(());
    }
    // Its other end goes with it.
    let _ = netns::ip(&[format!("link del {link}")]);
    netns::inside(name, || {
        for (setting, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
        ] {
            netns::sysctl(setting, value)?;
        }
        let _ = netns::sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        netns::ip(&["link set lo up".to_owned()])
    })?;
    let (host, up) = ends(pool);
    netns::ip(&[
        format!("link add {link} address {HOST_MAC} type veth peer name up0 netns {name} address {UP_MAC}"),
        format!("link set {link} addrgenmode none"),
        format!("addr add {host}/32 dev {link}"),
        format!("link set {link} up"),
        format!("neigh replace {up} lladdr {UP_MAC} dev {link} nud permanent"),
        format!("route replace {pool} via {up} dev {link} src {host} onlink proto 77"),
    ])?;
    netns::inside(name, || {
        netns::ip(&[
            "link set up0 addrgenmode none".to_owned(),
            format!("addr add {up}/32 dev up0"),
            "link set up0 up".to_owned(),
            format!("neigh replace {host} lladdr {HOST_MAC} dev up0 nud permanent"),
            format!("route replace default via {host} dev up0 onlink proto 77"),
            format!("link property add dev up0 altname {}", netns::WHOLE),
        ])
    })
}

/// Routes and rules for the public addresses in use.
pub fn apply(config: &NetworkConfig, name: &str, pool: Ipv4Net, public: &[(String, Ipv4Addr)]) -> Result<()> {
    let outbound = config.outbound && has_default_route()?;
    if outbound {
        masquerade(&config.tag, pool)?;
    }
    let rules = Edge { public: public.to_vec(), host_addresses: host_addresses()?, outbound };
    netns::inside(name, || {
        netns::feed("nft", &["-f", "-"], &render::edge(&rules)).context("loading the edge's rules")?;
        let wanted: BTreeSet<String> = public.iter().map(|(_, ip)| ip.to_string()).collect();
        let there = netns::ip_json(&["route", "show", "proto", "77"])?;
        let there = there.iter().filter_map(|r| r["dst"].as_str()).filter(|dst| *dst != "default");
        let gone = there.filter(|dst| !wanted.contains(*dst)).map(|dst| format!("route del {dst} proto 77"));
        let mut lines: Vec<_> = gone.collect();
        lines.extend(
            public.iter().map(|(link, ip)| format!("route replace {ip}/32 via {VPC_IP} dev {link} onlink proto 77")),
        );
        netns::ip(&lines)
    })
}

fn has_default_route() -> Result<bool> {
    Ok(!netns::ip_json(&["-4", "route", "show", "default"])?.is_empty())
}

/// Every address of the host: guests reach none of them.
fn host_addresses() -> Result<Vec<String>> {
    let links = netns::ip_json(&["-4", "addr", "show"])?;
    let infos = links.iter().flat_map(|l| l["addr_info"].as_array().cloned().unwrap_or_default());
    Ok(infos.filter_map(|i| i["local"].as_str().map(str::to_owned)).collect())
}

/// Guests leave behind the host's own address. The host forwards from now on; a firewall of its own may still refuse.
fn masquerade(tag: &str, pool: Ipv4Net) -> Result<()> {
    let (table, link) = (format!("awan_{tag}"), host_link(tag));
    let rules = format!(
        "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n  chain c_snat {{ type nat hook postrouting priority srcnat; policy accept;\n    \
         ip saddr {pool} oifname != \"{link}\" masquerade\n  }}\n}}\n"
    );
    netns::feed("nft", &["-f", "-"], &rules).context("loading the host's rules")?;
    netns::sysctl("net/ipv4/ip_forward", "1")
}

pub fn remove(tag: &str, name: &str) -> Result<()> {
    let _ = netns::ip(&[format!("link del {}", host_link(tag))]);
    let table = format!("awan_{tag}");
    netns::feed("nft", &["-f", "-"], &format!("add table ip {table}\ndelete table ip {table}\n"))?;
    if netns::path(name).exists() {
        netns::ip(&[format!("netns del {name}")])?;
    }
    Ok(())
}
