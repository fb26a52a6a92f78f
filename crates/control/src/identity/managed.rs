//! Managed policies: an account's own, and the few of AWS's names that mean something here.
//!
//! Those of AWS's names have documents of Awan's own, which allow the same as far as there is anything to allow.

use std::collections::BTreeMap;

use awan_model::identity::{About, ManagedPolicy, Named, PolicyVersion, id_of};
use awan_state::{Home, Tenant, Tx};
use sha2::{Digest as _, Sha256};

use super::absent;
use crate::error::{Code, Error, Result, refuse};

/// "IAM and AWS STS quotas": characters of a managed policy, without white space.
pub const DOCUMENT_MAX: usize = 6_144;

const PREFIX: &str = "arn:aws:iam::aws:policy/";

/// Name, description, and the actions that it allows.
const COMMON: [(&str, &str, &str); 5] = [
    ("AdministratorAccess", "Allows everything.", r#""*""#),
    ("AmazonEC2FullAccess", "Allows everything of EC2.", r#""ec2:*""#),
    ("AmazonEC2ReadOnlyAccess", "Allows to look at everything of EC2.", r#"["ec2:Describe*","ec2:Get*"]"#),
    (
        "AmazonSSMManagedInstanceCore",
        "Allows an instance to read parameters; no other part of Systems Manager is here.",
        r#"["ssm:GetParameter","ssm:GetParameters"]"#,
    ),
    ("IAMFullAccess", "Allows everything of IAM.", r#""iam:*""#),
];

/// By its ARN.
pub fn get(tx: &mut Tx<Tenant>, arn: &str) -> Result<ManagedPolicy> {
    if let Some(name) = arn.strip_prefix(PREFIX) {
        return COMMON.iter().find(|(n, ..)| *n == name).map(common).ok_or_else(|| absent::<ManagedPolicy>(arn));
    }
    let name = arn.rsplit('/').next().unwrap_or_default();
    let found = tx.find::<ManagedPolicy>(&id_of(name)).filter(|found| found.arn() == arn);
    found.map(|found| (*found).clone()).ok_or_else(|| absent::<ManagedPolicy>(arn))
}

/// By its ARN, to be changed.
pub fn own(tx: &mut Tx<Tenant>, arn: &str) -> Result<ManagedPolicy> {
    let found = get(tx, arn)?;
    if found.account() == "aws" {
        return Err(refuse(
            Code::AccessDenied,
            "Policies that AWS names are the same for everybody; they cannot be changed.",
        ));
    }
    Ok(found)
}

pub fn all_common() -> impl Iterator<Item = ManagedPolicy> {
    COMMON.iter().map(common)
}

fn common((name, description, action): &(&str, &str, &str)) -> ManagedPolicy {
    let document =
        format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{action},"Resource":"*"}}]}}"#);
    let digest: [u8; 17] = Sha256::digest(name)[..17].try_into().unwrap_or_default();
    let about = About {
        name: (*name).to_owned(),
        unique_id: format!("ANPA{}", super::letters(digest)),
        path: "/".into(),
        created: 0,
        tags: BTreeMap::new(),
    };
    ManagedPolicy {
        home: Home::everywhere("aws"),
        id: id_of(name),
        about,
        description: (*description).to_owned(),
        versions: BTreeMap::from([(1, PolicyVersion { document, created: 0 })]),
        default: 1,
        next: 2,
        updated: 0,
    }
}

/// `v3` → 3, if there is such a version.
pub fn version<'p>(policy: &'p ManagedPolicy, id: &str) -> Result<(u32, &'p PolicyVersion)> {
    let number = id.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
    let found = number.and_then(|number| policy.versions.get_key_value(&number));
    found.map(|(number, version)| (*number, version)).ok_or_else(|| no_version(policy, id))
}

fn no_version(policy: &ManagedPolicy, id: &str) -> Error {
    let shown: String = id.chars().take(20).collect();
    let message =
        format!("Policy {} version {} does not exist or is not attachable.", policy.arn(), shown.escape_debug());
    refuse(Code::NoSuchEntity, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::document::{Purpose, read};

    #[test]
    fn what_has_a_name_of_awss_has_a_document() {
        for policy in all_common() {
            assert!(read(&policy.versions[&1].document, Purpose::Permission).is_ok(), "{policy:?}");
            assert_eq!(policy.about.unique_id.len(), 21);
            assert!(policy.arn().starts_with(PREFIX), "{}", policy.arn());
        }
    }
}
