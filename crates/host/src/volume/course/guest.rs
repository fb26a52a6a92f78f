//! What a machine does to its disk: it has a file open for writing and those below it for reading, and maps clusters as
//! QEMU does (QEMU: docs/interop/qcow2.txt). Of the files that this program makes, it knows no more than these have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::memory::{CLUSTER, Cluster, Memory, parts};
use crate::keys::Key;
use crate::volume::chain::Keyed;
use crate::volume::luks::{self, SECTOR, Xts};

const ENTRIES: u64 = CLUSTER / 8;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const OWN: u64 = 1 << 63;
const ZERO: u64 = 1;

pub struct Image {
    file: File,
    pub size: u64,
    l1_at: u64,
    l1: Vec<u64>,
    /// What it says of clusters; of others nothing.
    known: BTreeMap<u64, u64>,
    counts_at: u64,
    xts: Option<Xts>,
}

enum Found {
    Nothing,
    Zeros,
    At(u64),
}

impl Image {
    pub fn open((path, key): (&Path, Option<&Key>), write: bool) -> Self {
        let file = File::options().read(true).write(write).open(path);
        let file = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut header = [0; 128];
        file.read_exact_at(&mut header, 0).expect("has a header");
        let number = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!((&header[..4], number(8), header[23]), (&b"QFI\xfb"[..], 0, 16), "{}", path.display());
        let (size, l1_at, known) = (number(24), number(40), BTreeMap::new());
        let xts = key.map(|key| {
            assert_eq!((header[35], number(104)), (2, 0x0537_be77_0000_0010), "{}", path.display());
            let read = |at: u64, length: usize| {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, number(112) + at)?;
                Ok(bytes)
            };
            luks::open(key.passphrase().as_bytes(), read).expect("is its key")
        });
        assert_eq!(header[35] == 0, key.is_none(), "{}", path.display());
        let mut image = Self { file, size, l1_at, l1: Vec::new(), known, counts_at: 0, xts };
        image.l1 = image.numbers(l1_at, number(32) & 0xffff_ffff);
        image.counts_at = image.numbers(number(48), 1)[0];
        for (index, table) in (0_u64..).zip(image.l1.clone()).filter(|(_, table)| table & OFFSET != 0) {
            let mut bytes = vec![0; usize::try_from(CLUSTER).expect("fits")];
            image.file.read_exact_at(&mut bytes, table & OFFSET).expect("has a table");
            // Most of it is empty.
            for (part, some) in (0..).zip(bytes.chunks_exact(512)).filter(|(_, some)| **some != [0; 512]) {
                let entries = (index * ENTRIES + part * 64..).zip(some.chunks_exact(8));
                let number = |entry: &[u8]| u64::from_be_bytes(entry.try_into().expect("eight bytes"));
                image.known.extend(entries.map(|(n, entry)| (n, number(entry))).filter(|(_, entry)| *entry != 0));
            }
        }
        image
    }

    /// As QEMU does, so that nobody takes the file away.
    fn lock(&self) {
        let (kind, whence) =
            (i16::try_from(libc::F_RDLCK).expect("fits"), i16::try_from(libc::SEEK_SET).expect("fits"));
        let lock = libc::flock { l_type: kind, l_whence: whence, l_start: 101, l_len: 1, l_pid: 0 };
        nix::fcntl::fcntl(&self.file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).expect("locks");
    }

    fn numbers(&self, at: u64, count: u64) -> Vec<u64> {
        let mut bytes = vec![0; usize::try_from(count * 8).expect("fits")];
        self.file.read_exact_at(&mut bytes, at).expect("has a table");
        bytes.chunks_exact(8).map(|entry| u64::from_be_bytes(entry.try_into().expect("eight bytes"))).collect()
    }

    fn entry(&self, n: u64) -> u64 {
        self.known.get(&n).copied().unwrap_or(0)
    }

    fn find(&self, n: u64) -> Found {
        match self.entry(n) {
            0 => Found::Nothing,
            entry if entry & ZERO != 0 => Found::Zeros,
            entry => Found::At(entry & OFFSET),
        }
    }

    /// One cluster more, behind all others.
    fn take(&mut self) -> u64 {
        let at = self.file.metadata().expect("is open").len().next_multiple_of(CLUSTER);
        let count_at = self.counts_at + at / CLUSTER * 2;
        assert!(at < ENTRIES * 4 * CLUSTER, "one cluster counts all");
        let mut count = [0; 2];
        self.file.read_exact_at(&mut count, count_at).expect("is counted");
        assert_eq!(count, [0, 0], "it is nobody's");
        self.file.set_len(at + CLUSTER).expect("grows");
        self.file.write_all_at(&[0, 1], count_at).expect("counts");
        at
    }

    fn refer(&mut self, n: u64, entry: u64) {
        let index = usize::try_from(n / ENTRIES).expect("fits");
        if self.l1[index] & OFFSET == 0 {
            let at = self.take() | OWN;
            self.l1[index] = at;
            self.file.write_all_at(&at.to_be_bytes(), self.l1_at + n / ENTRIES * 8).expect("writes");
        }
        self.known.insert(n, entry);
        let at = (self.l1[index] & OFFSET) + n % ENTRIES * 8;
        self.file.write_all_at(&entry.to_be_bytes(), at).expect("writes");
    }

    fn set(&mut self, n: u64, bytes: &Cluster) {
        let at = match self.entry(n) & OFFSET {
            0 => self.take(),
            at => at,
        };
        let mut bytes = Box::new(*bytes);
        if let Some(xts) = &self.xts {
            xts.encrypt(at / SECTOR as u64, &mut *bytes);
        }
        self.file.write_all_at(&*bytes, at).expect("writes");
        self.refer(n, at | OWN);
    }

    fn zero(&mut self, n: u64) {
        let at = self.entry(n) & OFFSET;
        self.refer(n, at | ZERO | if at == 0 { 0 } else { OWN });
    }

    fn grow(&mut self, size: u64) {
        // The cluster of the first table has room for the table of a disk of 4 TiB.
        let (before, tables) = (self.l1.len() as u64, size.div_ceil(CLUSTER * ENTRIES));
        self.l1.resize(usize::try_from(tables).expect("fits"), 0);
        self.size = size;
        let zeros = vec![0; usize::try_from((tables - before) * 8).expect("fits")];
        self.file.write_all_at(&zeros, self.l1_at + before * 8).expect("writes");
        self.file.write_all_at(&u32::try_from(tables).expect("fits").to_be_bytes(), 36).expect("writes");
        self.file.write_all_at(&size.to_be_bytes(), 24).expect("writes");
    }
}

