//! The recycle bin: what is deleted and kept by a rule, until it is restored or its time is over.
//!
//! **Invariants.** What is in the bin is nowhere else, so nothing can show, use or share it; its tags stay, and can be
//! changed. What its bytes are stays on its host, as long as it is there. How long that is follows from the rules at the
//! time when it was deleted, whatever becomes of them. Source: "Considerations for Recycle Bin", EBS User Guide.

use std::collections::BTreeMap;
use std::sync::Arc;

use awan_model::image::Image;
use awan_model::import::Content;
use awan_model::recycle_bin::{Binned, Recyclable, RetentionRule};
use awan_model::snapshot::{Bytes, Phase, Snapshot, Upload};
use awan_model::volume::Volume;
use awan_state::{Change, Millis, Missing, Record, System, Tenant, Tx};

use crate::error::Result;
use crate::{network, schedule, tagging, token};

/// The cloud's own tag of what is in the bin.
pub const TAG: &str = "aws:recycle-bin:resource-in-bin";

/// Puts into the bin what a rule keeps: that which keeps it longest. False: none does, and it is as it was.
fn keep<R: Recyclable>(tx: &mut Tx<Tenant>, what: R) -> bool {
    let (id, entered) = (what.at().id, tx.now());
    let tags = tagging::of(tx, &id.to_string());
    let rules = tx.list::<RetentionRule>();
    let times = rules.iter().filter(|rule| rule.keeps(R::RULES, &tags)).map(|rule| rule.until(entered));
    let Some(leaves) = times.max() else { return false };
    tx.remove::<R>(&id);
    tx.put(Binned { what, entered, leaves });
    tagging::add_reserved(tx, &id.to_string(), [(TAG.to_owned(), "true".to_owned())].into());
    true
}

/// Deletes a snapshot, or keeps it in the bin. What was not or will never be whole is not kept.
pub fn remove_snapshot(tx: &mut Tx<Tenant>, snapshot: &Snapshot) {
    let token = snapshot.upload.as_ref().and_then(|upload| upload.client_token.as_deref());
    token::forget(tx, "StartSnapshot", token);
    let upload = snapshot.upload.as_ref().map(|upload| Upload { client_token: None, ..upload.clone() });
    let written = upload.as_ref().is_none_or(|upload| upload.sealed);
    let whole = snapshot.phase != Phase::Error && written && !is_being_copied(tx, snapshot);
    if !whole || !keep(tx, Snapshot { upload, ..snapshot.clone() }) {
        network::remove::<Snapshot>(tx, &snapshot.id);
    }
}

/// What it is a copy of is there, and need not be written for the bin.
fn is_being_copied(tx: &mut Tx<Tenant>, snapshot: &Snapshot) -> bool {
    let Bytes::Image(id) = &snapshot.bytes else { return false };
    let content = tx.as_system(|tx| tx.find_by::<Content>(Content::INDEX, id.as_str()));
    snapshot.phase == Phase::Pending && content.is_some_and(|content| content.source.copied().is_some())
}

/// Deletes an image, or keeps it in the bin. Its snapshots are deleted, and restored, for themselves.
pub fn remove_image(tx: &mut Tx<Tenant>, image: &Image) {
    if !keep(tx, image.clone()) {
        network::remove::<Image>(tx, &image.id);
    }
}

/// Deletes a volume that is attached to nothing, or keeps it in the bin: its files stay where they are, and take their room.
pub fn remove_volume(tx: &mut Tx<Tenant>, volume: &Volume) {
    token::forget(tx, "CreateVolume", volume.client_token.as_deref());
    if !keep(tx, Volume { attachment: None, client_token: None, ..volume.clone() }) {
        schedule::give_up_bytes(tx, &volume.id);
        network::remove::<Volume>(tx, &volume.id);
    }
}

/// All of a kind that there are, and those in the bin.
pub fn all<R: Recyclable>(tx: &mut Tx<System>) -> Vec<Arc<R>> {
    let binned = tx.all::<Binned<R>>();
    tx.all::<R>().into_iter().chain(binned.iter().map(|binned| Arc::new(binned.what.clone()))).collect()
}

