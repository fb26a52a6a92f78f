//! Cloud images that distributions publish: where each lies, and what says that it is whole.

/// An image of x86-64 that BIOS firmware starts, as qcow2.
#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    pub about: &'static str,
    /// Where the folder is that both files lie in, without the slash at its end.
    pub folder: &'static str,
    pub file: &'static str,
    /// Lists what the file's SHA-256 or SHA-512 is.
    pub sums: &'static str,
}

macro_rules! known {
    ($($name:literal, $about:literal, $folder:literal, $file:literal, $sums:literal;)*) => {
        &[$(Known { name: $name, about: $about, folder: $folder, file: $file, sums: $sums }),*]
    };
}

pub const ALL: &[Known] = known! {
    "debian-12", "Debian 12 (bookworm)",
        "https://cloud.debian.org/images/cloud/bookworm/latest", "debian-12-genericcloud-amd64.qcow2", "SHA512SUMS";
    "debian-13", "Debian 13 (trixie)",
        "https://cloud.debian.org/images/cloud/trixie/latest", "debian-13-genericcloud-amd64.qcow2", "SHA512SUMS";
    "ubuntu-22.04", "Ubuntu 22.04 LTS (Jammy Jellyfish)",
        "https://cloud-images.ubuntu.com/jammy/current", "jammy-server-cloudimg-amd64.img", "SHA256SUMS";
    "ubuntu-24.04", "Ubuntu 24.04 LTS (Noble Numbat)",
        "https://cloud-images.ubuntu.com/noble/current", "noble-server-cloudimg-amd64.img", "SHA256SUMS";
    "fedora-42", "Fedora Cloud 42",
        "https://download.fedoraproject.org/pub/fedora/linux/releases/42/Cloud/x86_64/images",
        "Fedora-Cloud-Base-Generic-42-1.1.x86_64.qcow2", "Fedora-Cloud-42-1.1-x86_64-CHECKSUM";
    "fedora-43", "Fedora Cloud 43",
        "https://download.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/x86_64/images",
        "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2", "Fedora-Cloud-43-1.6-x86_64-CHECKSUM";
    "alma-9", "AlmaLinux 9",
        "https://repo.almalinux.org/almalinux/9/cloud/x86_64/images",
        "AlmaLinux-9-GenericCloud-latest.x86_64.qcow2", "CHECKSUM";
    "alma-10", "AlmaLinux 10, for processors of x86-64-v3",
        "https://repo.almalinux.org/almalinux/10/cloud/x86_64/images",
        "AlmaLinux-10-GenericCloud-latest.x86_64.qcow2", "CHECKSUM";
    "alpine-3.22", "Alpine Linux 3.22",
        "https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/cloud",
        "generic_alpine-3.22.2-x86_64-bios-cloudinit-r0.qcow2",
        "generic_alpine-3.22.2-x86_64-bios-cloudinit-r0.qcow2.sha512";
};

pub fn find(name: &str) -> Option<&'static Known> {
    ALL.iter().find(|known| known.name == name)
}

/// The strongest digest of a file in a list of them: lines of a digest and a name (`sha256sum`), of a digest and `*` and a
/// name (the same, of binary files), of `SHA256 (NAME) = DIGEST`, or a digest alone. What else the list holds, a
/// signature for one, is not looked at.
pub fn digest(list: &str, file: &str) -> Option<String> {
    let mut found: Vec<String> = list.lines().filter_map(|line| of_line(line, file)).collect();
    found.sort_by_key(String::len);
    found.pop()
}

fn of_line(line: &str, file: &str) -> Option<String> {
    let line = line.trim();
    let found = if let Some((kind, rest)) = line.split_once(" (") {
        let (name, digest) = rest.split_once(") = ")?;
        ["SHA256", "SHA512"].contains(&kind).then_some(())?;
        (name == file).then_some(digest)?
    } else if let Some((digest, name)) = line.split_once(char::is_whitespace) {
        let name = name.trim_start().trim_start_matches('*').trim_start_matches("./");
        (name == file).then_some(digest)?
    } else {
        line
    };
    is_digest(found).then(|| found.to_ascii_lowercase())
}

/// In hexadecimal, of SHA-256 or SHA-512.
pub fn is_digest(text: &str) -> bool {
    [64, 128].contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_lies_where_nobody_can_change_it_on_the_way() {
        let names: BTreeSet<_> = ALL.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), ALL.len());
        for known in ALL {
            assert!(known.folder.starts_with("https://") && !known.folder.ends_with('/'), "{}", known.name);
            assert!(!known.file.contains('/') && !known.sums.contains('/'), "{}", known.name);
        }
    }

    #[test]
    fn the_digest_of_a_file_is_found_in_every_kind_of_list() {
        let (short, long, other) = ("a1".repeat(32), "b2".repeat(64), "c3".repeat(32));
        for (list, expected) in [
            (format!("{other}  b.img\n{short}  a.img\n"), Some(&short)),
            (format!("{short} *a.img\n"), Some(&short)),
            (format!("{short}  ./a.img\n"), Some(&short)),
            (format!("{}\n", long.to_uppercase()), Some(&long)),
            (format!("{short}  a.img\n{long}  a.img\n"), Some(&long)),
            (
                format!("-----BEGIN-----\n# a.img: 3 bytes\nSHA256 (a.img) = {short}\nSHA256 (b) = {other}\n"),
                Some(&short),
            ),
            (format!("MD5 (a.img) = {short}\n"), None),
            (format!("{other}  a.img.sig\n{other}  xa.img\n"), None),
            ("abc  a.img\n".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(digest(&list, "a.img").as_ref(), expected, "{list}");
        }
    }
}
