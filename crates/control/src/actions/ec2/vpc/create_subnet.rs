//! CreateSubnet.

use awan_model::id::SubnetId;
use awan_model::installation::Installation;
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use ipnet::Ipv4Net;

use super::create_vpc::{brief, network_of};
use super::describe_subnets::shown;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::error::{Code, Result, invalid, missing, refuse, refuse_both, refuse_if};
use crate::{network, tagging};

/// EC2's default quota per VPC.
const SUBNETS_MAX: usize = 200;

pub fn create_subnet(tx: &mut Tx<Tenant>, req: ec2::CreateSubnetRequest) -> Result<ec2::CreateSubnetResult> {
    let ec2::CreateSubnetRequest {
        tag_specifications,
        availability_zone,
        availability_zone_id,
        cidr_block,
        ipv6_cidr_block,
        outpost_arn,
        vpc_id,
        ipv6_native,
        ipv4_ipam_pool_id,
        ipv4_netmask_length,
        ipv6_ipam_pool_id,
        ipv6_netmask_length,
        dry_run: _,
    } = req;
    for (there, name) in [
        (ipv6_cidr_block.is_some(), "Ipv6CidrBlock"),
        (outpost_arn.is_some(), "OutpostArn"),
        (ipv6_native == Some(true), "Ipv6Native"),
        (ipv4_ipam_pool_id.is_some(), "Ipv4IpamPoolId"),
        (ipv4_netmask_length.is_some(), "Ipv4NetmaskLength"),
        (ipv6_ipam_pool_id.is_some(), "Ipv6IpamPoolId"),
        (ipv6_netmask_length.is_some(), "Ipv6NetmaskLength"),
    ] {
        refuse_if(there, name)?;
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let cidr = network_of(&cidr_block.ok_or_else(|| missing("CidrBlock"))?, "cidrBlock")?;
    let zone = zone(tx, availability_zone, availability_zone_id)?;
    must_be_free(tx, &vpc, &cidr)?;
    let tags = tagging::specified(&tag_specifications, "subnet", &["subnet"])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = SubnetId::made(tx.new_id(SubnetId::PREFIX));
    let (vpc, default_for_zone, map_public_ip) = (vpc.id.clone(), false, false);
    let subnet = Subnet { home, id, vpc, cidr, zone, default_for_zone, map_public_ip, created };
    network::add_subnet(tx, subnet.clone());
    tagging::add(tx, subnet.id.as_str(), &tags)?;
    let free = subnet.usable().count();
    Ok(ec2::CreateSubnetResult { subnet: Some(shown(&subnet, free, tags)) })
}

/// By its name or its id; the first one where none is named.
pub fn zone(tx: &mut Tx<Tenant>, name: Option<String>, id: Option<String>) -> Result<String> {
    refuse_both((name.is_some(), "AvailabilityZone"), (id.is_some(), "AvailabilityZoneId"))?;
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let asked =
        |zone: &&String| name.as_ref().is_none_or(|n| n == *zone) && id.as_ref().is_none_or(|i| *i == zone_id(zone));
    zones.iter().find(asked).cloned().ok_or_else(|| {
        let parameter = if name.is_some() { "availabilityZone" } else { "availabilityZoneId" };
        let shown = brief(name.or(id).as_deref().unwrap_or_default());
        let all = zones.join(", ");
        invalid(format!(
            "Value ({shown}) for parameter {parameter} is invalid. \
             Subnets can currently only be created in the following availability zones: {all}."
        ))
    })
}

fn must_be_free(tx: &mut Tx<Tenant>, vpc: &Vpc, cidr: &Ipv4Net) -> Result<()> {
    if !(16..=28).contains(&cidr.prefix_len()) || !vpc.cidrs().any(|range| range.contains(cidr)) {
        return Err(refuse(Code::InvalidSubnetRange, format!("The CIDR '{cidr}' is invalid.")));
    }
    let mut there = tx.list::<Subnet>();
    there.retain(|s| s.vpc == vpc.id);
    if there.iter().any(|s| network::overlap(&s.cidr, cidr)) {
        let message = format!("The CIDR '{cidr}' conflicts with another subnet");
        return Err(refuse(Code::InvalidSubnetConflict, message));
    }
    if there.len() >= SUBNETS_MAX {
        return Err(refuse(Code::SubnetLimitExceeded, "The maximum number of subnets has been reached."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn subnets_lie_in_their_vpc_and_not_upon_each_other() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let mut make = |cidr: &str, more: &[(&str, &str)]| {
            let ask: Vec<_> =
                [("VpcId", vpc.as_str()), ("CidrBlock", cidr)].into_iter().chain(more.iter().copied()).collect();
            cloud.tenant("acme").call("CreateSubnet", &ask)
        };
        let made = make("10.7.1.9/24", &[("AvailabilityZoneId", "use1-az3")]).expect("makes");
        assert!(made.contains("<availabilityZone>us-east-1c</availabilityZone>"), "{made}");
        assert!(made.contains("<availableIpAddressCount>251</availableIpAddressCount>"), "{made}");
        assert!(made.contains("<cidrBlock>10.7.1.0/24</cidrBlock>"), "{made}");
        for (cidr, refusal) in [
            ("10.7.0.0/16", "InvalidSubnet.Conflict: The CIDR '10.7.0.0/16' conflicts with another subnet"),
            ("10.7.1.128/28", "InvalidSubnet.Conflict: The CIDR '10.7.1.128/28' conflicts with another subnet"),
            ("10.8.0.0/24", "InvalidSubnet.Range: The CIDR '10.8.0.0/24' is invalid."),
            ("10.7.0.0/29", "InvalidSubnet.Range: The CIDR '10.7.0.0/29' is invalid."),
        ] {
            assert_eq!(make(cidr, &[]).expect_err(cidr), refusal);
        }
        let refusal = make("10.7.2.0/24", &[("AvailabilityZone", "us-east-1z")]).expect_err("no such zone");
        assert!(
            refusal.ends_with("in the following availability zones: us-east-1a, us-east-1b, us-east-1c."),
            "{refusal}"
        );
    }
}
