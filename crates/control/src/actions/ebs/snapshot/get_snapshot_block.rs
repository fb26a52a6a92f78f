//! live: GetSnapshotBlock asks the host where a snapshot lies what is in one of its blocks.

use awan_model::report::BLOCK;
use awan_wire::ebs;
use awan_wire::shape::Blob;
use sha2::{Digest as _, Sha256};

use crate::dispatch::Live;
use crate::ebs::{BLOCK_SIZE, SHA256, id, index, is_good, of_blocks, readable, shown};
use crate::error::{Error, Result};
use crate::live;

pub async fn get_snapshot_block(cx: Live, req: ebs::GetSnapshotBlockRequest) -> Result<ebs::GetSnapshotBlockResponse> {
    let ebs::GetSnapshotBlockRequest { snapshot_id, block_index, block_token } = req;
    let id = id(snapshot_id.as_deref())?;
    let (found, index) = cx.control.db.read(cx.tenant.clone(), |tx| {
        let found = readable(tx, &id)?;
        let index = index(block_index, &found.snapshot)?;
        is_good(&of_blocks(tx, &id), block_token.as_deref().unwrap_or_default(), index, tx.now())?;
        Ok::<_, Error>((found, index))
    })?;
    let bytes = match &found.at {
        Some((host, of)) => live::block(&cx, host, of, index).await?,
        None => vec![0; BLOCK],
    };
    Ok(ebs::GetSnapshotBlockResponse {
        data_length: Some(BLOCK_SIZE),
        checksum: Some(shown(&Sha256::digest(&bytes))),
        checksum_algorithm: Some(SHA256.into()),
        block_data: Some(Blob(bytes)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn a_block_is_read_by_its_own_token_for_a_week() {
        let mut cloud = Cloud::new();
        let (id, other) = (cloud.written("acme", 1, &[]), cloud.written("acme", 1, &[]));
        let told = cloud.with_blocks(vec![7, 8]);
        let shown = cloud.tenant("acme").ebs("ListSnapshotBlocks", &[("snapshotId", &id)], &[], &[], b"");
        let shown: Value = serde_json::from_slice(&shown.expect("lists").body).expect("JSON");
        let token = shown["Blocks"][0]["BlockToken"].as_str().expect("a token").to_owned();
        let get = |cloud: &mut Cloud, id: &str, index: &str, token: &str| {
            let path = [("snapshotId", id), ("blockIndex", index)];
            cloud.tenant("acme").ebs("GetSnapshotBlock", &path, &[("blockToken", token)], &[], b"")
        };
        let got = get(&mut cloud, &id, "7", &token).expect("reads");
        assert_eq!((got.body.len(), got.body[0], got.content_type), (BLOCK, 7, "application/octet-stream"));
        let sum = super::shown(&Sha256::digest(&got.body));
        let expected =
            [("x-amz-Data-Length", "524288"), ("x-amz-Checksum", &sum), ("x-amz-Checksum-Algorithm", "SHA256")];
        assert_eq!(got.headers, expected.map(|(name, value)| (name, value.to_owned())));
        for (id, index, token) in [(&other, "7", token.as_str()), (&id, "8", &token), (&id, "7", "AAAA")] {
            let refused = get(&mut cloud, id, index, token).expect_err(index);
            assert_eq!(refused, "INVALID_BLOCK_TOKEN: The block token is not valid, or has expired.");
        }
        for index in ["2048", "-1"] {
            assert!(get(&mut cloud, &id, index, &token).expect_err(index).starts_with("INVALID_BLOCK:"));
        }
        cloud.pass(7 * 24 * 60 * 60 * 1000);
        assert!(get(&mut cloud, &id, "7", &token).expect_err("is old").starts_with("INVALID_BLOCK_TOKEN"));
        told.abort();
    }
}
