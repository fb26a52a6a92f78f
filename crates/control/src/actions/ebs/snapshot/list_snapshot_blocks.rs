//! live: ListSnapshotBlocks asks the host where a snapshot lies which of its blocks hold something.

use awan_model::report::BlocksSeen;
use awan_wire::ebs;

use crate::dispatch::Live;
use crate::ebs::{BLOCK_SIZE, Tokens, id, of_blocks, readable};
use crate::error::Result;
use crate::live;

pub async fn list_snapshot_blocks(
    cx: Live,
    req: ebs::ListSnapshotBlocksRequest,
) -> Result<ebs::ListSnapshotBlocksResponse> {
    let ebs::ListSnapshotBlocksRequest { snapshot_id, next_token, max_results, starting_block_index } = req;
    let id = id(snapshot_id.as_deref())?;
    let (found, tokens, seal) = cx.control.db.read(cx.tenant.clone(), |tx| {
        let found = readable(tx, &id)?;
        Ok::<_, crate::error::Error>((found, Tokens::new(tx, &format!("blocks of {id}")), of_blocks(tx, &id)))
    })?;
    let page = tokens.page(max_results, next_token.as_deref(), starting_block_index)?;
    let seen = match &found.at {
        Some((host, bytes)) => live::blocks(&cx, host, (bytes, None), page.from, page.most).await?,
        None => BlocksSeen::default(),
    };
    let shown = |index: u32| ebs::Block {
        block_index: i32::try_from(index).ok(),
        block_token: Some(tokens.block(&seal, index)),
    };
    Ok(ebs::ListSnapshotBlocksResponse {
        blocks: seen.blocks.iter().map(|block| shown(block.index)).collect(),
        expiry_time: tokens.expires(),
        volume_size: Some(found.snapshot.size_gib.into()),
        block_size: Some(BLOCK_SIZE),
        next_token: tokens.next(seen.next),
    })
}

#[cfg(test)]
mod tests {
    use awan_model::plan::sealed_keys;
    use awan_state::System;
    use serde_json::Value;

    use crate::plan;
    use crate::testing::Cloud;

    fn indexes(page: &Value) -> Vec<u64> {
        let blocks = page["Blocks"].as_array().expect("a list").iter();
        blocks.map(|block| block["BlockIndex"].as_u64().expect("a number")).collect()
    }

    #[test]
    fn pages_neither_repeat_nor_miss_and_their_tokens_are_for_one_list() {
        let mut cloud = Cloud::new();
        let (snapshot, other) = (cloud.written("acme", 1, &[]), cloud.written("acme", 1, &[]));
        let told = cloud.with_blocks((0..250).map(|n| n * 2).collect());
        let mut list = |id: &str, query: &[(&str, &str)]| {
            let told = cloud.tenant("acme").ebs("ListSnapshotBlocks", &[("snapshotId", id)], query, &[], b"")?;
            Ok::<_, String>(serde_json::from_slice::<Value>(&told.body).expect("JSON"))
        };
        let all = list(&snapshot, &[]).expect("lists");
        assert_eq!((indexes(&all).len(), &all["NextToken"]), (250, &Value::Null));
        assert_eq!((&all["BlockSize"], &all["VolumeSize"]), (&524_288.into(), &1.into()));
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let query = [("maxResults", "100"), ("pageToken", token.as_deref().unwrap_or_default())];
            let page = list(&snapshot, &query[..if token.is_some() { 2 } else { 1 }]).expect("lists");
            assert!(indexes(&page).len() <= 100);
            found.extend(indexes(&page));
            token = page["NextToken"].as_str().map(str::to_owned);
            let Some(token) = &token else { break };
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)), "{token}");
            let refused = list(&other, &[("pageToken", token)]).expect_err("another's");
            assert_eq!(refused, "INVALID_PAGE_TOKEN: The page token is not valid.");
        }
        assert_eq!(found, indexes(&all));
        assert_eq!(indexes(&list(&snapshot, &[("startingBlockIndex", "497")]).expect("lists")), [498]);
        for (name, value) in [("maxResults", "99"), ("maxResults", "10001"), ("startingBlockIndex", "-1")] {
            let refused = list(&snapshot, &[(name, value)]).expect_err(value);
            assert!(refused.starts_with("InvalidParameterValue"), "{refused}");
        }
        told.abort();
    }

    #[test]
    fn who_may_not_use_a_snapshot_sees_none_of_it() {
        let mut cloud = Cloud::new();
        let id = cloud.written("acme", 1, &[]);
        let told = cloud.with_blocks(vec![0]);
        let mut list = |who: &str| cloud.tenant(who).ebs("ListSnapshotBlocks", &[("snapshotId", &id)], &[], &[], b"");
        let refused = list("other").expect_err("is private");
        assert_eq!(refused, format!("InvalidSnapshot.NotFound: The snapshot '{id}' does not exist."));
        assert!(list("acme").is_ok());
        let account = cloud.tenant("other").account();
        let ask = [
            ("SnapshotId", id.as_str()),
            ("Attribute", "createVolumePermission"),
            ("OperationType", "add"),
            ("UserId.1", &account),
        ];
        cloud.tenant("acme").call("ModifySnapshotAttribute", &ask).expect("shares");
        cloud.tenant("other").ebs("ListSnapshotBlocks", &[("snapshotId", &id)], &[], &[], b"").expect("is shared");
        told.abort();
        cloud.audit();
    }

    #[test]
    fn what_is_encrypted_is_read_by_its_owner() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let id = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.settle();
        // Its host finds the keys of all that it is read from in its plan.
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let of = sealed_keys(&plans.values().flat_map(|plan| plan.contents.clone()).collect::<Vec<_>>());
        assert_eq!(of.into_values().map(|key| key.of).collect::<Vec<_>>(), [volume]);
        let told = cloud.with_blocks(vec![0, 7]);
        let mut list = |who: &str| cloud.tenant(who).ebs("ListSnapshotBlocks", &[("snapshotId", &id)], &[], &[], b"");
        let page: Value = serde_json::from_slice(&list("acme").expect("lists").body).expect("JSON");
        assert_eq!(indexes(&page), [0, 7]);
        assert!(list("other").expect_err("is private").starts_with("InvalidSnapshot.NotFound"));
        told.abort();
    }
}
