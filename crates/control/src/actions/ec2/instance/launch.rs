//! The parts of a launch request: where in the network, which metadata options.

use std::sync::Arc;

use awan_model::group::SecurityGroup;
use awan_model::id::{GroupId, VpcId};
use awan_model::installation::Installation;
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid, refuse};

pub const GROUPS_MAX: usize = 16;

/// What a request says about the network.
pub struct Asked {
    pub subnet_id: Option<String>,
    pub security_group_ids: Vec<String>,
    pub security_groups: Vec<String>,
    pub private_ip_address: Option<String>,
    pub ipv6_addresses: Vec<ec2::InstanceIpv6Address>,
    pub ipv6_address_count: Option<i32>,
    pub network_interfaces: Vec<ec2::InstanceNetworkInterfaceSpecification>,
    pub zone: Option<String>,
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
        let none = "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.";
        let vpc = tx.list::<Vpc>().into_iter().find(|v| v.is_default);
        let vpc = vpc.ok_or_else(|| refuse(Code::VpcIdNotSpecified, none))?;
        if zone.is_none() {
            let id = &vpc.id;
            let message = format!("No subnets found for the default VPC '{id}'. Please specify a subnet.");
            return Err(refuse(Code::MissingInput, message));
        }
    }
    defaults.retain(|s| zone.is_none_or(|zone| zone == s.zone));
    // The first of those with the most room; where it is asked for by name, it is the only one.
    defaults.sort_by_cached_key(|s| (std::cmp::Reverse(fits(&s.zone)), s.zone.clone()));
    defaults.into_iter().next().ok_or_else(|| {
        let shown: String = zone.unwrap_or_default().chars().take(64).collect();
        let shown = shown.escape_debug();
        let region = tx.home().region().to_owned();
        let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
        if zones.iter().any(|known| Some(known.as_str()) == zone) {
            refuse(Code::InvalidInput, format!("No default subnet for availability zone: '{shown}'."))
        } else {
            invalid(format!("Invalid availability zone: [{shown}]"))
        }
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
