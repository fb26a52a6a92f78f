//! Which accelerator can really run a guest here: tried with a tiny one, not assumed from a device file.
//!
//! `/dev/kvm` may exist and run no ordinary guest (a nested hypervisor that emulates the kernel's instructions). So a
//! ROM that needs what Linux needs is run under each accelerator, with a time limit; see `probe/probe.asm`.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

pub const QEMU: &str = "qemu-system-x86_64";
const PAYLOAD: &[u8] = include_bytes!("probe/probe.bin");
const ROM_SIZE: usize = 64 * 1024;
const RESET_VECTOR: usize = 0xfff0;
/// `jmp 0xf000:0x0000`
const JUMP: [u8; 5] = [0xea, 0x00, 0x00, 0x00, 0xf0];
const USABLE: i32 = 99;
const WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Auto,
    Kvm,
    Tcg,
}

/// What runs guests on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accelerator {
    /// `kvm` or `tcg`
    pub name: &'static str,
    /// The CPU model that passed.
    pub cpu: &'static str,
    /// Why it is not KVM, where it is not.
    pub note: String,
}

/// In order of preference.
const CANDIDATES: [(&str, &str); 3] = [("kvm", "host"), ("kvm", "host,-arch-capabilities"), ("tcg", "max")];

pub async fn probe(wanted: Wanted) -> Result<Accelerator> {
    let mut rom = tempfile::NamedTempFile::new().context("making the probe's file")?;
    rom.write_all(&image())?;
    let mut failures = Vec::new();
    for (name, cpu) in CANDIDATES {
        match (wanted, name) {
            (Wanted::Kvm, "tcg") | (Wanted::Tcg, "kvm") => continue,
            _ => {}
        }
        if name == "kvm" && !std::path::Path::new("/dev/kvm").exists() {
            failures.push("kvm: there is no /dev/kvm".to_owned());
            continue;
        }
        match attempt(rom.path(), name, cpu).await {
            Ok(()) => {
                let note = if name == "kvm" { String::new() } else { failures.join("; ") };
                return Ok(Accelerator { name, cpu, note });
            }
            Err(e) => failures.push(format!("{name} with -cpu {cpu}: {e:#}")),
        }
    }
    bail!("no accelerator can run a guest here: {}", failures.join("; "))
}

fn image() -> Vec<u8> {
    let mut rom = vec![0; ROM_SIZE];
    rom[..PAYLOAD.len()].copy_from_slice(PAYLOAD);
    rom[RESET_VECTOR..RESET_VECTOR + JUMP.len()].copy_from_slice(&JUMP);
    rom
}

async fn attempt(rom: &std::path::Path, accelerator: &str, cpu: &str) -> Result<()> {
    let mut command = Command::new(QEMU);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35", "-m", "8"])
        .args(["-accel", accelerator, "-cpu", cpu, "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(rom)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[expect(unsafe_code, reason = "the child is told between fork and exec to end with this program, however it ends")]
    // SAFETY: a system call that takes plain numbers.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().with_context(|| format!("starting {QEMU}"))?;
    let mut stderr = child.stderr.take().context("the probe's words")?;
    let words = async {
        // QEMU lives on after an internal error of KVM; what it says tells.
        let mut said = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(n @ 1..) = stderr.read(&mut piece).await {
            said.extend_from_slice(&piece[..n]);
            if String::from_utf8_lossy(&said).contains("internal error") {
                break;
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    let outcome = tokio::time::timeout(WITHIN, async {
        let said = words.await;
        if said.contains("internal error") { bail!("KVM internal error") } else { Ok((child.wait().await?, said)) }
    });
    match outcome.await {
        Err(_) => bail!("too slow to be hardware"),
        Ok(Err(e)) => Err(e),
        Ok(Ok((status, _))) if status.code() == Some(USABLE) => Ok(()),
        Ok(Ok((status, said))) => bail!("the guest did not finish ({status}{})", first_line(&said)),
    }
}

fn first_line(said: &str) -> String {
    said.lines().next().map(|line| format!(": {}", line.chars().take(120).collect::<String>())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn software_emulation_runs_the_probe() {
        if Command::new(QEMU).arg("--version").output().await.is_err() {
            eprintln!("skipped: there is no {QEMU}");
            return;
        }
        let found = probe(Wanted::Tcg).await.expect("TCG works everywhere");
        assert_eq!((found.name, found.cpu), ("tcg", "max"));
    }

    #[test]
    fn the_rom_begins_at_the_reset_vector() {
        let rom = image();
        assert_eq!(rom.len(), ROM_SIZE);
        assert_eq!(rom[RESET_VECTOR..RESET_VECTOR + 5], JUMP);
        assert!(PAYLOAD.len() < RESET_VECTOR);
    }
}
