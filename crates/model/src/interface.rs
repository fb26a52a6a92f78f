//! Network interfaces. A private address belongs to one interface of its subnet, a MAC address to one of all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{AttachmentId, GroupId, InstanceId, InterfaceId, NatGatewayId, SubnetId, VpcId};
use crate::instance::{Detach, Instance, State, VmReport, state};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    pub home: Home,
    pub id: InterfaceId,
    pub vpc: VpcId,
    pub subnet: SubnetId,
    pub zone: String,
    pub mac: Mac,
    /// The primary one.
    pub private_ip: Ipv4Addr,
    /// More of its subnet's, in the order in which they came.
    #[serde(default)]
    pub secondary: Vec<Ipv4Addr>,
    /// Of its subnet's range, in the order in which they came.
    #[serde(default)]
    pub ipv6: Vec<Ipv6Addr>,
    pub groups: Vec<GroupId>,
    pub description: String,
    pub source_dest_check: bool,
    pub attachment: Option<Attachment>,
    /// Another resource lives on it: a NAT gateway or a VPC endpoint.
    pub requester_managed: bool,
    /// The NAT gateway that it is a part of.
    #[serde(default)]
    pub gateway: Option<NatGatewayId>,
    #[serde(default)]
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(
    NetworkInterface,
    "network-interface",
    InterfaceId,
    Tenant,
    "InvalidNetworkInterfaceID.NotFound",
    "The networkInterface ID '{}' does not exist",
    |eni| {
        let mut indexes = vec![Index { name: "mac", value: eni.mac.to_string(), everywhere: true }];
        let ipv6 = eni.ipv6.iter().copied().map(IpAddr::V6);
        indexes.extend(eni.addresses().map(IpAddr::V4).chain(ipv6).map(|ip| Index {
            name: NetworkInterface::BY_IP,
            value: NetworkInterface::ip_in(&eni.subnet, ip),
            everywhere: false,
        }));
        indexes.extend(eni.attachment.as_ref().map(|a| Index {
            name: NetworkInterface::BY_ATTACHMENT,
            value: a.id.to_string(),
            everywhere: false,
        }));
        indexes
    }
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: AttachmentId,
    pub instance: InstanceId,
    pub device_index: u32,
    pub delete_on_termination: bool,
    pub at: Millis,
    /// It is to end, and its host has not yet said that it has.
    #[serde(default)]
    pub detach: Option<Detach>,
}

impl NetworkInterface {
    /// Of both families.
    pub const BY_IP: &'static str = "private-ip";
    pub const BY_ATTACHMENT: &'static str = "attachment-of";

    /// All private IPv4 addresses, the primary first.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        std::iter::once(self.private_ip).chain(self.secondary.iter().copied())
    }

    pub fn has(&self, ip: Ipv4Addr) -> bool {
        self.addresses().any(|own| own == ip)
    }

    pub fn is_attached_to(&self, instance: &InstanceId) -> bool {
        self.attachment.as_ref().is_some_and(|a| a.instance == *instance)
    }

    /// The state of its attachment to an instance: of a machine that is on, what its host says of the current run.
    pub fn attachment_state(&self, instance: &Instance, report: Option<&VmReport>) -> &'static str {
        if self.attachment.as_ref().is_some_and(|a| a.detach.is_some()) {
            return "detaching";
        }
        let there = report.filter(|r| r.run == instance.run).is_some_and(|r| r.has_interface(self.mac));
        match state(instance, report) {
            State::Pending | State::Running if !there => "attaching",
            _ => "attached",
        }
    }

    /// The value of [`Self::BY_IP`]: an address is unique in its subnet.
    pub fn ip_in(subnet: &SubnetId, ip: impl Into<IpAddr>) -> String {
        let ip: IpAddr = ip.into();
        format!("{subnet}:{ip}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered unicast address, as EC2's are.
    pub fn from_random(mut bytes: [u8; 6]) -> Self {
        bytes[0] = 0x0a;
        // 0a:ff is the routers' own.
        bytes[1] &= 0x7f;
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<u8> =
            text.split(':').map(|p| u8::from_str_radix(p, 16)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        parts.try_into().map(Self).map_err(|_| format!("{text} is no MAC address"))
    }
}

/// `ip-10-0-0-5`
pub fn host_name(ip: Ipv4Addr) -> String {
    format!("ip-{}", ip.to_string().replace('.', "-"))
}

/// The private DNS name of an address.
pub fn private_dns(ip: Ipv4Addr, region: &str) -> String {
    if region == "us-east-1" {
        format!("{}.ec2.internal", host_name(ip))
    } else {
        format!("{}.{region}.compute.internal", host_name(ip))
    }
}

/// The public DNS name of a public address.
pub fn public_dns(ip: Ipv4Addr, region: &str) -> String {
    let label = ip.to_string().replace('.', "-");
    if region == "us-east-1" {
        format!("ec2-{label}.compute-1.amazonaws.com")
    } else {
        format!("ec2-{label}.{region}.compute.amazonaws.com")
    }
}
