"""Every waiter that boto3 has, for what Awan has: it waits for what comes, and not for ever."""

import boto3
import pytest
from areas import COUNT
from clients import OURS, QUICK
from showcase import Home

# No Linux ever sends a password; there are no other guests yet.
NEVER = {"password_data_available"}


@pytest.fixture(scope="module")
def furnished(cloud):
    return Home(cloud, "waiting")


@pytest.fixture
def home(awan, furnished):
    return furnished


def new_volume(home):
    return home.ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]


def deleted_volume(home):
    id = new_volume(home)
    home.ec2.delete_volume(VolumeId=id)
    return id


def attached_volume(home):
    (instance,) = home.tenant.run(Placement={"AvailabilityZone": "us-east-1a"})
    id = new_volume(home)
    home.ec2.attach_volume(VolumeId=id, InstanceId=instance, Device="/dev/sdf")
    return id


def new_nat_gateway(home):
    (subnet,) = home.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1c"]}, {"Name": "default-for-az", "Values": ["true"]}])[
        "Subnets"
    ]
    return home.ec2.create_nat_gateway(SubnetId=subnet["SubnetId"], AllocationId=home.new_address()[0])["NatGateway"]["NatGatewayId"]


def deleted_nat_gateway(home):
    id = new_nat_gateway(home)
    home.ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[id], WaiterConfig=QUICK)
    home.ec2.delete_nat_gateway(NatGatewayId=id)
    return id


def new_peering(home):
    asked = {"VpcId": home.own_vpc, "PeerVpcId": home.ec2.create_vpc(CidrBlock=f"10.{100 + next(COUNT) % 100}.0.0/16")["Vpc"]["VpcId"]}
    return home.ec2.create_vpc_peering_connection(**asked)["VpcPeeringConnection"]["VpcPeeringConnectionId"]


def deleted_peering(home):
    id = new_peering(home)
    home.ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=id)
    return id


def stopped(home):
    (id,) = home.tenant.run()
    home.ec2.stop_instances(InstanceIds=[id])
    return id


def terminated(home):
    (id,) = home.tenant.run()
    home.ec2.terminate_instances(InstanceIds=[id])
    return id


def new_snapshot(home):
    return home.ec2.create_snapshot(VolumeId=home.volume)["SnapshotId"]


def new_image(home):
    return home.ec2.create_image(InstanceId=home.instance, Name=f"waited-{next(COUNT)}", NoReboot=True)["ImageId"]


def new_interface(home):
    return home.ec2.create_network_interface(SubnetId=home.subnet)["NetworkInterface"]["NetworkInterfaceId"]


def new_import(home):
    disk = {"Url": home.tenant.awan.files.url + "disk", "Format": "RAW"}
    return home.ec2.import_snapshot(DiskContainer=disk)["ImportTaskId"]


WAITS = {
    "image_available": ("ImageIds", new_image),
    "image_exists": ("ImageIds", lambda home: home.tenant.image),
    "instance_exists": ("InstanceIds", lambda home: home.tenant.launch()[0]),
    "instance_running": ("InstanceIds", lambda home: home.tenant.launch()[0]),
    "instance_status_ok": ("InstanceIds", lambda home: home.tenant.launch()[0]),
    "instance_stopped": ("InstanceIds", stopped),
    "instance_terminated": ("InstanceIds", terminated),
    "internet_gateway_exists": ("InternetGatewayIds", lambda home: home.gateway),
    "key_pair_exists": ("KeyNames", lambda home: home.key_name),
    "nat_gateway_available": ("NatGatewayIds", new_nat_gateway),
    "nat_gateway_deleted": ("NatGatewayIds", deleted_nat_gateway),
    "network_interface_available": ("NetworkInterfaceIds", new_interface),
    "security_group_exists": ("GroupIds", lambda home: home.group),
    "snapshot_completed": ("SnapshotIds", new_snapshot),
    "snapshot_imported": ("ImportTaskIds", new_import),
    "subnet_available": ("SubnetIds", lambda home: home.subnet),
    "system_status_ok": ("InstanceIds", lambda home: home.tenant.launch()[0]),
    "volume_available": ("VolumeIds", new_volume),
    "volume_deleted": ("VolumeIds", deleted_volume),
    "volume_in_use": ("VolumeIds", attached_volume),
    "vpc_available": ("VpcIds", lambda home: home.own_vpc),
    "vpc_exists": ("VpcIds", lambda home: home.own_vpc),
    "vpc_peering_connection_deleted": ("VpcPeeringConnectionIds", deleted_peering),
    "vpc_peering_connection_exists": ("VpcPeeringConnectionIds", new_peering),
}
EC2 = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="nobody", aws_secret_access_key="nothing")


def test_no_waiter_is_left_out():
    ours = {name for name in EC2.waiter_names if operation(name) in OURS}
    assert ours - NEVER == set(WAITS)


def operation(waiter):
    """What it calls, by the model that boto3 makes it from."""
    waiters = EC2._get_waiter_config()["waiters"]
    return next(model["operation"] for name, model in waiters.items() if name.lower() == waiter.replace("_", ""))


@pytest.mark.parametrize("name", WAITS)
def test_a_waiter_comes_to_its_end(home, name):
    parameter, make = WAITS[name]
    home.ec2.get_waiter(name).wait(**{parameter: [make(home)]}, WaiterConfig=QUICK)
