//! Sets of DHCP options: what guests of a VPC are told beside their address.

use std::str::FromStr;

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::DhcpOptionsId;
use crate::plan::{DhcpIpv6Plan, DhcpPlan};
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

    /// Those of one family.
    fn addresses<T: FromStr>(&self, name: &str) -> Vec<T> {
        self.values(name).iter().flat_map(|value| value.split(',')).filter_map(|v| v.trim().parse().ok()).collect()
    }

    fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.values(name).first().and_then(|value| value.parse().ok())
    }

    /// What guests are told.
    pub fn plan(&self) -> DhcpPlan {
        let resolver = self.values("domain-name-servers").iter().any(|value| value.contains(AMAZON_DNS));
        DhcpPlan {
            domain_name: self.values("domain-name").first().cloned(),
            resolver,
            name_servers: self.addresses("domain-name-servers"),
            ntp_servers: self.addresses("ntp-servers"),
            netbios_name_servers: self.addresses("netbios-name-servers"),
            netbios_node_type: self.number("netbios-node-type"),
            ipv6: DhcpIpv6Plan {
                name_servers: self.addresses("domain-name-servers"),
                ntp_servers: self.addresses("ntp-servers"),
                preferred_s: self.number("ipv6-address-preferred-lease-time"),
            },
        }
    }
}
