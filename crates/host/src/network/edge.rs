//! The edge: one namespace in which the public addresses of all VPCs meet the host.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use awan_model::id::VpcId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::driver::{NetworkConfig, Uplink};
use super::netns;
use super::outside::Outside;
use super::render::{self, Edge, WayOut};
use super::vpc::VPC_IP;

pub mod ipv6;

const HOST_MAC: &str = "0a:ff:00:00:01:01";
const UP_MAC: &str = "0a:ff:00:00:01:02";

/// A guest gets a part of the flows that the machine can keep in mind.
const FLOWS_SHARE: u64 = 16;
const FLOWS_USUAL: u64 = 262_144;
const FLOWS_LEAST: u64 = 1024;

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

/// Makes the namespace and its link to the host, where they are not, or not whole; whether it had to.
pub fn ensure(config: &NetworkConfig, name: &str, pool: Ipv4Net) -> Result<bool> {
    let link = host_link(&config.tag);
    netns::add(name)?;
    let ready = netns::inside(name, || Ok(nix::net::if_::if_nametoindex(netns::WHOLE).is_ok()))?;
    if ready && nix::net::if_::if_nametoindex(link.as_str()).is_ok() {
        return Ok(false);
    }
    must_be_free(pool, config)?;
    // Its other end goes with it.
    let _ = netns::ip(&[format!("link del {link}")]);
    netns::inside(name, || {
        let _ = netns::sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        netns::ip(&["link set lo up".to_owned()])
    })?;
    netns::ip(&[format!("link add {link} address {HOST_MAC} type veth peer name up0 netns {name} address {UP_MAC}")])?;
    settle(config, name, pool)?;
    netns::inside(name, || netns::ip(&[format!("link property add dev up0 altname {}", netns::WHOLE)]))?;
    Ok(true)
}

/// Both ends of that link, and the kernel's settings. May be repeated.
pub fn settle(config: &NetworkConfig, name: &str, pool: Ipv4Net) -> Result<()> {
    let link = host_link(&config.tag);
    let (host, up) = ends(pool);
    netns::ip(&[
        format!("link set {link} addrgenmode none"),
        format!("addr replace {host}/32 dev {link}"),
        format!("link set {link} up"),
        format!("neigh replace {up} lladdr {UP_MAC} dev {link} nud permanent"),
        format!("route replace {pool} via {up} dev {link} src {host} onlink proto 77"),
    ])?;
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
        netns::ip(&[
            "link set up0 addrgenmode none".to_owned(),
            format!("addr replace {up}/32 dev up0"),
            "link set up0 up".to_owned(),
            format!("neigh replace {host} lladdr {HOST_MAC} dev up0 nud permanent"),
            format!("route replace default via {host} dev up0 onlink proto 77"),
        ])
    })
}

/// A pool that something else on the machine has would cut the machine off, or take another installation's addresses.
pub fn must_be_free(pool: Ipv4Net, config: &NetworkConfig) -> Result<()> {
    occupied(pool.into(), config, "--public-cidr")
}

fn occupied(pool: IpNet, config: &NetworkConfig, option: &str) -> Result<()> {
    let family = if pool.addr().is_ipv4() { "-4" } else { "-6" };
    let (routes, links) = (netns::ip_json(&[family, "route", "show"])?, netns::ip_json(&[family, "addr", "show"])?);
    let shared = if let Uplink::Proxy(link) = &config.uplink { Some(link.as_str()) } else { None };
    match occupant(pool, &host_link(&config.tag), shared, &routes, &links) {
        Some(other) => bail!("the pool of public addresses {pool} overlaps {other}: choose another {option}"),
        None => Ok(()),
    }
}

