//! Private addresses of interfaces: which a request asks for, and which are free.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use awan_model::id::SubnetId;
use awan_model::instance_type::InstanceType;
use awan_model::interface::NetworkInterface;
use awan_model::subnet::{Ipv6Range, Subnet};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::ipv6;
use crate::error::{Code, Error, Result, combination, invalid, invalid_value, missing, refuse};
use crate::schedule::Round;

/// The most that any instance type has.
pub const ADDRESSES_MAX: usize = 50;
/// Of a /64 hardly any address is taken.
const IPV6_TRIES: usize = 64;

/// The addresses that a new interface is to have.
#[derive(Clone, Default)]
pub struct Wanted {
    /// `None`: any.
    pub primary: Option<Ipv4Addr>,
    pub secondary: Vec<Ipv4Addr>,
    /// So many more secondary ones, whichever.
    pub more: usize,
    pub ipv6: ipv6::Wanted,
}

/// Addresses that were found for an interface.
pub struct Taken {
    pub private_ip: Ipv4Addr,
    pub secondary: Vec<Ipv4Addr>,
    pub ipv6: Vec<Ipv6Addr>,
}

impl Wanted {
    /// The primary address alone, or a list that names it, or a number beside it.
    pub fn read(
        subnet: &Subnet,
        alone: Option<String>,
        list: Vec<ec2::PrivateIpAddressSpecification>,
        count: Option<i32>,
    ) -> Result<Self> {
        let mut primary = alone.map(|text| address(subnet, &text)).transpose()?;
        let mut secondary = Vec::new();
        for ec2::PrivateIpAddressSpecification { primary: is_primary, private_ip_address } in list {
            let text = private_ip_address.ok_or_else(|| missing("PrivateIpAddresses.PrivateIpAddress"))?;
            let ip = address(subnet, &text)?;
            if is_primary == Some(true) && primary.replace(ip).is_some_and(|other| other != ip) {
                return Err(invalid("Only one primary private IP address can be specified"));
            }
            secondary.push(ip);
        }
        // A list that names no primary address begins with it.
        let primary = primary.or(secondary.first().copied());
        secondary.retain(|ip| Some(*ip) != primary);
        let distinct: HashSet<_> = secondary.iter().collect();
        if distinct.len() != secondary.len() {
            return Err(invalid("The same private IP address is given twice"));
        }
        let more = self::count(count)?;
        if more > 0 && !secondary.is_empty() {
            let message =
                "secondaryPrivateIpAddressCount cannot be used with more than one address in privateIpAddresses";
            return Err(combination(message));
        }
        let wanted = Self { primary, secondary, more, ipv6: ipv6::Wanted::default() };
        if wanted.count() > ADDRESSES_MAX { Err(too_many()) } else { Ok(wanted) }
    }

    pub fn count(&self) -> usize {
        1 + self.secondary.len() + self.more
    }

    /// Addresses that it names.
    pub fn named(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.primary.into_iter().chain(self.secondary.iter().copied());
        v4.map(IpAddr::V4).chain(self.ipv6.named.iter().copied().map(IpAddr::V6))
    }

    pub fn take(&self, tx: &mut Tx<Tenant>, free: &mut Free, subnet: &Subnet) -> Result<Taken> {
        let private_ip = match self.primary {
            Some(ip) => free.this(tx, &subnet.id, ip)?,
            None => free.any(tx, subnet)?,
        };
        let mut secondary = Vec::with_capacity(self.count());
        for ip in &self.secondary {
            secondary.push(free.this(tx, &subnet.id, *ip)?);
        }
        for _ in 0..self.more {
            secondary.push(free.any(tx, subnet)?);
        }
        let ipv6 = self.ipv6.take(tx, free, subnet, None)?;
        Ok(Taken { private_ip, secondary, ipv6 })
    }
}

pub fn count(count: Option<i32>) -> Result<usize> {
    let Some(n) = count else { return Ok(0) };
    match usize::try_from(n) {
        Ok(n) if n > ADDRESSES_MAX => Err(too_many()),
        Ok(n) => Ok(n),
        Err(_) => Err(invalid_value(n, "secondaryPrivateIpAddressCount")),
    }
}

