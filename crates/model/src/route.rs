//! Route tables, and which subnets they serve.

use awan_state::{Home, Index, Millis};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::id::{InternetGatewayId, RouteAssociationId, RouteTableId, SubnetId, VpcId};
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
    pub destination: Ipv4Net,
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    InternetGateway(InternetGatewayId),
    Blackhole,
}
