"""The recycle bin of snapshots, images and volumes."""

from areas import under
from areas.images import new_image, new_snapshot

KEEP = {"Key": "recycle", "Value": "yes"}


def kept(h, kind, id):
    """Tagged, so that a rule keeps it when it is deleted."""
    rbin = h.tenant.awan.client(h.tenant.keys, "rbin")
    if not rbin.list_rules(ResourceType=kind)["Rules"]:
        week, tags = {"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"}, [{"ResourceTagKey": KEEP["Key"], "ResourceTagValue": KEEP["Value"]}]
        rbin.create_rule(ResourceType=kind, RetentionPeriod=week, ResourceTags=tags)
    h.ec2.create_tags(Resources=[id], Tags=[KEEP])
    return id


def binned_snapshot(h):
    snapshot = kept(h, "EBS_SNAPSHOT", new_snapshot(h))
    h.ec2.delete_snapshot(SnapshotId=snapshot)
    return snapshot


def binned_image(h):
    image = kept(h, "EC2_IMAGE", new_image(h))
    h.ec2.deregister_image(ImageId=image)
    return image


def binned_volume(h):
    volume = kept(h, "EBS_VOLUME", h.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="gp3")["VolumeId"])
    h.ec2.delete_volume(VolumeId=volume)
    return volume


MADE = {"binned_snapshot": binned_snapshot, "binned_image": binned_image, "binned_volume": binned_volume}
NAMES = {
    "binned_snapshot": ["SnapshotId", "SnapshotIds"],
    "binned_image": ["ImageId", "ImageIds"],
    "binned_volume": ["VolumeId", "VolumeIds"],
}

CALLS = {
    "ListImagesInRecycleBin": lambda h: {"ImageIds": [h.binned_image]},
    "ListSnapshotsInRecycleBin": lambda h: {"SnapshotIds": [h.binned_snapshot]},
    "ListVolumesInRecycleBin": lambda h: {"VolumeIds": [h.binned_volume]},
    "RestoreImageFromRecycleBin": lambda h: {"ImageId": binned_image(h)},
    "RestoreSnapshotFromRecycleBin": lambda h: {"SnapshotId": binned_snapshot(h)},
    "RestoreVolumeFromRecycleBin": lambda h: {"VolumeId": binned_volume(h)},
}

READS = {
    "ListImagesInRecycleBin": under("Images", "ImageId Name Description RecycleBinEnterTime RecycleBinExitTime"),
    "ListSnapshotsInRecycleBin": under("Snapshots", "SnapshotId Description VolumeId RecycleBinEnterTime RecycleBinExitTime"),
    "ListVolumesInRecycleBin": under(
        "Volumes",
        "VolumeId VolumeType State Size Iops Throughput AvailabilityZone AvailabilityZoneId CreateTime Operator.Managed RecycleBinEnterTime RecycleBinExitTime",
    ),
    "RestoreImageFromRecycleBin": "Return",
    "RestoreVolumeFromRecycleBin": "Return",
    "RestoreSnapshotFromRecycleBin": "SnapshotId VolumeId State StartTime Progress OwnerId Description VolumeSize Encrypted",
}
