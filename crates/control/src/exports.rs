//! Images that leave: how far a task is.

use awan_model::export::{ExportPhase, ExportReport, ExportTask};
use awan_model::import::Outcome;
use awan_state::{Tenant, Tx};

use crate::imports::Progress;
use crate::{network, token};

/// Source: "Export image task status", VM Import/Export User Guide.
pub fn progress(tx: &mut Tx<Tenant>, task: &ExportTask) -> Progress {
    let end = |status, message: &str| Progress { status, percent: None, message: Some(message.to_owned()) };
    match &task.outcome {
        Some(Outcome::Completed { .. }) => Progress { status: "completed", percent: None, message: None },
        Some(Outcome::Failed { why, .. }) => end("deleted", why),
        Some(Outcome::Cancelled { why, .. }) => end(if task.cleared { "deleted" } else { "deleting" }, why),
        None => {
            let report = tx.find::<ExportReport>(&task.id);
            let (percent, message) = under_way(report.as_deref());
            Progress { status: "active", percent: Some(percent), message: Some(message.to_owned()) }
        }
    }
}

fn under_way(report: Option<&ExportReport>) -> (u8, &'static str) {
    match report.map(|report| &report.phase) {
        None => (0, "validating"),
        Some(ExportPhase::Writing { percent }) => ((*percent).min(95), "converting"),
        Some(ExportPhase::Kept { .. } | ExportPhase::Failed { .. } | ExportPhase::Gone) => (95, "updating"),
    }
}

/// Forgets the oldest of those that have ended, but for so many.
pub fn forget_old(tx: &mut Tx<Tenant>, most: usize) {
    let mut ended: Vec<_> = tx.list::<ExportTask>().into_iter().filter(|task| !task.is_planned()).collect();
    ended.sort_by_key(|task| std::cmp::Reverse((task.outcome.as_ref().map(Outcome::at), task.id.clone())));
    for task in ended.into_iter().skip(most) {
        token::forget(tx, "ExportImage", task.client_token.as_deref());
        network::remove::<ExportTask>(tx, &task.id);
    }
}
