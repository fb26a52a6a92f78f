//! Disks that go on in new files, as snapshots have them do: what was written before is kept.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use awan_host::driver::{Hypervisor as _, Volumes as _};
use awan_host::volume::qcow2::FileVolumes;
use awan_model::Home;
use awan_model::id::VolumeId;
use awan_model::instance::Phase;
use awan_model::plan::{LayerPlan, SealedKeys, VmPlan, VolumePlan};

use super::Host;
use super::monitor::Monitor;

/// What a machine has open below a folder, and for writing.
pub fn open_below(pid: i32, folder: &str) -> (usize, usize) {
    let (mut all, mut written) = (0, 0);
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("reads").flatten() {
        let target = std::fs::read_link(entry.path()).map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        if target.contains(folder) {
            let about = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", entry.file_name().display()));
            let about = about.expect("is open");
            let flags = about.lines().find_map(|line| line.strip_prefix("flags:")).expect("has flags").trim();
            all += 1;
            written += i32::from_str_radix(flags, 8).expect("octal") & libc::O_ACCMODE;
        }
    }
    (all, usize::try_from(written).expect("a number"))
}

/// As QEMU is when its supervisor ends after a disk's old file was opened for reading, and before the descriptor for
/// writing was taken back: the lock of who writes is there.
fn leave_writing(host: &Host, vm: &VmPlan, node: &str, path: &Path) {
    let mut monitor = Monitor::connect(&host.folder.path().join("run/vm").join(vm.id.as_str()).join("qmp.sock"));
    let file = std::fs::File::options().read(true).write(true).open(path).expect("opens");
    let (kind, whence) = (i16::try_from(libc::F_RDLCK).expect("fits"), i16::try_from(libc::SEEK_SET).expect("fits"));
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: 101, l_len: 1, l_pid: 0 };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).expect("locks");
    let sets = monitor.ask(&serde_json::json!({"execute": "query-fdsets"}));
    let of_it = |set: &&serde_json::Value| {
        set["fds"].as_array().expect("a list").iter().any(|fd| fd["opaque"] == format!("{node}.b"))
    };
    let set = sets["return"].as_array().expect("a list").iter().find(of_it).expect("is open")["fdset-id"].clone();
    let given = serde_json::json!({"execute": "add-fd", "arguments": {"fdset-id": set, "opaque": node}});
    let answer = monitor.ask_with(&given, file.as_fd());
    assert!(answer.get("return").is_some(), "{answer}");
}

