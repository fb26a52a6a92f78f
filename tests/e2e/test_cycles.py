"""Things come and go at random, with real machines and real networks; then the machine is as it was before."""

import json
import os
import random
import re
import subprocess
import time
from pathlib import Path

import pytest
from awan import Awan, states, tiny, until

CYCLES = int(os.environ.get("AWAN_CYCLES", 200))
SEED = int(os.environ.get("AWAN_CYCLES_SEED", 20_261_128))
# What lives at the same time; the processors of a small machine emulate all of them.
INSTANCES = 3
THINGS = 8


@pytest.fixture(scope="module")
def awan():
    running = Awan("auto", shutdown_grace=5)
    try:
        yield running.start()
    finally:
        running.close()


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def is_there(awan):
    """All of the machine that an installation may have made. Counters, indexes and the order of things say nothing."""
    tag = awan.tag()
    found = {"namespaces": sorted(run("ip", "netns").splitlines())}
    for name in ["", *[line.split()[0] for line in found["namespaces"]]]:
        inside = ["ip", "netns", "exec", name] if name else []
        links = run(*inside, "ip", "-o", "link")
        found[f"links of {name}"] = sorted(re.sub(r"@\S+", "", line.split(": ")[1]) for line in links.splitlines())
        found[f"routes of {name}"] = sorted(run(*inside, "ip", "route", "show", "table", "all").splitlines())
        found[f"neighbours of {name}"] = sorted(run(*inside, "ip", "neigh", "show", "nud", "permanent").splitlines())
        found[f"rules of {name}"] = sorted(rules(run(*inside, "nft", "-j", "list", "ruleset")))
    ours = (f"awan-{tag}", str(awan.data))
    lines = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                lines[entry.name] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            pass
    found["processes"] = sorted(line for line in lines.values() if any(word in line for word in ours))
    children = Path(f"/proc/{awan.process.pid}/task").glob("*/children")
    found["children"] = sorted(word for path in children for word in path.read_text().split())
    found["open files"] = len(os.listdir(f"/proc/{awan.process.pid}/fd"))
    places = [awan.data, Path(f"/run/awan-{tag}"), *Path("/sys/fs/cgroup").glob(f"**/awan-{tag}*")]
    files = [path for place in places for path in [place, *place.rglob("*")]]
    # The store's own, of which it makes and removes some as it likes.
    found["files"] = sorted(str(path) for path in files if not path.name.startswith("state.db"))
    return found


def rules(text):
    """Sets, chains and rules; of flows that are counted nothing is kept for good."""
    for item in json.loads(text)["nftables"]:
        for kind, about in item.items():
            if kind in ("set", "map", "chain", "rule", "table"):
                about.pop("handle", None)
                if about.get("table") == "guard":
                    about.pop("elem", None)
                shown = re.sub(r'"(packets|bytes)": \d+', "", json.dumps(about, sort_keys=True))
                yield f"{kind} {shown}"


