//! ListVolumesInRecycleBin.

use awan_model::recycle_bin::Binned;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view::{self, Seen};
use crate::actions::ec2::instance::view::time;
use crate::describe::Page;
use crate::error::Result;
use crate::recycle_bin;

pub fn list_volumes_in_recycle_bin(
    tx: &mut Tx<Tenant>,
    req: ec2::ListVolumesInRecycleBinRequest,
) -> Result<ec2::ListVolumesInRecycleBinResult> {
    let ec2::ListVolumesInRecycleBinRequest { volume_ids, dry_run: _, max_results, next_token } = req;
    let (asked, named) = ((max_results, next_token.as_deref()), !volume_ids.is_empty());
    let page = Page::new(tx, "ListVolumesInRecycleBin", asked, (1, 1000), named)?;
    let found = recycle_bin::list::<Volume>(tx, &volume_ids)?;
    let (some, next_token) = page.cut(found, |binned| binned.what.id.clone());
    let volumes = some.iter().map(|binned| shown(tx, binned)).collect();
    Ok(ec2::ListVolumesInRecycleBinResult { volumes, next_token })
}

fn shown(tx: &mut Tx<Tenant>, binned: &Binned<Volume>) -> ec2::VolumeRecycleBinInfo {
    let Binned { what, entered, leaves } = binned;
    let seen: Seen = view::see(tx, std::sync::Arc::new(what.clone()));
    let ec2::Volume {
        volume_id,
        volume_type,
        state,
        size,
        iops,
        throughput,
        availability_zone,
        availability_zone_id,
        snapshot_id,
        operator,
        create_time,
        ..
    } = view::shown(&seen);
    ec2::VolumeRecycleBinInfo {
        volume_id,
        volume_type,
        state,
        size,
        iops,
        throughput,
        outpost_arn: None,
        availability_zone,
        availability_zone_id,
        source_volume_id: None,
        snapshot_id,
        operator,
        create_time,
        recycle_bin_enter_time: time(*entered),
        recycle_bin_exit_time: time(*leaves),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_bin_is_shown_in_pages_and_by_ids_to_whose_it_is() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_VOLUME", 1, "");
        let mut ids: Vec<String> = (0..2).map(|_| cloud.tenant("acme").volume("us-east-1b")).collect();
        ids.sort();
        for id in &ids {
            cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", id)]).expect("deletes");
        }
        let mut list = |who: &str, ask: &[(&str, &str)]| cloud.tenant(who).call("ListVolumesInRecycleBin", ask);
        let one = list("acme", &[("VolumeId.1", &ids[1])]).expect("lists");
        for (element, expected) in [
            ("volumeId", ids[1].as_str()),
            ("availabilityZone", "us-east-1b"),
            ("size", "1"),
            ("state", "available"),
            ("volumeType", "gp2"),
            ("recycleBinEnterTime", "2026-11-24T12:00:00.000Z"),
            ("recycleBinExitTime", "2026-11-25T12:00:00.000Z"),
        ] {
            assert_eq!(Cloud::ids(&one, element), [expected], "{element}");
        }
        let first = list("acme", &[("MaxResults", "1")]).expect("lists");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let rest = list("acme", &[("NextToken", &token)]).expect("lists");
        assert_eq!([Cloud::ids(&first, "volumeId"), Cloud::ids(&rest, "volumeId")].concat(), ids);
        assert!(Cloud::ids(&list("other", &[]).expect("lists"), "volumeId").is_empty());
        let refusal = list("other", &[("VolumeId.1", &ids[0])]).expect_err("another's");
        assert_eq!(refusal, format!("InvalidVolume.NotFound: The volume '{}' is not in the Recycle Bin.", ids[0]));
    }
}