#[test]
fn a_fork_that_was_cut_short_at_its_end_is_completed() {
    let Some(mut host) = Host::new() else { return };
    let volumes =
        FileVolumes::new(host.folder.path().join("volumes"), host.folder.path().join("images")).expect("opens");
    let vm = host.vm(1, 1);
    host.start(&vm);
    let content = awan_model::id::ImageId::made("ami-00000000000000001".into());
    let volume = vm.disks[0].volume.clone();
    let taken = awan_model::import::Taken {
        volume,
        below: None,
        generation: 1,
        set: content.clone(),
        volume_gib: 1,
        key: None,
    };
    let fork = host.wait(volumes.fork(&taken)).expect("makes the next file");
    host.wait(host.driver().fork(&vm.id, vec![fork.clone()])).expect("goes on");
    host.close();
    leave_writing(&host, &vm, "disk0", &fork.old);
    host.open();
    host.until(&vm, Phase::Running);
    host.wait(volumes.keep(&content, &taken)).expect_err("who holds the lock may write");
    host.wait(async {
        while let Err(e) = host.driver().fork(&vm.id, vec![fork.clone()]).await {
            assert!(format!("{e:#}").contains("does not listen yet"), "{e:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    host.wait(volumes.keep(&content, &taken)).expect("keeps");
    assert_eq!(open_below(host.pid(&vm), "/contents/").1, 0, "none is for writing");
}

#[test]
fn what_a_machine_has_gone_on_from_is_others_to_read_and_nobodys_to_write() {
    let Some(mut host) = Host::new() else { return };
    let volumes =
        FileVolumes::new(host.folder.path().join("volumes"), host.folder.path().join("images")).expect("opens");
    let (a, b) = (host.vm(1, 1), host.vm(2, 1));
    host.start(&a);
    host.start(&b);
    let data = host.empty(9, 1);
    host.wait(host.driver().attach(&a.id, data.clone())).expect("attaches");
    let content = |n: u32| awan_model::id::ImageId::made(format!("ami-{n:017x}"));
    let taken = |volume: &VolumeId, n: u32, generation: u32| {
        let below = (generation > 1).then(|| content(n - 1));
        awan_model::import::Taken {
            volume: volume.clone(),
            below,
            generation,
            set: content(n),
            volume_gib: 1,
            key: None,
        }
    };
    let root = a.disks[0].volume.clone();
    let all = |generation| [(&root, 10 + generation), (&data.volume, 20 + generation)];
    let fork = |host: &Host, generation: u32| {
        let forks = all(generation)
            .map(|(volume, n)| host.wait(volumes.fork(&taken(volume, n, generation))).expect("makes the next file"));
        host.wait(async {
            while let Err(e) = host.driver().fork(&a.id, forks.to_vec()).await {
                // Until a new life has QEMU's ear, it takes no orders.
                assert!(format!("{e:#}").contains("does not listen yet"), "{e:#}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        host.wait(host.driver().fork(&a.id, forks.to_vec())).expect("what was done is not done again");
        for (volume, n) in all(generation) {
            host.wait(volumes.keep(&content(n), &taken(volume, n, generation))).expect("keeps");
        }
    };
    for generation in 1..=2 {
        fork(&host, generation);
        let (open, written) = open_below(host.pid(&a), "/contents/");
        assert!(open >= 2 * generation as usize && written == 0, "{open} are open, {written} for writing");
    }
    // A child of what was kept, in another machine; and one of what is kept while that runs.
    let id = "vol-0000000000000000c".parse().expect("an id");
    let plan = VolumePlan { image: Some(content(22)), ..VolumePlan::empty(Home::new("1", "r"), id, 2) };
    let child = host.wait(volumes.ensure(&plan)).expect("a disk");
    assert_eq!(child.backing.len(), 2);
    host.wait(host.driver().attach(&b.id, child)).expect("others read it");
    host.die_and_open();
    host.until(&a, Phase::Running);
    fork(&host, 3);
    host.wait(host.driver().grow(&a.id, &root, 3)).expect("what is open grows");
    // All of it is closed with the disk, so that another machine can have it.
    host.wait(host.driver().detach(&a.id, &data.volume, true)).expect("without asking");
    let layers =
        (1..=3).map(|n| LayerPlan { id: content(20 + n), generation: n, kept: true, volume_gib: None }).collect();
    let plan = VolumePlan { layers, ..VolumePlan::empty(Home::new("1", "r"), data.volume.clone(), 1) };
    let whole = host.wait(volumes.ensure(&plan)).expect("a disk");
    assert_eq!(whole.backing.len(), 3);
    host.wait(host.driver().attach(&b.id, whole)).expect("its files are closed");
    assert_eq!(open_below(host.pid(&a), "/contents/ami-0000000000000001"), (0, 0));
}

/// Somebody speaks to the machine while its host is away.
fn away<T>(host: &mut Host, vm: &VmPlan, speak: impl FnOnce(&mut Monitor) -> T) -> T {
    host.close();
    let socket = host.folder.path().join("run/vm").join(vm.id.as_str()).join("qmp.sock");
    let spoken = speak(&mut Monitor::connect(&socket));
    host.open();
    host.until(vm, Phase::Running);
    spoken
}

/// As a guest does: one cluster that is written each time, and one of its own.
fn write(host: &mut Host, vm: &VmPlan, n: u32) {
    away(host, vm, |monitor| {
        for at in [0, n * 64] {
            let line = format!("qemu-io -d /machine/peripheral/vd0/virtio-backend \"write -P {n} {at}k 64k\"");
            let arguments = serde_json::json!({"command-line": line});
            let answer = monitor.ask(&serde_json::json!({"execute": "human-monitor-command", "arguments": arguments}));
            assert_eq!(answer["return"], "", "{answer}");
        }
    });
}

/// That the machine reads what was written until the nth time: it copies its disk.
fn check(host: &mut Host, vm: &VmPlan, n: u32) {
    let copy = tempfile::tempfile().expect("a file");
    copy.set_len(1 << 30).expect("grows");
    away(host, vm, |monitor| {
        let add = serde_json::json!({"execute": "add-fd", "arguments": {"opaque": "copy"}});
        let set = monitor.ask_with(&add, copy.as_fd())["return"]["fdset-id"].clone();
        let mut ask = |execute: &str, arguments: serde_json::Value| {
            let answer = monitor.ask(&serde_json::json!({"execute": execute, "arguments": arguments}));
            answer.get("return").unwrap_or_else(|| panic!("{execute}: {answer}")).clone()
        };
        let drive = ask("qom-get", serde_json::json!({"path": "/machine/peripheral/vd0", "property": "drive"}));
        let file = format!("/dev/fdset/{set}");
        ask("blockdev-add", serde_json::json!({"driver": "file", "node-name": "copy", "filename": file}));
        let job = serde_json::json!({"job-id": "copy", "device": drive, "target": "copy", "sync": "full"});
        ask("blockdev-backup", job);
        let began = std::time::Instant::now();
        while !ask("query-jobs", serde_json::json!({})).as_array().expect("a list").is_empty() {
            assert!(began.elapsed() < super::PATIENCE, "it copies for too long");
        }
        ask("blockdev-del", serde_json::json!({"node-name": "copy"}));
        ask("remove-fd", serde_json::json!({"fdset-id": set}));
    });
    let mut there = [0; 65_536];
    for at in 0..=n + 1 {
        std::os::unix::fs::FileExt::read_exact_at(&copy, &mut there, u64::from(at) * 65_536).expect("reads");
        let expected = [n, at, 0][usize::from(at > 0) + usize::from(at > n)];
        assert!(there.iter().all(|byte| u32::from(*byte) == expected), "cluster {at} after {n}");
    }
}

/// Until a new life has QEMU's ear, it takes no orders.
fn patient<T>(host: &Host, ask: impl AsyncFn() -> anyhow::Result<T>) -> T {
    host.wait(async {
        loop {
            match ask().await {
                Ok(done) => return done,
                Err(e) => assert!(format!("{e:#}").contains("does not listen yet"), "{e:#}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// A volume of a snapshot has no snapshots of its own; what it is a child of is merged, and all is closed with it.
fn a_child_of_it(host: &Host, vm: &VmPlan, volumes: &FileVolumes) {
    let content = |n: u32| awan_model::id::ImageId::made(format!("ami-{n:017x}"));
    let id: VolumeId = "vol-0000000000000000c".parse().expect("an id");
    let child = VolumePlan { image: Some(content(12)), ..VolumePlan::empty(Home::new("1", "r"), id.clone(), 1) };
    let device = host.wait(volumes.ensure(&child)).expect("a disk");
    patient(host, async || host.driver().attach(&vm.id, device.clone()).await);
    let count = || host.seen(&vm.id).expect("is there").files[&id];
    assert_eq!(count(), 6);
    volumes.merge_now(&content(12), Some(&content(8)), &SealedKeys::new(), || true).expect("merges");
    let with = volumes.shorter(&child).expect("is there");
    host.wait(host.driver().shorten(&vm.id, with)).expect("goes on");
    assert_eq!(count(), 3);
    host.wait(host.driver().detach(&vm.id, &id, true)).expect("without asking");
    assert_eq!(open_below(host.pid(vm), "vol-0000000000000000c"), (0, 0));
    assert_eq!(open_below(host.pid(vm), "ami-0000000000000000c"), (0, 0));
}

#[test]
fn a_running_machine_goes_on_with_fewer_files_and_reads_and_writes_the_same() {
    let Some(mut host) = Host::new() else { return };
    let volumes =
        FileVolumes::new(host.folder.path().join("volumes"), host.folder.path().join("images")).expect("opens");
    let vm = host.vm(1, 1);
    host.start(&vm);
    let root = vm.disks[0].volume.clone();
    let content = |n: u32| awan_model::id::ImageId::made(format!("ami-{n:017x}"));
    let taken = |n: u32| awan_model::import::Taken {
        volume: root.clone(),
        below: (n > 1).then(|| content(n - 1)),
        generation: n,
        set: content(n),
        volume_gib: 1,
        key: None,
    };
    let plan = |n: u32| {
        let layer = |n| LayerPlan { id: content(n), generation: n, kept: true, volume_gib: Some(1) };
        let layers = (1..=n).map(layer).collect();
        VolumePlan { layers, ..VolumePlan::empty(Home::new("1", "r"), root.clone(), 1) }
    };
    let snapshot = |host: &mut Host, n: u32| {
        write(host, &vm, n);
        let fork = host.wait(volumes.fork(&taken(n))).expect("makes the next file");
        patient(host, async || host.driver().fork(&vm.id, vec![fork.clone()]).await);
        host.wait(volumes.keep(&content(n), &taken(n))).expect("keeps");
    };
    let shorten = |host: &Host, n: u32| {
        let with = volumes.shorter(&plan(n)).expect("is kept");
        patient(host, async || host.driver().shorten(&vm.id, with.clone()).await);
    };
    let files = |host: &Host| host.seen(&vm.id).expect("is there").files[&root];
    for n in 1..=10 {
        snapshot(&mut host, n);
    }
    assert_eq!(files(&host), 11);
    // Nothing was merged: the same files once more, those of an attempt that was cut short too.
    shorten(&host, 10);
    check(&mut host, &vm, 10);
    volumes.merge_now(&content(8), None, &SealedKeys::new(), || true).expect("merges");
    assert!(volumes.shorter(&plan(9)).is_err(), "that is not what it goes on from");
    assert!(host.driver().nameless(&vm.id) > 0, "the file that was merged takes its room as long as it is open");
    for _ in 0..3 {
        shorten(&host, 10);
        assert_eq!(host.driver().nameless(&vm.id), 0);
        assert_eq!(files(&host), 4);
        check(&mut host, &vm, 10);
    }
    // All of the old ones are closed. It goes on, and what it wrote is in the snapshots that follow.
    assert_eq!(open_below(host.pid(&vm), "/contents/"), (6, 0), "given, and opened");
    for n in 11..=13 {
        snapshot(&mut host, n);
    }
    assert_eq!(files(&host), 7);
    volumes.merge_now(&content(13), Some(&content(8)), &SealedKeys::new(), || true).expect("merges");
    host.die_and_open();
    host.until(&vm, Phase::Running);
    shorten(&host, 13);
    assert_eq!(files(&host), 3);
    assert_eq!(open_below(host.pid(&vm), "/contents/"), (4, 0));
    snapshot(&mut host, 14);
    check(&mut host, &vm, 14);
    a_child_of_it(&host, &vm, &volumes);
    // Begun anew, it reads what the host has.
    host.wait(host.driver().stop(&vm.id, awan_host::driver::Stop::Force)).expect("ends");
    host.until(&vm, Phase::Exited);
    let mut chain = volumes.read(&content(14), &SealedKeys::new()).expect("opens");
    let mut piece = Box::new([0; 65_536]);
    for n in 1..=14 {
        assert!(chain.read(u64::from(n) * 65_536, &mut piece).expect("reads"));
        assert_eq!(u32::from(piece[0]), n);
    }
}

/// QEMU tells of each open file by all that is below it: of many files, that is much.
#[test]
fn a_disk_of_a_hundred_files_goes_on_in_another_and_goes() {
    let Some(host) = Host::new() else { return };
    let volumes =
        FileVolumes::new(host.folder.path().join("volumes"), host.folder.path().join("images")).expect("opens");
    let vm = host.vm(1, 1);
    host.start(&vm);
    let before = open_below(host.pid(&vm), "/volumes/");
    let backing = (100..220).map(|n| host.empty(n, 1).path).collect();
    let disk = awan_host::driver::BlockDevice { backing, ..host.empty(9, 1) };
    host.wait(host.driver().attach(&vm.id, disk.clone())).expect("attaches");
    let volume = disk.volume.clone();
    let set = awan_model::id::ImageId::made("ami-00000000000000001".into());
    let taken = awan_model::import::Taken { volume, below: None, generation: 1, set, volume_gib: 1, key: None };
    let fork = host.wait(volumes.fork(&taken)).expect("makes the next file");
    host.wait(host.driver().fork(&vm.id, vec![fork])).expect("goes on");
    // On a slow machine closing them takes longer than one try; whoever wants it asks again.
    host.wait(async {
        while let Err(e) = host.driver().detach(&vm.id, &disk.volume, true).await {
            assert!(format!("{e:#}").contains("has not let go of it yet"), "{e:#}");
        }
    });
    assert_eq!(open_below(host.pid(&vm), "/volumes/"), before, "nothing of it is open any more");
}
