//! DisassociateSubnetCidrBlock: the IPv6 range goes that no interface has an address of.

use awan_model::id::SubnetCidrAssociationId;
use awan_model::interface::NetworkInterface;
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_subnets::ipv6_association;
use crate::error::{Code, Result, missing, refuse};

pub fn disassociate_subnet_cidr_block(
    tx: &mut Tx<Tenant>,
    req: ec2::DisassociateSubnetCidrBlockRequest,
) -> Result<ec2::DisassociateSubnetCidrBlockResult> {
    let ec2::DisassociateSubnetCidrBlockRequest { association_id } = req;
    let id: SubnetCidrAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let of = |subnet: &Subnet| subnet.ipv6.clone().filter(|range| range.id == id);
    let found = tx.list::<Subnet>().into_iter().find_map(|subnet| of(&subnet).map(|range| (subnet, range)));
    let Some((subnet, range)) = found else {
        let message = format!("The subnet CIDR block association ID '{id}' does not exist");
        return Err(refuse(Code::InvalidSubnetCidrAssociationNotFound, message));
    };
    let why = if subnet.assign_ipv6 {
        "its subnet has assign-ipv6-address-on-creation set to true."
    } else if tx.list::<NetworkInterface>().iter().any(|eni| eni.subnet == subnet.id && !eni.ipv6.is_empty()) {
        "network interfaces of its subnet have addresses of it."
    } else {
        tx.put(Subnet { ipv6: None, ..(*subnet).clone() });
        return Ok(ec2::DisassociateSubnetCidrBlockResult {
            ipv6_cidr_block_association: Some(ipv6_association(&range, "disassociating")),
            subnet_id: Some(subnet.id.to_string()),
        });
    };
    let message =
        format!("The subnet IPv6 CIDR block with association ID {id} may not be disassociated, because {why}");
    Err(refuse(Code::InvalidCidrBlockInUse, message))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_foreign_association_is_an_absent_one() {
        let mut cloud = Cloud::new();
        let ((_, subnet), _) = cloud.tenant("acme").ipv6_subnet();
        let shown = cloud.tenant("acme").call("DescribeSubnets", &[("SubnetId.1", &subnet)]).expect("answers");
        let id = Cloud::ids(&shown, "associationId").remove(0);
        let mut end = |account: &str, id: &str| {
            cloud.tenant(account).call("DisassociateSubnetCidrBlock", &[("AssociationId", id)])
        };
        let refusal = end("other", &id).expect_err("foreign");
        let expected = "InvalidSubnetCidrBlockAssociationID.NotFound: The subnet CIDR block association ID";
        assert_eq!(refusal, format!("{expected} '{id}' does not exist"));
        let refusal = end("acme", "subnet-cidr-assoc-1").expect_err("no id");
        assert!(refusal.starts_with("InvalidSubnetCidrBlockAssociationId.Malformed"), "{refusal}");
        end("acme", &id).expect("is free");
        end("acme", &id).expect_err("gone");
        cloud.audit();
    }
}
