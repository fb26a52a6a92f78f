"""Images and snapshots."""

from areas import named, under

SNAPSHOT = "SnapshotId VolumeId State StartTime Progress OwnerId Description VolumeSize Encrypted StorageTier Tags.Key"


def new_snapshot(h):
    return h.ec2.create_snapshot(VolumeId=h.volume, Description="canary-text", TagSpecifications=named("snapshot"))["SnapshotId"]


MADE = {"snapshot": new_snapshot}
NAMES = {"snapshot": ["SnapshotId", "SnapshotIds", "SourceSnapshotId"]}
TAGGED = ["snapshot"]

CALLS = {
    "CreateSnapshot": lambda h: {"VolumeId": h.volume, "Description": "text", "TagSpecifications": named("snapshot")},
    "DeleteSnapshot": lambda h: {"SnapshotId": new_snapshot(h)},
    "DescribeSnapshots": lambda h: {"SnapshotIds": [h.snapshot]},
}

READS = {
    "CreateSnapshot": SNAPSHOT,
    "DeleteSnapshot": "",
    "DescribeSnapshots": under("Snapshots", SNAPSHOT),
}


def FILTERS(h):
    yield "DescribeSnapshots", "volume-id", [h.volume]
    yield "DescribeSnapshots", "owner-id", [h.tenant.id]
