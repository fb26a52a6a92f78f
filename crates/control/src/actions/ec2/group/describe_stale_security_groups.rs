//! DescribeStaleSecurityGroups: rules of a VPC's groups that name a group beyond a connection that is gone, or one that is
//! gone itself. Whether a group of another account is there, nobody else is told.

use awan_model::group::{Peer, Rule, SecurityGroup};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{beyond, rules};
use crate::describe::Page;
use crate::error::{Result, missing};

pub fn describe_stale_security_groups(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeStaleSecurityGroupsRequest,
) -> Result<ec2::DescribeStaleSecurityGroupsResult> {
    let ec2::DescribeStaleSecurityGroupsRequest { dry_run: _, max_results, next_token, vpc_id } = req;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeStaleSecurityGroups", token, (5, 255), false)?;
    let mut found = Vec::new();
    for group in tx.list::<SecurityGroup>().into_iter().filter(|group| group.vpc == vpc.id) {
        let is_stale = |rule: &&Rule| matches!(&rule.peer, Peer::Beyond(there) if beyond::is_stale(tx, there));
        let stale: Vec<Rule> = group.rules.iter().filter(is_stale).cloned().collect();
        if !stale.is_empty() {
            found.push((group, stale));
        }
    }
    let (found, next_token) = page.cut(found, |(group, _)| group.id.clone());
    let states = beyond::states(tx, found.iter().flat_map(|(_, stale)| stale));
    let shown = found.into_iter().map(|(group, stale)| {
        let only = SecurityGroup { rules: stale, ..(*group).clone() };
        let permissions = |egress| rules::permissions(&only, egress, &states).into_iter().map(permission).collect();
        ec2::StaleSecurityGroup {
            description: Some(group.description.clone()),
            group_id: Some(group.id.to_string()),
            group_name: Some(group.name.clone()),
            stale_ip_permissions: permissions(false),
            stale_ip_permissions_egress: permissions(true),
            vpc_id: Some(group.vpc.to_string()),
        }
    });
    let stale_security_group_set = shown.collect();
    Ok(ec2::DescribeStaleSecurityGroupsResult { next_token, stale_security_group_set })
}

fn permission(of: ec2::IpPermission) -> ec2::StaleIpPermission {
    let ec2::IpPermission { ip_protocol, from_port, to_port, user_id_group_pairs, .. } = of;
    ec2::StaleIpPermission {
        from_port,
        ip_protocol,
        to_port,
        user_id_group_pairs,
        ip_ranges: Vec::new(),
        prefix_list_ids: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::actions::ec2::group::beyond::tests::Peers;
    use crate::testing::Cloud;

    #[test]
    fn a_rule_is_stale_without_its_connection_or_its_group() {
        let Peers { mut cloud, vpcs: [vpc, _], groups: [group, there], peering, .. } = Peers::of(["acme", "acme"]);
        let stale = |cloud: &mut Cloud| {
            let told = cloud.tenant("acme").call("DescribeStaleSecurityGroups", &[("VpcId", &vpc)]).expect("answers");
            Cloud::ids(&told, "groupId")
        };
        Peers::allow(&mut cloud, &group, &there, 22).expect("adds");
        assert!(stale(&mut cloud).is_empty());
        cloud.tenant("acme").call("DeleteSecurityGroup", &[("GroupId", &there)]).expect("is not of its VPC");
        assert_eq!(stale(&mut cloud), [group.clone(), there.clone()]);
        let refusal = Peers::allow(&mut cloud, &group, &there, 23).expect_err("is stale");
        assert_eq!(refusal, format!("InvalidGroup.NotFound: The security group '{there}' does not exist"));
        let gone = [("VpcPeeringConnectionId", peering.as_str())];
        cloud.tenant("acme").call("DeleteVpcPeeringConnection", &gone).expect("deletes");
        assert_eq!(stale(&mut cloud), [group.clone(), there.clone()]);
        cloud.tenant("acme").call("RevokeSecurityGroupIngress", &Peers::rule(&group, &there, "22")).expect("removes");
        assert!(stale(&mut cloud).is_empty());
        let foreign = cloud.tenant("other").call("DescribeStaleSecurityGroups", &[("VpcId", &vpc)]);
        assert!(foreign.expect_err("foreign").starts_with("InvalidVpcID.NotFound"));
        cloud.audit();
    }
}
