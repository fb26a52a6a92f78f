//! What IAM's actions have in common: names, ARNs, pages, tags, and the policies of users, roles and groups.

pub mod document;
pub mod holder;
pub mod instance;
pub mod managed;
pub mod role;
pub mod session;
pub mod shown;
pub mod trust;

use std::collections::BTreeMap;

use awan_model::identity::{About, Named, Role, User, id_of};
use awan_model::installation::Installation;
use awan_state::{Millis, Tenant, Tx};
use awan_wire::iam;
use awan_wire::shape::Timestamp;

use crate::describe::Page;
use crate::error::{Code, Error, Result, refuse};

/// IAM's limits, from "IAM and AWS STS quotas".
const TAGS_MAX: usize = 50;
const PATH_MAX: usize = 512;
const PAGE: i32 = 100;
const PAGE_MAX: i32 = 1_000;

/// Who asks, by the ARN that the signature opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    Root,
    User { name: String },
    Session { role: String, session: String },
}

pub fn who(principal: &str) -> Who {
    let rest = principal.splitn(6, ':').nth(5).unwrap_or_default();
    let name = |rest: &str| rest.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(rest) = rest.strip_prefix("user/") {
        return Who::User { name: name(rest) };
    }
    match rest.strip_prefix("assumed-role/").and_then(|rest| rest.split_once('/')) {
        Some((role, session)) => Who::Session { role: role.to_owned(), session: session.to_owned() },
        None => Who::Root,
    }
}

/// By its name, however that is written.
pub fn get<N: Named>(tx: &mut Tx<Tenant>, name: &str) -> Result<N> {
    let found = tx.find::<N>(&id_of(name)).ok_or_else(|| absent::<N>(name))?;
    Ok((*found).clone())
}

pub fn absent<N: Named>(name: &str) -> Error {
    let shown: String = name.chars().take(128).collect();
    let shown = shown.escape_debug();
    let message = match N::NOUN {
        "instance profile" => format!("Instance Profile {shown} cannot be found."),
        "policy" => format!("Policy {shown} was not found."),
        noun => format!("The {noun} with name {shown} cannot be found."),
    };
    refuse(Code::NoSuchEntity, message)
}

/// What a new one is made of; refused where the name is taken.
pub fn new<N: Named>(
    tx: &mut Tx<Tenant>,
    (name, parameter, most): (Option<String>, &str, usize),
    path: Option<String>,
    tags: &[iam::Tag],
) -> Result<(String, About)> {
    let name = checked_name(name.unwrap_or_default(), parameter, most)?;
    let path = checked_path(path)?;
    let id = id_of(&name);
    if tx.find::<N>(&id).is_some() {
        let message = match N::NOUN {
            "policy" => format!("A policy called {name} already exists. Duplicate names are not allowed."),
            "instance profile" => format!("Instance Profile {name} already exists."),
            "user" => format!("User with name {name} already exists."),
            "role" => format!("Role with name {name} already exists."),
            _ => format!("Group with name {name} already exists."),
        };
        return Err(refuse(Code::EntityAlreadyExists, message));
    }
    let mut about = About { name, unique_id: unique_id(tx, N::PREFIX), path, created: tx.now(), tags: BTreeMap::new() };
    tag(&mut about.tags, tags)?;
    Ok((id, about))
}

pub fn unique_id(tx: &mut Tx<Tenant>, prefix: &str) -> String {
    format!("{prefix}{}", letters(tx.random::<17>()))
}

/// Of an access key, by the random bytes that it is made of.
pub fn letters<const N: usize>(random: [u8; N]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    random.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect()
}

pub fn checked_name(name: String, parameter: &str, most: usize) -> Result<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
    if name.is_empty() || name.len() > most || !name.bytes().all(fine) {
        return Err(invalid(format!(
            "The specified value for {parameter} is invalid. It must contain only alphanumeric characters and/or the \
             following: +=,.@_- and have 1 to {most} of them"
        )));
    }
    Ok(name)
}

pub fn checked_path(path: Option<String>) -> Result<String> {
    let path = path.unwrap_or_else(|| "/".into());
    let fine = path.starts_with('/') && path.ends_with('/') && path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !fine || path.len() > PATH_MAX || path.contains("//") {
        return Err(invalid(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric \
             characters and/or / characters.",
        ));
    }
    Ok(path)
}

pub fn invalid(message: impl Into<String>) -> Error {
    refuse(Code::ValidationError, message)
}

pub fn conflict(message: impl Into<String>) -> Error {
    refuse(Code::DeleteConflict, message)
}

pub fn over_quota(quota: &str, most: usize) -> Error {
    refuse(Code::LimitExceeded, format!("Cannot exceed quota for {quota}: {most}"))
}

pub fn time(at: Millis) -> Option<Timestamp> {
    i64::try_from(at / 1000 * 1000).ok().map(Timestamp)
}

/// `Marker` and `MaxItems` of a request.
pub type Asked<'a> = (Option<&'a str>, Option<i32>);
/// Items, `IsTruncated`, `Marker`.
pub type Paged<T> = (Vec<T>, Option<bool>, Option<String>);

