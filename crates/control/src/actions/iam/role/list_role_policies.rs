//! ListRolePolicies: the names of inline policies.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn list_role_policies(
    tx: &mut Tx<Tenant>,
    req: iam::ListRolePoliciesRequest,
) -> Result<iam::ListRolePoliciesResponse> {
    let iam::ListRolePoliciesRequest { role_name, marker, max_items } = req;
    let name = role_name.unwrap_or_default();
    let asked = (marker.as_deref(), max_items);
    let (policy_names, is_truncated, marker) = holder::inline_names::<Role>(tx, "ListRolePolicies", &name, asked)?;
    Ok(iam::ListRolePoliciesResponse { policy_names, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn names_come_in_pages() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("x");
        for name in ["a", "b", "c"] {
            let put = [
                ("RoleName", "x"),
                ("PolicyName", name),
                (
                    "PolicyDocument",
                    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
                ),
            ];
            cloud.tenant("acme").iam("PutRolePolicy", &put).expect("puts");
        }
        let first = [("RoleName", "x"), ("MaxItems", "2")];
        let told = cloud.tenant("acme").iam("ListRolePolicies", &first).expect("lists");
        assert_eq!((Cloud::ids(&told, "member").len(), &*Cloud::ids(&told, "IsTruncated")[0]), (2, "true"));
        let marker = Cloud::ids(&told, "Marker").remove(0);
        let told =
            cloud.tenant("acme").iam("ListRolePolicies", &[("RoleName", "x"), ("Marker", &marker)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "member"), ["c"]);
        for wrong in [("MaxItems", "0"), ("MaxItems", "1001"), ("Marker", "x")] {
            let refusal =
                cloud.tenant("acme").iam("ListRolePolicies", &[("RoleName", "x"), wrong]).expect_err("is wrong");
            assert!(refusal.starts_with("ValidationError"), "{refusal}");
        }
    }
}
