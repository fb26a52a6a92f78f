//! Real machines, started as the agent starts them: what their processes may do, how their end is noticed, and that
//! they outlive who started them. Needs root and QEMU; without them each test says so and passes.
//!
//! `AWAN_TINY_DIR`: a folder with `disk.qcow2`, `vmlinux` and `initrd.cpio`, for the tests that need a guest; the others
//! run firmware without anything to boot.

#![expect(clippy::print_stderr, reason = "a skipped test says so, and a measured one what it measured")]

#[path = "qemu/encrypted.rs"]
mod encrypted;
#[path = "qemu/layers.rs"]
mod layers;
#[path = "qemu/limits.rs"]
mod limits;
#[path = "qemu/monitor.rs"]
mod monitor;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use awan_host::driver::{BlockDevice, Hypervisor, SeenVm, Stop, Tap, Volumes};
use awan_host::hypervisor::probe::{Accelerator, Wanted, probe};
use awan_host::hypervisor::qemu::{QemuConfig, QemuHypervisor};
use awan_host::volume::qcow2::FileVolumes;
use awan_model::Home;
use awan_model::id::{InstanceId, ReservationId};
use awan_model::image::Boot;
use awan_model::instance::{Exit, MetadataOptions, Phase, Wish};
use awan_model::interface::Mac;
use awan_model::plan::{DiskPlan, Metadata, VmPlan, VolumePlan};

use self::monitor::Monitor;

const IMAGE: &str = "ami-00000000000000001";
const PATIENCE: Duration = Duration::from_secs(180);

/// A host of its own in a temporary folder. Whatever it started is ended when it goes.
struct Host {
    folder: tempfile::TempDir,
    tag: String,
    direct: bool,
    accelerator: Accelerator,
    runtime: Option<tokio::runtime::Runtime>,
    driver: Option<Arc<QemuHypervisor>>,
}

impl Host {
    fn new() -> Option<Self> {
        Self::under(Accelerator { name: "tcg", cpu: "max", note: String::new() })
    }

