"""What the disks of a guest hold when something happens to them in the midst of its writing."""

import random
import time

from awan import until
from blocks import get, listed
from test_snapshots import READER, WRITER, completed
from test_volumes import attach, detach, disk

SEED = random.randrange(1 << 32)
DEVICES = ["/dev/sdf", "/dev/sdg", "/dev/sdh"]
# The same number on one disk after the other, each flushed before the next.
ROUNDS = """
cat > /root/rounds <<'END'
n=0
while :; do
  n=$((n + 1))
  for disk in "$@"; do
    printf '%015d\\n' $n | dd of=/dev/$disk bs=512 count=1 conv=sync,fsync,notrunc 2>/dev/null || exit
  done
  echo $n > /tmp/round.new && mv /tmp/round.new /tmp/round
done
END
sh /root/rounds {disks} </dev/null >/dev/null 2>&1 &
"""


def launched(tenant, *devices):
    mapping = [{"DeviceName": device, "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}} for device in devices]
    (guest,) = tenant.launch(BlockDeviceMappings=mapping)
    tenant.wait("instance_running", guest)
    volumes = {d["DeviceName"]: d["Ebs"]["VolumeId"] for d in tenant.about(guest)["BlockDeviceMappings"]}
    return guest, [volumes[device] for device in devices]


def test_snapshots_of_several_volumes_are_of_one_moment(awan, tenant):
    print(f"the moments are of random.Random({SEED})")
    moments, ebs = random.Random(SEED), awan.client(tenant.keys, "ebs")
    guest, volumes = launched(tenant, *DEVICES)
    names = [tenant.ssh(guest, f"{disk(volume)} && echo $disk").strip() for volume in volumes]
    tenant.ssh(guest, ROUNDS.format(disks=" ".join(names)))
    finished = lambda: int(tenant.ssh(guest, "cat /tmp/round 2>/dev/null || echo 0"))
    until("it writes", 30, lambda: finished() > 0, 0.2)
    everything, previous = [], 0
    for _ in range(8):
        time.sleep(moments.random() / 4)
        before = finished()
        asked = {"InstanceId": guest, "ExcludeBootVolume": True}
        taken = {s["VolumeId"]: s["SnapshotId"] for s in tenant.ec2.create_snapshots(InstanceSpecification=asked)["Snapshots"]}
        completed(tenant, *taken.values())
        everything += taken.values()
        numbers = []
        for volume in volumes:
            _, (block,) = listed(ebs, taken[volume])
            numbers.append(int(get(ebs, taken[volume], block["BlockIndex"], block["BlockToken"])[:15]))
        assert numbers == sorted(numbers, reverse=True) and numbers[0] - numbers[-1] <= 1, f"{numbers} are of several moments"
        assert numbers[-1] >= max(before, previous), f"{before} rounds were flushed, {numbers} are there"
        previous = numbers[-1]
    assert previous > 1, "nothing was written meanwhile"
    tenant.terminate(guest)
    for snapshot in everything:
        tenant.ec2.delete_snapshot(SnapshotId=snapshot)
    awan.audit()


def test_a_volume_that_is_taken_away_by_force_is_written_to_by_nobody_and_holds_what_was_flushed(awan, tenant):
    guest, (volume,) = launched(tenant, "/dev/sdf")
    (other,) = tenant.launch()
    tenant.wait("instance_running", other)
    # Whichever of its writes is under way when the disk goes fails.
    tenant.ssh(guest, WRITER.replace("|| exit", "|| continue").format(find=disk(volume)))
    flushed = lambda: int(tenant.ssh(guest, "cat /tmp/flushed 2>/dev/null || echo 0"))
    until("it writes", 30, lambda: flushed() > 20, 0.2)
    before = flushed()
    detach(tenant, volume, Force=True)
    (file,) = awan.data.rglob(f"{volume}.qcow2")
    there = file.read_bytes()
    # Its writer goes on, and makes an ordinary file where the disk was.
    until("the disk is gone from the guest", 30, lambda: tenant.try_ssh(guest, disk(volume)).returncode == 1, 0.2)
    gone = flushed()
    until("the guest writes elsewhere", 30, lambda: flushed() > gone + 5, 0.2)
    assert file.read_bytes() == there, "the volume was available, and was written to"
    attach(tenant, volume, other)
    whole, records = map(int, tenant.ssh(other, READER.format(find=disk(volume))).split())
    assert whole == records >= before, f"{before} were flushed, {whole} are there, of {records}"
    awan.audit()
    tenant.terminate(guest, other)
    tenant.ec2.delete_volume(VolumeId=volume)
    awan.audit()
