//! DetachGroupPolicy: a managed policy that is attached.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn detach_group_policy(tx: &mut Tx<Tenant>, req: iam::DetachGroupPolicyRequest) -> Result<()> {
    let iam::DetachGroupPolicyRequest { group_name, policy_arn } = req;
    holder::detach::<Group>(tx, &group_name.unwrap_or_default(), &policy_arn.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_attached_cannot_be_detached() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "x")]).expect("creates");
        let ask = [("GroupName", "x"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
        let refusal = cloud.tenant("acme").iam("DetachGroupPolicy", &ask).expect_err("is not attached");
        assert_eq!(refusal, "NoSuchEntity: Policy arn:aws:iam::aws:policy/AdministratorAccess was not found.");
    }
}
