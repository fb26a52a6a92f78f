"""Interfaces of real guests: a second one and a second address are reached; what an interface does not have, leaves nobody."""

import ipaddress

import pytest
from awan import until


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


def face(tenant, eni):
    return tenant.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]


def attach(tenant, eni, instance):
    made = tenant.ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=instance, DeviceIndex=1)
    until("attached", 30, lambda: face(tenant, eni)["Attachment"]["Status"] == "attached", 0.2)
    return made["AttachmentId"]


def detach(tenant, eni, attachment, **how):
    tenant.ec2.detach_network_interface(AttachmentId=attachment, **how)
    waiter = tenant.ec2.get_waiter("network_interface_available")
    waiter.wait(NetworkInterfaceIds=[eni], WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def has(tenant, instance, eni):
    """Whether the guest has it, by the address that only this interface has."""
    return tenant.try_ssh(instance, f"grep -lx {face(tenant, eni)['MacAddress']} /sys/class/net/eth*/address").returncode == 0


def test_an_interface_comes_while_the_guest_runs_goes_and_comes_again(awan, tenant):
    ec2 = tenant.ec2
    zone = {"Name": "availability-zone", "Values": ["us-east-1a"]}
    subnet = ec2.describe_subnets(Filters=[zone])["Subnets"][0]["SubnetId"]
    one, peer = tenant.launch(2, SubnetId=subnet)
    for id in (one, peer):
        tenant.ssh(id, "true")
    a, b = (ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(2))
    mac, address = (face(tenant, a)[name] for name in ("MacAddress", "PrivateIpAddress"))
    for _ in range(2):
        attachment = attach(tenant, a, one)
        until("its address", 30, lambda: address in tenant.ssh(one, "ip -4 addr show dev eth1"), 0.3)
        assert tenant.ssh(one, "cat /sys/class/net/eth1/address").strip() == mac
        assert mac + "/" in tenant.ssh(one, "imds meta-data/network/interfaces/macs/").split()
        assert metadata(tenant, one, mac, "local-ipv4s") == [address]
        assert metadata(tenant, one, mac, "device-number") == ["1"]
        until("it answers", 10, lambda: pings(tenant, peer, address), 0.2)
        assert pings(tenant, one, tenant.about(peer)["PrivateIpAddress"], address)
        with pytest.raises(ec2.exceptions.ClientError, match="AttachmentLimitExceeded"):
            ec2.attach_network_interface(NetworkInterfaceId=b, InstanceId=one, DeviceIndex=2)
        awan.audit()
        detach(tenant, a, attachment)
        until("it is gone from the guest", 10, lambda: not has(tenant, one, a), 0.2)
        assert not pings(tenant, peer, address)
        assert mac + "/" not in tenant.ssh(one, "imds meta-data/network/interfaces/macs/").split()
        awan.audit()

    # A login by an elastic address in front of it, and back out by it.
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=elastic["AllocationId"], NetworkInterfaceId=a)
    attachment = attach(tenant, a, one)
    login = lambda: tenant.ssh_to(elastic["PublicIp"], "ip -4 addr show dev eth1")
    until("a login by it", 30, lambda: address in login().stdout, 0.3)

    # What is attached is known in the next life of the host, and can go then; without asking the guest, too.
    awan.kill()
    awan.start()
    until("still attached", 30, lambda: face(tenant, a)["Attachment"]["Status"] == "attached", 0.2)
    until("a login by it", 30, lambda: address in login().stdout, 0.3)
    awan.audit()
    detach(tenant, a, attachment, Force=True)
    attachment = attach(tenant, a, peer)
    until("a login by it", 30, lambda: address in login().stdout, 0.3)
    assert has(tenant, peer, a)

    # It stays with an instance that is stopped, and goes with it if it is meant to.
    attachment = attach(tenant, b, one)
    change = {"AttachmentId": attachment, "DeleteOnTermination": True}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=b, Attachment=change)
    ec2.stop_instances(InstanceIds=[one])
    tenant.wait("instance_stopped", one)
    ec2.start_instances(InstanceIds=[one])
    tenant.wait("instance_running", one)
    tenant.ssh(one, "true")
    assert has(tenant, one, b)
    # What was there from the start can go like what came later.
    detach(tenant, b, attachment)
    until("it is gone from the guest", 10, lambda: not has(tenant, one, b), 0.2)
    attachment = attach(tenant, b, one)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=b, Attachment={**change, "AttachmentId": attachment})
    awan.audit()
    tenant.terminate(one, peer)
    left = [i["NetworkInterfaceId"] for i in ec2.describe_network_interfaces()["NetworkInterfaces"]]
    assert left == [a]
    ec2.delete_network_interface(NetworkInterfaceId=a)
    ec2.release_address(AllocationId=elastic["AllocationId"])
    awan.audit()


def test_an_interface_is_taken_from_a_guest_that_hears_nothing_and_given_to_another(awan, tenant):
    ec2 = tenant.ec2
    zone = {"Name": "availability-zone", "Values": ["us-east-1a"]}
    subnet = ec2.describe_subnets(Filters=[zone])["Subnets"][0]["SubnetId"]
    dead, heir = tenant.launch(2, SubnetId=subnet)
    for id in (dead, heir):
        tenant.ssh(id, "true")
    eni = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=elastic["AllocationId"], NetworkInterfaceId=eni)
    attachment = attach(tenant, eni, dead)
    login = lambda: tenant.ssh_to(elastic["PublicIp"], "cat /sys/class/net/eth1/address")
    until("a login by it", 30, lambda: face(tenant, eni)["MacAddress"] in login().stdout, 0.3)
    tenant.ssh(dead, "echo 0 >/proc/sys/kernel/panic; (usleep 200000; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
    said = lambda: ec2.get_console_output(InstanceId=dead, Latest=True)["Output"]
    until("it hears nothing any more", 20, lambda: "end Kernel panic" in said(), 0.2)
    ec2.detach_network_interface(AttachmentId=attachment)
    refused = lambda: "has not let go" in awan.log()
    until("the guest was asked in vain", 20, refused, 0.2)
    assert face(tenant, eni)["Attachment"]["Status"] == "detaching"
    detach(tenant, eni, attachment, Force=True)
    awan.audit()
    attach(tenant, eni, heir)
    until("a login by it", 30, lambda: face(tenant, eni)["MacAddress"] in login().stdout, 0.3)
    # The dead guest's machine has no place for another until it starts again.
    other = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    with pytest.raises(ec2.exceptions.ClientError, match="AttachmentLimitExceeded.*stop it"):
        ec2.attach_network_interface(NetworkInterfaceId=other, InstanceId=dead, DeviceIndex=1)
    ec2.stop_instances(InstanceIds=[dead], Force=True)
    tenant.wait("instance_stopped", dead)
    ec2.attach_network_interface(NetworkInterfaceId=other, InstanceId=dead, DeviceIndex=1)
    ec2.start_instances(InstanceIds=[dead])
    tenant.wait("instance_running", dead)
    tenant.ssh(dead, "true")
    assert has(tenant, dead, other)
    awan.audit()
    tenant.terminate(dead, heir)
    for id in (eni, other):
        ec2.delete_network_interface(NetworkInterfaceId=id)
    ec2.release_address(AllocationId=elastic["AllocationId"])
    awan.audit()
