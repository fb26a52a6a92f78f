//! ResetSnapshotAttribute: a snapshot is its owner's alone again.

use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing, refuse_if};
use crate::sharing;

pub fn reset_snapshot_attribute(tx: &mut Tx<Tenant>, req: ec2::ResetSnapshotAttributeRequest) -> Result<()> {
    let ec2::ResetSnapshotAttributeRequest { attribute, snapshot_id, dry_run: _ } = req;
    refuse_if(attribute.ok_or_else(|| missing("Attribute"))? != "createVolumePermission", "Attribute")?;
    let id = snapshot_id.ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let snapshot = sharing::own::<Snapshot>(tx, &id, "snapshot")?;
    tx.put(Snapshot { public: false, shared_with: Default::default(), ..(*snapshot).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_the_permission_can_be_reset_and_only_by_the_owner() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let builtin = Cloud::ids(&public, "snapshotId").remove(0);
        for (attribute, code) in [("createVolumePermission", "AuthFailure"), ("productCodes", "UnsupportedOperation")] {
            let ask = [("SnapshotId", builtin.as_str()), ("Attribute", attribute)];
            let refusal = cloud.tenant("acme").call("ResetSnapshotAttribute", &ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
