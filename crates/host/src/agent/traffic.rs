//! How often the taps' counters are read. What is read is also recorded, so this is as seldom as EC2's own basic metrics,
//! and besides once when a machine ends or lets go of an interface: soon its tap is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use awan_model::id::{InstanceId, InterfaceId};
use awan_model::instance::{InterfaceSeen, Phase};
use awan_model::interface::Mac;
use awan_model::plan::{HostPlan, InterfacePlan};
use awan_model::report::TrafficSeen;
use tokio::time::Instant;

use crate::driver::{Network, SeenVm};

const EVERY: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Traffic {
    read: Option<Instant>,
    /// What machines had open when it was looked last.
    open: BTreeMap<InstanceId, BTreeSet<Mac>>,
    seen: BTreeMap<InterfaceId, TrafficSeen>,
}

impl Traffic {
    /// What is known of the plan's interfaces.
    pub async fn follow(&mut self, network: &Arc<dyn Network>, plan: &HostPlan, seen: &[SeenVm]) -> Vec<TrafficSeen> {
        let there: BTreeMap<_, _> = seen.iter().filter_map(|vm| self.open(vm)).collect();
        let let_go = |i: &InterfacePlan| {
            let has = |open: &BTreeMap<_, BTreeSet<Mac>>| open.get(&i.instance).is_some_and(|o| o.contains(&i.mac));
            has(&self.open) && !has(&there)
        };
        let interfaces = || plan.network.vpcs.iter().flat_map(|vpc| &vpc.interfaces);
        let due = self.read.is_none_or(|read| read.elapsed() >= EVERY);
        let ended: BTreeSet<_> = interfaces().filter(|i| let_go(i)).map(|i| i.id.clone()).collect();
        self.open = there;
        if due || !ended.is_empty() {
            match network.traffic(plan).await {
                Ok(all) => {
                    let all = all.into_iter().filter(|seen| due || ended.contains(&seen.id));
                    self.seen.extend(all.map(|seen| (seen.id.clone(), seen)));
                }
                Err(e) => tracing::warn!(error = format!("{e:#}"), "the taps' counters were not read"),
            }
        }
        if due {
            self.read = Some(Instant::now());
        }
        let planned: BTreeSet<_> = interfaces().map(|i| &i.id).collect();
        self.seen.retain(|id, _| planned.contains(id));
        self.seen.values().cloned().collect()
    }

    fn open(&self, vm: &SeenVm) -> Option<(InstanceId, BTreeSet<Mac>)> {
        let known = |seen: &Vec<InterfaceSeen>| seen.iter().map(|seen| seen.mac).collect();
        // While nobody knows, nothing is let go.
        let before = || self.open.get(&vm.id).cloned().unwrap_or_default();
        let macs = vm.interfaces.as_ref().map_or_else(before, known);
        (vm.phase != Phase::Exited).then(|| (vm.id.clone(), macs))
    }
}
