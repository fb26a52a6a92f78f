//! Makes the machine's networks what the plan says: a namespace per VPC, a tap per interface, and an edge namespace
//! through which public addresses reach them.
//!
//! ```text
//!   host ── aw<tag> ═ up0 ── edge ── g-… ═ igw ── VPC ── tap… ── guest
//! ```
//!
//! **Invariants.** Rules are in force before a tap is up. Everything carries the installation's tag, so that what no
//! plan has is found and removed. Doing it again changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use awan_model::id::{InterfaceId, VpcId};
use awan_model::instance::Health;
use awan_model::plan::{HostPlan, VpcPlan};
use awan_model::report::TrafficSeen;
use ipnet::{Ipv4Net, Ipv6Net};

use super::flow::{self, FlowLogs};
use super::outside::Outside;
use super::render::{Edge, tap_name};
use super::{NamespaceInfo, Services, counters, edge, link, netns, peer, vpc};
use crate::driver::{Fut, Network, NetworkDifference};

#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Tells the installations of one machine apart: six hexadecimal digits.
    pub tag: String,
    pub uplink: Uplink,
    /// The machine's own network, where this program has left it: guests reach none of its addresses.
    pub outside: Option<Outside>,
}

/// How public addresses reach the world, and the world them. The host itself always reaches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    /// Guests leave behind the host's own address; nobody outside reaches them.
    Masquerade,
    /// Something outside routes the pool to this host.
    Routed,
    /// The host answers for the addresses in use on this interface's network (proxy ARP, RFC 1027).
    Proxy(String),
    /// Guests reach the host and each other.
    Closed,
}

impl std::str::FromStr for Uplink {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("masquerade", "") => Ok(Self::Masquerade),
            ("routed", "") => Ok(Self::Routed),
            ("none", "") => Ok(Self::Closed),
            ("proxy", link)
                if (1..16).contains(&link.len()) && !link.contains(|c: char| c.is_whitespace() || c == '/') =>
            {
                Ok(Self::Proxy(link.to_owned()))
            }
            _ => anyhow::bail!("it is masquerade, routed, proxy:INTERFACE or none"),
        }
    }
}

pub struct NetworkDriver {
    config: NetworkConfig,
    services: Arc<dyn Services>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
    done: Mutex<Done>,
    flow_logs: OnceLock<Arc<FlowLogs>>,
}

/// What was applied last, so that what did not change costs nothing, and what went is known.
#[derive(Default)]
struct Done {
    vpcs: BTreeMap<VpcId, VpcPlan>,
    /// Where each interface's guest is.
    places: BTreeMap<InterfaceId, (String, String, Ipv4Addr)>,
    /// VPCs of which something was begun and not known to be done: nothing counts of what was applied to them.
    unsettled: BTreeSet<VpcId>,
    edge: Option<Edge>,
}

impl NetworkDriver {
    pub fn new(config: NetworkConfig, services: Arc<dyn Services>) -> Result<Arc<Self>> {
        netns::feed("nft", &["--version"], "").context("nftables is needed")?;
        let (turn, done) = (tokio::sync::Mutex::new(()), Mutex::default());
        Ok(Arc::new(Self { config, services, turn, done, flow_logs: OnceLock::new() }))
    }

    /// Writes flow logs into a folder, from now on.
    pub fn record_flows(self: &Arc<Self>, folder: PathBuf) {
        let _ = self.flow_logs.set(Arc::new(FlowLogs::new(folder)));
        flow::every(self, |this| {
            let plans: Vec<_> = this.done().vpcs.values().filter(|vpc| flow::is_wanted(vpc)).cloned().collect();
            plans.iter().for_each(|vpc| this.poll_flows(vpc, &BTreeSet::new()));
        });
    }

    fn poll_flows(&self, vpc: &VpcPlan, going: &BTreeSet<String>) {
        let Some(logs) = self.flow_logs.get() else { return };
        if let Err(e) = logs.poll(&self.namespace(&vpc.id), vpc, flow::now(), going) {
            tracing::warn!(vpc = %vpc.id, error = format!("{e:#}"), "flows are not written down");
        }
    }

