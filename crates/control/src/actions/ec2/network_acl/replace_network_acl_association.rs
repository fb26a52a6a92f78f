//! ReplaceNetworkAclAssociation: another ACL for a subnet.

use std::sync::Arc;

use awan_model::id::{NetworkAclAssociationId, SubnetId};
use awan_model::network_acl::NetworkAcl;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid, missing, refuse};
use crate::network;

pub fn replace_network_acl_association(
    tx: &mut Tx<Tenant>,
    req: ec2::ReplaceNetworkAclAssociationRequest,
) -> Result<ec2::ReplaceNetworkAclAssociationResult> {
    let ec2::ReplaceNetworkAclAssociationRequest { dry_run: _, association_id, network_acl_id } = req;
    let id: NetworkAclAssociationId = association_id.ok_or_else(|| missing("AssociationId"))?.parse()?;
    let (old, subnet) = of(tx, &id)?;
    let new = tx.get::<NetworkAcl>(&network_acl_id.ok_or_else(|| missing("NetworkAclId"))?.parse()?)?;
    if old.vpc != new.vpc {
        let (new, subnet) = (&new.id, &subnet);
        return Err(invalid(format!("network ACL {new} and subnet {subnet} belong to different networks")));
    }
    let new_id = if old.id == new.id {
        id
    } else {
        let mut left = (*old).clone();
        left.associations.retain(|a| a.id != id);
        tx.put(left);
        network::serve(tx, (*new).clone(), &subnet)
    };
    Ok(ec2::ReplaceNetworkAclAssociationResult { new_association_id: Some(new_id.to_string()) })
}

/// The ACL and the subnet of an association.
fn of(tx: &mut Tx<Tenant>, id: &NetworkAclAssociationId) -> Result<(Arc<NetworkAcl>, SubnetId)> {
    let holder = tx.lookup(NetworkAcl::BY_ASSOCIATION, id.as_str());
    let acl = holder.and_then(|acl| tx.find::<NetworkAcl>(&acl.parse().ok()?));
    let found = acl.and_then(|acl| {
        let subnet = acl.associations.iter().find(|a| a.id == *id)?.subnet.clone();
        Some((acl, subnet))
    });
    let message = format!("The association ID '{id}' does not exist");
    found.ok_or_else(|| refuse(Code::InvalidAssociationIdNotFound, message))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_subnet_has_one_acl_at_a_time_which_stays_as_long() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let shown = call("DescribeNetworkAcls", &[]).expect("answers");
        let (vpc, old, subnet) =
            (one(&shown, "vpcId"), one(&shown, "networkAclAssociationId"), one(&shown, "subnetId"));
        let acl = one(&call("CreateNetworkAcl", &[("VpcId", &vpc)]).expect("makes"), "networkAclId");
        let replace = [("AssociationId", old.as_str()), ("NetworkAclId", acl.as_str())];
        let new = one(&call("ReplaceNetworkAclAssociation", &replace).expect("replaces"), "newAssociationId");
        let refusal = call("ReplaceNetworkAclAssociation", &replace).expect_err("is no more");
        assert_eq!(refusal, format!("InvalidAssociationID.NotFound: The association ID '{old}' does not exist"));
        let again = [("AssociationId", new.as_str()), replace[1]];
        assert_eq!(one(&call("ReplaceNetworkAclAssociation", &again).expect("is so"), "newAssociationId"), new);
        let refusal = call("DeleteNetworkAcl", &[replace[1]]).expect_err("serves a subnet");
        let expected = format!("DependencyViolation: The networkAcl '{acl}' has dependencies and cannot be deleted.");
        assert_eq!(refusal, expected);
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("takes the association with it");
        call("DeleteNetworkAcl", &[replace[1]]).expect("serves none");
        cloud.audit();
    }
}
