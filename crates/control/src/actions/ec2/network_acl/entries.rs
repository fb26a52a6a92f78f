//! Entries of network ACLs: from a request, and as they are shown.

use awan_model::group::Traffic;
use awan_model::network_acl::{Entry, NetworkAcl, Peer};
use awan_wire::ec2;
use ipnet::Ipv6Net;

use crate::actions::ec2::vpc::create_vpc::{brief, network_of};
use crate::error::{Code, Result, combination, invalid, invalid_value, missing, refuse};

/// EC2's default quota, for each direction and for each of IPv4 and IPv6, the one that denies what is left counted in.
/// Source: "Amazon VPC quotas".
const ENTRIES_MAX: usize = 20;

/// Adds an entry whose number is free.
pub fn add(acl: &mut NetworkAcl, entry: Entry) -> Result<()> {
    let family = |peer: &Peer| std::mem::discriminant(peer);
    let alike = |e: &&Entry| e.egress == entry.egress && family(&e.peer) == family(&entry.peer);
    if acl.entries.iter().filter(alike).count() + 1 >= ENTRIES_MAX {
        let message = "The maximum number of network ACL entries has been reached.";
        return Err(refuse(Code::NetworkAclEntryLimitExceeded, message));
    }
    acl.add(entry);
    Ok(())
}

/// The members of a request that make an entry.
pub struct Asked {
    pub cidr_block: Option<String>,
    pub egress: Option<bool>,
    pub icmp_type_code: Option<ec2::IcmpTypeCode>,
    pub ipv6_cidr_block: Option<String>,
    pub port_range: Option<ec2::PortRange>,
    pub protocol: Option<String>,
    pub rule_action: Option<String>,
    pub rule_number: Option<i32>,
}

impl Asked {
    pub fn entry(self) -> Result<Entry> {
        let number = number(self.rule_number)?;
        let egress = self.egress.ok_or_else(|| missing("Egress"))?;
        let allow = match self.rule_action.as_deref().ok_or_else(|| missing("RuleAction"))? {
            "allow" => true,
            "deny" => false,
            other => return Err(invalid_value(brief(other), "ruleAction")),
        };
        let peer = match (self.cidr_block, self.ipv6_cidr_block) {
            (Some(text), None) => Peer::Ipv4(network_of(&text, "cidrBlock")?),
            (None, Some(text)) => Peer::Ipv6(ipv6_network_of(&text, "ipv6CidrBlock")?),
            (None, None) => return Err(missing("CidrBlock")),
            (Some(_), Some(_)) => {
                return Err(combination("Only one of cidrBlock and ipv6CidrBlock can be in a request."));
            }
        };
        let protocol = self.protocol.ok_or_else(|| missing("Protocol"))?;
        let traffic = traffic(&protocol, peer, self.port_range, self.icmp_type_code)?;
        Ok(Entry { number, egress, allow, peer, traffic })
    }
}

/// Numbers from 32767 on are EC2's own.
pub fn number(number: Option<i32>) -> Result<u16> {
    let number = number.ok_or_else(|| missing("RuleNumber"))?;
    let fine = u16::try_from(number).ok().filter(|n| (1..Entry::LAST).contains(n));
    fine.ok_or_else(|| {
        invalid(format!(
            "Value ({number}) for parameter ruleNumber is invalid. Must be between 1 and {}.",
            Entry::LAST - 1
        ))
    })
}

pub fn ipv6_network_of(text: &str, parameter: &str) -> Result<Ipv6Net> {
    let network = text.parse::<Ipv6Net>().map_err(|_| {
        let shown = brief(text);
        invalid(format!("Value ({shown}) for parameter {parameter} is invalid. This is not a valid IPv6 CIDR block."))
    })?;
    Ok(network.trunc())
}

