//! Route tables.

use awan_state::{Home, Millis};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::id::{InternetGatewayId, RouteTableId, SubnetId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub home: Home,
    pub id: RouteTableId,
    pub vpc: VpcId,
    /// Serves the subnets that have no table of their own.
    pub main: bool,
    pub subnets: Vec<SubnetId>,
    /// Beyond the local route, which every table has.
    pub routes: Vec<Route>,
    pub created: Millis,
}
record!(
    RouteTable,
    "route-table",
    RouteTableId,
    Tenant,
    "InvalidRouteTableID.NotFound",
    "The routeTable ID '{}' does not exist"
);

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
