//! The header by which QEMU and we open an encrypted file: LUKS, version 1, inside of qcow2. Sources: "LUKS On-Disk Format
//! Specification", 1.2.3; QEMU, crypto/block-luks.c and docs/interop/qcow2.txt.
//!
//! It is written here because `qemu-img create` measures the machine for seconds before it does so, to make guessing of
//! passphrases slow. Here nobody can guess: what opens it is 256 random bits. So it is a step like writing an empty file.
//!
//! AES-256 in XTS mode; sectors are numbered as they lie in the file (`plain64`). Nothing else is opened.
//!
//! **Invariant:** a header may be hostile, because the machine whose file it is in may have written it. It takes no more
//! memory than one of QEMU's, and no more time than two slots of the most iterations that are taken.

use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes256, Block};
use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

pub const SECTOR: usize = 512;
/// AES's.
const BLOCK: usize = 16;
/// Two keys of AES-256.
const KEY: usize = 64;
/// QEMU takes no other number.
const STRIPES: usize = 4000;
/// QEMU's least. It is to slow down guessing.
const ITERATIONS: u32 = 1000;
/// What is opened has no more.
const ITERATIONS_MAX: u32 = 20_000;
/// So many are tried: ours have one, and two while another key is to open them.
const ACTIVE_MAX: usize = 2;
/// To open a header takes milliseconds, and who reads a disk in blocks opens its files for each: so what one opened is known
/// so long, as long as these are not more. The agent calls [`forget`] at each heartbeat, so that it is not for much longer.
const KNOWN_FOR: Duration = Duration::from_secs(60);
const KNOWN_MAX: usize = 1 << 10;

/// By what it is of, since when, and what it is.
#[derive(Default)]
struct Known(HashMap<[u8; 32], (Instant, Xts)>);

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

impl Known {
    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (since, _)| now.duration_since(*since) < KNOWN_FOR);
    }

    fn get(&mut self, of: &[u8; 32], now: Instant) -> Option<Xts> {
        self.forget(now);
        self.0.get(of).map(|(_, xts)| xts.clone())
    }

    fn put(&mut self, of: [u8; 32], now: Instant, xts: Xts) {
        self.forget(now);
        if self.0.len() < KNOWN_MAX {
            self.0.insert(of, (now, xts));
        }
    }
}

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What opened files, and has been known for long enough.
pub fn forget() {
    known().forget(Instant::now());
}

/// No slot that is tried opens by the key. It does not the next time either.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key does not open it")
    }
}

impl std::error::Error for Closed {}

const SLOTS: usize = 8;
/// Sectors: where the first slot's material lies, and from there to the next.
const FIRST: usize = 8;
const STEP: usize = (KEY * STRIPES).div_ceil(SECTOR).next_multiple_of(8);
const ACTIVE: u32 = 0x00ac_71f3;
const DISABLED: u32 = 0x0000_dead;
/// What it begins with: that it is LUKS and of which version, and how its file is encrypted; each with its room.
const KIND: [(&[u8], usize); 4] = [(b"LUKS\xba\xbe\x00\x01", 8), (b"aes", 32), (b"xts-plain64", 32), (b"sha256", 32)];
/// Bytes: where the length of the key is, then what tells whether it is right, and the slots.
const KEY_AT: usize = 108;
const CHECK_AT: usize = 112;
const SLOTS_AT: usize = 208;
const SLOT: usize = 48;

/// What a header and all its slots take. Behind the first slot there is nothing.
pub const LENGTH: u64 = ((FIRST + SLOTS * STEP) * SECTOR) as u64;

/// A header, and all slots that are used; and what its file is encrypted with.
pub struct Luks {
    pub header: Vec<u8>,
    pub xts: Xts,
}

