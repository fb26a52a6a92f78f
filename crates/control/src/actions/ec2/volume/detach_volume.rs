//! DetachVolume. Of an instance that has a machine, the volume is free when the host says that it is gone.

use std::sync::Arc;

use awan_model::instance::Instance;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::disks;
use crate::error::{Code, Error, Result, missing, refuse};

pub fn detach_volume(tx: &mut Tx<Tenant>, req: ec2::DetachVolumeRequest) -> Result<ec2::VolumeAttachment> {
    let ec2::DetachVolumeRequest { device, force, instance_id, volume_id, dry_run: _ } = req;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    let instance_id = instance_id.map(|id| id.parse()).transpose()?;
    if let Some(id) = &instance_id {
        tx.get::<Instance>(id)?;
    }
    let Some(attachment) = &volume.attachment else {
        return Err(refuse(Code::IncorrectState, format!("Volume '{}' is in the 'available' state.", volume.id)));
    };
    let (at, place) = (&attachment.instance, &attachment.device);
    if instance_id.as_ref().is_some_and(|id| id != at) || device.as_ref().is_some_and(|name| name != place) {
        return Err(no_attachment(&volume, instance_id.as_ref().unwrap_or(at).as_str(), device.as_deref()));
    }
    let instance = tx.get::<Instance>(at)?;
    let machine = disks::may_have_machine(tx, &instance);
    if machine && instance.root_volume == volume.id {
        let message = format!("Unable to detach root volume '{}' from instance '{}'", volume.id, instance.id);
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    let force = force == Some(true);
    if !machine {
        disks::release(tx, &instance, &volume);
    } else if attachment.detach.is_none_or(|d| force && !d.force) {
        disks::begin_detach(tx, &instance, &volume, force);
    }
    Ok(view::attachment(&volume, "detaching").unwrap_or_default())
}

fn no_attachment(volume: &Arc<Volume>, instance: &str, device: Option<&str>) -> Error {
    let shown: String = device.unwrap_or_default().chars().take(64).collect();
    let place = if device.is_some() { format!(" as device '{}'", shown.escape_debug()) } else { String::new() };
    let message = format!("The volume '{}' is not attached to instance '{instance}'{place}.", volume.id);
    refuse(Code::InvalidAttachmentNotFound, message)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_volume_is_free_when_its_host_knows_and_has_it_no_more() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        let zone = cloud.instance(&a).0.zone;
        let volume = cloud.tenant("acme").volume(&zone);
        cloud.tenant("acme").attach(&volume, &a, "/dev/sdf").expect("attaches");
        let told = cloud.tenant("acme").call("DetachVolume", &[("VolumeId", &volume)]).expect("detaches");
        assert_eq!(Cloud::ids(&told, "status"), ["detaching"]);
        // The host has not said yet that it knows of either.
        crate::turn::turn(&cloud.control, None).expect("a turn");
        let state = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeVolumes", &[("VolumeId.1", &volume)]).expect("answers");
            Cloud::ids(&shown, "status")
        };
        assert_eq!(state(&mut cloud), ["in-use", "detaching"]);
        let refusal = cloud.tenant("acme").attach(&volume, &b, "/dev/sdf").expect_err("is still there");
        assert!(refusal.starts_with("VolumeInUse"), "{refusal}");
        cloud.settle();
        assert_eq!(state(&mut cloud), ["available"]);
        cloud.tenant("acme").attach(&volume, &b, "/dev/sdf").expect("is free");
        cloud.settle();
        assert_eq!(state(&mut cloud), ["in-use", "attached"]);
        cloud.audit();
    }

    #[test]
    fn what_is_not_attached_so_is_not_detached() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        let zone = cloud.instance(&a).0.zone;
        let volume = cloud.tenant("acme").volume(&zone);
        let refusal = cloud.tenant("acme").call("DetachVolume", &[("VolumeId", &volume)]).expect_err("is free");
        assert_eq!(refusal, format!("IncorrectState: Volume '{volume}' is in the 'available' state."));
        cloud.tenant("acme").attach(&volume, &a, "/dev/sdf").expect("attaches");
        cloud.settle();
        for (name, value) in [("InstanceId", b.as_str()), ("Device", "/dev/sdg")] {
            let ask = [("VolumeId", volume.as_str()), (name, value)];
            let refusal = cloud.tenant("acme").call("DetachVolume", &ask).expect_err(name);
            assert!(refusal.starts_with("InvalidAttachment.NotFound"), "{refusal}");
        }
        let root = cloud.instance(&a).0.root_volume.to_string();
        let refusal = cloud.tenant("acme").call("DetachVolume", &[("VolumeId", &root)]).expect_err("the root");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        cloud.audit();
    }

    #[test]
    fn the_root_of_a_stopped_instance_can_go_and_without_one_it_does_not_start() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        cloud.settle();
        let root = cloud.instance(&instance).0.root_volume.to_string();
        cloud.tenant("acme").call("DetachVolume", &[("VolumeId", &root)]).expect("detaches");
        let start = [("InstanceId.1", instance.as_str())];
        let refusal = cloud.tenant("acme").call("StartInstances", &start).expect_err("has no root");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.tenant("acme").attach(&root, &instance, "/dev/xvda").expect("attaches");
        cloud.tenant("acme").call("StartInstances", &start).expect("starts");
        cloud.settle();
        assert_eq!(cloud.state("acme", &instance), "running");
        cloud.audit();
    }
}
