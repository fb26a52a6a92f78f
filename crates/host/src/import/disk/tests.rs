//! What others write is read, what is written others read, and nothing that a file holds does harm.

mod broken;

use std::io::{Cursor, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::import::write::write;

const MOST: u64 = 1 << 40;

/// A disk that begins and ends with something and has holes.
fn sample(size: usize, seed: u64) -> Vec<u8> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut disk = vec![0; size];
    for _ in 0..24 {
        let at = dice.random_range(0..size);
        let length = dice.random_range(1..=90_000).min(size - at);
        let fill: u8 = dice.random();
        for (n, byte) in disk[at..at + length].iter_mut().enumerate() {
            *byte = if fill.is_multiple_of(2) { fill } else { (n % 251) as u8 };
        }
    }
    disk[0] = 1;
    disk[size - 1] = 2;
    disk
}

fn whole(disk: &mut dyn Disk) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut piece = Box::new([0xEE; PIECE]);
    while (out.len() as u64) < disk.size() {
        let any = disk.read(out.len() as u64, &mut piece)?;
        if any { out.extend_from_slice(&*piece) } else { out.resize(out.len() + PIECE, 0) }
    }
    out.truncate(usize::try_from(disk.size())?);
    Ok(out)
}

fn read(file: &[u8], format: Format) -> Result<Vec<u8>> {
    whole(&mut *open(Cursor::new(file), format, MOST)?)
}

fn written(disk: &[u8]) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let mut raw = open(Cursor::new(disk), Format::Raw, MOST).expect("opens");
    write(&mut *raw, disk.len() as u64, None, &mut out, |_| Ok(())).expect("writes");
    out.into_inner()
}

/// What qemu-img makes of a disk, or `None` where there is none.
fn made(folder: &Path, disk: &[u8], format: &str, options: &[&str]) -> Option<Vec<u8>> {
    let (from, to) = (folder.join("raw"), folder.join("made"));
    std::fs::write(&from, disk).expect("writes");
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "raw", "-O", format]).args(options).arg(&from).arg(&to);
    let output = command.output().ok()?;
    assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(&to).expect("reads"))
}

