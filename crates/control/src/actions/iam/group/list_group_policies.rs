//! ListGroupPolicies: the names of inline policies.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn list_group_policies(
    tx: &mut Tx<Tenant>,
    req: iam::ListGroupPoliciesRequest,
) -> Result<iam::ListGroupPoliciesResponse> {
    let iam::ListGroupPoliciesRequest { group_name, marker, max_items } = req;
    let name = group_name.unwrap_or_default();
    let asked = (marker.as_deref(), max_items);
    let (policy_names, is_truncated, marker) = holder::inline_names::<Group>(tx, "ListGroupPolicies", &name, asked)?;
    Ok(iam::ListGroupPoliciesResponse { policy_names, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn names_come_in_pages() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "x")]).expect("creates");
        for name in ["a", "b", "c"] {
            let put = [
                ("GroupName", "x"),
                ("PolicyName", name),
                (
                    "PolicyDocument",
                    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
                ),
            ];
            cloud.tenant("acme").iam("PutGroupPolicy", &put).expect("puts");
        }
        let first = [("GroupName", "x"), ("MaxItems", "2")];
        let told = cloud.tenant("acme").iam("ListGroupPolicies", &first).expect("lists");
        assert_eq!((Cloud::ids(&told, "member").len(), &*Cloud::ids(&told, "IsTruncated")[0]), (2, "true"));
        let marker = Cloud::ids(&told, "Marker").remove(0);
        let told =
            cloud.tenant("acme").iam("ListGroupPolicies", &[("GroupName", "x"), ("Marker", &marker)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "member"), ["c"]);
        for wrong in [("MaxItems", "0"), ("MaxItems", "1001"), ("Marker", "x")] {
            let refusal =
                cloud.tenant("acme").iam("ListGroupPolicies", &[("GroupName", "x"), wrong]).expect_err("is wrong");
            assert!(refusal.starts_with("ValidationError"), "{refusal}");
        }
    }
}
