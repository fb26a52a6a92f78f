//! What the control plane gives away of its images: names of files, and pieces of them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use awan_model::id::ImageId;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Part;

/// Nothing else in an image's folder is given away.
const FILES: [&str; 4] = ["manifest.json", "disk.qcow2", "vmlinux", "initrd.cpio"];
/// A piece: large enough to be quick, small enough to be held in memory.
pub const PIECE: u64 = 8 << 20;

#[derive(Debug, Deserialize)]
pub struct Wanted {
    pub image: ImageId,
}

#[derive(Debug, Deserialize)]
pub struct WantedPart {
    image: ImageId,
    name: String,
    from: u64,
}

fn path(images: &Path, image: &ImageId, name: &str) -> Result<PathBuf> {
    if !FILES.contains(&name) {
        bail!("{} is no part of an image", name.escape_debug());
    }
    Ok(images.join(image.as_str()).join(name))
}

/// The files of an image. Those that it does without are not listed.
pub fn list(images: &Path, image: &ImageId) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    // It may be so large that reading it takes longer than whoever asks waits; who gets it compares.
    let disk = crate::images::read(&images.join(image.as_str())).ok().map(|manifest| manifest.digest);
    for name in FILES {
        let path = path(images, image, name)?;
        if let Ok(mut file) = File::open(&path) {
            if let Some(sha256) = disk.clone().filter(|_| name == crate::images::DISK) {
                parts.push(Part { name: name.to_owned(), bytes: file.metadata()?.len(), sha256 });
                continue;
            }
            let mut digest = Digest::default();
            let bytes = std::io::copy(&mut file, &mut digest).with_context(|| format!("reading {}", path.display()))?;
            parts.push(Part { name: name.to_owned(), bytes, sha256: digest.hex() });
        }
    }
    if parts.is_empty() {
        bail!("the control plane has no image {image}");
    }
    Ok(parts)
}

/// A piece of a file; empty at its end.
pub fn read(images: &Path, wanted: &WantedPart) -> Result<Vec<u8>> {
    let path = path(images, &wanted.image, &wanted.name)?;
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(&path).with_context(reading)?;
    file.seek(SeekFrom::Start(wanted.from)).with_context(reading)?;
    let mut piece = Vec::new();
    file.take(PIECE).read_to_end(&mut piece).with_context(reading)?;
    Ok(piece)
}

/// A digest that can be written to.
#[derive(Default)]
pub struct Digest(Sha256);

impl Digest {
    pub fn hex(self) -> String {
        self.0.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl std::io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
