//! Requests about images and snapshots.

use super::{FILTER, FILTER_VALUE, IMAGE, PAGE, Recipe, Teller, text};

pub const RECIPES: &[Recipe] = &[
    (
        "CopyImage",
        &[("SourceImageId", IMAGES), REGION, NAME],
        &[("ClientToken", "x|y"), ("CopyImageTags", "true"), ("Encrypted", "true|false"), IMAGE_TAG],
    ),
    ("CopySnapshot", &[("SourceSnapshotId", "<snap>"), REGION], &[DESCRIPTION, ("DestinationRegion", "us-east-1|x")]),
    (
        "CreateImage",
        &[("InstanceId", "<i>"), NAME],
        &[("NoReboot", "true|false"), DESCRIPTION, DEVICE, ("BlockDeviceMapping.1.NoDevice", ""), IMAGE_TAG],
    ),
    (
        "CreateSnapshot",
        &[("VolumeId", "<vol>")],
        &[DESCRIPTION, ("TagSpecification.1.ResourceType", "snapshot|volume"), ("Location", "regional|local")],
    ),
    (
        "CreateSnapshots",
        &[("InstanceSpecification.InstanceId", "<i>")],
        &[
            ("InstanceSpecification.ExcludeBootVolume", "true|false"),
            ("InstanceSpecification.ExcludeDataVolumeId.1", "<vol>"),
            ("CopyTagsFromSource", "volume|x"),
        ],
    ),
    ("DeleteSnapshot", &[SNAPSHOT], &[]),
    ("DeregisterImage", &[OWN], &[("DeleteAssociatedSnapshots", "true|false")]),
    (
        "DescribeImageAttribute",
        &[OWN, ("Attribute", "launchPermission|description|bootMode|blockDeviceMapping|kernel|imdsSupport|x")],
        &[],
    ),
    ("DescribeInstanceImageMetadata", &[], &[("InstanceId.1", "<i>"), FILTER, FILTER_VALUE, PAGE]),
    (
        "DescribeLockedSnapshots",
        &[],
        &[("SnapshotId.1", "<snap>"), ("Filter.1.Name", "lock-state"), FILTER_VALUE, PAGE],
    ),
    ("DescribeSnapshotAttribute", &[SNAPSHOT, ("Attribute", "createVolumePermission|productCodes|x")], &[]),
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
    ("DisableImage", &[OWN], &[]),
    ("DisableImageBlockPublicAccess", &[], &[]),
    ("DisableImageDeprecation", &[OWN], &[]),
    ("DisableImageDeregistrationProtection", &[OWN], &[]),
    ("DisableSnapshotBlockPublicAccess", &[], &[]),
    ("EnableImage", &[OWN], &[]),
    ("EnableImageBlockPublicAccess", &[("ImageBlockPublicAccessState", "block-new-sharing|unblocked")], &[]),
    ("EnableImageDeprecation", &[OWN, ("DeprecateAt", "2027-06-01T00:00:00Z|2001-01-01T00:00:00Z")], &[]),
    ("EnableImageDeregistrationProtection", &[OWN], &[("WithCooldown", "true|false")]),
    ("EnableSnapshotBlockPublicAccess", &[("State", "block-new-sharing|block-all-sharing|unblocked")], &[]),
    ("GetImageBlockPublicAccessState", &[], &[]),
    ("GetSnapshotBlockPublicAccessState", &[], &[]),
    (
        "LockSnapshot",
        &[SNAPSHOT, ("LockMode", "governance|compliance"), ("LockDuration", "1|2|0")],
        &[("CoolOffPeriod", "1|72|73"), ("ExpirationDate", "2027-06-01T00:00:00Z")],
    ),
    (
        "ModifyImageAttribute",
        &[OWN],
        &[
            ("LaunchPermission.Add.1.UserId", USER),
            ("LaunchPermission.Add.1.Group", "all|some"),
            ("LaunchPermission.Remove.1.UserId", USER),
            ("Description.Value", "text|"),
            ("ImdsSupport.Value", "v2.0|v1"),
        ],
    ),
    (
        "ModifySnapshotAttribute",
        &[SNAPSHOT, ("OperationType", "add|remove"), ("UserId.1", USER)],
        &[("UserGroup.1", "all"), ("Attribute", "createVolumePermission|x")],
    ),
    (
        "RegisterImage",
        &[
            NAME,
            ("VirtualizationType", "hvm"),
            ("RootDeviceName", "/dev/xvda"),
            DEVICE,
            ("BlockDeviceMapping.1.Ebs.SnapshotId", "<snap>"),
        ],
        &[("Architecture", "x86_64|arm64|x"), ("BootMode", "legacy-bios|uefi"), ("EnaSupport", "true"), IMAGE_TAG],
    ),
    ("ResetImageAttribute", &[OWN, ("Attribute", "launchPermission|x")], &[]),
    ("ResetSnapshotAttribute", &[SNAPSHOT, ("Attribute", "createVolumePermission|x")], &[]),
    ("UnlockSnapshot", &[SNAPSHOT], &[]),
];
const SNAPSHOT: (&str, &str) = ("SnapshotId", "<snap>");
const OWN: (&str, &str) = ("ImageId", "<ami>");
const IMAGES: &str = "<ami>|ami-51a7ed00000000000";
const REGION: (&str, &str) = ("SourceRegion", "us-east-1|us-east-1|mars-1");
const NAME: (&str, &str) = ("Name", "one|two|three|four|five|six|seven");
const DESCRIPTION: (&str, &str) = ("Description", "text|");
const DEVICE: (&str, &str) = ("BlockDeviceMapping.1.DeviceName", "/dev/xvda|/dev/sdf");
const IMAGE_TAG: (&str, &str) = ("TagSpecification.1.ResourceType", "image|snapshot|instance");
const USER: &str = "123456789012|210987654321|x";

