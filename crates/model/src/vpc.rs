//! Virtual private clouds.

use awan_state::{Home, Index, Millis};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::id::{DhcpOptionsId, VpcCidrAssociationId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub home: Home,
    pub id: VpcId,
    /// The primary range, which stays.
    pub cidr: Ipv4Net,
    /// More ranges, in the order in which they came.
    #[serde(default)]
    pub secondary: Vec<Range>,
    /// Ranges of the installation's pool, in the order in which they came.
    #[serde(default)]
    pub ipv6: Vec<Ipv6Range>,
    pub is_default: bool,
    /// `None`: no options at all.
    pub dhcp_options: Option<DhcpOptionsId>,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    #[serde(default)]
    pub tenancy: Tenancy,
    pub created: Millis,
}
record!(Vpc, "vpc", VpcId, Tenant, "InvalidVpcID.NotFound", "The vpc ID '{}' does not exist", |vpc| {
    let index = |range: &Ipv6Range| Index { name: Vpc::BY_IPV6, value: range.cidr.to_string(), everywhere: true };
    vpc.ipv6.iter().map(index).collect()
});

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub id: VpcCidrAssociationId,
    pub cidr: Ipv4Net,
}

/// Of the whole installation it belongs to one VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Range {
    pub id: VpcCidrAssociationId,
    pub cidr: Ipv6Net,
}

/// What guests get that ask for no tenancy themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tenancy {
    #[default]
    Shared,
    /// A host with guests of this account only.
    Dedicated,
}

impl Tenancy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "default",
            Self::Dedicated => "dedicated",
        }
    }
}

impl Vpc {
    /// The index of all IPv6 ranges that VPCs have.
    pub const BY_IPV6: &'static str = "ipv6-range";
    /// EC2 gives networks of this length out of its own.
    pub const IPV6_LENGTH: u8 = 56;

    /// How the API names the options.
    pub fn dhcp_options(&self) -> &str {
        self.dhcp_options.as_ref().map_or("default", DhcpOptionsId::as_str)
    }

    /// All ranges with their associations, the primary first. Its association is as old as the VPC, so it is named after it.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        let digits = self.id.digits();
        let id = VpcCidrAssociationId::made(format!("{}-{digits}", VpcCidrAssociationId::PREFIX));
        std::iter::once(Range { id, cidr: self.cidr }).chain(self.secondary.iter().cloned())
    }

    pub fn cidrs(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        std::iter::once(self.cidr).chain(self.secondary.iter().map(|range| range.cidr))
    }
}
