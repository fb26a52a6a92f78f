//! Egress-only internet gateways: for IPv6, out and not in. One is attached to its VPC for as long as it lives.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{EgressOnlyGatewayId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressOnlyGateway {
    pub home: Home,
    pub id: EgressOnlyGatewayId,
    pub vpc: VpcId,
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    EgressOnlyGateway,
    "egress-only-gateway",
    EgressOnlyGatewayId,
    Tenant,
    "InvalidGatewayID.NotFound",
    "The eigw ID '{}' does not exist"
);
