//! What stands around subnets: their network ACL, and the DHCP options of their VPC.

use std::sync::Arc;

use awan_model::dhcp_options::{AMAZON_DNS, DhcpOptions};
use awan_model::id::{DhcpOptionsId, NetworkAclAssociationId, NetworkAclId, SubnetId, VpcId};
use awan_model::network_acl::{Association, Entry, NetworkAcl};
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};

use super::remove;
use crate::token;

/// An ACL that denies everything and serves nobody; not stored.
pub fn acl(tx: &mut Tx<Tenant>, vpc: &VpcId) -> NetworkAcl {
    NetworkAcl {
        home: tx.home().clone(),
        id: NetworkAclId::made(tx.new_id(NetworkAclId::PREFIX)),
        vpc: vpc.clone(),
        is_default: false,
        associations: Vec::new(),
        entries: Vec::new(),
        client_token: None,
        created: tx.now(),
    }
}

/// The ACL of a VPC that serves the subnets which have no other; made where there is none yet.
pub fn default_acl(tx: &mut Tx<Tenant>, vpc: &VpcId) -> NetworkAcl {
    let found = tx.list::<NetworkAcl>().into_iter().find(|acl| acl.is_default && acl.vpc == *vpc);
    if let Some(acl) = found {
        return (*acl).clone();
    }
    let acl = NetworkAcl { is_default: true, entries: [false, true].map(Entry::all).into(), ..acl(tx, vpc) };
    tx.put(acl.clone());
    acl
}

/// Associates a subnet that no ACL serves.
pub fn serve(tx: &mut Tx<Tenant>, mut acl: NetworkAcl, subnet: &SubnetId) -> NetworkAclAssociationId {
    let id = NetworkAclAssociationId::made(tx.new_id(NetworkAclAssociationId::PREFIX));
    acl.associations.push(Association { id: id.clone(), subnet: subnet.clone() });
    tx.put(acl);
    id
}

/// Stores a subnet, which the default ACL of its VPC serves.
pub fn add_subnet(tx: &mut Tx<Tenant>, subnet: Subnet) {
    let acl = default_acl(tx, &subnet.vpc);
    serve(tx, acl, &subnet.id);
    tx.put(subnet);
}

/// The ACL that serves a subnet.
pub fn acl_of(tx: &mut Tx<Tenant>, subnet: &SubnetId) -> Option<Arc<NetworkAcl>> {
    let acl = tx.lookup(NetworkAcl::BY_SUBNET, subnet.as_str())?;
    tx.find::<NetworkAcl>(&acl.parse().ok()?)
}

/// Ends the association of a subnet, which goes.
pub fn leave_acl(tx: &mut Tx<Tenant>, subnet: &SubnetId) {
    if let Some(acl) = acl_of(tx, subnet) {
        let mut acl = (*acl).clone();
        acl.associations.retain(|a| a.subnet != *subnet);
        tx.put(acl);
    }
}

/// Removes an ACL, its tags, and the memory of the request that made it.
pub fn remove_acl(tx: &mut Tx<Tenant>, acl: &NetworkAcl) {
    token::forget(tx, "CreateNetworkAcl", acl.client_token.as_deref());
    remove::<NetworkAcl>(tx, &acl.id);
}

/// The options that VPCs begin with: one set for all of a region.
pub fn default_options(tx: &mut Tx<Tenant>) -> DhcpOptionsId {
    let found = tx.list::<DhcpOptions>().into_iter().find(|options| options.is_default);
    if let Some(options) = found {
        return options.id.clone();
    }
    let id = DhcpOptionsId::made(tx.new_id(DhcpOptionsId::PREFIX));
    put_default_options(tx, id.clone());
    id
}

fn put_default_options(tx: &mut Tx<Tenant>, id: DhcpOptionsId) {
    let (home, created) = (tx.home().clone(), tx.now());
    let domain = match home.region() {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    };
    let options =
        vec![("domain-name".to_owned(), vec![domain]), ("domain-name-servers".to_owned(), vec![AMAZON_DNS.to_owned()])];
    tx.put(DhcpOptions { home, id, is_default: true, options, created });
}

/// What earlier versions did not record: the default ACL of a VPC, and the options that it names.
pub fn complete(tx: &mut Tx<Tenant>) {
    for vpc in tx.list::<Vpc>() {
        if let Some(id) = vpc.dhcp_options.as_ref().filter(|id| tx.find::<DhcpOptions>(id).is_none()) {
            put_default_options(tx, id.clone());
        }
        default_acl(tx, &vpc.id);
    }
    for subnet in tx.list::<Subnet>() {
        if acl_of(tx, &subnet.id).is_none() {
            let acl = default_acl(tx, &subnet.vpc);
            serve(tx, acl, &subnet.id);
        }
    }
}
