//! ModifyNetworkInterfaceAttribute: one attribute at a time.

use awan_model::interface::{Attachment, NetworkInterface};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::detach_network_interface::by_attachment;
use super::draft;
use crate::actions::ec2::instance::launch;
use crate::error::{Code, Result, combination, missing, refuse, refuse_if};
use crate::network;

pub fn modify_network_interface_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyNetworkInterfaceAttributeRequest,
) -> Result<()> {
    let ec2::ModifyNetworkInterfaceAttributeRequest {
        ena_srd_specification,
        enable_primary_ipv6,
        connection_tracking_specification,
        associate_public_ip_address,
        associated_subnet_ids,
        dry_run: _,
        network_interface_id,
        description,
        source_dest_check,
        groups,
        attachment,
    } = req;
    refuse_if(ena_srd_specification.is_some(), "EnaSrdSpecification")?;
    refuse_if(enable_primary_ipv6 == Some(true), "EnablePrimaryIpv6")?;
    refuse_if(connection_tracking_specification.is_some(), "ConnectionTrackingSpecification")?;
    refuse_if(associate_public_ip_address.is_some(), "AssociatePublicIpAddress")?;
    refuse_if(!associated_subnet_ids.is_empty(), "AssociatedSubnetId")?;
    let id = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let mut eni = (*tx.get::<NetworkInterface>(&id.parse()?)?).clone();
    network::must_be_ones_own(&eni)?;
    let description = description.and_then(|d| d.value);
    let check = source_dest_check.and_then(|c| c.value);
    let given = [description.is_some(), check.is_some(), !groups.is_empty(), attachment.is_some()];
    match given.iter().filter(|there| **there).count() {
        0 => return Err(missing("Description, Groups, SourceDestCheck or Attachment")),
        1 => {}
        _ => return Err(combination("Fields for multiple attribute types specified")),
    }
    if !groups.is_empty() {
        eni.groups = launch::groups(tx, &eni.vpc, &groups, &[])?;
    }
    if let Some(changes) = attachment {
        let changed = attached(tx, &eni, changes)?;
        eni.attachment = Some(changed);
    }
    if let Some(text) = description {
        eni.description = draft::description(Some(text))?;
    }
    eni.source_dest_check = check.unwrap_or(eni.source_dest_check);
    tx.put(eni);
    Ok(())
}

fn attached(
    tx: &mut Tx<Tenant>,
    eni: &NetworkInterface,
    changes: ec2::NetworkInterfaceAttachmentChanges,
) -> Result<Attachment> {
    let ec2::NetworkInterfaceAttachmentChanges {
        default_ena_queue_count,
        ena_queue_count,
        attachment_id,
        delete_on_termination,
    } = changes;
    // The default is what every interface has.
    let _ = default_ena_queue_count;
    refuse_if(ena_queue_count.is_some(), "Attachment.EnaQueueCount")?;
    let id = attachment_id.ok_or_else(|| missing("Attachment.AttachmentId"))?;
    let delete_on_termination = delete_on_termination.ok_or_else(|| missing("Attachment.DeleteOnTermination"))?;
    let found = by_attachment(tx, &id)?;
    match found.attachment.clone() {
        Some(attachment) if found.id == eni.id => Ok(Attachment { delete_on_termination, ..attachment }),
        _ => {
            let message = format!("The network interface attachment '{id}' is not that of '{}'.", eni.id);
            Err(refuse(Code::InvalidAttachmentIdNotFound, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn one_attribute_changes_and_foreign_ones_do_not() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        let (eni, attachment) = (Cloud::ids(&shown, "networkInterfaceId"), Cloud::ids(&shown, "attachmentId"));
        let (eni, attachment) = (eni[0].as_str(), attachment[0].as_str());
        let group = [("GroupName", "web"), ("GroupDescription", "d")];
        let group = cloud.tenant("acme").call("CreateSecurityGroup", &group).expect("makes");
        let group = Cloud::ids(&group, "groupId").remove(0);
        let change = |cloud: &mut Cloud, account: &str, more: &[(&str, &str)]| {
            let ask = [&[("NetworkInterfaceId", eni)], more].concat();
            cloud.tenant(account).call("ModifyNetworkInterfaceAttribute", &ask)
        };
        let delete = [("Attachment.AttachmentId", attachment), ("Attachment.DeleteOnTermination", "false")];
        for more in [
            &[("Description.Value", "first")] as &[_],
            &[("SourceDestCheck.Value", "false")],
            &[("SecurityGroupId.1", &group)],
            &delete,
        ] {
            change(&mut cloud, "acme", more).expect("changes");
            let foreign = change(&mut cloud, "other", more).expect_err("foreign");
            assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        }
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert!(shown.contains("<description>first</description>"), "{shown}");
        assert!(shown.contains("<sourceDestCheck>false</sourceDestCheck>"), "{shown}");
        assert_eq!(Cloud::ids(&shown, "groupId"), [group]);
        let both = [("Description.Value", "x"), ("SourceDestCheck.Value", "true")];
        let refusal = change(&mut cloud, "acme", &both).expect_err("two");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let left = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert_eq!(Cloud::ids(&left, "status"), ["available"], "{left}");
    }

    #[test]
    fn an_interface_that_came_later_goes_with_its_instance_if_its_owner_says_so() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        let eni = cloud.tenant("acme").interface(&subnet);
        let ask = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &instance), ("DeviceIndex", "1")];
        let made = cloud.tenant("acme").call("AttachNetworkInterface", &ask).expect("attaches");
        let attachment = Cloud::ids(&made, "attachmentId").remove(0);
        let ask = [
            ("NetworkInterfaceId", eni.as_str()),
            ("Attachment.AttachmentId", &attachment),
            ("Attachment.DeleteOnTermination", "true"),
        ];
        cloud.tenant("acme").call("ModifyNetworkInterfaceAttribute", &ask).expect("changes");
        cloud.settle();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let left = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert_eq!(Cloud::ids(&left, "networkInterfaceId"), Vec::<String>::new());
        cloud.audit();
    }
}
