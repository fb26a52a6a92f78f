//! The bytes of the disk, and holes where it holds nothing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::Result;

use super::Pieces;
use crate::import::disk::PIECE;

pub fn write(pieces: &mut Pieces, file: &File) -> Result<()> {
    let size = pieces.size;
    pieces.each(|at, piece| {
        let length = usize::try_from((size - at).min(PIECE as u64))?;
        Ok(file.write_all_at(&piece[..length], at)?)
    })?;
    Ok(file.set_len(size)?)
}
