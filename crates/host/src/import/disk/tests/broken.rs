//! Files that are broken at random: they are read or refused, quickly and in little memory; nothing but their own bytes
//! comes out, no more than a disk of that size has, and what they name is never opened.
//!
//! `AWAN_DISK_SEED`, `AWAN_DISK_COUNT`: which, and how many.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::time::{ClockId, clock_gettime};

use super::*;

/// The same files at each run, so that a change is judged by itself; the long lane takes others.
const FIRST_SEED: u64 = 1;
/// As large as a broken file may say it is.
const SIZE_MAX: u64 = 64 << 20;
/// Of a processor, for all that is asked of one file by a program that is not optimised.
const TOOK_MAX: Duration = Duration::from_secs(1);
/// Two disks of that size, as they are held here to be compared with what QEMU reads, and half as much for the parser.
const MEMORY_MAX_KIB: u64 = (2 * SIZE_MAX + SIZE_MAX / 2) >> 10;
/// Without a number, what can be done in this time is enough.
const ENOUGH: Duration = Duration::from_secs(15);

/// A number in a file: where, of how many bytes, and which of them is first.
#[derive(Clone, Copy)]
struct Field {
    at: usize,
    length: usize,
    big_endian: bool,
}

/// A file to break.
struct Seed {
    format: Format,
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Seed {
    fn new(format: Format, bytes: Vec<u8>) -> Self {
        let fields = match format {
            Format::Raw => Vec::new(),
            Format::Qcow2 => qcow2_fields(&bytes),
            Format::Vhd => vhd_fields(&bytes),
            Format::Vhdx => vhdx_fields(&bytes),
            Format::Vmdk => vmdk_fields(&bytes),
        };
        let inside = |field: &Field| field.at.checked_add(field.length).is_some_and(|end| end <= bytes.len());
        Self { format, fields: fields.into_iter().filter(inside).collect(), bytes }
    }
}

fn fields(base: usize, all: &[(usize, usize)], big_endian: bool) -> Vec<Field> {
    all.iter().map(|(at, length)| Field { at: base.saturating_add(*at), length: *length, big_endian }).collect()
}

/// The first entries of a table.
fn entries(at: u64, length: usize, big_endian: bool) -> Vec<Field> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    (0..8).map(|n| Field { at: at.saturating_add(n * length), length, big_endian }).collect()
}

fn qcow2_fields(bytes: &[u8]) -> Vec<Field> {
    const HEADER: [(usize, usize); 18] = [
        (4, 4),
        (8, 8),
        (16, 4),
        (20, 4),
        (24, 8),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
        (56, 4),
        (60, 4),
        (64, 8),
        (72, 8),
        (80, 8),
        (88, 8),
        (96, 4),
        (100, 4),
        (104, 1),
    ];
    let header = Header(bytes);
    let l1 = header.be64(40);
    let l2 = usize::try_from(l1).map_or(0, |l1| header.be64(l1) & 0x00ff_ffff_ffff_fe00);
    [fields(0, &HEADER, true), entries(l1, 8, true), entries(l2, 8, true)].concat()
}

fn vhd_fields(bytes: &[u8]) -> Vec<Field> {
    const FOOTER: [(usize, usize); 6] = [(8, 4), (16, 8), (40, 8), (48, 8), (60, 4), (64, 4)];
    const DYNAMIC: [(usize, usize); 6] = [(8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 4)];
    let table = Header(bytes).be64(512 + 16);
    let footer = fields(bytes.len().saturating_sub(512), &FOOTER, true);
    [footer, fields(512, &DYNAMIC, true), entries(table, 4, true)].concat()
}

