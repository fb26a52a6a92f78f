//! The header by which QEMU opens an encrypted file: LUKS, version 1, inside of qcow2. Sources: "LUKS On-Disk Format
//! Specification", 1.2.3; QEMU, crypto/block-luks.c and docs/interop/qcow2.txt.
//!
//! It is written here because `qemu-img create` measures the machine for seconds before it does so, to make guessing of
//! passphrases slow. Here nobody can guess: what opens it is 256 random bits. So it is a step like writing an empty file.
//!
//! AES-256 in XTS mode; sectors are numbered as they lie in the file (`plain64`).

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use anyhow::{Context as _, Result};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const SECTOR: usize = 512;
/// Two keys of AES-256.
const KEY: usize = 64;
/// QEMU takes no other number.
const STRIPES: usize = 4000;
/// QEMU's least. It is to slow down guessing.
const ITERATIONS: u32 = 1000;
const SLOTS: usize = 8;
/// Sectors: where the first slot's material lies, and from there to the next.
const FIRST: usize = 8;
const STEP: usize = (KEY * STRIPES).div_ceil(SECTOR).next_multiple_of(8);
const ACTIVE: u32 = 0x00ac_71f3;
const DISABLED: u32 = 0x0000_dead;

/// What a header and all its slots take. Behind the first slot there is nothing.
pub const LENGTH: u64 = ((FIRST + SLOTS * STEP) * SECTOR) as u64;

/// A header that `passphrase` opens, of a new key, and the material of the one slot that is used.
pub fn header(passphrase: &[u8]) -> Result<Vec<u8>> {
    let (master, salts) = (random::<KEY>()?, random::<64>()?);
    let mut header = vec![0; FIRST * SECTOR];
    let mut at = 0;
    let mut put = |bytes: &[u8], room: usize| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += room;
    };
    let number = |n: usize| u32::try_from(n).unwrap_or_default().to_be_bytes();
    put(b"LUKS\xba\xbe\x00\x01", 8);
    put(b"aes", 32);
    put(b"xts-plain64", 32);
    put(b"sha256", 32);
    put(&number(FIRST + SLOTS * STEP), 4);
    put(&number(KEY), 4);
    put(&pbkdf2::<20>(&master, &salts[..32]), 20);
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
    let xts = Xts::new(&pbkdf2::<KEY>(passphrase, &salts[32..]));
    for (n, sector) in (0..).zip(material.chunks_exact_mut(SECTOR)) {
        xts.encrypt(n, sector);
    }
    header.append(&mut material);
    Ok(header)
}

/// From the system: what it says is secret for years.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    use rand::TryRng as _;
    let mut bytes = [0; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).context("the system has no randomness")?;
    Ok(bytes)
}

fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn pbkdf2<const N: usize>(password: &[u8], salt: &[u8]) -> [u8; N] {
    let mac = Hmac::<Sha256>::new_from_slice(password).expect("a key has any length");
    let mut out = [0; N];
    for (n, block) in (1_u32..).zip(out.chunks_mut(32)) {
        let mut last = mac.clone().chain_update(salt).chain_update(n.to_be_bytes()).finalize().into_bytes();
        let mut sum = last;
        for _ in 1..ITERATIONS {
            last = mac.clone().chain_update(last).finalize().into_bytes();
            sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
        }
        block.copy_from_slice(&sum[..block.len()]);
    }
    out
}

/// Spreads a key over so many stripes that it is lost with any of them.
fn split(key: &[u8; KEY]) -> Result<Vec<u8>> {
    let mut stripes = Vec::with_capacity(STRIPES * KEY);
    let mut sum = [0; KEY];
    for _ in 1..STRIPES {
        let stripe = random::<KEY>()?;
        stripes.extend(stripe);
        mix(&mut sum, &stripe);
    }
    stripes.extend(sum.iter().zip(key).map(|(sum, byte)| sum ^ byte));
    Ok(stripes)
}

fn mix(sum: &mut [u8; KEY], stripe: &[u8]) {
    sum.iter_mut().zip(stripe).for_each(|(sum, byte)| *sum ^= byte);
    for (n, part) in (0_u32..).zip(sum.chunks_mut(32)) {
        let mixed = Sha256::new().chain_update(n.to_be_bytes()).chain_update(&*part).finalize();
        part.copy_from_slice(&mixed);
    }
}

struct Xts {
    data: Aes256,
    tweak: Aes256,
}

impl Xts {
    fn new(key: &[u8; KEY]) -> Self {
        let half = |half: &[u8]| Aes256::new_from_slice(half).expect("32 bytes");
        Self { data: half(&key[..32]), tweak: half(&key[32..]) }
    }

    fn encrypt(&self, number: u64, sector: &mut [u8]) {
        let mut tweak = u128::from(number).to_le_bytes().into();
        self.tweak.encrypt_block(&mut tweak);
        let mut tweak = u128::from_le_bytes(tweak.into());
        for block in sector.chunks_exact_mut(16) {
            let mut word = [0; 16];
            word.copy_from_slice(block);
            let mut word = (u128::from_le_bytes(word) ^ tweak).to_le_bytes().into();
            self.data.encrypt_block(&mut word);
            block.copy_from_slice(&(u128::from_le_bytes(word.into()) ^ tweak).to_le_bytes());
            // Times x in the field of 2^128 elements that XTS has.
            tweak = (tweak << 1) ^ if tweak >> 127 == 1 { 0x87 } else { 0 };
        }
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
        let mut sector: Vec<u8> = (0..SECTOR).map(|n| u8::try_from(n % 256).expect("fits")).collect();
        Xts::new(&key[..].try_into().expect("64 bytes")).encrypt(0xff, &mut sector);
        assert_eq!(sector[..16], bytes("1c3b3a102f770386e4836c99e370cf9b"));
        assert_eq!(sector[SECTOR - 16..], bytes("c4f36ffda9fcea70b9c6e693e148c151"));
        // PBKDF2-HMAC-SHA256 as Python's hashlib computes it: password, salt, 1,000 iterations.
        let known = bytes("632c2812e46d4604102ba7618e9d6d7d2f8128f6266b4a03264d2a0460b7dcb3");
        assert_eq!(pbkdf2::<32>(b"password", b"salt")[..], known);
        assert_eq!(header(b"any").expect("makes").len(), FIRST * SECTOR + KEY * STRIPES);
    }
}
