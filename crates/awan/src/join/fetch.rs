//! Brings images to a host that lacks them, when a volume needs them.
//!
//! **Invariant:** an image appears under its name only when all of it is there and is what its name and its manifest
//! say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_host::driver::{BlockDevice, Fork, Fut, Layer, Shorter, Unmerged, Volumes};
use awan_host::import::BELOW;
use awan_host::volume::chain::Keyed;
use awan_model::id::{ImageId, VolumeId};
use awan_model::import::Taken;
use awan_model::plan::{ContentPlan, SealedKeys, VolumePlan};
use awan_model::report::VolumeSeen;
use tokio::time::Instant;

use super::Part;
use super::host::{Control, is_final};
use super::images::Digest;
use crate::images;

/// Parts of images that are on their way lie in folders whose names begin so.
const UNFINISHED: &str = "fetch-";
/// In the folder of an image: it came from the control plane, and goes when that has it no more.
const FETCHED: &str = "fetched";
/// How long a launch waits for a control plane that is away.
const WITHIN: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(1);
/// What is to be copied and could not be had is asked for again.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// Volumes of a host that gets its images from the control plane.
pub struct FetchingVolumes {
    volumes: Arc<dyn Volumes>,
    control: Control,
    images: PathBuf,
    /// What this host has from elsewhere, and its control plane has not.
    contents: PathBuf,
    /// One image at a time; and those that were looked at last.
    turn: tokio::sync::Mutex<Vec<ImageId>>,
    me: Weak<Self>,
    /// What is to be copied is on its way.
    bringing: AtomicBool,
    /// What could not be had, and is not asked for before.
    later: Mutex<BTreeMap<ImageId, Instant>>,
}

