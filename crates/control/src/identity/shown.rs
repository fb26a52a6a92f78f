//! Users, roles, groups, policies and profiles as IAM shows them.

use std::collections::BTreeMap;

use awan_model::identity::{Group, InstanceProfile, ManagedPolicy, Named, PolicyVersion, Role, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use super::holder::Users;
use super::{document, time};

pub fn tags(tags: &BTreeMap<String, String>) -> Vec<iam::Tag> {
    tags.iter().map(|(k, v)| iam::Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect()
}

fn boundary(arn: Option<&String>) -> Option<iam::AttachedPermissionsBoundary> {
    arn.map(|arn| iam::AttachedPermissionsBoundary {
        permissions_boundary_type: Some("Policy".into()),
        permissions_boundary_arn: Some(arn.clone()),
    })
}

pub fn user(user: &User) -> iam::User {
    let about = &user.about;
    iam::User {
        path: Some(about.path.clone()),
        user_name: Some(about.name.clone()),
        user_id: Some(about.unique_id.clone()),
        arn: Some(user.arn()),
        create_date: time(about.created),
        password_last_used: None,
        permissions_boundary: boundary(user.policies.boundary.as_ref()),
        tags: tags(&about.tags),
    }
}

pub fn group(group: &Group) -> iam::Group {
    let about = &group.about;
    iam::Group {
        path: Some(about.path.clone()),
        group_name: Some(about.name.clone()),
        group_id: Some(about.unique_id.clone()),
        arn: Some(group.arn()),
        create_date: time(about.created),
    }
}

pub fn role(role: &Role) -> iam::Role {
    let about = &role.about;
    iam::Role {
        path: Some(about.path.clone()),
        role_name: Some(about.name.clone()),
        role_id: Some(about.unique_id.clone()),
        arn: Some(role.arn()),
        create_date: time(about.created),
        assume_role_policy_document: Some(document::encoded(&role.trust)),
        description: Some(role.description.clone()).filter(|d| !d.is_empty()),
        max_session_duration: Some(role.max_session_s),
        permissions_boundary: boundary(role.policies.boundary.as_ref()),
        tags: tags(&about.tags),
        ..Default::default()
    }
}

pub fn profile(tx: &mut Tx<Tenant>, profile: &InstanceProfile) -> iam::InstanceProfile {
    let about = &profile.about;
    let roles = profile.role.as_ref().and_then(|id| tx.find::<Role>(id)).map(|found| role(&found));
    iam::InstanceProfile {
        path: Some(about.path.clone()),
        instance_profile_name: Some(about.name.clone()),
        instance_profile_id: Some(about.unique_id.clone()),
        arn: Some(profile.arn()),
        create_date: time(about.created),
        roles: roles.into_iter().collect(),
        tags: tags(&about.tags),
    }
}

pub fn policy(tx: &mut Tx<Tenant>, policy: &ManagedPolicy) -> iam::Policy {
    let (about, arn) = (&policy.about, policy.arn());
    let count = |n: usize| i32::try_from(n).ok();
    iam::Policy {
        policy_name: Some(about.name.clone()),
        policy_id: Some(about.unique_id.clone()),
        path: Some(about.path.clone()),
        default_version_id: Some(format!("v{}", policy.default)),
        attachment_count: count(Users::of(tx, &arn, false).count()),
        permissions_boundary_usage_count: count(Users::of(tx, &arn, true).count()),
        is_attachable: Some(true),
        description: Some(policy.description.clone()).filter(|d| !d.is_empty()),
        create_date: time(about.created),
        update_date: time(policy.updated),
        tags: tags(&about.tags),
        arn: Some(arn),
    }
}

/// With its document only where that is asked for.
pub fn version(policy: &ManagedPolicy, (number, version): (u32, &PolicyVersion), whole: bool) -> iam::PolicyVersion {
    iam::PolicyVersion {
        document: whole.then(|| document::encoded(&version.document)),
        version_id: Some(format!("v{number}")),
        is_default_version: Some(number == policy.default),
        create_date: time(version.created),
    }
}
