//! The message down: everything that a host must be, whole each time.
//!
//! **Invariant:** a host acts on a plan only if it comes from the store that it follows (`store`) and is not older
//! than the last. What is not in a plan is to go away; an empty plan of a foreign store can therefore destroy nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use awan_state::{Home, Millis, Revision};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::export::DiskFormat;
use crate::group::Traffic;
use crate::id::{
    EndpointId, ExportImageId, FlowLogId, GroupId, HostId, ImageId, InstanceId, InterfaceId, LogGroupId, NatGatewayId,
    NetworkAclId, PeeringId, ReservationId, SubnetId, VolumeId, VpcId,
};
use crate::image::Boot;
use crate::import::{Merge, Source};
use crate::instance::{MetadataOptions, Wish};
use crate::interface::Mac;
use crate::key::SealedKey;
use crate::network_acl;
use crate::volume::Limits;

/// Counts incompatible changes of [`HostPlan`] and [`crate::report::Report`].
pub const PROTOCOL: u32 = 11;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    pub protocol: u32,
    /// Names the store that the plan comes from.
    pub store: String,
    pub revision: Revision,
    pub host: HostId,
    pub vms: Vec<VmPlan>,
    pub volumes: Vec<VolumePlan>,
    #[serde(default)]
    pub contents: Vec<ContentPlan>,
    #[serde(default)]
    pub exports: Vec<ExportPlan>,
    /// All that came with Awan or the operator brought, seen or not: what a host fetched beside these goes. `None`: it is not
    /// said.
    #[serde(default)]
    pub images: Option<Vec<ImageId>>,
    /// Instances that are there and whose root volume lies here: what they said last is kept, though they are off.
    #[serde(default)]
    pub consoles: Vec<InstanceId>,
    pub network: NetworkPlan,
}

/// One instance on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmPlan {
    pub home: Home,
    pub id: InstanceId,
    pub wish: Wish,
    pub run: u32,
    pub reboots: u32,
    /// Do not wait for the guest when turning it off.
    pub force: bool,
    pub instance_type: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub boot: Boot,
    /// The one whose kernel lies beside it.
    pub image: ImageId,
    /// The root first.
    pub disks: Vec<DiskPlan>,
    /// Volumes that are to go without waiting for the guest.
    #[serde(default)]
    pub yank: Vec<VolumeId>,
    /// Which of the changes of its disks and interfaces this is; the report says it back.
    #[serde(default, rename = "disk_changes")]
    pub device_changes: u32,
    /// In the order of their device index.
    pub interfaces: Vec<InterfaceId>,
    /// Interfaces that are to go without waiting for the guest.
    #[serde(default)]
    pub unplug: Vec<InterfaceId>,
    /// For how many interfaces its machine is to have places.
    #[serde(default)]
    pub interfaces_max: u32,
    pub metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPlan {
    pub volume: VolumeId,
    pub device: String,
}

/// A volume whose bytes lie on this host, attached or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlan {
    pub home: Home,
    pub id: VolumeId,
    pub size_gib: u32,
    pub limits: Limits,
    /// It began as a copy-on-write child of this image; `None`: empty.
    pub image: Option<ImageId>,
    /// What it held at moments since, the oldest first: each is a child of the one before, and the volume of the last.
    #[serde(default)]
    pub layers: Vec<LayerPlan>,
    /// `None`: none of its files is encrypted.
    #[serde(default)]
    pub encryption: Option<EncryptionPlan>,
}

/// The keys of a volume's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionPlan {
    /// Of its own, and of what was kept of it.
    pub key: SealedKey,
    /// Of what it began as and what is below that, as far as it is encrypted.
    #[serde(default)]
    pub below: SealedKeys,
}

impl VolumePlan {
    /// An empty one, and no limits.
    pub fn empty(home: Home, id: VolumeId, size_gib: u32) -> Self {
        Self { home, id, size_gib, limits: Limits::default(), image: None, layers: Vec::new(), encryption: None }
    }
}

/// What a volume held at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPlan {
    pub id: ImageId,
    pub generation: u32,
    /// As [`ContentPlan::kept`].
    pub kept: bool,
    /// How large the volume was then; absent in plans of earlier versions.
    #[serde(default)]
    pub volume_gib: Option<u32>,
}

/// A file that this host is to write of bytes that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPlan {
    pub home: Home,
    pub id: ExportImageId,
    /// `None`: a disk that holds nothing.
    pub of: Option<ImageId>,
    /// How large the disk is at least.
    pub size_gib: u32,
    pub format: DiskFormat,
    pub bucket: String,
    pub prefix: String,
    /// Nothing of it is to be left.
    pub cancelled: bool,
}

/// Bytes that never change, which are to come to this host or lie on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentPlan {
    pub home: Home,
    pub id: ImageId,
    pub source: Source,
    /// The host has said that it has them: it never makes them again.
    pub kept: bool,
    /// For how large a disk there is room; zero: that is not decided.
    pub size_gib: u32,
    #[serde(default)]
    pub merge: Option<Merge>,
}