/// What became of them in this transaction. What goes into the bin or comes back is there before and after.
pub fn changed<R: Recyclable>(tx: &mut Tx<System>) -> Vec<Change<R>> {
    let inner = |binned: Option<Arc<Binned<R>>>| binned.map(|binned| Arc::new(binned.what.clone()));
    let binned = tx.changed::<Binned<R>>().into_iter().map(|(before, after)| (inner(before), inner(after)));
    let mut all: BTreeMap<Arc<str>, Change<R>> = BTreeMap::new();
    for (before, after) in binned.chain(tx.changed::<R>()) {
        let at = before.as_ref().or(after.as_ref()).expect("a change has a side").at();
        let (then, now) = all.entry(at.key()).or_insert((None, None));
        *then = then.take().or(before);
        *now = now.take().or(after);
    }
    all.into_values().collect()
}

/// What is in the bin. Whose time is over cannot be restored, even if it has not gone yet.
pub fn find<R: Recyclable>(tx: &mut Tx<Tenant>, id: &R::Id) -> Result<Arc<Binned<R>>> {
    let now = tx.now();
    let found = tx.find::<Binned<R>>(id).filter(|binned| now < binned.leaves);
    Ok(found.ok_or_else(|| Missing::of::<Binned<R>>(id))?)
}

/// The same, of these ids, or of all if there are none.
pub fn list<R>(tx: &mut Tx<Tenant>, ids: &[String]) -> Result<Vec<Arc<Binned<R>>>>
where
    R: Recyclable,
    R::Id: std::str::FromStr<Err = awan_model::id::Malformed>,
{
    if !ids.is_empty() {
        return ids.iter().map(|id| find::<R>(tx, &id.parse()?)).collect();
    }
    let now = tx.now();
    let mut all = tx.list::<Binned<R>>();
    all.retain(|binned| now < binned.leaves);
    Ok(all)
}

/// Takes something out of the bin, and makes of it what is then there.
pub fn restore<R: Recyclable>(tx: &mut Tx<Tenant>, what: R) {
    let id = what.at().id;
    tx.remove::<Binned<R>>(&id);
    tagging::remove_reserved(tx, &id.to_string(), TAG);
    tx.put(what);
}

/// Forgets all rules of an account in a region, and what is in the bin there.
pub fn erase(tx: &mut Tx<Tenant>) {
    fn of<R: Recyclable>(tx: &mut Tx<Tenant>) {
        for binned in tx.list::<Binned<R>>() {
            tx.remove::<Binned<R>>(&binned.at().id);
        }
    }
    for rule in tx.list::<RetentionRule>() {
        tx.remove::<RetentionRule>(&rule.id);
    }
    of::<Snapshot>(tx);
    of::<Image>(tx);
    of::<Volume>(tx);
}

/// Whether the time of anything in the bin is over.
pub fn is_due(tx: &mut Tx<System>, now: Millis) -> bool {
    !over::<Snapshot>(tx, now).is_empty() || !over::<Image>(tx, now).is_empty() || !over::<Volume>(tx, now).is_empty()
}

fn over<R: Recyclable>(tx: &mut Tx<System>, now: Millis) -> Vec<Arc<Binned<R>>> {
    let mut all = tx.all::<Binned<R>>();
    all.retain(|binned| binned.leaves <= now);
    all
}