impl Luks {
    /// One of a new key, that `passphrase` opens.
    pub fn new(passphrase: &[u8]) -> Result<Self> {
        let (master, salts) = (random::<KEY>()?, random::<64>()?);
        let mut header = vec![0; FIRST * SECTOR];
        let mut at = 0;
        let mut put = |bytes: &[u8], room: usize| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
            at += room;
        };
        let number = |n: usize| u32::try_from(n).unwrap_or_default().to_be_bytes();
        for (name, room) in KIND {
            put(name, room);
        }
        put(&number(FIRST + SLOTS * STEP), 4);
        put(&number(KEY), 4);
        put(&pbkdf2::<20>(&master, &salts[..32], ITERATIONS), 20);
        put(&salts[..32], 32);
        put(&ITERATIONS.to_be_bytes(), 4);
        put(uuid(random()?).as_bytes(), 40);
        for slot in 0..SLOTS {
            let (state, iterations, salt) =
                if slot == 0 { (ACTIVE, ITERATIONS, &salts[32..]) } else { (DISABLED, 0, &[0; 32][..]) };
            put(&state.to_be_bytes(), 4);
            put(&iterations.to_be_bytes(), 4);
            put(salt, 32);
            put(&number(FIRST + slot * STEP), 4);
            put(&number(STRIPES), 4);
        }
        let mut material = split(&master)?;
        Xts::new(&pbkdf2(passphrase, &salts[32..], ITERATIONS)).encrypt(0, &mut material);
        header.append(&mut material);
        Ok(Self { header, xts: Xts::new(&master) })
    }
}

/// What a file is encrypted with, if `passphrase` opens a slot of its header. `read`: so many bytes, from a place in the
/// header on.
pub fn open(passphrase: &[u8], read: impl FnMut(u64, usize) -> Result<Vec<u8>>) -> Result<Xts> {
    let (mut read, now) = (read, Instant::now());
    let header = read(0, SLOTS_AT + SLOTS * SLOT)?;
    // It says what is right, so that nothing else can be opened by the same.
    let of = Sha256::new().chain_update(&header).chain_update(passphrase).finalize().into();
    let there = known().get(&of, now);
    if let Some(xts) = there {
        return Ok(xts);
    }
    let xts = open_anew(&header, passphrase, read)?;
    known().put(of, now, xts.clone());
    Ok(xts)
}

fn open_anew(header: &[u8], passphrase: &[u8], mut read: impl FnMut(u64, usize) -> Result<Vec<u8>>) -> Result<Xts> {
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let mut at = 0;
    for (name, room) in KIND {
        let (there, zeros) = header[at..at + room].split_at(name.len());
        ensure!(there == name && zeros.iter().all(|byte| *byte == 0), "how it is encrypted is not known");
        at += room;
    }
    ensure!(number(KEY_AT) as usize == KEY, "its key is not as long as is known");
    let (check, salt) = header[CHECK_AT..CHECK_AT + 52].split_at(20);
    let bounded = |iterations: u32| {
        ensure!((1..=ITERATIONS_MAX).contains(&iterations), "its header has too many iterations");
        Ok(iterations)
    };
    let iterations = bounded(number(CHECK_AT + 52))?;
    let active = (0..SLOTS).map(|n| SLOTS_AT + n * SLOT).filter(|at| number(*at) == ACTIVE);
    for slot in active.take(ACTIVE_MAX) {
        ensure!(number(slot + 44) as usize == STRIPES, "its key is not spread as is known");
        let own = Xts::new(&pbkdf2(passphrase, &header[slot + 8..slot + 40], bounded(number(slot + 4))?));
        let mut material = read(u64::from(number(slot + 40)) * SECTOR as u64, KEY * STRIPES)?;
        own.decrypt(0, &mut material);
        let (others, last) = material.split_at((STRIPES - 1) * KEY);
        let master = joined(others, last);
        if pbkdf2::<20>(&master, salt, iterations)[..] == *check {
            return Ok(Xts::new(&master));
        }
    }
    Err(Closed.into())
}

/// From the system: what it says is secret for years.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    use rand::TryRng as _;
    rand::rngs::SysRng.try_fill_bytes(bytes).context("the system has no randomness")
}

fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn pbkdf2<const N: usize>(password: &[u8], salt: &[u8], iterations: u32) -> [u8; N] {
    let mac = Hmac::<Sha256>::new_from_slice(password).expect("a key has any length");
    let mut out = [0; N];
    for (n, block) in (1_u32..).zip(out.chunks_mut(32)) {
        let mut last = mac.clone().chain_update(salt).chain_update(n.to_be_bytes()).finalize().into_bytes();
        let mut sum = last;
        for _ in 1..iterations {
            last = mac.clone().chain_update(last).finalize().into_bytes();
            sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
        }
        block.copy_from_slice(&sum[..block.len()]);
    }
    out
}

/// Spreads a key over so many stripes that it is lost with any of them.
fn split(key: &[u8; KEY]) -> Result<Vec<u8>> {
    let mut stripes = vec![0; (STRIPES - 1) * KEY];
    fill(&mut stripes)?;
    let last = joined(&stripes, key);
    stripes.extend(last);
    Ok(stripes)
}

