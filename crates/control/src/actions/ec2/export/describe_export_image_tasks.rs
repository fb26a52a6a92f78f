//! DescribeExportImageTasks: how far exports are, and what came of them.

use awan_model::export::ExportTask;
use awan_model::id::ExportImageId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::export_image;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::exports;

pub fn describe_export_image_tasks(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeExportImageTasksRequest,
) -> Result<ec2::DescribeExportImageTasksResult> {
    let ec2::DescribeExportImageTasksRequest { dry_run: _, filters, export_image_task_ids, max_results, next_token } =
        req;
    let filters = Filters::new(&filters, &["task-state"])?;
    let named = !export_image_task_ids.is_empty();
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeExportImageTasks", token, (1, 1_000), named)?;
    let mut found = Vec::new();
    for id in &export_image_task_ids {
        found.push(tx.get::<ExportTask>(&id.parse::<ExportImageId>()?)?);
    }
    if !named {
        found = tx.list::<ExportTask>();
    }
    let mut kept = Vec::new();
    for task in found {
        let status = exports::progress(tx, &task).status;
        if filters.match_all(|name| if name == "task-state" { vec![status.to_owned()] } else { Vec::new() }) {
            kept.push(task);
        }
    }
    let (kept, next_token) = page.cut(kept, |task| task.id.to_string());
    let export_image_tasks = kept.iter().map(|task| export_image::shown(tx, task)).collect();
    Ok(ec2::DescribeExportImageTasksResult { export_image_tasks, next_token })
}

#[cfg(test)]
mod tests {
    use super::export_image::tests::{begin, image};
    use crate::testing::Cloud;

    #[test]
    fn tasks_are_found_by_id_by_state_and_in_pages() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(|_| awan_model::report::Answer::Done);
        let image = image(&mut cloud);
        let mut both = [(); 2].map(|()| begin(&mut cloud, &image, &[]).expect("begins")).to_vec();
        both.sort();
        let mut list = |ask: &[(&str, &str)]| {
            let shown = cloud.tenant("acme").call("DescribeExportImageTasks", ask)?;
            Ok::<_, String>((Cloud::ids(&shown, "exportImageTaskId"), Cloud::ids(&shown, "nextToken").pop()))
        };
        assert_eq!(list(&[]), Ok((both.clone(), None)));
        let (first, next) = list(&[("MaxResults", "1")]).expect("answers");
        let next = next.expect("there is more");
        let (second, end) = list(&[("MaxResults", "1"), ("NextToken", &next)]).expect("answers");
        assert_eq!(([first, second].concat(), end), (both.clone(), None));
        assert_eq!(list(&[("ExportImageTaskId.1", &both[1])]), Ok((both[1..].to_vec(), None)));
        let mut with = |state| list(&[("Filter.1.Name", "task-state"), ("Filter.1.Value.1", state)]);
        assert_eq!((with("active"), with("completed")), (Ok((both.clone(), None)), Ok((vec![], None))));
        let malformed = list(&[("ExportImageTaskId.1", "export-i-1")]).expect_err("malformed");
        assert!(malformed.starts_with("InvalidExportTaskID.Malformed"), "{malformed}");
        let ask = [("ExportImageTaskId.1", both[0].as_str())];
        let foreign = cloud.tenant("other").call("DescribeExportImageTasks", &ask).expect_err("another's");
        assert_eq!(foreign, format!("InvalidExportTaskID.NotFound: The export task ID '{}' does not exist", both[0]));
        told.abort();
    }
}
