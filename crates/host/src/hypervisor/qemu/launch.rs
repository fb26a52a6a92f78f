//! Starts QEMU with nothing but what its machine needs.
//!
//! **Invariants.** Before QEMU's first instruction the process has a user of its own, no capabilities, no way to gain
//! any, no network, and its control group. Where users of their own cannot be had it has an empty folder in place of
//! each that could hold a socket which only the user keeps from others. It gets disks, taps, console and sockets as open descriptors: no path of
//! the host is its to write, so what this program opens in a machine's folder is what this program put there.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use awan_model::image::Boot;
use awan_model::plan::VmPlan;
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use tokio::process::{Child, Command};

use super::args::{self, DiskFds, Fds};
use super::cgroup::Group;
use crate::driver::{BlockDevice, Tap};
use crate::hypervisor::probe::{Accelerator, QEMU};
use crate::keys::{Key, Secrets};
use crate::process::drop_capabilities;

pub const QMP_SOCKET: &str = "qmp.sock";
pub const SERIAL_SOCKET: &str = "serial.sock";
/// What the guest wrote to its serial port, and what QEMU complained about.
pub const CONSOLE: &str = "console.log";
pub const COMPLAINTS: &str = "qemu.log";

pub struct Launch<'l> {
    pub vm: &'l VmPlan,
    pub tag: &'l str,
    pub accelerator: &'l Accelerator,
    pub folder: &'l Path,
    pub images: &'l Path,
    /// None: it stays the user that this program is.
    pub user: Option<u32>,
    pub group: &'l Group,
}

/// Capabilities there could be: CAP_LAST_CAP and some to come.
const CAPABILITIES: libc::c_ulong = 64;

impl Launch<'_> {
    pub fn start(&self, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Result<Child> {
        self.folder()?;
        let mut keep = Kept::default();
        let fds = self.open(disks, taps, &mut keep)?;
        let jail = jail(&keep.0)?;
        // Landlock knows no file in memory, and keeps nobody from one that they have.
        keep.0.append(&mut keep.1);
        let doors = self.group.doors()?;
        let arguments = args::arguments(self.vm, self.tag, self.accelerator, &fds);
        let mut command = Command::new(QEMU);
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log(COMPLAINTS)?).kill_on_drop(false);
        let inherited: Vec<RawFd> = keep.0.iter().map(AsRawFd::as_raw_fd).collect();
        let open: Vec<RawFd> = doors.iter().map(AsRawFd::as_raw_fd).collect();
        let jail_fd = jail.as_ref().map(AsRawFd::as_raw_fd);
        let user = match self.user {
            Some(uid) if self.accelerator.name == "kvm" => User::Own(uid, kvm_group(Path::new("/dev/kvm"))?),
            Some(uid) => User::Own(uid, None),
            None => User::Ours(hidden(Path::new("/"))?),
        };
        let confine = move || confine(&user, &open, &inherited, jail_fd);
        #[expect(unsafe_code, reason = "the child drops its privileges between fork and exec")]
        // SAFETY: `confine` makes system calls only; it takes no lock and allocates nothing.
        unsafe {
            command.pre_exec(confine);
        }
        command.spawn().with_context(|| format!("starting {QEMU}"))
    }

    /// A new folder for the sockets and the console of this run, which only this program can enter.
    fn folder(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("removing {}", self.folder.display()));
            }
            _ => {}
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.folder);
        made.with_context(|| format!("making {}", self.folder.display()))
    }

    fn open(&self, disks: Vec<BlockDevice>, taps: Vec<Tap>, keep: &mut Kept) -> Result<Fds> {
        let mut opened = Vec::new();
        for disk in disks {
            let file = File::options().read(true).write(true).open(&disk.path);
            let file = file.with_context(|| format!("opening {}", disk.path.display()))?;
            let backing = disk.backing.iter().map(|path| keep.open(path)).collect::<Result<_>>()?;
            let secrets = Secrets::of(&disk.keys);
            let keys = secrets.keys.iter().map(|key| keep.hold_key(key)).collect::<Result<_>>()?;
            opened.push(DiskFds { volume: disk.volume, disk: keep.hold(file), backing, keys, secrets });
        }
        let direct = match &self.vm.boot {
            Boot::Firmware => None,
            Boot::Direct { .. } => {
                let folder = self.images.join(self.vm.image.as_str());
                Some((keep.open_anew(&folder.join("vmlinux"))?, keep.open_anew(&folder.join("initrd.cpio"))?))
            }
        };
        Ok(Fds {
            disks: opened,
            taps: taps.into_iter().map(|tap| (tap.mac, keep.hold(tap.fd))).collect(),
            direct,
            qmp: keep.hold(self.listen(QMP_SOCKET)?),
            serial: keep.hold(self.listen(SERIAL_SOCKET)?),
            console: keep.hold(self.log(CONSOLE)?),
        })
    }

    /// It listens before QEMU lives, so nobody ever has to wait for the socket to appear.
    fn listen(&self, name: &str) -> Result<UnixListener> {
        let path = self.folder.join(name);
        UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))
    }

    /// A file that is only ever appended to, so that it can be cut from below.
    fn log(&self, name: &str) -> Result<File> {
        let path = self.folder.join(name);
        let file = File::options().create(true).append(true).mode(0o600).open(&path);
        file.with_context(|| format!("opening {}", path.display()))
    }
}

