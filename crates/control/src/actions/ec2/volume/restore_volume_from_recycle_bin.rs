//! RestoreVolumeFromRecycleBin: as it was, attached to nothing.

use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::recycle_bin;

pub fn restore_volume_from_recycle_bin(
    tx: &mut Tx<Tenant>,
    req: ec2::RestoreVolumeFromRecycleBinRequest,
) -> Result<ec2::RestoreVolumeFromRecycleBinResult> {
    let ec2::RestoreVolumeFromRecycleBinRequest { volume_id, dry_run: _ } = req;
    let id = volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?;
    let binned = recycle_bin::find::<Volume>(tx, &id)?;
    recycle_bin::restore(tx, binned.what.clone());
    Ok(ec2::RestoreVolumeFromRecycleBinResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use awan_model::journal::Transition;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    /// The volumes that hosts are to have, and the room that they take.
    fn planned(cloud: &Cloud) -> (Vec<String>, u64) {
        cloud.control.db.read(System, |tx| {
            let plans = plan::all(tx, 1);
            let ids = plans.values().flat_map(|plan| &plan.volumes).map(|volume| volume.id.to_string()).collect();
            (ids, crate::schedule::usage::now(tx).values().map(|usage| usage.disk_gib).sum())
        })
    }

    #[test]
    fn a_volume_in_the_bin_keeps_its_files_and_nothing_can_be_done_with_it() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_VOLUME", 7, "");
        let instance = cloud.tenant("acme").run();
        let ask = [("AvailabilityZone", "us-east-1a"), ("Size", "2"), ("Encrypted", "true"), ("ClientToken", "once")];
        let made = cloud.tenant("acme").call("CreateVolume", &ask).expect("makes");
        let id = Cloud::ids(&made, "volumeId").remove(0);
        cloud.settle();
        cloud.tenant("acme").attach(&id, &instance, "/dev/sdf").expect("attaches");
        cloud.settle();
        cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &id)]).expect("makes");
        cloud.tenant("acme").call("DetachVolume", &[("VolumeId", &id)]).expect("detaches");
        cloud.settle();
        let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "1")];
        cloud.tenant("acme").call("CreateTags", &tag).expect("tags");
        let (before, files) = (cloud.tenant("acme").call("DescribeVolumes", &[("VolumeId.1", &id)]), planned(&cloud));
        cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", &id)]).expect("deletes");
        cloud.settle();
        cloud.audit();
        assert_eq!(planned(&cloud), files);
        for (action, ask) in [
            ("DescribeVolumes", &[("VolumeId.1", id.as_str())][..]),
            ("DeleteVolume", &[("VolumeId", &id)]),
            ("CreateSnapshot", &[("VolumeId", &id)]),
            ("ModifyVolume", &[("VolumeId", &id), ("Size", "3")]),
            ("AttachVolume", &[("VolumeId", &id), ("InstanceId", &instance), ("Device", "/dev/sdf")]),
        ] {
            let refusal = cloud.tenant("acme").call(action, ask).expect_err(action);
            assert!(refusal.starts_with("InvalidVolume.NotFound"), "{action}: {refusal}");
        }
        cloud.tenant("acme").call("CreateTags", &tag).expect("can be tagged");
        let restore = [("VolumeId", id.as_str())];
        let refusal = cloud.tenant("other").call("RestoreVolumeFromRecycleBin", &restore).expect_err("another's");
        assert!(refusal.starts_with("InvalidVolume.NotFound"), "{refusal}");
        let again = cloud.tenant("acme").call("CreateVolume", &ask).expect("its token is free");
        assert_ne!(Cloud::ids(&again, "volumeId"), [id.as_str()]);
        cloud.tenant("acme").call("RestoreVolumeFromRecycleBin", &restore).expect("restores");
        let after = cloud.tenant("acme").call("DescribeVolumes", &[("VolumeId.1", &id)]);
        let inside =
            |told: Result<String, String>| told.expect("shows").split_once("<volumeSet>").map(|all| all.1.to_owned());
        assert_eq!(inside(after), inside(before));
        cloud.tenant("acme").attach(&id, &instance, "/dev/sdf").expect("attaches");
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn what_goes_with_an_instance_is_kept_too_and_costs_until_it_is_gone() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_VOLUME", 7, "");
        let instance = cloud.tenant("acme").run();
        cloud.settle();
        let volume = planned(&cloud).0.remove(0);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        cloud.audit();
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        assert!(Cloud::ids(&shown, "volumeId").is_empty(), "{shown}");
        assert_eq!(planned(&cloud), (vec![volume.clone()], 1));
        cloud.pass(7 * DAY);
        cloud.settle();
        cloud.audit();
        assert_eq!(planned(&cloud), (vec![], 0));
        let rows = cloud.control.db.cold("journal/", None, 1000).expect("reads").rows;
        let steps = rows.iter().map(|row| serde_json::from_slice::<Transition>(&row.value).expect("a transition"));
        let of_it: Vec<_> = steps.filter(|step| step.resource == volume).map(|step| (step.from, step.to)).collect();
        let expected = [("", "in-use"), ("in-use", "available"), ("available", "")];
        assert_eq!(of_it, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    }
}
