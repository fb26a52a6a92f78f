//! What answers guests inside a VPC: DHCP, DNS, the time, the metadata service and VPC endpoints.
//!
//! **Invariants.** Answers come from the plan alone, so they go on while the control plane is away. Who asks is decided
//! by the interface that the packet came in by, never by what it says. Nothing that one guest sends stops the answers
//! to another.

pub mod dhcp;
mod dhcpv6;
pub mod dns;
pub mod endpoint;
pub mod metadata;
mod ntp;
mod places;
mod router;
mod sockets;
mod tasks;
#[cfg(test)]
mod tests;
pub mod token;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::id::{InterfaceId, VpcId};
use awan_model::plan::{HostPlan, InterfacePlan, VmPlan, VpcPlan};
use tokio::sync::Notify;

use self::endpoint::{Api, Endpoints};
use self::tasks::{Group, Tasks};
use self::token::Sealer;
use crate::network::{NamespaceInfo, Services, ipv6};

/// The metadata service's address in every VPC.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The time's, too. Source: "Set the time reference on your EC2 instance".
pub(crate) const TIME: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);

/// An error of a socket that serves many must not become a loop that burns a processor.
const AFTER_ERROR: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Seals metadata tokens; made where there is none, so that tokens outlive this process.
    pub secret: PathBuf,
    /// Where names that are not the VPC's are asked for.
    pub resolvers: Vec<SocketAddr>,
    /// Where endpoints lead.
    pub api: Arc<dyn Api>,
    pub runtime: tokio::runtime::Handle,
}

pub struct GuestServices {
    config: ServiceConfig,
    sealer: Arc<Sealer>,
    served: Mutex<BTreeMap<VpcId, Served>>,
}

struct Served {
    view: Shared,
    /// The namespace that the sockets are in: device and inode.
    place: (u64, u64),
    group: Group,
    ipv6: Option<ServedIpv6>,
    endpoints: Endpoints,
}

/// What a VPC with IPv6 has besides. It comes and goes by itself.
struct ServedIpv6 {
    group: Group,
    dhcp: UdpSocket,
    /// The taps on which DHCP is heard.
    joined: BTreeSet<u32>,
    changed: Arc<Notify>,
}

/// A VPC as its services see it.
#[derive(Debug, Clone)]
pub struct View {
    pub plan: Arc<HostPlan>,
    pub vpc: VpcId,
    /// Interfaces by the index of their taps.
    pub taps: BTreeMap<u32, InterfaceId>,
    pub resolvers: Vec<SocketAddr>,
}

impl View {
    pub fn network(&self) -> Option<&VpcPlan> {
        self.plan.network.vpcs.iter().find(|v| v.id == self.vpc)
    }

    /// Whose interface a packet came in by.
    pub fn interface(&self, index: u32) -> Option<(&VpcPlan, &InterfacePlan)> {
        let id = self.taps.get(&index)?;
        let network = self.network()?;
        network.interfaces.iter().find(|i| i.id == *id).map(|i| (network, i))
    }

    /// Who asks: the interface and the address must agree.
    pub fn asker(&self, index: u32, address: IpAddr) -> Option<(&VpcPlan, &InterfacePlan, &VmPlan)> {
        let (network, interface) = self.interface(index).filter(|(_, i)| i.has(address))?;
        let vm = self.plan.vms.iter().find(|vm| vm.id == interface.instance)?;
        Some((network, interface, vm))
    }
}

pub(crate) type Shared = Arc<RwLock<Arc<View>>>;

