//! What becomes of images that leave: tasks end as their hosts say, or with their hosts.

use std::sync::Arc;

use awan_model::export::{ExportPhase, ExportReport, ExportTask};
use awan_model::host::HostRecord;
use awan_model::import::Outcome;
use awan_state::{Db, Home, Record as _, Ref, System, Tx};

use crate::error::{Error, Result};

/// What is told of a task whose host does nothing about it any more.
const LEFT_ALONE: &str = "ServerError: the place for the file is gone";

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
    let mut tasks = tx.all::<ExportTask>();
    tasks.retain(|task| task.is_planned());
    let mut steps: Vec<_> = tasks.into_iter().filter_map(|task| step(tx, task)).collect();
    for report in tx.all::<ExportReport>() {
        if tx.find_in::<ExportTask>(&report.home, &report.id).is_none_or(|task| !task.is_planned()) {
            steps.push(Step::Forget(report));
        }
    }
    steps
}

fn step(tx: &mut Tx<System>, task: Arc<ExportTask>) -> Option<Step> {
    let report = tx.find_in::<ExportReport>(&task.home, &task.id);
    match (report.map(|report| report.phase.clone()), task.is_active()) {
        (Some(ExportPhase::Kept { bytes }), true) => Some(Step::Complete(task, bytes)),
        (Some(ExportPhase::Failed { why }), true) => Some(Step::Fail(task, why)),
        (Some(ExportPhase::Gone), false) => Some(Step::Clear(task)),
        (_, is_active) if is_left_alone(tx, &task) => {
            Some(if is_active { Step::Fail(task, LEFT_ALONE.into()) } else { Step::Clear(task) })
        }
        // What was cancelled may have been done before its host heard of that.
        _ => None,
    }
}

/// Its host is gone for good, or has said that it has no folder any more: nobody will tell of it.
fn is_left_alone(tx: &mut Tx<System>, task: &ExportTask) -> bool {
    tx.find_in::<HostRecord>(&Home::installation(), &task.host).is_none_or(|host| !host.takes_exports)
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use awan_model::id::HostId;
    use awan_model::report::Answer;

    use super::*;
    use crate::actions::ec2::export::export_image::tests::{begin, image, status};
    use crate::testing::Cloud;
    use crate::{hosts, operator, turn};

    /// Two tasks, of which the second was cancelled, and then nobody who does anything about them.
    fn left_alone(leave: impl FnOnce(&mut Cloud)) {
        let mut cloud = Cloud::new();
        let told = cloud.answering(|_| Answer::Done);
        let image = image(&mut cloud);
        let ids = [(); 2].map(|()| begin(&mut cloud, &image, &[]).expect("begins"));
        told.abort();
        cloud.tenant("acme").call("CancelExportTask", &[("ExportTaskId", &ids[1])]).expect("cancels");
        cloud.report_export(&ExportPhase::Writing { percent: 10 });
        let statuses = |cloud: &mut Cloud| ids.each_ref().map(|id| status(cloud, id).0);
        assert_eq!(statuses(&mut cloud), ["active", "deleting"]);
        let before = *cloud.control.db.watch().borrow();
        leave(&mut cloud);
        turn::turn(&cloud.control, Some(before)).expect("turns");
        assert_eq!(statuses(&mut cloud), ["deleted", "deleted"]);
        assert_eq!(status(&mut cloud, &ids[0]).1, LEFT_ALONE);
        assert_eq!(cloud.control.db.read(System, Tx::all::<ExportReport>), []);
        cloud.audit();
    }

    #[test]
    fn tasks_of_a_host_that_is_gone_for_good_end() {
        left_alone(|cloud| {
            let (db, host) = (cloud.control.db.clone(), HostId::new("host").expect("a name"));
            let away = hosts::Heard { hosts: HashMap::new(), long_enough: true };
            db.transact_blocking(System, "test", |tx| hosts::note_liveness(tx, &away)).expect("notes");
            cloud.runtime.block_on(operator::forget_host(&db, &host, "test")).expect("forgets");
        });
    }

    #[test]
    fn tasks_of_a_host_that_has_no_folder_any_more_end() {
        left_alone(|cloud| {
            cloud.takes_exports = false;
            cloud.report(Vec::new());
        });
    }
}
