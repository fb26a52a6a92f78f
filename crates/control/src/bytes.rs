//! What disks hold: which of it there is.

use awan_model::host::HostRecord;
use awan_state::{Tenant, Tx};

/// Whether a machine somewhere would really read what a disk holds. Simulated machines have no bytes at all.
pub fn are_read(tx: &mut Tx<Tenant>) -> bool {
    tx.as_system(|tx| tx.all::<HostRecord>().iter().any(|host| host.accelerator != "simulated"))
}
