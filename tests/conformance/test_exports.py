"""Images that leave: a simulated host writes real files, into buckets that are folders."""

import os
import subprocess

import pytest
from awan import Awan, until
from clients import Tenant, refused
from files import Files

MIB = 1 << 20
ENDINGS = {"RAW": ("raw", "raw"), "VHD": ("vhd", "vpc"), "VMDK": ("vmdk", "vmdk")}


def bucket(tenant, name="backups"):
    """What the operator makes."""
    made = tenant.awan.exports / tenant.id / name
    made.mkdir(parents=True, exist_ok=True)
    return made


def image(tenant, files, disk):
    """An image of a disk from elsewhere."""
    name = f"disk-{tenant.id}"
    files.held[f"/{name}"] = disk
    id = tenant.ec2.import_image(DiskContainers=[{"Url": files.url + name, "Format": "RAW"}])["ImportTaskId"]
    about = lambda: tenant.ec2.describe_import_image_tasks(ImportTaskIds=[id])["ImportImageTasks"][0]
    until("the image is there", 30, lambda: about()["Status"] == "completed", 0.1)
    return about()["ImageId"]


def asked(image, form="RAW", bucket="backups", prefix="", **more):
    return {"ImageId": image, "DiskImageFormat": form, "S3ExportLocation": {"S3Bucket": bucket, "S3Prefix": prefix}, **more}


def told(tenant, id):
    (task,) = tenant.ec2.describe_export_image_tasks(ExportImageTaskIds=[id])["ExportImageTasks"]
    return task


def ended(tenant, id):
    # Everything else on the machine comes first.
    until("the task has ended", 300, lambda: told(tenant, id)["Status"] not in ("active", "deleting"), 0.1)
    return told(tenant, id)


def mixed():
    """Text, noise and holes, the first and the last of them at the ends."""
    return b"\0" * MIB + b"text " * 100_000 + b"\0" * 40 * MIB + os.urandom(3 * MIB) + b"\0" * 2 * MIB


@pytest.mark.parametrize("form", ["RAW", "VHD", "VMDK"])
def test_a_file_holds_what_the_image_does_and_comes_back_as_one(awan, tenant, tmp_path, form):
    folder, disk = bucket(tenant), mixed()
    made = image(tenant, awan.files, disk)
    ending, kind = ENDINGS[form]
    answer = tenant.ec2.export_image(**asked(made, form, prefix="of/mine-", Description="mine", RoleName="vmimport"))
    id = answer["ExportImageTaskId"]
    assert (answer["Status"], answer["ImageId"], answer["DiskImageFormat"], answer["RoleName"]) == ("active", made, form, "vmimport")
    # What it holds stays, though the image does not.
    tenant.ec2.deregister_image(ImageId=made, DeleteAssociatedSnapshots=True)
    task = ended(tenant, id)
    assert task["Status"] == "completed", task
    assert task["S3ExportLocation"] == {"S3Bucket": "backups", "S3Prefix": "of/mine-"}
    file = folder / f"of/mine-{id}.{ending}"
    assert [path for path in folder.rglob("*") if path.is_file()] == [file]
    (tmp_path / "raw").write_bytes(disk)
    os.truncate(tmp_path / "raw", 1 << 30)
    compared = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", kind, tmp_path / "raw", file], capture_output=True, text=True)
    assert compared.stdout == "Images are identical.\n", compared
    assert file.stat().st_blocks * 512 < len(disk), "what holds nothing takes nothing"
    if form == "VMDK":
        awan.files.held[f"/{id}"] = file.read_bytes()
        again = tenant.ec2.import_image(DiskContainers=[{"Url": f"{awan.files.url}{id}", "Format": form}])["ImportTaskId"]
        about = lambda: tenant.ec2.describe_import_image_tasks(ImportTaskIds=[again])["ImportImageTasks"][0]
        until("it has come back", 60, lambda: about()["Status"] == "completed", 0.1)


def test_an_account_writes_into_its_own_buckets_and_into_nothing_else(awan, tenant, other):
    bucket(other, "theirs")
    made = image(tenant, awan.files, b"\1" * MIB)
    for name in ("theirs", "backups", "../" + other.id, "a", "A_B", ".."):
        with refused("InvalidParameter", message="The given S3 bucket does not exist"):
            tenant.ec2.export_image(**asked(made, bucket=name))
    (bucket(tenant).parent / "linked").symlink_to(awan.exports / other.id / "theirs")
    with refused("InvalidParameter", message="The given S3 bucket does not exist"):
        tenant.ec2.export_image(**asked(made, bucket="linked"))
    for prefix in ("../", "/etc/", "a/../../b/", "a//b", ".hidden/", "a b"):
        with refused("InvalidParameterValue"):
            tenant.ec2.export_image(**asked(made, prefix=prefix))
    (bucket(tenant) / "way").symlink_to(awan.exports / other.id / "theirs")
    task = ended(tenant, tenant.ec2.export_image(**asked(made, prefix="way/"))["ExportImageTaskId"])
    assert (task["Status"], task["StatusMessage"]) == ("deleted", "ServerError: the image could not be exported")
    (bucket(tenant) / "way").unlink()
    assert list(bucket(other, "theirs").iterdir()) == list(bucket(tenant).iterdir()) == []
    with refused("DryRunOperation", 412):
        tenant.ec2.export_image(**asked(made, DryRun=True))
    with refused("NotExportable"):
        tenant.ec2.export_image(**asked(tenant.image))
    tenant.ec2.modify_image_attribute(ImageId=made, LaunchPermission={"Add": [{"UserId": other.id}]})
    with refused("AuthFailure", 401):
        other.ec2.export_image(**asked(made, bucket="theirs"))


