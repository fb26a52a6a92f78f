//! Encrypted disks: to their machines they are like others, and all else finds nothing of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use awan_host::driver::{BlockDevice, Hypervisor as _, Volumes as _};
use awan_host::keys::MasterKeys;
use awan_host::volume::luks::random;
use awan_host::volume::qcow2::FileVolumes;
use awan_model::Home;
use awan_model::id::{ImageId, VolumeId};
use awan_model::import::Taken;
use awan_model::instance::Phase;
use awan_model::key::SealedKey;
use awan_model::plan::{EncryptionPlan, LayerPlan, SealedKeys, VmPlan, VolumePlan};

use super::Host;
use super::layers::open_below;
use super::monitor::Monitor;

/// Has a machine write to a disk that it has open, as if its guest did. Its supervisor is away meanwhile.
fn write(host: &mut Host, vm: &VmPlan, device: &str, (byte, at): (u8, &str)) {
    host.close();
    let mut monitor = Monitor::connect(&host.folder.path().join("run/vm").join(vm.id.as_str()).join("qmp.sock"));
    let line = format!("qemu-io -d /machine/peripheral/{device}/virtio-backend \"write -P {byte} {at} 64k\"");
    let asked = serde_json::json!({"execute": "human-monitor-command", "arguments": {"command-line": line}});
    assert_eq!(monitor.ask(&asked)["return"], "");
    drop(monitor);
    host.open();
    host.until(vm, Phase::Running);
    host.wait(async {
        while let Err(e) = host.driver().fork(&vm.id, Vec::new()).await {
            assert!(format!("{e:#}").contains("does not listen yet"), "{e:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// What 64 KiB of a disk hold, if they all hold the same. Nobody else writes to it.
fn byte_at(device: &BlockDevice, at: &str) -> Option<u8> {
    let mut qemu_io = std::process::Command::new("qemu-io");
    let mut disk = serde_json::Value::Null;
    let files: Vec<_> = std::iter::once(&device.path).chain(&device.backing).zip(&device.keys).collect();
    for (n, (path, key)) in files.into_iter().enumerate().rev() {
        let (passphrase, id) = (key.as_ref().expect("all are encrypted").passphrase(), format!("k{n}"));
        qemu_io.args(["--object", &format!("secret,id={id},data={passphrase}")]);
        disk = serde_json::json!({
            "driver": "qcow2", "backing": disk, "file": {"driver": "file", "filename": path},
            "encrypt": {"format": "luks", "key-secret": id}, "read-only": true,
        });
    }
    qemu_io.args(["-r", "-U", &format!("json:{disk}")]);
    let commands: Vec<u8> = vec![0, 0x41, 0x42, 0x51, 0x52];
    for byte in &commands {
        qemu_io.args(["-c", &format!("read -P {byte} {at} 64k")]);
    }
    let output = qemu_io.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut matched = Vec::new();
    let mut failed = false;
    for line in said.lines() {
        failed |= line.contains("Pattern verification failed");
        if line.starts_with("read 65536/65536") {
            matched.push(!std::mem::take(&mut failed));
        }
    }
    assert_eq!(matched.len(), commands.len(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    matched.iter().position(|fits| *fits).map(|n| commands[n])
}

/// All files below a folder that hold some bytes.
fn holding(folder: &Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("reads").flatten() {
        let kind = entry.file_type().expect("is there");
        if kind.is_dir() {
            found.extend(holding(&entry.path(), needle));
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).expect("reads");
            if bytes.windows(needle.len()).any(|bytes| bytes == needle) {
                found.push(entry.path());
            }
        }
    }
    found
}

struct Encrypted {
    host: Host,
    keys: MasterKeys,
    volumes: Arc<FileVolumes>,
}

impl Encrypted {
    fn new() -> Option<Self> {
        let host = Host::new()?;
        let folder = host.folder.path();
        let keys = MasterKeys::read_or_make(&folder.join("master.key")).expect("a key");
        let volumes = FileVolumes::with_keys(folder.join("volumes"), folder.join("images"), keys.clone());
        Some(Self { volumes: volumes.expect("opens"), keys, host })
    }

    fn sealed(&self, of: &VolumeId) -> SealedKey {
        let master = self.keys.names().swap_remove(0);
        SealedKey { master, of: of.to_string(), seed: random().expect("is random") }
    }

    fn make(&self, plan: &VolumePlan) -> BlockDevice {
        self.host.wait(self.volumes.ensure(plan)).expect("a disk")
    }

    /// That neither what machines wrote nor a key is anywhere to be found but in their memory.
    fn nothing_is_found(&self, written: &[u8], keys: &[&SealedKey], machines: &[&VmPlan]) {
        for byte in written {
            assert_eq!(holding(self.host.folder.path(), &[*byte; 512]), Vec::<PathBuf>::new());
        }
        for key in keys {
            let key = self.keys.key(key).expect("a key").passphrase();
            assert_eq!(holding(self.host.folder.path(), key.as_bytes()), Vec::<PathBuf>::new());
            for vm in machines {
                for of in ["cmdline", "environ"] {
                    let said = std::fs::read(format!("/proc/{}/{of}", self.host.pid(vm))).expect("reads");
                    assert!(!said.windows(key.len()).any(|bytes| bytes == key.as_bytes()));
                }
            }
        }
    }
}

fn content(n: u32) -> ImageId {
    ImageId::made(format!("ami-{n:017x}"))
}

fn planned(key: &SealedKey, image: Option<(u32, &SealedKey)>) -> VolumePlan {
    let below = image.map(|(n, key)| (content(n), key.clone())).into_iter().collect();
    VolumePlan {
        image: image.map(|(n, _)| content(n)),
        encryption: Some(EncryptionPlan { key: key.clone(), below }),
        ..VolumePlan::empty(Home::new("1", "r"), key.of.parse().expect("an id"), 1)
    }
}

fn taken(key: &SealedKey) -> Taken {
    let (volume, set, key) = (key.of.parse().expect("an id"), content(11), Some(key.clone()));
    Taken { volume, below: None, generation: 1, set, volume_gib: 1, key }
}

#[test]
fn an_encrypted_disk_comes_goes_on_grows_and_goes() {
    let Some(mut all) = Encrypted::new() else { return };
    let (a, b) = (all.host.vm(1, 1), all.host.vm(2, 1));
    let (root, data) = (a.disks[0].volume.clone(), "vol-0000000000000000d".parse().expect("an id"));
    let (root_key, data_key) = (all.sealed(&root), all.sealed(&data));
    let root_disk = all.make(&planned(&root_key, None));
    all.host.wait(all.host.driver().start(&a, vec![root_disk], Vec::new())).expect("starts");
    all.host.until(&a, Phase::Running);
    all.host.start(&b);
    let data_disk = all.make(&planned(&data_key, None));
    all.host.wait(all.host.driver().attach(&a.id, data_disk)).expect("attaches");
    let at = ["vd0", data.as_str()];
    for (device, byte) in at.into_iter().zip([0x41, 0x42]) {
        write(&mut all.host, &a, device, (byte, "0"));
    }
    let both = [(11, taken(&root_key)), (12, taken(&data_key))];
    let fork = |taken| all.host.wait(all.volumes.fork(taken)).expect("the next file");
    let forks: Vec<_> = both.iter().map(|(_, taken)| fork(taken)).collect();
    all.host.wait(all.host.driver().fork(&a.id, forks.clone())).expect("goes on");
    all.host.wait(all.host.driver().fork(&a.id, forks)).expect("what was done is not done again");
    for (n, taken) in &both {
        all.host.wait(all.volumes.keep(&content(*n), taken)).expect("keeps");
    }
    assert_eq!(open_below(all.host.pid(&a), "/contents/").1, 0, "none is for writing");
    let layers = vec![LayerPlan { id: content(12), generation: 1, kept: true, volume_gib: Some(1) }];
    let gone_on = VolumePlan { layers, ..planned(&data_key, None) };
    // What is below is opened anew, as it is when it has become fewer files.
    let shorter = all.volumes.shorter(&gone_on).expect("is below");
    all.host.wait(all.host.driver().shorten(&a.id, shorter)).expect("goes on above it");
    all.host.wait(all.host.driver().grow(&a.id, &data, 2)).expect("what is open grows");
    for (device, byte) in at.into_iter().zip([0x51, 0x52]) {
        write(&mut all.host, &a, device, (byte, "64k"));
    }
    // Another machine has a volume of the snapshot, which has a key of its own.
    let child: VolumeId = "vol-0000000000000000e".parse().expect("an id");
    let child_key = all.sealed(&child);
    let plan = planned(&child_key, Some((12, &data_key)));
    let device = all.make(&plan);
    assert_eq!(["0", "64k"].map(|at| byte_at(&device, at)), [Some(0x42), Some(0)], "nothing of later");
    all.host.wait(all.host.driver().attach(&b.id, device)).expect("others read it");
    write(&mut all.host, &b, child.as_str(), (0x51, "64k"));
    all.host.wait(all.host.driver().detach(&b.id, &child, true)).expect("without asking");
    assert_eq!(["0", "64k"].map(|at| byte_at(&all.make(&plan), at)), [Some(0x42), Some(0x51)]);
    all.host.wait(all.host.driver().detach(&a.id, &data, true)).expect("without asking");
    let again = all.make(&gone_on);
    assert_eq!(["0", "64k", "1536M"].map(|at| byte_at(&again, at)), [Some(0x42), Some(0x52), Some(0)]);
    all.nothing_is_found(&[0x41, 0x42, 0x51, 0x52], &[&root_key, &data_key, &child_key], &[&a, &b]);
}

#[test]
fn a_running_machine_goes_on_with_fewer_files_than_had_keys_of_their_own() {
    let Some(mut all) = Encrypted::new() else { return };
    let a = all.host.vm(1, 1);
    all.host.start(&a);
    let (data, child): (VolumeId, VolumeId) =
        ("vol-0000000000000000d".parse().expect("an id"), "vol-0000000000000000e".parse().expect("an id"));
    let (key, own) = (all.sealed(&data), all.sealed(&child));
    let first = all.make(&planned(&key, None));
    all.host.wait(all.host.driver().attach(&a.id, first)).expect("attaches");
    for at in ["0", "64k"] {
        write(&mut all.host, &a, data.as_str(), (0x41, at));
    }
    all.host.wait(all.host.driver().detach(&a.id, &data, true)).expect("without asking");
    all.host.wait(all.volumes.keep(&content(11), &taken(&key))).expect("keeps");
    // One of that, of which three snapshots are made.
    let begun = planned(&own, Some((11, &key)));
    let device = all.make(&begun);
    all.host.wait(all.host.driver().attach(&a.id, device)).expect("attaches");
    let (mut layers, mut sealed) = (Vec::new(), SealedKeys::from([(content(11), key.clone())]));
    for n in 1..=3 {
        write(&mut all.host, &a, child.as_str(), (0x42, &format!("{}k", n * 64)));
        let below = if n == 1 { 11 } else { 10 + n };
        let (id, below) = (content(11 + n), Some(content(below)));
        let taken = Taken { below, generation: n, set: id.clone(), ..taken(&own) };
        let fork = all.host.wait(all.volumes.fork(&taken)).expect("the next file");
        all.host.wait(all.host.driver().fork(&a.id, vec![fork])).expect("goes on");
        all.host.wait(all.volumes.keep(&id, &taken)).expect("keeps");
        layers.push(LayerPlan { id: id.clone(), generation: n, kept: true, volume_gib: Some(1) });
        sealed.insert(id, own.clone());
    }
    let count = |all: &Encrypted| all.host.seen(&a.id).expect("is there").files[&child];
    assert_eq!(count(&all), 5);
    let gone_on = VolumePlan { layers, ..begun };
    for (onto, files) in [(Some(content(12)), 4), (None, 2)] {
        all.volumes.merge_now(&content(14), onto.as_ref(), &sealed, || true).expect("merges");
        let shorter = all.volumes.shorter(&gone_on).expect("is below");
        all.host.wait(all.host.driver().shorten(&a.id, shorter)).expect("goes on above it");
        assert_eq!(count(&all), files);
    }
    write(&mut all.host, &a, child.as_str(), (0x51, "256k"));
    all.host.wait(all.host.driver().detach(&a.id, &child, true)).expect("without asking");
    let again = all.make(&gone_on);
    assert_eq!((again.backing.len(), again.keys[0] == again.keys[1]), (1, true));
    let there = ["0", "64k", "128k", "192k", "256k", "320k"].map(|at| byte_at(&again, at));
    assert_eq!(there.map(Option::unwrap_or_default), [0x41, 0x42, 0x42, 0x42, 0x51, 0]);
    all.nothing_is_found(&[0x41, 0x42, 0x51], &[&key, &own], &[&a]);
}

#[test]
fn with_another_key_a_disk_is_not_opened_and_nothing_is_left_of_the_attempt() {
    let Some(all) = Encrypted::new() else { return };
    let (a, b) = (all.host.vm(1, 1), all.host.vm(2, 1));
    let data: VolumeId = "vol-0000000000000000d".parse().expect("an id");
    let (key, other) = (all.sealed(&data), all.sealed(&data));
    let right = all.make(&planned(&key, None));
    let wrong = all.make(&planned(&other, None));
    assert_eq!((&right.path, right.keys == wrong.keys), (&wrong.path, false));
    all.host.start(&a);
    let refused = all.host.wait(all.host.driver().attach(&a.id, wrong.clone())).expect_err("is not its key");
    assert!(format!("{refused:#}").contains("Invalid password"), "{refused:#}");
    assert_eq!(open_below(all.host.pid(&a), "/volumes/vol-0000000000000000d"), (0, 0));
    all.host.wait(all.host.driver().attach(&a.id, right)).expect("attaches");
    all.host.wait(all.host.driver().detach(&a.id, &data, true)).expect("without asking");
    // One that it is to begin with keeps a machine from beginning, and says why.
    let root = all.host.disk(&b);
    all.host.wait(all.host.driver().start(&b, vec![root, wrong], Vec::new())).expect("begins");
    let exit = all.host.until(&b, Phase::Exited).exit;
    // The reason is cut; it tells which disk.
    assert!(format!("{exit:?}").contains("node-0000000000000000d.k0"), "{exit:?}");
    all.nothing_is_found(&[], &[&key, &other], &[&a]);
}
