//! The link between two VPCs of this host that are peers. What comes by it goes to guests and nowhere else.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use anyhow::Result;
use awan_model::plan::PeerPlan;

use super::netns;
use super::render::peer_name;

/// Each end's address and hardware address, that of who asked first; the same on every link, since routes name it.
const ENDS: [(&str, &str); 2] = [("169.254.242.1", "0a:ff:00:00:02:01"), ("169.254.242.2", "0a:ff:00:00:02:02")];

/// Where packets to the other VPC go.
pub fn route(peer: &PeerPlan) -> String {
    format!("via {} dev {} onlink", ENDS[usize::from(peer.asked)].0, peer_name(&peer.id))
}

/// The same for IPv6, where each end is known by its place in [`ENDS`].
pub fn route_ipv6(peer: &PeerPlan) -> String {
    format!("via {} dev {} onlink", end_ipv6(peer), peer_name(&peer.id))
}

pub fn neighbour_ipv6(peer: &PeerPlan) -> String {
    let mac = ENDS[usize::from(peer.asked)].1;
    format!("neigh replace {} lladdr {mac} dev {} nud permanent", end_ipv6(peer), peer_name(&peer.id))
}

fn end_ipv6(peer: &PeerPlan) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, if peer.asked { 2 } else { 1 })
}

/// Another name that a link's ends get last: what was cut short in the making has none, and is made again.
fn whole(link: &str) -> String {
    link.replacen("pcx", "w", 1)
}

/// Makes the link between the namespace of who asked and that of who answered, where it is not; whether it had to.
pub fn ensure(asking: &str, answering: &str, peer: &PeerPlan) -> Result<bool> {
    let link = peer_name(&peer.id);
    let names = [asking, answering];
    let is_whole =
        |name: &&str| netns::inside(name, || Ok(nix::net::if_::if_nametoindex(whole(&link).as_str()).is_ok()));
    if names.iter().map(is_whole).collect::<Result<Vec<_>>>()?.into_iter().all(|whole| whole) {
        return Ok(false);
    }
    for name in names {
        // Its other end goes with it.
        let _ = netns::inside(name, || netns::ip(&[format!("link del {link}")]));
    }
    let [(_, first), (_, second)] = ENDS;
    netns::ip(&[format!(
        "link add {link} netns {asking} address {first} type veth peer name {link} netns {answering} address {second}"
    )])?;
    for (name, (ip, mac)) in names.iter().zip(ENDS.iter().rev()) {
        netns::inside(name, || {
            netns::ip(&[
                format!("link set {link} addrgenmode none"),
                format!("link set {link} up"),
                format!("neigh replace {ip} lladdr {mac} dev {link} nud permanent"),
                format!("link property add dev {link} altname {}", whole(&link)),
            ])
        })?;
    }
    Ok(true)
}

/// The links that a namespace is to have.
pub fn wanted<'p>(peers: impl IntoIterator<Item = &'p PeerPlan>) -> BTreeSet<String> {
    peers.into_iter().map(|peer| peer_name(&peer.id)).collect()
}
