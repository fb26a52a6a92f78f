//! VPC endpoints: ways from a VPC to a service of the region.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{EndpointId, GroupId, InterfaceId, RouteTableId, SubnetId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub home: Home,
    pub id: EndpointId,
    pub vpc: VpcId,
    /// The service's full name.
    pub service: String,
    pub way: Way,
    /// As its tenant wrote it; none: everything is allowed.
    pub policy: Option<String>,
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    Endpoint,
    "vpc-endpoint",
    EndpointId,
    Tenant,
    "InvalidVpcEndpointId.NotFound",
    "The Vpc Endpoint Id '{}' does not exist"
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Each of these tables has a route to the service's prefix list.
    Gateway { tables: Vec<RouteTableId> },
    /// An interface in each subnet, all with the same groups.
    Interface { interfaces: Vec<(SubnetId, InterfaceId)>, groups: Vec<GroupId>, private_dns: bool },
}

impl Endpoint {
    pub fn serves(&self, table: &RouteTableId) -> bool {
        matches!(&self.way, Way::Gateway { tables } if tables.contains(table))
    }
}