/// What opens the files of bytes that never change, as far as they are encrypted.
pub type SealedKeys = BTreeMap<ImageId, SealedKey>;

/// Those of a host.
pub fn sealed_keys(contents: &[ContentPlan]) -> SealedKeys {
    contents.iter().filter_map(|content| Some((content.id.clone(), content.source.key()?.clone()))).collect()
}

/// What the metadata service says about an instance, beyond what its interfaces say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What the instance was launched from.
    pub image: ImageId,
    pub options: MetadataOptions,
    pub account: String,
    pub region: String,
    pub zone: String,
    pub reservation: ReservationId,
    pub launch_index: u32,
    pub architecture: String,
    pub key_name: Option<String>,
    /// One line in OpenSSH's form.
    pub public_key: Option<String>,
    pub user_data: Option<Vec<u8>>,
    /// Only where the options show them to the guest.
    pub tags: BTreeMap<String, String>,
    /// When the current run was asked for.
    pub launched: Millis,
    pub root_device: String,
    /// The role that its profile gives it now.
    #[serde(default)]
    pub profile: Option<ProfilePlan>,
}

/// Temporary credentials of an instance. They are renewed long before they end.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfilePlan {
    pub arn: String,
    pub id: String,
    pub role: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub token: String,
    pub issued: Millis,
    pub expires: Millis,
}

impl std::fmt::Debug for ProfilePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProfilePlan").field("arn", &self.arn).field("role", &self.role).finish_non_exhaustive()
    }
}

/// All networks that this host takes part in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    pub vpcs: Vec<VpcPlan>,
    /// The pool of public addresses, so that the host can route it and filter by it.
    pub public_pool: Option<Ipv4Net>,
    /// The pool of the IPv6 ranges of VPCs.
    #[serde(default)]
    pub ipv6_pool: Option<Ipv6Net>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcPlan {
    pub home: Home,
    pub id: VpcId,
    /// The primary range.
    pub cidr: Ipv4Net,
    pub more_cidrs: Vec<Ipv4Net>,
    /// Without a range there is no IPv6.
    #[serde(default)]
    pub ipv6: Vec<Ipv6Net>,
    pub region: String,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    pub dhcp: DhcpPlan,
    pub subnets: Vec<SubnetPlan>,
    /// Those of the subnets above.
    pub acls: Vec<AclPlan>,
    /// The groups of the interfaces below, and every group that their rules name.
    pub groups: Vec<GroupPlan>,
    /// Interfaces whose instances are placed on this host.
    pub interfaces: Vec<InterfacePlan>,
    /// Private addresses of all interfaces of the VPC, here and elsewhere, with their groups.
    pub members: Vec<Member>,
    /// The same for their IPv6 addresses.
    #[serde(default)]
    pub members_ipv6: Vec<MemberIpv6>,
    pub nats: Vec<NatPlan>,
    pub peers: Vec<PeerPlan>,
    /// Those that are about interfaces above.
    #[serde(default)]
    pub flow_logs: Vec<FlowLogPlan>,
    #[serde(default)]
    pub endpoints: Vec<EndpointPlan>,
}

impl VpcPlan {
    /// Of all its endpoints.
    pub fn endpoint_interfaces(&self) -> impl Iterator<Item = &EndpointInterfacePlan> + '_ {
        self.endpoints.iter().flat_map(|endpoint| &endpoint.interfaces)
    }

    /// All ranges, the primary first.
    pub fn cidrs(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        std::iter::once(self.cidr).chain(self.more_cidrs.iter().copied())
    }
}

/// What guests are told beside their address and their way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpPlan {
    pub domain_name: Option<String>,
    /// The VPC's own resolver, before other name servers.
    pub resolver: bool,
    pub name_servers: Vec<Ipv4Addr>,
    pub ntp_servers: Vec<Ipv4Addr>,
    pub netbios_name_servers: Vec<Ipv4Addr>,
    pub netbios_node_type: Option<u8>,
    #[serde(default)]
    pub ipv6: DhcpIpv6Plan,
}

/// What DHCP for IPv6 tells besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpIpv6Plan {
    pub name_servers: Vec<Ipv6Addr>,
    pub ntp_servers: Vec<Ipv6Addr>,
    /// How long an address is preferred after each renewal.
    pub preferred_s: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPlan {
    pub id: SubnetId,
    pub cidr: Ipv4Net,
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// Judges what enters and what leaves. Without one, nothing does either.
    pub acl: Option<NetworkAclId>,
    /// What its route table says of all addresses outside of the VPC's ranges: networks without a common address. What is
    /// in none of them is reached no way.
    pub ways: Vec<WayPlan>,
}

