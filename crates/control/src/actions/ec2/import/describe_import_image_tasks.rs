//! DescribeImportImageTasks: how far imports are, and what came of them.

use awan_model::id::ImportImageId;
use awan_model::import::ImportTask;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{import_image, task};
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::imports;

pub fn describe_import_image_tasks(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeImportImageTasksRequest,
) -> Result<ec2::DescribeImportImageTasksResult> {
    let ec2::DescribeImportImageTasksRequest { dry_run: _, filters, import_task_ids, max_results, next_token } = req;
    let filters = Filters::new(&filters, &["task-state"])?;
    let named = !import_task_ids.is_empty();
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeImportImageTasks", token, (1, 1_000), named)?;
    let mut found = Vec::new();
    for id in &import_task_ids {
        found.push(tx.get::<ImportTask>(&id.parse::<ImportImageId>()?.to_string())?);
    }
    if !named {
        found = imports::tasks(tx, ImportImageId::PREFIX);
    }
    let mut kept = Vec::new();
    for task in found {
        let progress = imports::progress(tx, &task);
        if filters.match_all(|name| task::states(name, &progress)) {
            kept.push(task);
        }
    }
    let (kept, next_token) = page.cut(kept, |task| task.id.clone());
    let import_image_tasks = kept.iter().map(|task| import_image::shown(tx, task)).collect();
    Ok(ec2::DescribeImportImageTasksResult { import_image_tasks, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn tasks_of_images_and_of_snapshots_are_two_lists() {
        let mut cloud = Cloud::new();
        let disk = [("DiskContainer.1.Url", "http://x/y"), ("DiskContainer.1.Format", "RAW")];
        let ids = [(); 2].map(|()| {
            let made = cloud.tenant("acme").call("ImportImage", &disk).expect("begins");
            Cloud::ids(&made, "importTaskId").remove(0)
        });
        let ask = [("DiskContainer.Url", "http://x/y"), ("DiskContainer.Format", "RAW")];
        cloud.tenant("acme").call("ImportSnapshot", &ask).expect("begins");
        let mut told = |ask: &[(&str, &str)]| {
            let shown = cloud.tenant("acme").call("DescribeImportImageTasks", ask).expect("answers");
            (Cloud::ids(&shown, "importTaskId"), Cloud::ids(&shown, "nextToken").pop())
        };
        let mut both = ids.to_vec();
        both.sort();
        assert_eq!(told(&[]), (both.clone(), None));
        let (first, next) = told(&[("MaxResults", "1")]);
        let next = next.expect("there is more");
        let (second, end) = told(&[("MaxResults", "1"), ("NextToken", &next)]);
        assert_eq!(([first, second].concat(), end), (both.clone(), None));
        assert_eq!(
            told(&[("Filters.1.Name", "task-state"), ("Filters.1.Value.1", "completed")]).0,
            Vec::<String>::new()
        );
        let refusal = cloud.tenant("acme").call("DescribeImportImageTasks", &[("ImportTaskId.1", "import-snap-1")]);
        assert!(refusal.expect_err("malformed").starts_with("InvalidConversionTaskId.Malformed"));
    }
}
