//! AWS Signature Version 4, both sides. Source: "Signature Version 4 signing process", AWS General Reference.
//!
//! **Invariants.** Pure. The compare takes the same time wherever the signatures differ. Every `x-amz-*` header that is
//! there must be signed, and so must `host`. Two requests that mean different things have different canonical forms:
//! what the readers of queries take for the same is the same here (`+` and `%20`), and nothing else is.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest life of a presigned URL, in seconds.
const EXPIRES_MAX: i64 = 7 * 24 * 60 * 60;

/// A request as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'r> {
    pub method: &'r str,
    /// Not decoded.
    pub path: &'r str,
    /// Not decoded, without the question mark.
    pub query: &'r str,
    /// Names in lower case, in the order of arrival.
    pub headers: &'r [(String, String)],
    pub body: &'r [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigError {
    #[error("Request is missing Authentication Token")]
    Missing,
    #[error("Signature Version 4 is required; the request is signed with an older version")]
    OldVersion,
    #[error("The request signature does not conform to AWS standards: {0}")]
    Incomplete(&'static str),
    #[error("Request has expired.")]
    Expired,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

impl SigError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::OldVersion => "AuthFailure",
            Self::Incomplete(_) => "IncompleteSignature",
            Self::Expired => "RequestExpired",
            Self::Mismatch => "SignatureDoesNotMatch",
        }
    }

    /// The HTTP status of an answer that says so.
    pub fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Mismatch => 403,
            Self::OldVersion => 401,
            Self::Incomplete(_) | Self::Expired => 400,
        }
    }
}

/// In place of the hash of a body.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What a request says about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    /// Of temporary credentials. It is signed like the rest; whether it belongs to the key is the caller's to say.
    pub security_token: Option<String>,
    /// `20261124`
    date: String,
    /// `20261124T120000Z`
    timestamp: String,
    signed_headers: String,
    signature: String,
    /// Seconds; for presigned URLs.
    expires: Option<i64>,
}

/// Reads the signature of a request, without judging it.
pub fn parse(parts: &Parts<'_>) -> Result<Presented, SigError> {
    let query = pairs(parts.query);
    let presigned = query.iter().any(|(name, _)| name == b"X-Amz-Signature" || name == b"X-Amz-Algorithm");
    match (header(parts, "authorization")?, presigned) {
        (Some(_), true) => Err(SigError::Incomplete("signed both in a header and in the query")),
        (Some(authorization), false) => from_header(parts, authorization),
        (None, true) => from_query(&query),
        (None, false) => {
            let old = |text: &str| text.contains("SignatureVersion=") || text.contains("AWSAccessKeyId=");
            let is_old = old(parts.query) || std::str::from_utf8(parts.body).is_ok_and(old);
            Err(if is_old { SigError::OldVersion } else { SigError::Missing })
        }
    }
}

/// A header that decides who asks must not be there twice.
fn header<'r>(parts: &Parts<'r>, name: &str) -> Result<Option<&'r str>, SigError> {
    let mut values = parts.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let value = values.next();
    if values.next().is_some() { Err(SigError::Incomplete("a header is there twice")) } else { Ok(value) }
}

fn from_header(parts: &Parts<'_>, authorization: &str) -> Result<Presented, SigError> {
    let Some(rest) = authorization.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
        let old = authorization.starts_with("AWS ") || authorization.starts_with("AWS2");
        return Err(if old { SigError::OldVersion } else { SigError::Incomplete("unknown algorithm") });
    };
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in rest.split(',') {
        let (name, value) = field.trim().split_once('=').ok_or(SigError::Incomplete("Authorization"))?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(SigError::Incomplete("unknown field in Authorization")),
        };
        if slot.replace(value).is_some() {
            return Err(SigError::Incomplete("a field of Authorization is there twice"));
        }
    }
    let presented = presented(
        credential.ok_or(SigError::Incomplete("no Credential"))?,
        header(parts, "x-amz-date")?.ok_or(SigError::Incomplete("no X-Amz-Date"))?,
        signed_headers.ok_or(SigError::Incomplete("no SignedHeaders"))?,
        signature.ok_or(SigError::Incomplete("no Signature"))?,
    )?;
    Ok(Presented { security_token: header(parts, "x-amz-security-token")?.map(str::to_owned), ..presented })
}