impl SubnetPlan {
    /// The networks that are reached one way.
    pub fn through(&self, way: &Way) -> Vec<IpNet> {
        self.ways.iter().filter(|plan| plan.way == *way).map(|plan| plan.to).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayPlan {
    pub to: IpNet,
    pub way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Way {
    /// The internet gateway of the VPC.
    Internet,
    /// An instance that forwards, behind this interface.
    Interface(InterfaceId),
    /// To the internet, from the public address of a NAT gateway of the VPC.
    Nat(NatGatewayId),
    /// To the other VPC, from the private address of a NAT gateway.
    NatPeering(NatGatewayId, PeeringId),
    /// To the other VPC.
    Peering(PeeringId),
    /// An egress-only internet gateway: who is out there answers, and begins nothing. IPv6 only.
    EgressOnly,
}

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatPlan {
    pub id: NatGatewayId,
    /// Whose network ACL judges what enters and leaves the gateway.
    pub subnet: SubnetId,
    pub private_ip: Ipv4Addr,
    /// A private one has none, and no way to the internet.
    pub public_ip: Option<Ipv4Addr>,
}

/// A service of this cloud's own behind addresses of the VPC, which every host of the VPC answers at by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPlan {
    pub id: EndpointId,
    pub interfaces: Vec<EndpointInterfacePlan>,
    /// In small letters, without the last dot, with the addresses that each means.
    pub names: BTreeMap<String, Vec<Ipv4Addr>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInterfacePlan {
    pub id: InterfaceId,
    pub subnet: SubnetId,
    pub private_ip: Ipv4Addr,
    pub groups: Vec<GroupId>,
}

/// An active peering connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPlan {
    pub id: PeeringId,
    /// The other VPC.
    pub vpc: VpcId,
    /// All of its ranges.
    pub ranges: Vec<Ipv4Net>,
    #[serde(default)]
    pub ipv6: Vec<Ipv6Net>,
    /// This one asked: of the link between them it has the first end.
    pub asked: bool,
    /// Of the other VPC's interfaces what counts here: their places in groups that rules of this VPC name, and their public
    /// addresses, if names of them mean the private ones here too.
    #[serde(default)]
    pub members: Vec<Member>,
    #[serde(default)]
    pub members_ipv6: Vec<MemberIpv6>,
}

/// What is to be told of what interfaces send and receive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLogPlan {
    pub id: FlowLogId,
    /// Those of the VPC's interfaces on this host that it is about.
    pub interfaces: Vec<InterfaceId>,
    pub accepted: bool,
    pub rejected: bool,
    pub interval_s: u16,
    /// The fields of a line, by EC2's names.
    pub fields: Vec<String>,
    /// The log group that it writes into; `None`: files for the operator.
    #[serde(default)]
    pub group: Option<LogGroupId>,
}

/// The first entry that matches a packet decides; what none matches is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclPlan {
    pub id: NetworkAclId,
    /// In the order of their numbers.
    pub ingress: Vec<AclEntryPlan>,
    pub egress: Vec<AclEntryPlan>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntryPlan {
    pub number: u16,
    pub allow: bool,
    pub traffic: Traffic,
    /// Who sends what enters; to whom goes what leaves.
    pub peer: network_acl::Peer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    pub id: GroupId,
    pub name: String,
    pub ingress: Vec<RulePlan>,
    pub egress: Vec<RulePlan>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RulePlan {
    pub traffic: Traffic,
    pub peer: crate::group::Peer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePlan {
    pub id: InterfaceId,
    pub instance: InstanceId,
    pub device_index: u32,
    pub subnet: SubnetId,
    pub mac: Mac,
    pub private_ip: Ipv4Addr,
    /// Elastic or automatic: mapped one to one.
    pub public_ip: Option<Ipv4Addr>,
    /// More private addresses of its subnet, each perhaps with a public one of its own.
    #[serde(default)]
    pub secondary: Vec<SecondaryPlan>,
    #[serde(default)]
    pub ipv6: Vec<Ipv6Addr>,
    pub groups: Vec<GroupId>,
    pub source_dest_check: bool,
    /// What it sends at most, and what it receives at most; absent: nothing limits it.
    #[serde(default)]
    pub bandwidth_mbps: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondaryPlan {
    pub private_ip: Ipv4Addr,
    pub public_ip: Option<Ipv4Addr>,
}

impl InterfacePlan {
    /// All private addresses, the primary first, with the public ones in front of them.
    pub fn addresses(&self) -> impl Iterator<Item = (Ipv4Addr, Option<Ipv4Addr>)> + '_ {
        let more = self.secondary.iter().map(|s| (s.private_ip, s.public_ip));
        std::iter::once((self.private_ip, self.public_ip)).chain(more)
    }

    pub fn has(&self, ip: impl Into<IpAddr>) -> bool {
        match ip.into() {
            IpAddr::V4(ip) => self.addresses().any(|(own, _)| own == ip),
            IpAddr::V6(ip) => self.ipv6.contains(&ip),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub private_ip: Ipv4Addr,
    pub groups: Vec<GroupId>,
    /// For the resolver: public name to private address.
    pub public_ip: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberIpv6 {
    pub ip: Ipv6Addr,
    pub groups: Vec<GroupId>,
}
