"""Volumes."""

from . import named, under

VOLUME = "VolumeId Size VolumeType State AvailabilityZone AvailabilityZoneId CreateTime Encrypted Iops MultiAttachEnabled SnapshotId"
ATTACHMENT = "VolumeId InstanceId Device State AttachTime DeleteOnTermination"
MODIFICATION = "VolumeId ModificationState TargetSize TargetIops TargetVolumeType TargetThroughput OriginalSize OriginalIops OriginalVolumeType Progress StartTime"


def zone(home):
    return home.tenant.about(home.instance)["Placement"]["AvailabilityZone"]


def new_volume(home, **more):
    asked = {"AvailabilityZone": zone(home), "Size": 1, "VolumeType": "gp3", "TagSpecifications": named("volume")}
    return home.ec2.create_volume(**{**asked, **more})["VolumeId"]


def new_attached(home):
    """A volume that an instance of its own has."""
    volume = new_volume(home)
    (instance,) = home.tenant.run()
    home.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    home.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return volume


def new_modified(home):
    volume = new_volume(home)
    home.ec2.modify_volume(VolumeId=volume, Size=2)
    return volume


CALLS = {
    "AttachVolume": lambda h: {"VolumeId": new_volume(h), "InstanceId": h.tenant.run()[0], "Device": "/dev/sdf"},
    "CreateVolume": lambda h: {
        "AvailabilityZone": "us-east-1a",
        "SnapshotId": h.snapshot,
        "Size": 10,
        "VolumeType": "gp3",
        "Iops": 4000,
        "Throughput": 250,
        "TagSpecifications": named("volume"),
    },
    "DescribeVolumeAttribute": lambda h: {"VolumeId": h.empty_volume, "Attribute": "autoEnableIO"},
    "DescribeVolumeStatus": lambda h: {"VolumeIds": [h.volume]},
    "DescribeVolumesModifications": lambda h: {"VolumeIds": [new_modified(h)]},
    "DetachVolume": lambda h: {"VolumeId": new_attached(h)},
    "DisableEbsEncryptionByDefault": lambda h: {},
    "EnableEbsEncryptionByDefault": lambda h: {},
    "EnableVolumeIO": lambda h: {"VolumeId": h.empty_volume},
    "GetEbsDefaultKmsKeyId": lambda h: {},
    "GetEbsEncryptionByDefault": lambda h: {},
    "ModifyEbsDefaultKmsKeyId": lambda h: {"KmsKeyId": "alias/some"},
    "ModifyVolume": lambda h: {"VolumeId": new_volume(h), "Size": 3, "VolumeType": "gp3", "Iops": 3000},
    "ModifyVolumeAttribute": lambda h: {"VolumeId": h.empty_volume, "AutoEnableIO": {"Value": True}},
    "ResetEbsDefaultKmsKeyId": lambda h: {},
}

READS = {
    "AttachVolume": ATTACHMENT,
    "CreateVolume": VOLUME + " Throughput Tags.Key",
    "DescribeVolumeAttribute": "VolumeId AutoEnableIO.Value",
    "DescribeVolumeStatus": under("VolumeStatuses", "VolumeId AvailabilityZone VolumeStatus.Status VolumeStatus.Details.Name VolumeStatus.Details.Status"),
    "DescribeVolumesModifications": under("VolumesModifications", MODIFICATION + " EndTime"),
    "DetachVolume": ATTACHMENT,
    "DisableEbsEncryptionByDefault": "EbsEncryptionByDefault",
    "EnableEbsEncryptionByDefault": "EbsEncryptionByDefault",
    "EnableVolumeIO": "",
    "GetEbsDefaultKmsKeyId": "KmsKeyId",
    "GetEbsEncryptionByDefault": "EbsEncryptionByDefault",
    "ModifyEbsDefaultKmsKeyId": "KmsKeyId",
    "ModifyVolume": under("VolumeModification", MODIFICATION),
    "ModifyVolumeAttribute": "",
    "ResetEbsDefaultKmsKeyId": "KmsKeyId",
}

# While it is on nothing can be launched.
UNDONE = {"EnableEbsEncryptionByDefault": lambda ec2: ec2.disable_ebs_encryption_by_default()}

NOT_LISTS = {"DescribeVolumeAttribute"}

MADE = {"empty_volume": new_volume}

NAMES = {"empty_volume": ["VolumeId", "VolumeIds"]}


def FILTERS(home):
    yield "DescribeVolumes", "volume-id", [home.empty_volume]