pub(crate) fn current(view: &Shared) -> Arc<View> {
    view.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Served {
    fn end(self) {
        self.group.end();
        if let Some(ipv6) = self.ipv6 {
            ipv6.group.end();
        }
        self.endpoints.end();
    }
}

impl GuestServices {
    pub fn new(config: ServiceConfig) -> Result<Arc<Self>> {
        let sealer = Arc::new(Sealer::open(&config.secret)?);
        Ok(Arc::new(Self { config, sealer, served: Mutex::default() }))
    }

    fn serve(&self, info: &NamespaceInfo, view: &Shared, network: &VpcPlan) -> Result<Group> {
        let path = info.path.to_str().context("a namespace's path is no text")?;
        let opened = crate::network::netns::inside(path, || sockets::open(network))?;
        let (tasks, mut group) = Tasks::new(self.config.runtime.clone());
        group.keep(tasks.spawn(dhcp::serve(opened.dhcp, view.clone())));
        let places = dns::places();
        for socket in opened.dns_udp {
            group.keep(tasks.spawn(dns::serve_udp(socket, view.clone(), places.clone(), tasks.clone())));
        }
        for socket in opened.dns_tcp {
            group.keep(tasks.spawn(dns::serve_tcp(socket, view.clone(), places.clone(), tasks.clone())));
        }
        group.keep(tasks.spawn(ntp::serve(opened.time, view.clone())));
        let metadata = metadata::serve(opened.http, view.clone(), self.sealer.clone(), tasks.clone());
        group.keep(tasks.spawn(metadata));
        Ok(group)
    }

    fn update_one(
        &self,
        served: &mut BTreeMap<VpcId, Served>,
        plan: &Arc<HostPlan>,
        info: &NamespaceInfo,
    ) -> Result<()> {
        let taps = info.taps.iter().map(|(id, _, index)| (*index, id.clone())).collect();
        let resolvers = self.config.resolvers.clone();
        let view = Arc::new(View { plan: plan.clone(), vpc: info.vpc.clone(), taps, resolvers });
        let namespace = std::fs::metadata(&info.path)?;
        let place = (namespace.dev(), namespace.ino());
        if let Entry::Occupied(there) = served.entry(info.vpc.clone()) {
            // A namespace that was made anew has none of the old one's sockets.
            if there.get().place == place && there.get().group.whole() {
                let served = there.into_mut();
                *served.view.write().unwrap_or_else(PoisonError::into_inner) = view.clone();
                return self.update_rest(served, info, &view);
            }
            there.remove().end();
        }
        let Some(network) = view.network().cloned() else { return Ok(()) };
        let shared: Shared = Arc::new(RwLock::new(view.clone()));
        let group = self.serve(info, &shared, &network)?;
        let mut new = Served { view: shared, place, group, ipv6: None, endpoints: Endpoints::new() };
        let done = self.update_rest(&mut new, info, &view);
        served.insert(info.vpc.clone(), new);
        done
    }

    /// What comes and goes while the VPC is there.
    fn update_rest(&self, served: &mut Served, info: &NamespaceInfo, view: &View) -> Result<()> {
        let ipv6 = self.update_ipv6(served, info, view);
        let path = info.path.to_str().context("a namespace's path is no text")?;
        let network = view.network().context("a VPC that no plan has")?;
        ipv6.and(served.endpoints.update(network, path, &self.config.runtime, &self.config.api))
    }

    fn update_ipv6(&self, served: &mut Served, info: &NamespaceInfo, view: &View) -> Result<()> {
        let wanted = view.network().is_some_and(|network| !network.ipv6.is_empty()) && ipv6::is_there();
        if let Some(old) = served.ipv6.take_if(|ipv6| !wanted || !ipv6.group.whole()) {
            old.group.end();
        }
        if !wanted {
            return Ok(());
        }
        let ipv6 = match &mut served.ipv6 {
            Some(there) => there,
            none => none.insert(self.serve_ipv6(info, &served.view)?),
        };
        let taps: BTreeSet<u32> = view.taps.keys().copied().collect();
        for index in ipv6.joined.difference(&taps) {
            // It may have gone with its tap.
            let _ = sockets::hear(&ipv6.dhcp, *index, false);
        }
        ipv6.joined.retain(|index| taps.contains(index));
        for index in taps {
            if !ipv6.joined.contains(&index) {
                sockets::hear(&ipv6.dhcp, index, true)?;
                ipv6.joined.insert(index);
            }
        }
        ipv6.changed.notify_one();
        Ok(())
    }

    fn serve_ipv6(&self, info: &NamespaceInfo, view: &Shared) -> Result<ServedIpv6> {
        let path = info.path.to_str().context("a namespace's path is no text")?;
        let opened = crate::network::netns::inside(path, sockets::open_ipv6)?;
        let (tasks, mut group) = Tasks::new(self.config.runtime.clone());
        let (dhcp, changed) = (opened.dhcp.try_clone()?, Arc::new(Notify::new()));
        group.keep(tasks.spawn(dhcpv6::serve(opened.dhcp, view.clone())));
        group.keep(tasks.spawn(router::serve(opened.router, view.clone(), changed.clone())));
        let places = dns::places();
        group.keep(tasks.spawn(dns::serve_udp(opened.dns_udp, view.clone(), places.clone(), tasks.clone())));
        group.keep(tasks.spawn(dns::serve_tcp(opened.dns_tcp, view.clone(), places, tasks.clone())));
        group.keep(tasks.spawn(ntp::serve(opened.time, view.clone())));
        let metadata = metadata::serve(opened.http, view.clone(), self.sealer.clone(), tasks.clone());
        group.keep(tasks.spawn(metadata));
        Ok(ServedIpv6 { group, dhcp, joined: BTreeSet::new(), changed })
    }
}

impl Services for GuestServices {
    /// One VPC that cannot be served does not keep the others from it.
    fn update(&self, plan: &HostPlan, namespaces: &[NamespaceInfo]) -> Result<()> {
        let plan = Arc::new(plan.clone());
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = Ok(());
        for info in namespaces {
            let one = self.update_one(&mut served, &plan, info);
            result = result.and(one.with_context(|| format!("serving {}", info.vpc)));
        }
        result
    }

    /// Blocks until the sockets are closed, which takes as long as a task needs to reach its next wait.
    fn close(&self, vpc: &VpcId) {
        let gone = self.served.lock().unwrap_or_else(PoisonError::into_inner).remove(vpc);
        if let Some(gone) = gone {
            gone.end();
        }
    }
}
