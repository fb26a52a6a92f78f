//! Takes over what an earlier life of this program left running.
//!
//! **Invariant:** nothing is ended that a plan could still want. A machine that only its command line names is taken
//! over like the others; the first plan then says whether it goes on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;

use awan_model::id::InstanceId;
use awan_model::instance::Exit;

use super::args::mark_prefix;
use super::record::Record;
use crate::hypervisor::probe::QEMU;
use crate::process::{Process, ends, kill, pidfd};

const GONE_WITHIN_MS: u16 = 5_000;

/// A process whose command line says that it is a machine of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    pub pid: i32,
    pub uid: u32,
    pub run: Option<(InstanceId, u32)>,
}

/// Only those that run as one of the installation's users: what others start may have any name.
pub fn marked(tag: &str, uids: &Range<u32>) -> Vec<Marked> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        if let Some(run) = named(tag, &String::from_utf8_lossy(&line)) {
            let Ok(owner) = entry.metadata() else { continue };
            if uids.contains(&owner.uid()) {
                found.push(Marked { pid, uid: owner.uid(), run });
            }
        }
    }
    found
}

/// Ends a marked process and waits until it is gone.
pub fn end(tag: &str, pid: i32) {
    let Ok(pidfd) = pidfd(pid) else { return };
    // Asked again now that the process has a name of its own: the number may have gone to somebody else.
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if named(tag, &String::from_utf8_lossy(&line)).is_none() {
        return;
    }
    tracing::warn!(pid, "a machine that no record has is ended");
    kill(&pidfd);
    if !ends(&pidfd, GONE_WITHIN_MS) {
        tracing::error!(pid, "it does not end");
    }
}

/// Ends all machines of an installation: their networks are gone, and nothing would bring them back.
pub fn abandon(tag: &str, uids: &Range<u32>) {
    for machine in marked(tag, uids) {
        end(tag, machine.pid);
    }
}

/// None: not ours. `Some(None)`: ours, of a run that cannot be told.
fn named(tag: &str, line: &str) -> Option<Option<(InstanceId, u32)>> {
    let mut words = line.split('\0');
    let program = words.next()?.rsplit('/').next()?;
    let mark = words.find_map(|word| word.strip_prefix("guest=")?.strip_prefix(&mark_prefix(tag)))?;
    let of_run = || {
        let (id, run) = mark.split(',').next()?.rsplit_once('-')?;
        Some((id.parse().ok()?, run.parse().ok()?))
    };
    (program == QEMU).then(of_run)
}

/// What is to become of records and processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Machines that live, and runs that are over.
    pub records: Vec<Record>,
    /// Runs that never began; the plan begins them anew.
    pub drop: Vec<InstanceId>,
    /// Processes that may not live beside another of the same instance.
    pub end: Vec<i32>,
}

