"""A host whose disk is full: guests are told, go on, and what is deleted makes room."""

import subprocess

import pytest
from awan import Awan, until
from test_guests import Tenant
from test_volumes import attach, detach, disk


@pytest.fixture(scope="module")
def awan():
    running = Awan("auto", shutdown_grace=20)
    # Nothing but volumes lies there. It goes with the mount namespace of the tests, if not before.
    volumes = running.data / "volumes"
    volumes.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", volumes], check=True)
    try:
        yield running.start()
    finally:
        subprocess.run(["umount", "-l", volumes], check=True)
        running.close()


def test_a_full_disk_is_an_error_for_who_writes_and_goes_away_with_what_is_deleted(awan):
    tenant = Tenant(awan, "acme")
    greedy, modest = tenant.launch(2)
    for id in (greedy, modest):
        tenant.wait("instance_running", id)
        tenant.ssh(id, "true")
    zone = tenant.about(greedy)["Placement"]["AvailabilityZone"]
    big, small = (tenant.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"] for _ in range(2))
    attach(tenant, big, greedy)
    attach(tenant, small, modest)
    status = lambda volume: tenant.ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"][0]["VolumeStatus"]["Status"]
    assert (status(big), status(small)) == ("ok", "ok")

    fill = f"{disk(big)} && dd if=/dev/urandom of=/dev/$disk bs=1M count=150 conv=fsync"
    refused = tenant.try_ssh(greedy, fill)
    assert refused.returncode != 0 and "error" in refused.stderr.lower(), refused
    until("the status says so", 30, lambda: status(big) == "impaired", 0.2)
    # Neither has stopped: the one reads what it wrote, and the other as well.
    assert tenant.ssh(greedy, f"{disk(big)} && dd if=/dev/$disk bs=1M count=1 2>/dev/null | wc -c").strip() == str(1 << 20)
    assert tenant.ssh(modest, f"{disk(small)} && dd if=/dev/$disk bs=1M count=1 2>/dev/null | wc -c").strip() == str(1 << 20)
    assert status(small) == "ok"
    awan.audit()

    detach(tenant, big)
    tenant.ec2.delete_volume(VolumeId=big)
    until("its file is gone", 30, lambda: not list(awan.data.rglob(f"{big}*")), 0.2)
    wrote = tenant.ssh(modest, f"{disk(small)} && echo there-is-room | dd of=/dev/$disk bs=1M conv=sync,fsync && head -c 13 /dev/$disk")
    assert wrote == "there-is-room"
    tenant.terminate(greedy, modest)
    tenant.ec2.delete_volume(VolumeId=small)
    awan.audit()