    /// Of interfaces that are about to lose their taps, or their logs.
    fn last_words(&self, plan: &HostPlan) {
        let ending = flow::ending(self.done().vpcs.values(), plan);
        ending.iter().for_each(|(old, going)| self.poll_flows(old, going));
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prefix(&self) -> String {
        format!("awan-{}-", self.config.tag)
    }

    pub fn namespace(&self, vpc: &VpcId) -> String {
        format!("{}{}", self.prefix(), vpc.digits())
    }

    fn edge_name(&self) -> String {
        format!("{}edge", self.prefix())
    }

    fn apply_all(&self, plan: &HostPlan, scrub: bool) -> Result<()> {
        let Some(pool) = plan.network.public_pool else { return Ok(()) };
        if plan.network.vpcs.is_empty() && !netns::path(&self.edge_name()).exists() {
            return Ok(());
        }
        let made = edge::ensure(&self.config, &self.edge_name(), pool)?;
        if scrub && !made {
            edge::settle(&self.config, &self.edge_name(), pool)?;
        }
        if scrub || made {
            self.done().edge = None;
        }
        let mut changes = self.changes(plan, scrub);
        self.last_words(plan);
        self.done().unsettled.extend(changes.keys().map(|id| (*id).clone()));
        let mut infos = Vec::new();
        for network in &plan.network.vpcs {
            infos.push(self.apply_vpc(network, changes.get_mut(&network.id))?);
        }
        for (network, peer) in plan.network.vpcs.iter().flat_map(|vpc| vpc.peers.iter().map(move |peer| (vpc, peer))) {
            let other = plan.network.vpcs.iter().find(|vpc| peer.asked && vpc.id == peer.vpc);
            if let Some(other) = other
                && peer::ensure(&self.namespace(&network.id), &self.namespace(&other.id), peer)?
            {
                self.done().unsettled.extend([network.id.clone(), other.id.clone()]);
                changes.extend([(&network.id, None), (&other.id, None)]);
            }
        }
        self.apply_edge(plan, pool)?;
        self.services.update(plan, &infos)?;
        // Guests' ends come up when everything that they meet is there.
        for network in &plan.network.vpcs {
            if let Some(old) = changes.get(&network.id) {
                vpc::raise(&self.namespace(&network.id), network, old.as_ref())?;
            }
        }
        self.sweep(plan)?;
        self.note(plan);
        Ok(())
    }

    /// The VPCs at which there is something to do, with what they are now, if that is known.
    fn changes<'p>(&self, plan: &'p HostPlan, scrub: bool) -> BTreeMap<&'p VpcId, Option<VpcPlan>> {
        let done = self.done();
        let change = |network: &'p VpcPlan| {
            let there = netns::path(&self.namespace(&network.id)).exists();
            let known = !scrub && there && !done.unsettled.contains(&network.id);
            let old = done.vpcs.get(&network.id).filter(|_| known);
            (old != Some(network)).then(|| (&network.id, old.cloned()))
        };
        plan.network.vpcs.iter().filter_map(change).collect()
    }

    fn apply_vpc(&self, network: &VpcPlan, change: Option<&mut Option<VpcPlan>>) -> Result<NamespaceInfo> {
        let name = self.namespace(&network.id);
        if let Some(old) = change {
            let before = self.done().vpcs.get(&network.id).map(flow::is_wanted);
            let made = vpc::ensure(&name, &self.edge_name(), network)?;
            if let Some(logs) =
                self.flow_logs.get().filter(|_| flow::is_wanted(network) && (made || before == Some(false)))
            {
                logs.begin(&network.id, flow::now());
            }
            if made {
                *old = None;
                // Routes of the edge went with the link that is made anew.
                self.done().edge = None;
            }
            if old.is_none() {
                vpc::meet(&self.edge_name(), network)?;
            }
            vpc::apply(&name, network, old.as_ref())?;
            let before = self.done().vpcs.get(&network.id).cloned();
            vpc::forget_flows(&name, before.as_ref(), network);
        }
        let path = netns::path(&name);
        let taps = netns::inside(&name, || link::indexes(network.interfaces.iter().map(|i| i.id.clone()).collect()))?;
        Ok(NamespaceInfo { vpc: network.id.clone(), path, taps })
    }

    fn apply_edge(&self, plan: &HostPlan, pool: Ipv4Net) -> Result<()> {
        let public = plan.network.vpcs.iter().flat_map(|vpc| {
            let held = vpc.interfaces.iter().flat_map(|i| i.addresses().filter_map(|(_, public)| public));
            held.chain(vpc.nats.iter().filter_map(|nat| nat.public_ip)).map(|ip| (edge::link_name(&vpc.id), ip))
        });
        let ipv6 = plan.network.vpcs.iter().flat_map(|vpc| {
            let own = vpc.interfaces.iter().flat_map(|i| i.ipv6.iter().copied());
            own.map(|ip| (edge::link_name(&vpc.id), ip))
        });
        let ipv6: Vec<_> = ipv6.collect();
        let pool6 = plan.network.ipv6_pool.filter(|_| plan.network.vpcs.iter().any(|vpc| !vpc.ipv6.is_empty()));
        let ipv6 = pool6.map(|pool| edge::Ipv6 { pool, public: &ipv6 });
        // Until it is done, nothing is known of it.
        let old = self.done().edge.take();
        let (config, name) = (&self.config, self.edge_name());
        let edge = edge::apply(config, &name, pool, public.collect(), ipv6.as_ref(), old.as_ref())?;
        self.done().edge = Some(edge);
        Ok(())
    }

    /// Removes namespaces that no plan has.
    fn sweep(&self, plan: &HostPlan) -> Result<()> {
        let wanted: BTreeSet<String> = plan.network.vpcs.iter().map(|v| self.namespace(&v.id)).collect();
        for name in netns::list(&self.prefix()) {
            if name == self.edge_name() || wanted.contains(&name) {
                continue;
            }
            let digits = name.trim_start_matches(&self.prefix()).to_owned();
            if let Ok(id) = format!("vpc-{digits}").parse::<VpcId>() {
                self.services.close(&id);
            }
            vpc::remove(&name, &self.edge_name(), &digits)?;
        }
        Ok(())
    }

    fn note(&self, plan: &HostPlan) {
        let mut done = self.done();
        done.unsettled.clear();
        if let Some(logs) = self.flow_logs.get() {
            logs.keep(&plan.network.vpcs);
        }
        done.vpcs = plan.network.vpcs.iter().map(|v| (v.id.clone(), v.clone())).collect();
        done.places = plan
            .network
            .vpcs
            .iter()
            .flat_map(|v| {
                let name = self.namespace(&v.id);
                v.interfaces.iter().map(move |i| (i.id.clone(), (name.clone(), tap_name(&i.id), i.private_ip)))
            })
            .collect();
    }

    /// See [`Self::must_be_free`].
    pub fn ipv6_must_be_free(pool: Ipv6Net, config: &NetworkConfig) -> Result<()> {
        edge::ipv6::must_be_free(pool, config)
    }

    /// Asked before anything is served: later, launches would only fail.
    pub fn must_be_free(pool: Ipv4Net, config: &NetworkConfig) -> Result<()> {
        edge::must_be_free(pool, config)
    }

    /// Removes all that carries the tag.
    pub fn purge(tag: &str) -> Result<()> {
        let prefix = format!("awan-{tag}-");
        let edge = format!("{prefix}edge");
        for name in netns::list(&prefix).into_iter().filter(|n| *n != edge) {
            vpc::remove(&name, &edge, name.trim_start_matches(&prefix))?;
        }
        edge::remove(tag, &edge)
    }

    fn differences(&self, plan: &HostPlan) -> Result<NetworkDifference> {
        let mut found = NetworkDifference::default();
        let wanted: BTreeMap<String, &VpcPlan> = plan.network.vpcs.iter().map(|v| (self.namespace(&v.id), v)).collect();
        let there: BTreeSet<String> =
            netns::list(&self.prefix()).into_iter().filter(|n| *n != self.edge_name()).collect();
        found.missing.extend(wanted.keys().filter(|n| !there.contains(*n)).map(|n| format!("netns {n}")));
        found.unexpected.extend(there.iter().filter(|n| !wanted.contains_key(*n)).map(|n| format!("netns {n}")));
        for (name, network) in wanted.iter().filter(|(n, _)| there.contains(*n)) {
            let peers = network.peers.iter().filter(|peer| wanted.contains_key(&self.namespace(&peer.vpc)));
            vpc::compare(name, network, peers, &mut found)?;
        }
        if !wanted.is_empty() && !netns::path(&self.edge_name()).exists() {
            found.missing.push(format!("netns {}", self.edge_name()));
        }
        Ok(found)
    }
}

