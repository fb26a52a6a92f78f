//! What went through every interface, for the operator: as recorded, and what its host has counted since.

use std::collections::BTreeMap;

use awan_model::host::HostRecord;
use awan_model::id::{InstanceId, InterfaceId};
use awan_model::report::{Answer, Ask};
use awan_model::traffic::{Counters, TrafficReport};
use awan_state::{Host, Millis, Operator};

use crate::control::Control;
use crate::error::Result;
use crate::hosts;

/// One interface. The counters are from the guest's view, and for as long as the interface exists.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TrafficView {
    pub interface: InterfaceId,
    pub instance: InstanceId,
    pub account: String,
    pub region: String,
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub at: Millis,
}

/// Hosts that do not answer are left at what they said last.
pub async fn all(control: &Control) -> Result<Vec<TrafficView>> {
    let (reports, hosts) = control.db.read(Operator, |tx| (tx.all::<TrafficReport>(), tx.all::<HostRecord>()));
    let mut all: BTreeMap<InterfaceId, TrafficReport> =
        reports.into_iter().map(|report| (report.id.clone(), (*report).clone())).collect();
    for host in hosts {
        let Ok(Answer::Traffic(seen)) = control.hosts.ask(&host.id, Ask::Traffic).await else { continue };
        let scope = Host(host.id.as_str().into());
        let news = |seen| control.db.read(scope.clone(), |tx| hosts::changed_traffic(tx, &host.id, seen));
        all.extend(seen.iter().filter_map(news).map(|report| (report.id.clone(), report)));
    }
    Ok(all.into_values().map(shown).collect())
}

fn shown(report: TrafficReport) -> TrafficView {
    let Counters { packets_in, bytes_in, packets_out, bytes_out } = report.total();
    TrafficView {
        interface: report.id,
        instance: report.instance,
        account: report.home.account().to_owned(),
        region: report.home.region().to_owned(),
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
        at: report.at,
    }
}

#[cfg(test)]
mod tests {
    use awan_model::instance::Exit;
    use awan_model::journal::{MeterEvent, MeterKind};
    use awan_model::report::TrafficSeen;

    use super::*;
    use crate::testing::Cloud;

    fn count(cloud: &mut Cloud, id: &str, tap: &str, bytes: u64) {
        let (home, interface) = (cloud.instance(id).0.home.clone(), cloud.instance(id).0.interface.clone());
        let counters = Counters { bytes_in: bytes, packets_in: 1, ..Counters::default() };
        cloud.traffic.push(TrafficSeen { home, id: interface, tap: tap.into(), counters });
    }

    fn shown(cloud: &Cloud) -> Vec<u64> {
        let all = cloud.runtime.block_on(all(&cloud.control)).expect("shows");
        all.into_iter().map(|view| view.bytes_in).collect()
    }

    fn metered(cloud: &Cloud) -> Vec<u64> {
        let rows = cloud.control.db.cold("meter/", None, 1000).expect("reads").rows;
        let events = rows.iter().map(|row| serde_json::from_slice::<MeterEvent>(&row.value).expect("an event"));
        let total = |event: MeterEvent| match event.kind {
            MeterKind::Traffic { total, .. } => Some(total.bytes_in),
            _ => None,
        };
        events.filter_map(total).collect()
    }

    #[test]
    fn traffic_is_metered_once_an_hour_at_the_end_of_its_machine_and_when_its_interface_goes() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.settle();
        count(&mut cloud, &id, "a", 10);
        cloud.report(Vec::new());
        count(&mut cloud, &id, "a", 20);
        cloud.report(Vec::new());
        assert_eq!((shown(&cloud), metered(&cloud)), (vec![20], vec![]));
        cloud.pass(60 * 60 * 1000);
        count(&mut cloud, &id, "a", 30);
        cloud.report(Vec::new());
        assert_eq!(metered(&cloud), [30]);
        // The host was started again.
        count(&mut cloud, &id, "b", 5);
        cloud.report(Vec::new());
        assert_eq!((shown(&cloud), metered(&cloud)), (vec![35], vec![30]));
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        count(&mut cloud, &id, "b", 6);
        cloud.declare_over(&id, Exit::Asked);
        assert_eq!(metered(&cloud), [30, 36]);
        cloud.settle();
        assert_eq!((shown(&cloud), metered(&cloud)), (vec![], vec![30, 36, 36]));
        cloud.audit();
    }

    #[test]
    fn a_host_that_does_not_have_the_instance_counts_nothing_of_it() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.settle();
        count(&mut cloud, &id, "a", 10);
        cloud.join("other", "*", 4);
        assert_eq!(shown(&cloud), Vec::<u64>::new());
    }
}