/// A file and what it is a child of.
pub struct Disk(Vec<Image>);

impl Disk {
    /// The nearest first; the first is written to, if any is.
    pub fn open(files: &[Keyed], write: bool) -> Self {
        let open = |(n, (path, key)): (usize, &Keyed)| Image::open((path, key.as_ref()), write && n == 0);
        let images: Vec<_> = files.iter().enumerate().map(open).collect();
        if write {
            images[0].lock();
        }
        Self(images)
    }

    pub fn size(&self) -> u64 {
        self.0[0].size
    }

    /// The clusters that any of its files, but for so many of the first, says anything about.
    fn known(&self, but: usize) -> BTreeSet<u64> {
        self.0.iter().skip(but).flat_map(|image| image.known.keys().copied()).collect()
    }

    fn read(&self, n: u64) -> Option<Box<Cluster>> {
        for image in &self.0 {
            // A disk is zero where what it is a child of has ended.
            if n * CLUSTER >= image.size {
                return None;
            }
            match image.find(n) {
                Found::Nothing => {}
                Found::Zeros => return None,
                Found::At(at) => {
                    let mut cluster = Box::new([0; CLUSTER as usize]);
                    // What is behind the end of a file is zero.
                    let there = image.file.metadata().expect("is open").len().saturating_sub(at).min(CLUSTER);
                    image.file.read_exact_at(&mut cluster[..usize::try_from(there).expect("fits")], at).expect("reads");
                    if let Some(xts) = &image.xts {
                        xts.decrypt(at / SECTOR as u64, &mut *cluster);
                    }
                    return Some(cluster);
                }
            }
        }
        None
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= self.size());
        for (n, inside, bytes) in parts(at, bytes) {
            let mut cluster = self.read(n).unwrap_or_else(|| Box::new([0; CLUSTER as usize]));
            cluster[inside..inside + bytes.len()].copy_from_slice(bytes);
            self.0[0].set(n, &cluster);
        }
    }

    pub fn discard(&mut self, n: u64) {
        self.0[0].zero(n);
    }

    /// What would come to light of what is below is made zero, as QEMU does.
    pub fn grow(&mut self, size: u64) {
        let (old, below) = (self.size(), self.known(1));
        self.0[0].grow(size);
        for n in below.into_iter().filter(|n| (old..size).contains(&(n * CLUSTER))) {
            if self.read(n).is_some() {
                self.0[0].zero(n);
            }
        }
    }

    /// The machine goes on in a new file, and only reads the old one.
    pub fn fork(&mut self, old: (&Path, Option<&Key>), new: (&Path, Option<&Key>)) {
        let head = Image::open(new, true);
        head.lock();
        self.0[0] = Image::open(old, false);
        self.0.insert(0, head);
    }

    pub fn differs(&self, from: &Memory) -> Option<String> {
        if self.size() != from.size {
            return Some(format!("it has {} bytes, and should have {}", self.size(), from.size));
        }
        let mut all = self.known(0);
        all.extend(from.written());
        let zeros = [0; CLUSTER as usize];
        let end = from.size / CLUSTER;
        let differ = |n: &u64| {
            let there = self.read(*n);
            *n < end && there.as_deref().unwrap_or(&zeros)[..] != from.cluster(*n).unwrap_or(&zeros)[..]
        };
        all.into_iter().find(differ).map(|n| format!("cluster {n:#x} is another"))
    }
}