impl Network for NetworkDriver {
    fn apply<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            // The same plan again: somebody wants the machine looked at, whatever was done before.
            let scrub = self.done().vpcs.values().eq(&plan.network.vpcs);
            tokio::task::block_in_place(|| self.apply_all(plan, scrub))
        })
    }

    fn open(&self, vpc: &VpcId, interface: &InterfaceId) -> Result<OwnedFd> {
        let tap = tap_name(interface);
        netns::inside(&self.namespace(vpc), move || link::open_tap(&tap))
    }

    fn retire(&self, vpc: &VpcId, interface: &InterfaceId) -> Result<()> {
        vpc::retire(&self.namespace(vpc), &tap_name(interface))?;
        self.done().unsettled.insert(vpc.clone());
        Ok(())
    }

    fn health<'a>(&'a self, interface: &'a InterfaceId) -> Fut<'a, Health> {
        let place = self.done().places.get(interface).cloned();
        Box::pin(async move {
            let Some((name, tap, ip)) = place else { return Health::Impaired };
            let asked =
                tokio::task::spawn_blocking(move || netns::inside(&name, move || link::answers(&tap, ip))).await;
            if matches!(asked, Ok(Ok(true))) { Health::Ok } else { Health::Impaired }
        })
    }

    fn traffic<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, Result<Vec<TrafficSeen>>> {
        Box::pin(async move {
            let there = |vpc: &&VpcPlan| netns::path(&self.namespace(&vpc.id)).exists();
            tokio::task::block_in_place(|| {
                let counted = |vpc: &VpcPlan| counters::of(&self.namespace(&vpc.id), vpc);
                let all: Vec<_> = plan.network.vpcs.iter().filter(there).map(counted).collect::<Result<_>>()?;
                Ok(all.into_iter().flatten().collect())
            })
        })
    }

    fn flow_logs(&self) -> Option<Arc<FlowLogs>> {
        self.flow_logs.get().cloned()
    }

    fn compare<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, Result<NetworkDifference>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            tokio::task::block_in_place(|| self.differences(plan))
        })
    }
}

