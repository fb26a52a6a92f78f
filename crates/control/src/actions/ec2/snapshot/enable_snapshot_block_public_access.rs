//! EnableSnapshotBlockPublicAccess: no snapshot becomes public any more, and with `block-all-sharing` none is.

use awan_model::image::{PublicAccess, SnapshotAccess};
use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::get_snapshot_block_public_access_state::named;
use crate::error::{Result, invalid_value, missing};
use crate::sharing;

pub fn enable_snapshot_block_public_access(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableSnapshotBlockPublicAccessRequest,
) -> Result<ec2::EnableSnapshotBlockPublicAccessResult> {
    let ec2::EnableSnapshotBlockPublicAccessRequest { state, dry_run: _ } = req;
    let access = match state.ok_or_else(|| missing("State"))?.as_str() {
        "block-new-sharing" => SnapshotAccess::BlockNew,
        "block-all-sharing" => SnapshotAccess::BlockAll,
        other => return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "State")),
    };
    choose(tx, access);
    Ok(ec2::EnableSnapshotBlockPublicAccessResult { state: Some(named(access).into()) })
}

/// What is public stays so in its record; whether others see that follows.
pub fn choose(tx: &mut Tx<Tenant>, snapshots: SnapshotAccess) {
    let blocked = snapshots == SnapshotAccess::BlockAll;
    for snapshot in tx.list::<Snapshot>().iter().filter(|s| s.blocked != blocked) {
        tx.put(Snapshot { blocked, ..(**snapshot).clone() });
    }
    let access = PublicAccess { snapshots, ..sharing::access(tx) };
    tx.put(access);
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_mode_is_named_and_can_be_changed() {
        let mut cloud = Cloud::new();
        for mode in ["block-new-sharing", "block-all-sharing", "block-new-sharing"] {
            let told = cloud.tenant("acme").call("EnableSnapshotBlockPublicAccess", &[("State", mode)]).expect("sets");
            assert_eq!(Cloud::ids(&told, "state"), [mode]);
            let state = cloud.tenant("acme").call("GetSnapshotBlockPublicAccessState", &[]).expect("answers");
            assert_eq!(Cloud::ids(&state, "state"), [mode]);
        }
        let refusal = cloud.tenant("acme").call("EnableSnapshotBlockPublicAccess", &[("State", "unblocked")]);
        assert!(refusal.expect_err("is what Disable is for").starts_with("InvalidParameterValue"));
    }
}
