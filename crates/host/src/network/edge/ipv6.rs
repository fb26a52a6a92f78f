//! IPv6 at the edge: the pool's first two addresses are the host's and the edge's own, each address of a guest has a route
//! to its VPC, and nothing is translated there. Only where the host lends its own address to all (`masquerade`), it does so
//! for IPv6 too, if it has a way out.
//!
//! Of a host without IPv6 the edge has none either, and everything else goes on.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use ipnet::Ipv6Net;

use super::super::ipv6::{VPC, is_there};
use super::super::netns;
use super::super::render::{EdgeIpv6, WayOut};
use super::super::vpc::VPC_MAC;
use super::{HOST_MAC, NetworkConfig, UP_MAC, Uplink, host_link, occupied};

/// The host's address in the pool, and the edge's.
fn ends(pool: Ipv6Net) -> (Ipv6Addr, Ipv6Addr) {
    let first = u128::from(pool.network());
    (Ipv6Addr::from(first + 1), Ipv6Addr::from(first + 2))
}

/// See [`super::must_be_free`].
pub fn must_be_free(pool: Ipv6Net, config: &NetworkConfig) -> Result<()> {
    if !is_there() {
        return Ok(());
    }
    occupied(pool.into(), config, "--public-ipv6-cidr")
}

/// The link between host and edge, what the host does with the pool, and what the edge's rules are to know of it.
pub fn apply(config: &NetworkConfig, name: &str, pool: Ipv6Net, public: &[(String, Ipv6Addr)]) -> Result<EdgeIpv6> {
    let link = host_link(&config.tag);
    let (host, up) = ends(pool);
    let routes = netns::ip_json(&["-6", "route", "show", "proto", "77", "dev", &link])?;
    if !routes.iter().any(|route| route["dst"].as_str().and_then(|dst| dst.parse().ok()) == Some(pool)) {
        must_be_free(pool, config)?;
        netns::sysctl(&format!("net/ipv6/conf/{link}/accept_ra"), "0")?;
        netns::sysctl(&format!("net/ipv6/conf/{link}/disable_ipv6"), "0")?;
        // What another pool left.
        let mut lines: Vec<_> = vec![format!("addr flush dev {link}"), format!("route flush dev {link} proto 77")];
        lines.push(format!("addr add {host}/128 dev {link} nodad"));
        lines.push(format!("neigh replace {up} lladdr {UP_MAC} dev {link} nud permanent"));
        lines.push(format!("route replace {pool} via {up} dev {link} src {host} onlink proto 77"));
        netns::ip6(&lines)?;
    }
    netns::inside(name, || inside((host, up), public)).context("the edge's IPv6")?;
    let way_out = outside(config, pool, public)?;
    Ok(EdgeIpv6 { pool, host, public: public.to_vec(), host_addresses: host_addresses()?, way_out })
}

fn inside((host, up): (Ipv6Addr, Ipv6Addr), public: &[(String, Ipv6Addr)]) -> Result<()> {
    for (name, value) in [
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/all/forwarding", "1"),
    ] {
        netns::sysctl(name, value)?;
    }
    let wanted: BTreeSet<String> = public.iter().map(|(_, ip)| ip.to_string()).collect();
    let there = netns::ip_json(&["-6", "route", "show", "proto", "77"])?;
    let there = there.iter().filter_map(|r| r["dst"].as_str()).filter(|dst| *dst != "default");
    let gone = there.filter(|dst| !wanted.contains(*dst)).map(|dst| format!("route del {dst} proto 77"));
    let mut lines: Vec<_> = gone.collect();
    lines.push(format!("addr replace {up}/128 dev up0 nodad"));
    lines.push(format!("neigh replace {host} lladdr {HOST_MAC} dev up0 nud permanent"));
    lines.push(format!("route replace default via {host} dev up0 onlink proto 77"));
    let links: BTreeSet<_> = public.iter().map(|(link, _)| link).collect();
    lines.extend(links.iter().map(|link| format!("neigh replace {VPC} lladdr {VPC_MAC} dev {link} nud permanent")));
    lines
        .extend(public.iter().map(|(link, ip)| format!("route replace {ip}/128 via {VPC} dev {link} onlink proto 77")));
    netns::ip6(&lines)
}

