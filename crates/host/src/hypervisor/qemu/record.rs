//! What outlives this process about a machine: one small file each, written whole, out of the machine's reach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use awan_model::id::{InstanceId, VolumeId};
use awan_model::instance::{DiskSeen, Exit, InterfaceSeen};
use awan_model::interface::Mac;
use serde::{Deserialize, Serialize};

use crate::process::Process;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: InstanceId,
    pub run: u32,
    pub reboots: u32,
    pub uid: u32,
    /// Absent between the intent to start and the start.
    pub process: Option<Process>,
    /// It was seen to run. Until then a launch that is cut short by the end of this program is done again.
    #[serde(default)]
    pub begun: bool,
    /// What it has open, and what it may have. Noted before a disk is given to it, and forgotten after it is gone.
    #[serde(default)]
    pub disks: Vec<DiskSeen>,
    /// In how many files each of them lies, as QEMU said last.
    #[serde(default)]
    pub files: BTreeMap<VolumeId, u32>,
    #[serde(default)]
    pub free_ports: u32,
    /// As the disks; absent until QEMU was asked, where nobody noted it.
    #[serde(default)]
    pub interfaces: Option<Vec<InterfaceSeen>>,
    #[serde(default)]
    pub free_interface_ports: u32,
    /// Present once the run is over.
    pub exit: Option<Exit>,
}

impl Record {
    /// One that nothing is known of but whose it is.
    pub fn blank(id: InstanceId, run: u32, uid: u32) -> Self {
        let (disks, files, interfaces) = (Vec::new(), BTreeMap::new(), None);
        let (reboots, free_ports, free_interface_ports) = (0, 0, 0);
        let (process, begun, exit) = (None, false, None);
        Self { id, run, reboots, uid, process, begun, disks, files, free_ports, interfaces, free_interface_ports, exit }
    }

    /// Whether the guest has an interface; `None`: it is gone. One of many that nobody knows yet is not noted.
    pub fn note_interface(&mut self, mac: Mac, now: Option<bool>) {
        let Some(all) = &mut self.interfaces else { return };
        let at = all.iter().position(|seen| seen.mac == mac);
        match (at, now) {
            (Some(at), Some(attached)) => all[at].attached = attached,
            (None, Some(attached)) => all.push(InterfaceSeen { mac, attached }),
            (Some(at), None) => drop(all.remove(at)),
            (None, None) => {}
        }
    }

    pub fn has_interface(&self, mac: Mac) -> bool {
        self.interfaces.iter().flatten().any(|seen| seen.mac == mac)
    }
}

pub struct Records(PathBuf);

impl Records {
    pub fn open(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn path(&self, id: &InstanceId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    pub fn write(&self, record: &Record) -> Result<()> {
        let path = self.path(&record.id);
        write_whole(&path, &serde_json::to_vec(record)?).with_context(|| format!("writing {}", path.display()))
    }

    pub fn remove(&self, id: &InstanceId) -> Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    pub fn all(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let bytes = std::fs::read(&path)?;
                records.push(serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))?);
            }
        }
        Ok(records)
    }
}

/// A reader sees the old file or the new one, after a crash too.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(folder.path().join("r")).expect("opens");
        let id: InstanceId = "i-00000000000000001".parse().expect("an id");
        let own = Process::of(i32::try_from(std::process::id()).expect("a pid"));
        let disks = vec![DiskSeen {
            volume: "vol-00000000000000001".parse().expect("an id"),
            size_gib: 1,
            attached: true,
            limits: Some(awan_model::volume::Limits::default()),
            failed: false,
        }];
        let interfaces = Some(vec![InterfaceSeen { mac: Mac([10, 0, 0, 0, 0, 1]), attached: true }]);
        let blank = Record::blank(id.clone(), 2, 7);
        let record = Record { reboots: 1, process: own, begun: true, disks, free_ports: 4, interfaces, ..blank };
        records.write(&record).expect("writes");
        assert_eq!(records.all().expect("reads"), std::slice::from_ref(&record));
        assert!(record.process.clone().expect("lives").is_alive());
        let later = Process { started: 1, ..record.process.expect("lives") };
        assert!(!later.is_alive(), "another process with the same number");
        records.remove(&id).expect("removes");
        assert_eq!(records.all().expect("reads"), []);
    }
}
