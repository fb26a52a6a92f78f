//! Who besides its owner may use an image or a snapshot, and what an account has of another region.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::account::{Account, AccountId};
use awan_model::image::PublicAccess;
use awan_model::installation::Installation;
use awan_state::{Home, Shareable, Tenant, Tx};

use crate::error::{Code, Error, Result, combination, invalid_value, missing, refuse};

/// EC2's limit of a snapshot's modifications in one request.
const CHANGES_MAX: usize = 500;
/// How many accounts one thing is shared with at most.
const ACCOUNTS_MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    All,
    Account(AccountId),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub add: Vec<Who>,
    pub remove: Vec<Who>,
}

/// One permission as a request names it.
pub fn who(user: Option<String>, group: Option<String>) -> Result<Who> {
    match (user, group) {
        (Some(user), None) if Account::is_id(&user) => Ok(Who::Account(user)),
        (Some(user), None) => Err(no_item(&user, "userId")),
        (None, Some(group)) if group == "all" => Ok(Who::All),
        (None, Some(group)) => Err(no_item(&group, "group")),
        (Some(_), Some(_)) => Err(combination("A permission is for a user or for a group")),
        (None, None) => Err(missing("UserId")),
    }
}

fn no_item(value: &str, item: &str) -> Error {
    let shown: String = value.chars().take(64).collect();
    let message = format!("Invalid attribute item value \"{}\" for {item} item type.", shown.escape_debug());
    refuse(Code::InvalidAmiAttributeItemValue, message)
}

impl Change {
    /// The old form of a request: an operation, and for whom.
    pub fn flat(operation: Option<&str>, users: Vec<String>, groups: Vec<String>) -> Result<Self> {
        let users = users.into_iter().map(|user| who(Some(user), None));
        let all = users.chain(groups.into_iter().map(|group| who(None, Some(group)))).collect::<Result<Vec<_>>>()?;
        match operation {
            None if all.is_empty() => Ok(Self::default()),
            None => Err(missing("OperationType")),
            Some("add") => Ok(Self { add: all, remove: Vec::new() }),
            Some("remove") => Ok(Self { add: Vec::new(), remove: all }),
            Some(other) => {
                Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "OperationType"))
            }
        }
    }

    pub fn and(mut self, other: Self) -> Self {
        self.add.extend(other.add);
        self.remove.extend(other.remove);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    pub fn makes_public(&self) -> bool {
        self.add.contains(&Who::All)
    }

    pub fn apply(self, public: &mut bool, accounts: &mut BTreeSet<AccountId>) -> Result<()> {
        if self.add.len() + self.remove.len() > CHANGES_MAX {
            let message = format!("A request can change at most {CHANGES_MAX} permissions.");
            return Err(refuse(Code::InvalidParameterValue, message));
        }
        for who in self.add {
            match who {
                Who::All => *public = true,
                Who::Account(id) => drop(accounts.insert(id)),
            }
        }
        for who in self.remove {
            match who {
                Who::All => *public = false,
                Who::Account(id) => drop(accounts.remove(&id)),
            }
        }
        if accounts.len() > ACCOUNTS_MAX {
            let message = format!("It can be shared with at most {ACCOUNTS_MAX} accounts.");
            return Err(refuse(Code::ResourceLimitExceeded, message));
        }
        Ok(())
    }
}

/// One's own. What its owner lets this account use, and no more, says so; all else is not there.
pub fn own<R: Shareable>(tx: &mut Tx<Tenant>, id: &R::Id, kind: &str) -> Result<Arc<R>> {
    if let Some(own) = tx.find::<R>(id) {
        return Ok(own);
    }
    tx.shared::<R>(id)?;
    Err(refuse(Code::AuthFailure, format!("Not authorized for {kind}:{id}")))
}

/// What this account sees in a region: what is to be copied from there.
pub fn in_region<R: Shareable>(tx: &mut Tx<Tenant>, region: &str, id: &R::Id) -> Result<Arc<R>> {
    let known =
        tx.public::<Installation>(&Installation::ID.into()).is_some_and(|i| i.regions.iter().any(|r| r == region));
    if !known {
        return Err(invalid_value(region.chars().take(64).collect::<String>().escape_debug(), "SourceRegion"));
    }
    if region == tx.home().region() {
        return Ok(tx.shared::<R>(id)?);
    }
    let there = Home::new(tx.home().account(), region);
    let found = tx.as_system(|tx| tx.find_by::<R>(R::INDEX, &id.to_string()));
    // What came with Awan is in every region.
    Ok(found.filter(|r| r.visible_to(&there)).ok_or_else(|| awan_state::Missing::of::<R>(id))?)
}

/// What an account chose about public images and snapshots.
pub fn access(tx: &mut Tx<Tenant>) -> PublicAccess {
    let home = tx.home().clone();
    tx.find::<PublicAccess>(&PublicAccess::ID.into()).map_or_else(|| PublicAccess::first(&home), |a| (*a).clone())
}

/// What an image that this account sees is made of, in whatever home.
pub fn of_image<R: Shareable>(tx: &mut Tx<Tenant>, id: &R::Id) -> Result<Arc<R>> {
    let found = tx.as_system(|tx| tx.find_by::<R>(R::INDEX, &id.to_string()));
    Ok(found.ok_or_else(|| awan_state::Missing::of::<R>(id))?)
}
