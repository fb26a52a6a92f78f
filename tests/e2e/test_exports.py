"""What a guest wrote leaves as a file, comes back as an image, and another guest finds it."""

import pytest
from awan import Awan, until


@pytest.fixture(scope="module")
def awan():
    running = Awan("auto", shutdown_grace=20)
    running.options["import_dir"] = running.exports
    try:
        yield running.start()
    finally:
        running.close()


def ended(describe):
    until("the task has ended", 300, lambda: describe()["Status"] != "active", 0.5)
    return describe()


def test_a_guest_finds_what_another_wrote_before_it_left_as_a_file(awan, tenant):
    folder = awan.exports / tenant.keys["AccountId"] / "backups"
    folder.mkdir(parents=True)
    (first,) = tenant.launch()
    tenant.wait("instance_running", first)
    tenant.ssh(first, "echo it was here > /root/marker; sync", 120)
    image = tenant.ec2.create_image(InstanceId=first, Name="leaves", NoReboot=True)["ImageId"]
    tenant.ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 0.5, "MaxAttempts": 120})
    # What it writes now is not in the image.
    tenant.ssh(first, "echo it is not > /root/marker; sync", 60)
    for form in ("RAW", "VMDK"):
        where = {"S3Bucket": "backups", "S3Prefix": "of/"}
        id = tenant.ec2.export_image(ImageId=image, DiskImageFormat=form, S3ExportLocation=where)["ExportImageTaskId"]
        task = ended(lambda: tenant.ec2.describe_export_image_tasks(ExportImageTaskIds=[id])["ExportImageTasks"][0])
        assert task["Status"] == "completed", task
        disk = {"Url": f"file://{folder}/of/{id}.{form.lower()}", "Format": form}
        back = tenant.ec2.import_image(DiskContainers=[disk])["ImportTaskId"]
        task = ended(lambda: tenant.ec2.describe_import_image_tasks(ImportTaskIds=[back])["ImportImageTasks"][0])
        assert task["Status"] == "completed", task
        (guest,) = tenant.launch(ImageId=task["ImageId"])
        tenant.wait("instance_running", guest)
        assert tenant.ssh(guest, "cat /root/marker", 120).strip() == "it was here", form
        tenant.terminate(guest)
        tenant.ec2.deregister_image(ImageId=task["ImageId"], DeleteAssociatedSnapshots=True)
    assert sorted(path.suffix for path in folder.rglob("*.*")) == [".raw", ".vmdk"]
    tenant.terminate(first)
    tenant.ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    awan.audit()