/// Descriptors that QEMU is to inherit, and those of files in memory with keys. They are closed here once it has them.
#[derive(Default)]
struct Kept(Vec<OwnedFd>, Vec<OwnedFd>);

impl Kept {
    fn hold(&mut self, file: impl Into<OwnedFd>) -> RawFd {
        let file = file.into();
        let raw = file.as_raw_fd();
        self.0.push(file);
        raw
    }

    fn hold_key(&mut self, key: &Key) -> Result<RawFd> {
        let file = key.file()?;
        let raw = file.as_raw_fd();
        self.1.push(file);
        Ok(raw)
    }

    fn open(&mut self, path: &Path) -> Result<RawFd> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(self.hold(file))
    }

    /// What QEMU opens once more, by its descriptor, as the user that it is by then. Whoever made the file may have had
    /// a umask that lets nobody else read.
    fn open_anew(&mut self, path: &Path) -> Result<RawFd> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o004 == 0 {
            permissions.set_mode(permissions.mode() | 0o004);
            file.set_permissions(permissions).with_context(|| format!("letting QEMU read {}", path.display()))?;
        }
        Ok(self.hold(file))
    }
}

/// What the process may reach by path. Absent where the kernel has no Landlock; the user id still holds.
fn jail(files: &[OwnedFd]) -> Result<Option<OwnedFd>> {
    let abi = ABI::V3;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    let read_only = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/sys/devices/system"];
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let paths = read_only.map(|path| (path, AccessFs::from_read(abi)));
    let devices = [("/dev/null", device), ("/dev/urandom", AccessFs::ReadFile.into()), ("/dev/kvm", device)];
    for (path, access) in paths.into_iter().chain(devices) {
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    for file in files {
        // Kernel and initial file system are opened again through /proc/self/fd.
        if nix::sys::stat::fstat(file).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG) {
            ruleset = ruleset.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
        }
    }
    let jail: Option<OwnedFd> = ruleset.into();
    static TOLD: std::sync::Once = std::sync::Once::new();
    if jail.is_none() {
        TOLD.call_once(|| tracing::warn!("this kernel has no Landlock: QEMU's user id alone keeps it from files"));
    }
    Ok(jail)
}

/// The group that may open KVM's device, where not everybody may.
fn kvm_group(device: &Path) -> Result<Option<libc::gid_t>> {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(device).with_context(|| format!("looking at {}", device.display()))?;
    let everybody = about.mode() & 0o006 == 0o006;
    Ok((!everybody && about.gid() != 0).then(|| about.gid()))
}

/// Who a machine's process is.
enum User {
    /// Somebody of its own, perhaps with the group that may open KVM's device.
    Own(libc::uid_t, Option<libc::gid_t>),
    /// Who this program is. Landlock keeps files from it, but not sockets: these folders are hidden.
    Ours(Vec<CString>),
}

