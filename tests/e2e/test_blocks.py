"""Disks of real guests, read and written in blocks: EBS's direct API."""

import subprocess

from awan import until
from blocks import BLOCK, GIB, changed, download, get, upload
from test_snapshots import completed
from test_volumes import disk

# A line of words at each of these places of a disk, by MiB.
MARKS = {0: "first", 3: "second", 700: "third", 1023: "last"}
WRITER = """
{find}
for mark in {marks}; do
  printf '%s\\n' ${{mark#*:}} | dd of=/dev/$disk bs=1M seek=${{mark%%:*}} count=1 conv=notrunc,fsync 2>/dev/null || exit 1
done
"""


def held(marks):
    expected = bytearray(GIB)
    for mib, word in marks.items():
        line = word.encode() + b"\n"
        expected[mib << 20 : (mib << 20) + len(line)] = line
    return expected


def test_what_a_guest_wrote_is_what_its_blocks_hold(awan, tenant, tmp_path):
    ebs = awan.client(tenant.keys, "ebs")
    (guest,) = tenant.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}])
    tenant.wait("instance_running", guest)
    attachments = tenant.about(guest)["BlockDeviceMappings"]
    (volume,) = [a["Ebs"]["VolumeId"] for a in attachments if a["DeviceName"] == "/dev/sdf"]
    write = lambda marks: tenant.ssh(guest, WRITER.format(find=disk(volume), marks=" ".join(f"{m}:{w}" for m, w in marks.items())), 120)
    write(MARKS)
    first = tenant.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    write({3: "SECOND", 500: "more"})
    second = tenant.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    completed(tenant, first, second)
    marks = [MARKS, MARKS | {3: "SECOND", 500: "more"}]
    for snapshot, expected in zip((first, second), marks):
        indexes = download(ebs, snapshot, tmp_path / "disk")
        assert indexes == [mib * 2 for mib in sorted(expected)]
        assert (tmp_path / "disk").read_bytes() == held(expected)
    assert [b["BlockIndex"] for b in changed(ebs, first, second)] == [6, 1000]
    # The root, of an image that came with Awan, is as its guest's.
    (root,) = [a["Ebs"]["VolumeId"] for a in attachments if a["DeviceName"] != "/dev/sdf"]
    tenant.ssh(guest, "sync; sync")
    of_root = tenant.ec2.create_snapshot(VolumeId=root)["SnapshotId"]
    completed(tenant, of_root)
    assert download(ebs, of_root, tmp_path / "root") and (tmp_path / "root").read_bytes()[510:512] == b"\x55\xaa"
    awan.audit()
    tenant.terminate(guest)
    for id in (first, second, of_root):
        tenant.ec2.delete_snapshot(SnapshotId=id)
    until("its host has forgotten them", 60, lambda: not list((awan.data / "contents").iterdir()), 0.2)
    awan.audit()


def test_a_guest_boots_from_a_disk_that_was_written_in_blocks_and_encrypted(awan, tenant, tmp_path):
    ebs = awan.client(tenant.keys, "ebs")
    (image,) = [i["ImageId"] for i in tenant.ec2.describe_images(Owners=["amazon"])["Images"]]
    source = awan.data / "images" / image / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", source, tmp_path / "raw"], check=True)
    snapshot = upload(ebs, tenant.ec2, tmp_path / "raw", Encrypted=True)
    root = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}
    made = tenant.ec2.register_image(
        Name="in blocks", Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/sda1", BlockDeviceMappings=[root]
    )["ImageId"]
    (guest,) = tenant.launch(ImageId=made)
    tenant.wait("instance_running", guest)
    tenant.ssh(guest, "echo kept > /root/kept; sync", 120)
    # What it has written since is a few of its blocks.
    (volume,) = [a["Ebs"]["VolumeId"] for a in tenant.about(guest)["BlockDeviceMappings"]]
    later = tenant.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    completed(tenant, later)
    (shown,) = tenant.ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert shown["Encrypted"]
    written = changed(ebs, snapshot, later)
    assert 0 < len(written) < GIB // BLOCK
    raw = (tmp_path / "raw").read_bytes()
    for block in written:
        if "FirstBlockToken" in block:
            at = block["BlockIndex"] * BLOCK
            assert get(ebs, snapshot, block["BlockIndex"], block["FirstBlockToken"]) == raw[at : at + BLOCK].ljust(BLOCK, b"\0")
    awan.audit()
    tenant.terminate(guest)
    tenant.ec2.deregister_image(ImageId=made)
    for id in (later, snapshot):
        tenant.ec2.delete_snapshot(SnapshotId=id)
    until("its host has forgotten it", 60, lambda: not list((awan.data / "contents").iterdir()), 0.2)
    awan.audit()
