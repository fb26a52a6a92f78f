//! CreateRole: with who may become it.

use awan_model::identity::{Policies, Role};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Result, refuse_if};
use crate::identity::{self, holder, role, shown};

pub fn create_role(tx: &mut Tx<Tenant>, req: iam::CreateRoleRequest) -> Result<iam::CreateRoleResponse> {
    let iam::CreateRoleRequest {
        path,
        role_name,
        assume_role_policy_document,
        description,
        max_session_duration,
        max_signin_session_duration,
        permissions_boundary,
        tags,
    } = req;
    refuse_if(max_signin_session_duration.is_some(), "MaxSigninSessionDuration")?;
    let trust = role::checked_trust(assume_role_policy_document)?;
    let (id, about) = identity::new::<Role>(tx, (role_name, "roleName", 64), path, &tags)?;
    let boundary = holder::checked_boundary(tx, permissions_boundary.as_deref())?;
    let role = Role {
        home: tx.home().clone(),
        id,
        about,
        policies: Policies { boundary, ..Policies::default() },
        trust,
        description: role::checked_description(description)?,
        max_session_s: role::checked_duration(max_session_duration)?,
    };
    let answer = shown::role(&role);
    tx.put(role);
    Ok(iam::CreateRoleResponse { role: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_role_says_who_may_become_it() {
        let mut cloud = Cloud::new();
        let trust =
            r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}}"#;
        let base = [("RoleName", "web"), ("AssumeRolePolicyDocument", trust)];
        let made = cloud.tenant("acme").iam("CreateRole", &base).expect("creates");
        assert!(Cloud::ids(&made, "RoleId")[0].starts_with("AROA"), "{made}");
        assert_eq!(Cloud::ids(&made, "MaxSessionDuration"), ["3600"]);
        assert_eq!(Cloud::ids(&made, "AssumeRolePolicyDocument"), [crate::identity::document::encoded(trust)]);
        for (more, code) in [
            (("RoleName", "Web"), "EntityAlreadyExists"),
            (("AssumeRolePolicyDocument", "{}"), "MalformedPolicyDocument"),
            (("MaxSessionDuration", "3599"), "ValidationError"),
            (("MaxSessionDuration", "43201"), "ValidationError"),
            (("PermissionsBoundary", "arn:aws:iam::aws:policy/None"), "NoSuchEntity"),
            (("Description", &*"x".repeat(1001)), "ValidationError"),
        ] {
            let mut ask = vec![("RoleName", "db"), ("AssumeRolePolicyDocument", trust)];
            ask.retain(|(name, _)| *name != more.0);
            ask.push(more);
            let refusal = cloud.tenant("acme").iam("CreateRole", &ask).expect_err(more.0);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
