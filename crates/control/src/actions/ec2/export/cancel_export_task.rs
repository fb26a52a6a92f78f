//! CancelExportTask: a task that goes on ends, and its host removes what it has of the file.

use awan_model::export::ExportTask;
use awan_model::id::ExportImageId;
use awan_model::import::Outcome;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::exports;

pub fn cancel_export_task(tx: &mut Tx<Tenant>, req: ec2::CancelExportTaskRequest) -> Result<()> {
    let ec2::CancelExportTaskRequest { export_task_id } = req;
    let id: ExportImageId = export_task_id.ok_or_else(|| missing("ExportTaskId"))?.parse()?;
    let task = tx.get::<ExportTask>(&id)?;
    if !task.is_active() {
        let status = exports::progress(tx, &task).status;
        let message = format!("The export task '{id}' is {status}, so it cannot be cancelled.");
        return Err(refuse(Code::IncorrectState, message));
    }
    let outcome = Some(Outcome::Cancelled { at: tx.now(), why: "Cancelled by the user".into() });
    tx.put(ExportTask { outcome, ..(*task).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use awan_model::export::ExportPhase;

    use super::super::export_image::tests::{begin, image, status};
    use crate::testing::Cloud;

    #[test]
    fn a_task_that_goes_on_is_cancelled_once_and_is_deleted_when_its_host_has_nothing_of_it() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(|_| awan_model::report::Answer::Done);
        let image = image(&mut cloud);
        let id = begin(&mut cloud, &image, &[]).expect("begins");
        cloud.report_export(&ExportPhase::Writing { percent: 40 });
        assert_eq!(status(&mut cloud, &id), ("active".into(), "converting".into(), Some("40".into())));
        let cancel = |cloud: &mut Cloud, who: &str| {
            cloud.tenant(who).call("CancelExportTask", &[("ExportTaskId", &id)]).map(drop)
        };
        assert!(cancel(&mut cloud, "other").expect_err("another's").starts_with("InvalidExportTaskID.NotFound"));
        cancel(&mut cloud, "acme").expect("cancels");
        // The host was done before it heard of it.
        cloud.report_export(&ExportPhase::Kept { bytes: 1 });
        assert_eq!(status(&mut cloud, &id), ("deleting".into(), "Cancelled by the user".into(), None));
        let again = cancel(&mut cloud, "acme").expect_err("is over");
        assert_eq!(again, format!("IncorrectState: The export task '{id}' is deleting, so it cannot be cancelled."));
        cloud.settle();
        assert_eq!(status(&mut cloud, &id).0, "deleted");
        let done = begin(&mut cloud, &image, &[]).expect("begins");
        cloud.settle();
        let ask = [("ExportTaskId", done.as_str())];
        let over = cloud.tenant("acme").call("CancelExportTask", &ask).expect_err("is over");
        assert_eq!(over, format!("IncorrectState: The export task '{done}' is completed, so it cannot be cancelled."));
        for (id, code) in
            [("export-i-1", "InvalidExportTaskID.Malformed"), (image.as_str(), "InvalidExportTaskID.Malformed")]
        {
            let ask = [("ExportTaskId", id)];
            assert!(cloud.tenant("acme").call("CancelExportTask", &ask).expect_err(code).starts_with(code));
        }
        told.abort();
        cloud.audit();
    }
}
