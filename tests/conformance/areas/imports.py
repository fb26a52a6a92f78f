"""Disks from elsewhere."""

from areas import COUNT, named, under

# Nobody listens there; what is asked for is told all the same.
DISK = {"Url": "http://127.0.0.1:1/canary-disk", "Format": "VMDK", "Description": "canary-disk"}
DETAIL = "Description Format Status Url"
IMAGE = "Architecture Description Encrypted ImportTaskId LicenseType Platform Status Tags.Key"


def of_snapshot(h):
    return {"DiskContainer": DISK, "Description": "canary-text", "TagSpecifications": named("import-snapshot-task"), "ClientToken": f"t{next(COUNT)}"}


def of_image(h):
    return {"DiskContainers": [DISK], "Description": "canary-text", "TagSpecifications": named("import-image-task"), "ClientToken": f"t{next(COUNT)}"}


MADE = {
    "snapshot_task": lambda h: h.ec2.import_snapshot(**of_snapshot(h))["ImportTaskId"],
    "image_task": lambda h: h.ec2.import_image(**of_image(h))["ImportTaskId"],
}
NAMES = {"snapshot_task": ["ImportTaskId", "ImportTaskIds"]}
NESTED = [("DescribeImportImageTasks", "image_task", lambda id: {"ImportTaskIds": [id]})]
TAGGED = ["snapshot_task", "image_task"]
CALLS = {
    "ImportSnapshot": of_snapshot,
    "ImportImage": of_image,
    "DescribeImportSnapshotTasks": lambda h: {"ImportTaskIds": [h.snapshot_task]},
    "DescribeImportImageTasks": lambda h: {"ImportTaskIds": [h.image_task]},
}
READS = {
    "ImportSnapshot": "Description ImportTaskId Tags.Key " + under("SnapshotTaskDetail", DETAIL),
    "ImportImage": IMAGE + " " + under("SnapshotDetails", DETAIL),
    "DescribeImportSnapshotTasks": under("ImportSnapshotTasks", "Description ImportTaskId Tags.Key " + under("SnapshotTaskDetail", DETAIL)),
    "DescribeImportImageTasks": under("ImportImageTasks", IMAGE + " " + under("SnapshotDetails", DETAIL)),
}
# Only a task that goes on can be cancelled: `test_imports.py` has one.
ELSEWHERE = {"CancelImportTask"}
