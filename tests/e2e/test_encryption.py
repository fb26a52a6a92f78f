"""Encrypted volumes of real guests: nothing of what these wrote, and no key, is in any file of the host or on any command line."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import sqlite3
from pathlib import Path

from awan import tiny, until
from test_snapshots import completed
from test_volumes import attach, detach, disk

# Written by guests as the output of a command, so that it is in no request.
CANARY = "seq 1 400 | sed 's/.*/canary-&-of-a-guest/'"
WRITTEN = "".join(f"canary-{n}-of-a-guest\n" for n in range(1, 401)).encode()
NEEDLES = [b"canary-17-of-a-guest", b"canary-399-of-a-guest"]


def files(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def holding(folder, needles):
    return [(str(path), needle) for path in files(folder) for needle in needles if needle in path.read_bytes()]


def first_block(ebs, snapshot):
    """Of those that are listed."""
    block = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][0]
    assert block["BlockIndex"] == 0
    got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=block["BlockToken"])
    return got["BlockData"].read()


def volume_keys(data, master):
    """What hosts make of the records and the master key."""
    copies = data.with_name(f"{data.name}-copy")
    copies.mkdir()
    try:
        for path in data.glob("state.db*"):
            shutil.copy(path, copies)
        with sqlite3.connect(copies / "state.db") as db:
            records = [json.loads(value) for (value,) in db.execute("SELECT value FROM kv WHERE key LIKE 'volume/%'")]
    finally:
        shutil.rmtree(copies)
    sealed = [record["key"] for record in records if record["key"]]
    mac = lambda key: hmac.new(master, b"awan volume " + key["of"].encode() + b"\0" + bytes(key["seed"]), hashlib.sha256).digest()
    return {key["of"]: mac(key) for key in sealed}


def test_an_encrypted_copy_holds_the_same_and_is_in_no_file(awan, tenant):
    (one,) = tenant.launch()
    tenant.wait("instance_running", one)
    zone = tenant.about(one)["Placement"]["AvailabilityZone"]
    data = tenant.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    attach(tenant, data, one)
    tenant.ssh(one, f"{disk(data)} && {CANARY} | dd of=/dev/$disk bs=512 conv=sync,fsync")
    plain = tenant.ec2.create_snapshot(VolumeId=data)["SnapshotId"]
    completed(tenant, plain)
    before = set(files(awan.data / "contents"))
    copy = tenant.ec2.copy_snapshot(SourceSnapshotId=plain, SourceRegion="us-east-1", Encrypted=True)["SnapshotId"]
    completed(tenant, copy)
    assert tenant.ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]["Encrypted"]
    written = set(files(awan.data / "contents")) - before
    assert [path.name for path in written] == ["disk.qcow2"]
    assert [needle for path in written for needle in NEEDLES if needle in path.read_bytes()] == []
    assert first_block(awan.client(tenant.keys, "ebs"), copy).startswith(WRITTEN)
    # It needs neither its source nor what that was of.
    detach(tenant, data)
    tenant.ec2.delete_volume(VolumeId=data)
    tenant.ec2.delete_snapshot(SnapshotId=plain)
    until("the source is gone", 30, lambda: holding(awan.data, NEEDLES) == [], 0.5)
    child = tenant.ec2.create_volume(AvailabilityZone=zone, SnapshotId=copy)
    assert child["Encrypted"]
    attach(tenant, child["VolumeId"], one)
    assert tenant.ssh(one, f"{disk(child['VolumeId'])} && head -c 20 /dev/$disk").split() == ["canary-1-of-a-guest"]
    detach(tenant, child["VolumeId"])
    # An image is copied so too, and its copy is launched.
    image = tenant.ec2.copy_image(SourceImageId=tiny(tenant.ec2), SourceRegion="us-east-1", Name="encrypted", Encrypted=True)["ImageId"]
    tenant.ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    (two,) = tenant.launch(ImageId=image)
    tenant.wait("instance_running", two)
    assert tenant.ssh(two, "echo begun").split() == ["begun"]
    roots = tenant.ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [two]}])["Volumes"]
    assert [root["Encrypted"] for root in roots] == [True]
    tenant.terminate(one, two)
    (of_image,) = tenant.ec2.describe_images(ImageIds=[image])["Images"]
    tenant.ec2.deregister_image(ImageId=image)
    for snapshot in (copy, of_image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]):
        tenant.ec2.delete_snapshot(SnapshotId=snapshot)
    tenant.ec2.delete_volume(VolumeId=child["VolumeId"])
    awan.audit()


def test_what_is_encrypted_is_in_no_file_and_its_key_nowhere(awan, tenant):
    tenant.ec2.enable_ebs_encryption_by_default()
    try:
        (one,) = tenant.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "Encrypted": False, "DeleteOnTermination": True}}])
    finally:
        tenant.ec2.disable_ebs_encryption_by_default()
    tenant.wait("instance_running", one)
    attachments = {d["DeviceName"]: d["Ebs"]["VolumeId"] for d in tenant.about(one)["BlockDeviceMappings"]}
    about = lambda *ids: [v["Encrypted"] for v in tenant.ec2.describe_volumes(VolumeIds=list(ids))["Volumes"]]
    assert about(*attachments.values()) == [True, True]
    data = attachments["/dev/sdf"]
    zone = tenant.about(one)["Placement"]["AvailabilityZone"]
    # On the root, on a disk that was there from the start, and on one that comes.
    hot = tenant.ec2.create_volume(AvailabilityZone=zone, Size=1, Encrypted=True)["VolumeId"]
    tenant.ssh(one, f"{CANARY} >/root/canary && sync")
    tenant.ssh(one, f"{disk(data)} && {CANARY} | dd of=/dev/$disk bs=512 conv=sync,fsync")
    tenant.ec2.attach_volume(VolumeId=hot, InstanceId=one, Device="/dev/sdg")
    until("attached", 30, lambda: tenant.try_ssh(one, disk(hot)).returncode == 0, 0.2)
    tenant.ssh(one, f"{disk(hot)} && {CANARY} | dd of=/dev/$disk bs=512 conv=sync,fsync")
    lines = "\n".join(path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert data in lines or data.replace("vol-", "node-") in lines
    snapshot = tenant.ec2.create_snapshot(VolumeId=data)
    assert snapshot["Encrypted"]
    completed(tenant, snapshot["SnapshotId"])
    assert first_block(awan.client(tenant.keys, "ebs"), snapshot["SnapshotId"]).startswith(WRITTEN)

    tenant.ec2.stop_instances(InstanceIds=[one])
    tenant.wait("instance_stopped", one)
    awan.terminate()
    master = awan.master_key()
    assert master.stat().st_mode & 0o777 == 0o600
    keys = volume_keys(awan.data, bytes.fromhex(master.read_text().strip()))
    assert {data, hot, attachments["/dev/xvda"]} <= set(keys)
    forms = [form for key in keys.values() for form in (key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key))]
    assert holding(awan.data, NEEDLES + forms) == []
    assert not [form for form in forms if form.decode(errors="replace") in lines]

    # Without its master key a host has all that is not encrypted.
    aside = master.with_name("aside")
    os.rename(master, aside)
    awan.start()
    (plain,) = tenant.launch()
    tenant.ec2.start_instances(InstanceIds=[one])
    until("its operator is told why", 30, lambda: "needs the master key" in json.dumps(awan.admin("why", one)["Report"]), 0.2)
    tenant.wait("instance_running", plain)
    awan.terminate()
    os.rename(aside, master)
    awan.start()

    tenant.ec2.start_instances(InstanceIds=[one])
    tenant.wait("instance_running", one)
    assert tenant.ssh(one, f"grep -c canary- /root/canary; {disk(hot)} && head -c 20 /dev/$disk").split() == ["400", "canary-1-of-a-guest"]
    child = tenant.ec2.create_volume(AvailabilityZone=zone, SnapshotId=snapshot["SnapshotId"])
    assert child["Encrypted"]
    attach(tenant, child["VolumeId"], plain)
    assert tenant.ssh(plain, f"{disk(child['VolumeId'])} && head -c 20 /dev/$disk").split() == ["canary-1-of-a-guest"]
    detach(tenant, child["VolumeId"])
    tenant.terminate(one, plain)
    for volume in (hot, child["VolumeId"]):
        tenant.ec2.delete_volume(VolumeId=volume)
    tenant.ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])
    awan.audit()
