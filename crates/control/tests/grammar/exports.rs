//! Requests about images that leave.

use super::{PAGE, Recipe, Teller, text};

const TASKS: &str = "<export-ami>";

pub const RECIPES: &[Recipe] = &[
    (
        "ExportImage",
        &[
            ("ImageId", "<ami>"),
            ("DiskImageFormat", "VMDK|RAW|VHD|OVA"),
            ("S3ExportLocation.S3Bucket", "bucket|x|..|a/b"),
        ],
        &[
            ("S3ExportLocation.S3Prefix", "exports/|a/b-|../|/"),
            ("Description", "text"),
            ("RoleName", "vmimport|a b"),
            ("ClientToken", "x|y"),
            ("TagSpecification.1.ResourceType", "export-image-task|image"),
        ],
    ),
    (
        "DescribeExportImageTasks",
        &[],
        &[
            ("ExportImageTaskId.1", TASKS),
            ("Filter.1.Name", "task-state|x"),
            ("Filter.1.Value.1", "active|completed|*"),
            PAGE,
        ],
    ),
    ("CancelExportTask", &[("ExportTaskId", TASKS)], &[]),
];

/// An action without a `DryRun`.
pub const WET: &[&str] = &["CancelExportTask"];

pub fn story(teller: &mut dyn Teller) {
    let disk = "DiskContainer.1.Url=http%3A%2F%2Fx%2Fy&DiskContainer.1.Format=RAW";
    let task = text(&teller.ask("ImportImage", disk), "importTaskId");
    teller.round();
    teller.round();
    teller.round();
    let told = teller.ask("DescribeImportImageTasks", &format!("ImportTaskId.1={task}"));
    let image = text(&told, "imageId");
    let ask = format!("ImageId={image}&DiskImageFormat=VMDK&S3ExportLocation.S3Bucket=bucket");
    let first = text(&teller.ask("ExportImage", &ask), "exportImageTaskId");
    teller.ask("CancelExportTask", &format!("ExportTaskId={first}"));
    let second = text(&teller.ask("ExportImage", &ask), "exportImageTaskId");
    teller.ask("DeregisterImage", &format!("ImageId={image}&DeleteAssociatedSnapshots=true"));
    teller.round();
    teller.ask("DescribeExportImageTasks", &format!("ExportImageTaskId.1={second}"));
    teller.round();
}
