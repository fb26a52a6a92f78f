//! What a display shows, and its JPEG. Pure.

use anyhow::{Context as _, Result, bail, ensure};
use jpeg_encoder::{ColorType, Encoder};

const QUALITY: u8 = 75;
/// A display of these many points is larger than any that machines have.
const POINTS_MAX: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u16,
    height: u16,
    /// Red, green, blue; from the left to the right, from the top to the bottom.
    points: Vec<u8>,
}

impl Picture {
    /// A dark one.
    pub fn blank(width: u16, height: u16) -> Self {
        Self { width, height, points: vec![0; 3 * usize::from(width) * usize::from(height)] }
    }

    /// From a binary PPM, behind which anything may follow. It may be hostile.
    pub fn read(ppm: &[u8]) -> Result<Self> {
        let mut rest = ppm.strip_prefix(b"P6").context("this is no picture")?;
        let mut numbers = [0; 3];
        for number in &mut numbers {
            (*number, rest) = number_of(rest).context("a picture without a size")?;
        }
        let [width, height, most] = numbers;
        ensure!(most == 255, "a picture of another depth");
        ensure!(width > 0 && height > 0 && width.saturating_mul(height) <= POINTS_MAX, "a picture of no such size");
        let rest = rest.split_first().map(|(_, rest)| rest).unwrap_or_default();
        let points = rest.get(..3 * width * height).context("half a picture")?.to_vec();
        Ok(Self { width: u16::try_from(width)?, height: u16::try_from(height)?, points })
    }

    pub fn jpeg(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let encoder = Encoder::new(&mut out, QUALITY);
        encoder.encode(&self.points, self.width, self.height, ColorType::Rgb).context("encoding a picture")?;
        Ok(out)
    }
}

/// White space, then a number of at most five digits.
fn number_of(text: &[u8]) -> Result<(usize, &[u8])> {
    let blank = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let text = &text[blank..];
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if blank == 0 || !(1..=5).contains(&digits) {
        bail!("no number");
    }
    Ok((std::str::from_utf8(&text[..digits])?.parse()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What somebody who looks at a JPEG sees.
    fn seen(jpeg: &[u8]) -> Picture {
        let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(jpeg));
        let points = decoder.decode().expect("is a JPEG");
        let (width, height) = decoder.dimensions().expect("has a size");
        let side = |n: usize| u16::try_from(n).expect("is small");
        Picture { width: side(width), height: side(height), points }
    }

    #[test]
    fn a_picture_becomes_a_jpeg_that_shows_the_same() {
        // One half red, the other blue.
        let row = [[250, 10, 10].repeat(16), [10, 10, 250].repeat(16)].concat();
        let ppm = [b"P6\n32 16\n255\n".as_slice(), &row.repeat(16), &[0; 100]].concat();
        let picture = Picture::read(&ppm).expect("a picture");
        let shown = seen(&picture.jpeg().expect("encodes"));
        assert_eq!((shown.width, shown.height, shown.points.len()), (32, 16, picture.points.len()));
        // Where colours meet, a JPEG is not exact.
        for column in (0..12).chain(20..32) {
            let at = 3 * (8 * 32 + column);
            let off = (at..at + 3).map(|n| picture.points[n].abs_diff(shown.points[n])).max();
            assert!(off < Some(24), "{column}: {off:?}");
        }
        let dark = seen(&Picture::blank(16, 9).jpeg().expect("encodes"));
        assert_eq!(dark, Picture::blank(16, 9));
    }

    #[test]
    fn what_is_no_whole_picture_is_none() {
        for (ppm, why) in [
            ("", "this is no picture"),
            ("P3\n1 1\n255\n1 1 1", "this is no picture"),
            ("P6\n1", "a picture without a size"),
            ("P6\n1 -1\n255\nxxx", "a picture without a size"),
            ("P6\n123456 1\n255\n", "a picture without a size"),
            ("P6\n0 1\n255\n", "a picture of no such size"),
            ("P6\n65535 65535\n255\n", "a picture of no such size"),
            ("P6\n1 1\n65535\nxxxxxx", "a picture of another depth"),
            ("P6\n2 1\n255\nxxx", "half a picture"),
        ] {
            assert_eq!(Picture::read(ppm.as_bytes()).expect_err(ppm).to_string(), why);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_machine_says_is_more_than_a_refusal(head in "(P6)?[ \n0-9]{0,20}", tail: Vec<u8>) {
            let _ = Picture::read(&[head.as_bytes(), &tail].concat()).map(|picture| picture.jpeg());
        }
    }
}
