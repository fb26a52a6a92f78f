//! An interface before it is one: what its creation, by its own action or by a launch, decides about it.

use std::sync::Arc;

use awan_model::id::{AttachmentId, GroupId, InstanceId, InterfaceId};
use awan_model::interface::{Attachment, Mac, NetworkInterface};
use awan_model::subnet::Subnet;
use awan_state::{Tenant, Tx};

use super::addresses::{Taken, Wanted};
use crate::error::{Code, Result, invalid, refuse};

/// EC2's default quota per region.
const INTERFACES_MAX: usize = 5_000;
const DESCRIPTION_MAX: usize = 255;

pub struct Draft {
    pub subnet: Arc<Subnet>,
    pub groups: Vec<GroupId>,
    pub wanted: Wanted,
    pub description: String,
}

pub fn description(text: Option<String>) -> Result<String> {
    let text = text.unwrap_or_default();
    if text.chars().count() > DESCRIPTION_MAX {
        return Err(invalid(format!(
            "The description of a network interface has at most {DESCRIPTION_MAX} characters"
        )));
    }
    Ok(text)
}

pub fn must_have_room(tx: &mut Tx<Tenant>) -> Result<()> {
    if tx.list::<NetworkInterface>().len() >= INTERFACES_MAX {
        let message = "The maximum number of network interfaces has been reached.";
        return Err(refuse(Code::NetworkInterfaceLimitExceeded, message));
    }
    Ok(())
}

/// How an instance has an interface.
pub fn attachment(tx: &mut Tx<Tenant>, to: (&InstanceId, u32), delete: bool) -> Attachment {
    let id = AttachmentId::made(tx.new_id(AttachmentId::PREFIX));
    let (instance, device_index) = (to.0.clone(), to.1);
    Attachment { id, instance, device_index, delete_on_termination: delete, at: tx.now(), detach: None }
}

/// The record, with the addresses that were found for it.
pub fn put(
    tx: &mut Tx<Tenant>,
    draft: &Draft,
    Taken { private_ip, secondary, ipv6 }: Taken,
    attachment: Option<Attachment>,
    client_token: Option<String>,
) -> InterfaceId {
    let (home, created) = (tx.home().clone(), tx.now());
    let id = InterfaceId::made(tx.new_id(InterfaceId::PREFIX));
    let mac = Mac::from_random(tx.random());
    tx.put(NetworkInterface {
        home,
        id: id.clone(),
        vpc: draft.subnet.vpc.clone(),
        subnet: draft.subnet.id.clone(),
        zone: draft.subnet.zone.clone(),
        mac,
        private_ip,
        secondary,
        ipv6,
        groups: draft.groups.clone(),
        description: draft.description.clone(),
        source_dest_check: true,
        attachment,
        requester_managed: false,
        gateway: None,
        client_token,
        created,
    });
    id
}
