//! DisassociateVpcCidrBlock. The primary range stays, and so does one with subnets.

use awan_model::id::VpcCidrAssociationId;
use awan_model::subnet::Subnet;
use awan_model::vpc::{Ipv6Range, Vpc};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_vpcs::{association, ipv6_association};
use crate::actions::ec2::peering::peerings;
use crate::error::{Code, Error, Result, missing, refuse};

pub fn disassociate_vpc_cidr_block(
    tx: &mut Tx<Tenant>,
    req: ec2::DisassociateVpcCidrBlockRequest,
) -> Result<ec2::DisassociateVpcCidrBlockResult> {
    let ec2::DisassociateVpcCidrBlockRequest { association_id } = req;
    let id: VpcCidrAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let ipv6 = |vpc: &Vpc| vpc.ipv6.iter().find(|range| range.id == id).cloned();
    let found = tx.list::<Vpc>().into_iter().find_map(|vpc| ipv6(&vpc).map(|range| (vpc, range)));
    if let Some((vpc, range)) = found {
        return end_ipv6(tx, &vpc, &range);
    }
    let of = |vpc: &Vpc| vpc.ranges().find(|range| range.id == id);
    let found = tx.list::<Vpc>().into_iter().find_map(|vpc| of(&vpc).map(|range| (vpc, range)));
    let Some((vpc, range)) = found else {
        let message = format!("The vpc CIDR block association ID '{id}' does not exist");
        return Err(refuse(Code::InvalidCidrAssociationNotFound, message));
    };
    if range.cidr == vpc.cidr {
        let message = format!(
            "The vpc CIDR block with association ID {id} may not be disassociated. \
             It is the primary IPv4 CIDR block of the VPC"
        );
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    if tx.list::<Subnet>().iter().any(|s| s.vpc == vpc.id && range.cidr.contains(&s.cidr)) {
        return Err(in_use(&vpc, range.cidr));
    }
    let mut changed = (*vpc).clone();
    changed.secondary.retain(|other| other.id != id);
    peerings::tell_ranges(tx, &changed);
    tx.put(changed);
    Ok(ec2::DisassociateVpcCidrBlockResult {
        ipv6_cidr_block_association: None,
        cidr_block_association: Some(association(&range, "disassociating")),
        vpc_id: Some(vpc.id.to_string()),
    })
}

fn in_use(vpc: &Vpc, cidr: impl std::fmt::Display) -> Error {
    let message = format!("The vpc {} currently has a subnet within CIDR block {cidr}", vpc.id);
    refuse(Code::InvalidCidrBlockInUse, message)
}

fn end_ipv6(tx: &mut Tx<Tenant>, vpc: &Vpc, range: &Ipv6Range) -> Result<ec2::DisassociateVpcCidrBlockResult> {
    let within = |subnet: &Subnet| subnet.ipv6.as_ref().is_some_and(|own| range.cidr.contains(&own.cidr));
    if tx.list::<Subnet>().iter().any(|s| s.vpc == vpc.id && within(s)) {
        return Err(in_use(vpc, range.cidr));
    }
    let mut changed = vpc.clone();
    changed.ipv6.retain(|other| other.id != range.id);
    tx.put(changed);
    Ok(ec2::DisassociateVpcCidrBlockResult {
        ipv6_cidr_block_association: Some(ipv6_association(vpc, range, "disassociating")),
        cidr_block_association: None,
        vpc_id: Some(vpc.id.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_primary_range_stays() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers");
        let id = Cloud::ids(&shown, "associationId").remove(0);
        let ask = [("AssociationId", id.as_str())];
        let refusal = cloud.tenant("acme").call("DisassociateVpcCidrBlock", &ask).expect_err("is primary");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        let refusal = cloud.tenant("other").call("DisassociateVpcCidrBlock", &ask).expect_err("foreign");
        let expected =
            format!("InvalidVpcCidrBlockAssociationID.NotFound: The vpc CIDR block association ID '{id}' does");
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
}
