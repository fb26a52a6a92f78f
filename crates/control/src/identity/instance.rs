//! Profiles of instances: which an instance has, and the temporary credentials that come of it.
//!
//! A host has no secrets: what it shows to a guest comes with its plan, and ends by itself.

use awan_model::id::{InstanceId, ProfileAssociationId};
use awan_model::identity::{InstanceProfile, Named as _, Role, id_of};
use awan_model::installation::Installation;
use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::plan::ProfilePlan;
use awan_model::profile::{ProfileAssociation, ProfileSession};
use awan_state::{Home, Millis, Ref, System, Tenant, Tx};
use awan_wire::ec2;

use super::session::{self, Session};
use super::trust::{Asker, allows};
use crate::error::{Error, Result, combination, invalid, missing};

/// Guests look again some minutes before the end.
const LIFE_MS: Millis = 6 * 60 * 60 * 1000;
const RENEWED_MS: Millis = 60 * 60 * 1000;

/// The profile that a request names, by name or ARN.
pub fn profile(tx: &mut Tx<Tenant>, asked: &ec2::IamInstanceProfileSpecification) -> Result<InstanceProfile> {
    let ec2::IamInstanceProfileSpecification { arn, name } = asked;
    let wrong = |value: &str, what: &str, title: &str| -> Error {
        let shown: String = value.chars().take(200).collect();
        invalid(format!(
            "Value ({}) for parameter iamInstanceProfile.{what} is invalid. Invalid IAM Instance Profile {title}",
            shown.escape_debug()
        ))
    };
    let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (present(name), present(arn)) {
        (Some(_), Some(_)) => Err(combination(
            "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
        )),
        (None, None) => Err(missing("IamInstanceProfile.Name")),
        (Some(name), None) => {
            let found = tx.of_account::<InstanceProfile>(&id_of(&name));
            found.map(|found| (*found).clone()).ok_or_else(|| wrong(&name, "name", "name"))
        }
        (None, Some(arn)) => {
            let name = arn.rsplit('/').next().unwrap_or_default();
            let found = tx.of_account::<InstanceProfile>(&id_of(name)).filter(|found| found.arn() == arn);
            found.map(|found| (*found).clone()).ok_or_else(|| wrong(&arn, "arn", "ARN"))
        }
    }
}

pub fn associate(tx: &mut Tx<Tenant>, instance: &InstanceId, profile: &InstanceProfile) -> ProfileAssociation {
    let association = ProfileAssociation {
        home: tx.home().clone(),
        id: ProfileAssociationId::made(tx.new_id(ProfileAssociationId::PREFIX)),
        instance: instance.clone(),
        profile_arn: profile.arn(),
        profile_id: profile.about.unique_id.clone(),
        created: tx.now(),
    };
    tx.put(association.clone());
    association
}

pub fn of(tx: &mut Tx<Tenant>, instance: &InstanceId) -> Option<std::sync::Arc<ProfileAssociation>> {
    let id = tx.lookup(ProfileAssociation::BY_INSTANCE, instance.as_str())?;
    tx.find::<ProfileAssociation>(&id.parse().ok()?)
}

/// As an instance shows its profile.
pub fn shown(association: &ProfileAssociation) -> ec2::IamInstanceProfile {
    ec2::IamInstanceProfile { arn: Some(association.profile_arn.clone()), id: Some(association.profile_id.clone()) }
}

/// Gives every instance with a profile the session that it should have now, and takes others away.
pub fn reconcile(tx: &mut Tx<System>) {
    let (wanted, had) = (tx.all::<ProfileAssociation>(), tx.all::<ProfileSession>());
    for association in &wanted {
        let at = Ref::<ProfileSession>::new(&association.home, &association.instance);
        match (is_over(tx, association), wish(tx, association)) {
            (true, _) => {
                tx.act_for_tenant(&association.home, |tx| tx.remove::<ProfileAssociation>(&association.id));
                tx.remove(&at);
            }
            (false, Some(session)) => {
                if tx.find_at(&at).is_none_or(|old| is_due(&old, &session)) {
                    tx.put(session);
                }
            }
            (false, None) => tx.remove(&at),
        }
    }
    let kept = |session: &ProfileSession| {
        wanted.iter().any(|association| association.home == session.home && association.instance == session.id)
    };
    for session in had.iter().filter(|session| !kept(session)) {
        tx.remove(&Ref::<ProfileSession>::new(&session.home, &session.id));
    }
}

/// Would [`reconcile`] change anything?
pub fn is_settled(tx: &mut Tx<System>) -> bool {
    let (wanted, had) = (tx.all::<ProfileAssociation>(), tx.all::<ProfileSession>());
    let mut sessions = 0;
    for association in &wanted {
        let old = tx.find_in::<ProfileSession>(&association.home, &association.instance);
        let fine = match (is_over(tx, association), wish(tx, association), &old) {
            (false, Some(session), Some(old)) => !is_due(old, &session),
            (false, None, None) => true,
            _ => false,
        };
        if !fine {
            return false;
        }
        sessions += usize::from(old.is_some());
    }
    sessions == had.len()
}

fn is_over(tx: &mut Tx<System>, association: &ProfileAssociation) -> bool {
    let (home, id) = (&association.home, &association.instance);
    let report = tx.find_in::<VmReport>(home, id);
    tx.find_in::<Instance>(home, id).is_none_or(|i| state(&i, report.as_deref()) == State::Terminated)
}

