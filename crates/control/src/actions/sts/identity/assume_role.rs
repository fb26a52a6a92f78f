//! AssumeRole: credentials of a role for a while, for whom its trust policy names.
//!
//! Only roles of the caller's own account can be assumed: another's, and one that is not there, are refused alike.

use awan_state::{Tenant, Tx};
use awan_wire::sts;

use super::answer::shown;
use crate::error::{Code, Error, Result, refuse, refuse_if};
use crate::identity::trust::{Asker, allows};
use crate::identity::{self, Who, checked_name};

const SHORTEST_S: i32 = 900;
const USUAL_S: i32 = 3_600;

pub fn assume_role(tx: &mut Tx<Tenant>, req: sts::AssumeRoleRequest) -> Result<sts::AssumeRoleResponse> {
    let sts::AssumeRoleRequest {
        role_arn,
        role_session_name,
        policy_arns,
        policy,
        duration_seconds,
        tags,
        transitive_tag_keys,
        external_id,
        serial_number,
        token_code,
        source_identity,
        provided_contexts,
        // Tokens are short.
        minimum_session_token_size: _,
    } = req;
    // What would restrict the session must not be lost on the way.
    for (there, name) in [
        (!policy_arns.is_empty(), "PolicyArns"),
        (policy.is_some(), "Policy"),
        (!tags.is_empty(), "Tags"),
        (!transitive_tag_keys.is_empty(), "TransitiveTagKeys"),
        (serial_number.is_some(), "SerialNumber"),
        (token_code.is_some(), "TokenCode"),
        (source_identity.is_some(), "SourceIdentity"),
        (!provided_contexts.is_empty(), "ProvidedContexts"),
    ] {
        refuse_if(there, name)?;
    }
    let arn = role_arn.unwrap_or_default();
    let session = checked_name(role_session_name.unwrap_or_default(), "roleSessionName", 64)?;
    let (principal, account) = (tx.principal().to_owned(), tx.home().account().to_owned());
    let role = identity::role_by_arn(tx, &arn).ok_or_else(|| denied(&principal, &arn))?;
    let asker = Asker {
        principal: Some(&principal),
        service: None,
        account: &account,
        external_id: external_id.as_deref(),
        session_name: &session,
    };
    if !allows(&role.trust, &asker) {
        return Err(denied(&principal, &arn));
    }
    let seconds = duration(duration_seconds, role.max_session_s, identity::who(&principal))?;
    let session_arn = format!("arn:aws:sts::{account}:assumed-role/{}/{session}", role.about.name);
    let credentials = identity::temporary(tx, session_arn.clone(), role.about.unique_id.clone(), seconds);
    let assumed_role_user = Some(sts::AssumedRoleUser {
        assumed_role_id: Some(format!("{}:{session}", role.about.unique_id)),
        arn: Some(session_arn),
    });
    Ok(sts::AssumeRoleResponse { credentials: Some(shown(credentials)), assumed_role_user, ..Default::default() })
}

/// A session that begins another has an hour at most.
fn duration(asked: Option<i32>, most: i32, who: Who) -> Result<i32> {
    let most = if matches!(who, Who::Session { .. }) { USUAL_S } else { most };
    let seconds = asked.unwrap_or(USUAL_S);
    if (SHORTEST_S..=most).contains(&seconds) {
        return Ok(seconds);
    }
    Err(identity::invalid(
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role, or is less than 900 seconds.",
    ))
}

fn denied(principal: &str, arn: &str) -> Error {
    let shown: String = arn.chars().take(200).collect();
    let shown = shown.escape_debug();
    refuse(
        Code::AccessDenied,
        format!("User: {principal} is not authorized to perform: sts:AssumeRole on resource: {shown}"),
    )
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_role_of_ones_own_for_as_long_as_it_says() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("Web");
        let arn = format!("arn:aws:iam::{}:role/Web", acme.id());
        let ask = [("RoleArn", arn.as_str()), ("RoleSessionName", "s@1")];
        let told = acme.sts_with("AssumeRole", &ask).expect("assumes");
        assert!(Cloud::ids(&told, "AccessKeyId")[0].starts_with("ASIA"), "{told}");
        assert!(Cloud::ids(&told, "Arn")[0].ends_with(":assumed-role/Web/s@1"), "{told}");
        assert!(Cloud::ids(&told, "AssumedRoleId")[0].ends_with(":s@1"), "{told}");
        for (more, code) in [
            (("DurationSeconds", "899"), "ValidationError"),
            (("DurationSeconds", "3601"), "ValidationError"),
            (("RoleSessionName", "a b"), "ValidationError"),
            (("Policy", "{}"), "UnsupportedOperation"),
            (("SerialNumber", "arn:aws:iam::123456789012:mfa/u"), "UnsupportedOperation"),
            (("RoleArn", "arn:aws:iam::999999999999:role/Web"), "AccessDenied"),
        ] {
            let mut ask = ask.to_vec();
            ask.retain(|(name, _)| *name != more.0);
            ask.push(more);
            let refusal = acme.sts_with("AssumeRole", &ask).expect_err(more.0);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let foreign = cloud.tenant("other").sts_with("AssumeRole", &ask).expect_err("is not theirs");
        assert!(foreign.starts_with("AccessDenied: User: arn:aws:iam::"), "{foreign}");
    }
}
