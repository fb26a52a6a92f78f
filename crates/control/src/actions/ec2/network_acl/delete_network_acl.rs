//! DeleteNetworkAcl. Neither the default one goes nor one that serves a subnet.

use awan_model::network_acl::NetworkAcl;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, dependency, invalid, missing};
use crate::network;

pub fn delete_network_acl(tx: &mut Tx<Tenant>, req: ec2::DeleteNetworkAclRequest) -> Result<()> {
    let ec2::DeleteNetworkAclRequest { dry_run: _, network_acl_id } = req;
    let acl = tx.get::<NetworkAcl>(&network_acl_id.ok_or_else(|| missing("NetworkAclId"))?.parse()?)?;
    let id = &acl.id;
    if acl.is_default {
        return Err(invalid(format!("cannot delete default network ACL {id}")));
    }
    if !acl.associations.is_empty() {
        return Err(dependency(format!("The networkAcl '{id}' has dependencies and cannot be deleted.")));
    }
    network::remove_acl(tx, &acl);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_default_acl_stays() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &[]).expect("answers");
        let id = Cloud::ids(&shown, "networkAclId").pop().expect("one");
        let refusal = cloud.tenant("acme").call("DeleteNetworkAcl", &[("NetworkAclId", &id)]).expect_err("is default");
        assert_eq!(refusal, format!("InvalidParameterValue: cannot delete default network ACL {id}"));
    }
}