impl FetchingVolumes {
    pub fn new(volumes: Arc<dyn Volumes>, control: Control, images: PathBuf, contents: PathBuf) -> Result<Arc<Self>> {
        for entry in std::fs::read_dir(&images).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                std::fs::remove_dir_all(entry.path())
                    .with_context(|| format!("removing {}", entry.path().display()))?;
            }
        }
        let (turn, bringing, later) = (tokio::sync::Mutex::default(), AtomicBool::new(false), Mutex::default());
        Ok(Arc::new_cyclic(|me| Self { volumes, control, images, contents, turn, me: me.clone(), bringing, later }))
    }

    /// What is to be copied, and is not here.
    fn bring_copied(&self, plan: &[ContentPlan]) {
        let copied = plan.iter().filter(|content| !content.kept).filter_map(|content| content.source.copied());
        let mut missing: BTreeSet<_> = copied.filter_map(|copied| self.lacks(&copied.of)).collect();
        let mut later = self.later();
        later.retain(|_, at| Instant::now() < *at);
        missing.retain(|image| !later.contains_key(image));
        drop(later);
        let Some(me) = self.me.upgrade().filter(|_| !missing.is_empty()) else { return };
        if self.bringing.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::spawn(async move {
            let mut came = false;
            for image in missing {
                match me.have(&image).await {
                    Ok(()) => came = true,
                    Err(e) => {
                        tracing::warn!(%image, error = format!("{e:#}"), "what is to be copied is not here");
                        me.later().insert(image, Instant::now() + ASKED_AGAIN);
                    }
                }
            }
            me.bringing.store(false, Ordering::Relaxed);
            if came {
                me.volumes.changed().notify_one();
            }
        });
    }

    fn later(&self) -> MutexGuard<'_, BTreeMap<ImageId, Instant>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image that this is, or that is below what lies here, if that is not here.
    fn lacks(&self, of: &ImageId) -> Option<ImageId> {
        let mut image = of.clone();
        while self.contents.join(image.as_str()).exists() {
            let below = std::fs::read_to_string(self.contents.join(image.as_str()).join(BELOW)).unwrap_or_default();
            // What it is a child of stands in the first line.
            image = below.lines().next()?.parse().ok()?;
        }
        Some(image).filter(|image| !self.images.join(image.as_str()).exists())
    }

    /// An image, or the one that is below what lies here.
    async fn have(&self, image: &ImageId) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Some(image) = &self.lacks(image) else { return Ok(()) };
        let place = self.images.join(image.as_str());
        let (folder, end) = (self.images.join(format!("{UNFINISHED}{image}")), Instant::now() + WITHIN);
        loop {
            match self.fetch(image, &folder).await {
                Ok(()) => break,
                Err(e) if is_final(&e) || Instant::now() > end => return Err(e),
                Err(e) => {
                    tracing::warn!(%image, error = format!("{e:#}"), "the image did not arrive; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        std::fs::rename(&folder, &place).with_context(|| format!("naming {}", place.display()))?;
        tracing::info!(%image, "fetched from the control plane");
        Ok(())
    }

    async fn fetch(&self, image: &ImageId, folder: &Path) -> Result<()> {
        let parts: Vec<Part> = self.control.get(&format!("/host/v1/image?image={image}")).await?;
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut disk = String::new();
        for part in &parts {
            let digest = self.part(image, part, folder).await.with_context(|| format!("fetching {}", part.name))?;
            if digest != part.sha256 {
                bail!("{} of {image} is damaged: its digest is {digest}, not {}", part.name, part.sha256);
            }
            if part.name == images::DISK {
                disk = digest;
            }
        }
        let manifest = images::read(folder)?;
        if manifest.digest != disk || manifest.id() != *image {
            bail!("{image} is not what its manifest says: the disk's digest is {disk}, not {}", manifest.digest);
        }
        std::fs::write(folder.join(FETCHED), "").with_context(|| format!("writing into {}", folder.display()))
    }

    /// Takes what was fetched from its place; what is under way there is swept at the next start.
    fn forget(&self, image: &ImageId) {
        let (place, going) = (self.images.join(image.as_str()), self.images.join(format!("{UNFINISHED}gone-{image}")));
        if let Err(e) = std::fs::rename(&place, &going) {
            tracing::error!(%image, error = %e, "an image that is no more cannot be removed");
            return;
        }
        tracing::info!(%image, "removed, since it is no more");
        tokio::task::spawn_blocking(move || std::fs::remove_dir_all(going));
    }

    /// Returns the digest of what came.
    async fn part(&self, image: &ImageId, part: &Part, folder: &Path) -> Result<String> {
        // The name is joined to a path: it may have nothing but what names of files of images have.
        if !part.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') || part.name.starts_with('.') {
            bail!("'{}' is no name for a file", part.name.escape_debug());
        }
        let path = folder.join(&part.name);
        let mut file = std::fs::File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
        let (mut digest, mut from) = (Digest::default(), 0);
        while from < part.bytes {
            let at = format!("/host/v1/image/part?image={image}&name={}&from={from}", part.name);
            let piece = self.control.send("GET", &at, Vec::new()).await?;
            if piece.is_empty() {
                bail!("it ends after {from} of {} bytes", part.bytes);
            }
            tokio::task::block_in_place(|| file.write_all(&piece).and_then(|()| digest.write_all(&piece)))
                .with_context(|| format!("writing {}", path.display()))?;
            from += piece.len() as u64;
        }
        tokio::task::block_in_place(|| file.sync_all()).with_context(|| format!("writing {}", path.display()))?;
        Ok(digest.hex())
    }
}

impl Volumes for FetchingVolumes {
    fn observe(&self) -> Fut<'_, Result<Vec<VolumeSeen>>> {
        self.volumes.observe()
    }

    fn ensure<'a>(&'a self, volume: &'a VolumePlan) -> Fut<'a, Result<BlockDevice>> {
        Box::pin(async {
            if let Some(image) = &volume.image {
                self.have(image).await?;
            }
            self.volumes.ensure(volume).await
        })
    }

    fn release<'a>(&'a self, id: &'a VolumeId) -> Fut<'a, Result<()>> {
        self.volumes.release(id)
    }

    fn keep<'a>(&'a self, id: &'a ImageId, taken: &'a Taken) -> Fut<'a, Result<()>> {
        self.volumes.keep(id, taken)
    }

    fn fork<'a>(&'a self, taken: &'a Taken) -> Fut<'a, Result<Fork>> {
        self.volumes.fork(taken)
    }

    fn kept(&self, content: &ContentPlan) -> Option<Layer> {
        self.volumes.kept(content)
    }

    fn shorter(&self, volume: &VolumePlan) -> Result<Shorter> {
        self.volumes.shorter(volume)
    }

    fn merge(&self, plan: &[ContentPlan]) {
        self.bring_copied(plan);
        self.volumes.merge(plan);
    }

    fn unmerged(&self, content: &ContentPlan) -> Option<Unmerged> {
        self.volumes.unmerged(content)
    }

    fn is_opening(&self) -> bool {
        self.volumes.is_opening()
    }

    fn changed(&self) -> Arc<tokio::sync::Notify> {
        self.volumes.changed()
    }

    fn keep_images(&self, images: &[ImageId]) {
        // Who fetches one, or is about to open one, comes first.
        let Ok(mut known) = self.turn.try_lock() else { return };
        if *known == images || self.volumes.is_opening() {
            return;
        }
        for entry in std::fs::read_dir(&self.images).into_iter().flatten().flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<ImageId>().ok());
            let gone = id.filter(|id| !images.contains(id) && entry.path().join(FETCHED).exists());
            gone.iter().for_each(|id| self.forget(id));
        }
        *known = images.to_vec();
    }

    fn bring<'a>(&'a self, id: &'a ImageId) -> Fut<'a, Result<()>> {
        Box::pin(self.have(id))
    }

    fn files(&self, id: &ImageId, sealed: &SealedKeys) -> Result<Vec<Keyed>> {
        self.volumes.files(id, sealed)
    }
}

