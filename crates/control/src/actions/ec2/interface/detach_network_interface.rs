//! DetachNetworkInterface. Of an instance that has a machine, the interface is free when the host says that it is gone:
//! when the guest let go of it, or at once by `Force`.

use std::sync::Arc;

use awan_model::id::AttachmentId;
use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::{disks, interfaces};

pub fn detach_network_interface(tx: &mut Tx<Tenant>, req: ec2::DetachNetworkInterfaceRequest) -> Result<()> {
    let ec2::DetachNetworkInterfaceRequest { dry_run: _, attachment_id, force } = req;
    let eni = by_attachment(tx, &attachment_id.ok_or_else(|| missing("AttachmentId"))?)?;
    let Some(attachment) = &eni.attachment else { return Ok(()) };
    let instance = tx.get::<Instance>(&attachment.instance)?;
    if instance.interface == eni.id {
        let message = "The network interface at device index 0 cannot be detached.";
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    let force = force == Some(true);
    if !disks::may_have_machine(tx, &instance) {
        interfaces::release(tx, &instance, &eni);
    } else if attachment.detach.is_none_or(|d| force && !d.force) {
        interfaces::begin_detach(tx, &instance, &eni, force);
    }
    Ok(())
}

/// The interface that is attached by this attachment.
pub fn by_attachment(tx: &mut Tx<Tenant>, id: &str) -> Result<Arc<NetworkInterface>> {
    let id: AttachmentId = id.parse()?;
    let found = tx.lookup(NetworkInterface::BY_ATTACHMENT, id.as_str());
    let found = found.and_then(|eni| tx.find::<NetworkInterface>(&eni.parse().ok()?));
    found.ok_or_else(|| {
        let message = format!("The network interface attachment '{id}' does not exist.");
        refuse(Code::InvalidAttachmentIdNotFound, message)
    })
}

#[cfg(test)]
mod tests {
    use awan_model::instance::Exit;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn all_but_the_primary_interface_can_go() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        let eni = cloud.tenant("acme").interface(&subnet);
        let ask = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &instance), ("DeviceIndex", "1")];
        let made = cloud.tenant("acme").call("AttachNetworkInterface", &ask).expect("attaches");
        let attachment = Cloud::ids(&made, "attachmentId").remove(0);
        let detach = |cloud: &mut Cloud, account: &str, id: &str| {
            cloud.tenant(account).call("DetachNetworkInterface", &[("AttachmentId", id), ("Force", "true")])
        };
        let absent = format!("The network interface attachment '{attachment}' does not exist.");
        let absent = format!("InvalidAttachmentID.NotFound: {absent}");
        assert_eq!(detach(&mut cloud, "other", &attachment).expect_err("foreign"), absent);
        let refusal = cloud.tenant("acme").call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]);
        assert!(refusal.expect_err("in use").contains("is currently in use"));
        detach(&mut cloud, "acme", &attachment).expect("detaches");
        cloud.settle();
        assert_eq!(detach(&mut cloud, "acme", &attachment).expect_err("gone"), absent);
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        let primary = Cloud::ids(&shown, "attachmentId");
        assert_eq!(primary.len(), 1, "{shown}");
        let refusal = detach(&mut cloud, "acme", &primary[0]).expect_err("the primary");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        cloud.tenant("acme").call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]).expect("deletes");
        cloud.audit();
    }

    #[test]
    fn an_interface_is_free_when_its_host_knows_and_has_it_no_more() {
        let mut cloud = Cloud::new();
        let (subnet, _) = cloud.tenant("acme").subnet();
        let eni = cloud.tenant("acme").interface(&subnet);
        let two = [
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SubnetId", subnet.as_str()),
            ("NetworkInterface.2.DeviceIndex", "1"),
            ("NetworkInterface.2.NetworkInterfaceId", eni.as_str()),
        ];
        let a = cloud.tenant("acme").run_with(&two).expect("launches").remove(0);
        let b = cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches").remove(0);
        cloud.settle();
        let state = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]);
            Cloud::ids(&shown.expect("answers"), "status").join(" ")
        };
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]);
        let attachment = Cloud::ids(&shown.expect("answers"), "attachmentId").remove(0);
        let detach = |cloud: &mut Cloud, force: &str| {
            let ask = [("AttachmentId", attachment.as_str()), ("Force", force)];
            cloud.tenant("acme").call("DetachNetworkInterface", &ask).expect("detaches");
            cloud.control.db.read(System, |tx| plan::all(tx, 0)).into_values().next().expect("a host")
        };
        assert_eq!(state(&mut cloud), "attached in-use");
        let planned = detach(&mut cloud, "false");
        let of_a = planned.vms.iter().find(|vm| *vm.id.as_str() == a).expect("runs");
        assert_eq!((of_a.interfaces.len(), of_a.unplug.len()), (1, 0));
        assert_eq!(planned.network.vpcs[0].interfaces.len(), 3, "it keeps its network until it is gone");
        let forced = detach(&mut cloud, "true");
        let of_a = forced.vms.iter().find(|vm| *vm.id.as_str() == a).expect("runs");
        assert_eq!(of_a.unplug.iter().map(ToString::to_string).collect::<Vec<_>>(), [eni.as_str()]);
        let again = detach(&mut cloud, "false");
        assert_eq!(again.vms, forced.vms, "force is not taken back, and once is enough");
        crate::turn::turn(&cloud.control, None).expect("a turn");
        assert_eq!(state(&mut cloud), "detaching in-use", "the host has not said so");
        let attach = |cloud: &mut Cloud| {
            let ask = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &b), ("DeviceIndex", "1")];
            cloud.tenant("acme").call("AttachNetworkInterface", &ask)
        };
        let refusal = attach(&mut cloud).expect_err("is still there");
        assert!(refusal.starts_with("InvalidNetworkInterface.InUse"), "{refusal}");
        cloud.settle();
        assert_eq!(state(&mut cloud), "available");
        attach(&mut cloud).expect("is free");
        cloud.settle();
        assert_eq!(state(&mut cloud), "attached in-use");
        cloud.audit();
    }

    #[test]
    fn what_is_leaving_is_free_when_the_run_is_over() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        let eni = cloud.tenant("acme").interface(&subnet);
        let ask = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &instance), ("DeviceIndex", "1")];
        let made = cloud.tenant("acme").call("AttachNetworkInterface", &ask).expect("attaches");
        cloud.settle();
        let attachment = Cloud::ids(&made, "attachmentId").remove(0);
        cloud.tenant("acme").call("DetachNetworkInterface", &[("AttachmentId", &attachment)]).expect("detaches");
        cloud.exit(&instance, Exit::Guest);
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]);
        assert_eq!(Cloud::ids(&shown.expect("answers"), "status"), ["available"]);
        cloud.audit();
    }

    #[test]
    fn what_a_run_began_with_goes_when_it_is_over() {
        let mut cloud = Cloud::new();
        let (subnet, _) = cloud.tenant("acme").subnet();
        let eni = cloud.tenant("acme").interface(&subnet);
        let two = [
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SubnetId", subnet.as_str()),
            ("NetworkInterface.2.DeviceIndex", "1"),
            ("NetworkInterface.2.NetworkInterfaceId", eni.as_str()),
        ];
        let instance = cloud.tenant("acme").run_with(&two).expect("launches").remove(0);
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]);
        let attachment = Cloud::ids(&shown.expect("answers"), "attachmentId").remove(0);
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        cloud.settle();
        cloud.tenant("acme").call("DetachNetworkInterface", &[("AttachmentId", &attachment)]).expect("detaches");
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]);
        assert_eq!(Cloud::ids(&shown.expect("answers"), "status"), ["available"], "at once");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &instance)]).expect("starts");
        cloud.settle();
        cloud.audit();
    }
}