/// What the host does with the pool beyond its own link.
fn outside(config: &NetworkConfig, pool: Ipv6Net, public: &[(String, Ipv6Addr)]) -> Result<WayOut> {
    Ok(match &config.uplink {
        Uplink::Masquerade if !netns::ip_json(&["-6", "route", "show", "default"])?.is_empty() => {
            forward()?;
            masquerade(&config.tag, pool)?;
            WayOut::Internet
        }
        Uplink::Masquerade | Uplink::Closed => WayOut::None,
        Uplink::Routed => {
            forward()?;
            WayOut::All
        }
        Uplink::Proxy(link) => {
            forward()?;
            stand_for(link, pool, public)?;
            WayOut::All
        }
    })
}

/// A host that forwards takes no way out from the routers around it any more, unless it is told to go on doing so.
/// Source: Linux, Documentation/networking/ip-sysctl.rst, `accept_ra`.
fn forward() -> Result<()> {
    const ALL: &str = "net/ipv6/conf/all/forwarding";
    if std::fs::read_to_string(Path::new("/proc/sys").join(ALL)).is_ok_and(|on| on.trim() == "1") {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/sys/net/ipv6/conf")?.flatten() {
        let setting = entry.path().join("accept_ra");
        if std::fs::read_to_string(&setting).is_ok_and(|on| on.trim() == "1") {
            std::fs::write(&setting, "2").with_context(|| format!("writing {}", setting.display()))?;
        }
    }
    netns::sysctl(ALL, "1")
}

fn masquerade(tag: &str, pool: Ipv6Net) -> Result<()> {
    let (table, link) = (format!("awan_{tag}"), host_link(tag));
    let rules = format!(
        "add table ip6 {table}\ndelete table ip6 {table}\ntable ip6 {table} {{\n  chain c_snat {{ type nat hook postrouting priority srcnat; policy accept;\n    \
         ip6 saddr {pool} oifname != \"{link}\" masquerade\n  }}\n}}\n"
    );
    netns::feed("nft", &["-f", "-"], &rules).context("loading the host's rules").map(drop)
}

/// Answers on a network for the addresses in use, and for no other of the pool (RFC 4389 has it for whole networks).
fn stand_for(link: &str, pool: Ipv6Net, public: &[(String, Ipv6Addr)]) -> Result<()> {
    netns::sysctl(&format!("net/ipv6/conf/{link}/proxy_ndp"), "1")?;
    netns::sysctl(&format!("net/ipv6/neigh/{link}/proxy_delay"), "0")?;
    let shown = netns::ip_json(&["-6", "neigh", "show", "proxy", "dev", link, "proto", "77"])?;
    let there = shown.iter().filter_map(|n| n["dst"].as_str()?.parse::<Ipv6Addr>().ok());
    let there: BTreeSet<_> = there.filter(|ip| pool.contains(ip)).collect();
    let wanted: BTreeSet<_> = public.iter().map(|(_, ip)| *ip).collect();
    let gone = there.difference(&wanted).map(|ip| format!("neigh del proxy {ip} dev {link}"));
    let new = wanted.difference(&there).map(|ip| format!("neigh add proxy {ip} dev {link} proto 77"));
    netns::ip6(&gone.chain(new).collect::<Vec<_>>())
}

/// All that the host takes for itself. A new address gets its route only a moment later.
fn host_addresses() -> Result<Vec<String>> {
    let routes = netns::ip_json(&["-6", "route", "show", "table", "local"])?;
    let links = netns::ip_json(&["-6", "addr", "show"])?;
    let infos = links.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
    let all = routes.iter().map(|route| &route["dst"]).chain(infos.map(|info| &info["local"]));
    Ok(all.filter_map(|text| text.as_str().map(str::to_owned)).collect())
}

