//! Starts QEMU with nothing but what its machine needs.
//!
//! **Invariant:** before QEMU's first instruction the process has a user of its own, no capabilities, no way to gain
//! any, no network, its control group, and by Landlock only its own folder to write in.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use awan_model::image::Boot;
use awan_model::plan::VmPlan;
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _,
};
use tokio::process::{Child, Command};

use super::args::{self, DiskFds, Fds};
use super::cgroup::Group;
use crate::driver::{BlockDevice, Tap};
use crate::hypervisor::probe::{Accelerator, QEMU};

pub struct Launch<'l> {
    pub vm: &'l VmPlan,
    pub tag: &'l str,
    pub accelerator: &'l Accelerator,
    pub folder: &'l Path,
    pub images: &'l Path,
    pub uid: u32,
    pub group: &'l Group,
}

/// Capabilities there could be: CAP_LAST_CAP and some to come.
const CAPABILITIES: libc::c_ulong = 64;

impl Launch<'_> {
    pub fn start(&self, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Result<Child> {
        self.folder()?;
        let mut keep: Vec<OwnedFd> = Vec::new();
        let fds = self.open(disks, taps, &mut keep)?;
        let jail = self.jail(&keep)?;
        let doors = self.group.doors()?;
        let arguments = args::arguments(self.vm, self.tag, self.accelerator, self.folder, &fds);
        let errors = File::create(self.folder.join("qemu.log"))?;
        let mut command = Command::new(QEMU);
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).kill_on_drop(false);
        let inherited: Vec<RawFd> = keep.iter().map(|fd| fd.as_raw_fd()).collect();
        let open: Vec<RawFd> = doors.iter().map(|d| d.as_raw_fd()).collect();
        let (uid, jail_fd) = (self.uid, jail.as_ref().map(|fd| fd.as_raw_fd()));
        let confine = move || confine(uid, &open, &inherited, jail_fd);
        #[expect(unsafe_code, reason = "the child drops its privileges between fork and exec")]
        // SAFETY: `confine` makes system calls only; it takes no lock and allocates nothing.
        unsafe {
            command.pre_exec(confine);
        }
        command.spawn().with_context(|| format!("starting {QEMU}"))
    }

    /// A folder of the machine's own, for its sockets and its console.
    fn folder(&self) -> Result<()> {
        std::fs::create_dir_all(self.folder).with_context(|| format!("making {}", self.folder.display()))?;
        for name in ["qmp.sock", "serial.sock"] {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        std::fs::set_permissions(self.folder, std::fs::Permissions::from_mode(0o700))?;
        chown(self.folder, Some(self.uid), Some(self.uid))?;
        let console = self.folder.join("console.log");
        File::options().create(true).append(true).open(&console)?;
        chown(&console, Some(self.uid), Some(self.uid))?;
        Ok(())
    }

    fn open(&self, disks: Vec<BlockDevice>, taps: Vec<Tap>, keep: &mut Vec<OwnedFd>) -> Result<Fds> {
        let mut hold = |file: OwnedFd| {
            let raw = file.as_raw_fd();
            keep.push(file);
            raw
        };
        let mut opened = Vec::new();
        for disk in disks {
            let file = File::options().read(true).write(true).open(&disk.path);
            let file = file.with_context(|| format!("opening {}", disk.path.display()))?;
            let backing = match disk.backing.first() {
                Some(path) => {
                    Some(hold(File::open(path).with_context(|| format!("opening {}", path.display()))?.into()))
                }
                None => None,
            };
            // 20 characters is all that virtio-blk shows: `vol` and 17 digits.
            let serial = format!("vol{}", disk.volume.digits());
            opened.push(DiskFds { serial, disk: hold(file.into()), backing });
        }
        let direct = match &self.vm.boot {
            Boot::Firmware => None,
            Boot::Direct { .. } => {
                let folder = self.images.join(self.vm.image.as_str());
                let mut file = |name: &str| -> Result<RawFd> {
                    let path = folder.join(name);
                    Ok(hold(File::open(&path).with_context(|| format!("opening {}", path.display()))?.into()))
                };
                Some((file("vmlinux")?, file("initrd.cpio")?))
            }
        };
        let taps = taps.into_iter().map(|tap| (tap.mac, hold(tap.fd))).collect();
        Ok(Fds { disks: opened, taps, direct })
    }

    /// What the process may reach by path. Absent where the kernel has no Landlock; the user id still holds.
    fn jail(&self, files: &[OwnedFd]) -> Result<Option<OwnedFd>> {
        let abi = ABI::V3;
        let read = AccessFs::from_read(abi);
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .create()?;
        for path in ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/proc", "/sys/devices/system"] {
            if let Ok(fd) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(fd, read))?;
            }
        }
        for (path, access) in [
            ("/dev/null", AccessFs::ReadFile | AccessFs::WriteFile),
            ("/dev/urandom", AccessFs::ReadFile.into()),
            ("/dev/kvm", AccessFs::ReadFile | AccessFs::WriteFile),
        ] {
            if let Ok(fd) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
            }
        }
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(self.folder)?, AccessFs::from_all(abi)))?;
        for file in files {
            // Kernel and initial file system are opened again through /proc/self/fd.
            if std::fs::metadata(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
                .is_ok_and(|m| m.is_file())
            {
                ruleset = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
            }
        }
        Ok(ruleset.into())
    }
}

/// Runs in the child, between fork and exec.
fn confine(uid: u32, doors: &[RawFd], inherited: &[RawFd], jail: Option<RawFd>) -> std::io::Result<()> {
    let check = |result: libc::c_long| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
    #[expect(unsafe_code, reason = "system calls that have no safe form")]
    // SAFETY: each call takes plain numbers, or a pointer to a constant that outlives it.
    unsafe {
        check(libc::setsid().into())?;
        for door in doors {
            check(libc::write(*door, c"0".as_ptr().cast(), 1) as libc::c_long)?;
        }
        check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWIPC).into())?;
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core).into())?;
        for capability in 0..CAPABILITIES {
            // Those that the kernel does not know fail, which is fine.
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setresgid(uid, uid, uid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        if let Some(jail) = jail {
            check(libc::syscall(libc::SYS_landlock_restrict_self, jail, 0))?;
        }
        // Whatever else is open, by whomever, stays behind.
        check(libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC))?;
        for fd in inherited {
            check(libc::fcntl(*fd, libc::F_SETFD, 0).into())?;
        }
    }
    Ok(())
}
