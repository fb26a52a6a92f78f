//! The control plane's own turns: reconcile what changed, plan for every host, push. Repeated for ever.
//!
//! **Invariant:** a turn depends on the snapshot only. Skipping turns delays, but never loses, anything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use awan_model::instance::Instance;
use awan_state::{Db, Home, Millis, Ref, Revision, System};

use crate::control::Control;
use crate::error::{Error, Result};
use crate::{hosts, identity, plan, reconcile};

/// Everything is looked at again so often, whatever the subscriptions say.
const SLOW_ROUND: Duration = Duration::from_secs(30);
const LIVENESS_ROUND: Duration = Duration::from_secs(5);
/// A turn is followed by a pause of so many times its length, so that planning takes a part of a core and what changes
/// meanwhile is planned once.
const PAUSE_TIMES: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The timer's grain.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Kinds whose changes concern one instance.
const INSTANCE_KINDS: [&str; 3] = ["instance/", "vm-report/", "placement/"];
/// Kinds from which it follows what an instance may do.
const PROFILE_KINDS: [&str; 5] =
    ["profile-association/", "profile-session/", "instance-profile/", "role/", "vm-report/"];
/// Kinds from which it follows what becomes of disks from elsewhere.
const IMPORT_KINDS: [&str; 11] = [
    "import-task/",
    "export-task/",
    "content/",
    "content-report/",
    "host/",
    "host-liveness/",
    "snapshot/",
    "binned-snapshot/",
    "image/",
    "volume/",
    "binned-volume/",
];
const EXPORT_KINDS: [&str; 3] = ["export-task/", "export-report/", "host/"];
/// Kinds that appear in no plan.
const UNPLANNED_KINDS: [&str; 22] = [
    "binned-image/",
    "retention-rule/",
    "import-task/",
    "export-report/",
    "capacity-hold/",
    "capacity-reservation/",
    "fleet/",
    "launch-template/",
    "launch-template-version/",
    "client-token/",
    "key-pair/",
    "access-key/",
    "account/",
    "account-alias/",
    "host-liveness/",
    "host-usage/",
    "parameter/",
    "snapshot-usage/",
    "user/",
    "user-group/",
    "user-key/",
    "vm-report/",
];

