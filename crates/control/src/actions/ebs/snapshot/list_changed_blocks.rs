//! live: ListChangedBlocks asks the host where two snapshots lie which blocks of the second may differ from the first's.
//!
//! Unlike EC2 it compares snapshots of different volumes too.

use std::collections::BTreeMap;

use awan_model::report::{BlockSeen, BlocksSeen};
use awan_wire::ebs;

use crate::dispatch::Live;
use crate::ebs::{BLOCK_SIZE, Page, Readable, Tokens, id, of_blocks, readable};
use crate::error::{Error, Result};
use crate::live;

pub async fn list_changed_blocks(
    cx: Live,
    req: ebs::ListChangedBlocksRequest,
) -> Result<ebs::ListChangedBlocksResponse> {
    let ebs::ListChangedBlocksRequest {
        first_snapshot_id,
        second_snapshot_id,
        next_token,
        max_results,
        starting_block_index,
    } = req;
    let second = id(second_snapshot_id.as_deref())?;
    let first = first_snapshot_id.as_deref().map(|first| id(Some(first))).transpose()?;
    let (found, tokens, seals) = cx.control.db.read(cx.tenant.clone(), |tx| {
        let before = first.as_ref().map(|first| Ok::<_, Error>((readable(tx, first)?, of_blocks(tx, first))));
        let (before, before_seal) = before.transpose()?.unzip();
        let name = first.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let tokens = Tokens::new(tx, &format!("blocks of {second} since {name}"));
        Ok::<_, Error>(((before, readable(tx, &second)?), tokens, (before_seal, of_blocks(tx, &second))))
    })?;
    let page = tokens.page(max_results, next_token.as_deref(), starting_block_index)?;
    let seen = compared(&cx, found.0.as_ref(), &found.1, &page).await?;
    let shown = |block: &BlockSeen| ebs::ChangedBlock {
        block_index: i32::try_from(block.index).ok(),
        first_block_token: seals.0.as_ref().filter(|_| block.before).map(|seal| tokens.block(seal, block.index)),
        second_block_token: Some(tokens.block(&seals.1, block.index)),
    };
    Ok(ebs::ListChangedBlocksResponse {
        changed_blocks: seen.blocks.iter().map(shown).collect(),
        expiry_time: tokens.expires(),
        volume_size: Some(found.1.snapshot.size_gib.into()),
        block_size: Some(BLOCK_SIZE),
        next_token: tokens.next(seen.next),
    })
}

async fn compared(cx: &Live, first: Option<&Readable>, second: &Readable, page: &Page) -> Result<BlocksSeen> {
    let place = |found: Option<&Readable>| found.and_then(|found| found.at.clone());
    match (place(first), place(Some(second))) {
        (None, None) => Ok(BlocksSeen::default()),
        (None, Some((host, bytes))) => live::blocks(cx, &host, (&bytes, None), page.from, page.most).await,
        (Some((before, since)), Some((host, bytes))) if before == host => {
            live::blocks(cx, &host, (&bytes, Some(&since)), page.from, page.most).await
        }
        // Nobody has both: what either holds may differ.
        (Some((before, since)), at) => {
            let earlier = live::blocks(cx, &before, (&since, None), page.from, page.most).await?;
            let later = match at {
                Some((host, bytes)) => live::blocks(cx, &host, (&bytes, None), page.from, page.most).await?,
                None => BlocksSeen::default(),
            };
            Ok(merged(&earlier, &later, page.most))
        }
    }
}

/// What is in either of two lists, as far as both of them go.
fn merged(earlier: &BlocksSeen, later: &BlocksSeen, most: usize) -> BlocksSeen {
    let mut next = [earlier.next, later.next].into_iter().flatten().min();
    let mut all: BTreeMap<u32, bool> = later.blocks.iter().map(|block| (block.index, false)).collect();
    all.extend(earlier.blocks.iter().map(|block| (block.index, true)));
    all.retain(|index, _| next.is_none_or(|next| *index < next));
    if let Some((index, _)) = all.iter().nth(most) {
        next = Some(*index);
    }
    let blocks = all.into_iter().take(most).map(|(index, before)| BlockSeen { index, before }).collect();
    BlocksSeen { blocks, next }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::Cloud;

    fn seen(of: &[u32], next: Option<u32>) -> BlocksSeen {
        BlocksSeen { blocks: of.iter().map(|index| BlockSeen { index: *index, before: false }).collect(), next }
    }

    #[test]
    fn of_two_lists_nothing_is_missed_and_nothing_told_that_one_does_not_know_yet() {
        let told = |a: BlocksSeen, b: BlocksSeen, most| {
            let BlocksSeen { blocks, next } = merged(&a, &b, most);
            (blocks.iter().map(|block| (block.index, block.before)).collect::<Vec<_>>(), next)
        };
        let (a, b) = (seen(&[1, 3], None), seen(&[2, 3, 9], None));
        assert_eq!(told(a.clone(), b.clone(), 9), (vec![(1, true), (2, false), (3, true), (9, false)], None));
        assert_eq!(told(a.clone(), b, 2), (vec![(1, true), (2, false)], Some(3)));
        assert_eq!(
            told(seen(&[1, 3], Some(4)), seen(&[2, 9], None), 9),
            (vec![(1, true), (2, false), (3, true)], Some(4))
        );
        assert_eq!(told(a, seen(&[], Some(2)), 9), (vec![(1, true)], Some(2)));
    }

    #[test]
    fn a_block_has_a_token_of_each_snapshot_that_has_it() {
        let mut cloud = Cloud::new();
        let (first, second) = (cloud.written("acme", 1, &[]), cloud.written("acme", 1, &[]));
        let told = cloud.with_blocks(vec![3, 4]);
        let path = [("secondSnapshotId", second.as_str())];
        let mut list = |who: &str, query: &[(&str, &str)]| {
            let told = cloud.tenant(who).ebs("ListChangedBlocks", &path, query, &[], b"")?;
            Ok::<_, String>(serde_json::from_slice::<Value>(&told.body).expect("JSON"))
        };
        let both = list("acme", &[("firstSnapshotId", &first)]).expect("lists");
        let blocks = both["ChangedBlocks"].as_array().expect("a list");
        // The pretended host says that the first has those with odd numbers.
        let tokens = |n: usize| ["FirstBlockToken", "SecondBlockToken"].map(|name| blocks[n][name].is_string());
        assert_eq!((blocks.len(), tokens(0), tokens(1)), (2, [true, true], [false, true]));
        let alone = list("acme", &[]).expect("lists");
        assert_eq!(alone["ChangedBlocks"][0]["FirstBlockToken"], Value::Null);
        let refused = list("other", &[("firstSnapshotId", &first)]).expect_err("is private");
        assert!(refused.starts_with("InvalidSnapshot.NotFound"), "{refused}");
        told.abort();
    }
}