#[cfg(test)]
mod tests {
    use awan_model::plan::{NatPlan, PeerPlan, Way, WayPlan};
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::hypervisor::testing::plan;
    use crate::network::testing::vpc_plan;

    struct NoServices;

    impl Services for NoServices {
        fn update(&self, _: &HostPlan, _: &[NamespaceInfo]) -> Result<()> {
            Ok(())
        }
        fn close(&self, _: &VpcId) {}
    }

    /// Two VPCs that are peers; one has a NAT gateway and sends a range to an instance that forwards.
    fn peers() -> HostPlan {
        let mut plan = plan(Vec::new());
        plan.network.public_pool = "198.18.0.0/16".parse().ok();
        let (mut a, mut b) = (vpc_plan(), vpc_plan());
        b.id = "vpc-00000000000000002".parse().expect("an id");
        b.cidr = "10.1.0.0/16".parse().expect("a network");
        b.subnets[0].cidr = "10.1.0.0/24".parse().expect("a network");
        b.interfaces[0].id = "eni-00000000000000002".parse().expect("an id");
        b.interfaces[0].private_ip = "10.1.0.5".parse().expect("an address");
        b.interfaces[0].public_ip = None;
        let id: awan_model::id::PeeringId = "pcx-00000000000000001".parse().expect("an id");
        let peer = |of: &VpcPlan, asked| PeerPlan {
            id: id.clone(),
            vpc: of.id.clone(),
            ranges: vec![of.cidr],
            ipv6: of.ipv6.clone(),
            asked,
            members: Vec::new(),
            members_ipv6: Vec::new(),
        };
        (a.peers, b.peers) = (vec![peer(&b, true)], vec![peer(&a, false)]);
        let nat: awan_model::id::NatGatewayId = "nat-00000000000000001".parse().expect("an id");
        let (private_ip, public_ip) = ("10.0.0.9".parse().expect("an address"), "198.18.0.9".parse().ok());
        a.nats = vec![NatPlan { id: nat.clone(), subnet: a.subnets[0].id.clone(), private_ip, public_ip }];
        let way = |to: &str, way| WayPlan { to: to.parse().expect("a network"), way };
        a.subnets[0].ways = vec![
            way("10.1.0.0/16", Way::Peering(id)),
            way("203.0.113.0/24", Way::Nat(nat)),
            way("192.0.2.0/24", Way::Interface(a.interfaces[0].id.clone())),
        ];
        plan.network.vpcs = vec![a, b];
        plan
    }