pub async fn run(control: Arc<Control>) {
    let mut revisions = control.db.watch();
    let mut done: Option<Revision> = None;
    let mut slow = tokio::time::interval(SLOW_ROUND);
    let mut liveness = tokio::time::interval(LIVENESS_ROUND);
    loop {
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            _ = slow.tick() => done = None,
            () = control.hosts.joined() => {
                let worker = control.clone();
                log("planning", tokio::task::spawn_blocking(move || push(&worker)).await.map_err(Error::fault));
            }
            _ = liveness.tick() => {
                let heard = control.hosts.heard();
                let noted = control.db.transact(System, "liveness", |tx| hosts::note_liveness(tx, &heard)).await;
                log("liveness", noted);
            }
        }
        let at = revisions.borrow_and_update().to_owned();
        let (worker, began) = (control.clone(), tokio::time::Instant::now());
        let since = done;
        let turned = tokio::task::spawn_blocking(move || turn(&worker, since)).await;
        let turned = turned.map_err(Error::fault).flatten();
        // What a failed turn left undone is looked for in everything, at the next one.
        done = turned.is_ok().then_some(at);
        log("turn", turned);
        let pause = began.elapsed().saturating_mul(PAUSE_TIMES);
        tokio::time::sleep(pause.clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

fn log(what: &str, outcome: Result<()>) {
    if let Err(e) = outcome {
        tracing::error!(error = %e, "{what} failed; it is tried again");
    }
}

/// One turn over what changed since a revision; `None`: over everything.
pub fn turn(control: &Control, since: Option<Revision>) -> Result<()> {
    let keys = since.and_then(|revision| control.db.changes_since(revision));
    let instances = match &keys {
        Some(keys) => keys.iter().filter_map(|key| instance_of(key)).collect(),
        None => every_instance(&control.db),
    };
    if keys.is_none() {
        log("expiring", reconcile::gateways(&control.db));
    }
    let reconciled = reconcile_all(&control.db, &instances);
    if control.db.read(System, reconcile::is_due) {
        let lapse = |tx: &mut awan_state::Tx<System>| {
            reconcile::lapse(tx);
            Ok::<_, Error>(())
        };
        log("lapse", control.db.transact_blocking(System, "lapse", lapse));
    }
    let of_exports = |key: &Arc<str>| EXPORT_KINDS.iter().any(|kind| key.starts_with(kind));
    if keys.as_ref().is_none_or(|keys| keys.iter().any(of_exports)) {
        log("exports", reconcile::exports(&control.db));
    }
    let of_imports = |key: &Arc<str>| IMPORT_KINDS.iter().any(|kind| key.starts_with(kind));
    if keys.as_ref().is_none_or(|keys| keys.iter().any(of_imports)) {
        log("imports", reconcile::imports(&control.db));
    }
    let of_profiles = |key: &Arc<str>| PROFILE_KINDS.iter().any(|kind| key.starts_with(kind));
    let profiled = match &keys {
        Some(keys) if !keys.iter().any(of_profiles) => Ok(()),
        _ => profiles(&control.db),
    };
    if keys.is_none_or(|keys| keys.iter().any(|key| is_planned(&control.db, key))) {
        push(control);
    }
    reconciled.map(drop).and(profiled)
}

/// Whether what a key is about can be in a plan. Tags are where the guest sees them.
fn is_planned(db: &Db, key: &str) -> bool {
    if key.starts_with("by-") || UNPLANNED_KINDS.iter().any(|kind| key.starts_with(kind)) {
        return false;
    }
    let Some(tagged) = key.strip_prefix("tags/") else { return true };
    let instance = tagged.rsplit_once('/').and_then(|(home, id)| Some((home.split_once('/')?, id.parse().ok()?)));
    let Some(((account, region), id)) = instance else { return false };
    let at = Ref::<Instance>::new(&Home::new(account, region), &id);
    db.read(System, |tx| tx.find_at(&at).is_some_and(|instance| instance.metadata.tags))
}

/// The sessions of instances that have a profile.
fn profiles(db: &Db) -> Result<()> {
    if db.read(System, identity::instance::is_settled) {
        return Ok(());
    }
    db.transact_blocking(System, "profiles", |tx| {
        identity::instance::reconcile(tx);
        Ok(())
    })
}

/// Plans for every host. Who has the same already is not disturbed.
fn push(control: &Control) {
    let revision = control.db.snapshot().revision();
    control.hosts.push(control.db.read(System, |tx| plan::all(tx, revision)));
}

/// The instance that a key is about.
fn instance_of(key: &str) -> Option<(String, String)> {
    let rest = INSTANCE_KINDS.iter().find_map(|kind| key.strip_prefix(kind))?;
    let (home, id) = rest.rsplit_once('/')?;
    Some((home.to_owned(), id.to_owned()))
}

fn every_instance(db: &Db) -> BTreeSet<(String, String)> {
    db.snapshot().keys("instance/").filter_map(|key| instance_of(&key)).collect()
}

/// Reconciles instances; returns the time at which one of them wants to be looked at again. One that fails keeps back
/// no other; the first failure is told at the end.
pub fn reconcile_all(db: &Db, instances: &BTreeSet<(String, String)>) -> Result<Option<Millis>> {
    let (mut soonest, mut failed) = (None, None);
    for (home, id) in instances {
        let Some((account, region)) = home.split_once('/') else { continue };
        let Ok(id) = id.parse() else { continue };
        let at = Ref::<Instance>::new(&Home::new(account, region), &id);
        // Looks first: most reports change nothing that has consequences.
        if !db.read(System, |tx| reconcile::is_settled(tx, &at)) {
            let cause = format!("reconcile {id}");
            match db.transact_blocking(System, &cause, |tx| reconcile::instance(tx, &at)) {
                Ok(reconcile::Next::At(time)) => soonest = Some(soonest.map_or(time, |s: Millis| s.min(time))),
                Ok(reconcile::Next::OnChange) => {}
                Err(e) => {
                    tracing::error!(instance = %id, error = %e, "an instance was not reconciled; it is tried again");
                    failed.get_or_insert(e);
                }
            }
        }
    }
    failed.map_or(Ok(soonest), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use awan_state::{Committed, MemoryStore, Page, Store, StoreError, Txn};

    use super::*;
    use crate::testing::Cloud;

    /// Refuses whatever has this cause.
    #[derive(Clone, Default)]
    struct Stubborn(Arc<(MemoryStore, Mutex<String>)>);

    impl Store for Stubborn {
        fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
            self.0.0.range(prefix, after, limit)
        }
        fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
            let refused = self.0.1.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let some = batch.iter().take_while(|txn| *txn.cause != *refused).count();
            self.0.0.commit(&batch[..some])
        }
    }

    #[test]
    fn tags_are_planned_where_the_guest_sees_them() {
        let mut cloud = Cloud::new();
        let hidden = cloud.tenant("acme").run();
        let shown = cloud.tenant("acme").run_with(&[("MetadataOptions.InstanceMetadataTags", "enabled")]);
        let shown = shown.expect("launches").remove(0);
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        for (id, expected) in [(&hidden, false), (&shown, true), (&volume, false)] {
            let before = cloud.control.db.snapshot().revision();
            let ask = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")];
            cloud.tenant("acme").call("CreateTags", &ask).expect("tags");
            let keys = cloud.control.db.changes_since(before).expect("are known");
            assert!(keys.iter().any(|key| key.starts_with("tags/")), "{keys:?}");
            assert_eq!(keys.iter().any(|key| is_planned(&cloud.control.db, key)), expected, "{id}: {keys:?}");
        }
    }

    #[test]
    fn an_instance_that_cannot_be_reconciled_keeps_back_no_other() {
        let store = Stubborn::default();
        let mut cloud = Cloud::on(Box::new(store.clone()), 1_000, 1_000_000);
        let ids = cloud.tenant("acme").run_with(&[("MinCount", "2"), ("MaxCount", "2")]).expect("launches");
        cloud.settle();
        let both = [("InstanceId.1", ids[0].as_str()), ("InstanceId.2", ids[1].as_str())];
        cloud.tenant("acme").call("StopInstances", &both).expect("stops");
        *store.0.1.lock().expect("unharmed") = format!("reconcile {}", ids[0]);
        ids.iter().for_each(|id| cloud.declare_over(id, awan_model::instance::Exit::Asked));
        turn(&cloud.control, None).expect_err("one cannot");
        assert_eq!(cloud.counts(), (1, 2), "places, volumes");
    }
}