/// As the API's documentation has it: ports for TCP and UDP, type and code for ICMP, and neither counts for another
/// protocol, nor for ICMPv6 from IPv4 networks.
fn traffic(
    protocol: &str,
    peer: Peer,
    ports: Option<ec2::PortRange>,
    icmp: Option<ec2::IcmpTypeCode>,
) -> Result<Traffic> {
    let number = match protocol {
        "-1" | "all" => return Ok(Traffic::All),
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "icmpv6" => 58,
        text => text.parse::<u8>().map_err(|_| invalid_value(brief(text), "protocol"))?,
    };
    match number {
        6 => port_range(ports).map(|(from, to)| Traffic::Tcp { from, to }),
        17 => port_range(ports).map(|(from, to)| Traffic::Udp { from, to }),
        1 => type_and_code(icmp).map(|(kind, code)| Traffic::Icmp { kind, code }),
        58 if matches!(peer, Peer::Ipv4(_)) => Ok(Traffic::Icmpv6 { kind: None, code: None }),
        58 => type_and_code(icmp).map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        other => Ok(Traffic::Protocol(other)),
    }
}

fn port_range(ports: Option<ec2::PortRange>) -> Result<(u16, u16)> {
    let ec2::PortRange { from, to } = ports.ok_or_else(|| missing("PortRange"))?;
    let port = |value: Option<i32>, name: &str| {
        let value = value.ok_or_else(|| missing(&format!("PortRange.{name}")))?;
        u16::try_from(value).map_err(|_| invalid_value(value, &format!("portRange.{}", name.to_lowercase())))
    };
    let (from, to) = (port(from, "From")?, port(to, "To")?);
    if from > to {
        return Err(invalid(format!("Invalid port range: {from} to {to}")));
    }
    Ok((from, to))
}

fn type_and_code(icmp: Option<ec2::IcmpTypeCode>) -> Result<(Option<u8>, Option<u8>)> {
    let ec2::IcmpTypeCode { code, r#type } = icmp.ok_or_else(|| missing("IcmpTypeCode"))?;
    let one = |value: Option<i32>, name: &str| match value {
        None => Err(missing(&format!("IcmpTypeCode.{name}"))),
        Some(-1) => Ok(None),
        Some(n) => u8::try_from(n).map(Some).map_err(|_| invalid_value(n, &format!("icmpTypeCode.{name}"))),
    };
    let (kind, code) = (one(r#type, "Type")?, one(code, "Code")?);
    if kind.is_none() && code.is_some() {
        return Err(refuse(Code::InvalidParameterValue, "An ICMP code needs an ICMP type."));
    }
    Ok((kind, code))
}

pub fn shown(entry: &Entry) -> ec2::NetworkAclEntry {
    let Entry { number, egress, allow, peer, traffic } = entry;
    let (mut cidr_block, mut ipv6_cidr_block) = (None, None);
    match peer {
        Peer::Ipv4(net) => cidr_block = Some(net.to_string()),
        Peer::Ipv6(net) => ipv6_cidr_block = Some(net.to_string()),
    }
    let ports = |from: u16, to: u16| Some(ec2::PortRange { from: Some(from.into()), to: Some(to.into()) });
    let any = |value: Option<u8>| Some(value.map_or(-1, i32::from));
    let icmp = |kind, code| Some(ec2::IcmpTypeCode { code: any(code), r#type: any(kind) });
    let (protocol, port_range, icmp_type_code) = match *traffic {
        Traffic::All => (-1, None, None),
        Traffic::Tcp { from, to } => (6, ports(from, to), None),
        Traffic::Udp { from, to } => (17, ports(from, to), None),
        Traffic::Icmp { kind, code } => (1, None, icmp(kind, code)),
        Traffic::Icmpv6 { kind, code } => (58, None, icmp(kind, code)),
        Traffic::Protocol(number) => (i32::from(number), None, None),
    };
    ec2::NetworkAclEntry {
        cidr_block,
        egress: Some(*egress),
        icmp_type_code,
        ipv6_cidr_block,
        port_range,
        protocol: Some(protocol.to_string()),
        rule_action: Some(if *allow { "allow" } else { "deny" }.into()),
        rule_number: Some(i32::from(*number)),
    }
}
