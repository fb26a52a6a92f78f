//! CancelImportTask: a task that goes on ends, and its host removes what it has of it.

use awan_model::id::{ImportImageId, ImportSnapshotId};
use awan_model::import::{ImportTask, Outcome};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::snapshot::create_snapshot::described;
use crate::error::{Code, Result, missing, refuse};
use crate::imports;

pub fn cancel_import_task(
    tx: &mut Tx<Tenant>,
    req: ec2::CancelImportTaskRequest,
) -> Result<ec2::CancelImportTaskResult> {
    let ec2::CancelImportTaskRequest { cancel_reason, dry_run: _, import_task_id } = req;
    let id = import_task_id.ok_or_else(|| missing("ImportTaskId"))?;
    let id = match id.parse::<ImportImageId>() {
        Ok(id) => id.to_string(),
        Err(_) => id.parse::<ImportSnapshotId>()?.to_string(),
    };
    let task = tx.get::<ImportTask>(&id)?;
    let before = imports::progress(tx, &task).status;
    if !task.is_active() {
        return Err(refuse(
            Code::IncorrectState,
            format!("The import task '{id}' is {before}, so it cannot be cancelled."),
        ));
    }
    let why = Some(described(cancel_reason)?).filter(|why| !why.is_empty());
    let why = why.unwrap_or_else(|| "Cancelled by the user".into());
    let outcome = Some(Outcome::Cancelled { at: tx.now(), why });
    tx.put(ImportTask { outcome, ..(*task).clone() });
    Ok(ec2::CancelImportTaskResult {
        import_task_id: Some(id),
        previous_state: Some(before.into()),
        state: Some("deleting".into()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_task_is_cancelled_once_and_nothing_is_left_of_it() {
        let mut cloud = Cloud::new();
        let ask = [("DiskContainer.Url", "http://x/y"), ("DiskContainer.Format", "RAW")];
        let made = cloud.tenant("acme").call("ImportSnapshot", &ask).expect("begins");
        let id = Cloud::ids(&made, "importTaskId").remove(0);
        cloud.turn();
        assert_eq!(cloud.contents(), 1);
        let told = cloud.tenant("acme").call("CancelImportTask", &[("ImportTaskId", &id)]).expect("cancels");
        assert_eq!(
            (Cloud::ids(&told, "previousState"), Cloud::ids(&told, "state")),
            (vec!["active".into()], vec!["deleting".into()])
        );
        let status = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeImportSnapshotTasks", &[]).expect("answers");
            Cloud::ids(&shown, "status").remove(0)
        };
        assert_eq!(status(&mut cloud), "deleting");
        cloud.settle();
        assert_eq!((status(&mut cloud).as_str(), cloud.contents(), cloud.snapshots("acme")), ("deleted", 0, vec![]));
        let refusal = cloud.tenant("acme").call("CancelImportTask", &[("ImportTaskId", &id)]).expect_err("is over");
        assert_eq!(refusal, format!("IncorrectState: The import task '{id}' is deleted, so it cannot be cancelled."));
        cloud.audit();
    }
}
