//! Which store this host follows, how far it has followed it, and the last plan, which holds while the control plane is
//! away, in the next life of this program too.
//!
//! **Invariant:** a plan of another store, or one older than any that was followed before, is not followed: not even by
//! the next life of this program (where the disk was full, than any that was noted). An empty cloud that somebody started by mistake can therefore end nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use awan_model::plan::HostPlan;

type Revision = u64;

/// `None`: nothing is remembered beyond this life.
pub struct Allegiance {
    path: Option<PathBuf>,
    follows: Option<(String, Revision)>,
}

impl Allegiance {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, follows: None }
    }

    /// Whether a plan is to be followed; if so, that is remembered. The first plan ever decides which store it is.
    pub fn accept(&mut self, plan: &HostPlan) -> Result<bool> {
        if self.follows.is_none()
            && let Some(path) = &self.path
        {
            self.follows = read(path)?;
        }
        if self.follows.as_ref().is_some_and(|(store, at)| *store != plan.store || *at > plan.revision) {
            return Ok(false);
        }
        if let Some(path) = &self.path {
            match (remember(path, plan, self.follows.is_none()), &self.follows) {
                // A full disk is freed by what the plan ends. The next life may go by an earlier plan of this store.
                (Err(e), Some(_)) => tracing::error!(error = format!("{e:#}"), "a plan is followed but not remembered"),
                (noted, _) => noted?,
            }
        }
        self.follows = Some((plan.store.clone(), plan.revision));
        Ok(true)
    }

    /// The plan that an earlier life of this program followed last; `None` where there is none that can be read.
    pub fn last(&self) -> Option<HostPlan> {
        let path = last(self.path.as_ref()?);
        let bytes = std::fs::read(&path).inspect_err(|e| {
            if e.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), error = %e, "the last plan cannot be read; the next is waited for");
            }
        });
        let plan = serde_json::from_slice(&bytes.ok()?);
        plan.inspect_err(|e| tracing::warn!(error = %e, "the last plan is not whole; the next is waited for")).ok()
    }

    pub fn shown(&self) -> String {
        self.follows.as_ref().map_or_else(|| "no store".into(), |(store, at)| format!("{store} at revision {at}"))
    }
}

fn remember(path: &Path, plan: &HostPlan, first: bool) -> Result<()> {
    if first {
        write(path, plan.store.as_bytes(), true)?;
    }
    // A host keeps no secrets: what guests may do comes anew with the next plan.
    let mut plan = plan.clone();
    plan.vms.iter_mut().for_each(|vm| vm.metadata.profile = None);
    // The plan first: one that is newer than the note of its revision is followed, an older one is not.
    write(&last(path), &serde_json::to_vec(&plan)?, false)?;
    write(&at(path), plan.revision.to_string().as_bytes(), false)
}

/// Where the revision is noted: beside the store's name, because it changes often.
fn at(path: &Path) -> PathBuf {
    path.with_extension("at")
}

/// The plan has user data and keys of guests.
fn last(path: &Path) -> PathBuf {
    path.with_extension("plan")
}

fn read(path: &Path) -> Result<Option<(String, Revision)>> {
    let store = match std::fs::read_to_string(path) {
        Ok(store) => store,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
    };
    // A revision that a power failure took leaves the store's name to go by.
    let revision = std::fs::read_to_string(at(path)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(Some((store.trim().to_owned(), revision)))
}

fn write(path: &Path, text: &[u8], durable: bool) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = path.with_extension("new");
    let write = || {
        let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        if durable {
            file.sync_all()?;
        }
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::testing::plan;

    fn of(store: &str, revision: Revision) -> HostPlan {
        HostPlan { store: store.into(), revision, ..plan(Vec::new()) }
    }

    #[test]
    fn only_the_first_store_is_followed_and_only_forwards_in_this_life_and_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("follows");
        let mut first = Allegiance::new(Some(path.clone()));
        let plans = [("a", 5), ("a", 5), ("b", 9), ("a", 4), ("a", 7)];
        let taken = plans.map(|(store, at)| first.accept(&of(store, at)).expect("reads"));
        assert_eq!(taken, [true, true, false, false, true]);
        let mut next = Allegiance::new(Some(path.clone()));
        let taken = [("a", 6), ("b", 9), ("a", 7)].map(|(store, at)| next.accept(&of(store, at)).expect("reads"));
        assert_eq!(taken, [false, false, true]);
        assert_eq!(next.shown(), "a at revision 7");
        assert_eq!(next.last(), Some(of("a", 7)), "what was followed last, not what was refused");
        std::fs::write(at(&path), "").expect("writes");
        let mut after_power_failure = Allegiance::new(Some(path));
        let taken = [("b", 9), ("a", 1)].map(|(s, at)| after_power_failure.accept(&of(s, at)).expect("reads"));
        assert_eq!(taken, [false, true]);
    }

    #[test]
    fn a_full_disk_keeps_nobody_from_following_the_store_that_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("follows");
        // Nothing can be written where a folder is.
        let full = path.with_extension("new");
        std::fs::create_dir(&full).expect("makes");
        let mut allegiance = Allegiance::new(Some(path));
        allegiance.accept(&of("a", 5)).expect_err("whom to follow is remembered first");
        std::fs::remove_dir(&full).expect("removes");
        assert!(allegiance.accept(&of("a", 5)).expect("writes"));
        std::fs::create_dir(&full).expect("makes");
        let taken = [("a", 7), ("a", 6), ("b", 9)].map(|(store, at)| allegiance.accept(&of(store, at)).expect("reads"));
        assert_eq!(taken, [true, false, false]);
        assert_eq!(allegiance.last(), Some(of("a", 5)));
    }
}