fn from_query(query: &[(Vec<u8>, Vec<u8>)]) -> Result<Presented, SigError> {
    let find = |name: &str| {
        let mut values =
            query.iter().filter(|(n, _)| n == name.as_bytes()).map(|(_, value)| std::str::from_utf8(value));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(value)), None) => Ok(Some(value)),
            _ => Err(SigError::Incomplete("a parameter of the signature is no text, or is there twice")),
        }
    };
    let need = |name, why| find(name)?.ok_or(SigError::Incomplete(why));
    if find("X-Amz-Algorithm")? != Some(ALGORITHM) {
        return Err(SigError::Incomplete("X-Amz-Algorithm"));
    }
    let expires = need("X-Amz-Expires", "no X-Amz-Expires")?.parse().ok().filter(|e| (1..=EXPIRES_MAX).contains(e));
    let expires = expires.ok_or(SigError::Incomplete("X-Amz-Expires must be between 1 and 604800 seconds"))?;
    let presented = presented(
        need("X-Amz-Credential", "no X-Amz-Credential")?,
        need("X-Amz-Date", "no X-Amz-Date")?,
        need("X-Amz-SignedHeaders", "no X-Amz-SignedHeaders")?,
        need("X-Amz-Signature", "no X-Amz-Signature")?,
    )?;
    let security_token = find("X-Amz-Security-Token")?.map(str::to_owned);
    Ok(Presented { expires: Some(expires), security_token, ..presented })
}

fn presented(credential: &str, timestamp: &str, signed_headers: &str, signature: &str) -> Result<Presented, SigError> {
    let scope: Vec<_> = credential.split('/').collect();
    let [access_key_id, date, region, service, "aws4_request"] = scope[..] else {
        return Err(SigError::Incomplete("the credential's scope"));
    };
    if seconds(timestamp).is_none() {
        return Err(SigError::Incomplete("X-Amz-Date must look like 20261124T120000Z"));
    }
    if timestamp.get(..8) != Some(date) {
        return Err(SigError::Incomplete("the date of the scope and of the request differ"));
    }
    Ok(Presented {
        access_key_id: access_key_id.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        security_token: None,
        date: date.to_owned(),
        timestamp: timestamp.to_owned(),
        signed_headers: signed_headers.to_owned(),
        signature: signature.to_owned(),
        expires: None,
    })
}