pub fn adoption(
    records: Vec<Record>,
    marked: Vec<Marked>,
    is_alive: impl Fn(&Process) -> bool,
    process: impl Fn(i32) -> Option<Process>,
) -> Adoption {
    let mut adoption = Adoption::default();
    let mut known: BTreeMap<InstanceId, Record> = records.into_iter().map(|r| (r.id.clone(), r)).collect();
    for record in known.values_mut() {
        record.process = record.process.take().filter(|process| is_alive(process) || record.begun);
    }
    for Marked { pid, uid, run } in marked {
        let Some((id, run)) = run else {
            adoption.end.push(pid);
            continue;
        };
        let lost = Record { begun: true, ..Record::blank(id.clone(), run, uid) };
        let record = known.entry(id).or_insert(lost);
        if record.process.as_ref().is_some_and(|p| p.pid == pid && is_alive(p)) && record.exit.is_none() {
            continue;
        }
        let free = record.process.as_ref().is_none_or(|p| !is_alive(p));
        if record.run == run && record.exit.is_none() && free {
            // It began, but the note of it was not written any more.
            record.process = process(pid);
        } else {
            adoption.end.push(pid);
        }
    }
    for (id, mut record) in known {
        let alive = record.process.as_ref().is_some_and(&is_alive);
        match (alive, record.exit.is_some(), record.begun) {
            (false, false, false) => adoption.drop.push(id),
            (false, false, true) => {
                record.exit = Some(Exit::Crashed("the machine ended while its host was away".into()));
                adoption.records.push(record);
            }
            _ => adoption.records.push(record),
        }
    }
    adoption
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: &str = "i-00000000000000001";

    #[test]
    fn machines_are_known_by_their_command_line() {
        let line = |mark: &str| format!("/usr/bin/{QEMU}\0-name\0guest={mark},debug-threads=on\0-M\0q35");
        let run = Some(Some((I.parse().expect("an id"), 3)));
        assert_eq!(named("ab12", &line(&format!("awan-ab12-{I}-3"))), run);
        assert_eq!(named("ab12", &line("awan-ab12-else")), Some(None));
        assert_eq!(named("ab12", &line(&format!("awan-cd34-{I}-3"))), None, "another installation's");
        assert_eq!(named("ab12", &format!("vim\0guest=awan-ab12-{I}-3")), None, "another program");
    }

    #[test]
    fn a_process_of_somebody_elses_is_no_machine_whatever_it_is_called() {
        use std::os::unix::process::CommandExt as _;
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let mut command = std::process::Command::new("sh");
        command.arg0(QEMU).args(["-c", "read line", &format!("guest=awan-{tag}-{I}-3")]);
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("starts");
        let own = nix::unistd::Uid::effective().as_raw();
        // A process that has just begun may have no command line for a moment.
        let mine = own..own + 1;
        let seen = (0..100_000).any(|_| !marked(&tag, &mine).is_empty());
        let found = [mine, own + 1..own + 2].map(|uids| marked(&tag, &uids).len());
        child.kill().and_then(|()| child.wait()).expect("ends");
        assert_eq!((seen, found), (true, [1, 0]));
    }

    /// A record (run, pid, begun, exited), processes (pid, run), and what becomes of them.
    type Case = (Option<(u32, Option<i32>, bool, bool)>, &'static [(i32, u32)], &'static str);

    #[test]
    fn each_machine_is_taken_over_ended_or_begun_anew() {
        let table: [Case; 9] = [
            (Some((2, Some(7), true, false)), &[(7, 2)], "run 2 pid 7"),
            (Some((2, Some(7), true, false)), &[], "run 2 over"),
            (Some((2, Some(7), false, false)), &[], "drop"),
            (Some((2, None, false, false)), &[], "drop"),
            (Some((2, None, false, false)), &[(8, 2)], "run 2 pid 8"),
            (Some((2, None, false, false)), &[(8, 1)], "drop end 8"),
            (Some((2, Some(7), true, false)), &[(7, 2), (8, 2)], "run 2 pid 7 end 8"),
            (Some((2, None, false, true)), &[(8, 2)], "run 2 over end 8"),
            (None, &[(8, 2)], "run 2 pid 8"),
        ];
        for (record, processes, expected) in table {
            let id: InstanceId = I.parse().expect("an id");
            let of = |pid| Process { pid, started: 1, boot: "now".into() };
            let records = record.map(|(run, pid, begun, exited)| {
                let (process, exit) = (pid.map(of), exited.then_some(Exit::Asked));
                Record { process, begun, exit, ..Record::blank(id.clone(), run, 1) }
            });
            let marked = processes.iter().map(|(pid, run)| Marked { pid: *pid, uid: 1, run: Some((id.clone(), *run)) });
            let alive = |p: &Process| processes.iter().any(|(pid, _)| *pid == p.pid);
            let got = adoption(records.into_iter().collect(), marked.collect(), alive, |pid| Some(of(pid)));
            assert_eq!(shown(&got), expected, "{record:?} {processes:?}");
        }
    }

    fn shown(adoption: &Adoption) -> String {
        let records = adoption.records.iter().map(|r| match (&r.exit, &r.process) {
            (None, Some(process)) => format!("run {} pid {}", r.run, process.pid),
            _ => format!("run {} over", r.run),
        });
        let dropped = adoption.drop.iter().map(|_| "drop".to_owned());
        let ended = adoption.end.iter().map(|pid| format!("end {pid}"));
        records.chain(dropped).chain(ended).collect::<Vec<_>>().join(" ")
    }
}
