//! AssociateVpcCidrBlock: one more range for a VPC, whose subnets and guests are as those of the first. An IPv6 one is of
//! the installation's pool. Source of what goes together: "IPv4 CIDR block association restrictions", Amazon VPC User Guide.

use std::net::Ipv4Addr;

use awan_model::id::VpcCidrAssociationId;
use awan_model::route::{Destination, RouteTable};
use awan_model::vpc::{Range, Vpc};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use ipnet::Ipv4Net;

use super::create_vpc::{must_be_for_guests, network_of, wants_ipv6};
use super::describe_vpcs::{association, ipv6_association};
use crate::actions::ec2::peering::peerings;
use crate::error::{Code, Result, missing, refuse, refuse_both, refuse_if};
use crate::network;

/// EC2's quota, the primary one counted in.
const RANGES_MAX: usize = 5;
/// Ranges that go with no range of another line, and all with public ones.
const APART: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 19, 0, 0), 16),
];

pub fn associate_vpc_cidr_block(
    tx: &mut Tx<Tenant>,
    req: ec2::AssociateVpcCidrBlockRequest,
) -> Result<ec2::AssociateVpcCidrBlockResult> {
    let ec2::AssociateVpcCidrBlockRequest {
        cidr_block,
        ipv6_cidr_block_network_border_group,
        ipv6_pool,
        ipv6_cidr_block,
        ipv4_ipam_pool_id,
        ipv4_netmask_length,
        ipv6_ipam_pool_id,
        ipv6_netmask_length,
        vpc_id,
        amazon_provided_ipv6_cidr_block,
    } = req;
    for (there, name) in [
        (ipv6_pool.is_some(), "Ipv6Pool"),
        (ipv6_cidr_block.is_some(), "Ipv6CidrBlock"),
        (ipv4_ipam_pool_id.is_some(), "Ipv4IpamPoolId"),
        (ipv4_netmask_length.is_some(), "Ipv4NetmaskLength"),
        (ipv6_ipam_pool_id.is_some(), "Ipv6IpamPoolId"),
        (ipv6_netmask_length.is_some(), "Ipv6NetmaskLength"),
    ] {
        refuse_if(there, name)?;
    }
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let ipv6 = wants_ipv6(tx, amazon_provided_ipv6_cidr_block, ipv6_cidr_block_network_border_group)?;
    refuse_both((ipv6, "AmazonProvidedIpv6CidrBlock"), (cidr_block.is_some(), "CidrBlock"))?;
    if ipv6 {
        let (vpc, range) = network::ipv6::add_range(tx, &vpc)?;
        return Ok(ec2::AssociateVpcCidrBlockResult {
            ipv6_cidr_block_association: Some(ipv6_association(&vpc, &range, "associating")),
            cidr_block_association: None,
            vpc_id: Some(vpc.id.to_string()),
        });
    }
    let cidr = network_of(&cidr_block.ok_or_else(|| missing("CidrBlock"))?, "cidrBlock")?;
    must_be_for_guests(tx, &cidr)?;
    must_go_together(&vpc, &cidr)?;
    must_be_no_route(tx, &vpc, &cidr)?;
    peerings::must_be_nobodys(tx, &vpc, &cidr)?;
    if vpc.cidrs().count() >= RANGES_MAX {
        let message = format!("This network '{}' has met its maximum number of allowed CIDRs: {RANGES_MAX}", vpc.id);
        return Err(refuse(Code::CidrLimitExceeded, message));
    }
    let id = VpcCidrAssociationId::made(tx.new_id(VpcCidrAssociationId::PREFIX));
    let range = Range { id, cidr };
    let mut changed = (*vpc).clone();
    changed.secondary.push(range.clone());
    peerings::tell_ranges(tx, &changed);
    tx.put(changed);
    Ok(ec2::AssociateVpcCidrBlockResult {
        ipv6_cidr_block_association: None,
        cidr_block_association: Some(association(&range, "associating")),
        vpc_id: Some(vpc.id.to_string()),
    })
}

