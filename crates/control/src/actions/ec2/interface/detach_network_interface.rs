//! DetachNetworkInterface. Nothing is ever slow to go, so `Force` has nothing to hasten.
//!
//! Record only: from an instance that runs goes only what was attached since it started; what its run began with, when it
//! is stopped.

use std::sync::Arc;

use awan_model::id::AttachmentId;
use awan_model::instance::{Instance, Placement};
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};

pub fn detach_network_interface(tx: &mut Tx<Tenant>, req: ec2::DetachNetworkInterfaceRequest) -> Result<()> {
    let ec2::DetachNetworkInterfaceRequest { dry_run: _, attachment_id, force: _ } = req;
    let eni = by_attachment(tx, &attachment_id.ok_or_else(|| missing("AttachmentId"))?)?;
    let Some(attachment) = &eni.attachment else { return Ok(()) };
    let instance = tx.get::<Instance>(&attachment.instance)?;
    if instance.interface == eni.id {
        let message = "The network interface at device index 0 cannot be detached.";
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    if tx.find::<Placement>(&instance.id).is_some_and(|place| place.run >= attachment.since_run) {
        let message =
            format!("The interface '{}' can be detached when the instance '{}' is stopped.", eni.id, instance.id);
        return Err(refuse(Code::UnsupportedOperation, message));
    }
    tx.put(NetworkInterface { attachment: None, ..(*eni).clone() });
    let mut left = (*instance).clone();
    left.more_interfaces.retain(|id| *id != eni.id);
    tx.put(left);
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
        let detach =
            |cloud: &mut Cloud| cloud.tenant("acme").call("DetachNetworkInterface", &[("AttachmentId", &attachment)]);
        let refusal = detach(&mut cloud).expect_err("the guest has it");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        cloud.settle();
        detach(&mut cloud).expect("detaches");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &instance)]).expect("starts");
        cloud.settle();
        cloud.audit();
    }
}