pub const WET: &[&str] = &[];

/// Snapshots and images of an instance's disk, shared, locked, protected, and taken away again.
pub fn story(teller: &mut dyn Teller) {
    let launched = teller.ask("RunInstances", &format!("ImageId={IMAGE}&MinCount=1&MaxCount=1"));
    let instance = text(&launched, "instanceId");
    let about = teller.ask("DescribeInstances", &format!("InstanceId.1={instance}"));
    teller.round();
    let made = teller.ask("CreateSnapshot", &format!("VolumeId={}", text(&about, "volumeId")));
    let snapshot = format!("SnapshotId={}", text(&made, "snapshotId"));
    teller.ask("CreateSnapshots", &format!("InstanceSpecification.InstanceId={instance}"));
    teller.ask("LockSnapshot", &format!("{snapshot}&LockMode=governance&LockDuration=1"));
    teller.ask("UnlockSnapshot", &snapshot);
    let permission = format!("{snapshot}&Attribute=createVolumePermission");
    teller.ask("ModifySnapshotAttribute", &format!("{permission}&OperationType=add&UserId.1=123456789012"));
    teller.ask("ResetSnapshotAttribute", &permission);
    teller.ask("DeleteSnapshot", &snapshot);
    let made = teller.ask("CreateImage", &format!("InstanceId={instance}&Name=of%20a%20story"));
    let image = format!("ImageId={}", text(&made, "imageId"));
    let from = format!("SourceRegion=us-east-1&SourceImageId={}", text(&made, "imageId"));
    let copy = format!("ImageId={}", text(&teller.ask("CopyImage", &format!("{from}&Name=its%20copy")), "imageId"));
    for action in ["DisableImage", "EnableImage", "EnableImageDeregistrationProtection"] {
        teller.ask(action, &image);
    }
    teller.ask("EnableImageDeprecation", &format!("{image}&DeprecateAt=2027-06-01T00:00:00Z"));
    teller.ask("DisableImageDeprecation", &image);
    teller.ask("DisableImageDeregistrationProtection", &image);
    teller.ask("ModifyImageAttribute", &format!("{image}&LaunchPermission.Add.1.UserId=123456789012"));
    teller.ask("ResetImageAttribute", &format!("{image}&Attribute=launchPermission"));
    teller.ask("DescribeImageAttribute", &format!("{image}&Attribute=launchPermission"));
    for image in [image, copy] {
        teller.ask("DeregisterImage", &format!("{image}&DeleteAssociatedSnapshots=true"));
    }
    teller.ask("TerminateInstances", &format!("InstanceId.1={instance}"));
    teller.round();
}