class World:
    """A tenant's things. Each knows how it goes, and goes before what it needs."""

    def __init__(self, awan, dice):
        self.ec2, self.dice = awan.client(awan.account("acme")), dice
        self.image = tiny(self.ec2)
        self.default = self.ec2.describe_subnets()["Subnets"]
        self.instances, self.vpcs, self.volumes, self.addresses, self.groups, self.interfaces = [], [], [], [], [], []

    def any(self, of):
        return self.dice.choice(of) if of else None

    def make_instance(self):
        if len(self.instances) == INSTANCES:
            return self.end_instance()
        place = self.any(self.vpcs + self.default)
        asked = {"ImageId": self.image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1, "SubnetId": place["SubnetId"]}
        made = self.ec2.run_instances(**asked)["Instances"][0]["InstanceId"]
        self.instances.append((made, place))
        # Some are ended while they start.
        if self.dice.random() < 0.6:
            until("running", 120, lambda: states(self.ec2, [made])[made] == "running")

    def end_instance(self, which=None):
        one = which or self.any(self.instances)
        if one:
            self.instances.remove(one)
            self.ec2.terminate_instances(InstanceIds=[one[0]], SkipOsShutdown=True)
            until("terminated", 120, lambda: states(self.ec2, [one[0]])[one[0]] == "terminated")

    def stop_and_start(self):
        one = self.any(self.instances)
        if one and states(self.ec2, [one[0]])[one[0]] == "running":
            self.ec2.stop_instances(InstanceIds=[one[0]], Force=True)
            until("stopped", 120, lambda: states(self.ec2, [one[0]])[one[0]] == "stopped")
            self.ec2.start_instances(InstanceIds=[one[0]])

    def make_vpc(self):
        n = self.dice.randrange(256)
        vpc = self.ec2.create_vpc(CidrBlock=f"10.{n}.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{n}.1.0/24")["Subnet"]["SubnetId"]
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        self.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": self.dice.random() < 0.5})
        self.vpcs.append({"VpcId": vpc, "SubnetId": subnet, "Gateway": gateway})

    def end_vpc(self):
        one = self.any(self.vpcs)
        if one:
            for instance in [i for i in self.instances if i[1] is one]:
                self.end_instance(instance)
            for interface in [i for i in self.interfaces if i[1] is one]:
                self.end_interface(interface)
            self.vpcs.remove(one)
            self.ec2.detach_internet_gateway(InternetGatewayId=one["Gateway"], VpcId=one["VpcId"])
            self.ec2.delete_internet_gateway(InternetGatewayId=one["Gateway"])
            self.ec2.delete_subnet(SubnetId=one["SubnetId"])
            self.ec2.delete_vpc(VpcId=one["VpcId"])

    def make_volume(self):
        zone = self.default[0]["AvailabilityZone"]
        self.volumes.append(self.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"])
        self.ec2.get_waiter("volume_available").wait(VolumeIds=[self.volumes[-1]], WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    def end_volume(self):
        if self.volumes:
            self.ec2.delete_volume(VolumeId=self.volumes.pop())

    def make_address(self):
        made = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.addresses.append(made)
        there = [i for i in self.instances if states(self.ec2, [i[0]])[i[0]] == "running"]
        if there:
            self.ec2.associate_address(AllocationId=made, InstanceId=self.any(there)[0], AllowReassociation=True)

    def end_address(self):
        if self.addresses:
            one = self.addresses.pop()
            about = self.ec2.describe_addresses(AllocationIds=[one])["Addresses"][0]
            if "AssociationId" in about:
                self.ec2.disassociate_address(AssociationId=about["AssociationId"])
            self.ec2.release_address(AllocationId=one)

    def make_group(self):
        made = self.ec2.create_security_group(GroupName=f"group-{time.monotonic_ns()}", Description="of a test")["GroupId"]
        ranges = [{"CidrIp": f"192.0.2.{n}/32"} for n in range(self.dice.randrange(1, 30))]
        allowed = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}]
        self.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=allowed)
        there = [i for i in self.instances if i[1] in self.default]
        if there:
            one = self.any(there)[0]
            about = self.ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
            before = [group["GroupId"] for group in about["SecurityGroups"]]
            self.ec2.modify_instance_attribute(InstanceId=one, Groups=[made])
            time.sleep(self.dice.random())
            self.ec2.modify_instance_attribute(InstanceId=one, Groups=before)
        self.groups.append(made)

    def end_group(self):
        if self.groups:
            self.ec2.delete_security_group(GroupId=self.groups.pop())

    def make_interface(self):
        place = self.any(self.vpcs + self.default)
        made = self.ec2.create_network_interface(SubnetId=place["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
        self.interfaces.append((made, place))

    def end_interface(self, which=None):
        one = which or self.any(self.interfaces)
        if one:
            self.interfaces.remove(one)
            self.ec2.delete_network_interface(NetworkInterfaceId=one[0])

    def count(self):
        return sum(map(len, (self.vpcs, self.volumes, self.addresses, self.groups, self.interfaces)))

    def cycle(self):
        kinds = ["vpc", "volume", "address", "group", "interface"]
        what = self.dice.choice(["instance"] * 4 + ["stop"] + kinds)
        if what == "stop":
            return self.stop_and_start()
        if what != "instance":
            # What is there makes way for what comes.
            grow = self.dice.random() < 0.6 and self.count() < THINGS
            return getattr(self, f"{'make' if grow else 'end'}_{what}")()
        return self.make_instance() if self.dice.random() < 0.6 else self.end_instance()

    def end(self):
        for kind, of in [
            ("address", self.addresses),
            ("instance", self.instances),
            ("interface", self.interfaces),
            ("vpc", self.vpcs),
            ("volume", self.volumes),
            ("group", self.groups),
        ]:
            while of:
                getattr(self, f"end_{kind}")()


def differences(before, after):
    found = []
    for what in before.keys() | after.keys():
        old, new = before.get(what), after.get(what)
        if what == "open files":
            # Connections of clients come and go.
            if new > old + 8:
                found.append(f"{what}: {old} -> {new}")
        elif old != new:
            gone, more = [[x for x in a or [] if x not in (b or [])] for a, b in ((old, new), (new, old))]
            found.append(f"{what}: gone {gone}, more {more}")
    return found


def test_random_cycles_leave_nothing(awan):
    print(f"\nAWAN_CYCLES_SEED={SEED} AWAN_CYCLES={CYCLES} replays this")
    world = World(awan, random.Random(SEED))
    # What the first guest brings stays for the next ones: the edge.
    world.make_instance()
    world.end()
    awan.audit()
    before = is_there(awan)
    done = []
    for _ in range(CYCLES):
        began = time.monotonic()
        world.cycle()
        done.append(time.monotonic() - began)
    world.end()
    awan.audit(60)
    try:
        until("as before", 60, lambda: not differences(before, is_there(awan)), 0.5)
    except AssertionError:
        raise AssertionError("\n".join(differences(before, is_there(awan))))
    print(f"{CYCLES} cycles, {sum(done):.0f} s")
