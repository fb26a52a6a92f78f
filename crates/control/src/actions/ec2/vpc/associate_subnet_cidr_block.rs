//! AssociateSubnetCidrBlock: a subnet's one IPv6 range.

use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_subnet::{free_ipv6, ipv6_range};
use super::describe_subnets::ipv6_association;
use crate::error::{Code, Result, missing, refuse, refuse_if};

pub fn associate_subnet_cidr_block(
    tx: &mut Tx<Tenant>,
    req: ec2::AssociateSubnetCidrBlockRequest,
) -> Result<ec2::AssociateSubnetCidrBlockResult> {
    let ec2::AssociateSubnetCidrBlockRequest { ipv6_ipam_pool_id, ipv6_netmask_length, subnet_id, ipv6_cidr_block } =
        req;
    refuse_if(ipv6_ipam_pool_id.is_some(), "Ipv6IpamPoolId")?;
    refuse_if(ipv6_netmask_length.is_some(), "Ipv6NetmaskLength")?;
    let subnet = tx.get::<Subnet>(&subnet_id.ok_or_else(|| missing("SubnetId"))?.parse()?)?;
    let text = ipv6_cidr_block.ok_or_else(|| missing("Ipv6CidrBlock"))?;
    let vpc = tx.get::<Vpc>(&subnet.vpc)?;
    let cidr = free_ipv6(tx, &vpc, &text)?;
    if subnet.ipv6.is_some() {
        let message = format!("The subnet '{}' has met its maximum number of allowed IPv6 CIDRs: 1", subnet.id);
        return Err(refuse(Code::CidrLimitExceeded, message));
    }
    let range = ipv6_range(tx, cidr);
    let ipv6_cidr_block_association = Some(ipv6_association(&range, "associating"));
    tx.put(Subnet { ipv6: Some(range), ..(*subnet).clone() });
    Ok(ec2::AssociateSubnetCidrBlockResult { ipv6_cidr_block_association, subnet_id: Some(subnet.id.to_string()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_subnet_has_one_range_which_stays_while_anybody_has_an_address_of_it() {
        let mut cloud = Cloud::new();
        let ((vpc, subnet), range) = cloud.tenant("acme").ipv6_subnet();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let second = range.replace("00::/64", "01::/64");
        let ask = [("SubnetId", subnet.as_str()), ("Ipv6CidrBlock", second.as_str())];
        let refusal = call("AssociateSubnetCidrBlock", &ask).expect_err("has one");
        assert!(refusal.starts_with("CidrLimitExceeded"), "{refusal}");
        let shown = call("DescribeSubnets", &[("SubnetId.1", &subnet)]).expect("answers");
        let id = Cloud::ids(&shown, "associationId").remove(0);
        let end = [("AssociationId", id.as_str())];
        let assign = |on: &'static str| [("SubnetId", subnet.as_str()), ("AssignIpv6AddressOnCreation.Value", on)];
        call("ModifySubnetAttribute", &assign("true")).expect("has a range");
        let refusal = call("DisassociateSubnetCidrBlock", &end).expect_err("gives addresses");
        let expected = format!(
            "InvalidCidrBlock.InUse: The subnet IPv6 CIDR block with association ID {id} may not be disassociated, \
             because its subnet has assign-ipv6-address-on-creation set to true."
        );
        assert_eq!(refusal, expected);
        call("ModifySubnetAttribute", &assign("false")).expect("changes");
        let eni = call("CreateNetworkInterface", &[("SubnetId", &subnet), ("Ipv6AddressCount", "1")]).expect("makes");
        let eni = Cloud::ids(&eni, "networkInterfaceId").remove(0);
        let refusal = call("DisassociateSubnetCidrBlock", &end).expect_err("somebody has an address");
        assert!(refusal.starts_with("InvalidCidrBlock.InUse"), "{refusal}");
        call("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]).expect("deletes");
        let shown = call("DescribeVpcs", &[("VpcId.1", &vpc)]).expect("answers");
        let primary = vpc.replace("vpc-", "vpc-cidr-assoc-");
        let of_vpc = Cloud::ids(&shown, "associationId").into_iter().find(|id| *id != primary).expect("an IPv6 one");
        let refusal = call("DisassociateVpcCidrBlock", &[("AssociationId", &of_vpc)]).expect_err("has a subnet");
        assert!(refusal.starts_with("InvalidCidrBlock.InUse"), "{refusal}");
        let ended = call("DisassociateSubnetCidrBlock", &end).expect("is free");
        assert_eq!(Cloud::ids(&ended, "state"), ["disassociating"]);
        let refusal = call("ModifySubnetAttribute", &assign("true")).expect_err("has no range");
        assert!(
            refusal.starts_with("InvalidParameterValue: Invalid value 'true' for assign-ipv6-address"),
            "{refusal}"
        );
        let made = call("AssociateSubnetCidrBlock", &ask).expect("takes another");
        assert_eq!(Cloud::ids(&made, "state"), ["associating"]);
        let again = Cloud::ids(&made, "associationId").remove(0);
        assert_ne!(again, id);
        for (name, value, found) in [
            ("ipv6-cidr-block-association.association-id", again.as_str(), 1),
            ("ipv6-cidr-block-association.association-id", &id, 0),
            ("ipv6-cidr-block-association.ipv6-cidr-block", &second, 1),
            ("ipv6-cidr-block-association.state", "associated", 1),
        ] {
            let shown = call("DescribeSubnets", &[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
            assert_eq!(Cloud::ids(&shown.expect("answers"), "subnetId").len(), found, "{name}");
        }
        call("DisassociateSubnetCidrBlock", &[("AssociationId", &again)]).expect("ends");
        let gone = call("DisassociateVpcCidrBlock", &[("AssociationId", &of_vpc)]).expect("is free");
        assert_eq!(Cloud::ids(&gone, "state"), ["disassociating"]);
        let refusal = call("AssociateSubnetCidrBlock", &ask).expect_err("is nobody's");
        assert!(refusal.starts_with("InvalidSubnet.Range"), "{refusal}");
        let again = [("VpcId", vpc.as_str()), ("AmazonProvidedIpv6CidrBlock", "true")];
        for n in 0..6 {
            let answer = call("AssociateVpcCidrBlock", &again);
            assert_eq!(answer.is_ok(), n < 5, "{answer:?}");
        }
        let groups = call("DescribeSecurityGroups", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", &vpc)]);
        assert_eq!(Cloud::ids(&groups.expect("answers"), "cidrIpv6"), ["::/0"], "once");
        cloud.audit();
    }
}
