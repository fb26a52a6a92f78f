//! What answers guests inside a VPC: DHCP, DNS and the metadata service.
//!
//! **Invariant:** answers come from the plan alone, so they go on while the control plane is away. Who asks is decided by
//! the interface that the packet came in by, never by what it says.

pub mod dhcp;
pub mod dns;
pub mod metadata;
mod sockets;
pub mod token;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::Result;
use awan_model::id::{InterfaceId, VpcId};
use awan_model::plan::{HostPlan, InterfacePlan, VmPlan, VpcPlan};
use tokio::task::JoinHandle;

use self::token::Sealer;
use crate::network::{NamespaceInfo, Services};

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
    view: Arc<RwLock<Arc<View>>>,
    tasks: Vec<JoinHandle<()>>,
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
        let (network, interface) = self.interface(index).filter(|(_, i)| i.private_ip == address)?;
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

    fn serve(&self, info: &NamespaceInfo, view: &Shared, network: &VpcPlan) -> Result<Vec<JoinHandle<()>>> {
        let name = info.path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let opened = crate::network::netns::inside(&name, || sockets::open(network))?;
        let runtime = &self.config.runtime;
        let mut tasks = vec![runtime.spawn(dhcp::serve(opened.dhcp, view.clone()))];
        for socket in opened.dns_udp {
            tasks.push(runtime.spawn(dns::serve_udp(socket, view.clone())));
        }
        for socket in opened.dns_tcp {
            tasks.push(runtime.spawn(dns::serve_tcp(socket, view.clone())));
        }
        tasks.push(runtime.spawn(metadata::serve(opened.http, view.clone(), self.sealer.clone())));
        Ok(tasks)
    }
}

impl Services for GuestServices {
    fn update(&self, plan: &HostPlan, namespaces: &[NamespaceInfo]) -> Result<()> {
        let plan = Arc::new(plan.clone());
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        for info in namespaces {
            let taps = info.taps.iter().map(|(id, _, index)| (*index, id.clone())).collect();
            let resolvers = self.config.resolvers.clone();
            let view = Arc::new(View { plan: plan.clone(), vpc: info.vpc.clone(), taps, resolvers });
            let alive = served.get(&info.vpc).filter(|s| s.tasks.iter().all(|t| !t.is_finished()));
            if let Some(there) = alive {
                *there.view.write().unwrap_or_else(PoisonError::into_inner) = view;
                continue;
            }
            let Some(network) = view.network().cloned() else { continue };
            let shared: Shared = Arc::new(RwLock::new(view));
            let tasks = self.serve(info, &shared, &network)?;
            served.insert(info.vpc.clone(), Served { view: shared, tasks });
        }
        Ok(())
    }

    fn close(&self, vpc: &VpcId) {
        let gone = self.served.lock().unwrap_or_else(PoisonError::into_inner).remove(vpc);
        for task in gone.into_iter().flat_map(|g| g.tasks) {
            task.abort();
        }
    }
}