    fn under(accelerator: Accelerator) -> Option<Self> {
        if !nix::unistd::Uid::effective().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
            eprintln!("skipped: there is no QEMU");
            return None;
        }
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let folder = tempfile::tempdir().expect("a folder");
        let mut host = Self { folder, tag, direct: false, accelerator, runtime: None, driver: None };
        host.open();
        Some(host)
    }

    /// One whose machines boot the tiny image.
    fn with_guests() -> Option<Self> {
        let Some(tiny) = std::env::var_os("AWAN_TINY_DIR").map(PathBuf::from) else {
            eprintln!("skipped: AWAN_TINY_DIR is not set");
            return None;
        };
        let mut host = Self::new()?;
        let image = host.folder.path().join("images").join(IMAGE);
        std::fs::create_dir_all(&image).expect("makes");
        for name in ["disk.qcow2", "vmlinux", "initrd.cpio"] {
            std::fs::copy(tiny.join(name), image.join(name)).expect("the image is whole");
        }
        host.direct = true;
        Some(host)
    }

    fn open(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let config = QemuConfig {
            run_dir: self.folder.path().join("run"),
            data_dir: self.folder.path().join("data"),
            images: self.folder.path().join("images"),
            tag: self.tag.clone(),
            users: Some(1_900_000_000..1_900_010_000),
            accelerator: self.accelerator.clone(),
            grace: Duration::from_secs(20),
        };
        let opened = runtime.block_on(async { QemuHypervisor::open(config) });
        self.driver = Some(opened.expect("opens"));
        self.runtime = Some(runtime);
    }

    /// All tasks vanish where they stand, as they do when the process is killed; then the next life begins.
    fn die_and_open(&mut self) {
        self.close();
        self.open();
    }

    fn close(&mut self) {
        self.driver = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    fn driver(&self) -> &QemuHypervisor {
        self.driver.as_ref().expect("is open")
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, future).await.expect("in time") };
        self.runtime.as_ref().expect("is open").block_on(bounded)
    }

    fn vm(&self, n: u32, run: u32) -> VmPlan {
        let boot = match self.direct {
            true => Boot::Direct { command_line: "console=ttyS0 root=LABEL=tinyroot rw random.trust_cpu=on".into() },
            false => Boot::Firmware,
        };
        let id: InstanceId = format!("i-{n:017x}").parse().expect("an id");
        let volume = format!("vol-{n:017x}").parse().expect("an id");
        VmPlan {
            home: Home::new("123456789012", "us-east-1"),
            id,
            wish: Wish::On,
            run,
            reboots: 0,
            force: false,
            instance_type: "t3.nano".into(),
            vcpus: 2,
            memory_mib: 256,
            boot,
            image: IMAGE.parse().expect("an id"),
            disks: vec![DiskPlan { volume, device: "/dev/xvda".into() }],
            yank: Vec::new(),
            device_changes: 0,
            interfaces: Vec::new(),
            unplug: Vec::new(),
            interfaces_max: 3,
            metadata: metadata(),
        }
    }

    fn disk(&self, vm: &VmPlan) -> BlockDevice {
        let folder = self.folder.path();
        let volumes = FileVolumes::new(folder.join("volumes"), folder.join("images")).expect("opens");
        let image = self.direct.then(|| vm.image.clone());
        let plan = VolumePlan { image, ..VolumePlan::empty(vm.home.clone(), vm.disks[0].volume.clone(), 1) };
        self.wait(volumes.ensure(&plan)).expect("a disk")
    }

    /// An empty volume of so many GiB.
    fn empty(&self, n: u32, size_gib: u32) -> BlockDevice {
        let folder = self.folder.path();
        let volumes = FileVolumes::new(folder.join("volumes"), folder.join("images")).expect("opens");
        let id = format!("vol-{n:017x}").parse().expect("an id");
        let plan = VolumePlan::empty(Home::new("1", "r"), id, size_gib);
        self.wait(volumes.ensure(&plan)).expect("a disk")
    }

    /// Sizes of the disks of a machine, and whether its guest has them; then how many ports are free.
    fn disks(&self, vm: &VmPlan) -> (Vec<(u32, bool)>, u32) {
        let seen = self.seen(&vm.id).expect("is there");
        (seen.disks.iter().map(|disk| (disk.size_gib, disk.attached)).collect(), seen.free_ports)
    }

    /// The last numbers of the interfaces of a machine, and whether its guest has them; then how many ports are free.
    fn interfaces(&self, vm: &VmPlan) -> (Vec<(u8, bool)>, u32) {
        let seen = self.seen(&vm.id).expect("is there");
        let all = seen.interfaces.expect("are known");
        (all.iter().map(|seen| (seen.mac.0[5], seen.attached)).collect(), seen.free_interface_ports)
    }

    fn start(&self, vm: &VmPlan) {
        let disks = vec![self.disk(vm)];
        self.wait(self.driver().start(vm, disks, Vec::new())).expect("starts");
        self.until(vm, Phase::Running);
    }

    fn seen(&self, id: &InstanceId) -> Option<SeenVm> {
        self.wait(self.driver().observe()).expect("observes").into_iter().find(|vm| vm.id == *id)
    }

    /// Waits for a phase; woken by the driver, never by the clock.
    fn until(&self, vm: &VmPlan, phase: Phase) -> SeenVm {
        let changed = self.driver().changed();
        self.wait(async {
            loop {
                let seen = self.driver().observe().await.expect("observes");
                if let Some(seen) = seen.into_iter().find(|s| s.id == vm.id && s.phase == phase) {
                    return seen;
                }
                changed.notified().await;
            }
        })
    }

    fn until_console(&self, vm: &VmPlan, wanted: impl Fn(&str) -> bool) {
        self.wait(async {
            while !wanted(&String::from_utf8_lossy(&self.driver().console(&vm.id).await.expect("reads"))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Processes of this host's machines, by their mark: number and mark.
    fn processes(&self) -> BTreeMap<i32, String> {
        let prefix = format!("guest=awan-{}-", self.tag);
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").expect("reads").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Some(mark) = line.split('\0').find_map(|w| w.strip_prefix(&prefix)?.split(',').next()) {
                found.insert(pid, mark.to_owned());
            }
        }
        found
    }

    fn pid(&self, vm: &VmPlan) -> i32 {
        let mark = format!("{}-{}", vm.id, vm.run);
        let all: Vec<i32> = self.processes().into_iter().filter(|(_, m)| *m == mark).map(|(pid, _)| pid).collect();
        assert_eq!(all.len(), 1, "one process for one run");
        all[0]
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test may have ended between two lives.
        if self.driver.is_none() {
            self.open();
        }
        let purged = self.runtime.as_ref().zip(self.driver.as_ref()).map(|(runtime, driver)| {
            runtime.block_on(async { tokio::time::timeout(PATIENCE, driver.purge(Stop::Force)).await })
        });
        let left = self.processes();
        for pid in left.keys() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::SIGKILL);
        }
        self.close();
        if !std::thread::panicking() {
            purged.expect("is open").expect("in time").expect("purges");
            assert_eq!(left, BTreeMap::new(), "nothing is left");
            assert!(!Path::new("/sys/fs/cgroup/cpu").join(format!("awan-{}", self.tag)).exists());
        }
    }
}

