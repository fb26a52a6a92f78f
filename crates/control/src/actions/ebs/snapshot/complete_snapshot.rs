//! live: CompleteSnapshot asks the host whether it has all that was written, and has it make a disk of that.

use awan_model::snapshot::{Phase, Snapshot, Upload};
use awan_state::{Tenant, Tx};
use awan_wire::ebs;

use crate::dispatch::Live;
use crate::ebs::{algorithm, checksum, id, upload, whole};
use crate::error::{Code, Error, Result, invalid, refuse};
use crate::live;

pub async fn complete_snapshot(cx: Live, req: ebs::CompleteSnapshotRequest) -> Result<ebs::CompleteSnapshotResponse> {
    let ebs::CompleteSnapshotRequest {
        snapshot_id,
        changed_blocks_count,
        checksum: said,
        checksum_algorithm,
        checksum_aggregation_method,
    } = req;
    let id = id(snapshot_id.as_deref())?;
    algorithm(checksum_algorithm.as_deref())?;
    if checksum_aggregation_method.is_some_and(|method| method != "LINEAR") {
        return Err(invalid("The only aggregation method is LINEAR."));
    }
    let said = said.as_deref().map(checksum).transpose()?;
    let (snapshot, content) = cx.control.db.read(cx.tenant.clone(), |tx| upload(tx, &id))?;
    // Who was not answered asks again.
    if snapshot.upload.as_ref().is_some_and(|upload| upload.sealed) {
        return Ok(told(&snapshot));
    }
    let (blocks, sha256) = live::written(&cx, &content.host, &content.id).await?;
    if changed_blocks_count.and_then(|count| u64::try_from(count).ok()) != Some(blocks) {
        let message = format!("{blocks} blocks were written to the snapshot '{id}'.");
        return Err(refuse(Code::BlockInvalid, message));
    }
    if said.is_some_and(|said| said != sha256) {
        let message = "The checksum is not that of the checksums of all blocks, in the order of their indexes.";
        return Err(refuse(Code::BlockInvalid, message));
    }
    let sealed = cx.control.db.transact(cx.tenant.clone(), &cx.request_id, |tx| seal(tx, &snapshot, blocks)).await?;
    Ok(told(&sealed))
}

fn told(snapshot: &Snapshot) -> ebs::CompleteSnapshotResponse {
    ebs::CompleteSnapshotResponse { status: Some(snapshot.phase.as_str().into()) }
}

fn seal(tx: &mut Tx<Tenant>, snapshot: &Snapshot, blocks: u64) -> Result<Snapshot> {
    let (snapshot, content) = upload(tx, &snapshot.id)?;
    let Some(open) = &snapshot.upload else { return Err(Error::fault("what is written in blocks is not")) };
    if open.sealed || snapshot.phase != Phase::Pending {
        return Ok((*snapshot).clone());
    }
    whole(tx, &content, blocks);
    let sealed = Snapshot { upload: Some(Upload { sealed: true, ..open.clone() }), ..(*snapshot).clone() };
    tx.put(sealed.clone());
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use crate::ebs::shown;
    use crate::testing::Cloud;

    #[test]
    fn a_snapshot_is_whole_when_its_count_and_its_checksum_are_right_and_its_host_has_it() {
        let mut cloud = Cloud::new();
        let id = cloud.started("acme", 1);
        // The pretended host was given these.
        let host = cloud.with_blocks(vec![1, 5]);
        let complete = |cloud: &mut Cloud, who: &str, more: &[(&str, &str)]| {
            let path = [("snapshotId", id.as_str())];
            let told = cloud.tenant(who).ebs("CompleteSnapshot", &path, &[], more, b"")?;
            assert_eq!(told.status, 202);
            Ok::<_, String>(told.into_text())
        };
        let (right, wrong) = (shown(&Sha256::digest([1, 5])), shown(&Sha256::digest([1, 6])));
        let count = ("x-amz-changedblockscount", "2");
        for (more, code) in [
            (vec![("x-amz-changedblockscount", "3")], "INVALID_BLOCK: 2 blocks"),
            (vec![("x-amz-changedblockscount", "-2")], "INVALID_BLOCK: 2 blocks"),
            (vec![], "MissingParameter"),
            (vec![count, ("x-amz-checksum", &wrong)], "INVALID_BLOCK: The checksum"),
            (vec![count, ("x-amz-checksum", "x")], "InvalidParameterValue"),
            (vec![count, ("x-amz-checksum-algorithm", "MD5")], "InvalidParameterValue"),
            (vec![count, ("x-amz-checksum-aggregation-method", "TREE")], "InvalidParameterValue"),
        ] {
            let refused = complete(&mut cloud, "acme", &more).expect_err(code);
            assert!(refused.starts_with(code), "{refused}");
        }
        assert!(complete(&mut cloud, "other", &[count]).expect_err("foreign").starts_with("InvalidSnapshot.NotFound"));
        let linear = ("x-amz-checksum-aggregation-method", "LINEAR");
        let all = [count, ("x-amz-checksum", right.as_str()), ("x-amz-checksum-algorithm", "SHA256"), linear];
        assert_eq!(complete(&mut cloud, "acme", &all).expect("completes"), r#"{"Status":"pending"}"#);
        assert_eq!(complete(&mut cloud, "acme", &all).expect("again"), r#"{"Status":"pending"}"#);
        // Time does not end what only its host is to finish.
        cloud.pass(24 * 60 * 60_000);
        cloud.turn();
        cloud.settle();
        assert_eq!(complete(&mut cloud, "acme", &all).expect("again"), r#"{"Status":"completed"}"#);
        let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", id.as_str())];
        cloud.tenant("acme").call("CreateVolume", &ask).expect("makes a volume of it");
        host.abort();
        cloud.audit();
    }
}
