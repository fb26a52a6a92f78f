//! The time, at 169.254.169.123 and fd00:ec2::123: a server of NTP version 4 and older (RFC 5905), which answers one packet with one of the
//! same length. Where the kernel does not hold the host's clock to be right, it says so, and no client follows it.

use std::net::UdpSocket;
use std::time::Duration;

use super::{AFTER_ERROR, Shared, current};

/// Seconds from the first of January 1900 to that of 1970.
const ERA: u64 = 2_208_988_800;
const LENGTH: usize = 48;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// A leap indicator, and a stratum, for a clock that is not set.
const ALARM: u8 = 3;
const UNSET: u8 = 16;
/// Below the servers that set the host's clock, whichever they are.
const STRATUM: u8 = 4;
/// Two to this many seconds: a microsecond.
const PRECISION: i8 = -20;

/// What the kernel says of its clock: adjtimex(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    pub right: bool,
    pub error: Duration,
    pub now: Duration,
}

impl Clock {
    fn read() -> Self {
        #[expect(unsafe_code, reason = "a system call without a safe form")]
        // SAFETY: all zeros are a request that changes nothing, and the kernel writes no more than the structure.
        let (state, said) = unsafe {
            let mut said: libc::timex = std::mem::zeroed();
            (libc::adjtimex(&raw mut said), said)
        };
        let part = u32::try_from(said.time.tv_usec).unwrap_or_default();
        let nanos = if said.status & libc::STA_NANO == 0 { part.saturating_mul(1_000) } else { part };
        let now = Duration::new(u64::try_from(said.time.tv_sec).unwrap_or_default(), nanos);
        let error = Duration::from_micros(u64::try_from(said.maxerror).unwrap_or(u64::MAX));
        let right = state >= 0 && state != libc::TIME_ERROR && said.status & libc::STA_UNSYNC == 0;
        Self { right, error, now }
    }
}

pub async fn serve(socket: UdpSocket, view: Shared) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    let mut buffer = [0; 128];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let known = current(&view).network().is_some_and(|vpc| vpc.interfaces.iter().any(|i| i.has(from.ip())));
        if let Some(answer) = answer(&buffer[..length], Clock::read()).filter(|_| known) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// Of a question that is one.
fn answer(question: &[u8], clock: Clock) -> Option<[u8; LENGTH]> {
    let head = *question.first()?;
    let (version, mode) = (head >> 3 & 7, head & 7);
    if question.len() < LENGTH || !(1..=4).contains(&version) || mode != CLIENT {
        return None;
    }
    let now = stamp(clock.now);
    let mut out = [0; LENGTH];
    let leap = if clock.right { 0 } else { ALARM };
    out[0] = leap << 6 | version << 3 | SERVER;
    out[1] = if clock.right { STRATUM } else { UNSET };
    out[2] = question[2];
    out[3] = PRECISION.to_be_bytes()[0];
    out[8..12].copy_from_slice(&short(clock.error));
    out[12..16].copy_from_slice(&[127, 0, 0, 1]);
    // Set, received, sent: all just now. The client's own time comes back as it came.
    out[16..24].copy_from_slice(&now);
    out[24..32].copy_from_slice(&question[40..48]);
    out[32..40].copy_from_slice(&now);
    out[40..48].copy_from_slice(&now);
    Some(out)
}

/// Seconds and their 2^-32ths; after 2036 the first begin again.
fn stamp(since_1970: Duration) -> [u8; 8] {
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    ((since_1970.as_secs() + ERA) << 32 | fraction).to_be_bytes()
}

/// Seconds and their 2^-16ths, at most what there is room for.
fn short(time: Duration) -> [u8; 4] {
    u32::try_from((time.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Clock =
        Clock { right: true, error: Duration::from_millis(500), now: Duration::new(1_795_521_600, 250_000_000) };

    fn question() -> [u8; LENGTH] {
        let mut question = [0; LENGTH];
        question[0] = 4 << 3 | CLIENT;
        question[2] = 6;
        question[40..48].copy_from_slice(b"my time!");
        question
    }

    #[test]
    fn the_time_is_told_with_the_clients_own_beside_it() {
        let told = answer(&question(), GOOD).expect("answers");
        assert_eq!((told[0], told[1], told[2]), (4 << 3 | SERVER, STRATUM, 6));
        assert_eq!(told[8..12], [0, 0, 0x80, 0], "half a second");
        assert_eq!(told[24..32], *b"my time!");
        let seconds = u32::from_be_bytes(told[40..44].try_into().expect("four"));
        assert_eq!(u64::from(seconds), 1_795_521_600 + ERA);
        assert_eq!(told[44..48], [0x40, 0, 0, 0], "a quarter");
        assert_eq!(told[32..40], told[40..48]);
    }

    #[test]
    fn a_clock_that_is_not_set_says_so() {
        let told = answer(&question(), Clock { right: false, error: Duration::MAX, ..GOOD }).expect("answers");
        assert_eq!((told[0] >> 6, told[1]), (ALARM, UNSET));
        assert_eq!(told[8..12], [0xff; 4]);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let ok = question();
        assert!(answer(&ok[..47], GOOD).is_none());
        // Control messages (mode 6) and private ones (7) are what servers were abused by.
        for mode in [0, 1, 2, 4, 5, 6, 7] {
            let mut other = ok;
            other[0] = 4 << 3 | mode;
            assert!(answer(&other, GOOD).is_none(), "{mode}");
        }
        for version in [0, 5, 7] {
            let mut other = ok;
            other[0] = version << 3 | CLIENT;
            assert!(answer(&other, GOOD).is_none(), "{version}");
        }
        assert!(answer(&[], GOOD).is_none());
    }

    #[test]
    fn the_second_era_begins_again_at_nothing() {
        let turn = Duration::from_secs((1 << 32) - ERA);
        assert_eq!(stamp(turn), [0; 8]);
    }
}
