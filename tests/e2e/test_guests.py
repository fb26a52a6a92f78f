"""Real guests: launch, connect, use, stop, start, reboot, terminate; walls between tenants; what survives what."""

import base64
import json
import os
import re
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time

import pytest
from awan import states, tiny, until

SSH = ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
SSH += ["-o", "ConnectTimeout=3", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"]


class Tenant:
    def __init__(self, awan, name):
        self.awan = awan
        self.keys = awan.account(name)
        self.ec2 = awan.client(self.keys)
        key = self.ec2.create_key_pair(KeyName="key", KeyType="ed25519")
        self.key = awan.data / f"{name}.pem"
        self.key.write_text(key["KeyMaterial"])
        self.key.chmod(0o600)
        self.group = self.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
        self.allow(22)

    def rule(self, port):
        return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]

    def allow(self, port):
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=self.rule(port))

    def launch(self, count=1, **more):
        asked = {"ImageId": tiny(self.ec2), "InstanceType": "t3.nano", "KeyName": "key", "MinCount": count, "MaxCount": count}
        made = self.ec2.run_instances(**{**asked, **more})
        return [i["InstanceId"] for i in made["Instances"]]

    def about(self, instance):
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def try_ssh(self, instance, command, **how):
        return self.ssh_to(self.about(instance).get("PublicIpAddress"), command, **how)

    def ssh_to(self, address, command, enter=(), options=(), **how):
        """From this machine, or from where `enter` leads."""
        line = [*enter, *SSH, *options, "-i", str(self.key), f"root@{address}", command]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, **how)

    def ssh(self, instance, command, seconds=60):
        last = []

        def attempt():
            last[:] = [self.try_ssh(instance, command)]
            return last[0].returncode == 0

        try:
            until("ssh", seconds, attempt, 0.2)
        except AssertionError:
            shown = self.awan.admin("why", instance)
            console = self.ec2.get_console_output(InstanceId=instance, Latest=True)["Output"][-1500:]
            log = "\n".join([line for line in self.awan.log().splitlines() if " audit: " not in line][-20:])
            raise AssertionError(f"{last[0].stderr} {shown.get('State')} {shown.get('Report')}\n{console}\n{log}")
        return last[0].stdout

    def wait(self, name, instance):
        waiter = self.ec2.get_waiter(name)
        waiter.wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 90})

    def terminate(self, *instances):
        self.ec2.terminate_instances(InstanceIds=list(instances))
        for instance in instances:
            self.wait("instance_terminated", instance)