/// The last stripe of a key by all others, or the key by the last.
fn joined(others: &[u8], last: &[u8]) -> [u8; KEY] {
    let (mut sum, mut text) = ([0; KEY], [0; 36]);
    let xor = |sum: &mut [u8; KEY], with: &[u8]| sum.iter_mut().zip(with).for_each(|(sum, byte)| *sum ^= byte);
    for stripe in others.chunks_exact(KEY) {
        xor(&mut sum, stripe);
        for (n, part) in (0_u8..).zip(sum.chunks_mut(32)) {
            text[3] = n;
            text[4..].copy_from_slice(part);
            part.copy_from_slice(&Sha256::digest(text));
        }
    }
    xor(&mut sum, last);
    sum
}

/// What sectors are encrypted with.
#[derive(Clone)]
pub struct Xts {
    data: Aes256,
    tweak: Aes256,
}

impl fmt::Debug for Xts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Xts(…)")
    }
}

impl Xts {
    fn new(key: &[u8; KEY]) -> Self {
        let half = |half: &[u8]| Aes256::new_from_slice(half).expect("32 bytes");
        Self { data: half(&key[..32]), tweak: half(&key[32..]) }
    }

    /// Whole sectors, of which the first has this number.
    pub fn encrypt(&self, first: u64, sectors: &mut [u8]) {
        self.each(first, sectors, |blocks| self.data.encrypt_blocks(blocks));
    }

    pub fn decrypt(&self, first: u64, sectors: &mut [u8]) {
        self.each(first, sectors, |blocks| self.data.decrypt_blocks(blocks));
    }

    fn each(&self, first: u64, sectors: &mut [u8], crypt: impl Fn(&mut [Block])) {
        debug_assert!(sectors.len().is_multiple_of(SECTOR), "sectors are whole");
        for (number, sector) in (first..).zip(sectors.chunks_exact_mut(SECTOR)) {
            let tweaks = self.tweaks(number);
            mask(sector, &tweaks);
            crypt(Block::slice_as_chunks_mut(sector).0);
            mask(sector, &tweaks);
        }
    }

    fn tweaks(&self, number: u64) -> [u128; SECTOR / BLOCK] {
        let mut first = u128::from(number).to_le_bytes().into();
        self.tweak.encrypt_block(&mut first);
        let mut next = u128::from_le_bytes(first.into());
        std::array::from_fn(|_| {
            let tweak = next;
            // Times x in the field of 2^128 elements that XTS has.
            next = (tweak << 1) ^ if tweak >> 127 == 1 { 0x87 } else { 0 };
            tweak
        })
    }
}