/// All folders at the top but those of programs and devices.
fn hidden(root: &Path) -> Result<Vec<CString>> {
    const SEEN: [&str; 10] = ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "sys", "usr"];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).with_context(|| format!("reading {}", root.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let seen = name == "proc" || SEEN.iter().any(|seen| name == *seen);
        if !seen && entry.file_type()?.is_dir() {
            found.push(CString::new(entry.path().into_os_string().into_encoded_bytes())?);
        }
    }
    Ok(found)
}

/// Runs in the child, between fork and exec.
fn confine(user: &User, doors: &[RawFd], inherited: &[RawFd], jail: Option<RawFd>) -> std::io::Result<()> {
    let check = |result: libc::c_long| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
    #[expect(unsafe_code, reason = "system calls that have no safe form")]
    // SAFETY: each call takes plain numbers, or a pointer to something that outlives it.
    unsafe {
        check(libc::setsid().into())?;
        for door in doors {
            check(libc::write(*door, c"0".as_ptr().cast(), 1) as libc::c_long)?;
        }
        check(libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWIPC).into())?;
        if let User::Ours(folders) = user {
            check(libc::unshare(libc::CLONE_NEWNS).into())?;
            let (none, apart) = (std::ptr::null(), libc::MS_REC | libc::MS_SLAVE);
            check(libc::mount(none, c"/".as_ptr(), none, apart, none.cast()).into())?;
            // The namespaces of networks are kept here: they could not go while this process lives.
            check(libc::umount2(c"/run".as_ptr(), libc::MNT_DETACH).into())?;
            let closed = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            for folder in folders {
                let kind = c"tmpfs".as_ptr();
                check(libc::mount(kind, folder.as_ptr(), kind, closed, c"size=4k".as_ptr().cast()).into())?;
            }
        }
        // Zero does not keep the kernel from giving it to another program; one does (man 5 core).
        let no_core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core).into())?;
        for capability in 0..CAPABILITIES {
            // Those that the kernel does not know fail, which is fine.
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        if let User::Own(uid, group) = user {
            let first = group.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            check(libc::setgroups(group.iter().len(), first).into())?;
            check(libc::setresgid(*uid, *uid, *uid).into())?;
            check(libc::setresuid(*uid, *uid, *uid).into())?;
        }
        // A change of user leaves the inheritable set as it was.
        drop_capabilities()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_opens_once_more_it_may_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).expect("sets");
        Kept::default().open_anew(file.path()).expect("opens");
        assert_eq!(file.as_file().metadata().expect("is there").permissions().mode() & 0o777, 0o604);
    }

    #[test]
    fn a_machine_without_a_user_of_its_own_sees_programs_and_devices() {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["usr", "etc", "dev", "proc", "sys", "home", "run", "srv"] {
            std::fs::create_dir(root.path().join(name)).expect("makes");
        }
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).expect("links");
        std::os::unix::fs::symlink("run", root.path().join("var")).expect("links");
        std::fs::write(root.path().join("swapfile"), "").expect("writes");
        let mut found = hidden(root.path()).expect("looks");
        found.sort();
        let paths = found.iter().map(|path| Path::new(path.to_str().expect("a name")).file_name().expect("a name"));
        assert_eq!(paths.collect::<Vec<_>>(), ["home", "run", "srv"]);
    }

    #[test]
    fn only_a_device_that_is_not_everybodys_needs_its_group() {
        let device = tempfile::NamedTempFile::new().expect("a file");
        let set = |mode| device.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).expect("sets");
        set(0o666);
        assert_eq!(kvm_group(device.path()).expect("looks"), None);
        set(0o660);
        if nix::unistd::Uid::effective().is_root() {
            nix::unistd::chown(device.path(), None, Some(nix::unistd::Gid::from_raw(104))).expect("gives");
            assert_eq!(kvm_group(device.path()).expect("looks"), Some(104));
        }
    }
}