/// `20261124T120000Z` in seconds since 1970.
fn seconds(timestamp: &str) -> Option<i64> {
    let bytes = timestamp.as_bytes();
    let shaped = |(at, byte): (usize, &u8)| match at {
        8 => *byte == b'T',
        15 => *byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if bytes.len() != 16 || !bytes.iter().enumerate().all(shaped) {
        return None;
    }
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", timestamp).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_second())
}

impl Presented {
    /// The day of the signing key: `20261124`.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Judges the signature: by the secret, the time (seconds since 1970), and how far clocks may differ (seconds).
    pub fn verify(&self, secret: &str, now: i64, skew: i64, parts: &Parts<'_>) -> Result<(), SigError> {
        let key = signing_key(secret, &self.date, &self.region, &self.service);
        self.verify_with(&key, now, skew, parts)
    }

    /// The same by a [`signing_key`] that the caller kept for this day, region and service.
    pub fn verify_with(&self, key: &[u8; 32], now: i64, skew: i64, parts: &Parts<'_>) -> Result<(), SigError> {
        let at = seconds(&self.timestamp).ok_or(SigError::Incomplete("X-Amz-Date"))?;
        let late = now.saturating_sub(at) > self.expires.unwrap_or(skew);
        let early = at.saturating_sub(now) > skew;
        let mut canonical = vec![self.canonical(parts)?];
        if self.may_leave_body(parts) {
            // One that says what its body is has signed it.
            canonical.extend(self.canonical_of(parts, UNSIGNED).ok());
        }
        let is_it = |text: &String| self.sign(key, text).as_bytes().ct_eq(self.signature.as_bytes()).into();
        let same = canonical.iter().any(is_it);
        match (same, late || early) {
            (false, _) => Err(SigError::Mismatch),
            (true, true) => Err(SigError::Expired),
            (true, false) => Ok(()),
        }
    }

    fn sign(&self, key: &[u8; 32], canonical: &str) -> String {
        let Self { timestamp, date, region, service, .. } = self;
        let hashed = hex(&Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{timestamp}\n{date}/{region}/{service}/aws4_request\n{hashed}");
        hex(&mac(key, text.as_bytes()))
    }

    /// Blocks of snapshots may come unsigned: their checksum is a header that is signed. Clients that leave a body unsigned
    /// do not always say so in a header.
    fn may_leave_body(&self, parts: &Parts<'_>) -> bool {
        self.service == "ebs" && parts.method == "PUT"
    }

    fn canonical(&self, parts: &Parts<'_>) -> Result<String, SigError> {
        self.canonical_of(parts, &hex(&Sha256::digest(parts.body)))
    }

    fn canonical_of(&self, parts: &Parts<'_>, hashed: &str) -> Result<String, SigError> {
        let names: Vec<&str> = self.signed_headers.split(';').collect();
        if !names.is_sorted_by(|a, b| a < b) {
            return Err(SigError::Incomplete("SignedHeaders must be sorted, each once"));
        }
        let unsigned = |name: &str| !names.contains(&name);
        if unsigned("host") {
            return Err(SigError::Incomplete("'Host' must be a signed header"));
        }
        if parts.headers.iter().any(|(name, _)| name.starts_with("x-amz-") && unsigned(name)) {
            return Err(SigError::Incomplete("every x-amz header must be signed"));
        }
        let mut out = format!("{}\n{}\n", parts.method, canonical_path(parts.path));
        out.push_str(&canonical_query(parts.query));
        out.push('\n');
        for name in &names {
            let values: Vec<_> = parts.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| squeeze(v)).collect();
            if values.is_empty() {
                return Err(SigError::Incomplete("a signed header is absent"));
            }
            let _ = writeln!(out, "{name}:{}", values.join(","));
        }
        let unsigned = |claimed: &str| claimed == UNSIGNED && self.may_leave_body(parts);
        if header(parts, "x-amz-content-sha256")?.is_some_and(|claimed| claimed != hashed && !unsigned(claimed)) {
            return Err(SigError::Mismatch);
        }
        let _ = write!(out, "\n{}\n{hashed}", self.signed_headers);
        Ok(out)
    }
}

/// Signs a request with headers `host` and `x-amz-date` (and those given): the client's side.
pub fn authorization(
    secret: &str,
    access_key_id: &str,
    region: &str,
    service: &str,
    parts: &Parts<'_>,
) -> Result<String, SigError> {
    let timestamp = header(parts, "x-amz-date")?.ok_or(SigError::Incomplete("no X-Amz-Date"))?;
    let date = timestamp.get(..8).ok_or(SigError::Incomplete("X-Amz-Date"))?;
    let mut names: Vec<_> = parts.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let credential = format!("{access_key_id}/{date}/{region}/{service}/aws4_request");
    let unsigned = presented(&credential, timestamp, &names.join(";"), "")?;
    let canonical = unsigned.canonical(parts)?;
    let signature = unsigned.sign(&signing_key(secret, date, region, service), &canonical);
    Ok(format!("{ALGORITHM} Credential={credential}, SignedHeaders={}, Signature={signature}", names.join(";")))
}

pub fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> [u8; 32] {
    let key = mac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    let key = mac(&key, region.as_bytes());
    let key = mac(&key, service.as_bytes());
    mac(&key, b"aws4_request")
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// White space at the ends goes, runs of it become one space.
fn squeeze(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn encode(text: &[u8], keep: impl Fn(u8) -> bool) -> String {
    text.iter().fold(String::with_capacity(text.len()), |mut out, &byte| {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Without `.`, `..` and empty segments. Services other than S3 encode the path twice: once it came encoded, here it is
/// encoded again.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", encode(segments.join("/").as_bytes(), |b| unreserved(b) || b == b'/'))
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = pairs(query)
        .into_iter()
        .filter(|(name, _)| name != b"X-Amz-Signature")
        .map(|(name, value)| (encode(&name, unreserved), encode(&value, unreserved)))
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn pairs(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let decode = |text: &str| percent_encoding::percent_decode(text.replace('+', " ").as_bytes()).collect();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    query.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// 2026-11-24T12:00:00Z
    const NOW: i64 = 1_795_521_600;

    type Headers = Vec<(String, String)>;

    fn headers() -> Headers {
        let own = [("host", "127.0.0.1:8773"), ("x-amz-date", "20261124T120000Z"), ("content-type", "text/plain")];
        own.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec()
    }

    fn parts<'r>(headers: &'r [(String, String)], query: &'r str, body: &'r [u8]) -> Parts<'r> {
        Parts { method: "POST", path: "/", query, headers, body }
    }

    fn signed(body: &[u8]) -> Headers {
        let mut headers = headers();
        let line = authorization(SECRET, "AKIDEXAMPLE", "us-east-1", "ec2", &parts(&headers, "", body)).expect("signs");
        headers.push(("authorization".into(), line));
        headers
    }

    fn judge(headers: &[(String, String)], body: &[u8], secret: &str, now: i64) -> Result<(), SigError> {
        let parts = parts(headers, "", body);
        parse(&parts)?.verify(secret, now, 300, &parts)
    }

    #[test]
    fn what_was_signed_is_accepted_and_names_its_signer() {
        let headers = signed(b"Action=DescribeRegions");
        assert_eq!(judge(&headers, b"Action=DescribeRegions", SECRET, NOW), Ok(()));
        let presented = parse(&parts(&headers, "", b"")).expect("parses");
        assert_eq!(
            (&*presented.access_key_id, &*presented.region, &*presented.service),
            ("AKIDEXAMPLE", "us-east-1", "ec2")
        );
    }

    #[test]
    fn whatever_changes_after_signing_is_refused() {
        let body = b"Action=DescribeRegions";
        assert_eq!(judge(&signed(body), b"Action=DescribeRegionz", SECRET, NOW), Err(SigError::Mismatch));
        assert_eq!(judge(&signed(body), body, "another secret", NOW), Err(SigError::Mismatch));
        let mut headers = signed(body);
        headers[0].1 = "127.0.0.1:8774".into();
        assert_eq!(judge(&headers, body, SECRET, NOW), Err(SigError::Mismatch));
        let mut headers = signed(body);
        headers.push(("x-amz-security-token".into(), "extra".into()));
        assert!(matches!(judge(&headers, body, SECRET, NOW), Err(SigError::Incomplete(_))));
    }

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        let headers = signed(b"");
        for (now, expected) in [
            (NOW + 300, Ok(())),
            (NOW - 300, Ok(())),
            (NOW + 301, Err(SigError::Expired)),
            (NOW - 301, Err(SigError::Expired)),
        ] {
            assert_eq!(judge(&headers, b"", SECRET, now), expected, "{now}");
        }
    }

    #[test]
    fn what_other_signers_sign_is_accepted() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let by = |signed: &str, signature: &str| {
            let credential = "Credential=AKIDEXAMPLE/20261124/us-east-1/ec2/aws4_request";
            header("authorization", &format!("{ALGORITHM} {credential}, SignedHeaders={signed}, Signature={signature}"))
        };
        let (host, date) = (header("host", "127.0.0.1:8773"), header("x-amz-date", "20261124T120000Z"));
        let headers = [
            header("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            header("x-odd", "  a   b\tc "),
            host.clone(),
            date.clone(),
            by(
                "content-type;host;x-amz-date;x-odd",
                "f3d7ce6561eca63207bb9da5a677f3bc82de15256c423cec21746421937839c6",
            ),
        ];
        let post = parts(&headers, "", b"Action=DescribeRegions&Version=2016-11-15");
        assert_eq!(parse(&post).and_then(|p| p.verify(SECRET, NOW, 300, &post)), Ok(()));

        let headers = [
            host.clone(),
            date,
            header("x-amz-security-token", "to/ken+="),
            by(
                "host;x-amz-date;x-amz-security-token",
                "3831d9746413bfd9b706ca4d95a75b209bc100913b0b16515245ed8efd33be1b",
            ),
        ];
        let query = "Value=%C3%BC%2B%20~&b=2&a=&Value=1";
        let get = Parts { method: "GET", path: "/a//b/../c%20d/", ..parts(&headers, query, b"") };
        let presented = parse(&get).expect("parses");
        assert_eq!(presented.verify(SECRET, NOW, 300, &get), Ok(()));
        assert_eq!(presented.security_token.as_deref(), Some("to/ken+="));
        let space = Parts { query: "Value=%C3%BC+%20~&b=2&a=&Value=1", ..get };
        assert_eq!(presented.verify(SECRET, NOW, 300, &space), Err(SigError::Mismatch), "a plus sign is a space");
    }

    const PRESIGNED: &str = "Action=DescribeRegions&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
        AKIDEXAMPLE%2F20261124%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Date=20261124T120000Z&X-Amz-Expires=300&\
        X-Amz-SignedHeaders=host&X-Amz-Security-Token=to%2Fken%2B%3D&X-Amz-Signature=\
        c19523a518d13918f6a3b6c9a9b8abd0714a5ab8bc710b9ac578ccb1b2ac9fdc";

    fn judge_presigned(query: &str, now: i64) -> Result<(), SigError> {
        let headers = [("host".to_owned(), "127.0.0.1:8773".to_owned())];
        let parts = parts(&headers, query, b"");
        parse(&parts)?.verify(SECRET, now, 300, &parts)
    }

    #[test]
    fn a_presigned_url_is_good_for_as_long_as_it_says() {
        assert_eq!(judge_presigned(PRESIGNED, NOW), Ok(()));
        assert_eq!(judge_presigned(PRESIGNED, NOW + 300), Ok(()));
        assert_eq!(judge_presigned(PRESIGNED, NOW + 301), Err(SigError::Expired));
        let longer = PRESIGNED.replace("Expires=300", "Expires=301");
        assert_eq!(judge_presigned(&longer, NOW), Err(SigError::Mismatch));
        for expires in ["604801", "0", "-1", "x", "99999999999999999999"] {
            let refused = judge_presigned(&PRESIGNED.replace("Expires=300", &format!("Expires={expires}")), NOW);
            assert!(matches!(refused, Err(SigError::Incomplete(_))), "{expires}");
        }
        let other = PRESIGNED.replace("DescribeRegions", "DescribeRegionz");
        assert_eq!(judge_presigned(&other, NOW), Err(SigError::Mismatch));
        let twice = format!("{PRESIGNED}&X-Amz-Signature=0");
        assert!(matches!(judge_presigned(&twice, NOW), Err(SigError::Incomplete(_))));
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let with = |change: &dyn Fn(&mut Headers)| {
            let mut headers = signed(b"");
            change(&mut headers);
            judge(&headers, b"", SECRET, NOW)
        };
        let replace = |from: &'static str, to: &'static str| {
            with(&|headers| {
                for (_, value) in headers.iter_mut() {
                    *value = value.replace(from, to);
                }
            })
        };
        let add = |name: &str, value: &str| with(&|headers| headers.push((name.to_owned(), value.to_owned())));
        assert_eq!(with(&|_| ()), Ok(()));
        let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for refused in [
            replace("content-type;host", "host;content-type"),
            replace("content-type;host", "content-type;content-type;host"),
            replace("content-type;host;x-amz-date", "content-type;host"),
            replace("content-type;host;x-amz-date", "content-type;x-amz-date"),
            replace("content-type;host", "absent;content-type;host"),
            replace("20261124T120000Z", "20261125T120000Z"),
            replace("20261124T120000Z", "20261124T126000Z"),
            replace("20261124T120000Z", "+0261124T120000Z"),
            replace("/ec2/aws4_request", "/ec2/aws4_requesT"),
            replace("/ec2/", "/ec2/x/"),
            replace("Credential", "Sredential"),
            add("x-amz-date", "20261124T120000Z"),
            add("x-amz-content-sha256", hash),
            add("authorization", "AWS4-HMAC-SHA256 Credential=a"),
        ] {
            assert!(matches!(refused, Err(SigError::Incomplete(_))), "{refused:?}");
        }
        for refused in [replace("us-east-1", "us-east-2"), replace("/ec2/", "/iam/"), add("content-type", "x")] {
            assert_eq!(refused, Err(SigError::Mismatch));
        }
    }

    #[test]
    fn a_claimed_hash_must_be_that_of_the_body() {
        let signed = |claim: &str| {
            let mut headers = headers();
            headers.push(("x-amz-content-sha256".into(), claim.into()));
            let line = authorization(SECRET, "AKIDEXAMPLE", "us-east-1", "ec2", &parts(&headers, "", b"body"))?;
            headers.push(("authorization".into(), line));
            judge(&headers, b"body", SECRET, NOW)
        };
        assert_eq!(signed(&hex(&Sha256::digest(b"body"))), Ok(()));
        assert_eq!(signed(&hex(&Sha256::digest(b"another"))), Err(SigError::Mismatch));
        assert_eq!(signed("UNSIGNED-PAYLOAD"), Err(SigError::Mismatch));
    }

    #[test]
    fn only_a_block_of_a_snapshot_may_come_unsigned() {
        let judged = |service: &str, method: &str, claim: Option<&str>| {
            let mut headers = headers();
            headers.extend(claim.map(|claim| ("x-amz-content-sha256".into(), claim.into())));
            let names = if claim.is_some() { "host;x-amz-content-sha256;x-amz-date" } else { "host;x-amz-date" };
            let credential = format!("AKIDEXAMPLE/20261124/us-east-1/{service}/aws4_request");
            let mut unsigned = presented(&credential, "20261124T120000Z", names, "").expect("whole");
            let sent = Parts { method, ..parts(&headers, "", b"body") };
            let text = unsigned.canonical_of(&sent, UNSIGNED)?;
            unsigned.signature = unsigned.sign(&signing_key(SECRET, "20261124", "us-east-1", service), &text);
            unsigned.verify(SECRET, NOW, 300, &sent)
        };
        for claim in [None, Some(UNSIGNED)] {
            assert_eq!(judged("ebs", "PUT", claim), Ok(()));
            assert_eq!(judged("ebs", "POST", claim), Err(SigError::Mismatch));
            assert_eq!(judged("ec2", "PUT", claim), Err(SigError::Mismatch));
        }
        assert_eq!(judged("ebs", "PUT", Some("00")), Err(SigError::Mismatch));
        // One that says what its body is has signed that.
        let mut headers = headers();
        headers.push(("x-amz-content-sha256".into(), hex(&Sha256::digest(b"body"))));
        let sent = Parts { method: "PUT", ..parts(&headers, "", b"body") };
        let line = authorization(SECRET, "AKIDEXAMPLE", "us-east-1", "ebs", &sent).expect("signs");
        let mut signed = headers.clone();
        signed.push(("authorization".into(), line));
        let sent = Parts { method: "PUT", ..parts(&signed, "", b"body") };
        assert_eq!(parse(&sent).and_then(|presented| presented.verify(SECRET, NOW, 300, &sent)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_request_makes_it_panic(query in any::<String>(), line in any::<String>(), body in any::<Vec<u8>>()) {
            let headers = [("authorization".to_owned(), format!("{ALGORITHM} {line}")), ("host".to_owned(), line)];
            for headers in [&headers[..], &headers[1..], &[]] {
                let query = format!("{query}&X-Amz-Algorithm={ALGORITHM}&{query}");
                let parts = Parts { path: &query, ..parts(headers, &query, &body) };
                let judged = parse(&parts).and_then(|p| p.verify(SECRET, i64::MIN, 300, &parts));
                prop_assert!(judged.is_err());
            }
        }

        #[test]
        fn any_changed_byte_is_noticed(body in proptest::collection::vec(any::<u8>(), 1..100), at in any::<usize>()) {
            let headers = signed(&body);
            prop_assert_eq!(judge(&headers, &body, SECRET, NOW), Ok(()));
            let mut changed = body.clone();
            changed[at % body.len()] ^= 1;
            prop_assert_eq!(judge(&headers, &changed, SECRET, NOW), Err(SigError::Mismatch));
        }
    }

    #[test]
    fn nothing_and_old_signatures_are_told_apart() {
        let none = headers();
        assert_eq!(parse(&parts(&none, "", b"Action=X")), Err(SigError::Missing));
        assert_eq!(parse(&parts(&none, "", b"AWSAccessKeyId=A&SignatureVersion=2")), Err(SigError::OldVersion));
    }
}