/// Of both headers, of the first list of regions and what it leads to: metadata, what that says, and the table.
fn vhdx_fields(bytes: &[u8]) -> Vec<Field> {
    const HEADER: [(usize, usize); 7] = [(0, 4), (8, 8), (48, 8), (64, 2), (66, 2), (68, 4), (72, 8)];
    const REGIONS: [(usize, usize); 7] = [(8, 4), (32, 8), (40, 4), (44, 4), (64, 8), (72, 4), (76, 4)];
    let regions = 192 << 10;
    let at = |entry: usize| Header(bytes).le64(regions + 16 + 32 * entry + 16);
    let mut all = [fields(64 << 10, &HEADER, false), fields(128 << 10, &HEADER, false)].concat();
    all.extend(fields(regions, &REGIONS, false));
    for region in [at(0), at(1)] {
        let begin = usize::try_from(region).unwrap_or(usize::MAX);
        all.extend(entries(region, 8, false));
        all.extend(entries(region.saturating_add(64 << 10), 4, false));
        for entry in 0..5 {
            let base = begin.saturating_add(32 + 32 * entry);
            all.extend(fields(base, &[(0, 8), (16, 4), (20, 4), (24, 4)], false));
        }
    }
    all
}

fn vmdk_fields(bytes: &[u8]) -> Vec<Field> {
    const HEADER: [(usize, usize); 12] =
        [(4, 4), (8, 4), (12, 8), (20, 8), (28, 8), (36, 8), (44, 4), (48, 8), (56, 8), (64, 8), (72, 1), (77, 2)];
    let at_end = bytes.len().saturating_sub(1024);
    let header = Header(bytes);
    let directory = if header.le64(56) == u64::MAX { header_at(bytes, at_end).le64(56) } else { header.le64(56) };
    let directory = directory.saturating_mul(SECTOR);
    let table = usize::try_from(directory).map_or(0, |at| u64::from(header.le32(at)) * SECTOR);
    let headers = [fields(0, &HEADER, false), fields(at_end, &HEADER, false)].concat();
    [headers, entries(directory, 4, false), entries(table, 4, false)].concat()
}

fn header_at(bytes: &[u8], at: usize) -> Header<'_> {
    Header(&bytes[at..])
}

/// Numbers at which something ends.
fn extreme(field: Field, file: &[u8], dice: &mut StdRng) -> u64 {
    let mut own = [0; 8];
    own[8 - field.length..].copy_from_slice(&file[field.at..field.at + field.length]);
    let own = if field.big_endian { u64::from_be_bytes(own) } else { u64::from_be_bytes(own).swap_bytes() };
    let length = file.len() as u64;
    match dice.random_range(0..12) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::MAX >> 1,
        4 => 1 << dice.random_range(0..64),
        5 => (1 << dice.random_range(0..64)) - 1,
        6 => own.wrapping_add(1),
        7 => own.wrapping_sub(1),
        8 => own ^ (1 << dice.random_range(0..64)),
        9 => length.wrapping_add_signed(dice.random_range(-513..=1)),
        10 => length / SECTOR,
        _ => dice.random_range(0..length) & !511,
    }
}

fn set(file: &mut [u8], field: Field, number: u64) {
    let bytes = if field.big_endian { number.to_be_bytes() } else { number.swap_bytes().to_be_bytes() };
    let bytes = if field.big_endian { &bytes[8 - field.length..] } else { &bytes[..field.length] };
    file[field.at..field.at + field.length].copy_from_slice(bytes);
}

fn flip(file: &mut [u8], dice: &mut StdRng) {
    let near = if dice.random_bool(0.5) { 600 } else { file.len() };
    let at = dice.random_range(0..near.min(file.len()));
    let at = if dice.random_bool(0.2) { file.len() - 1 - at } else { at };
    if dice.random_bool(0.5) { file[at] ^= 1 << dice.random_range(0..8) } else { file[at] = dice.random() }
}

/// Part of another file takes the place of part of this one, or comes between.
fn splice(file: &mut Vec<u8>, other: &[u8], dice: &mut StdRng) {
    let from = dice.random_range(0..other.len());
    let most = if dice.random_bool(0.5) { 64 } else { 8192 };
    let length = dice.random_range(1..=most).min(other.len() - from);
    let (part, at) = (&other[from..from + length], dice.random_range(0..file.len()));
    let end = if dice.random_bool(0.7) { (at + length).min(file.len()) } else { at };
    file.splice(at..end, part.iter().copied());
}