pub fn page<T>(
    tx: &mut Tx<Tenant>,
    action: &str,
    (marker, max_items): Asked<'_>,
    items: Vec<T>,
    id: impl Fn(&T) -> String,
) -> Result<Paged<T>> {
    let limit = max_items.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{limit}' at 'maxItems' failed to satisfy constraint: Member must have \
             value between 1 and {PAGE_MAX}"
        )));
    }
    let page = Page::new(tx, action, (Some(limit), marker), (1, PAGE_MAX), false);
    let page = page.map_err(|_| invalid("The specified value for marker is invalid."))?;
    let (items, next) = page.cut(items, id);
    Ok((items, Some(next.is_some()), next))
}

/// All whose path begins so, in the order of their names.
pub fn below<N: Named>(tx: &mut Tx<Tenant>, path_prefix: Option<&str>) -> Vec<std::sync::Arc<N>> {
    let prefix = path_prefix.unwrap_or("/");
    let mut all = tx.list::<N>();
    all.retain(|one| one.about().path.starts_with(prefix));
    all
}

/// Keys are the same if they differ only by case.
pub fn tag(tags: &mut BTreeMap<String, String>, more: &[iam::Tag]) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for iam::Tag { key, value } in more {
        let (key, value) = (key.clone().unwrap_or_default(), value.clone().unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid("Tag keys have 1 to 128 characters, tag values at most 256"));
        }
        if key.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("aws:")) {
            return Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if !seen.insert(key.to_lowercase()) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(refuse(Code::InvalidInput, message));
        }
        tags.retain(|old, _| old.to_lowercase() != key.to_lowercase());
        tags.insert(key, value);
    }
    if tags.len() > TAGS_MAX {
        return Err(refuse(
            Code::LimitExceeded,
            format!("The number of tags has reached the maximum limit of {TAGS_MAX}."),
        ));
    }
    Ok(())
}

pub fn tag_one<N: Named>(tx: &mut Tx<Tenant>, mut one: N, more: &[iam::Tag]) -> Result<()> {
    tag(&mut one.about_mut().tags, more)?;
    tx.put(one);
    Ok(())
}

pub fn untag_one<N: Named>(tx: &mut Tx<Tenant>, mut one: N, keys: &[String]) {
    let keys: Vec<_> = keys.iter().map(|key| key.to_lowercase()).collect();
    one.about_mut().tags.retain(|key, _| !keys.contains(&key.to_lowercase()));
    tx.put(one);
}

pub fn tags_page<N: Named>(tx: &mut Tx<Tenant>, action: &str, one: &N, asked: Asked<'_>) -> Result<Paged<iam::Tag>> {
    page(tx, action, asked, shown::tags(&one.about().tags), |tag| tag.key.clone().unwrap_or_default())
}

/// The user that a request is about: the one that it names, or the one that asks.
pub fn user_or_own(tx: &mut Tx<Tenant>, name: Option<&str>) -> Result<User> {
    if let Some(name) = name {
        return get(tx, name);
    }
    match who(tx.principal()) {
        Who::User { name } => get(tx, &name),
        _ => Err(invalid("Must specify userName when calling with non-User credentials")),
    }
}

/// The unique id of who asks, as STS shows it.
pub fn caller_id(tx: &mut Tx<Tenant>) -> String {
    let unique = |about: &About| about.unique_id.clone();
    match who(tx.principal()) {
        Who::Root => tx.home().account().to_owned(),
        Who::User { name } => tx.find::<User>(&id_of(&name)).map(|user| unique(&user.about)).unwrap_or_default(),
        Who::Session { role, session } => {
            let id = tx.find::<Role>(&id_of(&role)).map(|role| unique(&role.about)).unwrap_or_default();
            format!("{id}:{session}")
        }
    }
}

/// Temporary credentials for a principal of this account.
pub fn temporary(tx: &mut Tx<Tenant>, principal: String, unique_id: String, seconds: i32) -> session::Credentials {
    let seal = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.seal).unwrap_or_default();
    let session = session::Session {
        key: format!("ASIA{}", letters(tx.random::<16>())),
        account: tx.home().account().to_owned(),
        principal,
        unique_id,
        expires: tx.now() + u64::try_from(seconds).unwrap_or_default() * 1_000,
    };
    session::issue(&seal, &session)
}

/// The role with an ARN of this account.
pub fn role_by_arn(tx: &mut Tx<Tenant>, arn: &str) -> Option<Role> {
    let name = arn.rsplit('/').next()?;
    let found = tx.find::<Role>(&id_of(name))?;
    (found.arn() == arn).then(|| (*found).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_who_asks() {
        for (arn, expected) in [
            ("arn:aws:iam::123456789012:root", Who::Root),
            ("arn:aws:iam::123456789012:user/a/b/alice", Who::User { name: "alice".into() }),
            (
                "arn:aws:sts::123456789012:assumed-role/web/s@1",
                Who::Session { role: "web".into(), session: "s@1".into() },
            ),
            ("awan", Who::Root),
        ] {
            assert_eq!(who(arn), expected, "{arn}");
        }
    }
}