fn metadata() -> Metadata {
    Metadata {
        image: "ami-00000000000000001".parse().expect("an id"),
        options: MetadataOptions::default(),
        account: "123456789012".into(),
        region: "us-east-1".into(),
        zone: "us-east-1a".into(),
        reservation: ReservationId::made("r-00000000000000001".into()),
        launch_index: 0,
        architecture: "x86_64".into(),
        key_name: None,
        public_key: None,
        user_data: None,
        tags: BTreeMap::new(),
        launched: 0,
        root_device: "/dev/xvda".into(),
        profile: None,
    }
}

fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("is there");
}

/// Ends a process and waits until it is gone.
fn end(pid: i32) {
    kill(pid, nix::sys::signal::SIGKILL);
    // That there is no such child any more is as good.
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
}

fn status(pid: i32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("is there");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

/// A tap in a network namespace of its own, which lives as long as the tap is open.
fn tap() -> Tap {
    numbered_tap(1)
}

fn numbered_tap(n: u8) -> Tap {
    let made = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may");
        open_tap("t0")
    });
    let fd = made.join().expect("a tap");
    Tap { interface: "eni-00000000000000001".parse().expect("an id"), mac: mac(n), fd }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// How many taps a process has open.
fn open_taps(pid: i32) -> usize {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("reads").flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new("/dev/net/tun"))).count()
}

fn open_tap(name: &str) -> OwnedFd {
    let tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun").expect("opens");
    #[expect(unsafe_code, reason = "the ioctl has no safe form")]
    // SAFETY: the request is zeroed, its name is shorter than its array, and the descriptor lives.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags =
            i16::try_from(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR).expect("fits");
        libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, &raw const request)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    tun.into()
}

#[test]
fn where_kvm_can_run_a_guest_it_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let accelerator = match runtime.block_on(probe(Wanted::Kvm)) {
        Ok(accelerator) => accelerator,
        Err(e) => {
            eprintln!("skipped: {e:#}");
            return;
        }
    };
    let Some(host) = Host::under(accelerator) else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    host.wait(host.driver().stop(&vm.id, Stop::Force)).expect("stops");
    assert_eq!(host.until(&vm, Phase::Exited).exit, Some(Exit::Asked));
}

