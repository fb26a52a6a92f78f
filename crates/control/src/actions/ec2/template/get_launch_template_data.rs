//! GetLaunchTemplateData: from an instance, what would launch others like it. Addresses stay the instance's own.

use awan_model::instance::Instance;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::actions::ec2::instance::view::{self, GroupNames};
use crate::error::{Result, missing};

pub fn get_launch_template_data(
    tx: &mut Tx<Tenant>,
    req: ec2::GetLaunchTemplateDataRequest,
) -> Result<ec2::GetLaunchTemplateDataResult> {
    let ec2::GetLaunchTemplateDataRequest { dry_run: _, instance_id } = req;
    let id = instance_id.ok_or_else(|| missing("InstanceId"))?;
    let instance = tx.get::<Instance>(&id.parse()?)?;
    let seen = view::see(tx, instance.clone());
    let shown = view::shown(tx, &seen, &mut GroupNames::default());
    let first = seen.interfaces.first().and_then(|one| one.addresses.first());
    let public = first.is_some_and(|mapped| mapped.public_ip.is_some() && mapped.elastic.is_none());
    let launch_template_data = ec2::ResponseLaunchTemplateData {
        ebs_optimized: shown.ebs_optimized,
        iam_instance_profile: shown
            .iam_instance_profile
            .map(|profile| ec2::LaunchTemplateIamInstanceProfileSpecification { arn: profile.arn, name: None }),
        block_device_mappings: shown.block_device_mappings.into_iter().map(|m| device(tx, m)).collect(),
        network_interfaces: shown.network_interfaces.into_iter().map(|i| interface(i, public)).collect(),
        image_id: shown.image_id,
        instance_type: shown.instance_type,
        key_name: shown.key_name,
        monitoring: Some(ec2::LaunchTemplatesMonitoring { enabled: Some(instance.monitoring), ..Default::default() }),
        placement: shown.placement.map(placement),
        disable_api_termination: Some(instance.termination_protection),
        disable_api_stop: Some(instance.stop_protection),
        instance_initiated_shutdown_behavior: Some(instance.shutdown.as_str().into()),
        user_data: instance.user_data.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)),
        metadata_options: shown.metadata_options.map(metadata),
        ..Default::default()
    };
    Ok(ec2::GetLaunchTemplateDataResult { launch_template_data: Some(launch_template_data) })
}

fn device(tx: &mut Tx<Tenant>, mapping: ec2::InstanceBlockDeviceMapping) -> ec2::LaunchTemplateBlockDeviceMapping {
    let ec2::InstanceBlockDeviceMapping { device_name, ebs } = mapping;
    let ebs = ebs.map(|ebs| {
        let volume = ebs.volume_id.and_then(|id| tx.find::<Volume>(&id.parse().ok()?));
        ec2::LaunchTemplateEbsBlockDevice {
            delete_on_termination: ebs.delete_on_termination,
            volume_size: volume.as_ref().and_then(|v| i32::try_from(v.size_gib).ok()),
            volume_type: volume.as_ref().map(|v| v.kind.clone()),
            encrypted: volume.as_ref().map(|v| v.key.is_some()).filter(|encrypted| *encrypted),
            ..Default::default()
        }
    });
    ec2::LaunchTemplateBlockDeviceMapping { device_name, ebs, ..Default::default() }
}

fn interface(
    shown: ec2::InstanceNetworkInterface,
    public: bool,
) -> ec2::LaunchTemplateInstanceNetworkInterfaceSpecification {
    let attachment = shown.attachment.unwrap_or_default();
    let first = attachment.device_index == Some(0);
    ec2::LaunchTemplateInstanceNetworkInterfaceSpecification {
        associate_public_ip_address: first.then_some(public),
        delete_on_termination: attachment.delete_on_termination,
        description: shown.description,
        device_index: attachment.device_index,
        groups: shown.groups.into_iter().filter_map(|group| group.group_id).collect(),
        interface_type: shown.interface_type,
        subnet_id: shown.subnet_id,
        network_card_index: attachment.network_card_index,
        ..Default::default()
    }
}

fn placement(shown: ec2::Placement) -> ec2::LaunchTemplatePlacement {
    ec2::LaunchTemplatePlacement {
        availability_zone: shown.availability_zone,
        group_name: shown.group_name,
        tenancy: shown.tenancy,
        partition_number: shown.partition_number,
        ..Default::default()
    }
}

fn metadata(shown: ec2::InstanceMetadataOptionsResponse) -> ec2::LaunchTemplateInstanceMetadataOptions {
    ec2::LaunchTemplateInstanceMetadataOptions {
        state: None,
        http_tokens: shown.http_tokens,
        http_put_response_hop_limit: shown.http_put_response_hop_limit,
        http_endpoint: shown.http_endpoint,
        http_protocol_ipv6: shown.http_protocol_ipv6,
        instance_metadata_tags: shown.instance_metadata_tags,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_says_what_would_launch_its_like() {
        let mut cloud = Cloud::new();
        let ask = [("UserData", "aGVsbG8="), ("DisableApiTermination", "true"), ("InstanceType", "t3.small")];
        let id = cloud.tenant("acme").run_with(&ask).expect("launches").remove(0);
        cloud.settle();
        let shown = cloud.tenant("acme").call("GetLaunchTemplateData", &[("InstanceId", &id)]).expect("answers");
        for part in [
            "<instanceType>t3.small</instanceType>",
            "<userData>aGVsbG8=</userData>",
            "<disableApiTermination>true</disableApiTermination>",
            "<volumeSize>1</volumeSize>",
            "<associatePublicIpAddress>true</associatePublicIpAddress>",
            "<deviceIndex>0</deviceIndex>",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let refusal = cloud.tenant("other").call("GetLaunchTemplateData", &[("InstanceId", &id)]);
        assert!(refusal.expect_err("not theirs").starts_with("InvalidInstanceID.NotFound"));
    }
}
