//! DisableSnapshotBlockPublicAccess.

use awan_model::image::SnapshotAccess;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::enable_snapshot_block_public_access::choose;
use crate::error::Result;

pub fn disable_snapshot_block_public_access(
    tx: &mut Tx<Tenant>,
    req: ec2::DisableSnapshotBlockPublicAccessRequest,
) -> Result<ec2::DisableSnapshotBlockPublicAccessResult> {
    let ec2::DisableSnapshotBlockPublicAccessRequest { dry_run: _ } = req;
    choose(tx, SnapshotAccess::Unblocked);
    Ok(ec2::DisableSnapshotBlockPublicAccessResult { state: Some("unblocked".into()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn disabling_twice_is_fine() {
        let mut cloud = Cloud::new();
        for _ in 0..2 {
            let told = cloud.tenant("acme").call("DisableSnapshotBlockPublicAccess", &[]).expect("sets");
            assert_eq!(Cloud::ids(&told, "state"), ["unblocked"]);
        }
    }
}