/// What is on the host and not in a namespace.
pub fn remove(tag: &str) -> Result<()> {
    if !is_there() {
        return Ok(());
    }
    let answered = netns::ip_json(&["-6", "neigh", "show", "proxy", "proto", "77"]).unwrap_or_default();
    let gone = answered
        .iter()
        .filter_map(|n| Some(format!("neigh del proxy {} dev {}", n["dst"].as_str()?, n["dev"].as_str()?)));
    netns::ip6(&gone.collect::<Vec<_>>())?;
    let table = format!("awan_{tag}");
    netns::feed("nft", &["-f", "-"], &format!("add table ip6 {table}\ndelete table ip6 {table}\n")).map(drop)
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::network::lab::finds;
    use crate::network::testing::Namespace;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn neighbours_are_answered_for_the_addresses_in_use_and_for_no_others() {
        let able = nix::unistd::Uid::effective().is_root() && netns::feed("ip", &["-V"], "").is_ok();
        if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: needs root and iproute2");
            return;
        }
        let outside = Namespace::new();
        netns::ip(&[
            format!("link add wan type veth peer name wan netns {}", outside.id),
            "link set wan up".to_owned(),
        ])
        .expect("a link");
        netns::ip6(&["addr add 2001:db8:f00::1/32 dev wan nodad".to_owned()]).expect("an address");
        outside.ip(&["link set wan up".to_owned()]);
        outside.inside(|| netns::ip6(&["addr add 2001:db8:f00::2/32 dev wan nodad".to_owned()])).expect("an address");
        outside.inside(|| finds(ip("2001:db8:f00::1")));

        let pool: Ipv6Net = "2001:db8:a00::/40".parse().expect("a network");
        let config = NetworkConfig { tag: "000000".into(), uplink: Uplink::Proxy("wan".into()), outside: None };
        must_be_free(pool, &config).expect("a part of its network");
        let other = NetworkConfig { uplink: Uplink::Routed, ..config };
        let refused = must_be_free(pool, &other).expect_err("somebody's network").to_string();
        assert!(
            refused.ends_with("overlaps the route 2001:db8::/32 (wan): choose another --public-ipv6-cidr"),
            "{refused}"
        );

        forward().expect("forwards");
        let (a, b) = (ip("2001:db8:a00:101::a"), ip("2001:db8:a00:101::b"));
        let stands_for = |all: &[Ipv6Addr]| {
            let public: Vec<_> = all.iter().map(|ip| (String::new(), *ip)).collect();
            stand_for("wan", pool, &public).expect("stands for them");
        };
        // Whoever is asked for answers, though it has nobody to send on to; what is not answered within three seconds has
        // failed.
        let known = |ip: Ipv6Addr| {
            outside.inside(|| {
                let socket = std::net::UdpSocket::bind(("2001:db8:f00::2", 0)).expect("binds");
                let _ = socket.send_to(b"x", (ip, 9));
                loop {
                    let shown = netns::ip_json(&["-6", "neigh", "show", &ip.to_string()]).expect("shows");
                    let is = |state: &str| {
                        shown.iter().any(|n| n["state"].as_array().is_some_and(|s| s.contains(&state.into())))
                    };
                    if ["REACHABLE", "STALE", "DELAY", "PROBE"].into_iter().any(is) {
                        return true;
                    }
                    if is("FAILED") {
                        return false;
                    }
                }
            })
        };
        stands_for(&[a]);
        assert!(known(a) && !known(b));
        outside.inside(|| netns::feed("ip", &["-6", "neigh", "flush", "all"], "")).expect("forgets");
        stands_for(&[b]);
        assert!(known(b) && !known(a), "another came, and the first is nobody's");
        remove("000000").expect("removes");
        assert_eq!(netns::ip_json(&["-6", "neigh", "show", "proxy"]).expect("shows"), [serde_json::Value::Null; 0]);
    }
}
