"""Images and snapshots."""

import datetime

from areas import COUNT, named, under

SNAPSHOT = "SnapshotId VolumeId State StartTime Progress OwnerId Description VolumeSize Encrypted"
LOCK = "SnapshotId LockState LockDuration LockCreatedOn LockExpiresOn LockDurationStartTime"
IN_A_MONTH = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
SHARED = "210987654321"


def new_snapshot(h):
    made = h.ec2.create_snapshot(VolumeId=h.volume, Description="canary-text", TagSpecifications=named("snapshot"))["SnapshotId"]
    # Of one that is pending nothing can be made.
    h.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made], WaiterConfig={"Delay": 0.05, "MaxAttempts": 400})
    return made


def new_locked(h):
    snapshot = new_snapshot(h)
    h.ec2.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=1)
    return snapshot


def copied(h):
    return {"SourceImageId": h.tenant.image, "SourceRegion": "us-east-1", "Name": f"image-{next(COUNT)}", "TagSpecifications": named("image")}


def new_image(h):
    image = h.ec2.copy_image(Description="canary-text", **copied(h))["ImageId"]
    h.ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": SHARED}]})
    return image


def of_snapshot(h):
    root = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": h.snapshot, "VolumeSize": 9, "VolumeType": "gp3"}}
    kind = {"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": True, "RootDeviceName": "/dev/sda1"}
    return {"Name": f"image-{next(COUNT)}", "BlockDeviceMappings": [root], "TagSpecifications": named("image"), **kind}


def image(h, **more):
    return {"ImageId": new_image(h), **more}


MADE = {"snapshot": new_snapshot, "locked": new_locked, "image": new_image}
NAMES = {"snapshot": ["SnapshotId", "SnapshotIds", "SourceSnapshotId"], "image": ["ImageId", "ImageIds", "SourceImageId"]}
TAGGED = ["snapshot", "image"]
NOT_LISTS = {"DescribeImageAttribute", "DescribeSnapshotAttribute"}


def mapped(id):
    return {"BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": id}}]}


