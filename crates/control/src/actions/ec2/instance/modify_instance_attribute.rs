//! ModifyInstanceAttribute: one attribute a call, in either of the two ways to name it.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_model::placement_group::PlacementGroup;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{credits, launch, placing, run_instances, view};
use crate::disks;
use crate::error::{Code, Error, Result, combination, invalid_value, missing, refuse, refuse_if};

/// What is to change.
enum Change {
    Type(String),
    UserData(Option<Vec<u8>>),
    TerminationProtection(bool),
    StopProtection(bool),
    Shutdown(String),
    SourceDestCheck(bool),
    Groups(Vec<String>),
    EbsOptimized(bool),
    DeleteOnTermination(Vec<ec2::InstanceBlockDeviceMappingSpecification>),
}

pub fn modify_instance_attribute(tx: &mut Tx<Tenant>, req: ec2::ModifyInstanceAttributeRequest) -> Result<()> {
    let id = req.instance_id.clone().ok_or_else(|| missing("InstanceId"))?.parse()?;
    let instance = (*tx.get::<Instance>(&id)?).clone();
    let mut changes = changes(req)?;
    match (changes.pop(), changes.is_empty()) {
        (Some(change), true) => {
            must_be_there(tx, &instance)?;
            apply(tx, instance, change)
        }
        (None, _) => Err(combination("No attributes specified.")),
        (Some(_), false) => {
            Err(combination("Fields for multiple attribute types specified; please specify only one attribute."))
        }
    }
}

fn changes(req: ec2::ModifyInstanceAttributeRequest) -> Result<Vec<Change>> {
    let ec2::ModifyInstanceAttributeRequest {
        source_dest_check,
        enclave_options,
        disable_api_stop,
        dry_run: _,
        instance_id: _,
        attribute,
        value,
        block_device_mappings,
        disable_api_termination,
        instance_type,
        kernel,
        ramdisk,
        user_data,
        instance_initiated_shutdown_behavior,
        groups,
        ebs_optimized,
        sriov_net_support,
        ena_support,
    } = req;
    refuse_if(enclave_options.is_some(), "EnclaveOptions")?;
    refuse_if(kernel.is_some(), "Kernel")?;
    refuse_if(ramdisk.is_some(), "Ramdisk")?;
    refuse_if(sriov_net_support.is_some(), "SriovNetSupport")?;
    refuse_if(ena_support.is_some(), "EnaSupport")?;
    let mut out = Vec::new();
    let flag = |v: Option<ec2::AttributeBooleanValue>| v.and_then(|v| v.value);
    out.extend(flag(source_dest_check).map(Change::SourceDestCheck));
    out.extend(flag(disable_api_stop).map(Change::StopProtection));
    out.extend(flag(disable_api_termination).map(Change::TerminationProtection));
    out.extend(flag(ebs_optimized).map(Change::EbsOptimized));
    out.extend(instance_type.and_then(|v| v.value).map(Change::Type));
    out.extend(instance_initiated_shutdown_behavior.and_then(|v| v.value).map(Change::Shutdown));
    if let Some(data) = user_data {
        let bytes = data.value.map(|blob| blob.0).filter(|bytes| !bytes.is_empty());
        out.push(Change::UserData(bytes.map(run_instances::checked_user_data).transpose()?));
    }
    if !groups.is_empty() {
        out.push(Change::Groups(groups));
    }
    if !block_device_mappings.is_empty() {
        out.push(Change::DeleteOnTermination(block_device_mappings));
    }
    if let Some(attribute) = attribute {
        out.push(named(&attribute, value.ok_or_else(|| missing("Value"))?)?);
    }
    Ok(out)
}

fn user_data_change(text: Option<&str>) -> Result<Change> {
    let text = text.filter(|t| !t.is_empty());
    Ok(Change::UserData(text.map(run_instances::decode_user_data).transpose()?))
}

fn named(attribute: &str, value: String) -> Result<Change> {
    let shown = |text: &str| text.chars().take(64).collect::<String>().escape_debug().to_string();
    let flag = || value.parse::<bool>().map_err(|_| invalid_value(shown(&value), "value"));
    match attribute {
        "instanceType" => Ok(Change::Type(value)),
        "userData" => user_data_change(Some(&value)),
        "disableApiTermination" => Ok(Change::TerminationProtection(flag()?)),
        "disableApiStop" => Ok(Change::StopProtection(flag()?)),
        "instanceInitiatedShutdownBehavior" => Ok(Change::Shutdown(value)),
        "sourceDestCheck" => Ok(Change::SourceDestCheck(flag()?)),
        "ebsOptimized" => Ok(Change::EbsOptimized(flag()?)),
        "kernel" | "ramdisk" | "sriovNetSupport" | "enaSupport" | "enclaveOptions" => {
            Err(crate::error::unsupported(attribute))
        }
        other => Err(invalid_value(shown(other), "attribute")),
    }
}

