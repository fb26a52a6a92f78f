//! No networks: guests always answer, and nobody sends anything, which is what flow logs tell.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Result;
use awan_model::id::{InterfaceId, VpcId};
use awan_model::instance::Health;
use awan_model::plan::{HostPlan, VpcPlan};
use awan_model::report::TrafficSeen;

use super::flow::{self, FlowLogs, Reading};
use crate::driver::{Fut, Network, NetworkDifference};

pub struct SimulatedNetwork {
    flow_logs: OnceLock<Arc<FlowLogs>>,
    /// Those that have flow logs.
    logged: Mutex<Vec<VpcPlan>>,
}

impl SimulatedNetwork {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { flow_logs: OnceLock::new(), logged: Mutex::default() })
    }

    /// Writes flow logs into a folder, from now on.
    pub fn record_flows(self: &Arc<Self>, folder: PathBuf) {
        let _ = self.flow_logs.set(Arc::new(FlowLogs::new(folder)));
        flow::every(self, |this| {
            let plans = this.logged().clone();
            plans.iter().for_each(|vpc| this.tell(vpc, &BTreeSet::new()));
        });
    }

    fn logged(&self) -> MutexGuard<'_, Vec<VpcPlan>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, vpc: &VpcPlan, going: &BTreeSet<String>) {
        let Some(logs) = self.flow_logs.get() else { return };
        if let Err(e) = logs.tell(vpc, flow::now(), going, || Ok(Reading::default())) {
            tracing::warn!(vpc = %vpc.id, error = format!("{e:#}"), "flows are not written down");
        }
    }

    fn follow(&self, plan: &HostPlan) {
        let Some(logs) = self.flow_logs.get() else { return };
        let old = self.logged().clone();
        for (vpc, going) in flow::ending(old.iter(), plan) {
            self.tell(&vpc, &going);
        }
        let new: Vec<_> = plan.network.vpcs.iter().filter(|vpc| flow::is_wanted(vpc)).cloned().collect();
        for vpc in new.iter().filter(|vpc| old.iter().all(|old| old.id != vpc.id)) {
            logs.begin(&vpc.id, flow::now());
        }
        logs.keep(&plan.network.vpcs);
        *self.logged() = new;
    }
}

impl Network for SimulatedNetwork {
    fn apply<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, Result<()>> {
        Box::pin(async {
            self.follow(plan);
            Ok(())
        })
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

    fn traffic<'a>(&'a self, _: &'a HostPlan) -> Fut<'a, Result<Vec<TrafficSeen>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn flow_logs(&self) -> Option<Arc<FlowLogs>> {
        self.flow_logs.get().cloned()
    }

    fn compare<'a>(&'a self, _: &'a HostPlan) -> Fut<'a, Result<NetworkDifference>> {
        Box::pin(async { Ok(NetworkDifference::default()) })
    }
}
