"""Disks from elsewhere, fetched by a simulated host from a real server."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from awan import Awan, until
from clients import QUICK, Tenant, refused
from files import Files


def asked(url, form="RAW", **more):
    return {"DiskContainer": {"Url": url, "Format": form}, **more}


def told(tenant, id):
    (task,) = tenant.ec2.describe_import_snapshot_tasks(ImportTaskIds=[id])["ImportSnapshotTasks"]
    return task["SnapshotTaskDetail"]


def ended(tenant, id):
    until("the task has ended", 30, lambda: told(tenant, id)["Status"] not in ("active", "deleting"), 0.1)
    return told(tenant, id)


def test_a_disk_becomes_a_snapshot_and_volumes_of_it(awan, tenant):
    held = lambda: {path.parent.name for path in (awan.data / "contents").glob("*/*/disk.qcow2")}
    before = held()
    id = tenant.ec2.import_snapshot(**asked(awan.files.url + "disk", Description="mine"))["ImportTaskId"]
    tenant.ec2.get_waiter("snapshot_imported").wait(ImportTaskIds=[id], WaiterConfig=QUICK)
    detail = told(tenant, id)
    assert (detail["Status"], detail["DiskImageSize"], detail["Format"]) == ("completed", 1_000_000, "RAW")
    (snapshot,) = tenant.ec2.describe_snapshots(SnapshotIds=[detail["SnapshotId"]])["Snapshots"]
    assert (snapshot["State"], snapshot["VolumeSize"], snapshot["Description"]) == ("completed", 1, "mine")
    awan.audit()
    volume = tenant.ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=detail["SnapshotId"])["VolumeId"]
    tenant.ec2.delete_snapshot(SnapshotId=detail["SnapshotId"])
    # Others' imports may still be there.
    assert len(held() - before) == 1, "the volume still begins as it"
    tenant.ec2.delete_volume(VolumeId=volume)
    until("its host has forgotten it", 60, lambda: held() <= before, 0.2)


@pytest.mark.parametrize("form, options", [("QCOW2", []), ("VHD", ["-o", "subformat=dynamic"]), ("VMDK", ["-o", "subformat=streamOptimized"])])
def test_an_image_of_disks_in_other_formats(awan, tenant, tmp_path, form, options):
    (tmp_path / "raw").write_bytes(b"\2" * (3 << 20))
    kind = {"QCOW2": "qcow2", "VHD": "vpc", "VMDK": "vmdk"}[form]
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, tmp_path / "raw", tmp_path / "made"], check=True)
    awan.files.held[f"/{form}"] = (tmp_path / "made").read_bytes()
    disks = [{"Url": awan.files.url + form, "Format": form}, {"Url": awan.files.url + "disk", "Format": "RAW"}]
    id = tenant.ec2.import_image(DiskContainers=disks, Description="from elsewhere")["ImportTaskId"]
    about = lambda: tenant.ec2.describe_import_image_tasks(ImportTaskIds=[id])["ImportImageTasks"][0]
    until("the image is there", 30, lambda: about()["Status"] != "active", 0.1)
    task = about()
    assert task["Status"] == "completed", task
    (image,) = tenant.ec2.describe_images(ImageIds=[task["ImageId"]])["Images"]
    assert (image["Name"], image["State"], image["RootDeviceName"]) == (id, "available", "/dev/sda1")
    (instance,) = tenant.run(ImageId=task["ImageId"])
    tenant.ec2.terminate_instances(InstanceIds=[instance])
    tenant.ec2.deregister_image(ImageId=task["ImageId"], DeleteAssociatedSnapshots=True)


def test_what_is_not_what_it_is_said_to_be_or_lies_where_none_may_look_fails(awan, tenant):
    inside = awan.metrics
    for url, form, why in [
        (awan.files.url + "disk", "QCOW2", "this is not qcow2"),
        (awan.files.url + "none", "RAW", "the server answered 404"),
        (f"http://127.0.0.1:{inside}/metrics", "RAW", "its address may not be reached from here"),
        ("http://169.254.169.254/latest/meta-data/", "RAW", "its address may not be reached from here"),
        ("file:///etc/passwd", "RAW", "file: is not permitted here"),
    ]:
        detail = ended(tenant, tenant.ec2.import_snapshot(**asked(url, form))["ImportTaskId"])
        assert detail["Status"] == "error" and why in detail["StatusMessage"], detail
        assert "SnapshotId" not in detail
    assert tenant.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_a_task_that_goes_on_is_cancelled_and_by_nobody_else(awan, tenant, other):
    id = tenant.ec2.import_snapshot(**asked(awan.files.url + "slow/disk"))["ImportTaskId"]
    for absent in (id, "import-snap-0123456789abcdef0", "import-ami-0123456789abcdef0"):
        with refused("InvalidConversionTaskId.NotFound"):
            other.ec2.cancel_import_task(ImportTaskId=absent)
    with refused("InvalidConversionTaskId.Malformed"):
        tenant.ec2.cancel_import_task(ImportTaskId="snap-0123456789abcdef0")
    with refused("DryRunOperation", 412):
        tenant.ec2.cancel_import_task(ImportTaskId=id, DryRun=True)
    assert told(tenant, id)["Status"] == "active"
    answer = tenant.ec2.cancel_import_task(ImportTaskId=id, CancelReason="changed my mind")
    assert (answer["ImportTaskId"], answer["PreviousState"], answer["State"]) == (id, "active", "deleting")
    detail = ended(tenant, id)
    assert (detail["Status"], detail["StatusMessage"]) == ("deleted", "changed my mind")
    with refused("IncorrectState"):
        tenant.ec2.cancel_import_task(ImportTaskId=id)


def test_what_a_crash_cut_short_comes_whole_after_it():
    files = Files()
    awan = Awan("simulated", import_from=files.url)
    try:
        tenant = Tenant(awan.start(), "acme")
        ids = [tenant.ec2.import_snapshot(**asked(f"{files.url}slow/{n}"))["ImportTaskId"] for n in range(2)]
        until("it is being fetched", 10, lambda: list((awan.data / "contents").glob("*/*/source")), 0.1)
        awan.kill()
        files.held |= {"/slow/0": b"\3" * 500_000, "/slow/1": b"\4" * 500_000}
        awan.start()
        for id in ids:
            assert ended(tenant, id)["Status"] == "completed"
        until("nothing else is left", 10, lambda: {path.name for path in (awan.data / "contents").glob("*/*/*")} == {"disk.qcow2", "bytes"}, 0.1)
        awan.audit()
    finally:
        awan.close()
        files.close()


def readers(parent):
    """Processes of a server that read disks from elsewhere."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (path / "status").read_text().splitlines())
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # The last step of its confinement.
        confined = status["NoNewPrivs"].split() == ["1"]
        if int(status["PPid"]) == parent and b"read-disk" in words and b"--size" in words and confined:
            found.append((path, {name: value.split() for name, value in status.items()}))
    return found


