//! Managed prefix lists: ranges with one name, by which rules and routes mean them. Each change of the entries is a version.
//!
//! **Invariant:** `versions` is never empty; its last one is what the list means.

use awan_state::{Home, Millis};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::PrefixListId;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    pub home: Home,
    pub id: PrefixListId,
    pub name: String,
    pub family: Family,
    /// What refers to the list has room for so many.
    pub max_entries: u16,
    pub versions: Vec<Version>,
    /// What was done to it last.
    pub change: Change,
    #[serde(default)]
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    PrefixList,
    "prefix-list",
    PrefixListId,
    Tenant,
    "InvalidPrefixListID.NotFound",
    "The prefix list ID '{}' does not exist"
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    Ipv4,
    Ipv6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Create,
    Modify,
    Restore,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: u32,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub cidr: IpNet,
    pub description: Option<String>,
}

/// EC2 keeps as many. Source: "Work with customer-managed prefix lists", quotas.
const VERSIONS_MAX: usize = 1_000;
/// So that a large list that often changes does not fill the memory: its versions together have at most so many entries.
const ENTRIES_KEPT_MAX: usize = 10_000;

impl PrefixList {
    /// What the list means now.
    pub fn entries(&self) -> &[Entry] {
        self.versions.last().map_or(&[], |v| &v.entries)
    }

    pub fn version(&self) -> u32 {
        self.versions.last().map_or(0, |v| v.number)
    }

    pub fn version_of(&self, number: i64) -> Option<&Version> {
        self.versions.iter().find(|v| i64::from(v.number) == number)
    }

    /// Makes a new version, and forgets the oldest where there are too many.
    pub fn renew(&mut self, entries: Vec<Entry>, change: Change) {
        self.versions.push(Version { number: self.version().saturating_add(1), entries });
        self.change = change;
        let kept = |versions: &[Version]| versions.iter().map(|v| v.entries.len()).sum::<usize>();
        while self.versions.len() > 1 && (self.versions.len() > VERSIONS_MAX || kept(&self.versions) > ENTRIES_KEPT_MAX)
        {
            self.versions.remove(0);
        }
    }

    /// The lists that every region has, for services that routes of gateway endpoints lead to. Nothing here answers for
    /// these services, so the lists have no entries.
    pub fn of_services(home: &Home) -> [Self; 2] {
        [("s3", "pl-63a5400a"), ("dynamodb", "pl-02cd2c6b")].map(|(service, id)| Self {
            home: home.clone(),
            id: PrefixListId::made(id.into()),
            name: format!("com.amazonaws.{}.{service}", home.region()),
            family: Family::Ipv4,
            max_entries: 1,
            versions: vec![Version::default()],
            change: Change::Create,
            client_token: None,
            created: 0,
        })
    }

    /// Belongs to the cloud, not to a tenant.
    pub fn is_of_a_service(&self) -> bool {
        self.name.starts_with("com.amazonaws.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_go_when_there_are_too_many_of_them_or_of_their_entries() {
        let [mut list, _] = PrefixList::of_services(&Home::new("1", "r"));
        (0..VERSIONS_MAX).for_each(|_| list.renew(Vec::new(), Change::Modify));
        assert_eq!((list.versions.len(), list.version()), (VERSIONS_MAX, 1_000));
        assert!(list.version_of(0).is_none() && list.version_of(1).is_some());
        let entry = Entry { cidr: "10.0.0.0/8".parse().expect("a range"), description: None };
        (0..11).for_each(|_| list.renew(vec![entry.clone(); 1_000], Change::Modify));
        assert_eq!((list.versions.len(), list.version()), (10, 1_011));
    }
}
