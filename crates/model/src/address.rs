//! Elastic IP addresses. A public address is held by one allocation, or by one placed instance, of all.

use std::net::Ipv4Addr;

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{AllocationId, AssociationId, InterfaceId};
use crate::record;

/// The index of all public addresses in use, elastic and automatic.
pub const BY_PUBLIC_IP: &str = "public-ip";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub home: Home,
    pub id: AllocationId,
    pub public_ip: Ipv4Addr,
    pub association: Option<Association>,
    /// The name that its owner wishes for it; nobody answers with it.
    #[serde(default)]
    pub ptr_record: Option<String>,
    pub created: Millis,
}
record!(
    Address,
    "address",
    AllocationId,
    Tenant,
    "InvalidAllocationID.NotFound",
    "The allocation ID '{}' does not exist",
    |address| {
        let mut indexes = vec![Index { name: BY_PUBLIC_IP, value: address.public_ip.to_string(), everywhere: true }];
        if let Some(association) = &address.association {
            indexes.push(Index {
                name: Address::BY_INTERFACE,
                value: Address::on(&association.interface, association.private_ip),
                everywhere: false,
            });
            indexes.push(Index { name: Address::BY_ASSOCIATION, value: association.id.to_string(), everywhere: false });
        }
        indexes
    }
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    pub id: AssociationId,
    pub interface: InterfaceId,
    pub private_ip: Ipv4Addr,
    pub at: Millis,
}

impl Address {
    /// One elastic address per private address of an interface.
    pub const BY_INTERFACE: &'static str = "address-of";
    pub const BY_ASSOCIATION: &'static str = "association";

    /// The value of [`Self::BY_INTERFACE`].
    pub fn on(interface: &InterfaceId, private_ip: Ipv4Addr) -> String {
        format!("{interface}:{private_ip}")
    }
}

/// An elastic address that was released: who had it may have it again as long as it is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedAddress {
    pub home: Home,
    /// The address itself.
    pub id: String,
    pub released: Millis,
}
record!(
    ReleasedAddress,
    "released-address",
    String,
    Tenant,
    "InvalidAddress.NotFound",
    "The Elastic IP address '{}' does not exist or is not available."
);

impl ReleasedAddress {
    /// Of each home the latest so many.
    pub const KEPT: usize = 100;
}
