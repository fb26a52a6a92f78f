//! ListSnapshotsInRecycleBin.

use awan_model::recycle_bin::Binned;
use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_snapshots::source;
use crate::actions::ec2::instance::view::time;
use crate::describe::Page;
use crate::error::Result;
use crate::recycle_bin;

pub fn list_snapshots_in_recycle_bin(
    tx: &mut Tx<Tenant>,
    req: ec2::ListSnapshotsInRecycleBinRequest,
) -> Result<ec2::ListSnapshotsInRecycleBinResult> {
    let ec2::ListSnapshotsInRecycleBinRequest { max_results, next_token, snapshot_ids, dry_run: _ } = req;
    let (asked, named) = ((max_results, next_token.as_deref()), !snapshot_ids.is_empty());
    let page = Page::new(tx, "ListSnapshotsInRecycleBin", asked, (5, 1000), named)?;
    let found = recycle_bin::list::<Snapshot>(tx, &snapshot_ids)?;
    let (some, next_token) = page.cut(found, |binned| binned.what.id.clone());
    Ok(ec2::ListSnapshotsInRecycleBinResult {
        snapshots: some.iter().map(|binned| shown(binned)).collect(),
        next_token,
    })
}

fn shown(binned: &Binned<Snapshot>) -> ec2::SnapshotRecycleBinInfo {
    let Binned { what: snapshot, entered, leaves } = binned;
    ec2::SnapshotRecycleBinInfo {
        snapshot_id: Some(snapshot.id.to_string()),
        recycle_bin_enter_time: time(*entered),
        recycle_bin_exit_time: time(*leaves),
        description: Some(snapshot.description.clone()),
        volume_id: Some(source(snapshot)),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_bin_is_shown_in_pages_and_by_ids_to_whose_it_is() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 2, "");
        let volume = cloud.tenant("acme").volume("us-east-1a");
        let mut ids = Vec::new();
        for n in 0..7 {
            let ask = [("VolumeId", volume.as_str()), ("Description", &n.to_string())];
            let made = cloud.tenant("acme").call("CreateSnapshot", &ask).expect("makes");
            let id = Cloud::ids(&made, "snapshotId").remove(0);
            cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &id)]).expect("deletes");
            ids.push(id);
        }
        let mut list = |who: &str, ask: &[(&str, &str)]| cloud.tenant(who).call("ListSnapshotsInRecycleBin", ask);
        let one = list("acme", &[("SnapshotId.1", &ids[3])]).expect("lists");
        assert_eq!(Cloud::ids(&one, "snapshotId"), [ids[3].as_str()]);
        assert_eq!((Cloud::ids(&one, "description"), Cloud::ids(&one, "volumeId")), (vec!["3".into()], vec![volume]));
        assert_eq!(Cloud::ids(&one, "recycleBinEnterTime"), ["2026-11-24T12:00:00.000Z"]);
        assert_eq!(Cloud::ids(&one, "recycleBinExitTime"), ["2026-11-26T12:00:00.000Z"]);
        let first = list("acme", &[("MaxResults", "5")]).expect("lists");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let rest = list("acme", &[("NextToken", &token)]).expect("lists");
        ids.sort();
        assert_eq!([Cloud::ids(&first, "snapshotId"), Cloud::ids(&rest, "snapshotId")].concat(), ids);
        assert!(Cloud::ids(&list("other", &[]).expect("lists"), "snapshotId").is_empty());
        let refusal = list("other", &[("SnapshotId.1", &ids[0])]).expect_err("another's");
        assert_eq!(refusal, format!("InvalidSnapshot.NotFound: The snapshot '{}' is not in the Recycle Bin.", ids[0]));
        assert!(list("acme", &[("MaxResults", "4")]).expect_err("too few").starts_with("InvalidParameterValue"));
    }
}
