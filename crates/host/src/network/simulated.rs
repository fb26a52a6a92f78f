//! No networks: guests always answer.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Result;
use awan_model::id::{InterfaceId, VpcId};
use awan_model::instance::Health;
use awan_model::plan::HostPlan;

use crate::driver::{Fut, Network, NetworkDifference};

pub struct SimulatedNetwork;

impl SimulatedNetwork {
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Network for SimulatedNetwork {
    fn apply<'a>(&'a self, _: &'a HostPlan) -> Fut<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn open(&self, _: &VpcId, _: &InterfaceId) -> Result<OwnedFd> {
        Ok(File::open("/dev/null")?.into())
    }

    fn retire(&self, _: &VpcId, _: &InterfaceId) -> Result<()> {
        Ok(())
    }

    fn health<'a>(&'a self, _: &'a InterfaceId) -> Fut<'a, Health> {
        Box::pin(async { Health::Ok })
    }

    fn compare<'a>(&'a self, _: &'a HostPlan) -> Fut<'a, Result<NetworkDifference>> {
        Box::pin(async { Ok(NetworkDifference::default()) })
    }
}
