//! DeleteNetworkAclEntry.

use awan_model::network_acl::NetworkAcl;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::entries::number;
use crate::error::{Code, Result, missing, refuse};

pub fn delete_network_acl_entry(tx: &mut Tx<Tenant>, req: ec2::DeleteNetworkAclEntryRequest) -> Result<()> {
    let ec2::DeleteNetworkAclEntryRequest { dry_run: _, network_acl_id, rule_number, egress } = req;
    let acl = tx.get::<NetworkAcl>(&network_acl_id.ok_or_else(|| missing("NetworkAclId"))?.parse()?)?;
    let number = number(rule_number)?;
    let egress = egress.ok_or_else(|| missing("Egress"))?;
    must_have(&acl, egress, number)?;
    let mut acl = (*acl).clone();
    acl.entries.retain(|e| (e.egress, e.number) != (egress, number));
    tx.put(acl);
    Ok(())
}

pub fn must_have(acl: &NetworkAcl, egress: bool, number: u16) -> Result<()> {
    let message = format!("The network acl entry identified by {number} does not exist.");
    acl.entry(egress, number).map(drop).ok_or_else(|| refuse(Code::InvalidNetworkAclEntryNotFound, message))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_side_has_its_own_numbers() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &[]).expect("answers");
        let acl = Cloud::ids(&shown, "networkAclId").pop().expect("one");
        let mut delete = |egress: &str| {
            let ask = [("NetworkAclId", acl.as_str()), ("RuleNumber", "100"), ("Egress", egress)];
            cloud.tenant("acme").call("DeleteNetworkAclEntry", &ask)
        };
        delete("true").expect("deletes");
        let refusal = delete("true").expect_err("gone");
        assert!(refusal.starts_with("InvalidNetworkAclEntry.NotFound"), "{refusal}");
        delete("false").expect("is another");
    }
}