pub fn too_many() -> Error {
    refuse(Code::PrivateIpAddressLimitExceeded, "Number of private addresses will exceed limit.")
}

/// Refuses more addresses than an instance of this type can have on an interface.
pub fn must_fit(kind: &InstanceType, addresses: usize) -> Result<()> {
    if addresses > kind.addresses_per_interface as usize { Err(too_many()) } else { Ok(()) }
}

/// An address that interfaces of this subnet can have.
pub fn address(subnet: &Subnet, text: &str) -> Result<Ipv4Addr> {
    let shown = text.chars().take(64).collect::<String>();
    let ip: Ipv4Addr = text.parse().map_err(|_| invalid_value(shown.escape_debug(), "PrivateIpAddress"))?;
    if !subnet.cidr.contains(&ip) {
        return Err(invalid(format!("Address {ip} does not fall within the subnet's address range")));
    }
    if !subnet.is_usable(ip) {
        return Err(invalid(format!("Address {ip} is in subnet's reserved address range")));
    }
    Ok(ip)
}

/// Hands out free addresses, each once, also before the records of those who get them are there.
#[derive(Default)]
pub struct Free {
    rounds: HashMap<SubnetId, Round>,
    taken: HashSet<(SubnetId, IpAddr)>,
}

impl Free {
    /// Keeps addresses for those who name them.
    pub fn keep(&mut self, subnet: &SubnetId, named: impl Iterator<Item: Into<IpAddr>>) -> Result<()> {
        for ip in named.map(Into::into) {
            if !self.taken.insert((subnet.clone(), ip)) {
                return Err(in_use(ip));
            }
        }
        Ok(())
    }

    /// An address that was asked for by name.
    pub fn this<Ip: Into<IpAddr> + Copy>(&mut self, tx: &mut Tx<Tenant>, subnet: &SubnetId, ip: Ip) -> Result<Ip> {
        self.taken.insert((subnet.clone(), ip.into()));
        if is_free(tx, subnet, ip) { Ok(ip) } else { Err(in_use(ip.into())) }
    }

    pub fn any(&mut self, tx: &mut Tx<Tenant>, subnet: &Subnet) -> Result<Ipv4Addr> {
        let round = match self.rounds.entry(subnet.id.clone()) {
            std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::hash_map::Entry::Vacant(none) => {
                let start = u32::from_be_bytes(tx.random());
                none.insert(Round::new(&subnet.usable(), start))
            }
        };
        for ip in round.by_ref() {
            if !self.taken.contains(&(subnet.id.clone(), ip.into())) && is_free(tx, &subnet.id, ip) {
                return Ok(ip);
            }
        }
        Err(too_few(subnet))
    }

    /// From anywhere in a range that is too wide for its addresses to be tried one by one.
    pub fn any_ipv6(&mut self, tx: &mut Tx<Tenant>, subnet: &Subnet, range: &Ipv6Range) -> Result<Ipv6Addr> {
        let usable = range.usable();
        let size = usable.end().saturating_sub(*usable.start()).saturating_add(1);
        for _ in 0..IPV6_TRIES {
            let ip = Ipv6Addr::from(usable.start() + u128::from_be_bytes(tx.random()) % size);
            if is_free(tx, &subnet.id, ip) && self.taken.insert((subnet.id.clone(), ip.into())) {
                return Ok(ip);
            }
        }
        Err(too_few(subnet))
    }
}

fn too_few(subnet: &Subnet) -> Error {
    let message = format!(
        "There are not enough free addresses in subnet '{}' to satisfy the requested number of instances.",
        subnet.id
    );
    refuse(Code::InsufficientFreeAddressesInSubnet, message)
}

fn in_use(ip: impl std::fmt::Display) -> Error {
    refuse(Code::AddressInUse, format!("Address {ip} is in use."))
}

fn is_free(tx: &mut Tx<Tenant>, subnet: &SubnetId, ip: impl Into<IpAddr>) -> bool {
    tx.lookup(NetworkInterface::BY_IP, &NetworkInterface::ip_in(subnet, ip)).is_none()
}
