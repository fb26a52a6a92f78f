//! Prefix lists as requests name them and answers show them, and what refers to them.

use std::collections::BTreeSet;

use awan_model::group::{Peer, SecurityGroup};
use awan_model::id::PrefixListId;
use awan_model::prefix_list::{Change, Entry, Family, PrefixList};
use awan_model::route::{Destination, RouteTable};
use awan_state::{Missing, Tenant, Tx};
use awan_wire::ec2;
use ipnet::IpNet;

use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, invalid, missing, refuse};

/// Source: "Amazon VPC quotas", entries per prefix list.
pub const ENTRIES_MAX: u16 = 1_000;
const TEXT_MAX: usize = 255;
/// What one request may add or remove.
const CHANGES_MAX: usize = 100;

/// A list that this home can use: its own, or one of the region's services.
pub fn named(tx: &mut Tx<Tenant>, id: Option<String>) -> Result<PrefixList> {
    usable(tx, &id.ok_or_else(|| missing("PrefixListId"))?.parse()?)
}

/// A list that a rule or a route may mean.
pub fn usable(tx: &mut Tx<Tenant>, id: &PrefixListId) -> Result<PrefixList> {
    let of_service = PrefixList::of_services(tx.home()).into_iter().find(|list| list.id == *id);
    let found = of_service.or_else(|| tx.find::<PrefixList>(id).map(|list| (*list).clone()));
    found.ok_or_else(|| Missing::of::<PrefixList>(id).into())
}

/// A list that this home may change.
pub fn own(tx: &mut Tx<Tenant>, id: Option<String>) -> Result<PrefixList> {
    let list = named(tx, id)?;
    if list.is_of_a_service() {
        let message = format!("The prefix list '{}' is managed by the cloud and cannot be modified.", list.id);
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    Ok(list)
}

/// Whoever changes a list must have seen what it is.
pub fn must_be_at(list: &PrefixList, version: Option<i64>) -> Result<()> {
    if version.is_some_and(|v| v != i64::from(list.version())) {
        let message = format!("The prefix list has the incorrect version number; its version is {}.", list.version());
        return Err(refuse(Code::PrefixListVersionMismatch, message));
    }
    Ok(())
}

pub fn name_of(name: &str) -> Result<String> {
    if name.is_empty() || name.chars().count() > TEXT_MAX {
        return Err(invalid(format!("The name of a prefix list has 1 to {TEXT_MAX} characters")));
    }
    if name.starts_with("com.amazonaws") {
        return Err(invalid("The name of a prefix list cannot start with com.amazonaws"));
    }
    Ok(name.to_owned())
}

pub fn max_of(max: i32) -> Result<u16> {
    u16::try_from(max).ok().filter(|max| (1..=ENTRIES_MAX).contains(max)).ok_or_else(|| {
        invalid(format!(
            "Value ({max}) for parameter MaxEntries is invalid. Expecting a value between 1 and {ENTRIES_MAX}."
        ))
    })
}

pub fn must_fit(entries: &[Entry], max: u16) -> Result<()> {
    if entries.len() > usize::from(max) {
        let message = format!("You've reached the maximum number of entries for the prefix list. It is {max}.");
        return Err(refuse(Code::PrefixListMaxEntriesExceeded, message));
    }
    Ok(())
}

pub fn added(entries: Vec<ec2::AddPrefixListEntry>, family: Family) -> Result<Vec<Entry>> {
    let checked = entries.into_iter().map(|ec2::AddPrefixListEntry { cidr, description }| {
        let description = description.filter(|text| !text.is_empty());
        if description.as_ref().is_some_and(|text| text.chars().count() > TEXT_MAX) {
            return Err(invalid(format!("The description of an entry has at most {TEXT_MAX} characters")));
        }
        Ok(Entry { cidr: cidr_of(cidr, family)?, description })
    });
    let entries = checked.collect::<Result<Vec<_>>>()?;
    no_range_twice(entries.iter().map(|e| e.cidr))?;
    Ok(entries)
}

pub fn removed(entries: Vec<ec2::RemovePrefixListEntry>, family: Family) -> Result<Vec<IpNet>> {
    let cidrs = entries.into_iter().map(|ec2::RemovePrefixListEntry { cidr }| cidr_of(cidr, family));
    let cidrs = cidrs.collect::<Result<Vec<_>>>()?;
    no_range_twice(cidrs.iter().copied())?;
    Ok(cidrs)
}

fn no_range_twice(ranges: impl ExactSizeIterator<Item = IpNet>) -> Result<()> {
    if ranges.len() > CHANGES_MAX {
        return Err(invalid(format!("A request can add or remove at most {CHANGES_MAX} entries")));
    }
    let mut seen = BTreeSet::new();
    for range in ranges {
        if !seen.insert(range) {
            return Err(invalid(format!("The request contains the entry {range} more than once")));
        }
    }
    Ok(())
}

fn cidr_of(text: Option<String>, family: Family) -> Result<IpNet> {
    let text = text.ok_or_else(|| missing("Cidr"))?;
    let range = text.parse::<IpNet>().ok().filter(|range| match family {
        Family::Ipv4 => range.addr().is_ipv4(),
        Family::Ipv6 => range.addr().is_ipv6(),
    });
    let wrong = || invalid(format!("The CIDR block '{}' is not valid for the prefix list.", brief(&text)));
    Ok(range.ok_or_else(wrong)?.trunc())
}

/// The ids of what refers to a list.
pub fn users(tx: &mut Tx<Tenant>, id: &PrefixListId) -> Vec<String> {
    let names = |group: &SecurityGroup| group.rules.iter().any(|r| r.peer == Peer::PrefixList(id.clone()));
    let mut all: Vec<_> = tx.list::<SecurityGroup>().iter().filter(|g| names(g)).map(|g| g.id.to_string()).collect();
    let means = |table: &RouteTable| table.routes.iter().any(|r| r.destination == Destination::PrefixList(id.clone()));
    all.extend(tx.list::<RouteTable>().iter().filter(|table| means(table)).map(|table| table.id.to_string()));
    all
}

pub fn shown(list: &PrefixList, tags: Vec<ec2::Tag>) -> ec2::ManagedPrefixList {
    let state = match list.change {
        Change::Create => "create-complete",
        Change::Modify => "modify-complete",
        Change::Restore => "restore-complete",
    };
    let (id, home, own) = (&list.id, &list.home, !list.is_of_a_service());
    let in_arn = if own { home.account() } else { "aws" };
    ec2::ManagedPrefixList {
        prefix_list_id: Some(id.to_string()),
        address_family: Some(if list.family == Family::Ipv4 { "IPv4" } else { "IPv6" }.into()),
        state: Some(state.into()),
        prefix_list_arn: Some(format!("arn:aws:ec2:{}:{in_arn}:prefix-list/{id}", home.region())),
        prefix_list_name: Some(list.name.clone()),
        max_entries: own.then_some(list.max_entries.into()),
        version: own.then_some(list.version().into()),
        tags,
        owner_id: Some(owner(list).into()),
        ..Default::default()
    }
}

pub fn owner(list: &PrefixList) -> &str {
    if list.is_of_a_service() { "AWS" } else { list.home.account() }
}

/// A token of a request that made nothing cannot be.
pub fn lost() -> Error {
    Error::fault("a token that made nothing")
}
