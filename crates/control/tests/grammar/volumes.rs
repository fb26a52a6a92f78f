//! Requests about volumes.

use super::{Recipe, Teller, text};

const VOLUME: (&str, &str) = ("VolumeId", "<vol>");
const ZONE: (&str, &str) = ("AvailabilityZone", "us-east-1a|us-east-1b|us-east-1z");
const FILTER: (&str, &str) = ("Filter.1.Name", "volume-id|target-size|availability-zone|volume-status.status|colour");
const FILTER_VALUE: (&str, &str) = ("Filter.1.Value.1", "*|<vol>|ok|us-east-1?|9");
const PAGE: (&str, &str) = ("MaxResults", "5|100|1|1000|1001|-1");

pub const RECIPES: &[Recipe] = &[
    (
        "AttachVolume",
        &[VOLUME, ("InstanceId", "<i>"), ("Device", "/dev/sdf|/dev/sdg|xvdh|/dev/sda|disk")],
        &[("EbsCardIndex", "0|1")],
    ),
    (
        "CreateVolume",
        &[ZONE, ("Size", "1|8|100|0|70000")],
        &[
            ("VolumeType", "gp2|gp3|io1|st1|standard|x"),
            ("Iops", "3000|100|1"),
            ("Throughput", "125|1000"),
            ("ClientToken", "x|y|z"),
            ("Encrypted", "true|false"),
            ("SnapshotId", "<snap>"),
            ("MultiAttachEnabled", "true|false"),
            ("TagSpecification.1.ResourceType", "volume|instance"),
        ],
    ),
    ("DescribeVolumeAttribute", &[VOLUME, ("Attribute", "autoEnableIO|productCodes|x")], &[]),
    ("DescribeVolumeStatus", &[], &[("VolumeId.1", "<vol>"), FILTER, FILTER_VALUE, PAGE]),
    ("DescribeVolumesModifications", &[], &[("VolumeId.1", "<vol>"), FILTER, FILTER_VALUE, PAGE]),
    ("DetachVolume", &[VOLUME], &[("InstanceId", "<i>"), ("Device", "/dev/sdf|/dev/xvda"), ("Force", "true|false")]),
    ("DisableEbsEncryptionByDefault", &[], &[]),
    ("EnableEbsEncryptionByDefault", &[], &[]),
    ("EnableVolumeIO", &[VOLUME], &[]),
    ("GetEbsDefaultKmsKeyId", &[], &[]),
    ("GetEbsEncryptionByDefault", &[], &[]),
    ("ModifyEbsDefaultKmsKeyId", &[("KmsKeyId", "alias/a|1234abcd-12ab-34cd-56ef-1234567890ab|a b")], &[]),
    (
        "ModifyVolume",
        &[VOLUME],
        &[
            ("Size", "1|9|200|70000|-1"),
            ("VolumeType", "gp2|gp3|io2|sc1|x"),
            ("Iops", "3000|100"),
            ("Throughput", "125|250"),
            ("MultiAttachEnabled", "true|false"),
        ],
    ),
    ("ModifyVolumeAttribute", &[VOLUME, ("AutoEnableIO.Value", "true|false")], &[]),
    ("ResetEbsDefaultKmsKeyId", &[], &[]),
];

pub const WET: &[&str] = &[];

pub fn story(teller: &mut dyn Teller) {
    // Chance may have turned it on, and then nothing can be made.
    teller.ask("DisableEbsEncryptionByDefault", "");
    let launched = teller.ask("RunInstances", &format!("ImageId={}&MinCount=1&MaxCount=1", super::IMAGE));
    teller.round();
    let (instance, zone) = (text(&launched, "instanceId"), text(&launched, "availabilityZone"));
    let made = teller.ask("CreateVolume", &format!("AvailabilityZone={zone}&Size=2"));
    let volume = text(&made, "volumeId");
    teller.ask("AttachVolume", &format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/sdf"));
    teller.round();
    teller.ask("ModifyVolume", &format!("VolumeId={volume}&Size=4"));
    teller.round();
    teller.ask("DescribeVolumesModifications", &format!("VolumeId.1={volume}"));
    teller.ask("DetachVolume", &format!("VolumeId={volume}"));
    teller.round();
    teller.ask("ModifyVolumeAttribute", &format!("VolumeId={volume}&AutoEnableIO.Value=true"));
    let made = teller.ask("CreateSnapshot", &format!("VolumeId={volume}"));
    let snapshot = text(&made, "snapshotId");
    teller.ask("CreateVolume", &format!("AvailabilityZone={zone}&SnapshotId={snapshot}"));
    teller.ask("DeleteVolume", &format!("VolumeId={volume}"));
    teller.ask("TerminateInstances", &format!("InstanceId.1={instance}"));
    teller.round();
}
