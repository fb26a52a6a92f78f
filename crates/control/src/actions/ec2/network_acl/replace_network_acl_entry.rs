//! ReplaceNetworkAclEntry.

use awan_model::network_acl::NetworkAcl;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::delete_network_acl_entry::must_have;
use super::entries::{self, Asked};
use crate::error::{Result, missing};

pub fn replace_network_acl_entry(tx: &mut Tx<Tenant>, req: ec2::ReplaceNetworkAclEntryRequest) -> Result<()> {
    let ec2::ReplaceNetworkAclEntryRequest {
        dry_run: _,
        network_acl_id,
        rule_number,
        protocol,
        rule_action,
        egress,
        cidr_block,
        ipv6_cidr_block,
        icmp_type_code,
        port_range,
    } = req;
    let acl = tx.get::<NetworkAcl>(&network_acl_id.ok_or_else(|| missing("NetworkAclId"))?.parse()?)?;
    let asked =
        Asked { cidr_block, egress, icmp_type_code, ipv6_cidr_block, port_range, protocol, rule_action, rule_number };
    let entry = asked.entry()?;
    let mut acl = (*acl).clone();
    let (egress, number) = (entry.egress, entry.number);
    must_have(&acl, egress, number)?;
    acl.entries.retain(|e| (e.egress, e.number) != (egress, number));
    entries::add(&mut acl, entry)?;
    tx.put(acl);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_entry_that_is_there_can_become_another() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &[]).expect("answers");
        let acl = Cloud::ids(&shown, "networkAclId").pop().expect("one");
        let mut replace = |number: &str| {
            let ask = [
                ("NetworkAclId", acl.as_str()),
                ("RuleNumber", number),
                ("Protocol", "47"),
                ("RuleAction", "deny"),
                ("Egress", "true"),
                ("CidrBlock", "192.0.2.0/24"),
            ];
            cloud.tenant("acme").call("ReplaceNetworkAclEntry", &ask)
        };
        replace("100").expect("replaces");
        let refusal = replace("101").expect_err("is not there");
        let expected = "InvalidNetworkAclEntry.NotFound: The network acl entry identified by 101 does not exist.";
        assert_eq!(refusal, expected);
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "protocol"), ["47", "-1", "-1", "-1"]);
    }
}