const KINDS: [(Format, &str, &[&str]); 14] = [
    (Format::Qcow2, "qcow2", &[]),
    (Format::Qcow2, "qcow2", &["-o", "compat=0.10"]),
    (Format::Qcow2, "qcow2", &["-c"]),
    (Format::Qcow2, "qcow2", &["-c", "-o", "compression_type=zstd"]),
    (Format::Qcow2, "qcow2", &["-c", "-o", "cluster_size=4k"]),
    (Format::Qcow2, "qcow2", &["-o", "cluster_size=512"]),
    (Format::Qcow2, "qcow2", &["-o", "cluster_size=2M"]),
    (Format::Vhd, "vpc", &["-o", "subformat=dynamic,force_size=on"]),
    (Format::Vhd, "vpc", &["-o", "subformat=fixed,force_size=on"]),
    (Format::Vhdx, "vhdx", &["-o", "subformat=dynamic,block_size=1M"]),
    (Format::Vhdx, "vhdx", &["-o", "subformat=fixed"]),
    (Format::Vmdk, "vmdk", &["-o", "subformat=monolithicSparse"]),
    (Format::Vmdk, "vmdk", &["-o", "subformat=streamOptimized"]),
    (Format::Raw, "raw", &[]),
];

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn what_others_write_is_read_as_it_was_and_what_is_written_others_read_so() {
    let folder = tempfile::tempdir().expect("a folder");
    for (n, (format, name, options)) in KINDS.into_iter().enumerate() {
        let disk = sample(5 << 20, n as u64);
        let Some(file) = made(folder.path(), &disk, name, options) else {
            eprintln!("skipped: there is no qemu-img");
            return;
        };
        assert!(read(&file, format).expect(name) == disk, "{name} {options:?}");
    }
    let (ours, back) = (folder.path().join("ours"), folder.path().join("back"));
    let disk = sample((600 << 10) + 512, 7);
    std::fs::write(&ours, written(&disk)).expect("writes");
    let run = |args: &[&str]| {
        let output = Command::new("qemu-img").args(args).output().expect("starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    };
    let (ours, back) = (ours.to_str().expect("text"), back.to_str().expect("text"));
    run(&["check", "-f", "qcow2", ours]);
    run(&["convert", "-f", "qcow2", "-O", "raw", ours, back]);
    assert!(std::fs::read(back).expect("reads") == disk);
}

#[test]
fn a_large_hole_is_written_in_a_moment_and_counted_right() {
    struct Hollow(u64);
    impl Disk for Hollow {
        fn size(&self) -> u64 {
            self.0
        }
        fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
            piece.fill(3);
            Ok(at.is_multiple_of(1 << 36))
        }
    }
    let mut out = tempfile::tempfile().expect("a file");
    write(&mut Hollow(1 << 40), 1 << 40, None, &mut out, |_| Ok(())).expect("writes");
    out.seek(SeekFrom::Start(0)).expect("goes back");
    let mut disk = open(out, Format::Qcow2, MOST).expect("opens");
    let mut piece = Box::new([0; PIECE]);
    assert_eq!(disk.size(), 1 << 40);
    assert!(disk.read(15 << 36, &mut piece).expect("reads") && piece.iter().all(|byte| *byte == 3));
    assert!(!disk.read((15 << 36) + PIECE as u64, &mut piece).expect("reads"));
}

#[test]
fn what_names_other_files_or_is_larger_than_allowed_is_refused() {
    let good = written(&sample(300 << 10, 1));
    let patched = |at: usize, with: &[u8]| {
        let mut file = good.clone();
        file[at..at + with.len()].copy_from_slice(with);
        read(&file, Format::Qcow2).map(drop).map_err(|e| e.to_string())
    };
    for (at, with, why) in [
        (0, &b"XFI\xfb"[..], "this is not qcow2"),
        (4, &4_u32.to_be_bytes(), "qcow2 of version 4"),
        (8, &104_u64.to_be_bytes(), "it needs a backing file"),
        (20, &8_u32.to_be_bytes(), "clusters of no such size"),
        (20, &40_u32.to_be_bytes(), "clusters of no such size"),
        (24, &0_u64.to_be_bytes(), "the disk is empty"),
        (24, &u64::MAX.to_be_bytes(), "the disk has 18446744073709551615 bytes, and may have 1099511627776"),
        (24, &(1_u64 << 39).to_be_bytes(), "its first table is too short"),
        (32, &1_u32.to_be_bytes(), "it is encrypted"),
        (40, &u64::MAX.to_be_bytes(), "it ends before what it names"),
        (72, &1_u64.to_be_bytes(), "it was not closed properly"),
        (72, &2_u64.to_be_bytes(), "it says that it is damaged"),
        (72, &4_u64.to_be_bytes(), "its data lies in another file"),
        (72, &8_u64.to_be_bytes(), "its compression is not known"),
        (72, &16_u64.to_be_bytes(), "it has features that are not known"),
        (PIECE, &513_u64.to_be_bytes(), "a table lies where none can be"),
    ] {
        assert_eq!(patched(at, with), Err(why.to_owned()), "{at}");
    }
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Qcow2) {
        let told = read(&good, format);
        assert_eq!(told.is_ok(), format == Format::Raw, "what it looks like says nothing");
    }
    assert!(read(&good, Format::Raw).expect("raw") == good);
    assert!(open(Cursor::new(&good), Format::Raw, 1_000).is_err());
}

/// Sums of what begins with a signature, in all places where there is one.
fn sum_up_vhdx(file: &mut [u8]) {
    let sums = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    for (at, length) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10)] {
        let Some(header) = file.get_mut(at..at + length) else { continue };
        header[4..8].fill(0);
        let sum = sums.checksum(header);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A VHDX of one block, packed closer than others do it.
fn vhdx_of(disk: &[u8]) -> Vec<u8> {
    let (metadata, table) = (320 << 10, 450 << 10);
    let mut file = vec![0; 1 << 20];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"vhdxfile");
    for (at, sequence) in [(64 << 10, 7_u64), (128 << 10, 8)] {
        put(at, b"head");
        put(at + 8, &sequence.to_le_bytes());
        put(at + 66, &1_u16.to_le_bytes());
    }
    for at in [192 << 10, 256 << 10] {
        put(at, b"regi");
        put(at + 8, &2_u32.to_le_bytes());
        for (n, (id, to)) in [(vhdx::TABLE, table), (vhdx::METADATA, metadata)].into_iter().enumerate() {
            let entry = at + 16 + 32 * n;
            put(entry, &id);
            put(entry + 16, &(to as u64).to_le_bytes());
            put(entry + 24, &(128_u32 << 10).to_le_bytes());
            put(entry + 28, &1_u32.to_le_bytes());
        }
    }
    put(metadata, b"metadata");
    put(metadata + 10, &3_u16.to_le_bytes());
    let items = [(vhdx::PARAMETERS, 1_u64 << 20), (vhdx::SIZE, disk.len() as u64), (vhdx::SECTOR, 512)];
    for (n, (id, number)) in items.into_iter().enumerate() {
        let (entry, at) = (metadata + 32 + 32 * n, (64 << 10) + 8 * n);
        put(entry, &id);
        put(entry + 16, &u32::try_from(at).expect("fits").to_le_bytes());
        put(entry + 24, &4_u32.to_le_bytes());
        put(metadata + at, &number.to_le_bytes());
    }
    put(table, &((1_u64 << 20) | 6).to_le_bytes());
    file.extend_from_slice(disk);
    sum_up_vhdx(&mut file);
    file
}

