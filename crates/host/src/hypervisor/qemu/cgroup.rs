//! A control group per machine: its type's CPU and memory, in either version of control groups.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use awan_model::plan::VmPlan;

use super::args::tb_size_mib;

const ROOT: &str = "/sys/fs/cgroup";
/// In version 1.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
const PERIOD_US: u64 = 100_000;
const PROCESSES_MAX: u32 = 512;
/// What QEMU needs beside the guest's memory and the cache of translated code.
const OVERHEAD_MIB: u64 = 256;

/// The folders of one machine's group: one in version 2, one for each controller in version 1.
pub struct Group {
    folders: Vec<PathBuf>,
}

/// Which control groups this machine has.
pub struct Groups {
    /// The folders under which groups are made, and the controllers that are there.
    parents: Vec<(PathBuf, &'static str)>,
}

impl Groups {
    /// Finds what there is; without control groups machines run unlimited, which is said in the log.
    pub fn find(tag: &str) -> Self {
        Self::below(Path::new(ROOT), &format!("awan-{tag}"))
    }

    fn below(root: &Path, name: &str) -> Self {
        if std::fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|all| all.contains("memory")) {
            let _ = std::fs::write(root.join("cgroup.subtree_control"), "+cpu +memory +pids");
            let parent = root.join(name);
            let made = std::fs::create_dir_all(&parent);
            let _ = std::fs::write(parent.join("cgroup.subtree_control"), "+cpu +memory +pids");
            if made.is_ok() && has_limits(&parent, "v2") {
                return Self { parents: vec![(parent, "v2")] };
            }
        }
        let of = |controller: &'static str| {
            let parent = root.join(controller).join(name);
            let there = root.join(controller).join("cgroup.procs").exists();
            (there && std::fs::create_dir_all(&parent).is_ok() && has_limits(&parent, controller))
                .then_some((parent, controller))
        };
        let parents: Vec<_> = CONTROLLERS.into_iter().filter_map(of).collect();
        let missing: Vec<_> = CONTROLLERS.into_iter().filter(|c| parents.iter().all(|(_, has)| has != c)).collect();
        if !missing.is_empty() {
            tracing::warn!(
                missing = missing.join(","),
                "control groups are missing: machines run without these limits"
            );
        }
        Self { parents }
    }

    pub fn make(&self, vm: &VmPlan) -> Result<Group> {
        let mut folders = Vec::new();
        for (parent, controller) in &self.parents {
            let folder = parent.join(vm.id.as_str());
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            for (file, value) in limits(vm, controller) {
                let path = folder.join(file);
                std::fs::write(&path, value).with_context(|| format!("writing {}", path.display()))?;
            }
            folders.push(folder);
        }
        Ok(Group { folders })
    }

    /// Removes the group of a machine whose processes are gone.
    pub fn remove(&self, id: &str) {
        for (parent, _) in &self.parents {
            let _ = std::fs::remove_dir(parent.join(id));
        }
    }

    /// Removes everything, when no machine is left.
    pub fn purge(&self) {
        for (parent, _) in &self.parents {
            let children = std::fs::read_dir(parent).into_iter().flatten().flatten();
            for child in children.filter(|c| c.path().is_dir()) {
                let _ = std::fs::remove_dir(child.path());
            }
            let _ = std::fs::remove_dir(parent);
        }
    }
}

impl Group {
    /// Files into which a process writes `0` to enter.
    pub fn doors(&self) -> Result<Vec<File>> {
        let open = |folder: &PathBuf| File::options().write(true).open(folder.join("cgroup.procs"));
        self.folders.iter().map(|f| open(f).with_context(|| format!("opening {}", f.display()))).collect()
    }
}

/// Whether a group made below has all files that limits are written to: a controller may be there and not be ours.
fn has_limits(parent: &Path, controller: &str) -> bool {
    let trial = parent.join("trial");
    let made = std::fs::create_dir_all(&trial).is_ok();
    let complete = made && limits_of(controller, 1, 1 << 30).iter().all(|(file, _)| trial.join(file).exists());
    let _ = std::fs::remove_dir(&trial);
    complete
}

fn limits(vm: &VmPlan, controller: &str) -> Vec<(&'static str, String)> {
    limits_of(controller, vm.vcpus, (vm.memory_mib + tb_size_mib(vm) + OVERHEAD_MIB) << 20)
}

/// File and value. Source: Linux, Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
fn limits_of(controller: &str, vcpus: u32, bytes: u64) -> Vec<(&'static str, String)> {
    let (quota, bytes) = (u64::from(vcpus) * PERIOD_US, bytes.to_string());
    match controller {
        "cpu" => vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota.to_string())],
        "memory" => vec![("memory.limit_in_bytes", bytes)],
        "pids" => vec![("pids.max", PROCESSES_MAX.to_string())],
        _ => vec![
            ("cpu.max", format!("{quota} {PERIOD_US}")),
            ("memory.max", bytes),
            ("pids.max", PROCESSES_MAX.to_string()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::testing::vm;
    use awan_model::instance::Wish;

    #[test]
    fn both_versions_say_the_same() {
        let vm = vm("i-00000000000000001", Wish::On, 1);
        let bytes = ((1024 + 64 + 256) << 20).to_string();
        let all = |name| limits(&vm, name).into_iter().map(|(f, v)| format!("{f}={v}")).collect::<Vec<_>>().join(" ");
        assert_eq!(all("cpu"), "cpu.cfs_period_us=100000 cpu.cfs_quota_us=200000");
        assert_eq!(all("memory"), format!("memory.limit_in_bytes={bytes}"));
        assert_eq!(all("v2"), format!("cpu.max=200000 100000 memory.max={bytes} pids.max=512"));
    }

    #[test]
    fn a_controller_that_gives_no_limits_is_not_used() {
        let root = tempfile::tempdir().expect("a folder");
        for controller in ["cpu", "memory"] {
            std::fs::create_dir(root.path().join(controller)).expect("makes");
            std::fs::write(root.path().join(controller).join("cgroup.procs"), "").expect("writes");
        }
        // An ordinary folder has none of the files that a control group has.
        let groups = Groups::below(root.path(), "awan-x");
        assert_eq!(groups.parents, []);
        assert!(groups.make(&vm("i-00000000000000001", Wish::On, 1)).expect("makes nothing").folders.is_empty());
    }
}
