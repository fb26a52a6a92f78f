"""What volumes of real guests hold is kept: at the moment of a snapshot, and what begins as it begins as that.

`AWAN_SNAPSHOT_SEED` replays the moments of a run, `AWAN_SNAPSHOTS` says how many there are, and `AWAN_SNAPSHOT_KILLS` how often the program is killed
while it makes one.
"""

import json
import os
import random
import subprocess
import time

from awan import until
from botocore.exceptions import WaiterError
from test_volumes import detach, disk

SNAPSHOTS = int(os.environ.get("AWAN_SNAPSHOTS", "16"))
# So many of them are read by a guest, too.
BY_GUESTS = 4
# A disk is read through so many files at most, once its host has nothing more to merge; QEMU has each open twice.
FILES = 21 + 8 + 2
KILLED = int(os.environ.get("AWAN_SNAPSHOT_KILLS", "3"))
SEED = int(os.environ.get("AWAN_SNAPSHOT_SEED", random.randrange(1 << 32)))


def completed(tenant, *snapshots):
    waiter = tenant.ec2.get_waiter("snapshot_completed")
    try:
        waiter.wait(SnapshotIds=list(snapshots), WaiterConfig={"Delay": 0.2, "MaxAttempts": 150})
    except WaiterError as e:
        log = [line for line in tenant.awan.log().splitlines() if " audit: " not in line]
        raise AssertionError("\n".join([str(e), *log[-20:]]))


# Numbered records, each flushed before the next; what was flushed last is told to who asks.
WRITER = """
{find}
cat > /root/writer <<'END'
n=0
while :; do
  n=$((n + 1))
  printf '%015d\\n' $n | dd of=/dev/$1 bs=512 seek=$n count=1 conv=sync,fsync,notrunc 2>/dev/null || exit
  echo $n > /tmp/flushed.new && mv /tmp/flushed.new /tmp/flushed
done
END
sh /root/writer $disk </dev/null >/dev/null 2>&1 &
"""
# How many records follow one another from the first, and how many there are.
READER = """
{find}
dd if=/dev/$disk bs=512 skip=1 count=40000 2>/dev/null | tr -d '\\0' |
  awk 'length($0) == 15 {{ there++; sub(/^0+/, ""); if ($0 == whole + 1) whole++ }} END {{ print whole + 0, there + 0 }}'
"""


def chain(awan, content):
    """The files of what a volume held, the nearest first."""
    files = []
    while content:
        folder = awan.data / "contents" / content
        if not folder.exists():
            files.append(awan.data / "images" / content / "disk.qcow2")
            break
        lines = (folder / "below").read_text().splitlines() if (folder / "below").exists() else []
        files.append(folder / (f"disk.{lines[1]}.qcow2" if len(lines) > 1 else "disk.qcow2"))
        content = lines[0] if lines else None
    return files


def records(awan, content):
    """As READER, on the host; and how many files they were read through. What is merged meanwhile is read again."""
    for attempt in range(5):
        files, disk = chain(awan, content), None
        for file in reversed(files):
            disk = {"driver": "qcow2", "backing": disk, "file": {"driver": "file", "filename": str(file)}}
        raw = awan.data / "raw"
        convert = ["qemu-img", "convert", "-U", "-O", "raw", "json:" + json.dumps(disk), str(raw)]
        done = subprocess.run(convert, capture_output=True, text=True, timeout=60)
        if done.returncode == 0 or all(file.exists() for file in files):
            break
    assert done.returncode == 0, done.stderr
    with open(raw, "rb") as file:
        file.seek(512)
        sectors = [file.read(512) for _ in range(40000)]
    raw.unlink()
    there = [int(sector[:15]) for sector in sectors if sector[:15].isdigit()]
    whole = next((n for n, number in enumerate(there) if number != n + 1), len(there))
    return whole, len(there), len(files)


def contents(awan):
    return {folder.name for folder in (awan.data / "contents").iterdir()}