def picture(text):
    """Width and height of a JPEG, and how much it tells: of a screen of one colour its pieces are nearly all the same."""
    jpeg = base64.b64decode(text, validate=True)
    assert (jpeg[:2], jpeg[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    frame = jpeg.index(b"\xff\xc0")
    height, width = struct.unpack(">HH", jpeg[frame + 5:frame + 9])
    scan = jpeg[jpeg.index(b"\xff\xda"):]
    return width, height, len({scan[at:at + 8] for at in range(0, len(scan), 8)})


def test_the_whole_life_of_an_instance(awan, tenant):
    script = "#!/bin/sh\necho from-user-data >> /root/said\n"
    disk = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 3}}]
    (id,) = tenant.launch(UserData=script, BlockDeviceMappings=disk)
    tenant.wait("instance_running", id)
    tenant.wait("instance_status_ok", id)
    assert tenant.ssh(id, "uname -r").strip() != os.uname().release
    grown = lambda: int(tenant.ssh(id, "df -m / | tail -n 1").split()[1]) > 2_500
    until("the root has the size that was asked for", 30, grown, 0.3)
    until("user data", 30, lambda: tenant.try_ssh(id, "cat /root/said").stdout == "from-user-data\n", 0.3)
    assert "awan-tiny" in tenant.ec2.get_console_output(InstanceId=id, Latest=True)["Output"]
    width, height, tells = picture(tenant.ec2.get_console_screenshot(InstanceId=id, WakeUp=True)["ImageData"])
    assert (width, height) == (720, 400) and tells > 300, (width, height, tells)
    first = awan.guests()[id]

    tenant.ssh(id, "echo kept > /root/kept; sync")
    boot = tenant.ssh(id, "cat /proc/sys/kernel/random/boot_id")
    tenant.ec2.reboot_instances(InstanceIds=[id])
    until("another boot", 60, lambda: tenant.try_ssh(id, "cat /proc/sys/kernel/random/boot_id").stdout not in ("", boot), 0.3)
    assert awan.guests()[id] == first, "a reboot keeps the process"

    tenant.ec2.stop_instances(InstanceIds=[id])
    tenant.wait("instance_stopped", id)
    assert id not in awan.guests()
    awan.audit()
    tenant.ec2.modify_instance_attribute(InstanceId=id, InstanceType={"Value": "t3.micro"})
    tenant.ec2.start_instances(InstanceIds=[id])
    tenant.wait("instance_running", id)
    assert tenant.ssh(id, "cat /root/kept /root/said") == "kept\nfrom-user-data\n", "the disk stayed; user data ran once"
    memory = int(re.search(r"MemTotal:\s+(\d+)", tenant.ssh(id, "cat /proc/meminfo")).group(1))
    assert memory > 800_000, "resized"
    tenant.terminate(id)
    awan.audit()


def test_a_guest_that_powers_off_is_stopped(tenant, awan):
    (id,) = tenant.launch()
    tenant.ssh(id, "poweroff")
    tenant.wait("instance_stopped", id)
    reason = tenant.about(id)["StateReason"]["Code"]
    assert reason == "Client.InstanceInitiatedShutdown"
    tenant.terminate(id)


def kvm_group(awan):
    """Debian lets one group open KVM's device; there a machine that runs under KVM has it, and no other."""
    return {str(os.stat("/dev/kvm").st_gid)} if "hypervisor=kvm" in (awan.data / "out").read_text() else set()