#[test]
fn a_machine_may_do_nothing_that_it_need_not() {
    let Some(host) = Host::new() else { return };
    let vms = [host.vm(1, 1), host.vm(2, 1)];
    for vm in &vms {
        let disks = vec![host.disk(vm)];
        host.wait(host.driver().start(vm, disks, vec![tap()])).expect("starts");
        host.until(vm, Phase::Running);
    }
    let mut users = Vec::new();
    for vm in &vms {
        let pid = host.pid(vm);
        let status = status(pid);
        let uid = status["Uid"].split(' ').next().expect("four").to_owned();
        users.push(uid.clone());
        let four = [uid.as_str(); 4].join(" ");
        assert_eq!((&status["Uid"], &status["Gid"], status["Groups"].as_str()), (&four, &four, ""));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
        let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("reads");
        let names: Vec<_> = devices.lines().skip(2).filter_map(|l| l.split(':').next()).map(str::trim).collect();
        assert_eq!(names, ["lo"], "a network namespace with nothing in it");
        for namespace in ["net", "ipc"] {
            let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).expect("reads");
            assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
        }
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("reads");
        let core = limits.lines().find(|l| l.starts_with("Max core file size")).expect("is there");
        assert_eq!(core.split_whitespace().nth(4), Some("1"), "which is none at all");
    }
    assert_ne!(users[0], users[1], "each machine has a user of its own");
    assert!(users.iter().all(|uid| uid != "0"));
}

#[test]
fn a_machine_has_its_own_control_group_with_its_types_limits() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", host.pid(&vm))).expect("reads");
    let own = format!("/awan-{}/{}", host.tag, vm.id);
    let root = Path::new("/sys/fs/cgroup");
    let read = |file: String| std::fs::read_to_string(root.join(file)).expect("reads").trim().to_owned();
    let bytes = ((256 + 64 + 256) << 20).to_string();
    if root.join("cgroup.controllers").exists() && groups.lines().any(|l| l == format!("0::{own}")) {
        assert_eq!(read(format!("{}/cpu.max", &own[1..])), "200000 100000");
        assert_eq!(read(format!("{}/memory.max", &own[1..])), bytes);
    } else {
        for controller in ["cpu", "memory", "pids"] {
            let inside = |l: &str| {
                l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == controller)) && l.ends_with(&own)
            };
            assert!(groups.lines().any(inside), "{controller}: {groups}");
        }
        assert_eq!(read(format!("cpu{own}/cpu.cfs_quota_us")), "200000");
        assert_eq!(read(format!("memory{own}/memory.limit_in_bytes")), bytes);
    }
}

#[test]
fn a_machine_has_only_its_own_files_open_and_none_of_its_own_to_write_by_name() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    let disks = vec![host.disk(&vm)];
    // Somebody in this process forgot to close what programs that it starts must not have.
    let secret = std::fs::File::open("/etc/passwd").expect("opens");
    nix::fcntl::fcntl(&secret, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::empty())).expect("sets");
    host.wait(host.driver().start(&vm, disks, vec![tap()])).expect("starts");
    host.until(&vm, Phase::Running);
    let own = host.folder.path().to_string_lossy().into_owned();
    let mut named: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", host.pid(&vm))).expect("reads").flatten() {
        let target = std::fs::read_link(entry.path()).map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        // What QEMU draws on is memory that has a name and no place.
        if target.starts_with('/') && !target.starts_with("/memfd:") {
            named.push(target.replace(&own, ""));
        }
    }
    named.sort();
    named.dedup();
    let folder = format!("/run/vm/{}", vm.id);
    let mut expected = vec![
        "/dev/net/tun".to_owned(),
        "/dev/null".to_owned(),
        "/dev/urandom".to_owned(),
        format!("{folder}/console.log"),
        format!("{folder}/qemu.log"),
        format!("/volumes/{}.qcow2", vm.disks[0].volume),
    ];
    expected.sort();
    assert_eq!(named, expected);
    let metadata = std::fs::metadata(host.folder.path().join(&folder[1..])).expect("is there");
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o777), (0, 0o700), "not the machine's");
}

