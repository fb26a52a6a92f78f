//! Requests about disks from elsewhere.

use super::{PAGE, Recipe, Teller, text};

const URLS: &str = "http://images.example/disk|file:///disk|https://x/y|s3://x/y|x|http://x/%00|http://[::1]:x/";
const FORMATS: &str = "RAW|qcow2|VHD|vmdk|VHDX|x";
const TASKS: &str = "<import-snap>|<import-ami>";
const STATE: (&str, &str) = ("Filters.1.Name", "task-state|x");
const STATE_VALUE: (&str, &str) = ("Filters.1.Value.1", "active|completed|*");

pub const RECIPES: &[Recipe] = &[
    (
        "ImportSnapshot",
        &[("DiskContainer.Url", URLS), ("DiskContainer.Format", FORMATS)],
        &[
            ("Description", "text"),
            ("DiskContainer.Description", "text"),
            ("DiskContainer.UserBucket.S3Bucket", "b"),
            ("ClientToken", "x|y"),
            ("ClientData.Comment", "text"),
            ("Encrypted", "true|false"),
            ("TagSpecification.1.ResourceType", "import-snapshot-task|snapshot"),
        ],
    ),
    (
        "ImportImage",
        &[("DiskContainer.1.Url", URLS), ("DiskContainer.1.Format", FORMATS)],
        &[
            ("DiskContainer.2.Url", URLS),
            ("DiskContainer.1.DeviceName", "/dev/sda1|x"),
            ("DiskContainer.1.SnapshotId", "<snap>"),
            ("Architecture", "x86_64|arm64|x"),
            ("BootMode", "legacy-bios|uefi|uefi-preferred|x"),
            ("Platform", "Linux|Windows|x"),
            ("LicenseType", "BYOL|AWS"),
            ("ClientToken", "x|y"),
            ("TagSpecification.1.ResourceType", "import-image-task|image"),
        ],
    ),
    ("DescribeImportSnapshotTasks", &[], &[("ImportTaskId.1", TASKS), STATE, STATE_VALUE, PAGE]),
    ("DescribeImportImageTasks", &[], &[("ImportTaskId.1", TASKS), STATE, STATE_VALUE, PAGE]),
    ("CancelImportTask", &[("ImportTaskId", TASKS)], &[("CancelReason", "text")]),
];

pub fn story(teller: &mut dyn Teller) {
    let disk = "DiskContainer.Url=http%3A%2F%2Fx%2Fy&DiskContainer.Format=RAW";
    let first = text(&teller.ask("ImportSnapshot", disk), "importTaskId");
    teller.ask("CancelImportTask", &format!("ImportTaskId={first}"));
    let second = text(&teller.ask("ImportSnapshot", disk), "importTaskId");
    let third = teller.ask("ImportImage", "DiskContainer.1.Url=http%3A%2F%2Fx%2Fy&DiskContainer.1.Format=VMDK");
    teller.round();
    teller.round();
    let told = teller.ask("DescribeImportSnapshotTasks", &format!("ImportTaskId.1={second}"));
    teller.ask("DeleteSnapshot", &format!("SnapshotId={}", text(&told, "snapshotId")));
    let told = teller.ask("DescribeImportImageTasks", &format!("ImportTaskId.1={}", text(&third, "importTaskId")));
    let image = text(&told, "imageId");
    let launched = teller.ask("RunInstances", &format!("ImageId={image}&MinCount=1&MaxCount=1"));
    teller.round();
    teller.ask("DeregisterImage", &format!("ImageId={image}&DeleteAssociatedSnapshots=true"));
    teller.ask("TerminateInstances", &format!("InstanceId.1={}", text(&launched, "instanceId")));
    teller.round();
}