/// Headers whose sums are wrong are refused at once: most are to come further.
fn sum_up(file: &mut [u8]) {
    let end = file.len();
    for (at, length, sum) in [(end.saturating_sub(512), 512, 64), (0, 512, 64), (512, 1024, 36)] {
        let Some(header) = file.get_mut(at..at + length) else { continue };
        header[sum..sum + 4].fill(0);
        let total = header.iter().fold(0_u32, |total, byte| total.wrapping_add(u32::from(*byte)));
        header[sum..sum + 4].copy_from_slice(&(!total).to_be_bytes());
    }
}

fn broken(seeds: &[Seed], dice: &mut StdRng) -> (Format, Vec<u8>) {
    let seed = &seeds[dice.random_range(0..seeds.len())];
    let mut file = seed.bytes.clone();
    for _ in 0..dice.random_range(1..6) {
        match dice.random_range(0..10) {
            0..5 if !seed.fields.is_empty() => {
                let field = seed.fields[dice.random_range(0..seed.fields.len())];
                if field.at + field.length <= file.len() {
                    let number = extreme(field, &file, dice);
                    set(&mut file, field, number);
                }
            }
            0..8 => flip(&mut file, dice),
            8 => splice(&mut file, &seeds[dice.random_range(0..seeds.len())].bytes, dice),
            _ if dice.random_bool(0.3) => file.truncate(dice.random_range(1..=file.len())),
            _ => {}
        }
    }
    if dice.random_bool(0.9) {
        match seed.format {
            Format::Vhd => sum_up(&mut file),
            Format::Vhdx => sum_up_vhdx(&mut file),
            Format::Raw | Format::Qcow2 | Format::Vmdk => {}
        }
    }
    (seed.format, file)
}

/// A file that nobody reads behind its end.
struct Bounded<'f>(&'f [u8], u64);

impl Read for Bounded<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (from, length) = (usize::try_from(self.1).expect("fits"), out.len());
        out.copy_from_slice(self.0.get(from..from + length).expect("nothing behind its end is read"));
        self.1 += length as u64;
        Ok(length)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.1 = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(0) => self.0.len() as u64,
            other => panic!("{other:?}"),
        };
        Ok(self.1)
    }
}

/// All that a disk tells of where something may be, into memory that held something else before.
fn told(file: &[u8], format: Format, before: u8, at_end: bool) -> Option<Vec<(bool, Box<[u8; PIECE]>)>> {
    let mut disk = open(Bounded(file, 0), format, SIZE_MAX).ok()?;
    let (size, mut out) = (disk.size(), Vec::new());
    assert!((1..=SIZE_MAX).contains(&size) || format == Format::Raw);
    let end = size.next_multiple_of(PIECE as u64);
    let range = if at_end { end.saturating_sub(3 * PIECE as u64)..end } else { 0..end.min(256 << 10) };
    for at in range.step_by(PIECE) {
        let mut piece = Box::new([before; PIECE]);
        let Ok(any) = disk.read(at, &mut piece) else { break };
        if !any {
            piece.fill(0);
        }
        out.push((any, piece));
    }
    Some(out)
}

/// Where what is written ends.
#[derive(Default)]
struct End {
    at: u64,
    end: u64,
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for End {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { panic!("{to:?}") };
        self.at = at;
        Ok(at)
    }
}

/// What is written of it is no more than a disk of its size, whatever it is made of; `None`: it cannot be read to its end.
fn becomes(file: &[u8], format: Format) -> Option<u64> {
    let mut disk = open(Bounded(file, 0), format, SIZE_MAX).ok()?;
    let (size, mut out) = (disk.size(), End::default());
    write(&mut *disk, size, None, &mut out, |_| Ok(())).ok()?;
    // A table for each 8,192 clusters, the header, the first table, and two to count them.
    let clusters = size.div_ceil(PIECE as u64);
    let most = (clusters + clusters.div_ceil(8192) + 4) * PIECE as u64;
    assert!(out.end <= most, "{} of {most} bytes", out.end);
    Some(out.end)
}

