//! Who may ask: users and their keys, roles, groups, policies, instance profiles. One set for all regions of an account.
//!
//! Names differ by more than case, so the id of each of these is its name in lower case.

use std::collections::{BTreeMap, BTreeSet};

use awan_state::{Home, Index, Millis, Regionless};
use serde::{Deserialize, Serialize};

use crate::record;

/// What all of them have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// As it was given.
    pub name: String,
    /// `AIDA…`, `AROA…`: never used again, whoever gets the name.
    pub unique_id: String,
    /// `/` or `/a/b/`
    pub path: String,
    pub created: Millis,
    pub tags: BTreeMap<String, String>,
}

/// What a user, a role or a group is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// Documents by the names of policies that exist only here.
    pub inline: BTreeMap<String, String>,
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
    /// The ARN of the managed policy beyond which nothing is allowed.
    pub boundary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub home: Home,
    pub id: String,
    pub about: About,
    pub policies: Policies,
}
record!(User, "user", String, Tenant, "NoSuchEntity", "The user with name {} cannot be found.");
impl Regionless for User {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub home: Home,
    pub id: String,
    pub about: About,
    pub policies: Policies,
    /// Ids of users.
    pub members: BTreeSet<String>,
}
record!(Group, "user-group", String, Tenant, "NoSuchEntity", "The group with name {} cannot be found.");
impl Regionless for Group {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub home: Home,
    pub id: String,
    pub about: About,
    pub policies: Policies,
    /// Who may become it: a policy document.
    pub trust: String,
    pub description: String,
    pub max_session_s: i32,
}
record!(Role, "role", String, Tenant, "NoSuchEntity", "The role with name {} cannot be found.");
impl Regionless for Role {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    pub home: Home,
    pub id: String,
    pub about: About,
    pub description: String,
    /// By number; `v1` is the first that there ever was.
    pub versions: BTreeMap<u32, PolicyVersion>,
    pub default: u32,
    pub next: u32,
    pub updated: Millis,
}
record!(ManagedPolicy, "policy", String, Tenant, "NoSuchEntity", "Policy {} was not found.");
impl Regionless for ManagedPolicy {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    pub document: String,
    pub created: Millis,
}

/// What gives an instance a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfile {
    pub home: Home,
    pub id: String,
    pub about: About,
    /// The id of a role.
    pub role: Option<String>,
}
record!(InstanceProfile, "instance-profile", String, Tenant, "NoSuchEntity", "Instance Profile {} cannot be found.");
impl Regionless for InstanceProfile {}

/// A key that signs for a user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserKey {
    pub home: Home,
    /// `AKIA…`
    pub id: String,
    pub secret: String,
    /// The id of a user.
    pub user: String,
    pub active: bool,
    pub created: Millis,
    pub used: Option<KeyUse>,
}
record!(UserKey, "user-key", String, Tenant, "NoSuchEntity", "The Access Key with id {} cannot be found.", |key| vec![
    Index { name: UserKey::BY_ID, value: key.id.clone(), everywhere: true }
]);
impl Regionless for UserKey {}

/// When a key last signed, to within some minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    pub at: Millis,
    pub service: String,
    pub region: String,
}

/// Another name for the account. Nobody else's is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAlias {
    pub home: Home,
    /// The alias itself; there is one at most.
    pub id: String,
}
record!(AccountAlias, "account-alias", String, Tenant, "NoSuchEntity", "The account alias {} does not exist.");

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserKey").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}

impl UserKey {
    pub const BY_ID: &'static str = "user-key";
}

/// The kinds of which each is named, tagged and has an ARN.
pub trait Named: Regionless<Id = String, Writer = awan_state::Tenant> {
    /// As ARNs have it.
    const KIND_IN_ARN: &'static str;
    /// As IAM speaks of it.
    const NOUN: &'static str;
    /// Of unique ids.
    const PREFIX: &'static str;
    fn about(&self) -> &About;
    fn about_mut(&mut self) -> &mut About;
    fn account(&self) -> &str;

    fn arn(&self) -> String {
        let About { name, path, .. } = self.about();
        format!("arn:aws:iam::{}:{}{path}{name}", self.account(), Self::KIND_IN_ARN)
    }
}

macro_rules! named {
    ($($type:ident $arn:literal $noun:literal $prefix:literal;)*) => { $(
        impl Named for $type {
            const KIND_IN_ARN: &'static str = $arn;
            const NOUN: &'static str = $noun;
            const PREFIX: &'static str = $prefix;
            fn about(&self) -> &About {
                &self.about
            }
            fn about_mut(&mut self) -> &mut About {
                &mut self.about
            }
            fn account(&self) -> &str {
                self.home.account()
            }
        }
    )* };
}
named! {
    User "user" "user" "AIDA";
    Group "group" "group" "AGPA";
    Role "role" "role" "AROA";
    ManagedPolicy "policy" "policy" "ANPA";
    InstanceProfile "instance-profile" "instance profile" "AIPA";
}

/// The kinds that policies belong to.
pub trait Holder: Named {
    fn policies(&self) -> &Policies;
    fn policies_mut(&mut self) -> &mut Policies;
}

macro_rules! holder {
    ($($type:ident)*) => { $(
        impl Holder for $type {
            fn policies(&self) -> &Policies {
                &self.policies
            }
            fn policies_mut(&mut self) -> &mut Policies {
                &mut self.policies
            }
        }
    )* };
}
holder! { User Group Role }

/// The id of what has this name.
pub fn id_of(name: &str) -> String {
    name.to_ascii_lowercase()
}
