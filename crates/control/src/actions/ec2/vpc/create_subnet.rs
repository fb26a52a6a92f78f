//! CreateSubnet.

use awan_model::id::{SubnetCidrAssociationId, SubnetId};
use awan_model::installation::Installation;
use awan_model::subnet::{Ipv6Range, Subnet};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use ipnet::{Ipv4Net, Ipv6Net};

use super::create_vpc::{brief, network_of};
use super::describe_subnets::shown;
use crate::actions::ec2::network_acl::entries::ipv6_network_of;
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
    let ipv6 = ipv6_cidr_block.map(|text| free_ipv6(tx, &vpc, &text)).transpose()?;
    let tags = tagging::specified(&tag_specifications, "subnet", &["subnet"])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = SubnetId::made(tx.new_id(SubnetId::PREFIX));
    let ipv6 = ipv6.map(|cidr| ipv6_range(tx, cidr));
    let (vpc, default_for_zone, map_public_ip, assign_ipv6) = (vpc.id.clone(), false, false, false);
    let subnet = Subnet { home, id, vpc, cidr, ipv6, zone, default_for_zone, map_public_ip, assign_ipv6, created };
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

/// A part of the VPC's IPv6 ranges that no other subnet has. Of lengths EC2 takes every fourth, to /64.
pub fn free_ipv6(tx: &mut Tx<Tenant>, vpc: &Vpc, text: &str) -> Result<Ipv6Net> {
    let cidr = ipv6_network_of(text, "ipv6CidrBlock")?;
    let fine = (44..=64).contains(&cidr.prefix_len()) && cidr.prefix_len().is_multiple_of(4);
    if !fine || !vpc.ipv6.iter().any(|range| range.cidr.contains(&cidr)) {
        return Err(refuse(Code::InvalidSubnetRange, format!("The CIDR '{cidr}' is invalid.")));
    }
    let overlaps = |own: &Ipv6Range| own.cidr.contains(&cidr) || cidr.contains(&own.cidr);
    if tx.list::<Subnet>().iter().filter(|s| s.vpc == vpc.id).any(|s| s.ipv6.as_ref().is_some_and(overlaps)) {
        let message = format!("The CIDR '{cidr}' conflicts with another subnet");
        return Err(refuse(Code::InvalidSubnetConflict, message));
    }
    Ok(cidr)
}

pub fn ipv6_range(tx: &mut Tx<Tenant>, cidr: Ipv6Net) -> Ipv6Range {
    Ipv6Range { id: SubnetCidrAssociationId::made(tx.new_id(SubnetCidrAssociationId::PREFIX)), cidr }
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

    #[test]
    fn an_ipv6_range_lies_in_one_of_the_vpcs_and_not_upon_anothers() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let ask = [("CidrBlock", "10.7.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true")];
        let made = call("CreateVpc", &ask).expect("makes");
        let (vpc, range) = (Cloud::ids(&made, "vpcId").remove(0), Cloud::ids(&made, "ipv6CidrBlock").remove(0));
        let start = range.strip_suffix("00::/56").expect("a /56");
        let mut make = |cidr: &str, ipv6: &str| {
            call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", cidr), ("Ipv6CidrBlock", ipv6)])
        };
        let made = make("10.7.0.0/24", &format!("{start}00:ffff::/64")).expect("makes");
        assert_eq!(Cloud::ids(&made, "ipv6CidrBlock"), [format!("{start}00::/64")]);
        assert!(made.contains("<assignIpv6AddressOnCreation>false</assignIpv6AddressOnCreation>"), "{made}");
        make("10.7.1.0/24", &format!("{start}10::/60")).expect("sixteen at once");
        for (ipv6, code) in [
            (format!("{start}00::/64"), "InvalidSubnet.Conflict"),
            (format!("{start}1f::/64"), "InvalidSubnet.Conflict"),
            (range.clone(), "InvalidSubnet.Conflict"),
            (format!("{start}20::/80"), "InvalidSubnet.Range"),
            (format!("{start}20::/63"), "InvalidSubnet.Range"),
            ("2001:db8:b00::/64".into(), "InvalidSubnet.Range"),
            ("10.7.2.0/24".into(), "InvalidParameterValue: Value (10.7.2.0/24) for parameter ipv6CidrBlock"),
        ] {
            let refusal = make("10.7.2.0/24", &ipv6).expect_err(&ipv6);
            assert!(refusal.starts_with(code), "{ipv6}: {refusal}");
        }
        cloud.audit();
    }
}
