//! DescribeSecurityGroupReferences: VPCs on the other side of a connection whose rules name a group. Those of the same
//! account; what another account's rules say is its own business.

use awan_model::group::{Peer, SecurityGroup};
use awan_model::id::GroupId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};

pub fn describe_security_group_references(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSecurityGroupReferencesRequest,
) -> Result<ec2::DescribeSecurityGroupReferencesResult> {
    let ec2::DescribeSecurityGroupReferencesRequest { dry_run: _, group_id } = req;
    if group_id.is_empty() {
        return Err(missing("GroupId"));
    }
    let mut asked: Vec<GroupId> = Vec::new();
    for id in &group_id {
        asked.push(tx.get::<SecurityGroup>(&id.parse()?)?.id.clone());
    }
    let mut found = std::collections::BTreeSet::new();
    for group in tx.list::<SecurityGroup>() {
        for rule in &group.rules {
            if let Peer::Beyond(beyond) = &rule.peer
                && asked.contains(&beyond.group)
            {
                found.insert((beyond.group.clone(), group.vpc.clone(), beyond.peering.clone()));
            }
        }
    }
    let shown = found.into_iter().map(|(group, vpc, peering)| ec2::SecurityGroupReference {
        group_id: Some(group.to_string()),
        referencing_vpc_id: Some(vpc.to_string()),
        vpc_peering_connection_id: Some(peering.to_string()),
        transit_gateway_id: None,
    });
    Ok(ec2::DescribeSecurityGroupReferencesResult { security_group_reference_set: shown.collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn no_other_vpc_names_a_group() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let mut ask =
            |account: &str| cloud.tenant(account).call("DescribeSecurityGroupReferences", &[("GroupId.1", &group)]);
        assert!(Cloud::ids(&ask("acme").expect("answers"), "groupId").is_empty());
        assert!(ask("other").expect_err("foreign").starts_with("InvalidGroup.NotFound"));
    }
}
