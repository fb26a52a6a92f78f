//! ListEntitiesForPolicy: who has a policy, or has it for a boundary.

use awan_model::identity::About;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder::Users;
use crate::identity::{self, managed};

/// One of them, so that all three kinds share pages.
enum One {
    Group(iam::PolicyGroup),
    Role(iam::PolicyRole),
    User(iam::PolicyUser),
}

pub fn list_entities_for_policy(
    tx: &mut Tx<Tenant>,
    req: iam::ListEntitiesForPolicyRequest,
) -> Result<iam::ListEntitiesForPolicyResponse> {
    let iam::ListEntitiesForPolicyRequest {
        policy_arn,
        entity_filter,
        path_prefix,
        policy_usage_filter,
        marker,
        max_items,
    } = req;
    let arn = policy_arn.unwrap_or_default();
    managed::get(tx, &arn)?;
    let kinds = match policy_usage_filter.as_deref() {
        None => vec![false, true],
        Some("PermissionsPolicy") => vec![false],
        Some("PermissionsBoundary") => vec![true],
        Some(_) => return Err(identity::invalid("The usage filter is PermissionsPolicy or PermissionsBoundary")),
    };
    let mut all = Vec::new();
    for kind in kinds {
        collect(Users::of(tx, &arn, kind), path_prefix.as_deref().unwrap_or("/"), &mut all);
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.dedup_by(|a, b| a.0 == b.0);
    match entity_filter.as_deref() {
        None => {}
        Some(kind @ ("User" | "Role" | "Group")) => all.retain(|(key, _)| key.starts_with(kind)),
        Some("LocalManagedPolicy" | "AWSManagedPolicy") => all.clear(),
        Some(_) => return Err(identity::invalid("The entity filter is User, Role or Group")),
    }
    let asked = (marker.as_deref(), max_items);
    let (page, is_truncated, marker) = identity::page(tx, "ListEntitiesForPolicy", asked, all, |(key, _)| key.clone())?;
    let mut answer = iam::ListEntitiesForPolicyResponse { is_truncated, marker, ..Default::default() };
    for (_, one) in page {
        match one {
            One::Group(group) => answer.policy_groups.push(group),
            One::Role(role) => answer.policy_roles.push(role),
            One::User(user) => answer.policy_users.push(user),
        }
    }
    Ok(answer)
}

fn collect(users: Users, prefix: &str, all: &mut Vec<(String, One)>) {
    let Users { users, roles, groups } = users;
    let names = |about: &About| (Some(about.name.clone()), Some(about.unique_id.clone()));
    let here = |about: &About| about.path.starts_with(prefix);
    for user in users.iter().filter(|user| here(&user.about)) {
        let (user_name, user_id) = names(&user.about);
        all.push((format!("User/{}", user.id), One::User(iam::PolicyUser { user_name, user_id })));
    }
    for role in roles.iter().filter(|role| here(&role.about)) {
        let (role_name, role_id) = names(&role.about);
        all.push((format!("Role/{}", role.id), One::Role(iam::PolicyRole { role_name, role_id })));
    }
    for group in groups.iter().filter(|group| here(&group.about)) {
        let (group_name, group_id) = names(&group.about);
        all.push((format!("Group/{}", group.id), One::Group(iam::PolicyGroup { group_name, group_id })));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_kind_and_use() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        let arn = ("PolicyArn", "arn:aws:iam::aws:policy/IAMFullAccess");
        acme.role("web");
        let user = [("UserName", "u"), ("PermissionsBoundary", arn.1)];
        acme.iam("CreateUser", &user).expect("creates");
        acme.iam("AttachRolePolicy", &[("RoleName", "web"), arn]).expect("attaches");
        for (more, expected) in [
            (None, (1, 1)),
            (Some(("EntityFilter", "Role")), (1, 0)),
            (Some(("PolicyUsageFilter", "PermissionsBoundary")), (0, 1)),
            (Some(("PolicyUsageFilter", "PermissionsPolicy")), (1, 0)),
            (Some(("PathPrefix", "/x/")), (0, 0)),
        ] {
            let ask: Vec<_> = [arn].into_iter().chain(more).collect();
            let told = acme.iam("ListEntitiesForPolicy", &ask).expect("lists");
            let found = (Cloud::ids(&told, "RoleName").len(), Cloud::ids(&told, "UserName").len());
            assert_eq!(found, expected, "{more:?}");
        }
    }
}
