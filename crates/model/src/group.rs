//! Security groups and their rules.

use awan_state::{Home, Index, Millis};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::id::{GroupId, PeeringId, PrefixListId, RuleId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub home: Home,
    pub id: GroupId,
    pub vpc: VpcId,
    pub name: String,
    pub description: String,
    pub rules: Vec<Rule>,
    pub created: Millis,
}
record!(
    SecurityGroup,
    "security-group",
    GroupId,
    Tenant,
    "InvalidGroup.NotFound",
    "The security group '{}' does not exist",
    |group| {
        let name = SecurityGroup::name_in(&group.vpc, &group.name);
        let by_name = Index { name: SecurityGroup::BY_NAME, value: name, everywhere: false };
        let by_rule = |r: &Rule| Index { name: SecurityGroup::BY_RULE, value: r.id.to_string(), everywhere: false };
        std::iter::once(by_name).chain(group.rules.iter().map(by_rule)).collect()
    }
);

impl SecurityGroup {
    pub const BY_NAME: &'static str = "group-name";
    /// The group that has a rule.
    pub const BY_RULE: &'static str = "group-rule";
    /// The group that every VPC has and nobody can delete.
    pub const DEFAULT: &'static str = "default";

    /// The value of [`Self::BY_NAME`]: names are unique in their VPC, however they are written.
    pub fn name_in(vpc: &VpcId, name: &str) -> String {
        format!("{vpc}:{}", name.to_ascii_lowercase())
    }
}

/// What one rule lets through. Rules only allow; what no rule allows is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: RuleId,
    pub egress: bool,
    pub traffic: Traffic,
    pub peer: Peer,
    pub description: Option<String>,
}

impl Rule {
    /// The same permission, whatever it is called.
    pub fn same(&self, other: &Self) -> bool {
        self.egress == other.egress && self.traffic == other.traffic && self.peer == other.peer
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Traffic {
    /// Protocol -1.
    All,
    Tcp {
        from: u16,
        to: u16,
    },
    Udp {
        from: u16,
        to: u16,
    },
    /// `None`: any (-1).
    Icmp {
        kind: Option<u8>,
        code: Option<u8>,
    },
    Icmpv6 {
        kind: Option<u8>,
        code: Option<u8>,
    },
    /// Another protocol by its number, without ports.
    Protocol(u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    Ipv4(Ipv4Net),
    Ipv6(Ipv6Net),
    /// Whatever interface is in that group, of the same VPC.
    Group(GroupId),
    /// In that group of a VPC that is a peer; a plan has a group in its place.
    Beyond(Box<Beyond>),
    /// The ranges that the list has now; a plan has them in its place.
    PrefixList(PrefixListId),
}

/// A group on the other side of a peering connection. Nothing keeps it or the connection there: without them, the rule is
/// stale and lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Beyond {
    pub group: GroupId,
    pub account: String,
    pub vpc: VpcId,
    pub peering: PeeringId,
}