#[test]
fn a_machine_cannot_open_files_of_the_host() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    // The machine's own monitor, which listens to one client at a time, stands for whoever has broken into it.
    host.close();
    let socket = host.folder.path().join("run/vm").join(vm.id.as_str()).join("qmp.sock");
    let mut monitor = Monitor::connect(&socket);
    let own = format!("/proc/self/fd/../../{}/environ", std::process::id());
    for (path, allowed) in [("/usr/bin/env", true), ("/etc/passwd", false), ("/proc/version", false), (&own, false)] {
        let node = serde_json::json!({"driver": "file", "node-name": "stolen", "filename": path, "read-only": true});
        let answer = monitor.ask(&serde_json::json!({"execute": "blockdev-add", "arguments": node}));
        assert_eq!(answer.get("return").is_some(), allowed, "{path}: {answer}");
        monitor.ask(&serde_json::json!({"execute": "blockdev-del", "arguments": {"node-name": "stolen"}}));
    }
    drop(monitor);
    host.open();
}

/// Width, height, and how many points are not dark.
fn shown(jpeg: &[u8]) -> (usize, usize, usize) {
    let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(jpeg));
    let points = decoder.decode().expect("is a JPEG");
    let (width, height) = decoder.dimensions().expect("has a size");
    (width, height, points.chunks(3).filter(|point| point.iter().any(|part| *part > 100)).count())
}

#[test]
fn what_a_machine_shows_is_seen_again_and_again_and_leaves_nothing_open() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let open = |host: &Host| {
        let all = std::fs::read_dir(format!("/proc/{}/fd", host.pid(&vm))).expect("reads").flatten();
        let all = all.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        all.filter(|target| target.to_string_lossy().starts_with("/memfd:screen")).count()
    };
    let look = |host: &Host, wake| host.wait(host.driver().screenshot(&vm.id, wake)).expect("looks");
    // Firmware says that there is nothing to boot.
    let began = Instant::now();
    while shown(&look(&host, false).expect("has a display")).2 < 1_000 {
        assert!(began.elapsed() < PATIENCE, "the screen stays dark");
    }
    let (width, height, _) = shown(&look(&host, true).expect("has a display"));
    assert_eq!((width, height, open(&host)), (720, 400, 0));
    host.die_and_open();
    assert!(look(&host, false).is_some(), "an adopted machine is looked at too");
    host.wait(host.driver().stop(&vm.id, Stop::Force)).expect("stops");
    assert!(host.wait(host.driver().screenshot(&vm.id, false)).is_err(), "what is off shows nothing");
}

#[test]
fn a_killed_machine_is_noticed_at_once() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    kill(host.pid(&vm), nix::sys::signal::SIGKILL);
    let killed = Instant::now();
    let seen = host.until(&vm, Phase::Exited);
    let noticed = killed.elapsed();
    assert!(matches!(seen.exit, Some(Exit::Crashed(_))), "{seen:?}");
    assert!(noticed < Duration::from_secs(1), "{noticed:?}");
    eprintln!("detect_ms={}", noticed.as_millis());
}

#[test]
fn a_machine_that_somebody_else_ends_was_not_asked_to() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    kill(host.pid(&vm), nix::sys::signal::SIGTERM);
    assert!(matches!(host.until(&vm, Phase::Exited).exit, Some(Exit::Crashed(_))));
}

#[test]
fn a_machine_that_hangs_is_stopped_by_force() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    kill(host.pid(&vm), nix::sys::signal::SIGSTOP);
    host.wait(host.driver().stop(&vm.id, Stop::Force)).expect("stops");
    assert_eq!(host.seen(&vm.id).and_then(|s| s.exit), Some(Exit::Asked));
}

#[test]
fn force_does_not_wait_behind_patience() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let begun = Instant::now();
    let (id, driver) = (vm.id.clone(), host.driver());
    // Firmware without a disk to boot from never hears the power button.
    host.wait(async {
        let (gentle, hard) = tokio::join!(driver.stop(&id, Stop::Graceful), async {
            tokio::task::yield_now().await;
            driver.stop(&id, Stop::Force).await
        });
        gentle.expect("is over");
        hard.expect("is over");
    });
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_machine_that_cannot_start_has_failed_and_leaves_no_process() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    let mut disk = host.disk(&vm);
    std::fs::write(&disk.path, b"no image at all").expect("writes");
    disk.backing.clear();
    host.wait(host.driver().start(&vm, vec![disk], Vec::new())).expect("QEMU itself finds out");
    let exit = host.until(&vm, Phase::Exited).exit;
    assert!(matches!(&exit, Some(Exit::Failed(why)) if why.contains("qcow2")), "{exit:?}");
    assert_eq!(host.processes(), BTreeMap::new());
}