NESTED = [
    ("RegisterImage", "snapshot", mapped),
    ("RunInstances", "snapshot", lambda id: {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": id}}]}),
    ("CreateSnapshots", "instance", lambda id: {"InstanceSpecification": {"InstanceId": id}}),
]

PERMISSION = {"Attribute": "createVolumePermission"}
LAUNCH = {"Attribute": "launchPermission"}

CALLS = {
    "CopyImage": copied,
    "CopySnapshot": lambda h: {"SourceSnapshotId": h.snapshot, "SourceRegion": "us-east-1", "TagSpecifications": named("snapshot")},
    "CreateImage": lambda h: {"InstanceId": h.instance, "Name": f"image-{next(COUNT)}", "NoReboot": True, "TagSpecifications": named("image")},
    "CreateSnapshot": lambda h: {"VolumeId": h.volume, "Description": "text", "TagSpecifications": named("snapshot")},
    "CreateSnapshots": lambda h: {"InstanceSpecification": {"InstanceId": h.instance}, "TagSpecifications": named("snapshot")},
    "DeleteSnapshot": lambda h: {"SnapshotId": new_snapshot(h)},
    "DeregisterImage": lambda h: image(h, DeleteAssociatedSnapshots=True),
    "DescribeImageAttribute": lambda h: {"ImageId": h.image, **LAUNCH},
    "DescribeInstanceImageMetadata": lambda h: {"InstanceIds": [h.instance]},
    "DescribeLockedSnapshots": lambda h: {"SnapshotIds": [h.locked]},
    "DescribeSnapshotAttribute": lambda h: {"SnapshotId": h.snapshot, **PERMISSION},
    "DescribeSnapshots": lambda h: {"SnapshotIds": [h.snapshot]},
    "DisableImage": image,
    "DisableImageBlockPublicAccess": lambda h: {},
    "DisableImageDeprecation": image,
    "DisableImageDeregistrationProtection": image,
    "DisableSnapshotBlockPublicAccess": lambda h: {},
    "EnableImage": image,
    "EnableImageBlockPublicAccess": lambda h: {"ImageBlockPublicAccessState": "block-new-sharing"},
    "EnableImageDeprecation": lambda h: image(h, DeprecateAt=IN_A_MONTH),
    "EnableImageDeregistrationProtection": image,
    "EnableSnapshotBlockPublicAccess": lambda h: {"State": "block-new-sharing"},
    "GetImageBlockPublicAccessState": lambda h: {},
    "GetSnapshotBlockPublicAccessState": lambda h: {},
    "LockSnapshot": lambda h: {"SnapshotId": new_snapshot(h), "LockMode": "governance", "LockDuration": 1},
    "ModifyImageAttribute": lambda h: image(h, LaunchPermission={"Add": [{"UserId": SHARED}]}),
    "ModifySnapshotAttribute": lambda h: {"SnapshotId": new_snapshot(h), **PERMISSION, "OperationType": "add", "UserIds": [SHARED]},
    "RegisterImage": of_snapshot,
    "ResetImageAttribute": lambda h: image(h, **LAUNCH),
    "ResetSnapshotAttribute": lambda h: {"SnapshotId": new_snapshot(h), **PERMISSION},
    "UnlockSnapshot": lambda h: {"SnapshotId": new_locked(h)},
}

READS = dict.fromkeys(CALLS, "") | {
    "CopyImage": "ImageId",
    "CopySnapshot": "SnapshotId Tags.Key",
    "CreateImage": "ImageId",
    "CreateSnapshot": SNAPSHOT + " StorageTier Tags.Key",
    "CreateSnapshots": under("Snapshots", SNAPSHOT + " Tags.Key"),
    "DeregisterImage": "Return DeleteSnapshotResults.SnapshotId DeleteSnapshotResults.ReturnCode",
    "DescribeImageAttribute": "ImageId LaunchPermissions.UserId",
    "DescribeInstanceImageMetadata": under(
        "InstanceImageMetadata",
        "InstanceId InstanceType LaunchTime AvailabilityZone ZoneId State.Name OwnerId Tags.Key ImageMetadata.ImageId ImageMetadata.Name "
        "ImageMetadata.OwnerId ImageMetadata.State ImageMetadata.CreationDate ImageMetadata.IsPublic",
    ),
    "DescribeLockedSnapshots": under("Snapshots", "OwnerId " + LOCK),
    "DescribeSnapshotAttribute": "SnapshotId",
    "DescribeSnapshots": under("Snapshots", SNAPSHOT + " StorageTier Tags.Key"),
    "DisableImage": "Return",
    "DisableImageBlockPublicAccess": "ImageBlockPublicAccessState",
    "DisableImageDeprecation": "Return",
    "DisableImageDeregistrationProtection": "Return",
    "DisableSnapshotBlockPublicAccess": "State",
    "EnableImage": "Return",
    "EnableImageBlockPublicAccess": "ImageBlockPublicAccessState",
    "EnableImageDeprecation": "Return",
    "EnableImageDeregistrationProtection": "Return",
    "EnableSnapshotBlockPublicAccess": "State",
    "GetImageBlockPublicAccessState": "ImageBlockPublicAccessState ManagedBy",
    "GetSnapshotBlockPublicAccessState": "State ManagedBy",
    "LockSnapshot": LOCK,
    "RegisterImage": "ImageId",
    "UnlockSnapshot": "SnapshotId",
}


def FILTERS(h):
    yield "DescribeSnapshots", "volume-id", [h.volume]
    yield "DescribeSnapshots", "owner-id", [h.tenant.id]
    yield "DescribeImages", "image-id", [h.image]
    yield "DescribeImages", "owner-id", [h.tenant.id]
    yield "DescribeLockedSnapshots", "lock-state", ["expired"]
    yield "DescribeInstanceImageMetadata", "instance-id", [h.instance]
