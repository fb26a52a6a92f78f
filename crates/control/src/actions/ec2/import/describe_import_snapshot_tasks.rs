//! DescribeImportSnapshotTasks: how far imports are, and what came of them.

use awan_model::id::ImportSnapshotId;
use awan_model::import::ImportTask;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{import_snapshot, task};
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::{imports, tagging};

pub fn describe_import_snapshot_tasks(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeImportSnapshotTasksRequest,
) -> Result<ec2::DescribeImportSnapshotTasksResult> {
    let ec2::DescribeImportSnapshotTasksRequest { dry_run: _, filters, import_task_ids, max_results, next_token } = req;
    let filters = Filters::new(&filters, &["task-state"])?;
    let named = !import_task_ids.is_empty();
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeImportSnapshotTasks", token, (1, 1_000), named)?;
    let mut found = Vec::new();
    for id in &import_task_ids {
        found.push(tx.get::<ImportTask>(&id.parse::<ImportSnapshotId>()?.to_string())?);
    }
    if !named {
        found = imports::tasks(tx, ImportSnapshotId::PREFIX);
    }
    let mut kept = Vec::new();
    for task in found {
        let progress = imports::progress(tx, &task);
        if filters.match_all(|name| task::states(name, &progress)) {
            kept.push(task);
        }
    }
    let (kept, next_token) = page.cut(kept, |task| task.id.clone());
    let import_snapshot_tasks = kept.iter().map(|task| shown(tx, task)).collect();
    Ok(ec2::DescribeImportSnapshotTasksResult { import_snapshot_tasks, next_token })
}

fn shown(tx: &mut Tx<Tenant>, task: &ImportTask) -> ec2::ImportSnapshotTask {
    ec2::ImportSnapshotTask {
        description: task::said(&task.description),
        import_task_id: Some(task.id.clone()),
        snapshot_task_detail: Some(import_snapshot::detail(tx, task)),
        tags: tagging::shown(&tagging::of(tx, &task.id)),
    }
}

#[cfg(test)]
mod tests {
    use awan_model::import::ImportPhase;

    use crate::testing::Cloud;

    #[test]
    fn how_far_a_task_is_follows_from_what_its_host_says() {
        let mut cloud = Cloud::new();
        let ask = [("DiskContainer.Url", "http://x/y"), ("DiskContainer.Format", "RAW")];
        let made = cloud.tenant("acme").call("ImportSnapshot", &ask).expect("begins");
        let id = Cloud::ids(&made, "importTaskId").remove(0);
        let active = [("Filters.1.Name", "task-state"), ("Filters.1.Value.1", "active")];
        let told = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeImportSnapshotTasks", &active).expect("answers");
            let text = |element| Cloud::ids(&shown, element).pop().unwrap_or_default();
            (text("importTaskId") == id, text("progress"), text("statusMessage"))
        };
        assert_eq!(told(&mut cloud), (true, "0".into(), "pending".into()));
        for (phase, percent, message) in [
            (ImportPhase::Fetching { percent: 80 }, "40", "downloading"),
            (ImportPhase::Waiting { size_gib: 4 }, "50", "validated"),
            (ImportPhase::Converting { percent: 50 }, "70", "converting"),
        ] {
            cloud.report_content(&phase);
            assert_eq!(told(&mut cloud), (true, percent.into(), message.into()));
        }
        cloud.settle();
        assert_eq!(told(&mut cloud), (false, String::new(), String::new()));
        let refusal = cloud.tenant("acme").call("DescribeImportSnapshotTasks", &[("ImportTaskId.1", "import-ami-1")]);
        assert!(refusal.expect_err("malformed").starts_with("InvalidConversionTaskId.Malformed"));
    }
}
