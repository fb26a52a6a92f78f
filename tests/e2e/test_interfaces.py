"""Interfaces of real guests: a second one and a second address are reached; what an interface does not have, leaves nobody."""

import ipaddress

import pytest
from awan import Awan, until
from test_guests import Tenant


@pytest.fixture(scope="module")
def awan():
    running = Awan("auto", shutdown_grace=20)
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="module")
def tenant(awan):
    return Tenant(awan, "acme")


def metadata(tenant, instance, mac, name):
    return tenant.ssh(instance, f"imds meta-data/network/interfaces/macs/{mac}/{name}").split()


def pings(tenant, instance, address, source=None):
    said = f"-I {source} " if source else ""
    return tenant.try_ssh(instance, f"ping -c 1 -W 2 {said}{address}").returncode == 0


def test_two_interfaces_and_a_second_address_are_reached_and_a_strangers_is_not(awan, tenant):
    ec2 = tenant.ec2
    zone = {"Name": "availability-zone", "Values": ["us-east-1a"]}
    subnet = ec2.describe_subnets(Filters=[zone])["Subnets"][0]["SubnetId"]
    (peer,) = tenant.launch(SubnetId=subnet)
    elastic = ec2.allocate_address(Domain="vpc")
    asked = [
        {"DeviceIndex": 0, "SubnetId": subnet, "SecondaryPrivateIpAddressCount": 1},
        {"DeviceIndex": 1, "SubnetId": subnet},
    ]
    (legs,) = tenant.launch(NetworkInterfaces=asked)
    faces = sorted(tenant.about(legs)["NetworkInterfaces"], key=lambda i: i["Attachment"]["DeviceIndex"])
    first, second = (face["NetworkInterfaceId"] for face in faces)
    primary, secondary = (a["PrivateIpAddress"] for a in faces[0]["PrivateIpAddresses"])
    other = faces[1]["PrivateIpAddress"]
    # EC2 gives no public address to a launch with two interfaces.
    ec2.associate_address(AllocationId=elastic["AllocationId"], NetworkInterfaceId=first, PrivateIpAddress=primary)

    macs = sorted(tenant.ssh(legs, "imds meta-data/network/interfaces/macs/").split())
    assert macs == sorted(face["MacAddress"] + "/" for face in faces)
    assert metadata(tenant, legs, faces[0]["MacAddress"], "local-ipv4s") == [primary, secondary]
    assert metadata(tenant, legs, faces[1]["MacAddress"], "local-ipv4s") == [other]
    assert metadata(tenant, legs, faces[1]["MacAddress"], "device-number") == ["1"]
    for n, face in enumerate(faces):
        assert tenant.ssh(legs, f"cat /sys/class/net/eth{n}/address").strip() == face["MacAddress"]

    # The image asks for the address of each interface, but for no second one: that is the guest's own affair, as on EC2.
    until("its address", 20, lambda: other in tenant.ssh(legs, "ip -4 addr show dev eth1"), 0.3)
    assert not pings(tenant, peer, secondary)
    tenant.ssh(legs, f"ip addr add {secondary}/32 dev eth0")
    for address in (primary, secondary, other):
        assert pings(tenant, peer, address), address
        assert pings(tenant, legs, tenant.about(peer)["PrivateIpAddress"], address), address
    served = "mkdir -p /www; echo page > /www/index.html; busybox httpd -p 8080 -h /www"
    tenant.ssh(legs, served)
    for address in (secondary, other):
        assert tenant.ssh(peer, f"wget -q -O - http://{address}:8080/index.html") == "page\n"

    # A stranger's address leaves by neither, nor does the one interface's by the other; the way is the same for all.
    target = tenant.about(peer)["PrivateIpAddress"]
    network = ipaddress.ip_network(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["CidrBlock"])
    by = [("eth0", primary, True), ("eth0", secondary, True), ("eth0", "172.31.15.99", False), ("eth0", other, False)]
    by += [("eth1", other, True), ("eth1", "172.31.15.98", False), ("eth1", secondary, False)]
    for device, source, arrives in by:
        tenant.ssh(legs, f"ip route replace {target}/32 via {network[1]} dev {device} onlink table 77")
        made = tenant.try_ssh(legs, f"ip addr add {source}/32 dev {device}").returncode == 0
        tenant.ssh(legs, f"ip rule add from {source} to {target} table 77 pref 7")
        assert pings(tenant, legs, target, source) == arrives, (device, source)
        tenant.ssh(legs, "ip rule del pref 7" + (f"; ip addr del {source}/32 dev {device}" if made else ""))

    # What an interface no longer has is dropped, whatever the guest says.
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=[secondary])
    until("the address is nobody's", 10, lambda: not pings(tenant, peer, secondary), 0.2)
    assert pings(tenant, peer, primary) and pings(tenant, peer, other)

    # Each interface has groups of its own.
    vpc = tenant.about(legs)["VpcId"]
    closed = ec2.create_security_group(GroupName="closed", Description="d", VpcId=vpc)["GroupId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=second, Groups=[closed])
    until("closed", 10, lambda: not pings(tenant, peer, other), 0.2)
    assert pings(tenant, peer, primary)
    awan.audit()
    tenant.terminate(legs, peer)
    ec2.delete_security_group(GroupId=closed)
    ec2.release_address(AllocationId=elastic["AllocationId"])
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    awan.audit()
