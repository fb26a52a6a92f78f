//! GetPolicy: without its document, which is a version's.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{managed, shown};

pub fn get_policy(tx: &mut Tx<Tenant>, req: iam::GetPolicyRequest) -> Result<iam::GetPolicyResponse> {
    let iam::GetPolicyRequest { policy_arn } = req;
    let policy = managed::get(tx, &policy_arn.unwrap_or_default())?;
    Ok(iam::GetPolicyResponse { policy: Some(shown::policy(tx, &policy)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn ones_own_and_those_that_aws_names() {
        let mut cloud = Cloud::new();
        let make = [
            ("PolicyName", "p"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let made = cloud.tenant("acme").iam("CreatePolicy", &make).expect("creates");
        let arn = Cloud::ids(&made, "Arn").remove(0);
        cloud.tenant("acme").iam("GetPolicy", &[("PolicyArn", &arn)]).expect("is there");
        let foreign = cloud.tenant("other").iam("GetPolicy", &[("PolicyArn", &arn)]).expect_err("is not theirs");
        assert_eq!(foreign, format!("NoSuchEntity: Policy {arn} was not found."));
        let common = "arn:aws:iam::aws:policy/AdministratorAccess";
        let told = cloud.tenant("other").iam("GetPolicy", &[("PolicyArn", common)]).expect("is everybody's");
        assert_eq!(Cloud::ids(&told, "PolicyName"), ["AdministratorAccess"]);
        let unknown = "arn:aws:iam::aws:policy/ReadOnlyAccess";
        assert!(cloud.tenant("other").iam("GetPolicy", &[("PolicyArn", unknown)]).is_err());
    }
}