/// Files as others write them, whole ones and ones that name what is not theirs.
fn seeds(folder: &Path, named: &Path) -> Vec<Seed> {
    let small = sample(150 << 10, 3);
    let mut all = vec![Seed::new(Format::Qcow2, written(&small)), Seed::new(Format::Raw, written(&small))];
    for (format, name, options) in KINDS.into_iter().filter(|(format, ..)| *format != Format::Raw) {
        all.extend(made(folder, &small, name, options).map(|file| Seed::new(format, file)));
    }
    all.retain(|seed| seed.bytes.len() < 512 << 10);
    all.push(Seed::new(Format::Vhdx, vhdx_of(&small)));
    let name = named.to_str().expect("text");
    for text in [
        format!("createType=\"monolithicFlat\"\nRW 16 FLAT \"{name}\" 0\n"),
        format!("createType=\"monolithicSparse\"\nparentFileNameHint=\"{name}\"\nRW 16 SPARSE \"{name}\"\n"),
    ] {
        all.push(Seed::new(Format::Vmdk, described(&text)));
    }
    let path = folder.join("named");
    let data = format!("data_file={},data_file_raw=on", folder.join("data").display());
    let snapshot: &[&str] = &["snapshot", "-c", "then"];
    for (options, then) in [
        (vec!["-o", "extended_l2=on", "-f", "qcow2"], None),
        (vec!["-f", "qcow2"], Some(snapshot)),
        (vec!["-f", "qcow2", "-F", "raw", "-b", name], None),
        (vec!["-f", "qcow2", "-o", &data], None),
        (vec!["-f", "vmdk", "-F", "vmdk", "-b", name, "-u"], None),
    ] {
        let format = if options.contains(&"vmdk") { Format::Vmdk } else { Format::Qcow2 };
        let ran =
            |args: &[&str]| Command::new("qemu-img").args(args).arg(&path).output().is_ok_and(|o| o.status.success());
        let size = Command::new("qemu-img").arg("create").args(&options).arg(&path).arg("256k").output();
        if size.is_ok_and(|output| output.status.success()) && then.is_none_or(ran) {
            all.push(Seed::new(format, std::fs::read(&path).expect("reads")));
        }
        let _ = std::fs::remove_file(&path);
    }
    all
}

fn most_memory_kib() -> u64 {
    let about = std::fs::read_to_string("/proc/self/status").expect("reads");
    let most = about.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("is there");
    most.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock").into()
}

/// What QEMU reads of a file that we read to its end; `None`: it refuses it.
fn read_by_qemu(folder: &Path, file: &[u8]) -> Option<Vec<u8>> {
    let (from, to) = (folder.join("accepted"), folder.join("read"));
    std::fs::write(&from, file).expect("writes");
    let mut command = Command::new("timeout");
    command.args(["60", "qemu-img", "convert", "-f", "qcow2", "-O", "raw"]).args([&from, &to]);
    command.output().is_ok_and(|output| output.status.success()).then(|| std::fs::read(&to).expect("reads"))
}

