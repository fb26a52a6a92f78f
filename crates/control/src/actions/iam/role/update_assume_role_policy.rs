//! UpdateAssumeRolePolicy: who may become the role from now on.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::get;
use crate::identity::role::checked_trust;

pub fn update_assume_role_policy(tx: &mut Tx<Tenant>, req: iam::UpdateAssumeRolePolicyRequest) -> Result<()> {
    let iam::UpdateAssumeRolePolicyRequest { role_name, policy_document } = req;
    let mut role: Role = get(tx, &role_name.unwrap_or_default())?;
    role.trust = checked_trust(policy_document)?;
    tx.put(role);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_new_one_is_checked_as_the_first() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let trust =
            r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}}"#
                .replace("ec2.", "ssm.");
        let ask = [("RoleName", "web"), ("PolicyDocument", trust.as_str())];
        acme.iam("UpdateAssumeRolePolicy", &ask).expect("updates");
        assert!(acme.iam("GetRole", &ask[..1]).expect("is there").contains("ssm.amazonaws.com"));
        let wrong = [("RoleName", "web"), ("PolicyDocument", "x")];
        let refusal = acme.iam("UpdateAssumeRolePolicy", &wrong).expect_err("is none");
        assert!(refusal.starts_with("MalformedPolicyDocument"), "{refusal}");
    }
}