#[cfg(test)]
mod tests {
    use awan_control::Control as Plane;
    use awan_host::volume::simulated::SimulatedVolumes;
    use awan_model::Home;
    use awan_model::import::{Copied, Source};
    use awan_model::key::SealedKey;
    use awan_state::{Entropy, MemoryStore, Mode, WallClock};

    use super::*;
    use crate::join::Who;
    use crate::join::images::PIECE;

    const TOKEN: &str = "0123456789abcdef";

    /// A control plane with one image, and a host that has none.
    struct Pair {
        folder: tempfile::TempDir,
        url: String,
        image: ImageId,
    }

    impl Pair {
        async fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let disk: Vec<u8> = (0..2 * PIECE + 7).map(|n| (n % 251) as u8).collect();
            let mut digest = Digest::default();
            digest.write_all(&disk).expect("digests");
            let digest = digest.hex();
            let image: ImageId = format!("ami-{}", &digest[..17]).parse().expect("an id");
            let place = folder.path().join("control").join(image.as_str());
            std::fs::create_dir_all(&place).expect("makes");
            std::fs::create_dir(folder.path().join("host")).expect("makes");
            let manifest =
                serde_json::json!({"name": "awan-tiny-1", "sha256": digest, "virtual_size_bytes": 1, "cmdline": ""});
            std::fs::write(place.join("manifest.json"), manifest.to_string()).expect("writes");
            std::fs::write(place.join("disk.qcow2"), disk).expect("writes");
            std::fs::write(place.join("vmlinux"), "").expect("writes");
            std::fs::write(place.join("secret"), "no part of it").expect("writes");
            let plane = Plane::open(Box::<MemoryStore>::default(), Mode::Group, Arc::new(WallClock), Entropy::system());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let served = folder.path().join("control");
            tokio::spawn(crate::join::serve(listener, plane.expect("opens"), TOKEN.into(), served));
            Self { folder, url, image }
        }

        fn host(&self, token: &str) -> Arc<FetchingVolumes> {
            let host = awan_model::id::HostId::new("h").expect("a name");
            let who = Who { host, identity: "i".into(), boot: "b".into() };
            let control = Control::new(&self.url, token.into(), who).expect("an address");
            let volumes = SimulatedVolumes::new();
            FetchingVolumes::new(volumes, control, self.folder.path().join("host"), self.folder.path().join("contents"))
                .expect("opens")
        }

        async fn ensure(&self, host: &FetchingVolumes, image: &ImageId) -> Result<()> {
            let id = "vol-00000000000000001".parse().expect("an id");
            let plan = VolumePlan { image: Some(image.clone()), ..VolumePlan::empty(Home::new("1", "r"), id, 1) };
            host.ensure(&plan).await.map(drop)
        }

