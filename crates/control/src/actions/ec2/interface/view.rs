//! Network interfaces as answers and filters see them: each private address with the public one in front of it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::instance::{Instance, Placement, VmReport};
use awan_model::interface::{NetworkInterface, private_dns, public_dns};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::{GroupNames, nobody_else, time};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::tagging;

/// A private address and what is in front of it.
pub struct Mapped {
    pub private_ip: Ipv4Addr,
    pub primary: bool,
    pub public_ip: Option<Ipv4Addr>,
    /// Where the VPC gives such names.
    pub public_dns: Option<String>,
    pub elastic: Option<Arc<Address>>,
}

impl Mapped {
    pub fn allocation(&self) -> Option<String> {
        self.elastic.as_ref().map(|a| a.id.to_string())
    }

    pub fn association(&self) -> Option<String> {
        self.elastic.as_ref()?.association.as_ref().map(|a| a.id.to_string())
    }

    pub fn ip_owner(&self, account: &str) -> Option<String> {
        self.public_ip.map(|_| if self.elastic.is_some() { account } else { "amazon" }.to_owned())
    }
}

/// The elastic address in front of a private address of an interface.
pub fn elastic(tx: &mut Tx<Tenant>, eni: &NetworkInterface, private_ip: Ipv4Addr) -> Option<Arc<Address>> {
    let id = tx.lookup(Address::BY_INTERFACE, &Address::on(&eni.id, private_ip))?;
    tx.find::<Address>(&id.parse().ok()?)
}

/// The automatic public address of the instance is its primary interface's.
pub fn automatic(tx: &mut Tx<Tenant>, eni: &NetworkInterface) -> Option<Ipv4Addr> {
    let id = &eni.attachment.as_ref().filter(|a| a.device_index == 0)?.instance;
    tx.find::<Instance>(id).filter(|i| i.interface == eni.id)?;
    tx.find::<Placement>(id)?.public_ip
}

/// All addresses of an interface, the primary first. `automatic`: the public address that it has without an elastic one.
pub fn mapped(tx: &mut Tx<Tenant>, eni: &NetworkInterface, automatic: Option<Ipv4Addr>) -> Vec<Mapped> {
    let named = tx.find::<Vpc>(&eni.vpc).is_some_and(|vpc| vpc.dns_hostnames);
    let mut out = Vec::with_capacity(1 + eni.secondary.len());
    for private_ip in eni.addresses() {
        let primary = private_ip == eni.private_ip;
        let elastic = elastic(tx, eni, private_ip);
        let public_ip = elastic.as_ref().map(|a| a.public_ip).or(automatic.filter(|_| primary));
        let public_dns = public_ip.filter(|_| named).map(|ip| public_dns(ip, eni.home.region()));
        out.push(Mapped { private_ip, primary, public_ip, public_dns, elastic });
    }
    out
}

pub fn kind(eni: &NetworkInterface) -> &'static str {
    match &eni.gateway {
        Some(_) => "nat_gateway",
        None if eni.requester_managed => "vpc_endpoint",
        None => "interface",
    }
}

pub fn status(eni: &NetworkInterface) -> &'static str {
    // What another resource has is its.
    if eni.attachment.is_some() || eni.requester_managed { "in-use" } else { "available" }
}

/// How far its attachment is, as far as its host has said.
pub fn attachment_status(tx: &mut Tx<Tenant>, eni: &NetworkInterface) -> Option<&'static str> {
    let instance = tx.find::<Instance>(&eni.attachment.as_ref()?.instance)?;
    let report = tx.find::<VmReport>(&instance.id);
    Some(eni.attachment_state(&instance, report.as_deref()))
}

/// An interface with everything that an answer or a filter asks about.
pub struct Seen {
    pub eni: Arc<NetworkInterface>,
    /// Of its attachment.
    pub status: Option<&'static str>,
    pub addresses: Vec<Mapped>,
    pub tags: std::collections::BTreeMap<String, String>,
}

pub fn see(tx: &mut Tx<Tenant>, eni: Arc<NetworkInterface>) -> Seen {
    let automatic = automatic(tx, &eni);
    let addresses = mapped(tx, &eni, automatic);
    let tags = tagging::of(tx, eni.id.as_str());
    let status = attachment_status(tx, &eni);
    Seen { eni, status, addresses, tags }
}

pub fn attachment(eni: &NetworkInterface, status: Option<&str>) -> Option<ec2::NetworkInterfaceAttachment> {
    eni.attachment.as_ref().map(|a| ec2::NetworkInterfaceAttachment {
        attach_time: time(a.at),
        attachment_id: Some(a.id.to_string()),
        delete_on_termination: Some(a.delete_on_termination),
        device_index: i32::try_from(a.device_index).ok(),
        network_card_index: Some(0),
        instance_id: Some(a.instance.to_string()),
        instance_owner_id: Some(eni.home.account().into()),
        status: status.map(Into::into),
        ..Default::default()
    })
}

fn association(mapped: &Mapped, account: &str) -> Option<ec2::NetworkInterfaceAssociation> {
    Some(ec2::NetworkInterfaceAssociation {
        allocation_id: mapped.allocation(),
        association_id: mapped.association(),
        ip_owner_id: mapped.ip_owner(account),
        public_dns_name: Some(mapped.public_dns.clone().unwrap_or_default()),
        public_ip: Some(mapped.public_ip?.to_string()),
        ..Default::default()
    })
}

pub fn shown(tx: &mut Tx<Tenant>, seen: &Seen, names: &mut GroupNames) -> ec2::NetworkInterface {
    let eni = &seen.eni;
    let (account, region) = (eni.home.account(), eni.home.region());
    let address = |mapped: &Mapped| ec2::NetworkInterfacePrivateIpAddress {
        association: association(mapped, account),
        primary: Some(mapped.primary),
        private_dns_name: Some(private_dns(mapped.private_ip, region)),
        private_ip_address: Some(mapped.private_ip.to_string()),
    };
    let address6 = |ip: &Ipv6Addr| ec2::NetworkInterfaceIpv6Address {
        ipv6_address: Some(ip.to_string()),
        is_primary_ipv6: Some(false),
        ..Default::default()
    };
    ec2::NetworkInterface {
        association: seen.addresses.first().and_then(|mapped| association(mapped, account)),
        attachment: attachment(eni, seen.status),
        availability_zone: Some(eni.zone.clone()),
        availability_zone_id: Some(zone_id(&eni.zone)),
        description: Some(eni.description.clone()),
        ipv6_address: eni.ipv6.first().map(ToString::to_string),
        ipv6_addresses: eni.ipv6.iter().map(address6).collect(),
        groups: names.shown(tx, &eni.groups),
        interface_type: Some(kind(eni).into()),
        mac_address: Some(eni.mac.to_string()),
        network_interface_id: Some(eni.id.to_string()),
        owner_id: Some(account.into()),
        private_dns_name: Some(private_dns(eni.private_ip, region)),
        public_dns_name: seen.addresses.first().and_then(|mapped| mapped.public_dns.clone()),
        private_ip_address: Some(eni.private_ip.to_string()),
        private_ip_addresses: seen.addresses.iter().map(address).collect(),
        requester_managed: Some(eni.requester_managed),
        requester_id: Some(account.into()),
        source_dest_check: Some(eni.source_dest_check),
        status: Some(status(eni).into()),
        subnet_id: Some(eni.subnet.to_string()),
        tag_set: tagging::shown(&seen.tags),
        vpc_id: Some(eni.vpc.to_string()),
        operator: Some(nobody_else()),
        ..Default::default()
    }
}
