//! The parts of a launch request: where in the network, what root disk, which metadata options.

use std::sync::Arc;

use awan_model::group::SecurityGroup;
use awan_model::id::{GroupId, VpcId};
use awan_model::image::Image;
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid, invalid_value, refuse, refuse_if};

pub const GROUPS_MAX: usize = 16;
const VOLUME_GIB_MAX: u32 = 16_384;

/// What a request says about the network.
pub struct Asked {
    pub subnet_id: Option<String>,
    pub security_group_ids: Vec<String>,
    pub security_groups: Vec<String>,
    pub private_ip_address: Option<String>,
    pub network_interfaces: Vec<ec2::InstanceNetworkInterfaceSpecification>,
    pub zone: Option<String>,
}

pub struct Root {
    pub size_gib: u32,
    pub kind: String,
    pub delete_on_termination: bool,
}

/// `fits`: how many of the machines that are wanted have room in a zone.
pub fn subnet(
    tx: &mut Tx<Tenant>,
    id: Option<&str>,
    zone: Option<&str>,
    fits: impl Fn(&str) -> u64,
) -> Result<Arc<Subnet>> {
    if let Some(id) = id {
        let subnet = tx.get::<Subnet>(&id.parse()?)?;
        if zone.is_some_and(|zone| zone != subnet.zone) {
            return Err(invalid("The availability zone and the zone of the subnet differ"));
        }
        return Ok(subnet);
    }
    let mut defaults = tx.list::<Subnet>();
    defaults.retain(|s| s.default_for_zone);
    if defaults.is_empty() {
        return Err(refuse(
            Code::VpcIdNotSpecified,
            "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
        ));
    }
    defaults.retain(|s| zone.is_none_or(|zone| zone == s.zone));
    // The first of those with the most room; where it is asked for by name, it is the only one.
    defaults.sort_by_cached_key(|s| (std::cmp::Reverse(fits(&s.zone)), s.zone.clone()));
    defaults.into_iter().next().ok_or_else(|| {
        let shown: String = zone.unwrap_or_default().chars().take(64).collect();
        invalid(format!("Invalid availability zone: [{}]", shown.escape_debug()))
    })
}

/// Groups by id or, in the VPC, by name; the default group where none is named.
pub fn groups(tx: &mut Tx<Tenant>, vpc: &VpcId, ids: &[String], names: &[String]) -> Result<Vec<GroupId>> {
    let mut found = Vec::new();
    for id in ids {
        let group = tx.get::<SecurityGroup>(&id.parse()?)?;
        if group.vpc != *vpc {
            return Err(refuse(
                Code::InvalidParameter,
                format!("Security group {id} and subnet belong to different networks."),
            ));
        }
        found.push(group.id.clone());
    }
    for name in names {
        found.push(by_name(tx, vpc, name)?);
    }
    if found.is_empty() {
        found.push(by_name(tx, vpc, SecurityGroup::DEFAULT)?);
    }
    found.sort_unstable();
    found.dedup();
    if found.len() > GROUPS_MAX {
        let message = format!("An interface can be in at most {GROUPS_MAX} security groups.");
        return Err(refuse(Code::SecurityGroupsPerInterfaceLimitExceeded, message));
    }
    Ok(found)
}

pub fn by_name(tx: &mut Tx<Tenant>, vpc: &VpcId, name: &str) -> Result<GroupId> {
    let found = tx.lookup(SecurityGroup::BY_NAME, &SecurityGroup::name_in(vpc, name));
    let found = found.and_then(|id| id.parse().ok());
    let shown: String = name.chars().take(255).collect();
    found.ok_or_else(|| {
        let message = format!("The security group '{}' does not exist in VPC '{vpc}'", shown.escape_debug());
        refuse(Code::InvalidGroupNotFound, message)
    })
}

/// The default VPC, for requests that name none.
pub fn default_vpc(tx: &mut Tx<Tenant>) -> Result<Arc<Vpc>> {
    tx.list::<Vpc>()
        .into_iter()
        .find(|v| v.is_default)
        .ok_or_else(|| refuse(Code::VpcIdNotSpecified, "No default VPC for this user"))
}

pub fn root(image: &Image, mappings: Vec<ec2::BlockDeviceMapping>) -> Result<Root> {
    let mut root = Root { size_gib: image.size_gib, kind: "gp3".into(), delete_on_termination: true };
    if mappings.len() > 1 {
        return Err(crate::error::unsupported("BlockDeviceMapping.2"));
    }
    for ec2::BlockDeviceMapping { ebs, no_device, device_name, virtual_name } in mappings {
        let device = device_name.ok_or_else(|| crate::error::missing("BlockDeviceMapping.DeviceName"))?;
        if device != image.root_device || no_device.is_some() || virtual_name.is_some() {
            return Err(crate::error::unsupported("BlockDeviceMapping of other devices than the root"));
        }
        root_volume(&mut root, image, ebs.unwrap_or_default())?;
    }
    Ok(root)
}

fn root_volume(root: &mut Root, image: &Image, ebs: ec2::EbsBlockDevice) -> Result<()> {
    let ec2::EbsBlockDevice {
        delete_on_termination,
        iops,
        snapshot_id,
        volume_size,
        volume_type,
        kms_key_id,
        throughput,
        outpost_arn,
        availability_zone,
        encrypted,
        volume_initialization_rate,
        availability_zone_id,
        ebs_card_index,
    } = ebs;
    for (there, name) in [
        (iops.is_some(), "Iops"),
        (snapshot_id.is_some_and(|s| s != image.snapshot.as_str()), "SnapshotId"),
        (kms_key_id.is_some(), "KmsKeyId"),
        (throughput.is_some(), "Throughput"),
        (outpost_arn.is_some(), "OutpostArn"),
        (availability_zone.is_some() || availability_zone_id.is_some(), "AvailabilityZone"),
        (encrypted == Some(true), "Encrypted"),
        (volume_initialization_rate.is_some(), "VolumeInitializationRate"),
        (ebs_card_index.is_some_and(|n| n != 0), "EbsCardIndex"),
    ] {
        refuse_if(there, &format!("BlockDeviceMapping.1.Ebs.{name}"))?;
    }
    if let Some(size) = volume_size {
        let size_gib = u32::try_from(size).ok().filter(|n| (1..=VOLUME_GIB_MAX).contains(n));
        root.size_gib = size_gib.ok_or_else(|| invalid_value(size, "VolumeSize"))?;
        if root.size_gib < image.size_gib {
            let (id, min) = (&image.snapshot, image.size_gib);
            let message = format!("Volume of size {size}GB is smaller than snapshot '{id}', expect size>= {min}GB");
            return Err(refuse(Code::InvalidBlockDeviceMapping, message));
        }
    }
    if let Some(kind) = volume_type {
        if !["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"].contains(&kind.as_str()) {
            return Err(invalid_value(kind.chars().take(32).collect::<String>().escape_debug(), "VolumeType"));
        }
        root.kind = kind;
    }
    root.delete_on_termination = delete_on_termination.unwrap_or(true);
    Ok(())
}
