//! Subnets. A subnet lies in one availability zone.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use awan_state::{Home, Millis};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::id::{SubnetCidrAssociationId, SubnetId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub home: Home,
    pub id: SubnetId,
    pub vpc: VpcId,
    pub cidr: Ipv4Net,
    #[serde(default)]
    pub ipv6: Option<Ipv6Range>,
    pub zone: String,
    pub default_for_zone: bool,
    pub map_public_ip: bool,
    /// New interfaces get an IPv6 address that ask for none.
    #[serde(default)]
    pub assign_ipv6: bool,
    pub created: Millis,
}
record!(Subnet, "subnet", SubnetId, Tenant, "InvalidSubnetID.NotFound", "The subnet ID '{}' does not exist");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Range {
    pub id: SubnetCidrAssociationId,
    pub cidr: Ipv6Net,
}

impl Ipv6Range {
    /// Addresses that interfaces can have.
    pub fn usable(&self) -> RangeInclusive<u128> {
        let (first, last) = (u128::from(self.cidr.network()), u128::from(self.cidr.broadcast()));
        first.saturating_add(RESERVED_FRONT.into())..=last.saturating_sub(1)
    }

    pub fn is_usable(&self, address: Ipv6Addr) -> bool {
        self.usable().contains(&u128::from(address))
    }
}

/// EC2 keeps the first four addresses of a subnet and the last, of either family.
const RESERVED_FRONT: u32 = 4;

impl Subnet {
    /// Addresses that interfaces can have.
    pub fn usable(&self) -> RangeInclusive<u32> {
        let (first, last) = (u32::from(self.cidr.network()), u32::from(self.cidr.broadcast()));
        first.saturating_add(RESERVED_FRONT)..=last.saturating_sub(1)
    }

    pub fn is_usable(&self, address: Ipv4Addr) -> bool {
        self.usable().contains(&u32::from(address))
    }

    /// The router's address.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_keeps_its_first_four_addresses_and_its_last() {
        let subnet = Subnet {
            home: Home::new("1", "r"),
            id: SubnetId::made("subnet-00000000000000001".into()),
            vpc: VpcId::made("vpc-00000000000000001".into()),
            cidr: "10.0.0.0/28".parse().expect("a network"),
            ipv6: None,
            zone: "z".into(),
            default_for_zone: false,
            map_public_ip: false,
            assign_ipv6: false,
            created: 0,
        };
        let usable: Vec<_> = subnet.usable().map(Ipv4Addr::from).collect();
        assert_eq!(usable.len(), 11);
        assert_eq!(usable[0], Ipv4Addr::new(10, 0, 0, 4));
        assert_eq!(usable[10], Ipv4Addr::new(10, 0, 0, 14));
        assert!(usable.iter().all(|a| subnet.is_usable(*a)));
        assert!(!subnet.is_usable(Ipv4Addr::new(10, 0, 0, 15)));
        assert!(!subnet.is_usable(Ipv4Addr::new(10, 0, 0, 3)));
        let id = SubnetCidrAssociationId::made("subnet-cidr-assoc-00000000000000001".into());
        let range = Ipv6Range { id, cidr: "2001:db8:0:1::/64".parse().expect("a network") };
        let usable = |ip: &str| range.is_usable(ip.parse().expect("an address"));
        assert!(usable("2001:db8:0:1::4") && usable("2001:db8:0:1:ffff:ffff:ffff:fffe"));
        assert!(
            !usable("2001:db8:0:1::3") && !usable("2001:db8:0:1:ffff:ffff:ffff:ffff") && !usable("2001:db8:0:2::4")
        );
    }
}
