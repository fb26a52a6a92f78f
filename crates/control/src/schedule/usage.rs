//! What lies on each host, added up as it changes.
//!
//! **Invariant:** [`note`] runs at the end of every transaction, so that no action and no reconciler can leave the sums
//! behind.

use std::collections::BTreeMap;

use awan_model::host::HostUsage;
use awan_model::id::HostId;
use awan_model::import::Content;
use awan_model::instance::Placement;
use awan_model::volume::VolumePlacement;
use awan_state::{Record as _, System, Tx};

/// The sums as this transaction leaves them.
pub fn now(tx: &mut Tx<System>) -> BTreeMap<HostId, HostUsage> {
    let kept = tx.all::<HostUsage>();
    if kept.is_empty() {
        return recount(tx);
    }
    let mut sums = kept.iter().map(|usage| (usage.id.clone(), (**usage).clone())).collect();
    for (before, after) in tx.changed::<Placement>() {
        before.iter().for_each(|place| of(&mut sums, &place.host).leave(place));
        after.iter().for_each(|place| of(&mut sums, &place.host).come(place));
    }
    for (before, after) in tx.changed::<VolumePlacement>() {
        if let Some(place) = &before {
            let usage = of(&mut sums, &place.host);
            usage.disk_gib = usage.disk_gib.saturating_sub(place.size_gib.into());
        }
        after.iter().for_each(|place| of(&mut sums, &place.host).disk_gib += u64::from(place.size_gib));
    }
    for (before, after) in tx.changed::<Content>() {
        if let Some(content) = &before {
            let usage = of(&mut sums, &content.host);
            usage.contents_mib = usage.contents_mib.saturating_sub(content.room_mib());
        }
        after.iter().for_each(|content| of(&mut sums, &content.host).contents_mib += content.room_mib());
    }
    sums
}

/// The sums of every place that there is.
pub fn recount(tx: &mut Tx<System>) -> BTreeMap<HostId, HostUsage> {
    let mut sums = BTreeMap::new();
    tx.all::<Placement>().iter().for_each(|place| of(&mut sums, &place.host).come(place));
    for place in tx.all::<VolumePlacement>() {
        of(&mut sums, &place.host).disk_gib += u64::from(place.size_gib);
    }
    for content in tx.all::<Content>().iter().filter(|content| content.room_mib() > 0) {
        of(&mut sums, &content.host).contents_mib += content.room_mib();
    }
    sums
}

fn of<'s>(sums: &'s mut BTreeMap<HostId, HostUsage>, host: &HostId) -> &'s mut HostUsage {
    sums.entry(host.clone()).or_insert_with(|| HostUsage::nothing(host))
}

/// Writes the sums that this transaction changed.
pub fn note(tx: &mut Tx<System>) {
    if tx.changed::<Placement>().is_empty()
        && tx.changed::<VolumePlacement>().is_empty()
        && tx.changed::<Content>().is_empty()
    {
        return;
    }
    for (_, usage) in now(tx) {
        let old = tx.find_at(&usage.at());
        if usage.is_nothing() {
            tx.remove(&usage.at());
        } else if old.is_none_or(|old| *old != usage) {
            tx.put(usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::testing::Cloud;

    #[test]
    fn the_sums_follow_every_change_and_are_made_where_there_are_none() {
        let mut cloud = Cloud::new();
        let kept = |cloud: &Cloud| {
            let sums = |tx: &mut Tx<System>| (now(tx), recount(tx));
            let (kept, counted) = cloud.control.db.read(System, sums);
            assert_eq!(kept, counted);
            kept.into_values()
                .next()
                .map(|on| (on.vcpus, on.disk_gib, on.accounts.values().copied().collect::<Vec<_>>()))
        };
        assert_eq!(kept(&cloud), None);
        let id = cloud.tenant("acme").run();
        cloud.tenant("other").run();
        cloud.settle();
        let both = kept(&cloud).expect("two run");
        assert_eq!(both.2, [1, 1]);
        let forget = |tx: &mut Tx<System>| {
            tx.all::<HostUsage>().iter().for_each(|usage| tx.remove(&usage.at()));
            Ok::<_, Error>(())
        };
        cloud.control.db.transact_blocking(System, "test", forget).expect("forgets");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        assert_eq!(kept(&cloud), Some((both.0 / 2, both.1 / 2, vec![1])));
        cloud.audit();
    }
}
