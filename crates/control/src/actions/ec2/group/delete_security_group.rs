//! DeleteSecurityGroup.

use awan_model::group::{Peer, SecurityGroup};
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules;
use crate::error::{Code, Result, dependency, refuse};
use crate::network;

pub fn delete_security_group(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteSecurityGroupRequest,
) -> Result<ec2::DeleteSecurityGroupResult> {
    let ec2::DeleteSecurityGroupRequest { group_id, group_name, dry_run: _ } = req;
    let group = rules::group(tx, group_id, group_name)?;
    let id = group.id.clone();
    if group.name == SecurityGroup::DEFAULT {
        return Err(refuse(
            Code::CannotDelete,
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let used = tx.list::<NetworkInterface>().iter().any(|eni| eni.groups.contains(&id));
    let named = |g: &SecurityGroup| g.id != id && g.rules.iter().any(|r| r.peer == Peer::Group(id.clone()));
    if used || tx.list::<SecurityGroup>().iter().any(|g| named(g)) {
        return Err(dependency(format!("resource {id} has a dependent object")));
    }
    network::remove_group(tx, &group);
    Ok(ec2::DeleteSecurityGroupResult { r#return: Some(true), group_id: Some(id.to_string()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_group_in_use_stays() {
        let mut cloud = Cloud::new();
        let made = cloud
            .tenant("acme")
            .call("CreateSecurityGroup", &[("GroupName", "web"), ("GroupDescription", "d")])
            .expect("makes");
        let group = Cloud::ids(&made, "groupId").remove(0);
        let ids = cloud.tenant("acme").run_with(&[("SecurityGroupId.1", &group)]).expect("launches");
        cloud.settle();
        let refusal = cloud.tenant("acme").call("DeleteSecurityGroup", &[("GroupId", &group)]).expect_err("in use");
        assert_eq!(refusal, format!("DependencyViolation: resource {group} has a dependent object"));
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &ids[0])]).expect("terminates");
        cloud.settle();
        cloud.tenant("acme").call("DeleteSecurityGroup", &[("GroupId", &group)]).expect("is free now");
    }
}
