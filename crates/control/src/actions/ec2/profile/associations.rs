//! Associations of profiles as EC2 shows them, and the instances that can have one.

use awan_model::id::InstanceId;
use awan_model::instance::{Instance, State};
use awan_model::profile::ProfileAssociation;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view;
use crate::error::{Code, Result, refuse};
use crate::identity;

pub fn shown(association: &ProfileAssociation, state: &str) -> ec2::IamInstanceProfileAssociation {
    ec2::IamInstanceProfileAssociation {
        association_id: Some(association.id.to_string()),
        instance_id: Some(association.instance.to_string()),
        iam_instance_profile: Some(identity::instance::shown(association)),
        state: Some(state.into()),
        timestamp: view::time(association.created),
    }
}

/// An instance that lives and has no profile.
pub fn without(tx: &mut Tx<Tenant>, id: &InstanceId) -> Result<()> {
    let instance = tx.get::<Instance>(id)?;
    let seen = view::see(tx, instance);
    if matches!(seen.state, State::ShuttingDown | State::Terminated) {
        let message = format!("The instance '{id}' is not in the 'running' or 'stopped' states.");
        return Err(refuse(Code::IncorrectInstanceState, message));
    }
    if identity::instance::of(tx, id).is_some() {
        let message = format!("There is an existing association for instance {id}");
        return Err(refuse(Code::IncorrectState, message));
    }
    Ok(())
}
