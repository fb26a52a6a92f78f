//! EBS's direct API: the blocks of snapshots, which lie on hosts, and the tokens by which they are read.

use std::sync::Arc;

use awan_model::id::{HostId, ImageId, SnapshotId};
use awan_model::import::{Content, Merging, Source, Written};
use awan_model::report::BLOCK;
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_state::{Millis, Tenant, Tx};
use awan_wire::shape::Timestamp;

use crate::describe::{Seal, plain_token, unplain_token};
use crate::error::{Code, Error, Result, invalid, refuse};

pub const BLOCK_SIZE: i32 = BLOCK as i32;
/// Of each GiB.
const BLOCKS: u32 = (1 << 30) / BLOCK as u32;
pub const SHA256: &str = "SHA256";
/// Source: "GetSnapshotBlock": a token can be used for seven days.
const TOKEN_MS: Millis = 7 * 24 * 60 * 60 * 1000;
const RESULTS: (i32, i32) = (100, 10_000);

/// A snapshot whose blocks this account may read, and where they lie; `None`: it holds nothing.
pub struct Readable {
    pub snapshot: Arc<Snapshot>,
    pub at: Option<(HostId, ImageId)>,
}

pub fn id(text: Option<&str>) -> Result<SnapshotId> {
    Ok(text.unwrap_or_default().parse()?)
}

pub fn readable(tx: &mut Tx<Tenant>, id: &SnapshotId) -> Result<Readable> {
    let snapshot = tx.shared::<Snapshot>(id)?;
    let at = match crate::bytes::of(&snapshot)? {
        None => None,
        Some(image) => Some((crate::bytes::lie_on(tx, [&image])?, image)),
    };
    Ok(Readable { snapshot, at })
}

/// A snapshot of one's own that is written in blocks, and what holds them.
pub fn upload(tx: &mut Tx<Tenant>, id: &SnapshotId) -> Result<(Arc<Snapshot>, Arc<Content>)> {
    let snapshot = crate::sharing::own::<Snapshot>(tx, id, "snapshot")?;
    let Some(upload) = &snapshot.upload else {
        return Err(refuse(Code::BlockSnapshotInvalid, format!("The snapshot '{id}' was not made to be written to.")));
    };
    if snapshot.phase == Phase::Error && !upload.sealed {
        let message = format!("Nothing was written to the snapshot '{id}' for too long.");
        return Err(refuse(Code::BlockWriteTimeout, message));
    }
    let Bytes::Image(bytes) = &snapshot.bytes else { return Err(Error::fault("what is written lies nowhere")) };
    let content = tx.as_system(|tx| tx.find_by::<Content>(Content::INDEX, bytes.as_str()));
    Ok((snapshot.clone(), content.ok_or_else(|| Error::fault("what is written lies nowhere"))?))
}

/// Has a host take blocks. It has room for all of them from now on.
pub fn write_on(tx: &mut Tx<Tenant>, id: ImageId, host: HostId, written: Written) {
    let (home, size_gib) = (tx.home().clone(), written.written_gib);
    let (merging, source) = (Merging::default(), Source::Written(written));
    tx.as_system(|tx| tx.put(Content { home, id, host, size_gib, bytes: None, merging, source }));
}

/// Has its host make a disk of so many blocks.
pub fn whole(tx: &mut Tx<Tenant>, content: &Content, blocks: u64) {
    let Some(written) = content.source.written() else { return };
    let source = Source::Written(Written { blocks: Some(blocks), ..written.clone() });
    tx.as_system(|tx| tx.put(Content { source, ..content.clone() }));
}

/// The number of a block of a snapshot.
pub fn index(asked: Option<i32>, snapshot: &Snapshot) -> Result<u32> {
    let index = u32::try_from(asked.unwrap_or_default()).ok();
    let good = index.filter(|index| *index < snapshot.size_gib.saturating_mul(BLOCKS));
    good.ok_or_else(|| {
        let message = format!("The snapshot '{}' has no block {}.", snapshot.id, asked.unwrap_or_default());
        refuse(Code::BlockInvalid, message)
    })
}

/// The SHA-256 that a request says.
pub fn checksum(text: &str) -> Result<[u8; 32]> {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| invalid("The checksum is no SHA-256 in base64."))
}

pub fn shown(checksum: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(checksum)
}

pub fn algorithm(asked: Option<&str>) -> Result<()> {
    match asked {
        None | Some(SHA256) => Ok(()),
        Some(_) => Err(invalid("The only checksum algorithm is SHA256.")),
    }
}

/// From which block on, and how many.
pub struct Page {
    pub from: u32,
    pub most: usize,
}

/// Tokens of a list of blocks, and of the blocks in it.
pub struct Tokens {
    page: Seal,
    expires: Millis,
}

impl Tokens {
    /// `list`: all that the list is about.
    pub fn new(tx: &mut Tx<Tenant>, list: &str) -> Self {
        Self { page: Seal::new(tx, list), expires: tx.now() + TOKEN_MS }
    }

    pub fn expires(&self) -> Option<Timestamp> {
        i64::try_from(self.expires).ok().map(Timestamp)
    }

    pub fn page(&self, max: Option<i32>, token: Option<&str>, starting: Option<i32>) -> Result<Page> {
        let most = max.unwrap_or(RESULTS.1);
        if !(RESULTS.0..=RESULTS.1).contains(&most) {
            return Err(invalid(format!("MaxResults is between {} and {}, not {most}.", RESULTS.0, RESULTS.1)));
        }
        let starting = u32::try_from(starting.unwrap_or_default());
        let starting = starting.map_err(|_| invalid("StartingBlockIndex is not negative."))?;
        let wrong = || refuse(Code::BlockPageTokenInvalid, "The page token is not valid.");
        let from = match token {
            None => starting,
            Some(token) => self.page.open(&unplain_token(token)).ok().and_then(|n| n.parse().ok()).ok_or_else(wrong)?,
        };
        Ok(Page { from, most: usize::try_from(most).unwrap_or_default() })
    }

    pub fn next(&self, from: Option<u32>) -> Option<String> {
        from.map(|from| plain_token(&self.page.close(&from.to_string())))
    }

    /// For one block of a snapshot.
    pub fn block(&self, seal: &Seal, index: u32) -> String {
        plain_token(&seal.close(&format!("{index} {}", self.expires)))
    }
}

/// What seals the tokens of a snapshot's blocks.
pub fn of_blocks(tx: &mut Tx<Tenant>, id: &SnapshotId) -> Seal {
    Seal::new(tx, &format!("block of {id}"))
}

/// Whether a token is that of a block.
pub fn is_good(seal: &Seal, token: &str, index: u32, now: Millis) -> Result<()> {
    let said = seal.open(&unplain_token(token)).ok();
    let said = said.as_deref().and_then(|text| text.split_once(' '));
    let good = said
        .is_some_and(|(of, until)| of.parse() == Ok(index) && until.parse::<Millis>().is_ok_and(|until| now < until));
    if good { Ok(()) } else { Err(refuse(Code::BlockTokenInvalid, "The block token is not valid, or has expired.")) }
}
