//! What tenants ask for.

use super::*;

impl World<'_> {
    pub(super) fn create(&mut self) {
        if self.volumes.len() >= VOLUMES_MAX {
            return;
        }
        let all: Vec<_> = self.contents.iter().filter(|(_, c)| c.told && c.wanted).map(|(id, _)| id.clone()).collect();
        let image = if self.dice.random_bool(0.2) { None } else { self.chosen(all) };
        let least = image.as_ref().map_or(1, |id| self.contents[id].bytes.as_ref().map_or(1, gib));
        let size_gib = self.dice.random_range(least..=least + 1);
        let began = image.as_ref().and_then(|id| self.contents[id].bytes.clone()).unwrap_or_default();
        let id = VolumeId::made(format!("vol-{:017x}", self.id()));
        let bytes = began.sized(u64::from(size_gib) * GIB);
        let below = image.as_ref().and_then(|id| self.contents[id].source.key());
        // What is encrypted stays so.
        let encrypted = below.is_some() || self.dice.random_bool(0.15);
        let master = self.keys.names().remove(0);
        let key = encrypted.then(|| SealedKey { master, of: id.to_string(), seed: self.dice.random() });
        let (layers, machine, disk, open, begun) = (Vec::new(), None, None, 0, None);
        self.volumes.insert(id, Volume { size_gib, key, image, layers, bytes, machine, disk, open, begun });
    }

    /// Snapshots of one volume, or of all of one machine at one moment.
    pub(super) fn snapshot(&mut self) {
        if self.contents.len() >= CONTENTS_MAX {
            return;
        }
        // Most are of what a machine has open.
        let any = self.dice.random_bool(0.2);
        let all = self.volumes.iter().filter(|(_, v)| any || v.disk.is_some()).map(|(id, _)| id.clone()).collect();
        let Some(one) = self.chosen(all) else { return };
        let machine = self.volumes[&one].machine.filter(|_| self.dice.random_bool(0.3));
        let with = |volume: &Volume| machine.is_some() && volume.machine == machine;
        let of = self.volumes.iter().filter(|(id, v)| (**id == one || with(v)) && v.layers.len() < LAYERS_MAX);
        let mut set = None;
        for id in of.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let content = ImageId::made(format!("ami-{:017x}", self.id()));
            let volume = self.volumes.get_mut(&id).expect("is there");
            let below = volume.layers.last().or(volume.image.as_ref()).cloned();
            volume.layers.push(content.clone());
            let taken = Taken {
                volume: id.clone(),
                below,
                generation: u32::try_from(volume.layers.len()).expect("fits"),
                set: set.get_or_insert_with(|| content.clone()).clone(),
                volume_gib: volume.size_gib,
                key: volume.key.clone(),
            };
            let one = Content { source: Source::Taken(taken), bytes: None, told: false, wanted: true };
            self.contents.insert(content, one);
            self.counts.snapshots += 1;
            // While it is pending, too, a volume grows.
            if self.dice.random_bool(0.2) {
                self.modify(&id);
            }
        }
    }

    /// A copy that is encrypted, of what is not.
    pub(super) fn copy(&mut self) {
        if self.contents.len() >= CONTENTS_MAX {
            return;
        }
        let all = self.contents.iter().filter(|(_, c)| c.told && c.wanted && c.source.key().is_none());
        let Some(of) = self.chosen(all.map(|(id, _)| id.clone()).collect()) else { return };
        let id = ImageId::made(format!("ami-{:017x}", self.id()));
        let bytes = self.contents[&of].bytes.clone().expect("is told");
        let key = SealedKey { master: self.keys.names().remove(0), of: id.to_string(), seed: self.dice.random() };
        let source = Source::Copied(Copied { of, copied_gib: gib(&bytes), key, bottom: None });
        self.contents.insert(id, Content { source, bytes: Some(bytes), told: false, wanted: true });
        self.counts.copies += 1;
    }

    pub(super) fn delete_snapshot(&mut self) {
        let all: Vec<_> =
            self.contents.iter().filter(|(id, c)| c.wanted && !self.is_image(id)).map(|(id, _)| id.clone()).collect();
        if let Some(id) = self.chosen(all) {
            self.contents.get_mut(&id).expect("is there").wanted = false;
            self.collect();
        }
    }

    pub(super) fn delete_volume(&mut self) {
        let all =
            self.volumes.iter().filter(|(_, volume)| volume.machine.is_none()).map(|(id, _)| id.clone()).collect();
        if let Some(id) = self.chosen(all) {
            let volume = self.volumes.remove(&id).expect("is there");
            // What is still to be kept of it is what it holds now.
            for layer in &volume.layers {
                let Some(content) = self.contents.get_mut(layer) else { continue };
                content.bytes.get_or_insert_with(|| volume.bytes.clone());
            }
            self.collect();
        }
    }

    /// What nothing begins as is on no plan any more.
    pub(super) fn collect(&mut self) {
        let mut wanted: BTreeSet<ImageId> =
            self.contents.iter().filter(|(_, c)| c.wanted).map(|(id, _)| id.clone()).collect();
        wanted.extend(self.volumes.values().filter_map(|v| v.layers.last().or(v.image.as_ref()).cloned()));
        let copying: Vec<_> = self.copying().into_iter().filter(|(id, _)| wanted.contains(id)).collect();
        wanted.extend(copying.into_iter().map(|(_, copied)| copied.of));
        for id in wanted.clone() {
            let below = |id: &ImageId| self.contents[id].source.taken().and_then(|taken| taken.below.clone());
            let mut next = below(&id);
            while let Some(id) = next.filter(|id| wanted.insert(id.clone())) {
                next = below(&id);
            }
        }
        self.contents.retain(|id, _| wanted.contains(id));
    }

    pub(super) fn modify(&mut self, id: &VolumeId) {
        let volume = self.volumes.get_mut(id).expect("is there");
        volume.size_gib += u32::from(volume.size_gib < LARGEST_GIB);
    }

    pub(super) fn modify_any(&mut self) {
        let all: Vec<_> = self.volumes.keys().cloned().collect();
        if let Some(id) = self.chosen(all) {
            self.modify(&id);
        }
    }

    pub(super) async fn import(&mut self) {
        if self.contents.len() >= CONTENTS_MAX {
            return;
        }
        let (n, mut text) = (self.id(), vec![0; self.dice.random_range(1..300_000)]);
        self.dice.fill_bytes(&mut text);
        let (id, path) = (ImageId::made(format!("ami-{n:017x}")), self.folder.path().join("files").join(n.to_string()));
        std::fs::write(&path, &text).expect("writes");
        let encrypted = self.dice.random_bool(0.3);
        let master = self.keys.names().remove(0);
        let key = encrypted.then(|| SealedKey { master, of: id.to_string(), seed: self.dice.random() });
        let source = Source::Fetched { url: format!("file://{}", path.display()), format: Format::Raw, key };
        let mut bytes = Memory::of(GIB);
        bytes.write(0, &text);
        self.contents.insert(id.clone(), Content { source, bytes: Some(bytes), told: false, wanted: true });
        let (plan, changed) = (self.plan().contents, self.contents_driver.changed());
        let kept = async {
            loop {
                self.contents_driver.follow(&plan).expect("follows");
                let is_it = |phase: &ImportPhase| matches!(phase, ImportPhase::Kept { size_gib: 1, .. });
                if self.contents_driver.seen(&plan).iter().any(|seen| seen.id == id && is_it(&seen.phase)) {
                    return;
                }
                changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, kept).await.expect("in time");
        std::fs::remove_file(path).expect("removes");
        self.contents.get_mut(&id).expect("is there").told = true;
    }
}
