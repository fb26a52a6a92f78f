//! DeleteGroupPolicy: an inline policy.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn delete_group_policy(tx: &mut Tx<Tenant>, req: iam::DeleteGroupPolicyRequest) -> Result<()> {
    let iam::DeleteGroupPolicyRequest { group_name, policy_name } = req;
    holder::delete_inline::<Group>(tx, &group_name.unwrap_or_default(), &policy_name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_is_not_deleted() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "x")]).expect("creates");
        let ask = [("GroupName", "x"), ("PolicyName", "p")];
        let refusal = cloud.tenant("acme").iam("DeleteGroupPolicy", &ask).expect_err("has none");
        assert_eq!(refusal, "NoSuchEntity: The group policy with name p cannot be found.");
    }
}