/// A route to a network further away may be wider than the pool: a part of it was set apart. So may be the network of
/// the interface on which the host answers for the pool.
fn occupant(pool: IpNet, own: &str, shared: Option<&str>, routes: &[Value], links: &[Value]) -> Option<String> {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let route = routes.iter().filter(|r| r["dev"] != own).find_map(|route| {
        let dst = text(route, "dst")?;
        let net: IpNet = dst.parse().or_else(|_| dst.parse::<IpAddr>().map(IpNet::from)).ok()?;
        let near = route["gateway"].is_null() && !route["dev"].is_null() && route["dev"].as_str() != shared;
        let overlaps = pool.contains(&net) || (near && net.contains(&pool));
        overlaps.then(|| format!("the route {dst} ({})", text(route, "dev").unwrap_or_default()))
    });
    let address = || {
        links.iter().filter(|l| l["ifname"] != own).find_map(|link| {
            let all = link["addr_info"].as_array()?.iter().filter_map(|a| text(a, "local"));
            let taken = all.filter(|ip| ip.parse::<IpAddr>().is_ok_and(|ip| pool.contains(&ip)));
            taken.map(|ip| format!("the address {ip} ({})", text(link, "ifname").unwrap_or_default())).next()
        })
    };
    route.or_else(address)
}

/// The pool of IPv6 ranges, and the addresses in use with the links of their VPCs.
pub struct Ipv6<'a> {
    pub pool: Ipv6Net,
    pub public: &'a [(String, Ipv6Addr)],
}

/// Routes and rules for the public addresses in use. `old`: what is in force, if it is known.
pub fn apply(
    config: &NetworkConfig,
    name: &str,
    pool: Ipv4Net,
    public: Vec<(String, Ipv4Addr)>,
    ipv6: Option<&Ipv6<'_>>,
    old: Option<&Edge>,
) -> Result<Edge> {
    let ipv6 = ipv6.filter(|_| super::ipv6::is_there());
    // Of IPv6 there is more to do than what is known here.
    let old = old.filter(|old| old.ipv6.is_none() && ipv6.is_none());
    let way_out = match &config.uplink {
        Uplink::Masquerade if netns::has_default_route("thread-self") => WayOut::Internet,
        Uplink::Masquerade | Uplink::Closed => WayOut::None,
        Uplink::Routed | Uplink::Proxy(_) => WayOut::All,
    };
    let mut host_addresses = Outside::here()?.addresses()?;
    if let Some(outside) = &config.outside {
        host_addresses.extend(outside.addresses()?);
    }
    let host_addresses = host_addresses.into_iter().collect();
    let mut wanted = Edge { pool, host: ends(pool).0, public, host_addresses, way_out, ipv6: None };
    if old == Some(&wanted) {
        return Ok(wanted);
    }
    match &config.uplink {
        Uplink::Masquerade if way_out == WayOut::Internet => masquerade(&config.tag, pool)?,
        Uplink::Masquerade | Uplink::Closed => {}
        Uplink::Routed => netns::sysctl("net/ipv4/ip_forward", "1")?,
        Uplink::Proxy(link) => stand_for(link, pool, &wanted.public)?,
    }
    // Who has IPv6 must not keep those from their guests who have none.
    wanted.ipv6 = ipv6.and_then(|of| {
        let applied = ipv6::apply(config, name, of.pool, of.public);
        applied.inspect_err(|e| tracing::warn!(error = format!("{e:#}"), "IPv6 reaches no further than VPCs")).ok()
    });
    netns::inside(name, || {
        load(&wanted, old)?;
        netns::ip(&routes(&wanted, old)?)
    })?;
    Ok(wanted)
}

/// As for a VPC: where the kernel refuses the change, all is loaded.
fn load(wanted: &Edge, old: Option<&Edge>) -> Result<()> {
    let (nft, rules) = (|text: &str| netns::feed("nft", &["-f", "-"], text).map(drop), render::edge(wanted));
    if let Some(old) = old {
        match rules.since(&render::edge(old)).map_or(Ok(()), |changes| nft(&changes)) {
            Ok(()) => return Ok(()),
            Err(e) => tracing::warn!(error = format!("{e:#}"), "all rules of the edge are loaded again"),
        }
    }
    nft(&rules.whole()).context("loading the edge's rules")?;
    guard();
    Ok(())
}

