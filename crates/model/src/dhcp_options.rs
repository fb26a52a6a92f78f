//! Sets of DHCP options: what guests of a VPC are told beside their address.

use std::net::Ipv4Addr;

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::DhcpOptionsId;
use crate::plan::DhcpPlan;
use crate::record;

/// Among name servers: the VPC's own resolver.
pub const AMAZON_DNS: &str = "AmazonProvidedDNS";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptions {
    pub home: Home,
    pub id: DhcpOptionsId,
    /// What VPCs begin with.
    pub is_default: bool,
    /// Names with their values, as they were given.
    pub options: Vec<(String, Vec<String>)>,
    pub created: Millis,
}
record!(
    DhcpOptions,
    "dhcp-options",
    DhcpOptionsId,
    Tenant,
    "InvalidDhcpOptionID.NotFound",
    "The dhcpOption ID '{}' does not exist"
);

impl DhcpOptions {
    fn values(&self, name: &str) -> &[String] {
        self.options.iter().find(|(key, _)| key == name).map_or(&[], |(_, values)| values)
    }

    /// What IPv4 guests are told.
    pub fn plan(&self) -> DhcpPlan {
        let addresses = |name: &str| -> Vec<Ipv4Addr> {
            self.values(name).iter().flat_map(|value| value.split(',')).filter_map(|v| v.trim().parse().ok()).collect()
        };
        let resolver = self.values("domain-name-servers").iter().any(|value| value.contains(AMAZON_DNS));
        DhcpPlan {
            domain_name: self.values("domain-name").first().cloned(),
            resolver,
            name_servers: addresses("domain-name-servers"),
            ntp_servers: addresses("ntp-servers"),
            netbios_name_servers: addresses("netbios-name-servers"),
            netbios_node_type: self.values("netbios-node-type").first().and_then(|v| v.parse().ok()),
        }
    }
}