fn apply(tx: &mut Tx<Tenant>, mut instance: Instance, change: Change) -> Result<()> {
    match change {
        Change::Type(name) => {
            must_be_stopped(tx, &instance, "instanceType")?;
            let kind = run_instances::instance_kind(tx, &name)
                .map_err(|e| refuse(Code::InvalidInstanceAttributeValue, e.message()))?;
            let group = instance.options.group.as_ref().and_then(|id| tx.find::<PlacementGroup>(id));
            placing::must_go_together(group.as_deref(), instance.options.dedicated, &kind)?;
            // EC2: a type without credits forgets them, one with credits begins with its family's.
            let kept = instance.options.credits.filter(|_| kind.burstable);
            instance.options.credits = kept.or_else(|| credits::default_of(tx, &kind));
            instance.instance_type = kind.id.clone();
        }
        Change::UserData(bytes) => {
            must_be_stopped(tx, &instance, "userData")?;
            instance.user_data = bytes;
        }
        Change::TerminationProtection(on) => instance.termination_protection = on,
        Change::StopProtection(on) => instance.stop_protection = on,
        Change::Shutdown(name) => instance.shutdown = run_instances::shutdown_behavior(Some(&name))?,
        Change::EbsOptimized(on) => {
            must_be_stopped(tx, &instance, "ebsOptimized")?;
            instance.ebs_optimized = on;
        }
        Change::SourceDestCheck(on) => {
            let eni = view::only_interface(tx, &instance)?;
            tx.put(NetworkInterface { source_dest_check: on, ..(*eni).clone() });
            return Ok(());
        }
        Change::Groups(ids) => {
            let groups = launch::groups(tx, &instance.vpc, &ids, &[])?;
            let eni = view::only_interface(tx, &instance)?;
            tx.put(NetworkInterface { groups, ..(*eni).clone() });
            return Ok(());
        }
        Change::DeleteOnTermination(mappings) => return delete_on_termination(tx, &instance, mappings),
    }
    tx.put(instance);
    Ok(())
}

/// Nothing of an instance that is on its way out can change.
pub fn must_be_there(tx: &mut Tx<Tenant>, instance: &Instance) -> Result<()> {
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(instance, report.as_deref());
    if !matches!(now, State::ShuttingDown | State::Terminated) {
        return Ok(());
    }
    let message = format!("The instance '{}' is not in a valid state for this operation. It is {now}.", instance.id);
    Err(refuse(Code::IncorrectInstanceState, message))
}

pub fn must_be_stopped(tx: &mut Tx<Tenant>, instance: &Instance, attribute: &str) -> Result<()> {
    let report = tx.find::<VmReport>(&instance.id);
    if state(instance, report.as_deref()) == State::Stopped {
        return Ok(());
    }
    let message =
        format!("The instance '{}' is not in the 'stopped' state; {attribute} cannot be changed.", instance.id);
    Err(refuse(Code::IncorrectInstanceState, message))
}

fn delete_on_termination(
    tx: &mut Tx<Tenant>,
    instance: &Instance,
    mappings: Vec<ec2::InstanceBlockDeviceMappingSpecification>,
) -> Result<()> {
    for ec2::InstanceBlockDeviceMappingSpecification { device_name, ebs, virtual_name, no_device } in mappings {
        refuse_if(virtual_name.is_some() || no_device.is_some(), "BlockDeviceMapping")?;
        let device = device_name.unwrap_or_default();
        let volumes = disks::attached(tx, instance);
        let volume = volumes
            .into_iter()
            .find(|v| v.attachment.as_ref().is_some_and(|a| a.device == device))
            .ok_or_else(|| no_device_here(&device))?;
        let mut changed = (*volume).clone();
        let Some(ebs) = ebs else { continue };
        let ec2::EbsInstanceBlockDeviceSpecification { delete_on_termination, volume_id } = ebs;
        if volume_id.is_some_and(|id| id != changed.id.as_str()) {
            return Err(no_device_here(&device));
        }
        if let Some(attachment) = &mut changed.attachment {
            // Source: the API reference of ModifyInstanceAttribute.
            attachment.delete_on_termination = delete_on_termination.unwrap_or(true);
        }
        tx.put(changed);
    }
    Ok(())
}

fn no_device_here(device: &str) -> Error {
    let shown: String = device.chars().take(64).collect();
    refuse(Code::InvalidBlockDeviceMapping, format!("No device is currently mapped at {}", shown.escape_debug()))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_type_changes_when_stopped_only() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let resize = [("InstanceId", id.as_str()), ("InstanceType.Value", "m5.large")];
        let refusal = cloud.tenant("acme").call("ModifyInstanceAttribute", &resize).expect_err("runs");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        cloud.settle();
        cloud.tenant("acme").call("ModifyInstanceAttribute", &resize).expect("resizes");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect("starts");
        cloud.settle();
        assert_eq!(cloud.instance(&id).0.instance_type, "m5.large");
        cloud.audit();
    }

    #[test]
    fn two_attributes_at_once_are_refused() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let two = [("InstanceId", id.as_str()), ("EbsOptimized.Value", "true"), ("DisableApiStop.Value", "true")];
        let refusal = cloud.tenant("acme").call("ModifyInstanceAttribute", &two).expect_err("two");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
    }
    #[test]
    fn nothing_of_a_terminated_instance_changes() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let group = cloud.tenant("acme").default_group();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        for settled in [false, true] {
            if settled {
                cloud.settle();
            }
            for change in [
                ("GroupId.1", group.as_str()),
                ("SourceDestCheck.Value", "false"),
                ("DisableApiTermination.Value", "true"),
                ("InstanceType.Value", "m5.large"),
            ] {
                let ask = [("InstanceId", id.as_str()), change];
                let refusal = cloud.tenant("acme").call("ModifyInstanceAttribute", &ask).expect_err(change.0);
                assert!(refusal.starts_with("IncorrectInstanceState"), "{change:?}: {refusal}");
            }
        }
    }
}