fn must_go_together(vpc: &Vpc, cidr: &Ipv4Net) -> Result<()> {
    if let Some(other) = vpc.cidrs().find(|other| network::overlap(other, cidr)) {
        let message = format!("The CIDR '{cidr}' conflicts with the CIDR '{other}' of the network '{}'", vpc.id);
        return Err(refuse(Code::CidrConflict, message));
    }
    let apart = |net: &Ipv4Net| {
        let of = |(ip, length): &(Ipv4Addr, u8)| Ipv4Net::new(*ip, *length).is_ok_and(|n| network::overlap(&n, net));
        APART.iter().position(of)
    };
    let net = |ip: [u8; 4], length| Ipv4Net::new(ip.into(), length).unwrap_or_default();
    // EC2 itself has addresses there.
    let own = net([10, 0, 0, 0], 15).contains(&vpc.cidr) && network::overlap(&net([10, 0, 0, 0], 16), cidr)
        || net([172, 16, 0, 0], 12).contains(&vpc.cidr) && network::overlap(&net([172, 31, 0, 0], 16), cidr);
    if own || apart(cidr).is_some() && apart(cidr) != apart(&vpc.cidr) {
        return Err(refuse(
            Code::InvalidVpcRange,
            format!(
                "The CIDR '{cidr}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, \
                 or use a publicly-routable CIDR."
            ),
        ));
    }
    Ok(())
}

