//! CreateSnapshots: of all volumes of an instance, at one moment.

use awan_model::id::VolumeId;
use awan_model::instance::Instance;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_snapshot::{described, of_volumes, regional, room_for};
use super::describe_snapshots::shown;
use crate::error::{Result, invalid, invalid_value, missing, refuse_if};
use crate::tagging;

const EXCLUDED_MAX: usize = 40;

pub fn create_snapshots(tx: &mut Tx<Tenant>, req: ec2::CreateSnapshotsRequest) -> Result<ec2::CreateSnapshotsResult> {
    let ec2::CreateSnapshotsRequest {
        description,
        instance_specification,
        outpost_arn,
        tag_specifications,
        dry_run: _,
        copy_tags_from_source,
        location,
    } = req;
    refuse_if(outpost_arn.is_some(), "OutpostArn")?;
    regional(location.as_deref())?;
    if let Some(other) = copy_tags_from_source.as_deref().filter(|of| *of != "volume") {
        return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "CopyTagsFromSource"));
    }
    let tags = tagging::specified(&tag_specifications, "snapshot", &["snapshot"])?;
    let specification = instance_specification.ok_or_else(|| missing("InstanceSpecification"))?;
    let description = described(description)?;
    let volumes = wanted(tx, specification)?;
    room_for(tx, volumes.len())?;
    let mut snapshots = Vec::new();
    let taken = of_volumes(tx, &volumes, |_| description.clone())?;
    for (volume, snapshot) in volumes.iter().zip(taken) {
        if copy_tags_from_source.is_some() {
            let copied = tagging::shown(&tagging::of(tx, volume.id.as_str()));
            tagging::add(tx, snapshot.id.as_str(), &copied)?;
        }
        tagging::add(tx, snapshot.id.as_str(), &tags)?;
        let all = tagging::shown(&tagging::of(tx, snapshot.id.as_str()));
        snapshots.push(brief(shown(&snapshot, all)));
    }
    Ok(ec2::CreateSnapshotsResult { snapshots })
}

fn wanted(tx: &mut Tx<Tenant>, specification: ec2::InstanceSpecification) -> Result<Vec<std::sync::Arc<Volume>>> {
    let ec2::InstanceSpecification { instance_id, exclude_boot_volume, exclude_data_volume_ids } = specification;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    if exclude_data_volume_ids.len() > EXCLUDED_MAX {
        return Err(invalid(format!("At most {EXCLUDED_MAX} volumes can be excluded")));
    }
    let excluded: Vec<VolumeId> = exclude_data_volume_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let of = |v: &Volume| v.attachment.as_ref().is_some_and(|a| a.instance == instance.id);
    let mut volumes: Vec<_> = tx.list::<Volume>().into_iter().filter(|v| of(v)).collect();
    if excluded.contains(&instance.root_volume) {
        return Err(invalid("The root volume is excluded by ExcludeBootVolume"));
    }
    if let Some(id) = excluded.iter().find(|id| volumes.iter().all(|v| v.id != **id)) {
        return Err(invalid(format!("The volume {id} is not attached to {}", instance.id)));
    }
    volumes.retain(|v| !excluded.contains(&v.id));
    volumes.retain(|v| exclude_boot_volume != Some(true) || v.id != instance.root_volume);
    if volumes.is_empty() {
        return Err(invalid("No volume is left to make a snapshot of"));
    }
    Ok(volumes)
}

fn brief(snapshot: ec2::Snapshot) -> ec2::SnapshotInfo {
    ec2::SnapshotInfo {
        description: snapshot.description,
        tags: snapshot.tags,
        encrypted: snapshot.encrypted,
        volume_id: snapshot.volume_id,
        state: snapshot.state,
        volume_size: snapshot.volume_size,
        start_time: snapshot.start_time,
        progress: snapshot.progress,
        owner_id: snapshot.owner_id,
        snapshot_id: snapshot.snapshot_id,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_volume_of_an_instance_gets_its_snapshot() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let tag = [("ResourceId.1", volume.as_str()), ("Tag.1.Key", "disk"), ("Tag.1.Value", "root")];
        cloud.tenant("acme").call("CreateTags", &tag).expect("tags");
        let ask = [("InstanceSpecification.InstanceId", instance.as_str()), ("CopyTagsFromSource", "volume")];
        let made = cloud.tenant("acme").call("CreateSnapshots", &ask).expect("makes");
        assert_eq!(Cloud::ids(&made, "volumeId"), std::slice::from_ref(&volume));
        assert!(made.contains("<value>root</value>"), "{made}");
        for more in [
            ("InstanceSpecification.ExcludeBootVolume", "true"),
            ("InstanceSpecification.ExcludeDataVolumeId.1", volume.as_str()),
            ("InstanceSpecification.ExcludeDataVolumeId.1", "vol-00000000000000000"),
            ("CopyTagsFromSource", "instance"),
        ] {
            let ask: Vec<_> = ask.into_iter().filter(|(k, _)| *k != more.0).chain([more]).collect();
            let refusal = cloud.tenant("acme").call("CreateSnapshots", &ask).expect_err(more.0);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        let refusal = cloud.tenant("other").call("CreateSnapshots", &ask).expect_err("a foreign instance");
        assert!(refusal.starts_with("InvalidInstanceID.NotFound"), "{refusal}");
    }
}
