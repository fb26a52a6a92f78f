//! AttachNetworkInterface.
//!
//! Record only: an instance that runs has the interface from its next start on; one that is stopped has it when it starts.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::instance_type::InstanceType;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{addresses, draft};
use crate::actions::ec2::instance::run_instances::instance_kind;
use crate::error::{Code, Error, Result, combination, invalid, invalid_value, missing, refuse, refuse_if};
use crate::network;

pub fn attach_network_interface(
    tx: &mut Tx<Tenant>,
    req: ec2::AttachNetworkInterfaceRequest,
) -> Result<ec2::AttachNetworkInterfaceResult> {
    let ec2::AttachNetworkInterfaceRequest {
        network_card_index,
        ena_srd_specification,
        ena_queue_count,
        dry_run: _,
        network_interface_id,
        instance_id,
        device_index,
    } = req;
    refuse_if(network_card_index.is_some_and(|n| n != 0), "NetworkCardIndex")?;
    refuse_if(ena_srd_specification.is_some(), "EnaSrdSpecification")?;
    refuse_if(ena_queue_count.is_some(), "EnaQueueCount")?;
    let eni = network_interface_id.ok_or_else(|| missing("NetworkInterfaceId"))?;
    let instance = instance_id.ok_or_else(|| missing("InstanceId"))?;
    let device_index = device_index.ok_or_else(|| missing("DeviceIndex"))?;
    let eni = tx.get::<NetworkInterface>(&eni.parse()?)?;
    network::must_be_free_of_gateway(&eni)?;
    let instance = tx.get::<Instance>(&instance.parse()?)?;
    let device_index = u32::try_from(device_index).map_err(|_| invalid_value(device_index, "deviceIndex"))?;
    must_be_free(&eni)?;
    must_be_ready(tx, &instance)?;
    if eni.zone != instance.zone {
        return Err(combination(
            "You may not attach a network interface to an instance if they are not in the same availability zone",
        ));
    }
    let kind = instance_kind(tx, &instance.instance_type)?;
    addresses::must_fit(&kind, eni.addresses().count())?;
    let attachment = draft::attachment(tx, (&instance.id, device_index), instance.run + 1, false);
    let attachment_id = attachment.id.to_string();
    let mut all = others(tx, &instance)?;
    if all.iter().any(|(index, _)| *index == device_index) {
        let id = &instance.id;
        let message = format!("Instance '{id}' already has an interface attached at device index '{device_index}'.");
        return Err(invalid(message));
    }
    all.push((device_index, eni.id.clone()));
    must_have_places(&kind, all.len())?;
    all.sort_unstable();
    let more_interfaces = all.into_iter().filter(|(_, id)| *id != instance.interface).map(|(_, id)| id).collect();
    tx.put(NetworkInterface { attachment: Some(attachment), ..(*eni).clone() });
    tx.put(Instance { more_interfaces, ..(*instance).clone() });
    Ok(ec2::AttachNetworkInterfaceResult { attachment_id: Some(attachment_id), network_card_index: Some(0) })
}

/// The interfaces of an instance by their device index.
fn others(tx: &mut Tx<Tenant>, instance: &Instance) -> Result<Vec<(u32, awan_model::id::InterfaceId)>> {
    let mut all = Vec::new();
    for id in std::iter::once(&instance.interface).chain(&instance.more_interfaces) {
        let eni = tx.get::<NetworkInterface>(id)?;
        let index = eni.attachment.as_ref().map(|a| a.device_index);
        all.push((index.ok_or_else(|| Error::fault(format!("{id} is not attached")))?, id.clone()));
    }
    Ok(all)
}

/// An interface that nobody has.
pub fn must_be_free(eni: &NetworkInterface) -> Result<()> {
    if eni.attachment.is_none() && !eni.requester_managed {
        return Ok(());
    }
    Err(refuse(Code::InvalidNetworkInterfaceInUse, format!("Interface: [{}] in use.", eni.id)))
}

/// Refuses more interfaces than an instance of this type can have.
pub fn must_have_places(kind: &InstanceType, interfaces: usize) -> Result<()> {
    if interfaces <= kind.max_interfaces as usize {
        return Ok(());
    }
    let message = format!("Interface count {interfaces} exceeds the limit for {}", kind.id);
    Err(refuse(Code::AttachmentLimitExceeded, message))
}

fn must_be_ready(tx: &mut Tx<Tenant>, instance: &Instance) -> Result<()> {
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(instance, report.as_deref());
    if matches!(now, State::Pending | State::Running | State::Stopped) {
        return Ok(());
    }
    let message = format!("The instance '{}' is {now}; an interface cannot be attached to it.", instance.id);
    Err(refuse(Code::IncorrectInstanceState, message))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_takes_as_many_interfaces_as_its_type_has_places() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        let (a, b) = (cloud.tenant("acme").interface(&subnet), cloud.tenant("acme").interface(&subnet));
        let attach = |cloud: &mut Cloud, account: &str, eni: &str, index: &str| {
            let ask = [("NetworkInterfaceId", eni), ("InstanceId", &instance), ("DeviceIndex", index)];
            cloud.tenant(account).call("AttachNetworkInterface", &ask)
        };
        let foreign = attach(&mut cloud, "other", &a, "1").expect_err("foreign");
        assert!(foreign.starts_with("InvalidNetworkInterfaceID.NotFound"), "{foreign}");
        let refusal = attach(&mut cloud, "acme", &a, "0").expect_err("the primary is there");
        let message = format!("Instance '{instance}' already has an interface attached at device index '0'.");
        assert_eq!(refusal, format!("InvalidParameterValue: {message}"));
        attach(&mut cloud, "acme", &a, "1").expect("attaches");
        let refusal = attach(&mut cloud, "acme", &a, "2").expect_err("in use");
        assert_eq!(refusal, format!("InvalidNetworkInterface.InUse: Interface: [{a}] in use."));
        let refusal = attach(&mut cloud, "acme", &b, "2").expect_err("a t3.micro has two");
        assert_eq!(refusal, "AttachmentLimitExceeded: Interface count 3 exceeds the limit for t3.micro");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "deviceIndex"), ["0", "1"], "{shown}");
        cloud.audit();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let left = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        assert_eq!(Cloud::ids(&left, "status"), ["available", "available"], "{left}");
        cloud.audit();
    }

    #[test]
    fn an_interface_of_another_zone_is_refused() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let own = cloud.instance(&instance).0.subnet.to_string();
        let subnets = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let other = Cloud::ids(&subnets, "subnetId").into_iter().find(|s| *s != own).expect("three zones");
        let eni = cloud.tenant("acme").interface(&other);
        let ask = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", &instance), ("DeviceIndex", "1")];
        let refusal = cloud.tenant("acme").call("AttachNetworkInterface", &ask).expect_err("elsewhere");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
    }
}
