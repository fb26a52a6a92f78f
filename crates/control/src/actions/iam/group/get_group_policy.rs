//! GetGroupPolicy: an inline policy with its document.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn get_group_policy(tx: &mut Tx<Tenant>, req: iam::GetGroupPolicyRequest) -> Result<iam::GetGroupPolicyResponse> {
    let iam::GetGroupPolicyRequest { group_name, policy_name } = req;
    let policy_name = policy_name.unwrap_or_default();
    let (name, policy, document) = holder::inline::<Group>(tx, &group_name.unwrap_or_default(), &policy_name)?;
    Ok(iam::GetGroupPolicyResponse {
        group_name: Some(name),
        policy_name: Some(policy),
        policy_document: Some(document),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nobody_there_is_none() {
        let ask = [("GroupName", "x"), ("PolicyName", "p")];
        let refusal = Cloud::new().tenant("acme").iam("GetGroupPolicy", &ask).expect_err("nothing is there");
        assert_eq!(refusal, "NoSuchEntity: The group with name x cannot be found.");
    }
}
