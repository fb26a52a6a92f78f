//! Requests about images and snapshots.

use super::{FILTER, FILTER_VALUE, PAGE, Recipe, Teller, text};

pub const RECIPES: &[Recipe] = &[
    (
        "CreateSnapshot",
        &[("VolumeId", "<vol>")],
        &[
            ("Description", "text|"),
            ("TagSpecification.1.ResourceType", "snapshot|volume"),
            ("Location", "regional|local"),
        ],
    ),
    ("DeleteSnapshot", &[SNAPSHOT], &[]),
    (
        "DescribeSnapshots",
        &[],
        &[
            ("SnapshotId.1", "<snap>"),
            ("Owner.1", "self|amazon|x"),
            ("RestorableBy.1", "self|all"),
            FILTER,
            FILTER_VALUE,
            PAGE,
        ],
    ),
];
const SNAPSHOT: (&str, &str) = ("SnapshotId", "<snap>");

pub const WET: &[&str] = &[];

/// A snapshot of an instance's disk.
pub fn story(teller: &mut dyn Teller) {
    let launched = teller.ask("RunInstances", "ImageId=ami-51a7ed00000000000&MinCount=1&MaxCount=1");
    let instance = text(&launched, "instanceId");
    let about = teller.ask("DescribeInstances", &format!("InstanceId.1={instance}"));
    teller.round();
    let made = teller.ask("CreateSnapshot", &format!("VolumeId={}", text(&about, "volumeId")));
    let snapshot = text(&made, "snapshotId");
    teller.ask("DeleteSnapshot", &format!("SnapshotId={snapshot}"));
    teller.ask("TerminateInstances", &format!("InstanceId.1={instance}"));
    teller.round();
}