def test_lists_have_pages_and_tasks_that_have_ended_are_cancelled_by_nobody(awan, tenant, other):
    bucket(tenant)
    made = image(tenant, awan.files, b"\2" * MIB)
    ids = {tenant.ec2.export_image(**asked(made))["ExportImageTaskId"] for _ in range(3)}
    pages = list(tenant.ec2.get_paginator("describe_export_image_tasks").paginate(PaginationConfig={"PageSize": 1}))
    assert [len(page["ExportImageTasks"]) for page in pages if page["ExportImageTasks"]] == [1, 1, 1]
    assert {task["ExportImageTaskId"] for page in pages for task in page["ExportImageTasks"]} == ids
    for id in ids:
        assert ended(tenant, id)["Status"] == "completed"
        with refused("IncorrectState"):
            tenant.ec2.cancel_export_task(ExportTaskId=id)
    for absent in (*ids, "export-ami-0123456789abcdef0"):
        with refused("InvalidExportTaskID.NotFound"):
            other.ec2.cancel_export_task(ExportTaskId=absent)
        with refused("InvalidExportTaskID.NotFound"):
            other.ec2.describe_export_image_tasks(ExportImageTaskIds=[absent])
    with refused("InvalidExportTaskID.Malformed"):
        tenant.ec2.cancel_export_task(ExportTaskId="export-1")
    by = lambda state: tenant.ec2.describe_export_image_tasks(Filters=[{"Name": "task-state", "Values": [state]}])["ExportImageTasks"]
    assert (len(by("completed")), len(by("active"))) == (3, 0)


@pytest.fixture
def slow():
    """A cloud of its own, and an image whose export takes seconds."""
    files = Files()
    awan = Awan("simulated", import_from=files.url)
    try:
        tenant = Tenant(awan.start(), "acme")
        yield awan, tenant, image(tenant, files, os.urandom(16 * MIB) * 6)
    finally:
        awan.close()
        files.close()


def test_a_cancelled_export_leaves_nothing_and_a_killed_one_is_whole_in_the_end(slow):
    awan, tenant, made = slow
    folder = bucket(tenant)
    unfinished = lambda: [path for path in folder.iterdir() if path.name.startswith(".") and path.stat().st_size]
    id = tenant.ec2.export_image(**asked(made, "VMDK", prefix="a/"))["ExportImageTaskId"]
    until("it is being written", 30, unfinished, 0.02)
    assert not list(folder.rglob("export-ami-*"))
    tenant.ec2.cancel_export_task(ExportTaskId=id)
    assert told(tenant, id)["Status"] in ("deleting", "deleted")
    task = ended(tenant, id)
    assert (task["Status"], task["StatusMessage"]) == ("deleted", "Cancelled by the user")
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    ids = [tenant.ec2.export_image(**asked(made, "VMDK"))["ExportImageTaskId"] for _ in range(2)]
    until("the first is being written", 30, unfinished, 0.02)
    assert len(unfinished()) == 1, "one at a time"
    awan.kill()
    (left,) = unfinished()
    (folder / left.name.replace(ids[0], "export-ami-00000000000000000").replace(ids[1], "export-ami-00000000000000000")).write_text("of a task that is no more")
    awan.start()
    for id in ids:
        assert ended(tenant, id)["Status"] == "completed"
        assert (folder / f"{id}.vmdk").stat().st_size > 0
    until("nothing else is left", 30, lambda: len(list(folder.iterdir())) == 2, 0.1)
    awan.audit()


def test_a_full_disk_fails_the_export_and_nothing_else():
    if os.environ.get("AWAN_ISOLATED") != "1":
        pytest.skip("mounts a file system: run it under tests/isolated.sh")
    files = Files()
    awan = Awan("simulated", import_from=files.url)
    awan.exports.mkdir()
    # A gibibyte is always kept free, so that here there is room for 64 MiB.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={1024 + 64}m", "small", str(awan.exports)], check=True)
    try:
        tenant = Tenant(awan.start(), "acme")
        folder, made = bucket(tenant), image(tenant, files, os.urandom(MIB) * 100)
        task = ended(tenant, tenant.ec2.export_image(**asked(made))["ExportImageTaskId"])
        assert (task["Status"], task["StatusMessage"]) == ("deleted", "ServerError: there is no room for the file")
        assert list(folder.iterdir()) == []
        (instance,) = tenant.run()
        tenant.ec2.terminate_instances(InstanceIds=[instance])
        small = image(tenant, files, b"\1" * MIB)
        assert ended(tenant, tenant.ec2.export_image(**asked(small))["ExportImageTaskId"])["Status"] == "completed"
        awan.audit()
    finally:
        subprocess.run(["umount", "--lazy", str(awan.exports)], check=True)
        awan.close()
        files.close()


def test_where_no_folder_is_given_nothing_is_exported():
    files = Files({"/disk": b"\1" * MIB})
    awan = Awan("simulated", import_from=files.url)
    del awan.options["export_dir"]
    try:
        tenant = Tenant(awan.start(), "acme")
        made = image(tenant, files, b"\1" * MIB)
        with refused("UnsupportedOperation", message="--export-dir"):
            tenant.ec2.export_image(**asked(made))
        assert tenant.ec2.describe_export_image_tasks()["ExportImageTasks"] == []
    finally:
        awan.close()
        files.close()
