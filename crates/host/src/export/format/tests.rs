//! What is written is read as the disk that it was, by QEMU and by ourselves.

use std::path::Path;
use std::process::Command;

use awan_model::import::Format;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::import::disk;

const MIB: u64 = 1 << 20;

/// A disk whose pieces are holes, zeros, one byte, noise or text.
struct Patchwork {
    size: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Patchwork {
    /// Nothing lies in the first and the last of `hollow` bytes.
    fn new(size: u64, hollow: u64, dice: &mut StdRng) -> Self {
        let mut pieces = Vec::new();
        for at in (0..size).step_by(PIECE) {
            let inside = at >= hollow && at + (PIECE as u64) + hollow <= size.next_multiple_of(PIECE as u64);
            if !inside || dice.random_range(0..8) != 0 {
                continue;
            }
            let mut bytes = vec![0; PIECE];
            match dice.random_range(0..4) {
                0 => {}
                1 => bytes[dice.random_range(0..512)] = 1,
                2 => dice.fill(&mut bytes[..]),
                _ => bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n % 251) as u8),
            }
            let behind = usize::try_from((at + PIECE as u64).saturating_sub(size)).expect("is small");
            bytes[PIECE - behind..].fill(0);
            pieces.push((at, bytes));
        }
        Self { size, pieces }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(self.size.next_multiple_of(PIECE as u64)).expect("is small")];
        for (at, bytes) in &self.pieces {
            let at = usize::try_from(*at).expect("is small");
            all[at..at + PIECE].copy_from_slice(bytes);
        }
        all.truncate(usize::try_from(self.size).expect("is small"));
        all
    }
}

impl Disk for Patchwork {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let found = self.pieces.iter().find(|(of, _)| *of == at);
        found.inspect(|(_, bytes)| piece.copy_from_slice(bytes));
        Ok(found.is_some())
    }

    fn next(&mut self, from: u64) -> Result<Option<u64>> {
        Ok(self.pieces.iter().map(|(at, _)| *at).find(|at| *at >= from))
    }
}

fn written(disk: &mut Patchwork, format: DiskFormat, size: u64, path: &Path) -> Result<()> {
    let wanted = Wanted { format, size, name: "export-ami-00000000000000001.x" };
    write(disk, &wanted, &File::create(path)?, &mut |_| Ok(()))
}

fn read(path: &Path, format: Format) -> Vec<u8> {
    let mut disk = disk::open(File::open(path).expect("opens"), format, 1 << 42).expect("is understood");
    let (mut all, mut piece) = (Vec::new(), Box::new([0xEE; PIECE]));
    while (all.len() as u64) < disk.size() {
        let any = disk.read(all.len() as u64, &mut piece).expect("is read");
        if any { all.extend_from_slice(&*piece) } else { all.resize(all.len() + PIECE, 0) }
    }
    all.truncate(usize::try_from(disk.size()).expect("is small"));
    all
}

/// Whether qemu-img finds two disks the same; `None`: there is none.
fn compared(raw: &Path, other: &Path, format: &str) -> Option<bool> {
    let output =
        Command::new("qemu-img").args(["compare", "-f", "raw", "-F", format]).args([raw, other]).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Sizes that differ it forgives where nothing lies.
    Some(output.status.success() && !said.contains("Warning"))
}

const FORMATS: [(DiskFormat, Format, &str); 3] = [
    (DiskFormat::Raw, Format::Raw, "raw"),
    (DiskFormat::Vhd, Format::Vhd, "vpc"),
    (DiskFormat::Vmdk, Format::Vmdk, "vmdk"),
];

#[test]
#[expect(clippy::print_stderr, reason = "a seed that fails is told, and a skipped part says so")]
fn what_is_written_is_read_as_the_disk_that_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let (raw, file) = (folder.path().join("raw"), folder.path().join("file"));
    let sizes = [512, PIECE as u64, 2 * MIB - 512, 2 * MIB + 512, 3 * MIB, 33 * MIB + 1_536, 34 * MIB];
    for seed in 0..21 {
        let mut dice = StdRng::seed_from_u64(seed);
        let size = sizes[seed as usize % sizes.len()];
        let hollow = if seed % 3 == 0 { 0 } else { dice.random_range(0..=size / 2) };
        let mut disk = Patchwork::new(size, hollow, &mut dice);
        // Some are larger than what is read.
        let more = if seed % 4 == 1 { 5 * MIB } else { 0 };
        let mut expected = disk.bytes();
        expected.resize(expected.len() + usize::try_from(more).expect("is small"), 0);
        std::fs::write(&raw, &expected).expect("writes");
        for (format, ours, qemu) in FORMATS {
            written(&mut disk, format, size + more, &file).expect("writes");
            assert!(read(&file, ours) == expected, "seed {seed}, {qemu}: our own parser reads otherwise");
            match compared(&raw, &file, qemu) {
                Some(same) => assert!(same, "seed {seed}, {qemu}: QEMU reads otherwise"),
                None => eprintln!("skipped: there is no qemu-img"),
            }
        }
    }
}

#[test]
fn what_holds_nothing_takes_nothing_however_large_it_is() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    for (format, ours, _) in FORMATS {
        let mut disk = Patchwork { size: 0, pieces: vec![(1 << 40, vec![7; PIECE])] };
        written(&mut disk, format, (1 << 40) + (1 << 30), &file).expect("writes");
        assert!(std::fs::metadata(&file).expect("is there").blocks() * 512 < 9 * MIB, "{ours:?}");
        let mut back = disk::open(File::open(&file).expect("opens"), ours, 1 << 42).expect("is understood");
        let mut piece = Box::new([0; PIECE]);
        assert_eq!(back.size(), (1 << 40) + (1 << 30));
        assert!(back.read(1 << 40, &mut piece).expect("is read") && piece.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn what_a_format_cannot_say_is_refused_and_a_refusal_ends_the_writing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    let mut nothing = Patchwork { size: 0, pieces: Vec::new() };
    written(&mut nothing, DiskFormat::Vhd, 2_040 << 30, &file).expect("is the largest");
    let refused = written(&mut nothing, DiskFormat::Vhd, 2_041 << 30, &file).expect_err("is too large");
    assert_eq!(refused.to_string(), "ClientError: a VHD has at most 2040 GiB");
    for (format, ..) in FORMATS {
        let wanted = Wanted { format, size: 1 << 30, name: "x" };
        let file = File::create(&file).expect("makes");
        let ended = write(&mut nothing, &wanted, &file, &mut |_| anyhow::bail!("not any more")).expect_err("ends");
        assert_eq!(ended.to_string(), "not any more");
    }
}