@pytest.fixture
def slow(tmp_path):
    """A server that reads a disk which takes a while; its tenant, the task, and the process that reads."""
    (tmp_path / "hollow").touch()
    os.truncate(tmp_path / "hollow", 400 << 30)
    awan = Awan("simulated", import_dir=tmp_path)
    try:
        tenant = Tenant(awan.start(), "acme")
        id = tenant.ec2.import_snapshot(**asked(f"file://{tmp_path}/hollow"))["ImportTaskId"]
        (reader,) = until("it is read", 30, lambda: readers(awan.process.pid), 0.01)
        yield awan, tenant, id, reader
        awan.audit()
    finally:
        awan.close()


def test_what_reads_a_disk_from_elsewhere_has_nothing_else(slow, tmp_path):
    awan, tenant, id, (path, status) = slow
    own = Path(f"/proc/{awan.process.pid}")
    os.kill(int(path.name), signal.SIGSTOP)
    try:
        assert set(status["Uid"]) == set(status["Gid"]) == {"65534"} and status["Groups"] == []
        assert {status[name][0] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
        for kind in ("net", "ipc"):
            assert os.readlink(path / "ns" / kind) != os.readlink(own / "ns" / kind)
        assert os.readlink(path / "root") == str(awan.data / "empty") and not list((awan.data / "empty").iterdir())
        source, target, pipe = sorted({os.readlink(fd) for fd in (path / "fd").iterdir()}, key=lambda name: ("hollow" not in name, name))
        assert source == str(tmp_path / "hollow") and pipe.startswith("pipe:"), (source, pipe)
        assert target.startswith(str(awan.data / "contents")), target
        limits = (path / "limits").read_text()
        assert re.search(r"Max processes +0 +0 ", limits) and re.search(r"Max core file size +1 +1 ", limits), limits
    finally:
        os.kill(int(path.name), signal.SIGCONT)
    tenant.ec2.cancel_import_task(ImportTaskId=id)
    until("it ends when it is not wanted any more", 30, lambda: not readers(awan.process.pid), 0.05)


def test_a_reader_that_is_killed_is_a_disk_that_cannot_be_read(slow):
    _, tenant, id, (path, _) = slow
    os.kill(int(path.name), signal.SIGKILL)
    assert "it cannot be read" in ended(tenant, id)["StatusMessage"]
