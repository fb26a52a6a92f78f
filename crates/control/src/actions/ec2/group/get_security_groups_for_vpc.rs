//! GetSecurityGroupsForVpc: the groups that interfaces of a VPC can be in. They are its own: no group is shared.

use awan_model::group::SecurityGroup;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::{Result, missing};
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "group-id", "description", "group-name", "owner-id", "primary-vpc-id"];

pub fn get_security_groups_for_vpc(
    tx: &mut Tx<Tenant>,
    req: ec2::GetSecurityGroupsForVpcRequest,
) -> Result<ec2::GetSecurityGroupsForVpcResult> {
    let ec2::GetSecurityGroupsForVpcRequest { vpc_id, next_token, max_results, filters, dry_run: _ } = req;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let filters = Filters::new(&filters, FILTERS)?;
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "GetSecurityGroupsForVpc", token, (5, 1000), false)?;
    let mut kept = Vec::new();
    for group in tx.list::<SecurityGroup>().into_iter().filter(|g| g.vpc == vpc.id) {
        let tags = tagging::of(tx, group.id.as_str());
        let values = |name: &str| match name {
            "group-id" => vec![group.id.to_string()],
            "description" => vec![group.description.clone()],
            "group-name" => vec![group.name.clone()],
            "owner-id" => vec![group.home.account().into()],
            "primary-vpc-id" => vec![group.vpc.to_string()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((group, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(group, _)| group.id.clone());
    let shown = kept.iter().map(|(group, tags)| ec2::SecurityGroupForVpc {
        description: Some(group.description.clone()),
        group_name: Some(group.name.clone()),
        owner_id: Some(group.home.account().into()),
        group_id: Some(group.id.to_string()),
        tags: tagging::shown(tags),
        primary_vpc_id: Some(group.vpc.to_string()),
    });
    let security_group_for_vpcs = shown.collect();
    Ok(ec2::GetSecurityGroupsForVpcResult { next_token, security_group_for_vpcs })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_vpc_has_its_own_groups() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let web = [("GroupName", "web"), ("GroupDescription", "d"), ("VpcId", vpc.as_str())];
        cloud.tenant("acme").call("CreateSecurityGroup", &web).expect("makes");
        let mut ask = |account: &str, more: &[(&str, &str)]| {
            let ask = [&[("VpcId", vpc.as_str())], more].concat();
            cloud.tenant(account).call("GetSecurityGroupsForVpc", &ask)
        };
        let mut names = Cloud::ids(&ask("acme", &[]).expect("answers"), "groupName");
        names.sort();
        assert_eq!(names, ["default", "web"]);
        let filter = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "w*")];
        assert_eq!(Cloud::ids(&ask("acme", &filter).expect("answers"), "groupName"), ["web"]);
        let foreign = ask("other", &[]).expect_err("foreign");
        assert!(foreign.starts_with("InvalidVpcID.NotFound"), "{foreign}");
    }
}
