//! AttachNetworkInterface: to a running instance while it runs, to a stopped one for its next run.

use std::sync::Arc;

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::instance_type::InstanceType;
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses;
use crate::actions::ec2::instance::run_instances::instance_kind;
use crate::error::{Code, Result, combination, invalid, invalid_value, missing, refuse, refuse_if};
use crate::{interfaces, network};

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
    network::must_be_ones_own(&eni)?;
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
    let others = interfaces::attached(tx, &instance);
    if others.iter().filter_map(|other| other.attachment.as_ref()).any(|a| a.device_index == device_index) {
        let id = &instance.id;
        let message = format!("Instance '{id}' already has an interface attached at device index '{device_index}'.");
        return Err(invalid(message));
    }
    must_have_places(&kind, others.len() + 1)?;
    must_have_port(tx, &instance, &others)?;
    let attachment = interfaces::attach(tx, &instance, &eni, device_index);
    Ok(ec2::AttachNetworkInterfaceResult { attachment_id: Some(attachment.to_string()), network_card_index: Some(0) })
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

/// A machine that runs has the places that it began with; one that a guest holds on to, though its interface was taken away
/// by force, is free when it starts again.
fn must_have_port(tx: &mut Tx<Tenant>, instance: &Instance, others: &[Arc<NetworkInterface>]) -> Result<()> {
    let Some(report) = tx.find::<VmReport>(&instance.id) else { return Ok(()) };
    if state(instance, Some(&report)) != State::Running {
        return Ok(());
    }
    let is_coming = |eni: &&Arc<NetworkInterface>| {
        eni.attachment.as_ref().is_some_and(|a| a.detach.is_none()) && !report.has_interface(eni.mac)
    };
    if others.iter().filter(is_coming).count() < report.free_interface_ports as usize {
        return Ok(());
    }
    let id = &instance.id;
    let message = format!(
        "Instance '{id}' has as many interfaces as can be attached to it while it runs; stop it to attach more."
    );
    Err(refuse(Code::AttachmentLimitExceeded, message))
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

    /// Of the interfaces beside the primary: how far they are attached.
    fn states(cloud: &mut Cloud, instance: &str) -> Vec<String> {
        let ask = [
            ("Filter.1.Name", "attachment.instance-id"),
            ("Filter.1.Value.1", instance),
            ("Filter.2.Name", "attachment.device-index"),
            ("Filter.2.Value.1", "1"),
            ("Filter.2.Value.2", "2"),
        ];
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &ask).expect("answers");
        let whole: Vec<_> = Cloud::ids(&shown, "status").into_iter().filter(|status| *status != "in-use").collect();
        let filtered = whole.iter().map(|status| {
            let ask = [&ask[..], &[("Filter.3.Name", "attachment.status"), ("Filter.3.Value.1", status)]].concat();
            let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &ask).expect("answers");
            Cloud::ids(&shown, "networkInterfaceId").len()
        });
        assert!(filtered.collect::<Vec<_>>().iter().all(|found| *found > 0), "{whole:?}");
        let id = [("InstanceId.1", instance)];
        let shown = cloud.tenant("acme").call("DescribeInstances", &id).expect("answers");
        let of_instance = Cloud::ids(&shown, "networkInterfaceSet");
        assert!(of_instance.is_empty(), "no text of its own");
        let told = whole.iter().all(|status| shown.contains(&format!("<status>{status}</status>")));
        assert!(told, "{whole:?} {shown}");
        whole
    }

    fn attach(cloud: &mut Cloud, eni: &str, instance: &str, index: &str) -> Result<String, String> {
        let ask = [("NetworkInterfaceId", eni), ("InstanceId", instance), ("DeviceIndex", index)];
        let made = cloud.tenant("acme").call("AttachNetworkInterface", &ask)?;
        Ok(Cloud::ids(&made, "attachmentId").remove(0))
    }

    #[test]
    fn a_running_instance_has_it_when_its_host_says_so_and_keeps_it_when_it_starts_again() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        let eni = cloud.tenant("acme").interface(&subnet);
        attach(&mut cloud, &eni, &instance, "1").expect("attaches");
        assert_eq!(states(&mut cloud, &instance), ["attaching"]);
        crate::turn::turn(&cloud.control, None).expect("a turn");
        assert_eq!(states(&mut cloud, &instance), ["attaching"], "the host has not said so");
        cloud.settle();
        assert_eq!(states(&mut cloud, &instance), ["attached"]);
        assert_eq!(cloud.instance(&instance).1.expect("reported").interfaces.len(), 2);
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        cloud.settle();
        assert_eq!(states(&mut cloud, &instance), ["attached"]);
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &instance)]).expect("starts");
        assert_eq!(states(&mut cloud, &instance), ["attaching"]);
        cloud.settle();
        assert_eq!(states(&mut cloud, &instance), ["attached"]);
        let ask = [("NetworkInterfaceId", eni.as_str()), ("Attribute", "attachment")];
        let told = cloud.tenant("acme").call("DescribeNetworkInterfaceAttribute", &ask).expect("answers");
        assert_eq!(Cloud::ids(&told, "status"), ["attached"]);
        cloud.audit();
    }

    #[test]
    fn a_stopped_instance_has_it_at_once() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        let eni = cloud.tenant("acme").interface(&subnet);
        let refusal = attach(&mut cloud, &eni, &instance, "1").expect_err("is stopping");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.settle();
        attach(&mut cloud, &eni, &instance, "1").expect("attaches");
        assert_eq!(states(&mut cloud, &instance), ["attached"]);
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &instance)]).expect("starts");
        cloud.settle();
        assert_eq!(cloud.instance(&instance).1.expect("reported").interfaces.len(), 2);
        cloud.audit();
    }

    #[test]
    fn a_machine_without_a_free_place_takes_no_more_until_it_starts_again() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run_with(&[("InstanceType", "t3.small")]).expect("launches").remove(0);
        cloud.settle();
        let subnet = cloud.instance(&instance).0.subnet.to_string();
        let (a, b) = (cloud.tenant("acme").interface(&subnet), cloud.tenant("acme").interface(&subnet));
        // Its guest held on to one that was taken away by force.
        cloud.report_free_interface_ports(&instance, 1);
        attach(&mut cloud, &a, &instance, "1").expect("has one place");
        let refusal = attach(&mut cloud, &b, &instance, "2").expect_err("has one place");
        let message = format!(
            "Instance '{instance}' has as many interfaces as can be attached to it while it runs; stop it to attach more."
        );
        assert_eq!(refusal, format!("AttachmentLimitExceeded: {message}"));
        cloud.settle();
        attach(&mut cloud, &b, &instance, "2").expect("has two again");
        cloud.settle();
        assert_eq!(states(&mut cloud, &instance), ["attached", "attached"]);
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
