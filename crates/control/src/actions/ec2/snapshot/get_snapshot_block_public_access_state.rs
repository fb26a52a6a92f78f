//! GetSnapshotBlockPublicAccessState.

use awan_model::image::SnapshotAccess;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::Result;
use crate::sharing;

pub fn get_snapshot_block_public_access_state(
    tx: &mut Tx<Tenant>,
    req: ec2::GetSnapshotBlockPublicAccessStateRequest,
) -> Result<ec2::GetSnapshotBlockPublicAccessStateResult> {
    let ec2::GetSnapshotBlockPublicAccessStateRequest { dry_run: _ } = req;
    let state = named(sharing::access(tx).snapshots);
    Ok(ec2::GetSnapshotBlockPublicAccessStateResult { state: Some(state.into()), managed_by: Some("account".into()) })
}

pub fn named(access: SnapshotAccess) -> &'static str {
    match access {
        SnapshotAccess::Unblocked => "unblocked",
        SnapshotAccess::BlockNew => "block-new-sharing",
        SnapshotAccess::BlockAll => "block-all-sharing",
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_account_begins_unblocked() {
        let mut cloud = Cloud::new();
        let state = cloud.tenant("acme").call("GetSnapshotBlockPublicAccessState", &[]).expect("answers");
        assert_eq!(Cloud::ids(&state, "state"), ["unblocked"]);
    }
}
