//! Flow logs as files for the operator: `ACCOUNT/LOG/ACCOUNT_vpcflowlogs_REGION_LOG_TIME.log`, the names that EC2 gives
//! them in a bucket, one for each five minutes. The first line names the fields. `groups.rs` has those that write into
//! log groups.
//!
//! **Invariant:** all of them together are bounded, and so are those of one log or group; the oldest go first.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use awan_model::plan::{FlowLogPlan, VpcPlan};

use super::tally::Record;

pub const FILE_S: u64 = 300;
const LOG_MAX: u64 = 64 << 20;
const ALL_MAX: u64 = 1 << 30;
/// Files of one log or group: five weeks of them.
const FILES_MAX: usize = 10_000;

pub struct Files {
    pub folder: PathBuf,
    log_max: u64,
    all_max: u64,
}

impl Files {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, log_max: LOG_MAX, all_max: ALL_MAX }
    }

    pub fn append(&self, plan: &VpcPlan, log: &FlowLogPlan, records: &[Record], now: u64) -> Result<()> {
        let (account, region) = (plan.home.account(), plan.home.region());
        let folder = self.folder.join(account).join(log.id.as_str());
        let name = format!("{account}_vpcflowlogs_{region}_{}_{}.log", log.id, time(now - now % FILE_S)?);
        let head = if folder.join(&name).exists() { String::new() } else { format!("{}\n", log.fields.join(" ")) };
        let lines = records.iter().map(|record| format!("{}\n", record.text)).collect::<String>();
        self.write(&folder, &name, &format!("{head}{lines}"))
    }

    /// Adds whole lines to a file, and makes room for them.
    pub fn write(&self, folder: &Path, name: &str, lines: &str) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).context("making a flow log's folder")?;
        let mut options = File::options();
        let file = options.read(true).append(true).create(true).open(folder.join(name));
        let mut file = file.context("opening a flow log")?;
        mend(&mut file).context("mending a flow log")?;
        file.write_all(lines.as_bytes()).context("writing a flow log")?;
        shorten(folder, self.log_max, FILES_MAX)?;
        shorten(&self.folder, self.all_max, usize::MAX)
    }
}

/// Takes away a line that was cut off, by a full disk or a kill.
fn mend(file: &mut File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] {
        return Ok(());
    }
    let mut all = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut all)?;
    file.set_len(all.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1))
}

/// `20261128T2135Z`
pub fn time(at: u64) -> Result<String> {
    let at = jiff::Timestamp::from_second(i64::try_from(at)?)?;
    Ok(at.strftime("%Y%m%dT%H%MZ").to_string())
}

/// Removes the oldest until the others are few and small enough.
fn shorten(folder: &Path, most: u64, most_files: usize) -> Result<()> {
    let mut all = Vec::new();
    collect(folder, &mut all)?;
    all.sort();
    let mut size: u64 = all.iter().map(|(.., size)| size).sum();
    let mut files = all.len();
    for (_, path, one) in all {
        if size <= most && files <= most_files {
            break;
        }
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        (size, files) = (size - one, files - 1);
    }
    Ok(())
}

fn collect(folder: &Path, all: &mut Vec<(SystemTime, PathBuf, u64)>) -> Result<()> {
    for entry in std::fs::read_dir(folder).context("listing flow logs")? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            collect(&entry.path(), all)?;
        } else {
            all.push((about.modified()?, entry.path(), about.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::vpc_plan;

    #[test]
    fn a_log_has_a_file_for_each_five_minutes_and_the_oldest_go_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files { log_max: 100, ..Files::new(folder.path().join("flow-logs")) };
        let (plan, log) = (
            vpc_plan(),
            FlowLogPlan {
                id: "fl-00000000000000001".parse().expect("an id"),
                interfaces: Vec::new(),
                accepted: true,
                rejected: true,
                interval_s: 60,
                fields: vec!["srcaddr".into(), "action".into()],
                group: None,
            },
        );
        let read = || {
            let mut all = Vec::new();
            collect(folder.path(), &mut all).expect("lists");
            let mut all: Vec<_> = all.into_iter().map(|(_, path, _)| path).collect();
            all.sort();
            let text = |path: &PathBuf| std::fs::read_to_string(path).expect("reads");
            let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
            all.iter().map(|path| (name(path), text(path))).collect::<Vec<_>>()
        };
        let append = |line: &str, at| {
            let interface = plan.interfaces[0].id.clone();
            files.append(&plan, &log, &[Record { interface, start: at, text: line.to_owned() }], at).expect("writes");
        };
        append("10.0.0.5 ACCEPT", 1_000_000_020);
        append("10.0.0.6 REJECT", 1_000_000_080);
        let name = |time| format!("123456789012_vpcflowlogs_us-east-1_fl-00000000000000001_{time}.log");
        let first = (name("20010909T0145Z"), "srcaddr action\n10.0.0.5 ACCEPT\n10.0.0.6 REJECT\n".to_owned());
        assert_eq!(read(), [first]);
        let cut = std::fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join("flow-logs/123456789012/fl-00000000000000001").join(name("20010909T0145Z")));
        cut.expect("opens").write_all(b"10.0").expect("writes a part");
        append("10.0.0.7 ACCEPT", 1_000_000_081);
        assert!(read()[0].1.ends_with("REJECT\n10.0.0.7 ACCEPT\n"), "a line that was cut off is none");
        append(&"x".repeat(80), 1_000_000_320);
        assert_eq!(read().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [name("20010909T0150Z")]);
    }
}