def test_the_hypervisor_has_nothing_to_give_away(awan, tenant):
    (id,) = tenant.launch()
    tenant.wait("instance_running", id)
    pid = awan.guests()[id]
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    uids = set(status["Uid"].split())
    assert len(uids) == 1 and "0" not in uids, uids
    assert "0" not in status["Gid"].split() and set(status["Groups"].split()) <= kvm_group(awan)
    assert [status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")] == ["0" * 16] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    inside = open(f"/proc/{pid}/net/dev").read().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in inside] == ["lo"], "its network has no interface"
    assert f"awan-{awan.tag()}/{id}" in open(f"/proc/{pid}/cgroup").read()
    own = {str(awan.data), "/run/awan-"}
    for link in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{link}")
        fine = target.startswith(("/dev/null", "/dev/urandom", "/dev/net/tun", "/dev/kvm", "anon_inode:", "socket:", "/memfd:"))
        assert fine or any(target.startswith(o) for o in own) or "/images/" in target or "ami-" in target, target
    tenant.terminate(id)


def test_a_hypervisor_that_dies_is_noticed_at_once(awan, tenant):
    (id,) = tenant.launch()
    tenant.wait("instance_running", id)
    os.kill(awan.guests()[id], signal.SIGKILL)
    until("stopped", 3, lambda: states(tenant.ec2, [id])[id] == "stopped", 0.02)
    tenant.terminate(id)
    awan.audit()


def test_ports_open_and_close_on_a_running_guest(tenant):
    (id,) = tenant.launch()
    tenant.ssh(id, "mkdir -p /www; echo page > /www/index.html; busybox httpd -p 8080 -h /www")
    address = tenant.about(id)["PublicIpAddress"]

    def fetch():
        command = ["curl", "-s", "-m", "0.4", f"http://{address}:8080/index.html"]
        return subprocess.run(command, capture_output=True, text=True).stdout == "page\n"

    assert not fetch(), "closed"
    tenant.allow(8080)
    until("open", 1, fetch, 0)
    tenant.ec2.revoke_security_group_ingress(GroupId=tenant.group, IpPermissions=tenant.rule(8080))
    until("closed again", 1.5, lambda: not fetch(), 0)
    tenant.terminate(id)


def test_tenants_with_the_same_range_never_meet(awan, tenant):
    other = Tenant(awan, "other")
    (a,) = tenant.launch()
    ours = tenant.about(a)
    (b,) = other.launch(
        PrivateIpAddress=ours["PrivateIpAddress"],
        Placement={"AvailabilityZone": ours["Placement"]["AvailabilityZone"]},
    )
    theirs = other.about(b)
    assert ours["PrivateIpAddress"] == theirs["PrivateIpAddress"]
    for who, id in ((tenant, a), (other, b)):
        assert who.ssh(id, "imds meta-data/instance-id").strip() == id, "the same address, but each its own metadata"
    (c,) = other.launch(Placement={"AvailabilityZone": ours["Placement"]["AvailabilityZone"]})
    other.ssh(c, "true")
    quiet = tenant.try_ssh(a, f"ping -c 1 -W 1 {other.about(c)['PrivateIpAddress']}")
    assert quiet.returncode != 0, "an address of the other's VPC leads nowhere"
    own = other.try_ssh(b, f"ping -c 1 -W 2 {other.about(c)['PrivateIpAddress']}")
    assert own.returncode == 0, "members of one group reach each other: " + own.stdout
    for call in ("describe_instances", "start_instances", "terminate_instances"):
        answers = []
        for id in (a, "i-00000000000000000"):
            with pytest.raises(Exception) as refused:
                getattr(other.ec2, call)(InstanceIds=[id])
            answers.append(str(refused.value).replace(id, "ID"))
        assert answers[0] == answers[1]
    tenant.terminate(a)
    other.terminate(b, c)
    awan.audit()


def test_guests_cannot_lie_about_who_they_are(tenant):
    (a,) = tenant.launch()
    (b,) = tenant.launch()
    for id in (a, b):
        tenant.ssh(id, "true")
    ip = tenant.about(b)["PrivateIpAddress"]
    # Another source address, then another source MAC: neither arrives.
    spoof = f"ip addr add 172.31.15.99/20 dev eth0; ping -c 1 -W 1 -I 172.31.15.99 {ip}"
    assert tenant.try_ssh(a, spoof).returncode != 0
    assert tenant.try_ssh(a, f"ping -c 1 -W 2 {ip}").returncode == 0
    tenant.ssh(a, "cat /sys/class/net/eth0/address > /root/was")
    lie = f"ip link set eth0 address 0a:12:34:56:78:9a; ping -c 1 -W 1 {ip}; echo $? > /root/mac; ip link set eth0 address $(cat /root/was)"
    subprocess.run([*SSH, "-i", str(tenant.key), f"root@{tenant.about(a)['PublicIpAddress']}", "cat > /root/lie"], input=lie, text=True, timeout=20)
    tenant.try_ssh(a, "(setsid sh /root/lie > /dev/null 2>&1 < /dev/null &)")
    until("the verdict", 30, lambda: tenant.try_ssh(a, "cat /root/mac").stdout.strip() == "1", 0.5)
    tenant.terminate(a, b)


def test_guests_do_not_reach_what_runs_on_their_host(awan, tenant):
    (id,) = tenant.launch()
    tenant.ssh(id, "true")
    shown = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout)
    addresses = [a["local"] for link in shown for a in link["addr_info"]]
    with socketserver.TCPServer(("0.0.0.0", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        for address in addresses:
            with socket.create_connection((address, port), 2) as own:
                assert own.recv(9) == b"greetings", "the host itself does"
            if not address.startswith("127."):
                got = tenant.try_ssh(id, f"nc -w 2 {address} {port} < /dev/null")
                assert got.returncode in (0, 1) and "greetings" not in got.stdout, (address, got)
        server.shutdown()
    assert len(addresses) > 1, "loopback, and the link to the guests"
    assert tenant.try_ssh(id, f"nc -w 2 {addresses[-1]} {awan.api} < /dev/null").stdout == ""
    tenant.terminate(id)


class Greeter(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"greetings")


def test_an_elastic_address_follows(tenant, awan):
    a, b = tenant.launch(2)
    for id in (a, b):
        tenant.wait("instance_running", id)
    made = tenant.ec2.allocate_address(Domain="vpc")
    for id in (a, b):
        tenant.ec2.associate_address(AllocationId=made["AllocationId"], InstanceId=id)
        assert tenant.about(id)["PublicIpAddress"] == made["PublicIp"]
        name = "ip-" + tenant.about(id)["PrivateIpAddress"].replace(".", "-")
        # The host has it within moments; until then the other answers.
        until("its new place", 10, lambda: tenant.ssh(id, "hostname").startswith(name), 0.1)
    tenant.ec2.disassociate_address(PublicIp=made["PublicIp"])
    tenant.ec2.release_address(AllocationId=made["AllocationId"])
    tenant.terminate(a, b)
    awan.audit()


def test_guests_outlive_the_server(awan, tenant):
    (id,) = tenant.launch()
    tenant.ssh(id, "true")
    pid = awan.guests()[id]
    address = tenant.about(id)["PublicIpAddress"]
    echo = [{"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "198.18.0.0/16"}]}]
    tenant.ec2.authorize_security_group_ingress(GroupId=tenant.group, IpPermissions=echo)
    reach = ["ping", "-c", "1", "-W", "1", address]
    until("the rule", 2, lambda: subprocess.run(reach, capture_output=True).returncode == 0)
    ping = subprocess.Popen(["ping", "-i", "0.05", "-q", address], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    awan.kill()
    time.sleep(1)
    awan.start()
    until("adopted", 10, lambda: states(tenant.ec2, [id])[id] == "running")
    time.sleep(0.5)
    ping.send_signal(signal.SIGINT)
    said = ping.communicate(timeout=10)[0]
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
    assert sent - received <= 1, said
    assert awan.guests()[id] == pid
    awan.terminate()
    assert awan.guests()[id] == pid
    awan.start()
    assert tenant.ssh(id, "cat /proc/uptime")
    tenant.terminate(id)
    awan.audit()


def test_a_network_of_ones_own_leads_out_as_its_routes_say(awan, tenant):
    ec2 = tenant.ec2
    vpc = ec2.create_vpc(CidrBlock="10.40.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.40.1.0/24")["Subnet"]["SubnetId"]
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    group = ec2.create_security_group(GroupName="own", Description="d", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tenant.rule(22))
    keep = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
    (id,) = tenant.launch(SubnetId=subnet, SecurityGroupIds=[group], BlockDeviceMappings=keep)
    tenant.wait("instance_status_ok", id)
    out = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    assert tenant.try_ssh(id, "true").returncode != 0, "no route leads out"
    ec2.create_route(**out, GatewayId=gateway)
    assert tenant.about(id)["PrivateIpAddress"] in tenant.ssh(id, "ip -4 addr")
    ec2.delete_route(**out)
    until("the way is closed", 10, lambda: tenant.try_ssh(id, "true").returncode != 0, 0.2)
    volume = tenant.about(id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    tenant.terminate(id)
    awan.audit()
    assert list(awan.data.rglob(f"*{volume}*")), "its bytes are kept"
    ec2.delete_volume(VolumeId=volume)
    until("its bytes are gone", 10, lambda: not list(awan.data.rglob(f"*{volume}*")), 0.2)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)
    awan.audit()
