"""Volumes of real guests: one that comes while the guest runs, goes, and is read by another; what is kept over a restart of the host."""

from awan import until


def attached(tenant, volume):
    about = tenant.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
    return [a["State"] for a in about["Attachments"]]


def attach(tenant, volume, instance):
    tenant.ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    until("attached", 30, lambda: attached(tenant, volume) == ["attached"], 0.2)


def detach(tenant, volume, **how):
    tenant.ec2.detach_volume(VolumeId=volume, **how)
    tenant.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def disk(volume):
    """Finds a disk by its serial number, in a guest's shell."""
    return f"disk=$(grep -lx {volume.replace('-', '')} /sys/block/vd*/serial | cut -d / -f 4); test -n \"$disk\""


def seconds_of_reads(tenant, id, volume, count):
    """How long a guest needs for so many reads of 4 KiB, one after the other, by its own clock."""
    read = f"dd if=/dev/$disk of=/dev/null bs=4k count={count} iflag=direct 2>/dev/null"
    told = tenant.ssh(id, f"{disk(volume)} && cat /proc/uptime && {read} && cat /proc/uptime").split()
    return float(told[2]) - float(told[0])


def test_a_volume_comes_grows_goes_and_is_read_by_another(awan, tenant):
    one, other = tenant.launch(2)
    for id in (one, other):
        tenant.wait("instance_running", id)
        tenant.ssh(id, "true")
    zone = tenant.about(one)["Placement"]["AvailabilityZone"]
    volume = tenant.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    attach(tenant, volume, one)
    size = lambda id: tenant.ssh(id, f"{disk(volume)} && cat /sys/block/$disk/size").strip()
    assert size(one) == str(1 << 21)
    tenant.ec2.modify_volume(VolumeId=volume, Size=2)
    until("grown", 30, lambda: size(one) == str(2 << 21), 0.2)
    modified = lambda: tenant.ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]["ModificationState"]
    until("modified", 30, lambda: modified() == "completed", 0.2)
    tenant.ssh(one, f"{disk(volume)} && echo from-the-first | dd of=/dev/$disk bs=512 conv=sync,fsync")
    awan.audit()

    detach(tenant, volume)
    until("it is gone from the guest", 10, lambda: tenant.try_ssh(one, disk(volume)).returncode == 1, 0.2)
    attach(tenant, volume, other)
    assert tenant.ssh(other, f"{disk(volume)} && head -c 14 /dev/$disk") == "from-the-first"

    # What is attached is known in the next life of the host, and can go then.
    awan.kill()
    awan.start()
    until("still attached", 30, lambda: attached(tenant, volume) == ["attached"], 0.2)
    awan.audit()
    detach(tenant, volume, Force=True)
    attach(tenant, volume, one)
    assert tenant.ssh(one, f"{disk(volume)} && head -c 14 /dev/$disk") == "from-the-first"
    tenant.terminate(one, other)
    assert tenant.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"] == "available"
    tenant.ec2.delete_volume(VolumeId=volume)
    until("its file is gone", 30, lambda: not list(awan.data.rglob(f"{volume}*")), 0.2)
    awan.audit()


def test_disks_of_a_launch_can_go_while_it_runs_and_stay_with_it_when_it_stops(awan, tenant):
    mapping = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}, {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 4, "VolumeType": "io1", "Iops": 100}}]
    (id,) = tenant.launch(BlockDeviceMappings=mapping)
    tenant.wait("instance_running", id)
    ids = {d["DeviceName"]: d["Ebs"]["VolumeId"] for d in tenant.about(id)["BlockDeviceMappings"]}
    assert tenant.ssh(id, f"{disk(ids['/dev/sdf'])} && {disk(ids['/dev/sdg'])} && cat /sys/block/$disk/size").strip() == str(4 << 21)
    slow = seconds_of_reads(tenant, id, ids["/dev/sdg"], 400)
    # QEMU lets a tenth of a second's operations pass at once.
    assert slow > 3.5, "more operations than the volume may do"
    tenant.ec2.modify_volume(VolumeId=ids["/dev/sdg"], VolumeType="gp3")
    modified = lambda: tenant.ec2.describe_volumes_modifications(VolumeIds=[ids["/dev/sdg"]])["VolumesModifications"][0]["ModificationState"]
    until("modified", 30, lambda: modified() == "completed", 0.2)
    assert seconds_of_reads(tenant, id, ids["/dev/sdg"], 400) < slow
    tenant.ssh(id, f"{disk(ids['/dev/sdf'])} && echo kept | dd of=/dev/$disk bs=512 conv=sync,fsync")
    detach(tenant, ids["/dev/sdg"])
    tenant.ec2.stop_instances(InstanceIds=[id])
    tenant.wait("instance_stopped", id)
    tenant.ec2.start_instances(InstanceIds=[id])
    tenant.wait("instance_running", id)
    assert tenant.ssh(id, f"{disk(ids['/dev/sdf'])} && head -c 4 /dev/$disk") == "kept"
    tenant.terminate(id)
    assert [v["VolumeId"] for v in tenant.ec2.describe_volumes()["Volumes"]] == [ids["/dev/sdg"]]
    tenant.ec2.delete_volume(VolumeId=ids["/dev/sdg"])
    awan.audit()
