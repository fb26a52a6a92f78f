//! Paths of requests, taken apart once, so that nothing behind sees anything but names.

const LENGTH_MAX: usize = 1024;

/// The names on a path, decoded; one slash at the end is as good as none. None for a path that tries to be another.
pub fn parts(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').filter(|path| path.len() <= LENGTH_MAX)?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.strip_suffix('/').unwrap_or(path).split('/').map(name).collect()
}

fn name(text: &str) -> Option<String> {
    let name = decoded(text)?;
    let plain = !name.is_empty() && !name.contains(|c: char| c == '/' || c.is_control());
    (plain && name != "." && name != "..").then_some(name)
}

/// Source: RFC 3986, 2.1.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => (digit(*high)? << 4 | digit(*low)?, after),
            (b'%', _) => return None,
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_decoded_once() {
        let names = |path| parts(path).map(|parts| parts.join("|"));
        assert_eq!(names("/").as_deref(), Some(""));
        assert_eq!(names("/latest/meta-data/").as_deref(), Some("latest|meta-data"));
        assert_eq!(names("/latest/macs/0a%3A00:01").as_deref(), Some("latest|macs|0a:00:01"));
        assert_eq!(names("/a%2525").as_deref(), Some("a%25"));
        assert_eq!(names("/caf%C3%A9").as_deref(), Some("café"));
    }

    #[test]
    fn tricks_are_no_paths() {
        let long = format!("/{}", "a".repeat(LENGTH_MAX + 1));
        let tricks = ["", "*", "x", "//", "//x", "/x//", "/x//y", "/.", "/..", "/x/../y", "/%2e%2e", "/.%2E/x", "/%2f"];
        let more = ["/x%2fy", "/%00", "/x%0ay", "/%", "/%2", "/%zz", "/%+1", "/%ff", "/\u{7f}", &long];
        for path in tricks.iter().chain(&more) {
            assert_eq!(parts(path), None, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics_and_no_name_is_another_path(path in "(/|%|%2[eEfF]|\\.|\\PC){0,40}") {
            for name in parts(&path).into_iter().flatten() {
                prop_assert!(!name.is_empty() && !name.contains('/') && name != ".." && name != ".");
            }
        }
    }
}