fn mask(sector: &mut [u8], tweaks: &[u128]) {
    for (block, tweak) in sector.chunks_exact_mut(BLOCK).zip(tweaks) {
        let word = u128::from_le_bytes((&*block).try_into().expect("a block"));
        block.copy_from_slice(&(word ^ tweak).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn the_parts_are_those_of_their_standards() {
        // IEEE 1619-2007, vector 10: XTS-AES-256, data unit 0xff.
        let key = [
            "2718281828459045235360287471352662497757247093699959574966967627",
            "3141592653589793238462643383279502884197169399375105820974944592",
        ];
        let key = bytes(&key.concat());
        let plain: Vec<u8> = (0..SECTOR).map(|n| u8::try_from(n % 256).expect("fits")).collect();
        let (mut sector, xts) = (plain.clone(), Xts::new(&key[..].try_into().expect("64 bytes")));
        xts.encrypt(0xff, &mut sector);
        assert_eq!(sector[..16], bytes("1c3b3a102f770386e4836c99e370cf9b"));
        assert_eq!(sector[SECTOR - 16..], bytes("c4f36ffda9fcea70b9c6e693e148c151"));
        xts.decrypt(0xff, &mut sector);
        assert_eq!(sector, plain);
        // Each sector by its number.
        let mut all = plain.repeat(3);
        xts.encrypt(0xfe, &mut all);
        xts.decrypt(0xff, &mut all[SECTOR..2 * SECTOR]);
        assert!(all[SECTOR..2 * SECTOR] == plain && all[2 * SECTOR..] != plain);
        // PBKDF2-HMAC-SHA256 as Python's hashlib computes it: password, salt, 1,000 iterations.
        let known = bytes("632c2812e46d4604102ba7618e9d6d7d2f8128f6266b4a03264d2a0460b7dcb3");
        assert_eq!(pbkdf2::<32>(b"password", b"salt", 1000)[..], known);
        let key: [u8; KEY] = std::array::from_fn(|n| u8::try_from(n).expect("fits"));
        let stripes = split(&key).expect("splits");
        let (others, last) = stripes.split_at((STRIPES - 1) * KEY);
        assert!(joined(others, last) == key && stripes.len() == STRIPES * KEY);
    }

    fn opened(header: &[u8], passphrase: &[u8]) -> Result<Xts> {
        open(passphrase, |at, length| {
            let from = usize::try_from(at)?;
            Ok(header.get(from..from + length).context("it ends before what it names")?.to_vec())
        })
    }

    #[test]
    fn a_header_is_opened_by_what_it_was_made_for() {
        let made = Luks::new(b"right").expect("makes");
        assert_eq!(made.header.len(), FIRST * SECTOR + KEY * STRIPES);
        let (mut a, mut b) = ([7; SECTOR], [7; SECTOR]);
        made.xts.encrypt(5, &mut a);
        opened(&made.header, b"right").expect("opens").encrypt(5, &mut b);
        assert_eq!(a, b);
        assert_eq!(opened(&made.header, b"wrong").expect_err("is another").to_string(), "the key does not open it");
    }

    #[test]
    fn what_opened_a_file_is_not_known_for_long() {
        let (made, now) = (Luks::new(b"right").expect("makes"), Instant::now());
        let mut known = Known::default();
        known.put([1; 32], now, made.xts.clone());
        known.put([2; 32], now + KNOWN_FOR / 2, made.xts);
        let just_before = now + KNOWN_FOR - Duration::from_millis(1);
        assert!(known.get(&[1; 32], just_before).is_some() && known.get(&[3; 32], just_before).is_none());
        assert!(known.get(&[1; 32], now + KNOWN_FOR).is_none(), "although nothing else was opened");
        assert_eq!(known.0.len(), 1);
        known.forget(now + KNOWN_FOR * 2);
        assert!(known.0.is_empty());
    }

    #[test]
    fn no_more_than_two_slots_are_tried() {
        let made = Luks::new(b"right").expect("makes").header;
        for n in 1..4 {
            let mut header = made.clone();
            // The one that opens comes after others, which are like it but for their salt.
            for slot in 0..SLOTS {
                let to = SLOTS_AT + slot * SLOT;
                header[to..to + SLOT].copy_from_slice(&made[SLOTS_AT..SLOTS_AT + SLOT]);
                header[to + 8] ^= u8::from(slot != n);
            }
            let opened = opened(&header, b"right");
            assert_eq!(opened.is_err_and(|e| e.is::<Closed>()), n >= ACTIVE_MAX, "slot {n}");
        }
    }

    #[test]
    fn a_hostile_header_is_refused_at_once() {
        let made = Luks::new(b"right").expect("makes").header;
        let all = [u8::MAX; 4];
        for (at, value, why) in [
            (0, &b"X"[..], "how it is encrypted is not known"),
            (7, &[2], "how it is encrypted is not known"),
            (11, b"!", "how it is encrypted is not known"),
            (40, b"cbc", "how it is encrypted is not known"),
            (72, b"md5", "how it is encrypted is not known"),
            (KEY_AT, &all, "its key is not as long as is known"),
            (CHECK_AT, &all, "the key does not open it"),
            (CHECK_AT + 52, &all, "its header has too many iterations"),
            (CHECK_AT + 52, &[0; 4], "its header has too many iterations"),
            (SLOTS_AT, &all, "the key does not open it"),
            (SLOTS_AT + 4, &all, "its header has too many iterations"),
            (SLOTS_AT + 4, &(ITERATIONS_MAX + 1).to_be_bytes(), "its header has too many iterations"),
            (SLOTS_AT + 40, &all, "it ends before what it names"),
            (SLOTS_AT + 44, &all, "its key is not spread as is known"),
            (FIRST * SECTOR + 999, &all, "the key does not open it"),
        ] {
            let mut header = made.clone();
            header[at..at + value.len()].copy_from_slice(value);
            let refusal = opened(&header, b"right").expect_err("is refused").to_string();
            assert_eq!(refusal, why, "at {at}");
        }
        opened(&made[..500], b"right").expect_err("is too short");
    }
}
