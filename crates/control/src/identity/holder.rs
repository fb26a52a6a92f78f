//! The policies of users, roles and groups: inline ones, attached ones, and the boundary.

use awan_model::identity::{Group, Holder, ManagedPolicy, Named, Role, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use super::document::{self, Purpose};
use super::{Asked, Paged, checked_name, get, managed, over_quota, page};
use crate::error::{Code, Error, Result, refuse};

/// "IAM and AWS STS quotas": managed policies for each, and the size of all inline policies together.
const ATTACHED_MAX: usize = 10;
const NAME_MAX: usize = 128;

fn inline_max(noun: &str) -> usize {
    match noun {
        "user" => 2_048,
        "role" => 10_240,
        _ => 5_120,
    }
}

fn title(noun: &str) -> String {
    noun[..1].to_uppercase() + &noun[1..]
}

pub fn put_inline<H: Holder>(tx: &mut Tx<Tenant>, name: &str, policy: Option<String>, text: &str) -> Result<()> {
    let mut holder: H = get(tx, name)?;
    let policy = checked_name(policy.unwrap_or_default(), "policyName", NAME_MAX)?;
    let most = inline_max(H::NOUN);
    let quota = format!("{}PolicySize", title(H::NOUN));
    document::check(text, Purpose::Permission, most, &quota)?;
    let size = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let others = holder.policies().inline.iter().filter(|(name, _)| **name != policy);
    if others.map(|(_, text)| size(text)).sum::<usize>() + size(text) > most {
        return Err(over_quota(&quota, most));
    }
    holder.policies_mut().inline.insert(policy, text.to_owned());
    tx.put(holder);
    Ok(())
}

/// The holder's name, the policy's, and its document as answers carry it.
pub fn inline<H: Holder>(tx: &mut Tx<Tenant>, name: &str, policy: &str) -> Result<(String, String, String)> {
    let holder: H = get(tx, name)?;
    let text = holder.policies().inline.get(policy).ok_or_else(|| no_inline::<H>(policy))?;
    Ok((holder.about().name.clone(), policy.to_owned(), document::encoded(text)))
}

pub fn delete_inline<H: Holder>(tx: &mut Tx<Tenant>, name: &str, policy: &str) -> Result<()> {
    let mut holder: H = get(tx, name)?;
    holder.policies_mut().inline.remove(policy).ok_or_else(|| no_inline::<H>(policy))?;
    tx.put(holder);
    Ok(())
}

pub fn inline_names<H: Holder>(
    tx: &mut Tx<Tenant>,
    action: &str,
    name: &str,
    asked: Asked<'_>,
) -> Result<Paged<String>> {
    let holder: H = get(tx, name)?;
    page(tx, action, asked, holder.policies().inline.keys().cloned().collect(), String::clone)
}

fn no_inline<H: Named>(policy: &str) -> Error {
    let shown: String = policy.chars().take(NAME_MAX).collect();
    refuse(Code::NoSuchEntity, format!("The {} policy with name {} cannot be found.", H::NOUN, shown.escape_debug()))
}

pub fn attach<H: Holder>(tx: &mut Tx<Tenant>, name: &str, arn: &str) -> Result<()> {
    let mut holder: H = get(tx, name)?;
    let arn = attachable(tx, arn)?;
    let policies = holder.policies_mut();
    policies.attached.insert(arn);
    if policies.attached.len() > ATTACHED_MAX {
        return Err(over_quota(&format!("PoliciesPer{}", title(H::NOUN)), ATTACHED_MAX));
    }
    tx.put(holder);
    Ok(())
}

fn attachable(tx: &mut Tx<Tenant>, arn: &str) -> Result<String> {
    let found = managed::get(tx, arn).map_err(|_| {
        let shown: String = arn.chars().take(200).collect();
        let message = format!("Policy {} does not exist or is not attachable.", shown.escape_debug());
        refuse(Code::NoSuchEntity, message)
    })?;
    Ok(found.arn())
}

pub fn detach<H: Holder>(tx: &mut Tx<Tenant>, name: &str, arn: &str) -> Result<()> {
    let mut holder: H = get(tx, name)?;
    if !holder.policies_mut().attached.remove(arn) {
        let shown: String = arn.chars().take(200).collect();
        return Err(refuse(Code::NoSuchEntity, format!("Policy {} was not found.", shown.escape_debug())));
    }
    tx.put(holder);
    Ok(())
}

pub fn attached<H: Holder>(
    tx: &mut Tx<Tenant>,
    action: &str,
    name: &str,
    path_prefix: Option<&str>,
    asked: Asked<'_>,
) -> Result<Paged<iam::AttachedPolicy>> {
    let holder: H = get(tx, name)?;
    let prefix = path_prefix.unwrap_or("/");
    let mut all: Vec<ManagedPolicy> = Vec::new();
    for arn in &holder.policies().attached {
        all.push(managed::get(tx, arn)?);
    }
    all.retain(|policy| policy.about.path.starts_with(prefix));
    let shown =
        |p: &ManagedPolicy| iam::AttachedPolicy { policy_name: Some(p.about.name.clone()), policy_arn: Some(p.arn()) };
    let all = all.iter().map(shown).collect();
    page(tx, action, asked, all, |p| p.policy_arn.clone().unwrap_or_default())
}

pub fn set_boundary<H: Holder>(tx: &mut Tx<Tenant>, name: &str, arn: Option<&str>) -> Result<()> {
    let mut holder: H = get(tx, name)?;
    if arn.is_none() && holder.policies().boundary.is_none() {
        let message = format!("{} {} does not have a permissions boundary", title(H::NOUN), holder.about().name);
        return Err(refuse(Code::NoSuchEntity, message));
    }
    holder.policies_mut().boundary = checked_boundary(tx, arn)?;
    tx.put(holder);
    Ok(())
}

pub fn checked_boundary(tx: &mut Tx<Tenant>, arn: Option<&str>) -> Result<Option<String>> {
    arn.map(|arn| attachable(tx, arn)).transpose()
}

/// What must be gone from a holder before it can be deleted.
pub fn must_be_bare<H: Holder>(holder: &H) -> Result<()> {
    if !holder.policies().attached.is_empty() {
        return Err(super::conflict("Cannot delete entity, must detach all policies first."));
    }
    if !holder.policies().inline.is_empty() {
        return Err(super::conflict("Cannot delete entity, must delete policies first."));
    }
    Ok(())
}

/// The holders that use a policy.
#[derive(Default)]
pub struct Users {
    pub users: Vec<User>,
    pub roles: Vec<Role>,
    pub groups: Vec<Group>,
}

impl Users {
    pub fn count(&self) -> usize {
        self.users.len() + self.roles.len() + self.groups.len()
    }

    /// Those to which it is attached; `boundaries`: those whose boundary it is.
    pub fn of(tx: &mut Tx<Tenant>, arn: &str, boundaries: bool) -> Self {
        fn all<H: Holder>(tx: &mut Tx<Tenant>, arn: &str, boundaries: bool) -> Vec<H> {
            let uses = |h: &H| {
                let policies = h.policies();
                if boundaries { policies.boundary.as_deref() == Some(arn) } else { policies.attached.contains(arn) }
            };
            tx.list::<H>().into_iter().filter(|h| uses(h)).map(|h| (*h).clone()).collect()
        }
        Self { users: all(tx, arn, boundaries), roles: all(tx, arn, boundaries), groups: all(tx, arn, boundaries) }
    }
}
