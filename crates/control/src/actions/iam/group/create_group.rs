//! CreateGroup: a name for several users.

use std::collections::BTreeSet;

use awan_model::identity::{Group, Policies};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, shown};

pub fn create_group(tx: &mut Tx<Tenant>, req: iam::CreateGroupRequest) -> Result<iam::CreateGroupResponse> {
    let iam::CreateGroupRequest { path, group_name } = req;
    let (id, about) = identity::new::<Group>(tx, (group_name, "groupName", 128), path, &[])?;
    let (home, policies) = (tx.home().clone(), Policies::default());
    let group = Group { home, id, about, policies, members: BTreeSet::new() };
    let answer = shown::group(&group);
    tx.put(group);
    Ok(iam::CreateGroupResponse { group: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_group_has_one_name() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "G")]).expect("creates");
        assert!(Cloud::ids(&made, "GroupId")[0].starts_with("AGPA"), "{made}");
        let refusal = cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "g")]).expect_err("is there");
        assert_eq!(refusal, "EntityAlreadyExists: Group with name g already exists.");
    }
}
