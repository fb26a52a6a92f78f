//! What becomes of images that leave: tasks end as their hosts say.

use std::sync::Arc;

use awan_model::export::{ExportPhase, ExportReport, ExportTask};
use awan_model::import::Outcome;
use awan_state::{Db, Record as _, Ref, System, Tx};

use crate::error::{Error, Result};

enum Step {
    Complete(Arc<ExportTask>, u64),
    Fail(Arc<ExportTask>, String),
    Clear(Arc<ExportTask>),
    /// Nobody waits for what was told any more.
    Forget(Arc<ExportReport>),
}

pub fn exports(db: &Db) -> Result<()> {
    if db.read(System, steps).is_empty() {
        return Ok(());
    }
    db.transact_blocking(System, "exports", |tx| {
        for step in steps(tx) {
            take(tx, step);
        }
        Ok::<_, Error>(())
    })
}

fn steps(tx: &mut Tx<System>) -> Vec<Step> {
    let of = |report: Arc<ExportReport>, tx: &mut Tx<System>| {
        let task = tx.find_in::<ExportTask>(&report.home, &report.id);
        let Some(task) = task.filter(|task| task.is_planned()) else { return Some(Step::Forget(report)) };
        match (&report.phase, task.is_active()) {
            (ExportPhase::Kept { bytes }, true) => Some(Step::Complete(task, *bytes)),
            (ExportPhase::Failed { why }, true) => Some(Step::Fail(task, why.clone())),
            (ExportPhase::Gone, false) => Some(Step::Clear(task)),
            // What was cancelled may have been done before its host heard of that.
            _ => None,
        }
    };
    let reports = tx.all::<ExportReport>();
    reports.into_iter().filter_map(|report| of(report, tx)).collect()
}

fn take(tx: &mut Tx<System>, step: Step) {
    let at = tx.now();
    let (task, ended) = match step {
        Step::Forget(report) => return tx.forget(&report.at()),
        Step::Complete(task, bytes) => {
            let outcome = Some(Outcome::Completed { at, bytes: vec![bytes] });
            (task.clone(), ExportTask { outcome, ..(*task).clone() })
        }
        Step::Fail(task, why) => {
            (task.clone(), ExportTask { outcome: Some(Outcome::Failed { at, why }), ..(*task).clone() })
        }
        Step::Clear(task) => (task.clone(), ExportTask { cleared: true, ..(*task).clone() }),
    };
    tx.act_for_tenant(&task.home, |tx| tx.put(ended));
    tx.forget(&Ref::<ExportReport>::new(&task.home, &task.id));
}