/// The routes that change.
fn routes(wanted: &Edge, old: Option<&Edge>) -> Result<Vec<String>> {
    let addresses = |edge: &Edge| edge.public.iter().map(|(_, ip)| ip.to_string()).collect::<BTreeSet<_>>();
    let there = if let Some(old) = old {
        addresses(old)
    } else {
        let shown = netns::ip_json(&["-4", "route", "show", "proto", "77"])?;
        shown.iter().filter_map(|r| r["dst"].as_str()).filter(|dst| *dst != "default").map(str::to_owned).collect()
    };
    let gone = there.difference(&addresses(wanted)).map(|dst| format!("route del {dst} proto 77")).collect::<Vec<_>>();
    let new = wanted.public.iter().filter(|way| old.is_none_or(|old| !old.public.contains(way)));
    let new = new.map(|(link, ip)| format!("route replace {ip}/32 via {VPC_IP} dev {link} onlink proto 77"));
    Ok(gone.into_iter().chain(new).collect())
}

/// One guest that begins flows without end would fill the tables of the edge and of the host, and then nobody could
/// begin any.
fn guard() {
    static TOLD: std::sync::Once = std::sync::Once::new();
    let all = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
    let all: u64 = all.and_then(|n| n.trim().parse().ok()).unwrap_or(FLOWS_USUAL);
    let rules = render::guard((all / FLOWS_SHARE).max(FLOWS_LEAST));
    if let Err(e) = netns::feed("nft", &["-f", "-"], &rules) {
        TOLD.call_once(|| tracing::warn!(error = format!("{e:#}"), "this kernel cannot limit guests' connections"));
    }
}

