//! What a guest runs in `bench disk`: reads and writes of a file or a disk, past the guest's own cache. One word of JSON to
//! standard output. Built without shared libraries, because the tiny image has none that Rust needs.
//!
//! ```text
//!   io write PATH MIB            1 MiB at a time from the beginning, then flushed: MiB per second
//!   io read PATH MIB             the same, read
//!   io flush PATH SECONDS        4 KiB written and flushed, again and again: µs that one took, the median and the longest
//! ```

use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

/// Of Linux on x86-64 (asm-generic/fcntl.h).
const O_DIRECT: i32 = 0o40000;
const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Memory that begins at a page, as `O_DIRECT` wants it.
struct Pages {
    bytes: Vec<u8>,
    at: usize,
}

impl Pages {
    fn new(length: usize) -> Self {
        let bytes = vec![0x5a; length + PAGE];
        let at = bytes.as_ptr().align_offset(PAGE);
        Self { bytes, at }
    }

    fn of(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.at..self.at + length]
    }
}

fn open(path: &str, write: bool) -> Result<File> {
    let create = write && !path.starts_with("/dev/");
    OpenOptions::new().read(true).write(write).create(create).custom_flags(O_DIRECT).open(path)
}

fn rate(mib: usize, began: Instant) -> f64 {
    mib as f64 / began.elapsed().as_secs_f64()
}

/// The microseconds that so many of a hundred take at most.
fn within(times: &mut [Duration], percent: usize) -> u128 {
    times.sort();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).map_or(0, Duration::as_micros)
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    let number = |n: usize| word(n).parse::<usize>().expect("a number");
    let (path, mut pages) = (word(2), Pages::new(MIB));
    let said = match word(1) {
        "write" => {
            let (file, began) = (open(path, true)?, Instant::now());
            for n in 0..number(3) {
                file.write_all_at(pages.of(MIB), (n * MIB) as u64)?;
            }
            file.sync_data()?;
            format!("{:.3}", rate(number(3), began))
        }
        "read" => {
            let (file, began) = (open(path, false)?, Instant::now());
            for n in 0..number(3) {
                file.read_exact_at(pages.of(MIB), (n * MIB) as u64)?;
            }
            format!("{:.3}", rate(number(3), began))
        }
        "flush" => {
            let (file, began, mut times) = (open(path, true)?, Instant::now(), Vec::new());
            while began.elapsed() < Duration::from_secs(number(3) as u64) {
                let one = Instant::now();
                file.write_all_at(pages.of(PAGE), 0)?;
                file.sync_data()?;
                times.push(one.elapsed());
            }
            format!("[{}, {}]", within(&mut times, 50), within(&mut times, 100))
        }
        other => panic!("io knows no {other}"),
    };
    println!("{said}");
    Ok(())
}