/// A byte that is not of the file would be what was in memory before.
#[test]
#[expect(clippy::print_stderr, reason = "it says what it did, and how to do it again")]
fn whatever_a_file_holds_it_is_read_or_refused_and_only_its_own_bytes_come_out() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let (seed, asked) = (number("AWAN_DISK_SEED").unwrap_or(FIRST_SEED), number("AWAN_DISK_COUNT"));
    let folder = tempfile::tempdir().expect("a folder");
    let secret = tempfile::tempdir().expect("a folder");
    let named = secret.path().join("secret");
    std::fs::write(&named, [0x5e; 64 << 10]).expect("writes");
    let seeds = seeds(folder.path(), &named);
    let opened = Inotify::init(InitFlags::IN_NONBLOCK).expect("watches");
    opened.add_watch(secret.path(), AddWatchFlags::IN_OPEN).expect("watches");
    std::fs::File::open(&named).expect("opens");
    assert_eq!(opened.read_events().expect("is told").len(), 1, "whoever opens it is seen");

    // What was needed until here does not count.
    std::fs::write("/proc/self/clear_refs", "5").expect("forgets");
    let (began, memory) = (Instant::now(), most_memory_kib());
    let (mut count, mut accepted, mut whole, mut alike, mut slowest) = (0, 0_u64, 0_u64, 0_u64, Duration::ZERO);
    for n in 0..asked.unwrap_or(100_000) {
        let mut dice = StdRng::seed_from_u64(seed.wrapping_add(n));
        let (format, file) = broken(&seeds, &mut dice);
        let (took, at_end) = (cpu_time(), dice.random_bool(0.2));
        let [one, other] = [0xEE, 0x11].map(|before| told(&file, format, before, at_end));
        assert!(one == other, "AWAN_DISK_SEED={} AWAN_DISK_COUNT=1: {format:?}", seed.wrapping_add(n));
        accepted += u64::from(one.is_some());
        let converted = if n % 8 == 0 { becomes(&file, format) } else { None };
        slowest = slowest.max(cpu_time().saturating_sub(took));
        assert!(slowest < TOOK_MAX, "AWAN_DISK_SEED={} AWAN_DISK_COUNT=1: {slowest:?}", seed.wrapping_add(n));
        whole += u64::from(converted.is_some());
        if n % 160 == 0 && format == Format::Qcow2 && converted.is_some() {
            // QEMU leaves out what is less than a sector.
            let mut read = whole_of(&file);
            read.truncate(read.len() / 512 * 512);
            let theirs = read_by_qemu(folder.path(), &file);
            let differs = theirs.as_ref().and_then(|theirs| differs(theirs, &read));
            assert_eq!(differs, None, "AWAN_DISK_SEED={} AWAN_DISK_COUNT=1", seed.wrapping_add(n));
            alike += u64::from(theirs.is_some());
        }
        count += 1;
        if asked.is_none() && began.elapsed() > ENOUGH {
            break;
        }
    }
    let memory = most_memory_kib().saturating_sub(memory);
    eprintln!(
        "AWAN_DISK_SEED={seed} AWAN_DISK_COUNT={count}: of {count} broken files {accepted} were opened, {whole} of an eighth \
         of them read to their ends, {alike} as QEMU reads them; at most {slowest:?} of a processor, {memory} KiB more"
    );
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
    assert!(accepted > 0 && whole > 0);
    let told = opened.read_events().expect_err("nobody has opened it");
    assert_eq!(told, nix::errno::Errno::EAGAIN);
}

/// Each cluster of a disk can be one that is compressed to nearly nothing.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn a_small_file_becomes_no_more_than_the_disk_that_there_is_room_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Vec<u8> = (0..2 * PIECE).map(|n| if n < PIECE { 1 } else { 2 }).collect();
    let Some(mut file) = made(folder.path(), &disk, "qcow2", &["-c"]) else {
        eprintln!("skipped: there is no qemu-img");
        return;
    };
    let size = 16_u64 << 20;
    file[24..32].copy_from_slice(&size.to_be_bytes());
    let l1 = usize::try_from(Header(&file).be64(40)).expect("fits");
    let l2 = usize::try_from(Header(&file).be64(l1) & 0x00ff_ffff_ffff_fe00).expect("fits");
    let two = file[l2..l2 + 16].to_vec();
    file[l2..l2 + PIECE].copy_from_slice(&two.repeat(PIECE / 16));
    assert!(file.len() < 512 << 10);
    let began = cpu_time();
    assert!(becomes(&file, Format::Qcow2).is_some_and(|end| end > size), "all of it is there");
    let took = cpu_time().saturating_sub(began);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(open(Bounded(&file, 0), Format::Qcow2, size - 1).is_err(), "there is less room");
}

/// Where, and how many bytes there are.
fn differs(one: &[u8], other: &[u8]) -> Option<(usize, usize, usize)> {
    let at = one.iter().zip(other).position(|(one, other)| one != other);
    let at = at.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))?;
    Some((at, one.len(), other.len()))
}

fn whole_of(file: &[u8]) -> Vec<u8> {
    whole(&mut *open(Bounded(file, 0), Format::Qcow2, SIZE_MAX).expect("opens")).expect("reads")
}
