//! live: PutSnapshotBlock gives a block to the host where its snapshot is to lie, and answers once that has it for good.

use awan_model::report::BLOCK;
use awan_model::snapshot::{Phase, Snapshot, Upload};
use awan_state::Millis;
use awan_wire::ebs;
use sha2::{Digest as _, Sha256};

use crate::dispatch::Live;
use crate::ebs::{SHA256, algorithm, checksum, id, index, shown, upload};
use crate::error::{Code, Error, Result, invalid, refuse};
use crate::live;

/// That something was written is noted so often at most.
const NOTED_MS: Millis = 60_000;

pub async fn put_snapshot_block(cx: Live, req: ebs::PutSnapshotBlockRequest) -> Result<ebs::PutSnapshotBlockResponse> {
    let ebs::PutSnapshotBlockRequest {
        snapshot_id,
        block_index,
        block_data,
        data_length,
        progress,
        checksum: said,
        checksum_algorithm,
    } = req;
    let id = id(snapshot_id.as_deref())?;
    let bytes = block_data.unwrap_or_default().0;
    if bytes.len() != BLOCK || data_length.and_then(|length| usize::try_from(length).ok()) != Some(BLOCK) {
        return Err(invalid(format!("A block has {BLOCK} bytes.")));
    }
    algorithm(checksum_algorithm.as_deref())?;
    let progress = progress.map(u8::try_from).transpose().ok().filter(|p| p.is_none_or(|p| p <= 100));
    let progress = progress.ok_or_else(|| invalid("Progress is between 0 and 100."))?;
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    if checksum(said.as_deref().unwrap_or_default())? != sha256 {
        return Err(refuse(Code::BlockInvalid, "The checksum is not that of the block."));
    }
    let (snapshot, content, index) = cx.control.db.read(cx.tenant.clone(), |tx| {
        let (snapshot, content) = upload(tx, &id)?;
        takes_more(&snapshot)?;
        let index = index(block_index, &snapshot)?;
        Ok::<_, Error>((snapshot, content, index))
    })?;
    live::put_block(&cx, &content.host, &content.id, index, bytes, sha256).await?;
    note(&cx, &snapshot, progress).await?;
    Ok(ebs::PutSnapshotBlockResponse { checksum: Some(shown(&sha256)), checksum_algorithm: Some(SHA256.into()) })
}

fn takes_more(snapshot: &Snapshot) -> Result<()> {
    let sealed = snapshot.upload.as_ref().is_some_and(|upload| upload.sealed);
    if snapshot.phase == Phase::Pending && !sealed {
        return Ok(());
    }
    let message = format!("The snapshot '{}' is whole: nothing can be written to it.", snapshot.id);
    Err(refuse(Code::BlockSnapshotInvalid, message))
}

/// Writes down that something was written, now and then.
async fn note(cx: &Live, snapshot: &Snapshot, progress: Option<u8>) -> Result<()> {
    let due = |upload: &Upload, now: Millis| now >= upload.touched.saturating_add(NOTED_MS);
    let now = cx.control.db.now();
    if !snapshot.upload.as_ref().is_some_and(|upload| due(upload, now)) {
        return Ok(());
    }
    cx.control
        .db
        .transact(cx.tenant.clone(), &cx.request_id, |tx| {
            let Some(snapshot) = tx.find::<Snapshot>(&snapshot.id) else { return Ok(()) };
            let touched = tx.now();
            let Some(upload) = snapshot.upload.clone().filter(|upload| !upload.sealed && due(upload, touched)) else {
                return Ok(());
            };
            let upload = Upload { touched, progress: progress.or(upload.progress), ..upload };
            tx.put(Snapshot { upload: Some(upload), ..(*snapshot).clone() });
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cloud;

    fn put(cloud: &mut Cloud, id: &str, more: &[(&str, &str)], bytes: &[u8]) -> Result<String, String> {
        let sum = shown(&Sha256::digest(bytes));
        let length = bytes.len().to_string();
        let usual =
            [("x-amz-data-length", length.as_str()), ("x-amz-checksum", &sum), ("x-amz-checksum-algorithm", SHA256)];
        let given = |name: &str| more.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        let mut headers: Vec<_> = usual.iter().map(|(name, value)| (*name, given(name).unwrap_or(value))).collect();
        headers.extend(given("x-amz-progress").map(|value| ("x-amz-progress", value)));
        let path = [("snapshotId", id), ("blockIndex", given("index").unwrap_or("0"))];
        let told = cloud.tenant("acme").ebs("PutSnapshotBlock", &path, &[], &headers, bytes)?;
        assert_eq!((told.status, &told.headers[0]), (201, &("x-amz-Checksum", sum)));
        Ok(told.into_text())
    }

    #[test]
    fn a_block_is_taken_with_its_own_checksum_until_the_snapshot_is_whole() {
        let mut cloud = Cloud::new();
        let id = cloud.started("acme", 1);
        let told = cloud.with_blocks(Vec::new());
        let block = vec![7; BLOCK];
        put(&mut cloud, &id, &[], &block).expect("puts");
        let other = shown(&Sha256::digest(b"other"));
        for (name, value, code) in [
            ("x-amz-checksum", other.as_str(), "INVALID_BLOCK: The checksum"),
            ("x-amz-checksum", "x", "InvalidParameterValue"),
            ("x-amz-checksum-algorithm", "MD5", "InvalidParameterValue"),
            ("x-amz-data-length", "1", "InvalidParameterValue"),
            ("x-amz-progress", "101", "InvalidParameterValue"),
            ("index", "2048", "INVALID_BLOCK: The snapshot"),
        ] {
            let refused = put(&mut cloud, &id, &[(name, value)], &block).expect_err(value);
            assert!(refused.starts_with(code), "{refused}");
        }
        assert!(put(&mut cloud, &id, &[], b"short").expect_err("short").starts_with("InvalidParameterValue"));
        let whole = cloud.written("acme", 1, &[]);
        assert!(put(&mut cloud, &whole, &[], &block).expect_err("is whole").starts_with("INVALID_SNAPSHOT_ID"));
        let volume = cloud.tenant("acme").volume("us-east-1a");
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let of_volume = Cloud::ids(&made, "snapshotId").remove(0);
        assert!(put(&mut cloud, &of_volume, &[], &block).expect_err("a volume's").starts_with("INVALID_SNAPSHOT_ID"));
        told.abort();
        cloud.audit();
    }

    #[test]
    fn while_something_is_written_time_begins_anew() {
        let mut cloud = Cloud::new();
        let id = cloud.started("acme", 1);
        let told = cloud.with_blocks(Vec::new());
        cloud.pass(59 * 60_000);
        put(&mut cloud, &id, &[("x-amz-progress", "40")], &vec![7; BLOCK]).expect("puts");
        cloud.pass(59 * 60_000);
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("SnapshotId.1", &id)]).expect("shows");
        assert_eq!(
            (Cloud::ids(&shown, "status"), Cloud::ids(&shown, "progress")),
            (vec!["pending".into()], vec!["40%".into()])
        );
        cloud.pass(60_000);
        cloud.settle();
        let refused = put(&mut cloud, &id, &[], &vec![7; BLOCK]).expect_err("is over");
        assert!(refused.starts_with("WRITE_REQUEST_TIMEOUT"), "{refused}");
        told.abort();
        cloud.audit();
    }
}
