//! Brings an image here for everybody to see: fetched or read, compared with what its publisher says of it, rewritten by
//! our own reader and writer, and named by what it became.
//!
//! **Invariant.** An image is under its name only when it is whole.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use awan_host::import;
use awan_host::import::fetch::{self, Rules};
use awan_model::id::ImageId;
use awan_model::import::Format;
use sha2::{Digest, Sha256, Sha512};

use super::known::{self, Known};
use super::{DISK, Manifest, removal};

/// What an operator may bring: more than the largest image that anybody publishes.
const BYTES_MAX: u64 = 1 << 40;
const LIST_MAX: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub struct Wanted {
    /// A file of this machine, or a URL.
    pub from: String,
    pub format: Format,
    pub name: String,
    pub description: String,
    /// Of the file as it comes, in hexadecimal.
    pub digest: Option<String>,
}

/// What is known by this name, and what its publisher says of it. `mirror`: a URL that stands for that of the publisher's
/// server.
pub async fn published(name: &str, mirror: Option<&str>) -> Result<Wanted> {
    let known = known::find(name).with_context(|| {
        let names: Vec<_> = known::ALL.iter().map(|known| known.name).collect();
        format!("no image is known as '{}'; known are {}", name.escape_debug(), names.join(", "))
    })?;
    let folder = folder(known, mirror)?;
    let place = tempfile::tempdir().context("a folder for what is fetched")?;
    let sums = format!("{folder}/{}", known.sums);
    let rules = Rules { permitted: everywhere(), folder: None, bytes_max: LIST_MAX };
    let list = fetch::fetch(&sums, &rules, &place.path().join("sums"), |_| {}).await;
    let list = std::io::read_to_string(list.with_context(|| format!("fetching {sums}"))?)?;
    let digest = known::digest(&list, known.file).with_context(|| format!("{sums} says nothing of {}", known.file))?;
    Ok(Wanted {
        from: format!("{folder}/{}", known.file),
        format: Format::Qcow2,
        name: format!("{name}-cloud-{}", &digest[..8]),
        description: known.about.to_owned(),
        digest: Some(digest),
    })
}

fn folder(known: &Known, mirror: Option<&str>) -> Result<String> {
    let Some(mirror) = mirror else { return Ok(known.folder.to_owned()) };
    let path = known.folder.splitn(4, '/').nth(3).context("a folder has a path")?;
    Ok(format!("{}/{path}", mirror.trim_end_matches('/')))
}

/// What an operator names, an operator may reach.
fn everywhere() -> Vec<String> {
    ["http://", "https://"].map(str::to_owned).into()
}

/// Returns what it is called. What is there already stays.
pub async fn bring(wanted: Wanted, images: &Path, told: impl Fn(&str, u8) + Send + Sync) -> Result<(ImageId, bool)> {
    let work = removal::work_in(images)?;
    let (place, folder) = (work.path().join("source"), work.path().join("image"));
    std::fs::create_dir(&folder)?;
    let source = if wanted.from.contains("://") {
        let rules = Rules { permitted: everywhere(), folder: Some("/".into()), bytes_max: BYTES_MAX };
        let fetched = |percent| told("fetched", percent);
        fetch::fetch(&wanted.from, &rules, &place, fetched)
            .await
            .with_context(|| format!("fetching {}", wanted.from))?
    } else {
        File::open(&wanted.from).with_context(|| format!("opening {}", wanted.from))?
    };
    tokio::task::block_in_place(|| {
        if let Some(expected) = &wanted.digest {
            let digest = digest(&source, expected.len())?;
            ensure!(digest == *expected, "{} is damaged: its digest is {digest}, not {expected}", wanted.from);
        }
        rewritten(&wanted, source, &folder, |percent| told("rewritten", percent))?;
        keep(&folder, images)
    })
}

fn digest(file: &File, digits: usize) -> Result<String> {
    fn of<D: Digest>(mut file: &File) -> Result<String> {
        let (mut digest, mut piece) = (D::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut piece).context("reading what came")? {
                0 => break,
                read => digest.update(&piece[..read]),
            }
        }
        file.rewind()?;
        Ok(digest.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
    match digits {
        64 => of::<Sha256>(file),
        128 => of::<Sha512>(file),
        _ => bail!("a digest is of SHA-256 or SHA-512, in hexadecimal"),
    }
}

fn rewritten(wanted: &Wanted, source: File, folder: &Path, told: impl Fn(u8)) -> Result<()> {
    let whose = || format!("reading {}", wanted.from);
    let size = u64::from(import::size_gib(&source, wanted.format).with_context(whose)?) * GIB;
    let disk = folder.join(DISK);
    let goes_on = |done: u64| {
        told(u8::try_from(done.saturating_mul(100) / size.max(1)).unwrap_or(100));
        fetch::has_room(&disk, 0).context("the disk is full")
    };
    import::rewrite(source, wanted.format, size, &disk, goes_on).with_context(whose)?;
    let manifest = Manifest {
        name: wanted.name.clone(),
        description: Some(wanted.description.clone()),
        sha256: digest(&File::open(&disk)?, 64)?,
        virtual_size_bytes: size,
        cmdline: None,
    };
    let mut file = File::create(folder.join("manifest.json"))?;
    file.write_all(serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    Ok(file.sync_all()?)
}

/// Gives an image that is whole its name. The second: it was not there before.
pub fn keep(folder: &Path, images: &Path) -> Result<(ImageId, bool)> {
    let id = super::read(folder)?.id();
    let place: PathBuf = images.join(id.as_str());
    if place.exists() {
        return Ok((id, false));
    }
    File::open(folder.join(DISK))?.sync_all()?;
    File::open(folder)?.sync_all()?;
    std::fs::rename(folder, &place).with_context(|| format!("naming {}", place.display()))?;
    File::open(images)?.sync_all()?;
    Ok((id, true))
}

/// By the ending of a name.
pub fn format(from: &str, given: Option<&str>) -> Result<Format> {
    let ending = from.rsplit_once('.').map(|(_, ending)| ending);
    let asked = given.or(ending.filter(|ending| !ending.contains('/'))).unwrap_or_default();
    let known = Format::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(asked));
    known.with_context(|| {
        let all: Vec<_> = Format::ALL.iter().map(|format| format.as_str().to_lowercase()).collect();
        format!("what is {from}? Say so with --format {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_stands_for_the_server_of_a_publisher() {
        let known = known::find("debian-12").expect("is known");
        let path = "images/cloud/bookworm/latest";
        assert_eq!(folder(known, None).expect("is known"), format!("https://cloud.debian.org/{path}"));
        let of = |mirror| folder(known, Some(mirror)).expect("is known");
        assert_eq!(of("http://10.0.0.1:8000/"), format!("http://10.0.0.1:8000/{path}"));
        assert_eq!(of("https://mirror.test/debian"), format!("https://mirror.test/debian/{path}"));
    }

    #[test]
    fn a_format_is_given_or_is_the_ending_of_a_name() {
        let of = |from, given| format(from, given).ok();
        assert_eq!(of("/tmp/a.qcow2", None), Some(Format::Qcow2));
        assert_eq!(of("https://a.test/b.RAW", None), Some(Format::Raw));
        assert_eq!(of("https://a.test/b.img", Some("qcow2")), Some(Format::Qcow2));
        assert_eq!((of("https://a.test/b", None), of("a.img", None), of("a.raw", Some("iso"))), (None, None, None));
    }
}
