//! Network ACLs: numbered rules at the edge of subnets, without memory of flows. The lowest number that matches decides.

use std::fmt;

use awan_state::{Home, Index, Millis};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::group::Traffic;
use crate::id::{NetworkAclAssociationId, NetworkAclId, SubnetId, VpcId};
use crate::record;

/// **Invariant:** each VPC has one default ACL, and each subnet of it is associated with one ACL of the VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAcl {
    pub home: Home,
    pub id: NetworkAclId,
    pub vpc: VpcId,
    pub is_default: bool,
    pub associations: Vec<Association>,
    /// Ingress first, then by number. What none of them matches is denied.
    pub entries: Vec<Entry>,
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    NetworkAcl,
    "network-acl",
    NetworkAclId,
    Tenant,
    "InvalidNetworkAclID.NotFound",
    "The networkAcl ID '{}' does not exist",
    |acl| {
        let index = |name, value| Index { name, value, everywhere: false };
        let of = |a: &Association| {
            [index(NetworkAcl::BY_ASSOCIATION, a.id.to_string()), index(NetworkAcl::BY_SUBNET, a.subnet.to_string())]
        };
        acl.associations.iter().flat_map(of).collect()
    }
);

impl NetworkAcl {
    pub const BY_ASSOCIATION: &'static str = "acl-association";
    pub const BY_SUBNET: &'static str = "acl-of";

    pub fn entry(&self, egress: bool, number: u16) -> Option<&Entry> {
        self.entries.iter().find(|e| (e.egress, e.number) == (egress, number))
    }

    /// Adds an entry at its place; one with the same number must have gone.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.entries.sort_by_key(|e| (e.egress, e.number));
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    pub id: NetworkAclAssociationId,
    pub subnet: SubnetId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub number: u16,
    pub egress: bool,
    pub allow: bool,
    pub peer: Peer,
    pub traffic: Traffic,
}

impl Entry {
    /// Users' entries are below; this one denies what is left.
    pub const LAST: u16 = 32_767;

    /// What a default ACL lets through: everything, both ways.
    pub fn all(egress: bool) -> Self {
        let peer = Peer::Ipv4(Ipv4Net::default());
        Self { number: 100, egress, allow: true, peer, traffic: Traffic::All }
    }

    /// The same for IPv6, where the VPC has it.
    pub fn all_ipv6(egress: bool) -> Self {
        Self { number: 101, peer: Peer::Ipv6(Ipv6Net::default()), ..Self::all(egress) }
    }

    /// The end of every ACL.
    pub fn none(egress: bool) -> Self {
        Self { number: Self::LAST, allow: false, ..Self::all(egress) }
    }

    /// The same for IPv6, where the VPC has it.
    pub fn none_ipv6(egress: bool) -> Self {
        Self { number: Self::LAST + 1, allow: false, ..Self::all_ipv6(egress) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    Ipv4(Ipv4Net),
    Ipv6(Ipv6Net),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(net) => net.fmt(f),
            Self::Ipv6(net) => net.fmt(f),
        }
    }
}
