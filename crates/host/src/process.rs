//! Processes by names that no other process ever gets.

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;

use nix::poll::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

/// A process, told apart from others that get its number later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// In clock ticks since the machine started.
    pub started: u64,
    pub boot: String,
}

impl Process {
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, started: start_time(pid)?, boot: boot_id() })
    }

    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_time(self.pid) == Some(self.started)
    }

    /// Kills it and waits until it is gone. False: it does not end.
    pub fn end(&self, within_ms: u16) -> bool {
        let Ok(pidfd) = pidfd(self.pid) else { return !self.is_alive() };
        // Only now that the descriptor names a process for good is it sure which one it is.
        if self.is_alive() {
            kill(&pidfd);
            return ends(&pidfd, within_ms);
        }
        true
    }
}

/// This thread may do nothing any more that others may not. Also fit to be called between fork and exec.
pub fn drop_capabilities() -> std::io::Result<()> {
    /// Version and process (0: this one). Source: Linux, include/uapi/linux/capability.h.
    static CAPABILITY_VERSION_3: [u32; 2] = [0x2008_0522, 0];
    /// Effective, permitted and inheritable, twice 32 bits each.
    static NONE: [u32; 6] = [0; 6];
    #[expect(unsafe_code, reason = "a system call without a safe form")]
    // SAFETY: both pointers are to something that lives as long as the program.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const CAPABILITY_VERSION_3, &raw const NONE) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Everybody else comes before this thread, at the processor and at the disk.
pub fn be_modest() {
    const IDLE: libc::c_int = 3 << 13;
    #[expect(unsafe_code, reason = "two system calls without a safe form")]
    // SAFETY: both take numbers only, and concern this thread. That they are refused does no harm.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, 1, 0, IDLE);
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Field 22 of `/proc/PID/stat`; none for processes that are gone or only wait to be buried.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// A process by a name that no other process ever gets.
pub fn pidfd(pid: i32) -> std::io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "a system call without a safe form")]
    // SAFETY: the call takes plain numbers; the descriptor it returns is new and ours.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
            fd @ 0.. => Ok(OwnedFd::from_raw_fd(fd as RawFd)),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// Ends a process for good.
pub fn kill(pidfd: &OwnedFd) {
    #[expect(unsafe_code, reason = "a system call without a safe form")]
    // SAFETY: the descriptor lives, and no information is passed.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        );
    }
}

/// Waits for the end of a process. False: it goes on.
pub fn ends(pidfd: &OwnedFd, within_ms: u16) -> bool {
    matches!(poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], within_ms), Ok(1))
}

/// How much room a process's files take on disks that have no name any more, of those whose names ended so.
pub fn nameless_bytes(pid: i32, suffix: &str) -> u64 {
    let gone = format!("{suffix} (deleted)");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_gone = |path: &std::path::Path| path.to_string_lossy().ends_with(&gone);
    let paths = open.map(|entry| entry.path());
    let of = paths.filter(|path| std::fs::read_link(path).is_ok_and(|to| is_gone(&to)));
    // One file may be open several times.
    let sizes = of.filter_map(|path| path.metadata().ok()).map(|file| ((file.dev(), file.ino()), file.blocks() * 512));
    sizes.collect::<std::collections::BTreeMap<_, _>>().into_values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_meant_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        let process = Process::of(i32::try_from(child.id()).expect("a pid")).expect("lives");
        let later = Process { started: process.started + 1, ..process.clone() };
        assert!(later.end(1_000) && process.is_alive(), "another process had the same number before");
        assert!(process.end(10_000) && !process.is_alive());
        child.wait().expect("is buried");
        assert!(process.end(1_000), "it is gone already");
    }
}