/// Deletes for good whose time is over.
pub fn empty(tx: &mut Tx<System>) {
    fn of<R: Recyclable>(tx: &mut Tx<System>) {
        let now = tx.now();
        for binned in over::<R>(tx, now) {
            let at = binned.at();
            tx.act_for_tenant(&at.home, |tx| network::remove::<Binned<R>>(tx, &at.id));
        }
    }
    let now = tx.now();
    for binned in over::<Volume>(tx, now) {
        tx.act_for_tenant(&binned.what.home, |tx| schedule::give_up_bytes(tx, &binned.what.id));
    }
    of::<Snapshot>(tx);
    of::<Image>(tx);
    of::<Volume>(tx);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use crate::testing::Cloud;

    const HOUR: u64 = 60 * 60 * 1000;
    const SNAPSHOT: &str = "EBS_SNAPSHOT";
    const IMAGE: &str = "EC2_IMAGE";
    const VOLUME: &str = "EBS_VOLUME";

    /// A tenant who does anything, and what is to be in the bin of it.
    struct Tenant {
        cloud: Cloud,
        dice: StdRng,
        instance: String,
        volume: String,
        now: u64,
        /// By rules: their kinds and days.
        rules: BTreeMap<String, (&'static str, u32)>,
        /// By what is in the bin: when it leaves.
        bin: BTreeMap<String, u64>,
        names: u32,
    }

    impl Tenant {
        fn new(seed: u64) -> Self {
            let mut cloud = Cloud::new();
            let instance = cloud.tenant("acme").run();
            cloud.settle();
            let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
            let volume = Cloud::ids(&volumes, "volumeId").remove(0);
            let (rules, bin) = (BTreeMap::new(), BTreeMap::new());
            Self { cloud, dice: StdRng::seed_from_u64(seed), instance, volume, now: 0, rules, bin, names: 0 }
        }

        fn ask(&mut self, action: &str, ask: &[(&str, &str)]) -> Result<String, String> {
            self.cloud.tenant("acme").call(action, ask)
        }

        fn ids(&mut self, action: &str, element: &str) -> Vec<String> {
            let owned = ["DescribeSnapshots", "DescribeImages"].contains(&action);
            let own: &[_] = if owned { &[("Owner.1", "self")] } else { &[] };
            let mut ids = Cloud::ids(&self.ask(action, own).expect(action), element);
            ids.sort();
            ids.dedup();
            ids
        }

        fn one_of(&mut self, ids: &[String]) -> Option<String> {
            (!ids.is_empty()).then(|| ids[self.dice.random_range(0..ids.len())].clone())
        }

        /// What was deleted is kept as long as the longest rule says.
        fn deleted(&mut self, kind: &str, id: String) {
            let days = self.rules.values().filter(|(of, _)| *of == kind).map(|(_, days)| u64::from(*days)).max();
            if let Some(days) = days {
                self.bin.insert(id, self.now + days * 24 * HOUR);
            }
        }

        fn step(&mut self) {
            match self.dice.random_range(0..24) {
                0..2 => {
                    let kind = [SNAPSHOT, IMAGE, VOLUME][self.dice.random_range(0..3)];
                    let days = self.dice.random_range(1..4);
                    let rule = self.cloud.tenant("acme").keep(kind, days, "");
                    self.rules.insert(rule, (kind, days));
                }
                2 => {
                    if let Some((rule, _)) = self.rules.pop_first() {
                        let path = [("identifier", rule.as_str())];
                        self.cloud.tenant("acme").rbin("DeleteRule", &path, &[], "").expect("deletes");
                    }
                }
                3..7 => {
                    let ask = [("VolumeId", self.volume.clone())];
                    let ask = ask.each_ref().map(|(name, value)| (*name, value.as_str()));
                    self.ask("CreateSnapshot", &ask).expect("makes");
                }
                7..9 => {
                    self.names += 1;
                    let (instance, name) = (self.instance.clone(), format!("image {}", self.names));
                    let ask = [("InstanceId", instance.as_str()), ("Name", &name), ("NoReboot", "true")];
                    self.ask("CreateImage", &ask).expect("makes");
                }
                9..12 => self.delete_snapshot(),
                12..14 => self.deregister_image(),
                14..16 => self.restore_snapshot(),
                16..18 => self.restore_image(),
                18..20 => self.make_volume(),
                20 => self.delete_volume(),
                21 => self.restore_volume(),
                _ => {
                    let hours = self.dice.random_range(1..40);
                    self.now += hours * HOUR;
                    self.cloud.pass(hours * HOUR);
                    self.bin.retain(|_, leaves| self.now < *leaves);
                }
            }
        }

        fn delete_snapshot(&mut self) {
            let all = self.ids("DescribeSnapshots", "snapshotId");
            let Some(id) = self.one_of(&all) else { return };
            match self.ask("DeleteSnapshot", &[("SnapshotId", &id)]) {
                Ok(_) => self.deleted(SNAPSHOT, id),
                Err(refusal) => assert!(refusal.starts_with("InvalidSnapshot.InUse"), "{refusal}"),
            }
        }

        fn deregister_image(&mut self) {
            let all = self.ids("DescribeImages", "imageId");
            let Some(id) = self.one_of(&all) else { return };
            let both = self.dice.random_bool(0.5).to_string();
            let told = self.ask("DeregisterImage", &[("ImageId", &id), ("DeleteAssociatedSnapshots", &both)]);
            let told = told.expect("goes");
            self.deleted(IMAGE, id);
            for (snapshot, code) in Cloud::ids(&told, "snapshotId").into_iter().zip(Cloud::ids(&told, "returnCode")) {
                assert_eq!(code, "success");
                self.deleted(SNAPSHOT, snapshot);
            }
        }

        fn restore_snapshot(&mut self) {
            let all = self.ids("ListSnapshotsInRecycleBin", "snapshotId");
            let Some(id) = self.one_of(&all) else { return };
            self.ask("RestoreSnapshotFromRecycleBin", &[("SnapshotId", &id)]).expect("restores");
            self.bin.remove(&id);
        }

        fn restore_image(&mut self) {
            let all = self.ids("ListImagesInRecycleBin", "imageId");
            let Some(id) = self.one_of(&all) else { return };
            match self.ask("RestoreImageFromRecycleBin", &[("ImageId", &id)]) {
                Ok(_) => drop(self.bin.remove(&id)),
                Err(refusal) => {
                    let fine = ["InvalidSnapshot.NotFound", "IncorrectState"];
                    assert!(fine.iter().any(|code| refusal.starts_with(code)), "{refusal}");
                }
            }
        }

        /// Of a snapshot, and in the middle of its use: what it holds lies on its host.
        fn make_volume(&mut self) {
            let all = self.ids("DescribeSnapshots", "snapshotId");
            let Some(snapshot) = self.one_of(&all) else { return };
            let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", snapshot.as_str())];
            let Ok(made) = self.ask("CreateVolume", &ask) else { return };
            let (volume, instance) = (Cloud::ids(&made, "volumeId").remove(0), self.instance.clone());
            self.cloud.tenant("acme").attach(&volume, &instance, "/dev/sdf").expect("attaches");
            self.cloud.settle();
            self.ask("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
            self.ask("DetachVolume", &[("VolumeId", &volume)]).expect("detaches");
            self.cloud.settle();
        }

        fn delete_volume(&mut self) {
            let mut all = self.ids("DescribeVolumes", "volumeId");
            all.retain(|id| *id != self.volume);
            let Some(id) = self.one_of(&all) else { return };
            self.ask("DeleteVolume", &[("VolumeId", &id)]).expect("deletes");
            self.deleted(VOLUME, id);
        }

        fn restore_volume(&mut self) {
            let all = self.ids("ListVolumesInRecycleBin", "volumeId");
            let Some(id) = self.one_of(&all) else { return };
            self.ask("RestoreVolumeFromRecycleBin", &[("VolumeId", &id)]).expect("restores");
            self.bin.remove(&id);
        }

        fn check(&mut self) {
            let volumes = self.ids("ListVolumesInRecycleBin", "volumeId");
            let snapshots = self.ids("ListSnapshotsInRecycleBin", "snapshotId");
            let images = self.ids("ListImagesInRecycleBin", "imageId");
            let mut found = [volumes, snapshots, images].concat();
            found.sort();
            assert_eq!(found, self.bin.keys().cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn whatever_the_order_what_can_be_restored_is_whole() {
        for seed in 0..6 {
            let mut tenant = Tenant::new(seed);
            for _ in 0..60 {
                tenant.step();
                tenant.check();
                if tenant.dice.random_bool(0.3) {
                    tenant.cloud.settle();
                    tenant.cloud.audit();
                    tenant.check();
                }
            }
            tenant.cloud.settle();
            // All of it comes back, and a volume can be made of what was a snapshot.
            for id in tenant.ids("ListVolumesInRecycleBin", "volumeId") {
                tenant.ask("RestoreVolumeFromRecycleBin", &[("VolumeId", &id)]).expect("restores");
            }
            for id in tenant.ids("ListSnapshotsInRecycleBin", "snapshotId") {
                let told = tenant.ask("RestoreSnapshotFromRecycleBin", &[("SnapshotId", &id)]).expect("restores");
                assert_eq!(Cloud::ids(&told, "status"), ["completed"], "seed {seed}");
                let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", id.as_str())];
                tenant.ask("CreateVolume", &ask).expect("makes");
            }
            tenant.cloud.settle();
            tenant.cloud.audit();
        }
    }
}