fn is_due(old: &ProfileSession, new: &ProfileSession) -> bool {
    old.issued + RENEWED_MS <= new.issued
        || (&old.role, &old.role_id, &old.profile_arn, &old.profile_id)
            != (&new.role, &new.role_id, &new.profile_arn, &new.profile_id)
}

/// The session that an instance should have, if its profile has a role that lets EC2 become it.
fn wish(tx: &mut Tx<System>, association: &ProfileAssociation) -> Option<ProfileSession> {
    let home = Home::everywhere(association.home.account());
    let name = association.profile_arn.rsplit('/').next()?;
    let profile = tx.find_in::<InstanceProfile>(&home, &id_of(name));
    let profile = profile.filter(|profile| profile.about.unique_id == association.profile_id)?;
    let role = tx.find_in::<Role>(&home, profile.role.as_ref()?)?;
    let asker = Asker {
        principal: None,
        service: Some("ec2.amazonaws.com"),
        account: association.home.account(),
        external_id: None,
        session_name: association.instance.as_str(),
    };
    if !allows(&role.trust, &asker) {
        return None;
    }
    let issued = tx.now();
    Some(ProfileSession {
        home: association.home.clone(),
        id: association.instance.clone(),
        profile_arn: association.profile_arn.clone(),
        profile_id: association.profile_id.clone(),
        role: role.about.name.clone(),
        role_id: role.about.unique_id.clone(),
        key: format!("ASIA{}", super::letters(tx.random::<16>())),
        issued,
        expires: issued + LIFE_MS,
    })
}

/// What the metadata service shows of it.
pub fn planned(tx: &mut Tx<System>, instance: &Instance) -> Option<ProfilePlan> {
    let found = tx.find_in::<ProfileSession>(&instance.home, &instance.id)?;
    let installation = tx.find_in::<Installation>(&Home::installation(), &Installation::ID.into())?;
    let account = instance.home.account().to_owned();
    let principal = format!("arn:aws:sts::{account}:assumed-role/{}/{}", found.role, found.id);
    let (key, unique_id, expires) = (found.key.clone(), found.role_id.clone(), found.expires);
    let credentials = session::issue(&installation.seal, &Session { key, account, principal, unique_id, expires });
    Some(ProfilePlan {
        arn: found.profile_arn.clone(),
        id: found.profile_id.clone(),
        role: found.role.clone(),
        access_key_id: credentials.key,
        secret_access_key: credentials.secret,
        token: credentials.token,
        issued: found.issued,
        expires,
    })
}

#[cfg(test)]
mod tests {
    use awan_model::plan::ProfilePlan;
    use awan_state::System;

    use crate::identity::session;
    use crate::testing::Cloud;

    fn planned(cloud: &Cloud) -> Option<ProfilePlan> {
        let plans = cloud.control.db.read(System, |tx| crate::plan::all(tx, 0));
        plans.into_values().flat_map(|plan| plan.vms).next().and_then(|vm| vm.metadata.profile)
    }

    #[test]
    fn an_instance_with_a_role_has_credentials_that_are_renewed_and_end_with_the_role() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("Web");
        let both = [("InstanceProfileName", "p"), ("RoleName", "web")];
        acme.iam("CreateInstanceProfile", &both[..1]).expect("creates");
        acme.iam("AddRoleToInstanceProfile", &both).expect("adds");
        let id = acme.run_with(&[("IamInstanceProfile.Name", "p")]).expect("launches").remove(0);
        cloud.settle();
        let first = planned(&cloud).expect("has credentials");
        assert_eq!(first.role, "Web");
        let seal = cloud.control.db.read(System, |tx| {
            let at = awan_state::Home::installation();
            tx.find_in::<super::Installation>(&at, &super::Installation::ID.into()).expect("is there").seal
        });
        let (said, secret) = session::open(&seal, &first.token).expect("is ours");
        assert!(said.principal.ends_with(&format!(":assumed-role/Web/{id}")), "{}", said.principal);
        assert_eq!((said.key, secret), (first.access_key_id.clone(), first.secret_access_key.clone()));
        cloud.settle();
        assert_eq!(planned(&cloud), Some(first.clone()), "stays as it is");
        cloud.pass(super::RENEWED_MS);
        cloud.settle();
        let second = planned(&cloud).expect("has new ones");
        assert!(second.expires > first.expires && second.token != first.token);
        cloud.tenant("acme").iam("RemoveRoleFromInstanceProfile", &both).expect("removes");
        cloud.settle();
        assert_eq!(planned(&cloud), None);
        let told = cloud.tenant("acme").call("DescribeIamInstanceProfileAssociations", &[]).expect("answers");
        assert_eq!(Cloud::ids(&told, "state"), ["associated"], "the association stays");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        let told = cloud.tenant("acme").call("DescribeIamInstanceProfileAssociations", &[]).expect("answers");
        assert_eq!(Cloud::ids(&told, "state").len(), 0, "{told}");
        cloud.audit();
    }

    #[test]
    fn a_role_that_does_not_trust_ec2_gives_an_instance_nothing() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        let trust = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}}"#;
        acme.iam("CreateRole", &[("RoleName", "web"), ("AssumeRolePolicyDocument", trust)]).expect("creates");
        let both = [("InstanceProfileName", "p"), ("RoleName", "web")];
        acme.iam("CreateInstanceProfile", &both[..1]).expect("creates");
        acme.iam("AddRoleToInstanceProfile", &both).expect("adds");
        acme.run_with(&[("IamInstanceProfile.Name", "p")]).expect("launches");
        cloud.settle();
        assert_eq!(planned(&cloud), None);
    }
}
