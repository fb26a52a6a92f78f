//! IPv6 addresses of interfaces: which a request asks for. Which of them are free, [`super::addresses::Free`] knows.

use std::collections::HashSet;
use std::net::Ipv6Addr;

use awan_model::interface::NetworkInterface;
use awan_model::subnet::{Ipv6Range, Subnet};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::addresses::{ADDRESSES_MAX, Free, too_many};
use crate::error::{Result, combination, invalid, invalid_value, missing};

/// The addresses that an interface is to have, beside those that it has.
#[derive(Clone, Default)]
pub struct Wanted {
    pub named: Vec<Ipv6Addr>,
    /// So many more, whichever.
    pub more: usize,
}

impl Wanted {
    /// Of a new interface. Where the request says nothing, its subnet decides; a number of 0 is something.
    pub fn read(subnet: &Subnet, list: Vec<ec2::InstanceIpv6Address>, count: Option<i32>) -> Result<Self> {
        let usual = i32::from(subnet.assign_ipv6 && list.is_empty());
        let name = |address: ec2::InstanceIpv6Address| {
            let ec2::InstanceIpv6Address { ipv6_address, is_primary_ipv6 } = address;
            crate::error::refuse_if(is_primary_ipv6 == Some(true), "IsPrimaryIpv6")?;
            ipv6_address.ok_or_else(|| missing("Ipv6Addresses.Ipv6Address"))
        };
        let list: Vec<String> = list.into_iter().map(name).collect::<Result<_>>()?;
        Self::asked(subnet, &list, Some(count.unwrap_or(usual)))
    }

    pub fn asked(subnet: &Subnet, list: &[String], count: Option<i32>) -> Result<Self> {
        let count = count.unwrap_or_default();
        let more = usize::try_from(count).map_err(|_| invalid_value(count, "ipv6AddressCount"))?;
        if more > 0 && !list.is_empty() {
            return Err(combination("ipv6Addresses and ipv6AddressCount cannot be used together"));
        }
        if list.len() > ADDRESSES_MAX || more > ADDRESSES_MAX {
            return Err(too_many());
        }
        let named: Vec<_> = list.iter().map(|text| address(subnet, text)).collect::<Result<_>>()?;
        if named.iter().collect::<HashSet<_>>().len() != named.len() {
            return Err(invalid("The same IPv6 address is given twice"));
        }
        if more > 0 {
            range(subnet)?;
        }
        Ok(Self { named, more })
    }

    pub fn count(&self) -> usize {
        self.named.len() + self.more
    }

    /// `own`: the interface that may have some of them already.
    pub fn take(
        &self,
        tx: &mut Tx<Tenant>,
        free: &mut Free,
        subnet: &Subnet,
        own: Option<&NetworkInterface>,
    ) -> Result<Vec<Ipv6Addr>> {
        let mut taken = Vec::with_capacity(self.count());
        for ip in &self.named {
            let has = own.is_some_and(|eni| eni.ipv6.contains(ip));
            taken.push(if has { *ip } else { free.this(tx, &subnet.id, *ip)? });
        }
        for _ in 0..self.more {
            taken.push(free.any_ipv6(tx, subnet, range(subnet)?)?);
        }
        Ok(taken)
    }
}

fn range(subnet: &Subnet) -> Result<&Ipv6Range> {
    let none = || invalid(format!("The subnet '{}' has no IPv6 CIDR block associated with it.", subnet.id));
    subnet.ipv6.as_ref().ok_or_else(none)
}

/// An address that interfaces of this subnet can have.
fn address(subnet: &Subnet, text: &str) -> Result<Ipv6Addr> {
    let shown = text.chars().take(64).collect::<String>();
    let ip: Ipv6Addr = text.parse().map_err(|_| invalid_value(shown.escape_debug(), "Ipv6Address"))?;
    let range = range(subnet)?;
    if !range.cidr.contains(&ip) {
        return Err(invalid(format!("Address {ip} does not fall within the subnet's address range")));
    }
    if !range.is_usable(ip) {
        return Err(invalid(format!("Address {ip} is in subnet's reserved address range")));
    }
    Ok(ip)
}
