//! DescribeSnapshots: what this account may make volumes of.

use std::collections::BTreeMap;
use std::sync::Arc;

use awan_model::account::{Account, BUILTIN_ALIAS};
use awan_model::snapshot::{Phase, Snapshot};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::{text_time, time};
use crate::describe::{Filters, Page};
use crate::error::{Code, Result, refuse};
use crate::{keys, tagging};

const FILTERS: &[&str] = &[
    "tag:*",
    "description",
    "encrypted",
    "owner-alias",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "transfer-type",
    "volume-id",
    "volume-size",
];
/// What EC2 shows of a snapshot that was not made of a volume.
const NO_VOLUME: &str = "vol-ffffffff";

pub fn describe_snapshots(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSnapshotsRequest,
) -> Result<ec2::DescribeSnapshotsResult> {
    let ec2::DescribeSnapshotsRequest {
        max_results,
        next_token,
        owner_ids,
        restorable_by_user_ids,
        snapshot_ids,
        dry_run: _,
        filters,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !snapshot_ids.is_empty();
    let page = Page::new(tx, "DescribeSnapshots", (max_results, next_token.as_deref()), (5, 1000), named)?;
    known(&owner_ids, &["self", BUILTIN_ALIAS])?;
    known(&restorable_by_user_ids, &["self", "all"])?;
    let own = tx.home().account().to_owned();
    let mut found = Vec::new();
    for id in &snapshot_ids {
        found.push(tx.shared::<Snapshot>(&id.parse()?)?);
    }
    if !named {
        let mine = !owner_ids.is_empty() && owner_ids.iter().all(|who| *who == "self" || *who == own);
        found = if mine { tx.list::<Snapshot>() } else { tx.all_shared::<Snapshot>() };
    }
    found.retain(|s| owner_ids.is_empty() || owner_ids.iter().any(|who| is_of(s, who, &own)));
    let users = &restorable_by_user_ids;
    found.retain(|s| users.is_empty() || users.iter().any(|who| may_restore(s, who, &own)));
    let mut kept: Vec<(Arc<Snapshot>, _)> = Vec::new();
    for snapshot in found {
        let tags = tagging::of(tx, snapshot.id.as_str());
        if filters.match_all(|name| value(&snapshot, &tags, name)) {
            kept.push((snapshot, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(snapshot, _)| snapshot.id.clone());
    let snapshots = kept.iter().map(|(snapshot, tags)| shown(snapshot, tagging::shown(tags))).collect();
    Ok(ec2::DescribeSnapshotsResult { next_token, snapshots })
}

/// Refuses what is neither an account nor one of these words.
pub fn known(users: &[String], words: &[&str]) -> Result<()> {
    match users.iter().find(|user| !words.contains(&user.as_str()) && !Account::is_id(user)) {
        None => Ok(()),
        Some(user) => {
            let shown: String = user.chars().take(64).collect();
            Err(refuse(Code::InvalidUserIdMalformed, format!("Invalid user id: \"{}\"", shown.escape_debug())))
        }
    }
}

fn is_of(snapshot: &Snapshot, who: &str, own: &str) -> bool {
    match who {
        "self" => snapshot.home.account() == own,
        BUILTIN_ALIAS => snapshot.is_builtin(),
        id => snapshot.home.account() == id,
    }
}

/// Whom else a snapshot is for is its owner's to know.
fn may_restore(snapshot: &Snapshot, who: &str, own: &str) -> bool {
    let mine = snapshot.home.account() == own;
    match who {
        "all" => snapshot.public,
        "self" => mine || snapshot.shared_with.contains(own),
        id if id == own => mine || snapshot.shared_with.contains(own),
        id => mine && snapshot.shared_with.contains(id),
    }
}

pub fn source(snapshot: &Snapshot) -> String {
    snapshot.volume.as_ref().map_or_else(|| NO_VOLUME.to_owned(), ToString::to_string)
}

fn value(snapshot: &Snapshot, tags: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    let value = match name {
        "description" => snapshot.description.clone(),
        "encrypted" => snapshot.encrypted.to_string(),
        "owner-alias" if snapshot.is_builtin() => BUILTIN_ALIAS.into(),
        "owner-id" => snapshot.home.account().to_owned(),
        "progress" => progress(snapshot),
        "snapshot-id" => snapshot.id.to_string(),
        "start-time" => return text_time(snapshot.started).into_iter().collect(),
        "status" => snapshot.phase.as_str().into(),
        "storage-tier" => "standard".into(),
        "transfer-type" if snapshot.copy_of.is_some() => "standard".into(),
        "volume-id" => source(snapshot),
        "volume-size" => snapshot.size_gib.to_string(),
        tag if tag.starts_with("tag") => return tagging::filter_values(tags, tag),
        _ => return Vec::new(),
    };
    vec![value]
}

/// Its host has all of it at once, or nothing; but of one that is written in blocks, who writes it may say.
fn progress(snapshot: &Snapshot) -> String {
    let told = snapshot.upload.as_ref().and_then(|upload| upload.progress);
    let percent = if snapshot.phase == Phase::Completed { 100 } else { told.unwrap_or_default() };
    format!("{percent}%")
}

pub fn shown(snapshot: &Snapshot, tags: Vec<ec2::Tag>) -> ec2::Snapshot {
    ec2::Snapshot {
        owner_alias: snapshot.is_builtin().then(|| BUILTIN_ALIAS.into()),
        tags,
        storage_tier: Some("standard".into()),
        transfer_type: snapshot.copy_of.is_some().then(|| "standard".into()),
        completion_time: (snapshot.phase == Phase::Completed).then(|| time(snapshot.started)).flatten(),
        snapshot_id: Some(snapshot.id.to_string()),
        volume_id: Some(source(snapshot)),
        state: Some(snapshot.phase.as_str().into()),
        start_time: time(snapshot.started),
        progress: Some(progress(snapshot)),
        owner_id: Some(snapshot.home.account().into()),
        description: Some(snapshot.description.clone()),
        volume_size: i32::try_from(snapshot.size_gib).ok(),
        encrypted: Some(snapshot.encrypted),
        kms_key_id: keys::shown(&snapshot.home, snapshot.encrypted),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn ids(cloud: &mut Cloud, account: &str, ask: &[(&str, &str)]) -> Vec<String> {
        Cloud::ids(&cloud.tenant(account).call("DescribeSnapshots", ask).expect("answers"), "snapshotId")
    }

    #[test]
    fn the_snapshots_of_images_that_come_with_awan_are_public() {
        let mut cloud = Cloud::new();
        let image = cloud.tenant("acme").call("DescribeImages", &[]).expect("answers");
        let public = Cloud::ids(&image, "snapshotId");
        assert_eq!(public.len(), 1);
        for ask in [
            vec![],
            vec![("Owner.1", "amazon")],
            vec![("RestorableBy.1", "all")],
            vec![("SnapshotId.1", public[0].as_str())],
            vec![("Filter.1.Name", "owner-alias"), ("Filter.1.Value.1", "amazon")],
        ] {
            assert_eq!(ids(&mut cloud, "acme", &ask), public, "{ask:?}");
        }
        for ask in [[("Owner.1", "self")], [("RestorableBy.1", "self")], [("Owner.1", "123456789012")]] {
            assert!(ids(&mut cloud, "acme", &ask).is_empty(), "{ask:?}");
        }
        let refusal = cloud.tenant("acme").call("DescribeSnapshots", &[("Owner.1", "me")]).expect_err("no account");
        assert_eq!(refusal, "InvalidUserID.Malformed: Invalid user id: \"me\"");
    }

    #[test]
    fn snapshots_come_in_pages_and_by_filters() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        for n in 0..7 {
            let ask = [("VolumeId", volume.as_str()), ("Description", &n.to_string())];
            cloud.tenant("acme").call("CreateSnapshot", &ask).expect("makes");
        }
        let own = [("Owner.1", "self"), ("MaxResults", "5")];
        let first = cloud.tenant("acme").call("DescribeSnapshots", &own).expect("answers");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let rest = ids(&mut cloud, "acme", &[("Owner.1", "self"), ("NextToken", &token)]);
        assert_eq!((Cloud::ids(&first, "snapshotId").len(), rest.len()), (5, 2));
        cloud.settle();
        for (name, value, count) in [
            ("description", "3", 1),
            ("volume-id", volume.as_str(), 7),
            ("volume-size", "1", 8),
            ("status", "completed", 8),
            ("status", "pending", 0),
            ("transfer-type", "standard", 0),
        ] {
            let found = ids(&mut cloud, "acme", &[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
            assert_eq!(found.len(), count, "{name}={value}");
        }
    }
}
