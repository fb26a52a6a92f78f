//! DeleteVolume. Its host removes the bytes because no plan has it any more. Where a rule says so, it can be restored.

use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::recycle_bin;

pub fn delete_volume(tx: &mut Tx<Tenant>, req: ec2::DeleteVolumeRequest) -> Result<()> {
    let ec2::DeleteVolumeRequest { volume_id, dry_run: _ } = req;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    let id = &volume.id;
    if let Some(attachment) = &volume.attachment {
        let message = format!("Volume {id} is currently attached to {}", attachment.instance);
        return Err(refuse(Code::VolumeInUse, message));
    }
    recycle_bin::remove_volume(tx, &volume);
    Ok(())
}

#[cfg(test)]
mod tests {
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn what_a_launch_left_can_be_deleted_and_is_in_no_plan() {
        let mut cloud = Cloud::new();
        let keep = [
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
        ];
        let instance = cloud.tenant("acme").run_with(&keep).expect("launches").remove(0);
        cloud.settle();
        let planned = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
            plans.values().map(|plan| plan.volumes.len()).sum::<usize>()
        };
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&shown, "volumeId").remove(0);
        let refusal = cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", &volume)]).expect_err("attached");
        assert_eq!(refusal, format!("VolumeInUse: Volume {volume} is currently attached to {instance}"));
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        assert_eq!(planned(&cloud), 1);
        cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", &volume)]).expect("deletes");
        assert_eq!(planned(&cloud), 0);
        let refusal = cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", &volume)]).expect_err("gone");
        assert_eq!(refusal, format!("InvalidVolume.NotFound: The volume '{volume}' does not exist."));
        cloud.audit();
    }
}
