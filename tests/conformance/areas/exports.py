"""Images that leave for files of the operator's."""

from areas import COUNT, named, under

TASK = "Description ExportImageTaskId ImageId Progress S3ExportLocation.S3Bucket S3ExportLocation.S3Prefix Status StatusMessage Tags.Key"
BUCKET = "canary-bucket"


def bucket(h):
    """What the operator makes."""
    made = h.tenant.awan.exports / h.tenant.id / BUCKET
    made.mkdir(parents=True, exist_ok=True)
    return BUCKET


def of_image(h):
    to = {"S3Bucket": bucket(h), "S3Prefix": "canary-prefix/"}
    asked = {"ImageId": h.image, "DiskImageFormat": "VMDK", "S3ExportLocation": to, "Description": "canary-text", "RoleName": "vmimport"}
    return {**asked, "TagSpecifications": named("export-image-task"), "ClientToken": f"t{next(COUNT)}"}


MADE = {"export_task": lambda h: h.ec2.export_image(**of_image(h))["ExportImageTaskId"]}
NAMES = {"export_task": ["ExportImageTaskIds", "ExportTaskId"]}
TAGGED = ["export_task"]
CALLS = {
    "ExportImage": of_image,
    "DescribeExportImageTasks": lambda h: {"ExportImageTaskIds": [h.export_task]},
}
READS = {
    "ExportImage": TASK + " DiskImageFormat RoleName",
    # What has ended tells of no progress.
    "DescribeExportImageTasks": under("ExportImageTasks", TASK.replace(" Progress", "").replace(" StatusMessage", "")),
}
ALWAYS_WET = {"CancelExportTask"}
# Only a task that goes on can be cancelled: `test_exports.py` has one.
ELSEWHERE = {"CancelExportTask"}
