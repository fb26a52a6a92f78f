//! Where an exported file is to lie. There is no S3: a bucket is a folder that the operator made for the account.

use awan_wire::ec2;

use crate::error::{Code, Error, Result, invalid, missing, refuse};

/// Of a whole key S3 has 1,024 bytes; a name of a file ends earlier.
const PREFIX_MAX: usize = 512;
const NAME_MAX: usize = 200;

#[derive(Debug, PartialEq, Eq)]
pub struct Location {
    pub bucket: String,
    pub prefix: String,
}

impl Location {
    pub fn read(asked: Option<ec2::ExportTaskS3LocationRequest>) -> Result<Self> {
        let ec2::ExportTaskS3LocationRequest { s3_bucket, s3_prefix } = asked.unwrap_or_default();
        let bucket = s3_bucket.filter(|name| !name.is_empty());
        let bucket = bucket.ok_or_else(|| missing("S3ExportLocation.S3Bucket"))?;
        // No other can be there.
        if !is_bucket(&bucket) {
            return Err(no_bucket(&bucket));
        }
        let prefix = s3_prefix.unwrap_or_default();
        if is_prefix(&prefix) {
            return Ok(Self { bucket, prefix });
        }
        Err(invalid(format!(
            "S3ExportLocation.S3Prefix has at most {PREFIX_MAX} letters, digits and characters of !-_.*'() in names between \
             slashes, of which none is empty, longer than {NAME_MAX}, or begins with a dot"
        )))
    }
}

/// Source: "Bucket naming rules", Amazon S3 User Guide.
fn is_bucket(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    (3..=63).contains(&name.len())
        && name.bytes().all(fine)
        && ends(bytes.first())
        && ends(bytes.last())
        && !name.contains("..")
}

/// Source: "Naming Amazon S3 objects": of the characters that are safe.
fn is_prefix(prefix: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b);
    let (folders, start) = prefix.rsplit_once('/').map_or((None, prefix), |(folders, start)| (Some(folders), start));
    let is_name = |name: &str| name.len() <= NAME_MAX && name.bytes().all(fine) && !name.starts_with('.');
    let folders = folders.is_none_or(|all| all.split('/').all(|name| !name.is_empty() && is_name(name)));
    folders && is_name(start) && prefix.len() <= PREFIX_MAX
}

pub fn no_bucket(name: &str) -> Error {
    let shown: String = name.chars().take(64).collect();
    let message = format!("The given S3 bucket does not exist. Bucket: {}", shown.escape_debug());
    refuse(Code::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_buckets_and_prefixes_are_those_of_s3_and_lead_nowhere_else() {
        let long = "b".repeat(64);
        for (name, good) in [
            ("my-bucket.1", true),
            ("abc", true),
            ("ab", false),
            ("Abc", false),
            (".ab", false),
            ("ab-", false),
            ("a..b", false),
            ("a/b", false),
            ("", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_bucket(name), good, "{name}");
        }
        let long = "p".repeat(201);
        for (prefix, good) in [
            ("", true),
            ("exports/", true),
            ("exports/of-mine", true),
            ("a/b/c_(1)!'*.d", true),
            ("/", false),
            ("/exports/", false),
            ("a//b", false),
            ("../", false),
            ("a/../b/", false),
            ("..", false),
            (".a", false),
            ("a/.b/", false),
            ("a b", false),
            ("a\0b", false),
            ("\u{e4}/", false),
            (long.as_str(), false),
        ] {
            assert_eq!(is_prefix(prefix), good, "{prefix}");
        }
    }
}