    #[tokio::test(flavor = "multi_thread")]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn peers_gateways_and_forwarding_instances_come_and_go_with_the_plan() {
        let able = nix::unistd::Uid::effective().is_root() && netns::feed("nft", &["--version"], "").is_ok();
        if !able {
            eprintln!("skipped: needs root, iproute2 and nftables");
            return;
        }
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let config = NetworkConfig { tag: tag.clone(), uplink: Uplink::Closed, outside: None };
        let driver = NetworkDriver::new(config, Arc::new(NoServices)).expect("nft is there");
        let mut plan = peers();
        let seen = tokio::task::block_in_place(|| {
            // The machine's own network is not touched.
            std::thread::scope(|scope| {
                let work = || {
                    unshare(CloneFlags::CLONE_NEWNET).expect("root");
                    driver.apply_all(&plan, false).expect("applies");
                    let name = driver.namespace(&plan.network.vpcs[0].id);
                    let show = |words: &[&str]| netns::inside(&name, || netns::feed("ip", words, "")).expect("shows");
                    let first = (show(&["rule"]), show(&["route", "show", "table", "all", "proto", "77"]));
                    driver.apply_all(&plan, true).expect("applies again");
                    assert_eq!(first, (show(&["rule"]), show(&["route", "show", "table", "all", "proto", "77"])));
                    let found = driver.differences(&plan).expect("looks");
                    plan.network.vpcs[0].subnets[0].ways.clear();
                    plan.network.vpcs[0].peers.clear();
                    plan.network.vpcs[1].peers.clear();
                    driver.apply_all(&plan, false).expect("applies less");
                    let less = (show(&["rule"]), driver.differences(&plan).expect("looks"));
                    NetworkDriver::purge(&tag).expect("removes");
                    (first, found, less)
                };
                scope.spawn(work).join().expect("does not panic")
            })
        });
        let ((rules, routes), found, (rules_less, found_less)) = seen;
        for part in ["dev pcx000000000001 table", "dev tap000000000001 table", "via 169.254.241.1 dev igw table"] {
            assert!(routes.contains(part), "{part}: {routes}");
        }
        assert_eq!(rules.lines().filter(|line| line.starts_with("300:")).count(), 3, "{rules}");
        assert_eq!(rules_less.lines().filter(|line| line.starts_with("300:")).count(), 0, "{rules_less}");
        for found in [found, found_less] {
            assert!(found.missing.is_empty() && found.unexpected.is_empty(), "{found:?}");
        }
    }
}