        /// What the host has.
        fn there(&self) -> Vec<String> {
            let path = self.folder.path().join("host").join(self.image.as_str());
            let names = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut names: Vec<_> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_image_comes_whole_when_a_volume_needs_it() {
        let pair = Pair::new().await;
        let unfinished = pair.folder.path().join("host/fetch-ami-00000000000000009");
        std::fs::create_dir(&unfinished).expect("makes");
        let host = pair.host(TOKEN);
        assert!(!unfinished.exists(), "what an earlier life left");
        let (a, b) = tokio::join!(pair.ensure(&host, &pair.image), pair.ensure(&host, &pair.image));
        a.and(b).expect("comes");
        assert_eq!(pair.there(), ["disk.qcow2", "fetched", "manifest.json", "vmlinux"]);
        let disk = |side: &str| {
            let path = pair.folder.path().join(side).join(pair.image.as_str()).join("disk.qcow2");
            std::fs::read(path).expect("reads")
        };
        assert!(disk("host") == disk("control"));
        // What lies there of itself is the operator's.
        let own = pair.folder.path().join("host/ami-00000000000000009");
        std::fs::create_dir(&own).expect("makes");
        host.keep_images(std::slice::from_ref(&pair.image));
        assert_eq!(pair.there().len(), 4, "it is still one of them");
        host.keep_images(&[]);
        assert!(pair.there().is_empty() && own.exists());
        pair.ensure(&host, &pair.image).await.expect("comes again");
        assert_eq!(pair.there().len(), 4);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_to_be_copied_comes_with_what_is_below_it_and_is_not_asked_for_all_the_time() {
        let pair = Pair::new().await;
        let host = pair.host(TOKEN);
        let [content, absent]: [ImageId; 2] = [1, 2].map(|n| format!("ami-{n:017x}").parse().expect("an id"));
        let copy = |of: &ImageId| {
            let key = SealedKey { master: String::new(), of: String::new(), seed: [0; 32] };
            let source = Source::Copied(Copied { of: of.clone(), copied_gib: 1, key, bottom: None });
            let id = "ami-00000000000000003".parse().expect("an id");
            ContentPlan { home: Home::new("1", "r"), id, source, kept: false, size_gib: 1, merge: None }
        };
        let changed = host.changed();
        let comes = |within| tokio::time::timeout(Duration::from_millis(within), changed.notified());
        host.merge(&[copy(&absent)]);
        let asked = Instant::now();
        while host.bringing.load(Ordering::Relaxed) {
            assert!(asked.elapsed() < Duration::from_secs(60), "it is refused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        comes(100).await.expect_err("nothing came, so that nobody is woken to ask at once");
        assert!(host.later().contains_key(&absent));
        host.merge(&[copy(&absent)]);
        assert!(!host.bringing.load(Ordering::Relaxed), "it is not asked for again so soon");
        // What was written here over an image that is not.
        let place = pair.folder.path().join("contents").join(content.as_str());
        std::fs::create_dir_all(&place).expect("makes");
        std::fs::write(place.join(BELOW), pair.image.as_str()).expect("writes");
        host.merge(&[copy(&absent), copy(&content)]);
        comes(60_000).await.expect("it came");
        assert_eq!(pair.there().len(), 4);
        assert_eq!(host.lacks(&content), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_what_it_says_or_not_given_never_appears() {
        let pair = Pair::new().await;
        let refusal = pair.ensure(&pair.host("fedcba9876543210"), &pair.image).await.expect_err("another token");
        assert!(is_final(&refusal) && refusal.to_string().contains("join token"), "{refusal}");
        let absent: ImageId = "ami-00000000000000001".parse().expect("an id");
        let refusal = pair.ensure(&pair.host(TOKEN), &absent).await.expect_err("absent");
        assert!(is_final(&refusal) && refusal.to_string().contains("has no image"), "{refusal}");
        let disk = pair.folder.path().join("control").join(pair.image.as_str()).join("disk.qcow2");
        std::fs::write(disk, "something else").expect("writes");
        let host = pair.host(TOKEN);
        let folder = pair.folder.path().join("host/fetch-x");
        let refusal = host.fetch(&pair.image, &folder).await.expect_err("is not what its manifest says");
        assert!(refusal.to_string().contains("is damaged"), "{refusal}");
        assert!(pair.there().is_empty());
        let outside = "/host/v1/image/part?image=ami-00000000000000001&name=..%2Fstate.db&from=0";
        assert!(host.control.send("GET", outside, Vec::new()).await.is_err_and(|e| is_final(&e)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_stranger_sends_is_not_read() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let pair = Pair::new().await;
        let mut stream = crate::client::tcp(&pair.url).await.expect("connects");
        let head = "POST /host/v1/report?host=h&identity=i&boot=b HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
                    authorization: Bearer fedcba9876543210\r\ncontent-length: 60000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sends");
        let mut answer = [0; 12];
        let answered = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await;
        answered.expect("before the body comes").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401");
    }
}
