//! What is in the recycle bin: nowhere else, marked as such, and whole as long as it can be restored.

use std::collections::BTreeSet;

use awan_model::image::Image;
use awan_model::import::Content;
use awan_model::recycle_bin::{Binned, Recyclable};
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_model::tag::Tags;
use awan_model::volume::Volume;
use awan_state::{Record as _, Ref, System, Tx};

use crate::imports;
use crate::recycle_bin::TAG;

pub fn check(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let mut marked: BTreeSet<String> =
        tx.all::<Tags>().iter().filter(|tags| tags.tags.contains_key(TAG)).map(|tags| tags.id.clone()).collect();
    of::<Snapshot>(tx, &mut marked, out);
    of::<Image>(tx, &mut marked, out);
    of::<Volume>(tx, &mut marked, out);
    let attached = tx.all::<Binned<Volume>>().into_iter().filter(|binned| binned.what.attachment.is_some());
    out.extend(attached.map(|binned| format!("{}: is in the recycle bin and attached", binned.what.id)));
    out.extend(marked.into_iter().map(|id| format!("{id}: is marked as in the recycle bin, and is not there")));
    let contents: BTreeSet<_> = tx.all::<Content>().iter().map(|content| content.id.clone()).collect();
    for binned in tx.all::<Binned<Snapshot>>() {
        let snapshot = &binned.what;
        let Bytes::Image(bytes) = &snapshot.bytes else { continue };
        if snapshot.phase != Phase::Error && !contents.contains(bytes) && !imports::is_there(tx, bytes) {
            out.push(format!("{}: is in the recycle bin, and what it holds is nowhere", snapshot.id));
        }
    }
}

fn of<R: Recyclable>(tx: &mut Tx<System>, marked: &mut BTreeSet<String>, out: &mut Vec<String>) {
    for binned in tx.all::<Binned<R>>() {
        let at = binned.at();
        if tx.find_at(&Ref::<R>::new(&at.home, &at.id)).is_some() {
            out.push(format!("{}: is in the recycle bin and is not", at.id));
        }
        if !marked.remove(&at.id.to_string()) {
            out.push(format!("{}: is in the recycle bin and not marked as such", at.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::testing::Cloud;

    #[test]
    fn what_is_wrong_with_the_bin_is_a_difference() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let id = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.settle();
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &id)]).expect("deletes");
        cloud.audit();
        let wrong = |cloud: &mut Cloud, change: &dyn Fn(&mut Tx<awan_state::Tenant>, Snapshot)| {
            cloud.control.db.transact_blocking(System, "test", |tx| {
                let what = tx.all::<Binned<Snapshot>>().remove(0).what.clone();
                tx.act_for_tenant(&what.home.clone(), |tx| change(tx, what));
                let mut out = Vec::new();
                check(tx, &mut out);
                Err::<(), _>(Error::fault(out.join("; ")))
            })
        };
        let told = |outcome: Result<(), Error>| outcome.expect_err("is taken back").to_string();
        let both = told(wrong(&mut cloud, &|tx, what| tx.put(what)));
        assert_eq!(both, format!("{id}: is in the recycle bin and is not"));
        let unmarked = told(wrong(&mut cloud, &|tx, what| tx.remove::<Tags>(&what.id.to_string())));
        assert_eq!(unmarked, format!("{id}: is in the recycle bin and not marked as such"));
        let marked = told(wrong(&mut cloud, &|tx, what| tx.remove::<Binned<Snapshot>>(&what.id)));
        assert_eq!(marked, format!("{id}: is marked as in the recycle bin, and is not there"));
        let lost = told(wrong(&mut cloud, &|tx, what| {
            let bytes = Bytes::Image("ami-00000000000000000".parse().expect("an id"));
            let entered = tx.now();
            tx.put(Binned { what: Snapshot { bytes, ..what }, entered, leaves: entered + 1 });
        }));
        assert_eq!(lost, format!("{id}: is in the recycle bin, and what it holds is nowhere"));
        cloud.audit();
    }
}
