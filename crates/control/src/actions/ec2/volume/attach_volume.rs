//! AttachVolume: to a running instance while it runs, to a stopped one for its next run.

use std::sync::Arc;

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shape::{device, same_place};
use super::view;
use crate::error::{Code, Result, invalid, missing, refuse, refuse_if};
use crate::{disks, schedule};

/// Source: "Amazon EBS volume limits for Amazon EC2 instances": up to 28 attachments, of which the root is one and the
/// primary interface another.
const DATA_VOLUMES_MAX: usize = 26;

pub fn attach_volume(tx: &mut Tx<Tenant>, req: ec2::AttachVolumeRequest) -> Result<ec2::VolumeAttachment> {
    let ec2::AttachVolumeRequest { device: name, instance_id, volume_id, ebs_card_index, dry_run: _ } = req;
    refuse_if(ebs_card_index.is_some_and(|index| index != 0), "EbsCardIndex")?;
    let name = device(&name.ok_or_else(|| missing("device"))?)?;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("instanceId"))?.parse()?)?;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("volumeId"))?.parse()?)?;
    if volume.attachment.is_some() {
        return Err(refuse(Code::VolumeInUse, format!("{} is already attached to an instance", volume.id)));
    }
    if volume.zone != instance.zone {
        let (volume, instance) = (&volume.id, &instance.id);
        let message = format!("The volume '{volume}' is not in the same availability zone as instance '{instance}'");
        return Err(refuse(Code::InvalidVolumeZoneMismatch, message));
    }
    must_have_room(tx, &instance, &name)?;
    let attached = Arc::new(disks::attach(tx, &instance, &volume, &name));
    let instance = tx.get::<Instance>(&instance.id)?;
    schedule::lay(tx, &attached, &instance)?;
    let state = view::see(tx, attached.clone()).attachment_state.unwrap_or_default();
    Ok(view::attachment(&attached, state).unwrap_or_default())
}

fn must_have_room(tx: &mut Tx<Tenant>, instance: &Instance, name: &str) -> Result<()> {
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(instance, report.as_deref());
    let there = disks::attached(tx, instance);
    if !matches!(now, State::Running | State::Stopped) {
        return Err(refuse(Code::IncorrectState, format!("Instance '{}' is not 'running'.", instance.id)));
    }
    let taken = |v: &Arc<Volume>| v.attachment.as_ref().is_some_and(|a| same_place(&a.device, name));
    if there.iter().any(taken) {
        let message = format!("Invalid value '{name}' for unixDevice. Attachment point {name} is already in use");
        return Err(invalid(message));
    }
    let coming = |v: &&Arc<Volume>| report.as_ref().is_none_or(|r| !r.has_disk(&v.id));
    let ports = report.as_ref().map_or(0, |r| r.free_ports as usize);
    let full = now == State::Running && there.iter().filter(coming).count() >= ports;
    if full || there.len() > DATA_VOLUMES_MAX {
        let message = format!(
            "Instance '{}' has as many volumes as can be attached to it{}.",
            instance.id,
            if full { " while it runs; stop it to attach more" } else { "" }
        );
        return Err(refuse(Code::AttachmentLimitExceeded, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_volume_is_attached_when_the_host_says_so() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let zone = cloud.instance(&instance).0.zone;
        let volume = cloud.tenant("acme").volume(&zone);
        let told = cloud.tenant("acme").attach(&volume, &instance, "/dev/sdf").expect("attaches");
        assert_eq!(Cloud::ids(&told, "status"), ["attaching"]);
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[("VolumeId.1", &volume)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "status"), ["in-use", "attached"], "{shown}");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "deviceName"), ["/dev/xvda", "/dev/sdf"]);
        cloud.audit();
    }

    #[test]
    fn what_cannot_be_attached_is_refused_by_name() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        let zone = cloud.instance(&a).0.zone;
        let (one, two) = (cloud.tenant("acme").volume(&zone), cloud.tenant("acme").volume(&zone));
        let elsewhere = cloud.tenant("acme").volume("us-east-1c");
        let foreign = cloud.tenant("other").volume(&zone);
        cloud.tenant("acme").attach(&one, &a, "/dev/sdf").expect("attaches");
        for (volume, instance, device, expected) in [
            (&one, &b, "/dev/sdg", format!("VolumeInUse: {one} is already attached to an instance")),
            (&two, &a, "/dev/xvdf", "InvalidParameterValue: Invalid value '/dev/xvdf' for unixDevice. Attachment point /dev/xvdf is already in use".into()),
            (&two, &a, "/dev/sda", "InvalidParameterValue: Invalid value '/dev/sda' for unixDevice. Attachment point /dev/sda is already in use".into()),
            (&two, &a, "disk", "InvalidParameterValue: Value (disk) for parameter device is invalid. disk is not a valid EBS device name.".into()),
            (&elsewhere, &a, "/dev/sdg", format!("InvalidVolume.ZoneMismatch: The volume '{elsewhere}' is not in the same availability zone as instance '{a}'")),
            (&foreign, &a, "/dev/sdg", format!("InvalidVolume.NotFound: The volume '{foreign}' does not exist.")),
        ] {
            let refusal = cloud.tenant("acme").attach(volume, instance, device).expect_err(device);
            assert_eq!(refusal, expected);
        }
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &b)]).expect("terminates");
        let refusal = cloud.tenant("acme").attach(&two, &b, "/dev/sdg").expect_err("is going");
        assert_eq!(refusal, format!("IncorrectState: Instance '{b}' is not 'running'."));
        cloud.audit();
    }

    #[test]
    fn a_running_instance_takes_as_many_as_its_host_has_places_for() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let zone = cloud.instance(&instance).0.zone;
        let mut refused = None;
        for letter in 'f'..'m' {
            let volume = cloud.tenant("acme").volume(&zone);
            let done = cloud.tenant("acme").attach(&volume, &instance, &format!("/dev/sd{letter}"));
            refused = refused.or(done.err().map(|why| (letter, why)));
        }
        let (letter, why) = refused.expect("too many");
        assert_eq!(letter, 'j', "four fit");
        assert!(why.starts_with("AttachmentLimitExceeded"), "{why}");
        cloud.audit();
    }

    #[test]
    fn a_stopped_instance_has_it_in_its_next_run() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let zone = cloud.instance(&instance).0.zone;
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        cloud.settle();
        let volume = cloud.tenant("acme").volume(&zone);
        let told = cloud.tenant("acme").attach(&volume, &instance, "/dev/sdf").expect("attaches");
        assert_eq!(Cloud::ids(&told, "status"), ["attached"]);
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &instance)]).expect("starts");
        cloud.settle();
        assert_eq!(cloud.instance(&instance).1.expect("reported").disks.len(), 2);
        cloud.audit();
    }
}
