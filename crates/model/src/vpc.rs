//! Virtual private clouds.

use awan_state::{Home, Millis};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::id::{DhcpOptionsId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub home: Home,
    pub id: VpcId,
    pub cidr: Ipv4Net,
    pub is_default: bool,
    pub dhcp_options: DhcpOptionsId,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    pub created: Millis,
}
record!(Vpc, "vpc", VpcId, Tenant, "InvalidVpcID.NotFound", "The vpc ID '{}' does not exist");
