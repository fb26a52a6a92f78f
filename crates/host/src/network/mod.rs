//! Networks of the machine.

mod counters;
pub mod driver;
mod edge;
pub mod flow;
pub mod ipv6;
#[cfg(test)]
pub(crate) mod lab;
mod limit;
mod link;
#[cfg(test)]
mod mended;
pub mod netns;
pub mod outside;
mod peer;
mod render;
mod ruleset;
pub mod simulated;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod vpc;

use std::path::PathBuf;

use awan_model::id::{InterfaceId, VpcId};
use awan_model::plan::HostPlan;

/// A VPC's namespace as those see it who serve guests in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceInfo {
    pub vpc: VpcId,
    pub path: PathBuf,
    /// Interface, name of its tap, index of its tap.
    pub taps: Vec<(InterfaceId, String, u32)>,
}

/// What answers guests inside a VPC: DHCP, DNS, metadata.
pub trait Services: Send + Sync {
    fn update(&self, plan: &HostPlan, namespaces: &[NamespaceInfo]) -> anyhow::Result<()>;
    /// Closes all sockets in a VPC's namespace: it cannot go while one is open.
    fn close(&self, vpc: &VpcId);
}
