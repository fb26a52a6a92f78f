//! Internet gateways.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{InternetGatewayId, VpcId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    pub home: Home,
    pub id: InternetGatewayId,
    pub vpc: Option<VpcId>,
    pub created: Millis,
}
record!(
    InternetGateway,
    "internet-gateway",
    InternetGatewayId,
    Tenant,
    "InvalidInternetGatewayID.NotFound",
    "The internetGateway ID '{}' does not exist"
);
