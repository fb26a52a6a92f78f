//! DescribeSnapshotAttribute: who may make volumes of a snapshot of one's own.

use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, invalid_value, missing};
use crate::sharing;

pub fn describe_snapshot_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSnapshotAttributeRequest,
) -> Result<ec2::DescribeSnapshotAttributeResult> {
    let ec2::DescribeSnapshotAttributeRequest { attribute, snapshot_id, dry_run: _ } = req;
    let attribute = attribute.ok_or_else(|| missing("Attribute"))?;
    let id = snapshot_id.ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let snapshot = sharing::own::<Snapshot>(tx, &id, "snapshot")?;
    let mut told = ec2::DescribeSnapshotAttributeResult { snapshot_id: Some(id.to_string()), ..Default::default() };
    match attribute.as_str() {
        "createVolumePermission" => {
            let all = snapshot.public.then(|| ec2::CreateVolumePermission { group: Some("all".into()), user_id: None });
            let of = |user: &String| ec2::CreateVolumePermission { user_id: Some(user.clone()), group: None };
            told.create_volume_permissions = all.into_iter().chain(snapshot.shared_with.iter().map(of)).collect();
        }
        // Of the marketplace; none has any.
        "productCodes" => {}
        other => return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "attribute")),
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn who_may_use_a_snapshot_is_its_owners_to_know() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let builtin = Cloud::ids(&public, "snapshotId").remove(0);
        let copy = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let made = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        let own = Cloud::ids(&made, "snapshotId").remove(0);
        let ask =
            |id: &str, attribute: &'static str| [("SnapshotId", id.to_owned()), ("Attribute", attribute.to_owned())];
        for (id, attribute, expected) in [
            (&own, "createVolumePermission", "<snapshotId>"),
            (&own, "productCodes", "<snapshotId>"),
            (&own, "colour", "InvalidParameterValue"),
            (&builtin, "createVolumePermission", "AuthFailure: Not authorized for snapshot:snap-"),
        ] {
            let ask = ask(id, attribute);
            let ask: Vec<_> = ask.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let told = cloud.tenant("acme").call("DescribeSnapshotAttribute", &ask);
            let told = told.unwrap_or_else(|refusal| refusal);
            assert!(told.contains(expected), "{attribute}: {told}");
        }
    }
}