def open_files(awan):
    """The most that any machine has open of what was kept."""
    count = lambda pid: sum("/contents/" in os.path.realpath(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return max(count(int(pid)) for pid in subprocess.run(["pgrep", "-f", "guest=awan-"], capture_output=True, text=True).stdout.split())


def test_a_snapshot_holds_what_was_flushed_before_it_and_nothing_that_lacks_what_came_before(awan, tenant):
    print(f"AWAN_SNAPSHOT_SEED={SEED} AWAN_SNAPSHOTS={SNAPSHOTS} AWAN_SNAPSHOT_KILLS={KILLED} replays this")
    moments = random.Random(SEED)
    (guest,) = tenant.launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}])
    tenant.wait("instance_running", guest)
    attachments = tenant.about(guest)["BlockDeviceMappings"]
    (volume,) = [a["Ebs"]["VolumeId"] for a in attachments if a["DeviceName"] == "/dev/sdf"]
    tenant.ssh(guest, WRITER.format(find=disk(volume)))
    flushed = lambda: int(tenant.ssh(guest, "cat /tmp/flushed 2>/dev/null || echo 0"))
    until("it writes", 30, lambda: flushed() > 0, 0.2)
    taken, kept, known = [], [], contents(awan)
    for _ in range(SNAPSHOTS):
        time.sleep(moments.random() / 4)
        before = flushed()
        snapshot = tenant.ec2.create_snapshot(VolumeId=volume)
        assert snapshot["State"] == "pending"
        taken.append((snapshot["SnapshotId"], before))
        completed(tenant, snapshot["SnapshotId"])
        (content,) = contents(awan) - known
        known.add(content)
        kept.append((content, before))
        whole, there, _ = records(awan, content)
        assert whole == there >= before, f"{content}: {before} were flushed, {whole} are there, of {there}"
    # All of them once more, now that their files have been merged under the guest.
    until("its files are merged", 120, lambda: len(chain(awan, kept[-1][0])) <= 21, 0.2)
    until("it has let go of what was merged", 60, lambda: open_files(awan) <= 2 * FILES, 0.2)
    previous = 0
    for content, before in kept:
        whole, there, depth = records(awan, content)
        assert whole == there >= max(before, previous), f"{content}: {before} were flushed, {whole} are there, of {there}"
        assert depth <= 21, f"{content} is read through {depth} files"
        previous = whole
    print(f"{SNAPSHOTS} snapshots, {whole} records; read through {depth} files at last, {open_files(awan) // 2} open")
    # Of both volumes at one moment, while the guest writes to one.
    both = tenant.ec2.create_snapshots(InstanceSpecification={"InstanceId": guest})["Snapshots"]
    completed(tenant, *(s["SnapshotId"] for s in both))
    later = flushed()
    assert later > taken[-1][1], "the guest has gone on"
    awan.audit()

    # The program ends at any moment of a snapshot; the next life completes it, and the guest goes on.
    for _ in range(KILLED):
        before = flushed()
        taken.append((tenant.ec2.create_snapshot(VolumeId=volume)["SnapshotId"], before))
        time.sleep(moments.random() / 4)
        awan.kill()
        awan.start()
        completed(tenant, taken[-1][0])
        until("it has gone on", 30, lambda: flushed() > before, 0.2)
    awan.audit()

    zone = tenant.about(guest)["Placement"]["AvailabilityZone"]
    previous = 0
    for snapshot, before in taken[:: max(1, SNAPSHOTS // BY_GUESTS)] + taken[-KILLED:]:
        copy = tenant.ec2.create_volume(AvailabilityZone=zone, SnapshotId=snapshot)["VolumeId"]
        tenant.ec2.attach_volume(VolumeId=copy, InstanceId=guest, Device="/dev/sdg")
        until("attached", 30, lambda: tenant.try_ssh(guest, disk(copy)).returncode == 0, 0.2)
        whole, there = map(int, tenant.ssh(guest, READER.format(find=disk(copy))).split())
        assert whole == there, f"{snapshot}: a record is there, and one before it is not"
        assert whole >= max(before, previous), f"{snapshot}: {before} were flushed, {whole} are there"
        previous = whole
        detach(tenant, copy)
        tenant.ec2.delete_volume(VolumeId=copy)
    # In any order, beside a volume that is a child of them all.
    everything = [id for id, _ in taken] + [s["SnapshotId"] for s in both]
    moments.shuffle(everything)
    for snapshot in everything:
        tenant.ec2.delete_snapshot(SnapshotId=snapshot)
    still = flushed()
    until("it goes on", 30, lambda: flushed() > still, 0.2)
    # Its room comes back while the guest goes on: its volumes are children of one file each.
    until("what was deleted is merged", 60, lambda: len(contents(awan)) <= 2, 0.2)
    until("it goes on", 30, lambda: flushed() > still, 0.2)
    awan.audit()
    tenant.terminate(guest)
    until("nothing of it is left", 30, lambda: not list((awan.data / "contents").iterdir()), 0.2)
    awan.audit()


def test_what_was_installed_is_found_in_instances_of_the_image(awan, tenant):
    (guest,) = tenant.launch()
    tenant.wait("instance_running", guest)
    tenant.ssh(guest, "printf '#!/bin/sh\\necho installed\\n' > /root/application && chmod +x /root/application && sync")
    image = tenant.ec2.create_image(InstanceId=guest, Name="with an application", NoReboot=True)["ImageId"]
    tenant.ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    tenant.ssh(guest, "rm /root/application && sync")
    tenant.terminate(guest)
    (child,) = tenant.launch(ImageId=image)
    tenant.wait("instance_running", child)
    assert tenant.ssh(child, "/root/application").strip() == "installed"
    # A snapshot of what is off, and of what has just been turned off.
    tenant.ssh(child, "echo more > /root/more && sync")
    (root,) = [a["Ebs"]["VolumeId"] for a in tenant.about(child)["BlockDeviceMappings"]]
    tenant.ec2.stop_instances(InstanceIds=[child])
    tenant.wait("instance_stopped", child)
    second = tenant.ec2.create_image(InstanceId=child, Name="with more")["ImageId"]
    tenant.ec2.get_waiter("image_available").wait(ImageIds=[second], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    tenant.ec2.start_instances(InstanceIds=[child])
    tenant.wait("instance_running", child)
    assert tenant.ssh(child, "cat /root/more").strip() == "more", "it goes on as it was"
    (grandchild,) = tenant.launch(ImageId=second)
    tenant.wait("instance_running", grandchild)
    assert tenant.ssh(grandchild, "/root/application && cat /root/more").split() == ["installed", "more"]
    assert root not in str(tenant.about(grandchild)["BlockDeviceMappings"])
    awan.audit()
    snapshots = [d["Ebs"]["SnapshotId"] for i in tenant.ec2.describe_images(Owners=["self"])["Images"] for d in i["BlockDeviceMappings"]]
    for id in (image, second):
        tenant.ec2.deregister_image(ImageId=id)
    for snapshot in snapshots:
        tenant.ec2.delete_snapshot(SnapshotId=snapshot)
    awan.audit()
    tenant.terminate(child, grandchild)
    until("nothing of it is left", 30, lambda: not list((awan.data / "contents").iterdir()), 0.2)
    awan.audit()