#[test]
fn a_second_machine_for_an_instance_is_refused() {
    let Some(host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let again = host.wait(host.driver().start(&host.vm(1, 2), vec![host.disk(&vm)], Vec::new()));
    assert!(again.is_err());
    assert!(host.wait(host.driver().forget(&vm.id)).is_err(), "what lives is not forgotten");
    host.pid(&vm);
}

#[test]
fn a_machine_outlives_who_started_it_and_is_taken_over() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let before = host.pid(&vm);
    host.die_and_open();
    assert_eq!(host.seen(&vm.id).map(|s| s.phase), Some(Phase::Running), "it never seems to begin again");
    assert_eq!(host.pid(&vm), before);
    kill(before, nix::sys::signal::SIGKILL);
    let killed = Instant::now();
    host.until(&vm, Phase::Exited);
    assert!(killed.elapsed() < Duration::from_secs(1), "an adopted machine is watched too");
}

#[test]
fn an_adopted_machine_obeys() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    host.die_and_open();
    host.wait(host.driver().stop(&vm.id, Stop::Force)).expect("stops");
    assert_eq!(host.seen(&vm.id).and_then(|s| s.exit), Some(Exit::Asked));
    host.die_and_open();
    let exit = host.seen(&vm.id).and_then(|s| s.exit);
    assert_eq!(exit, Some(Exit::Asked), "the promise that a run is over is kept");
}

#[test]
fn a_machine_whose_record_is_not_finished_or_lost_is_taken_over() {
    let Some(mut host) = Host::new() else { return };
    let (noted, lost) = (host.vm(1, 3), host.vm(2, 4));
    host.start(&noted);
    host.start(&lost);
    let pids = [host.pid(&noted), host.pid(&lost)];
    host.close();
    let records = host.folder.path().join("data/vms");
    // As it is between the start of the process and the note of it.
    let path = records.join(format!("{}.json", noted.id));
    let record = std::fs::read(&path).expect("reads");
    let mut record: serde_json::Value = serde_json::from_slice(&record).expect("is JSON");
    (record["process"], record["begun"]) = (serde_json::Value::Null, false.into());
    std::fs::write(&path, record.to_string()).expect("writes");
    std::fs::remove_file(records.join(format!("{}.json", lost.id))).expect("removes");
    host.open();
    for (vm, pid) in [(&noted, pids[0]), (&lost, pids[1])] {
        assert_eq!(host.until(vm, Phase::Running).run, vm.run);
        assert_eq!(host.pid(vm), pid);
    }
}

#[test]
fn a_launch_that_was_cut_short_is_forgotten_so_that_it_is_done_again() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let pid = host.pid(&vm);
    host.close();
    end(pid);
    let path = host.folder.path().join("data/vms").join(format!("{}.json", vm.id));
    let record = serde_json::json!({"id": vm.id, "run": 1, "reboots": 0, "uid": 5, "process": null, "exit": null});
    std::fs::write(&path, record.to_string()).expect("writes");
    host.open();
    assert_eq!(host.seen(&vm.id), None);
    host.start(&vm);
}

