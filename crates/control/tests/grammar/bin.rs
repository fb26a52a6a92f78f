//! Requests about the recycle bin: its rules, and what is in it.

use super::{Recipe, Teller};

const RULE: (&str, &str) = ("path:identifier", "<rule>|<rule>|00000000000|x");
const ARN: (&str, &str) =
    ("path:resourceArn", "<rulearn>|<rulearn>|arn:aws:rbin:us-east-1:000000000000:rule/00000000000|x");
const KIND: (&str, &str) = ("ResourceType", "EBS_SNAPSHOT|EC2_IMAGE|EBS_VOLUME|x");
const PERIOD: (&str, &str) = (
    "RetentionPeriod",
    r#"{"RetentionPeriodValue":1,"RetentionPeriodUnit":"DAYS"}|{"RetentionPeriodValue":366,"RetentionPeriodUnit":"DAYS"}|{}"#,
);
const TAGGED: (&str, &str) =
    ("ResourceTags", r#"[{"ResourceTagKey":"a","ResourceTagValue":"b"}]|[{"ResourceTagKey":"a"}]|[{}]"#);
const EXCEPT: (&str, &str) = ("ExcludeResourceTags", r#"[{"ResourceTagKey":"a","ResourceTagValue":"b"}]|[{}]|x"#);
const LOCK: (&str, &str) = (
    "LockConfiguration",
    r#"{"UnlockDelay":{"UnlockDelayValue":7,"UnlockDelayUnit":"DAYS"}}|{"UnlockDelay":{"UnlockDelayValue":6}}|{}"#,
);
const TAGS: (&str, &str) = ("Tags", r#"[{"Key":"a","Value":"b"}]|[{}]|[{"Key":"aws:a","Value":"b"}]"#);
const DESCRIPTION: (&str, &str) = ("Description", "x");

pub const RECIPES: &[Recipe] = &[
    ("CreateRule", &[KIND, PERIOD], &[TAGGED, EXCEPT, LOCK, TAGS, DESCRIPTION]),
    ("DeleteRule", &[RULE], &[]),
    ("GetRule", &[RULE], &[]),
    (
        "ListRules",
        &[KIND],
        &[TAGGED, EXCEPT, ("LockState", "locked|unlocked|x"), ("MaxResults", "1|0|1001"), ("NextToken", "AAAA")],
    ),
    ("ListTagsForResource", &[ARN], &[]),
    ("LockRule", &[RULE, LOCK], &[]),
    ("TagResource", &[ARN, TAGS], &[]),
    ("UnlockRule", &[RULE], &[]),
    ("UntagResource", &[ARN, ("query:tagKeys", "a|b")], &[]),
    ("UpdateRule", &[RULE], &[PERIOD, TAGGED, EXCEPT, DESCRIPTION, KIND]),
    (
        "ListSnapshotsInRecycleBin",
        &[],
        &[("SnapshotId.1", "<snap>"), ("MaxResults", "5|4|1000"), ("NextToken", "AAAA")],
    ),
    ("RestoreSnapshotFromRecycleBin", &[("SnapshotId", "<snap>")], &[]),
    ("ListVolumesInRecycleBin", &[], &[("VolumeId.1", "<vol>"), ("MaxResults", "1|0|1000"), ("NextToken", "AAAA")]),
    ("RestoreVolumeFromRecycleBin", &[("VolumeId", "<vol>")], &[]),
    ("ListImagesInRecycleBin", &[], &[("ImageId.1", "<ami>"), ("MaxResults", "1|0|1000"), ("NextToken", "AAAA")]),
    ("RestoreImageFromRecycleBin", &[("ImageId", "<ami>")], &[]),
];

pub fn story(teller: &mut dyn Teller) {
    let member = |told: &str, name: &str| {
        let rest = told.split(&format!("\"{name}\":\"")).nth(1);
        rest.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    };
    let element = |told: &str, name: &str| {
        let rest = told.split(&format!("<{name}>")).nth(1);
        rest.and_then(|rest| rest.split('<').next()).unwrap_or_default().to_owned()
    };
    let period = r#"RetentionPeriod={"RetentionPeriodValue":1,"RetentionPeriodUnit":"DAYS"}"#;
    let made = teller.ask("CreateRule", &format!("ResourceType=EBS_SNAPSHOT&{period}"));
    let (rule, arn) = (member(&made, "Identifier"), member(&made, "RuleArn"));
    let lock = r#"LockConfiguration={"UnlockDelay":{"UnlockDelayValue":7,"UnlockDelayUnit":"DAYS"}}"#;
    let image = teller.ask("CreateRule", &format!("ResourceType=EC2_IMAGE&{period}&{lock}"));
    let about = format!("path:identifier={}", member(&image, "Identifier"));
    teller.ask("LockRule", &format!("{about}&{lock}"));
    teller.ask("UnlockRule", &about);
    teller.ask("LockRule", &format!("{about}&{lock}"));
    teller.ask("ListRules", "ResourceType=EBS_SNAPSHOT");
    teller.ask("TagResource", &format!(r#"path:resourceArn={arn}&Tags=[{{"Key":"a","Value":"b"}}]"#));
    teller.ask("ListTagsForResource", &format!("path:resourceArn={arn}"));
    teller.ask("UntagResource", &format!("path:resourceArn={arn}&query:tagKeys=a"));
    let volume = element(&teller.ask("CreateVolume", "AvailabilityZone=us-east-1a&Size=1"), "volumeId");
    let snapshot = element(&teller.ask("CreateSnapshot", &format!("VolumeId={volume}")), "snapshotId");
    let device = format!("BlockDeviceMapping.1.DeviceName=/dev/sda1&BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}");
    let image = teller.ask("RegisterImage", &format!("Name=of the bin&RootDeviceName=/dev/sda1&{device}"));
    let image = element(&image, "imageId");
    teller.ask("DeregisterImage", &format!("ImageId={image}&DeleteAssociatedSnapshots=true"));
    teller.ask("ListSnapshotsInRecycleBin", "");
    teller.ask("ListImagesInRecycleBin", "");
    teller.ask("CreateTags", &format!("ResourceId.1={snapshot}&Tag.1.Key=a&Tag.1.Value=b"));
    teller.round();
    teller.ask("RestoreImageFromRecycleBin", &format!("ImageId={image}"));
    teller.ask("RestoreSnapshotFromRecycleBin", &format!("SnapshotId={snapshot}"));
    teller.ask("RestoreImageFromRecycleBin", &format!("ImageId={image}"));
    teller.ask("UpdateRule", &format!("path:identifier={rule}&Description=x"));
    teller.ask("GetRule", &format!("path:identifier={rule}"));
    teller.ask("DeleteRule", &format!("path:identifier={rule}"));
    teller.ask("DeregisterImage", &format!("ImageId={image}"));
    teller.ask("DeleteSnapshot", &format!("SnapshotId={snapshot}"));
    let made = teller.ask("CreateRule", &format!("ResourceType=EBS_VOLUME&{period}"));
    teller.ask("DeleteVolume", &format!("VolumeId={volume}"));
    teller.ask("ListVolumesInRecycleBin", "");
    teller.ask("RestoreVolumeFromRecycleBin", &format!("VolumeId={volume}"));
    teller.ask("DeleteRule", &format!("path:identifier={}", member(&made, "Identifier")));
    teller.ask("DeleteVolume", &format!("VolumeId={volume}"));
}
