"""A full Debian as `awan admin image build` makes it: what a user of EC2 expects of an image. In the long lane: it takes minutes to build
and, without KVM, a minute or two to boot."""

import os
from pathlib import Path

import awan as awan_module
import pytest
from awan import until
from test_guests import Tenant

BUILT = os.environ.get("AWAN_DEBIAN_DIR")


class Admin(Tenant):
    """Debian's account is not root."""

    def ssh_to(self, address, command, **how):
        return super().ssh_to(address, command, options=["-l", "admin"], **how)


@pytest.fixture(scope="module")
def awan():
    # A folder of images of its own: the others' stays as it is.
    with pytest.MonkeyPatch.context() as patch:
        images, _ = awan_module.IMAGES, patch.setattr(awan_module, "IMAGES", None)
        running = awan_module.Awan("auto", shutdown_grace=120)
    (running.data / "images").mkdir()
    for image in Path(images or "/nowhere").glob("ami-*"):
        (running.data / "images" / image.name).symlink_to(image)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.mark.skipif(not BUILT, reason="AWAN_DEBIAN_DIR names no image of Debian")
def test_debian_is_prepared_by_cloud_init_and_goes_on_after_a_stop(awan):
    disk = Path(BUILT) / "disk.qcow2"
    told = awan.admin("image", "import", str(disk), "--name", "debian")
    tenant = Admin(awan, "acme")
    data = "#!/bin/sh\necho from-user-data >/var/tmp/said\n"
    root = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 6}}]
    (id,) = tenant.launch(ImageId=told["ImageId"], InstanceType="t3.micro", UserData=data, BlockDeviceMappings=root)
    tenant.wait("instance_running", id)
    tenant.ssh(id, "true", 600)
    until("cloud-init is done", 300, lambda: "done" in tenant.try_ssh(id, "cloud-init status").stdout, 2)
    assert "Ec2" in tenant.ssh(id, "cat /run/cloud-init/result.json")
    assert tenant.ssh(id, "cat /var/tmp/said") == "from-user-data\n"
    assert tenant.ssh(id, "sudo id -u") == "0\n"
    about = tenant.about(id)
    assert tenant.ssh(id, "hostname").strip() == about["PrivateDnsName"].split(".")[0]
    assert int(tenant.ssh(id, "df -m --output=size / | tail -n 1")) > 5_000, "the root has grown"
    assert tenant.ssh(id, "systemctl is-system-running --wait || systemctl --failed --no-legend").strip() == "running"
    assert tenant.ssh(id, "ls /etc/ssh/ssh_host_*_key | wc -l").strip() == "2"
    # A kernel that an upgrade brings is started: GRUB's own configuration works.
    tenant.ssh(id, "sudo update-grub && echo kept | sudo tee /root/kept && sync", 120)
    awan.audit()
    tenant.ec2.stop_instances(InstanceIds=[id])
    tenant.ec2.get_waiter("instance_stopped").wait(InstanceIds=[id], WaiterConfig={"Delay": 2, "MaxAttempts": 90})
    tenant.ec2.start_instances(InstanceIds=[id])
    tenant.wait("instance_running", id)
    assert tenant.ssh(id, "sudo cat /root/kept", 600) == "kept\n"
    tenant.terminate(id)
    awan.audit()