/// The local route of a range may not hide another route.
fn must_be_no_route(tx: &mut Tx<Tenant>, vpc: &Vpc, cidr: &Ipv4Net) -> Result<()> {
    for table in tx.list::<RouteTable>().iter().filter(|table| table.vpc == vpc.id) {
        let hidden = |d: &Destination| matches!(d, Destination::Ipv4(net) if cidr.contains(net));
        if let Some(route) = table.routes.iter().find(|route| hidden(&route.destination)) {
            let (id, destination) = (&table.id, &route.destination);
            let message = format!("The CIDR '{cidr}' covers the route to {destination} in the route table '{id}'");
            return Err(refuse(Code::InvalidVpcRange, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    fn vpc(cloud: &mut Cloud, cidr: &str) -> String {
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes");
        Cloud::ids(&made, "vpcId").remove(0)
    }

    #[test]
    fn guests_live_in_a_second_range_as_in_the_first() {
        let mut cloud = Cloud::new();
        let vpc = vpc(&mut cloud, "10.7.0.0/16");
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let in_range = [("VpcId", vpc.as_str()), ("CidrBlock", "100.64.1.0/24")];
        call("CreateSubnet", &in_range).expect_err("is not there yet");
        let ask = [("VpcId", vpc.as_str()), ("CidrBlock", "100.64.0.0/16")];
        let made = call("AssociateVpcCidrBlock", &ask).expect("associates");
        assert!(made.contains("<state>associating</state>"), "{made}");
        let id = Cloud::ids(&made, "associationId").remove(0);
        let subnet = Cloud::ids(&call("CreateSubnet", &in_range).expect("makes"), "subnetId").remove(0);
        let filter = [("Filter.1.Name", "cidr-block-association.association-id"), ("Filter.1.Value.1", id.as_str())];
        let shown = call("DescribeVpcs", &filter).expect("answers");
        assert_eq!(shown.matches("<state>associated</state>").count(), 2, "{shown}");
        let tables = call("DescribeRouteTables", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", &vpc)]);
        let local = Cloud::ids(&tables.expect("answers"), "destinationCidrBlock");
        assert_eq!(local, ["10.7.0.0/16", "100.64.0.0/16"]);
        let end = [("AssociationId", id.as_str())];
        let refusal = call("DisassociateVpcCidrBlock", &end).expect_err("has a subnet");
        assert!(refusal.starts_with("InvalidCidrBlock.InUse"), "{refusal}");
        let instance = cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches").remove(0);
        cloud.settle();
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let network = &plans.values().next().expect("a host").network.vpcs[0];
        assert_eq!(network.cidrs().count(), 2);
        cloud.audit();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("is empty");
        let ended = call("DisassociateVpcCidrBlock", &end).expect("ends");
        assert!(ended.contains("<state>disassociating</state>"), "{ended}");
        call("DisassociateVpcCidrBlock", &end).expect_err("gone");
        cloud.audit();
    }

    #[test]
    fn ranges_that_do_not_go_together_are_refused() {
        let mut cloud = Cloud::new();
        let vpcs = ["10.0.0.0/20", "172.16.0.0/16", "11.0.0.0/16"].map(|cidr| vpc(&mut cloud, cidr));
        let [ten, private, public] = &vpcs;
        let route =
            cloud.tenant("acme").call("DescribeRouteTables", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", ten)]);
        let table = Cloud::ids(&route.expect("answers"), "routeTableId").remove(0);
        let gateway = cloud.tenant("acme").call("CreateInternetGateway", &[]).expect("makes");
        let gateway = Cloud::ids(&gateway, "internetGatewayId").remove(0);
        let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", ten.as_str())];
        cloud.tenant("acme").call("AttachInternetGateway", &both).expect("attaches");
        let route = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "12.0.1.0/24"), both[0]];
        let route = [route[0], route[1], ("GatewayId", gateway.as_str())];
        cloud.tenant("acme").call("CreateRoute", &route).expect("makes");
        for (vpc, cidr, expected) in [
            (ten, "10.0.8.0/24", "CidrConflict"),
            (ten, "10.0.16.0/20", "InvalidVpc.Range: The CIDR '10.0.16.0/20' is restricted."),
            (ten, "192.168.0.0/24", "InvalidVpc.Range: The CIDR '192.168.0.0/24' is restricted."),
            (ten, "10.8.0.0/15", "InvalidVpc.Range: The CIDR '10.8.0.0/15' is invalid."),
            (ten, "12.0.0.0/16", "InvalidVpc.Range: The CIDR '12.0.0.0/16' covers the route to 12.0.1.0/24"),
            (private, "172.31.0.0/24", "InvalidVpc.Range"),
            (private, "10.0.0.0/24", "InvalidVpc.Range"),
            (public, "10.0.0.0/24", "InvalidVpc.Range"),
            (public, "198.18.4.0/24", "InvalidVpc.Range: The CIDR '198.18.4.0/24' is invalid."),
        ] {
            let ask = [("VpcId", vpc.as_str()), ("CidrBlock", cidr)];
            let refusal = cloud.tenant("acme").call("AssociateVpcCidrBlock", &ask).expect_err(cidr);
            assert!(refusal.starts_with(expected), "{cidr}: {refusal}");
        }
        for (n, cidr) in
            ["10.2.0.0/16", "10.3.0.0/16", "100.64.0.0/16", "13.0.0.0/16", "10.4.0.0/16"].iter().enumerate()
        {
            let ask = [("VpcId", ten.as_str()), ("CidrBlock", cidr)];
            let answer = cloud.tenant("acme").call("AssociateVpcCidrBlock", &ask);
            assert_eq!(answer.is_ok(), n < 4, "{answer:?}");
        }
        cloud.audit();
    }

    fn with<'a>(vpc: &'a str, cidr: &'a str) -> [(&'static str, &'a str); 2] {
        [("VpcId", vpc), ("CidrBlock", cidr)]
    }

    #[test]
    fn a_peers_range_is_not_taken() {
        let mut cloud = Cloud::new();
        let [a, b, c] = ["10.2.0.0/16", "10.3.0.0/16", "10.6.0.0/16"].map(|cidr| vpc(&mut cloud, cidr));
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let made = call("CreateVpcPeeringConnection", &[("VpcId", &a), ("PeerVpcId", &b)]).expect("asks");
        let id = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
        let refusal = call("AssociateVpcCidrBlock", &with(&a, "100.64.0.0/16")).expect_err("waits for an answer");
        assert!(refusal.starts_with(&format!("InvalidVpc.Range: The network '{a}' takes no more")), "{refusal}");
        call("AssociateVpcCidrBlock", &with(&b, "10.4.0.0/16")).expect("who is asked may");
        call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &id)]).expect("accepts");
        let added = call("AssociateVpcCidrBlock", &with(&a, "10.5.0.0/16")).expect("is nobody's");
        for (vpc, cidr) in [(&a, "10.4.128.0/17"), (&b, "10.5.1.0/24")] {
            let refusal = call("AssociateVpcCidrBlock", &with(vpc, cidr)).expect_err(cidr);
            assert!(refusal.starts_with(&format!("InvalidVpc.Range: The CIDR '{cidr}' conflicts with a")), "{refusal}");
        }
        // All ranges of both count, and both know them.
        let shown = call("DescribeVpcPeeringConnections", &[]).expect("answers");
        for cidr in ["10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"] {
            assert!(shown.contains(cidr), "{cidr}: {shown}");
        }
        call("AssociateVpcCidrBlock", &with(&c, "10.5.64.0/24")).expect("is no peer");
        let made = call("CreateVpcPeeringConnection", &[("VpcId", &a), ("PeerVpcId", &c)]).expect("asks");
        assert_eq!(Cloud::ids(&made, "code"), ["failed"]);
        let id = Cloud::ids(&added, "associationId").remove(0);
        call("DisassociateVpcCidrBlock", &[("AssociationId", &id)]).expect("ends");
        call("AssociateVpcCidrBlock", &with(&b, "10.5.1.0/24")).expect("is nobody's any more");
        cloud.audit();
    }
}
