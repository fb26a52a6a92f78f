//! Route tables, and which subnets they serve.

use std::fmt;

use awan_state::{Home, Index, Millis};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::id::{
    EgressOnlyGatewayId, EndpointId, InterfaceId, InternetGatewayId, NatGatewayId, PeeringId, PrefixListId,
    RouteAssociationId, RouteTableId, SubnetId, VpcId,
};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub home: Home,
    pub id: RouteTableId,
    pub vpc: VpcId,
    /// Serves the subnets that have no table of their own.
    pub main: bool,
    #[serde(default)]
    pub associations: Vec<Association>,
    /// Beyond the local route, which every table has.
    pub routes: Vec<Route>,
    #[serde(default)]
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    RouteTable,
    "route-table",
    RouteTableId,
    Tenant,
    "InvalidRouteTableID.NotFound",
    "The routeTable ID '{}' does not exist",
    |table| {
        let index = |name, value| Index { name, value, everywhere: false };
        let of = |a: &Association| {
            [index(RouteTable::BY_ASSOCIATION, a.id.to_string()), index(RouteTable::BY_SUBNET, a.subnet.to_string())]
        };
        table.associations.iter().flat_map(of).collect()
    }
);

impl RouteTable {
    pub const BY_ASSOCIATION: &'static str = "route-association";
    /// A subnet has at most one table of its own.
    pub const BY_SUBNET: &'static str = "routes-of";

    /// A VPC has one main table at a time, so the association with it is named after the table.
    pub fn main_association(&self) -> Option<RouteAssociationId> {
        self.main.then(|| RouteAssociationId::made(format!("{}-{}", RouteAssociationId::PREFIX, self.id.digits())))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    pub id: RouteAssociationId,
    pub subnet: SubnetId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: Destination,
    pub target: Target,
}

/// Of its texts none reads as one of another kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Destination {
    Ipv4(Ipv4Net),
    Ipv6(Ipv6Net),
    PrefixList(PrefixListId),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(net) => net.fmt(f),
            Self::Ipv6(net) => net.fmt(f),
            Self::PrefixList(id) => id.fmt(f),
        }
    }
}

/// What a route leads to. It stays when that is gone, and leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    InternetGateway(InternetGatewayId),
    NatGateway(NatGatewayId),
    /// Also what was named by the instance that has it.
    NetworkInterface(InterfaceId),
    VpcPeering(PeeringId),
    EgressOnly(EgressOnlyGatewayId),
    Endpoint(EndpointId),
    Blackhole,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_kept_as_its_text() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "::/0", "2001:db8::/32", "pl-00000000000000001"] {
            let json = format!("\"{text}\"");
            let read: Destination = serde_json::from_str(&json).expect(text);
            assert_eq!(read.to_string(), text);
            assert_eq!(serde_json::to_string(&read).expect("plain"), json);
        }
    }
}
