//! ListPolicies: one's own, those that AWS names, or both.

use awan_model::identity::{ManagedPolicy, Named};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder::Users;
use crate::identity::{self, managed, shown};

pub fn list_policies(tx: &mut Tx<Tenant>, req: iam::ListPoliciesRequest) -> Result<iam::ListPoliciesResponse> {
    let iam::ListPoliciesRequest { scope, only_attached, path_prefix, policy_usage_filter, marker, max_items } = req;
    let (own, common) = match scope.as_deref() {
        None | Some("All") => (true, true),
        Some("Local") => (true, false),
        Some("AWS") => (false, true),
        Some(_) => return Err(identity::invalid("The scope is All, AWS or Local")),
    };
    let mut all: Vec<ManagedPolicy> = Vec::new();
    if own {
        all.extend(tx.list::<ManagedPolicy>().iter().map(|policy| (**policy).clone()));
    }
    if common {
        all.extend(managed::all_common());
    }
    let prefix = path_prefix.as_deref().unwrap_or("/");
    all.retain(|policy| policy.about.path.starts_with(prefix));
    let boundaries = match policy_usage_filter.as_deref() {
        None => None,
        Some("PermissionsPolicy") => Some(false),
        Some("PermissionsBoundary") => Some(true),
        Some(_) => return Err(identity::invalid("The usage filter is PermissionsPolicy or PermissionsBoundary")),
    };
    if only_attached == Some(true) || boundaries.is_some() {
        let kinds = boundaries.map_or(vec![false, true], |one| vec![one]);
        all.retain(|policy| kinds.iter().any(|kind| Users::of(tx, &policy.arn(), *kind).count() > 0));
    }
    let asked = (marker.as_deref(), max_items);
    let (page, is_truncated, marker) = identity::page(tx, "ListPolicies", asked, all, Named::arn)?;
    let policies = page.iter().map(|policy| shown::policy(tx, policy)).collect();
    Ok(iam::ListPoliciesResponse { policies, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_scope_path_and_use() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        for (name, path) in [("a", "/"), ("b", "/x/")] {
            let make = [
                ("PolicyName", name),
                ("Path", path),
                (
                    "PolicyDocument",
                    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
                ),
            ];
            acme.iam("CreatePolicy", &make).expect("creates");
        }
        let attach = [("RoleName", "web"), ("PolicyArn", "arn:aws:iam::aws:policy/IAMFullAccess")];
        acme.iam("AttachRolePolicy", &attach).expect("attaches");
        for (ask, expected) in [
            (("Scope", "Local"), "a b"),
            (("PathPrefix", "/x/"), "b"),
            (("OnlyAttached", "true"), "IAMFullAccess"),
            (("PolicyUsageFilter", "PermissionsBoundary"), ""),
        ] {
            let told = acme.iam("ListPolicies", &[ask]).expect("lists");
            assert_eq!(Cloud::ids(&told, "PolicyName").join(" "), expected, "{ask:?}");
        }
        let told = acme.iam("ListPolicies", &[("Scope", "AWS")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "PolicyName").len(), 5);
        assert!(acme.iam("ListPolicies", &[("Scope", "Mine")]).expect_err("no scope").starts_with("ValidationError"));
    }
}
