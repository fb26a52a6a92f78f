//! CreateSecurityGroup. A new group lets everything out and nothing in, of IPv6 too where its VPC has it.

use awan_model::group::SecurityGroup;
use awan_model::id::GroupId;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::launch;
use crate::error::{Code, Result, invalid, missing, refuse};
use crate::{network, tagging};

const TEXT_MAX: usize = 255;
/// EC2's default quota per region.
const GROUPS_MAX: usize = 2_500;

pub fn create_security_group(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateSecurityGroupRequest,
) -> Result<ec2::CreateSecurityGroupResult> {
    let ec2::CreateSecurityGroupRequest { description, group_name, vpc_id, tag_specifications, dry_run: _ } = req;
    let name = text(group_name.ok_or_else(|| missing("GroupName"))?, "GroupName")?;
    let description = text(description.ok_or_else(|| missing("GroupDescription"))?, "GroupDescription")?;
    let vpc = match vpc_id {
        Some(id) => tx.get::<Vpc>(&id.parse()?)?,
        None => launch::default_vpc(tx)?,
    };
    if name.starts_with("sg-") {
        return Err(invalid("Group names may not begin with 'sg-'"));
    }
    if name.eq_ignore_ascii_case(SecurityGroup::DEFAULT) {
        return Err(refuse(Code::InvalidGroupReserved, "The security group 'default' is reserved"));
    }
    if tx.lookup(SecurityGroup::BY_NAME, &SecurityGroup::name_in(&vpc.id, &name)).is_some() {
        let message = format!("The security group '{name}' already exists for VPC '{}'", vpc.id);
        return Err(refuse(Code::InvalidGroupDuplicate, message));
    }
    if tx.list::<SecurityGroup>().len() >= GROUPS_MAX {
        return Err(refuse(
            Code::SecurityGroupLimitExceeded,
            "The maximum number of security groups has been reached.",
        ));
    }
    let tags = tagging::specified(&tag_specifications, "security-group", &["security-group"])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = GroupId::made(tx.new_id(GroupId::PREFIX));
    let rules = network::ipv6::let_out(tx, !vpc.ipv6.is_empty());
    let arn = format!("arn:aws:ec2:{}:{}:security-group/{id}", home.region(), home.account());
    let vpc = vpc.id.clone();
    tx.put(SecurityGroup { home, id: id.clone(), vpc, name, description, rules, created });
    tagging::add(tx, id.as_str(), &tags)?;
    Ok(ec2::CreateSecurityGroupResult { group_id: Some(id.to_string()), tags, security_group_arn: Some(arn) })
}

/// EC2 allows these characters: a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*. Spaces at the end are cut off.
fn text(text: String, parameter: &str) -> Result<String> {
    let text = text.trim_end_matches(' ').to_owned();
    if text.is_empty() {
        return Err(invalid(format!("Value () for parameter {parameter} is invalid. The name is empty.")));
    }
    if text.chars().count() > TEXT_MAX {
        return Err(invalid(format!(
            "Value for parameter {parameter} is invalid. It has more than {TEXT_MAX} characters."
        )));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if !text.chars().all(fine) {
        let shown: String = text.chars().take(TEXT_MAX).collect();
        let message = format!(
            "Value ({}) for parameter {parameter} is invalid. Character sets beyond ASCII are not supported.",
            shown.escape_debug()
        );
        return Err(invalid(message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_name_is_given_once_in_a_vpc() {
        let mut cloud = Cloud::new();
        let ask = [("GroupName", "web"), ("GroupDescription", "web servers")];
        cloud.tenant("acme").call("CreateSecurityGroup", &ask).expect("makes a group");
        for name in ["WEB", "Web  "] {
            let again = [("GroupName", name), ask[1]];
            let refusal = cloud.tenant("acme").call("CreateSecurityGroup", &again).expect_err("the same name");
            assert!(refusal.starts_with("InvalidGroup.Duplicate"), "{refusal}");
        }
        let refusal = cloud.tenant("acme").call("CreateSecurityGroup", &ask).expect_err("taken");
        assert!(
            refusal.starts_with("InvalidGroup.Duplicate: The security group 'web' already exists for VPC 'vpc-"),
            "{refusal}"
        );
    }
}
