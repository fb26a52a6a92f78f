//! `awan hold`: a process that makes namespaces and then only waits, so that they are there for as long as it is.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use awan_host::process::Process;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns, unshare};

use super::users::Mapping;

const STEP_WITHIN_MS: u16 = 10_000;
/// What holder and starter tell each other, one a line.
const APART: &str = "apart";
const MAPPED: &str = "mapped";
const READY: &str = "ready";
const KEPT: &str = "kept";

/// Starts one, and tells which of the machine's further user ids are in there: first and number. Where none can be had, its
/// user is the only one.
pub fn start(data_dir: &Path) -> Result<(Process, Option<(u32, u32)>)> {
    if let Some(range) = Mapping::subordinate() {
        match start_with(data_dir, &range) {
            Err(e) => tracing::warn!(error = format!("{e:#}"), "guests get no user ids of their own"),
            started => return Ok((started?, range.further_users())),
        }
    }
    Ok((start_with(data_dir, &Mapping::own()).with_context(hint)?, None))
}

fn hint() -> String {
    let limited = |name: &str, is: &str| std::fs::read_to_string(name).is_ok_and(|text| text.trim() == is);
    let what = "making namespaces as an ordinary user";
    if limited("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        let program = std::env::current_exe().unwrap_or_default();
        return format!(
            "{what}. AppArmor restricts it here to programs with a profile that allows it: docs/rootless.md has one for {}",
            program.display()
        );
    }
    if limited("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return format!("{what}. It is switched off here: sudo sysctl kernel.unprivileged_userns_clone=1");
    }
    if limited("/proc/sys/user/max_user_namespaces", "0") {
        return format!("{what}. It is switched off here: sudo sysctl user.max_user_namespaces=10000");
    }
    what.to_owned()
}

fn start_with(data_dir: &Path, mapping: &Mapping) -> Result<Process> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(program).arg("hold").arg("--data-dir").arg(data_dir).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("starting `awan hold`")?;
    let kept = talk(&mut child, mapping);
    if kept.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    kept
}

fn talk(child: &mut Child, mapping: &Mapping) -> Result<Process> {
    let pid = i32::try_from(child.id())?;
    let (mut to, from) = (child.stdin.take().context("its input")?, child.stdout.take().context("its output")?);
    let mut from = BufReader::new(from);
    hear(&mut from, APART)?;
    mapping.write(pid)?;
    tell(&mut to, MAPPED)?;
    hear(&mut from, READY)?;
    let process = Process::of(pid).context("it ended at once")?;
    tell(&mut to, KEPT)?;
    Ok(process)
}

fn tell(to: &mut ChildStdin, word: &str) -> Result<()> {
    writeln!(to, "{word}").context("speaking to `awan hold`")
}

fn hear(from: &mut BufReader<ChildStdout>, word: &str) -> Result<()> {
    let ready = poll(&mut [PollFd::new(from.get_ref().as_fd(), PollFlags::POLLIN)], STEP_WITHIN_MS);
    let mut line = String::new();
    if !matches!(ready, Ok(1)) || from.read_line(&mut line)? == 0 {
        bail!("`awan hold` says nothing");
    }
    if line.trim() == word { Ok(()) } else { bail!("{}", line.trim()) }
}

/// The process itself. It says what went wrong to who started it, and ends when that one ends before it is done.
pub fn hold() -> Result<()> {
    if let Err(e) = make() {
        say(&format!("{e:#}"))?;
        return Err(e);
    }
    say(READY)?;
    listen(KEPT)?;
    // Whoever reads the starter's output is not to wait for this process.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    loop {
        nix::unistd::pause();
    }
}

#[expect(clippy::print_stdout, reason = "to who started this process")]
fn say(word: &str) -> Result<()> {
    println!("{}", word.replace('\n', " "));
    std::io::stdout().flush().context("speaking to who started this")
}

fn listen(word: &str) -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == word { Ok(()) } else { bail!("who started this is gone") }
}

fn make() -> Result<()> {
    // A terminal that closes takes its session along.
    nix::unistd::setsid().context("a session of its own")?;
    let apart = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    unshare(apart).context("user, mount and network namespaces")?;
    say(APART)?;
    listen(MAPPED)?;
    // What is mounted on the machine later appears here too; what is mounted here stays here.
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context("mounts of its own")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))
        .context("mounting /run")?;
    std::fs::create_dir("/run/netns").context("making /run/netns")?;
    awan_host::network::netns::ip(&["link set lo up".to_owned()])
}

/// Joins the namespaces of a process. Only a program with one thread can.
pub fn enter(holder: &Process) -> Result<()> {
    let pid = holder.pid;
    let open = |name: &str| {
        File::open(format!("/proc/{pid}/ns/{name}")).with_context(|| format!("opening its {name} namespace"))
    };
    let (user, net, mnt) = (open("user")?, open("net")?, open("mnt")?);
    // Only now that they are open is it sure whose they are: a number comes back.
    anyhow::ensure!(holder.is_alive(), "process {pid}, which kept the namespaces, ended");
    setns(&user, CloneFlags::CLONE_NEWUSER).context("entering the user namespace")?;
    setns(&net, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
    setns(&mnt, CloneFlags::CLONE_NEWNS).context("entering the mount namespace")?;
    nix::unistd::chdir(CString::new("/")?.as_c_str()).context("entering /")
}