/// Answers on a network for the addresses in use, and for no other of the pool; tells who is there of new ones.
fn stand_for(link: &str, pool: Ipv4Net, public: &[(String, Ipv4Addr)]) -> Result<()> {
    let shown = netns::ip_json(&["-4", "neigh", "show", "proxy", "dev", link, "proto", "77"])
        .with_context(|| format!("the interface {link} of --uplink"))?;
    netns::sysctl("net/ipv4/ip_forward", "1")?;
    netns::sysctl(&format!("net/ipv4/neigh/{link}/proxy_delay"), "0")?;
    let there = shown.iter().filter_map(|n| n["dst"].as_str()?.parse::<Ipv4Addr>().ok());
    let there: BTreeSet<_> = there.filter(|ip| pool.contains(ip)).collect();
    let wanted: BTreeSet<_> = public.iter().map(|(_, ip)| *ip).collect();
    let gone = there.difference(&wanted).map(|ip| format!("neigh del proxy {ip} dev {link}"));
    let new = wanted.difference(&there).map(|ip| format!("neigh add proxy {ip} dev {link} proto 77"));
    netns::ip(&gone.chain(new).collect::<Vec<_>>())?;
    for ip in wanted.difference(&there) {
        if let Err(e) = super::link::announce(link, *ip) {
            tracing::warn!(%ip, link, error = format!("{e:#}"), "neighbours were not told; they learn it later");
        }
    }
    Ok(())
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
    // Those of another installation too, if there is one: it answers again at its next scrub.
    let answered = netns::ip_json(&["-4", "neigh", "show", "proxy", "proto", "77"]).unwrap_or_default();
    let gone = answered
        .iter()
        .filter_map(|n| Some(format!("neigh del proxy {} dev {}", n["dst"].as_str()?, n["dev"].as_str()?)));
    netns::ip(&gone.collect::<Vec<_>>())?;
    ipv6::remove(tag)?;
    let table = format!("awan_{tag}");
    netns::feed("nft", &["-f", "-"], &format!("add table ip {table}\ndelete table ip {table}\n"))?;
    if netns::path(name).exists() {
        netns::ip(&[format!("netns del {name}")])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::network::vpc::{EDGE_IP, EDGE_MAC};

    #[test]
    fn a_pool_that_the_machine_or_another_installation_has_is_refused() {
        let routes = [
            json!({"dst": "default", "gateway": "192.168.7.1", "dev": "eth0"}),
            json!({"dst": "192.168.7.0/24", "dev": "eth0"}),
            json!({"dst": "198.18.0.0/16", "gateway": "198.18.0.2", "dev": "awother"}),
            json!({"dst": "198.19.0.0/16", "gateway": "198.19.0.2", "dev": "awown"}),
            json!({"dst": "10.0.0.0/8", "gateway": "192.168.7.3", "dev": "eth0"}),
            json!({"dst": "203.0.113.7", "gateway": "192.168.7.3", "dev": "eth0"}),
            json!({"type": "blackhole", "dst": "100.64.0.0/10"}),
        ];
        let links = [
            json!({"ifname": "eth0", "addr_info": [{"local": "192.168.7.20"}]}),
            json!({"ifname": "awown", "addr_info": [{"local": "198.19.0.1"}]}),
            json!({"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}, {"local": "203.0.114.9"}]}),
        ];
        for (pool, expected) in [
            ("192.168.7.0/24", "the route 192.168.7.0/24 (eth0)"),
            ("192.168.7.128/25", "the route 192.168.7.0/24 (eth0)"),
            ("192.168.0.0/16", "the route 192.168.7.0/24 (eth0)"),
            ("198.18.0.0/16", "the route 198.18.0.0/16 (awother)"),
            ("203.0.113.0/24", "the route 203.0.113.7 (eth0)"),
            ("203.0.114.0/24", "the address 203.0.114.9 (lo)"),
            ("198.19.0.0/16", ""),
            ("10.7.0.0/16", ""),
            ("100.64.8.0/24", ""),
        ] {
            let pool = pool.parse().expect("a network");
            assert_eq!(
                occupant(IpNet::V4(pool), "awown", None, &routes, &links).unwrap_or_default(),
                expected,
                "{pool}"
            );
        }
    }

    #[test]
    fn a_part_of_a_network_can_be_answered_for_unless_it_is_taken() {
        let routes = [json!({"dst": "192.168.7.0/24", "dev": "eth0"})];
        let links = [json!({"ifname": "eth0", "addr_info": [{"local": "192.168.7.20"}]})];
        let occupant =
            |pool: &str, shared| occupant(pool.parse().expect("a network"), "awown", shared, &routes, &links);
        assert_eq!(occupant("192.168.7.128/25", Some("eth0")), None);
        assert!(occupant("192.168.7.128/25", Some("eth1")).is_some());
        assert!(occupant("192.168.7.0/27", Some("eth0")).is_some(), "the host's own address");
        assert!(occupant("192.168.7.0/24", Some("eth0")).is_some(), "all of it");
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn neighbours_find_the_addresses_in_use_and_no_others() {
        use nix::sched::{CloneFlags, unshare};
        let able = nix::unistd::Uid::effective().is_root() && netns::feed("nft", &["--version"], "").is_ok();
        if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: needs root, iproute2 and nftables");
            return;
        }
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let (name, neighbour) = (format!("awan-{tag}-edge"), format!("awan-{tag}-neighbour"));
        let pool: Ipv4Net = "192.168.7.128/25".parse().expect("a network");
        let config = NetworkConfig { tag: tag.clone(), uplink: Uplink::Proxy("lan0".into()), outside: None };
        netns::add(&neighbour).expect("makes a namespace");
        let lines =
            [format!("link add lan0 type veth peer name lan1 netns {neighbour}"), "link set lan0 up".to_owned()];
        netns::ip(&lines).expect("makes a network");
        netns::ip(&["addr add 192.168.7.20/24 dev lan0".to_owned()]).expect("is in it");
        netns::inside(&neighbour, || {
            netns::ip(&["link set lan1 up".to_owned(), "addr add 192.168.7.9/24 dev lan1".to_owned()])
        })
        .expect("is in it");
        ensure(&config, &name, pool).expect("makes the edge");
        let use_it = |ips: &[&str]| {
            let public: Vec<_> = ips.iter().map(|ip| ("g-none".to_owned(), ip.parse().expect("an address"))).collect();
            let Uplink::Proxy(link) = &config.uplink else { return };
            stand_for(link, pool, &public).expect("answers");
        };
        let finds = |ip: &'static str| {
            let found = netns::inside(&neighbour, move || {
                super::super::link::answers_as("lan1", ip.parse()?, &[192, 168, 7, 9])
            });
            found.expect("asks")
        };
        use_it(&["192.168.7.130", "192.168.7.131"]);
        assert_eq!((finds("192.168.7.130"), finds("192.168.7.131"), finds("192.168.7.132")), (true, true, false));
        use_it(&["192.168.7.131"]);
        assert_eq!((finds("192.168.7.130"), finds("192.168.7.131")), (false, true));
        let _ = remove(&tag, &name);
        netns::ip(&[format!("netns del {neighbour}")]).expect("removes");
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn what_the_host_takes_for_itself_is_kept_from_guests() {
        use nix::sched::{CloneFlags, unshare};
        let able = nix::unistd::Uid::effective().is_root() && netns::feed("nft", &["--version"], "").is_ok();
        if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: needs root, iproute2 and nftables");
            return;
        }
        let lines =
            ["link set lo up", "link add lan0 type veth peer name lan1", "link set lan0 up", "link set lan1 up"];
        netns::ip(&lines.map(str::to_owned)).expect("makes links");
        netns::ip(&["addr add 203.0.113.20/24 brd + dev lan0".to_owned()]).expect("gives an address");
        let found: Vec<_> = Outside::here().and_then(|here| here.addresses()).expect("looks").into_iter().collect();
        for wanted in ["127.0.0.0/8", "127.0.0.1", "203.0.113.20", "203.0.113.255"] {
            assert!(found.iter().any(|ip| ip == wanted), "{wanted}: {found:?}");
        }
        let (pool, way_out) = ("198.18.0.0/16".parse().expect("a network"), WayOut::Internet);
        let rules = Edge { pool, host: ends(pool).0, public: Vec::new(), host_addresses: found, way_out, ipv6: None };
        netns::feed("nft", &["-f", "-"], &render::edge(&rules).whole()).expect("loads");
        let loaded = netns::feed("nft", &["list", "set", "inet", "edge", "host"], "").expect("is there");
        assert!(loaded.contains("203.0.113.255"), "{loaded}");
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn a_guest_begins_no_more_flows_than_its_part_also_when_rules_are_loaded_again() {
        use nix::sched::{CloneFlags, unshare};
        let able = nix::unistd::Uid::effective().is_root() && netns::feed("nft", &["--version"], "").is_ok();
        if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: needs root, iproute2 and nftables");
            return;
        }
        struct Guest(String);
        impl Drop for Guest {
            fn drop(&mut self) {
                let _ = netns::ip(&[format!("netns del {}", self.0)]);
            }
        }
        // This thread's namespace stands for the edge.
        let kept = Guest(format!("awan-{:06x}-guest", rand::random::<u32>() & 0xff_ffff));
        let guest = &kept.0;
        netns::add(guest).expect("makes a namespace");
        netns::sysctl("net/ipv4/ip_forward", "1").expect("forwards");
        let lines = [
            "link set lo up".to_owned(),
            format!("link add g-1 address {EDGE_MAC} type veth peer name igw netns {guest}"),
            "link add up0 type veth peer name far".to_owned(),
            "link set g-1 up".to_owned(),
            "link set up0 up".to_owned(),
            "link set far up".to_owned(),
            "route add 198.18.0.9/32 dev g-1".to_owned(),
            "route add default via 198.18.0.1 dev up0 onlink".to_owned(),
            format!("neigh replace 198.18.0.1 lladdr {HOST_MAC} dev up0 nud permanent"),
        ];
        netns::ip(&lines).expect("makes links");
        let begin = || {
            netns::feed("nft", &["-f", "-"], &render::guard(3)).expect("loads");
            let sent = netns::inside(guest, || {
                let socket = std::net::UdpSocket::bind("198.18.0.9:0")?;
                (0..10).try_for_each(|n| socket.send_to(b"x", ("203.0.113.1", 1000 + n)).map(drop))?;
                Ok(())
            });
            sent.expect("sends");
            netns::feed("nft", &["list", "chain", "inet", "guard", "c_forward"], "").expect("is there")
        };
        let lines = [
            "link set igw up".to_owned(),
            "addr add 198.18.0.9/32 dev igw".to_owned(),
            format!("route add default via {EDGE_IP} dev igw onlink"),
            format!("neigh replace {EDGE_IP} lladdr {EDGE_MAC} dev igw nud permanent"),
        ];
        netns::inside(guest, || netns::ip(&lines)).expect("makes a guest");
        let (first, again) = (begin(), begin());
        assert!(first.contains("counter packets 7 "), "{first}");
        // The ports are the same and the guest's is not: ten new flows, while three are kept in mind.
        assert!(again.contains("counter packets 10 "), "{again}");
    }
}
