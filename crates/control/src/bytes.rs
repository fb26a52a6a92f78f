//! What disks hold: which of it there is.

use awan_model::host::HostRecord;
use awan_model::id::ImageId;
use awan_model::snapshot::{Bytes, Snapshot};
use awan_state::{Tenant, Tx};

use crate::error::{Code, Result, refuse};

/// Whether a machine somewhere would really read what a disk holds. Simulated machines have no bytes at all.
pub fn are_read(tx: &mut Tx<Tenant>) -> bool {
    tx.as_system(|tx| tx.all::<HostRecord>().iter().any(|host| host.accelerator != "simulated"))
}

/// What a volume of a snapshot begins as. Refused where machines would find nothing of it on the volume.
pub fn of(tx: &mut Tx<Tenant>, snapshot: &Snapshot) -> Result<Option<ImageId>> {
    match &snapshot.bytes {
        Bytes::Image(id) => Ok(Some(id.clone())),
        Bytes::Own if are_read(tx) => {
            let message = format!(
                "The snapshot '{}' is a record: what its volume held is not kept, so no volume can be made of it.",
                snapshot.id
            );
            Err(refuse(Code::UnsupportedOperation, message))
        }
        Bytes::Own => Ok(None),
    }
}
