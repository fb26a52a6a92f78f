//! What answers guests inside a VPC: DHCP, DNS and the metadata service.
//!
//! **Invariants.** Answers come from the plan alone, so they go on while the control plane is away. Who asks is decided
//! by the interface that the packet came in by, never by what it says. Nothing that one guest sends stops the answers
//! to another.

pub mod dhcp;
pub mod dns;
pub mod metadata;
mod places;
mod sockets;
mod tasks;
#[cfg(test)]
mod tests;
pub mod token;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::id::{InterfaceId, VpcId};
use awan_model::plan::{HostPlan, InterfacePlan, VmPlan, VpcPlan};

use self::tasks::{Group, Tasks};
use self::token::Sealer;
use crate::network::{NamespaceInfo, Services};

/// The metadata service's address in every VPC.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// An error of a socket that serves many must not become a loop that burns a processor.
const AFTER_ERROR: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Seals metadata tokens; made where there is none, so that tokens outlive this process.
    pub secret: PathBuf,
    /// Where names that are not the VPC's are asked for.
    pub resolvers: Vec<SocketAddr>,
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
    pub fn asker(&self, index: u32, address: Ipv4Addr) -> Option<(&VpcPlan, &InterfacePlan, &VmPlan)> {
        let (network, interface) = self.interface(index).filter(|(_, i)| i.has(address))?;
        let vm = self.plan.vms.iter().find(|vm| vm.id == interface.instance)?;
        Some((network, interface, vm))
    }
}

pub(crate) type Shared = Arc<RwLock<Arc<View>>>;

pub(crate) fn current(view: &Shared) -> Arc<View> {
    view.read().unwrap_or_else(PoisonError::into_inner).clone()
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
                *there.get().view.write().unwrap_or_else(PoisonError::into_inner) = view;
                return Ok(());
            }
            there.remove().group.end();
        }
        let Some(network) = view.network().cloned() else { return Ok(()) };
        let view: Shared = Arc::new(RwLock::new(view));
        let group = self.serve(info, &view, &network)?;
        served.insert(info.vpc.clone(), Served { view, place, group });
        Ok(())
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
            gone.group.end();
        }
    }
}
