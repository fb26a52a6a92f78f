//! PutUserPermissionsBoundary: beyond it nothing is allowed.
//!
//! Record only: no request is allowed or refused by a policy yet.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn put_user_permissions_boundary(tx: &mut Tx<Tenant>, req: iam::PutUserPermissionsBoundaryRequest) -> Result<()> {
    let iam::PutUserPermissionsBoundaryRequest { user_name, permissions_boundary } = req;
    holder::set_boundary::<User>(tx, &user_name.unwrap_or_default(), Some(&permissions_boundary.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_boundary_is_shown_counted_and_taken_away() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "x")]).expect("creates");
        let mut acme = cloud.tenant("acme");
        let policy = [
            ("PolicyName", "p"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let arn = Cloud::ids(&acme.iam("CreatePolicy", &policy).expect("creates"), "Arn").remove(0);
        let put = [("UserName", "x"), ("PermissionsBoundary", arn.as_str())];
        acme.iam("PutUserPermissionsBoundary", &put).expect("puts");
        let told = acme.iam("GetUser", &put[..1]).expect("is there");
        assert_eq!(Cloud::ids(&told, "PermissionsBoundaryArn"), std::slice::from_ref(&arn));
        let told = acme.iam("GetPolicy", &[("PolicyArn", &arn)]).expect("is there");
        assert_eq!(Cloud::ids(&told, "PermissionsBoundaryUsageCount"), ["1"]);
        assert!(acme.iam("DeletePolicy", &[("PolicyArn", &arn)]).expect_err("is held").starts_with("DeleteConflict"));
        acme.iam("DeleteUserPermissionsBoundary", &put[..1]).expect("takes it away");
        acme.iam("DeletePolicy", &[("PolicyArn", &arn)]).expect("deletes");
    }
}
