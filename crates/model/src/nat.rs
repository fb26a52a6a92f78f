//! NAT gateways. One has a private address in its subnet, on an interface of its own, and a public one or none.

use std::net::Ipv4Addr;

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{AllocationId, InterfaceId, NatGatewayId, SubnetId, VpcId};
use crate::record;

/// **Invariant:** one that is not deleted has its interface; one that is deleted has it no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    pub home: Home,
    pub id: NatGatewayId,
    pub vpc: VpcId,
    pub subnet: SubnetId,
    pub interface: InterfaceId,
    pub private_ip: Ipv4Addr,
    /// Of a public one, which goes to the internet with it.
    pub address: Option<Elastic>,
    pub client_token: Option<String>,
    pub created: Millis,
    /// It is shown for a while after.
    pub deleted: Option<Millis>,
}
record!(NatGateway, "nat-gateway", NatGatewayId, Tenant, "NatGatewayNotFound", "The Nat Gateway {} was not found");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elastic {
    pub allocation: AllocationId,
    pub public_ip: Ipv4Addr,
}

impl NatGateway {
    pub fn state(&self) -> &'static str {
        match self.deleted {
            None => "available",
            Some(_) => "deleted",
        }
    }
}
