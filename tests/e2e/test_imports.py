"""Disks from elsewhere: guests boot of them."""

import subprocess

import pytest
from awan import Awan, until
from files import Files


@pytest.fixture(scope="module")
def files():
    served = Files()
    try:
        yield served
    finally:
        served.close()


@pytest.fixture(scope="module")
def awan(files):
    running = Awan("auto", shutdown_grace=20, import_from=files.url)
    try:
        yield running.start()
    finally:
        running.close()


def converted(awan, tenant, tmp_path, kind, *options):
    """The tiny image, which brings a boot loader, in another format."""
    (image,) = [i["ImageId"] for i in tenant.ec2.describe_images(Owners=["amazon"])["Images"]]
    disk = awan.data / "images" / image / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", kind, *options, disk, tmp_path / "disk"], check=True)
    return (tmp_path / "disk").read_bytes()


def test_a_guest_boots_from_a_disk_that_was_imported_as_an_encrypted_snapshot(awan, tenant, files, tmp_path):
    files.held["/tiny.qcow2"] = converted(awan, tenant, tmp_path, "qcow2", "-c")
    asked = {"Url": files.url + "tiny.qcow2", "Format": "qcow2"}
    id = tenant.ec2.import_snapshot(DiskContainer=asked, Encrypted=True)["ImportTaskId"]
    tenant.ec2.get_waiter("snapshot_imported").wait(ImportTaskIds=[id], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    (task,) = tenant.ec2.describe_import_snapshot_tasks(ImportTaskIds=[id])["ImportSnapshotTasks"]
    root = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": task["SnapshotTaskDetail"]["SnapshotId"]}}
    image = tenant.ec2.register_image(
        Name="from elsewhere", Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/sda1", BlockDeviceMappings=[root]
    )["ImageId"]
    (guest,) = tenant.launch(ImageId=image)
    tenant.wait("instance_running", guest)
    (volume,) = tenant.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [guest]}])["Volumes"]
    assert volume["Encrypted"]
    tenant.ssh(guest, "echo kept > /root/kept; sync", 120)
    awan.audit()
    tenant.terminate(guest)
    tenant.ec2.deregister_image(ImageId=image)
    tenant.ec2.delete_snapshot(SnapshotId=root["Ebs"]["SnapshotId"])
    until("its host has forgotten it", 60, lambda: not list((awan.data / "contents").iterdir()), 0.2)
    awan.audit()


def test_a_guest_boots_from_an_image_that_was_imported(awan, tenant, files, tmp_path):
    files.held["/tiny.vmdk"] = converted(awan, tenant, tmp_path, "vmdk", "-o", "subformat=streamOptimized")
    id = tenant.ec2.import_image(DiskContainers=[{"Url": files.url + "tiny.vmdk", "Format": "VMDK"}])["ImportTaskId"]
    about = lambda: tenant.ec2.describe_import_image_tasks(ImportTaskIds=[id])["ImportImageTasks"][0]
    until("the image is there", 60, lambda: about()["Status"] != "active", 0.2)
    assert about()["Status"] == "completed", about()
    (guest,) = tenant.launch(ImageId=about()["ImageId"])
    tenant.wait("instance_running", guest)
    tenant.ssh(guest, "true", 120)
    tenant.terminate(guest)
    awan.audit()
