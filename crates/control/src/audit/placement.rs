//! Who is on a host with whom: what placement groups and dedicated tenancy promise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use awan_model::id::{HostId, PlacementGroupId};
use awan_model::instance::{Instance, Placement, State, VmReport, state};
use awan_model::placement_group::{PlacementGroup, Strategy};
use awan_state::{System, Tx};

pub fn check(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let mut hosts: BTreeMap<HostId, Vec<Arc<Placement>>> = BTreeMap::new();
    for place in tx.all::<Placement>() {
        hosts.entry(place.host.clone()).or_default().push(place);
    }
    for (host, places) in &hosts {
        let accounts: BTreeSet<_> = places.iter().map(|p| p.home.account()).collect();
        let dedicated = places.iter().filter(|p| p.dedicated);
        out.extend(dedicated.filter(|_| accounts.len() > 1).map(|p| format!("{}: is dedicated and not alone", p.id)));
        groups(tx, host, places, out);
    }
    for instance in tx.all::<Instance>() {
        let report = tx.find_in::<VmReport>(&instance.home, &instance.id);
        let gone = state(&instance, report.as_deref()) == State::Terminated;
        if let Some(group) = instance.options.group.as_ref().filter(|_| !gone)
            && tx.find_in::<PlacementGroup>(&instance.home, group).is_none()
        {
            out.push(format!("{}: is in {group}, which is not there", instance.id));
        }
    }
}

fn groups(tx: &mut Tx<System>, host: &HostId, places: &[Arc<Placement>], out: &mut Vec<String>) {
    let mut members: BTreeMap<&PlacementGroupId, Vec<&Placement>> = BTreeMap::new();
    for place in places {
        if let Some(group) = &place.group {
            members.entry(group).or_default().push(place);
        }
    }
    for (group, members) in members {
        let found = tx.find_in::<PlacementGroup>(&members[0].home, group);
        let apart = match found.map(|g| g.strategy) {
            Some(Strategy::Spread) => members.len() == 1,
            Some(Strategy::Partition { .. }) => members.iter().all(|p| p.partition == members[0].partition),
            Some(Strategy::Cluster) | None => true,
        };
        if !apart {
            out.push(format!("host {host}: carries more of {group} than may be together"));
        }
    }
}

#[cfg(test)]
mod tests {
    use awan_model::instance::Placement;
    use awan_model::placement_group::PlacementGroup;
    use awan_state::System;

    use crate::error::Error;
    use crate::testing::Cloud;

    #[test]
    fn what_is_together_and_should_not_be_is_found() {
        let mut cloud = Cloud::new();
        let ask = [("GroupName", "g"), ("Strategy", "spread")];
        let made = cloud.tenant("acme").call("CreatePlacementGroup", &ask).expect("makes");
        let group = Cloud::ids(&made, "groupId").remove(0).parse().expect("an id");
        cloud.tenant("acme").run_with(&[("MinCount", "2"), ("MaxCount", "2")]).expect("launches");
        cloud.tenant("other").launch();
        let spoil = |tx: &mut awan_state::Tx<System>| {
            for place in tx.all::<Placement>() {
                let own = tx.find_in::<PlacementGroup>(&place.home, &group).map(|g| g.id.clone());
                tx.put(Placement { group: own, dedicated: true, ..(*place).clone() });
            }
            Ok::<_, Error>(())
        };
        cloud.control.db.transact_blocking(System, "test", spoil).expect("spoils");
        let wrong = cloud.control.db.read(System, crate::audit::always);
        assert_eq!(wrong.iter().filter(|w| w.ends_with("is dedicated and not alone")).count(), 3, "{wrong:?}");
        assert_eq!(wrong.iter().filter(|w| w.ends_with("than may be together")).count(), 1, "{wrong:?}");
    }
}