#[test]
fn a_guest_boots_hears_the_power_button_and_is_reset() {
    let Some(host) = Host::with_guests() else { return };
    let vm = host.vm(1, 1);
    host.start(&vm);
    let pid = host.pid(&vm);
    let boots = |n| move |said: &str| said.matches("Linux version").count() >= n && said.contains("login");
    host.until_console(&vm, boots(1));
    host.wait(host.driver().reboot(&vm.id, 1)).expect("resets");
    host.until_console(&vm, boots(2));
    assert_eq!(host.seen(&vm.id).map(|s| (s.reboots, s.phase)), Some((1, Phase::Running)));
    assert_eq!(host.pid(&vm), pid, "a reboot keeps the machine");
    host.wait(host.driver().stop(&vm.id, Stop::Graceful)).expect("stops");
    assert_eq!(host.seen(&vm.id).and_then(|s| s.exit), Some(Exit::Asked));
    // Its console stays until it is forgotten.
    assert!(!host.wait(host.driver().console(&vm.id)).expect("reads").is_empty());
    host.wait(host.driver().forget(&vm.id)).expect("forgets");
    assert!(!host.folder.path().join("run/vm").join(vm.id.as_str()).exists());
}

#[test]
fn disks_come_grow_and_go_while_a_machine_runs_and_are_known_in_the_next_life() {
    let Some(mut host) = Host::new() else { return };
    let (a, b) = (host.vm(1, 1), host.vm(2, 1));
    host.start(&a);
    // One that is there from the start can go like those that come later.
    let cold = host.empty(8, 1);
    host.wait(host.driver().start(&b, vec![host.disk(&b), cold.clone()], Vec::new())).expect("starts");
    host.until(&b, Phase::Running);
    let (one, other) = (host.empty(9, 2), host.empty(10, 1));
    for _ in 0..2 {
        host.wait(host.driver().attach(&a.id, one.clone())).expect("attaches, once");
    }
    assert_eq!(host.disks(&a), (vec![(1, true), (2, true)], 3));
    assert_eq!(host.disks(&b), (vec![(1, true), (1, true)], 4));
    let refused = host.wait(host.driver().attach(&b.id, one.clone())).expect_err("is open elsewhere");
    assert!(format!("{refused:#}").contains("lock"), "{refused:#}");
    assert_eq!(host.disks(&b), (vec![(1, true), (1, true)], 4), "nothing is left of the attempt");
    host.wait(host.driver().grow(&a.id, &one.volume, 5)).expect("grows");
    host.die_and_open();
    host.until(&a, Phase::Running);
    // Until the new life has QEMU's ear, it takes no orders.
    host.wait(async {
        while host.driver().grow(&a.id, &one.volume, 5).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(host.disks(&a), (vec![(1, true), (5, true)], 3));
    // No guest runs here that could let go of it.
    host.wait(host.driver().detach(&a.id, &one.volume, false)).expect_err("nobody lets go");
    assert_eq!(host.disks(&a).0, [(1, true), (5, false)]);
    host.wait(host.driver().detach(&a.id, &one.volume, true)).expect("without asking");
    assert_eq!(host.disks(&a).0, [(1, true)]);
    host.wait(host.driver().attach(&b.id, one.clone())).expect("its file is closed");
    host.wait(host.driver().detach(&b.id, &cold.volume, true)).expect("without asking");
    host.wait(host.driver().attach(&a.id, other)).expect("there is another port");
    assert_eq!((host.disks(&a).0.len(), host.disks(&b).0.len()), (2, 2));
    host.wait(host.driver().attach(&a.id, one)).expect_err("the guest still has what was taken away");
}

#[test]
fn children_of_one_image_come_while_their_machines_run() {
    let Some(host) = Host::new() else { return };
    let base = host.empty(7, 1);
    let image = host.folder.path().join("images").join(IMAGE);
    std::fs::create_dir_all(&image).expect("a folder");
    std::fs::copy(&base.path, image.join("disk.qcow2")).expect("an image");
    let volumes =
        FileVolumes::new(host.folder.path().join("volumes"), host.folder.path().join("images")).expect("opens");
    for n in [1, 2] {
        let vm = host.vm(n, 1);
        host.start(&vm);
        host.until(&vm, Phase::Running);
        let id = format!("vol-{:017x}", 8 + n).parse().expect("an id");
        let image = Some(IMAGE.parse().expect("an id"));
        let plan = VolumePlan { image, ..VolumePlan::empty(Home::new("1", "r"), id, 2) };
        let child = host.wait(volumes.ensure(&plan)).expect("a disk");
        assert_eq!(child.backing.len(), 1);
        host.wait(host.driver().attach(&vm.id, child)).expect("attaches");
        assert_eq!(host.disks(&vm).0, [(1, true), (2, true)]);
    }
}

#[test]
fn interfaces_come_and_go_while_a_machine_runs_and_are_known_in_the_next_life() {
    let Some(mut host) = Host::new() else { return };
    let vm = host.vm(1, 1);
    host.wait(host.driver().start(&vm, vec![host.disk(&vm)], vec![numbered_tap(1), numbered_tap(2)])).expect("starts");
    host.until(&vm, Phase::Running);
    let pid = host.pid(&vm);
    assert_eq!(host.interfaces(&vm), (vec![(1, true), (2, true)], 1));
    for _ in 0..2 {
        host.wait(host.driver().plug(&vm.id, numbered_tap(3))).expect("comes, once");
    }
    assert_eq!(host.interfaces(&vm), (vec![(1, true), (2, true), (3, true)], 0));
    assert_eq!(open_taps(pid), 3);
    let refused = host.wait(host.driver().plug(&vm.id, numbered_tap(4))).expect_err("there is no place");
    assert!(format!("{refused:#}").contains("no place"), "{refused:#}");
    assert_eq!((host.interfaces(&vm).0.len(), open_taps(pid)), (3, 3), "nothing is left of the attempt");
    // What no record has any more is found with QEMU.
    host.close();
    let path = host.folder.path().join("data/vms").join(format!("{}.json", vm.id));
    let text = std::fs::read_to_string(&path).expect("reads");
    let mut record: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    record.as_object_mut().expect("a record").retain(|key, _| !key.contains("interface"));
    std::fs::write(&path, record.to_string()).expect("writes");
    host.open();
    host.wait(async {
        while host.driver().observe().await.expect("observes")[0].interfaces.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (mut all, free) = host.interfaces(&vm);
    all.sort_unstable();
    assert_eq!((all, free), (vec![(1, true), (2, true), (3, true)], 0));
    // No guest runs here that could let go of it.
    host.wait(host.driver().unplug(&vm.id, mac(2), false)).expect_err("nobody lets go");
    assert_eq!(open_taps(pid), 3);
    host.wait(host.driver().unplug(&vm.id, mac(2), true)).expect("without asking");
    assert_eq!((host.interfaces(&vm).0.len(), host.interfaces(&vm).1), (2, 0), "its place is taken");
    let refused = host.wait(host.driver().plug(&vm.id, numbered_tap(2))).expect_err("the guest still has it");
    assert!(format!("{refused:#}").contains("let go"), "{refused:#}");
    host.wait(host.driver().unplug(&vm.id, mac(1), false)).expect_err("the primary never goes");
}

#[test]
fn a_guest_gets_an_interface_and_lets_go_of_it_again_and_again() {
    let Some(mut host) = Host::with_guests() else { return };
    let vm = host.vm(1, 1);
    host.wait(host.driver().start(&vm, vec![host.disk(&vm)], vec![numbered_tap(1)])).expect("starts");
    host.until(&vm, Phase::Running);
    host.until_console(&vm, |said| said.contains("login"));
    let pid = host.pid(&vm);
    for n in 2..5 {
        host.wait(host.driver().plug(&vm.id, numbered_tap(n))).expect("comes");
        assert_eq!((host.interfaces(&vm), open_taps(pid)), ((vec![(1, true), (n, true)], 1), 2));
        if n == 3 {
            host.die_and_open();
        }
        // A guest that has just been given it may still be busy with that.
        let asked = Instant::now();
        while let Err(e) = host.wait(host.driver().unplug(&vm.id, mac(n), false)) {
            assert!(asked.elapsed() < Duration::from_secs(60), "{e:#}");
            host.wait(async { tokio::time::sleep(Duration::from_millis(50)).await });
        }
        assert_eq!((host.interfaces(&vm), open_taps(pid)), ((vec![(1, true)], 2), 1), "its place is free at once");
    }
}