#[test]
fn a_vhdx_is_one_file_without_a_parent_whose_log_is_empty() {
    let disk = sample(512 << 10, 5);
    let good = vhdx_of(&disk);
    assert!(read(&good, Format::Vhdx).expect("reads") == disk);
    let (metadata, table) = (320 << 10, 450 << 10);
    for (at, with, why) in [
        (0, &b"vhdxfile!"[..7], ""),
        (0, b"x", "this is not VHDX"),
        (128 << 10, b"xead", ""),
        ((128 << 10) + 48, b"x", "it was not closed properly"),
        ((64 << 10) + 48, b"x", ""),
        ((192 << 10) + 16, b"x", "it has regions that are not known"),
        (metadata + (64 << 10) + 4, &[2], "it needs a parent"),
        (metadata + 32, b"x", "it has metadata that is not known"),
        (metadata + (64 << 10) + 2, &[9], "blocks of no such size"),
        (metadata + (64 << 10) + 16, &[3], "sectors of no such size"),
        (metadata + (64 << 10) + 8, &[1], "half a sector"),
        (metadata + (64 << 10) + 13, &[0xff], "the disk has 280375465607168 bytes, and may have 1099511627776"),
        (table, &[5], "a block in a state that is not known"),
        (table, &[7], "a block in a state that is not known"),
        (table + 3, &[1], "it ends before what it names"),
    ] {
        let mut file = good.clone();
        file[at..at + with.len()].copy_from_slice(with);
        sum_up_vhdx(&mut file);
        let told = read(&file, Format::Vhdx).map(drop).map_err(|e| e.to_string());
        assert_eq!(told.err().unwrap_or_default(), why, "{at} {with:?}");
    }
    let mut damaged = good;
    for at in [64 << 10, 128 << 10] {
        damaged[at + 9] ^= 1;
    }
    assert_eq!(read(&damaged, Format::Vhdx).expect_err("sums").to_string(), "its headers are damaged");
}

/// A VMDK whose descriptor says this.
fn described(text: &str) -> Vec<u8> {
    let mut file = vec![0; 4 << 10];
    file[..4].copy_from_slice(b"KDMV");
    for (at, number) in [(12, 16_u64), (20, 16), (28, 1), (36, 2), (56, 4)] {
        file[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    for (at, number) in [(4, 1_u32), (44, 512)] {
        file[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    file[512..512 + text.len()].copy_from_slice(text.as_bytes());
    file
}

#[test]
fn a_vmdk_is_one_file_without_a_parent() {
    let own = "createType=\"monolithicSparse\"\nparentCID=ffffffff\nRW 16 SPARSE \"a.vmdk\"\n";
    assert_eq!(read(&described(own), Format::Vmdk).expect("reads"), vec![0; 16 * 512]);
    for text in [
        "",
        "createType=\"monolithicFlat\"\nRW 16 FLAT \"/etc/shadow\" 0\n",
        "createType=\"monolithicSparse\"\nRW 16 FLAT \"/etc/shadow\" 0\n",
        "createType=\"monolithicSparse\"\nRW 8 SPARSE \"a\"\nRW 8 FLAT \"/etc/shadow\" 0\n",
        "createType=\"monolithicSparse\"\nparentCID=12345678\nRW 16 SPARSE \"a\"\n",
        "createType=\"monolithicSparse\"\nparentFileNameHint=\"/etc/shadow\"\nRW 16 SPARSE \"a\"\n",
    ] {
        read(&described(text), Format::Vmdk).map(drop).expect_err(text);
    }
}
