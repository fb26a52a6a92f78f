"""The roles apart: one control plane, two hosts on networks of their own, and what goes on while one of them is away."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from awan import BINARY, Awan, free_port, states, until
from test_endpoints import SERVICE, signed
from test_guests import SSH, Tenant

ZONES = {"h1": "us-east-1a", "h2": "us-east-1b", "h3": "us-east-1c"}
# The machines' own network: the control plane's end, and the hosts'.
CONTROL = "10.99.0.1"
ADDRESSES = {"h1": "10.99.0.11", "h2": "10.99.0.12", "h3": "10.99.0.13"}


class Control(Awan):
    """`awan control`. Its guests are on its hosts."""

    def start(self, wait=120):
        return super().start(wait, "control")


class Machine:
    """A network namespace that stands for a machine, and `awan host` in it."""

    def __init__(self, control, name, host_name=None, token=None):
        self.control, self.name = control, name
        self.host_name = host_name or name
        self.data = Path(tempfile.mkdtemp(prefix="awan-test-host-"))
        self.process = None
        if token is not False:
            (self.data / "join-token").write_text(token or (control.data / "join-token").read_text())
        link = f"ip link add {name} type veth peer name eth0 netns {name}"
        inside = f"ip addr add {ADDRESSES[name]}/24 dev eth0 && ip link set eth0 up && ip link set lo up && ip route add default via {CONTROL}"
        shell(f"ip netns add {name} && {link} && ip link set {name} master lan up && ip netns exec {name} sh -c '{inside}'")

    def inside(self, command, **how):
        """Runs a command on this machine."""
        # Not `ip netns exec`: that hides control groups.
        return subprocess.run(["nsenter", f"--net=/run/netns/{self.name}", *command], capture_output=True, text=True, timeout=60, **how)

    def start(self, wait=True):
        arguments = [str(BINARY), "host", "--data-dir", str(self.data), "--join", f"http://{CONTROL}:{self.control.hosts}"]
        arguments += ["--host-name", self.host_name, "--host-zone", ZONES[self.name], "--shutdown-grace", "20"]
        command = ["nsenter", f"--net=/run/netns/{self.name}", *arguments]
        with open(self.data / "out", "w") as out, open(self.data / "err", "a") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        if wait:
            until("ready", 60, self.ready)
        return self

    def ready(self):
        assert self.process.poll() is None, self.log()[-2000:]
        return (self.data / "out").read_text().startswith("ready ")

    def log(self):
        return (self.data / "err").read_text()

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def guests(self):
        return self.control.guests((self.data / "tag").read_text().strip())

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        if (self.data / "tag").exists():
            done = self.inside([str(BINARY), "purge", "--data-dir", str(self.data)])
            assert done.returncode == 0, done.stderr
        shutil.rmtree(self.data, ignore_errors=True)
        # The link first: a namespace takes its links with it only some time after its name.
        shell(f"ip link del {self.name} && ip netns del {self.name}")


def shell(command):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


class Guest:
    """An instance on a host, as it is seen from that host and from inside."""

    def __init__(self, tenant, machine):
        self.tenant, self.machine = tenant, machine
        (self.id,) = tenant.launch(Placement={"AvailabilityZone": ZONES[machine.name]})
        tenant.wait("instance_running", self.id)
        self.address = tenant.about(self.id)["PublicIpAddress"]
        self.boot = self.ssh("cat /proc/sys/kernel/random/boot_id")
        self.ssh("echo written > /root/kept; sync; mkdir -p /www; echo page > /www/index.html")
        self.ssh("busybox httpd -p 8080 -h /www")
        self.pid = machine.guests()[self.id]

    def try_ssh(self, command):
        return self.machine.inside([*SSH, "-i", str(self.tenant.key), f"root@{self.address}", command])

    def ssh(self, command, seconds=60):
        last = []

        def attempt():
            last[:] = [self.try_ssh(command)]
            return last[0].returncode == 0

        try:
            until("ssh", seconds, attempt, 0.2)
        except AssertionError:
            raise AssertionError(f"{last[0].stderr} {self.machine.log()[-1500:]}")
        return last[0].stdout

    def fetch(self):
        return self.machine.inside(["curl", "-s", "-m", "1", f"http://{self.address}:8080/"]).stdout == "page\n"

    def is_as_it_was(self):
        assert self.machine.guests() == {self.id: self.pid}
        assert self.ssh("cat /proc/sys/kernel/random/boot_id /root/kept") == self.boot + "written\n"
        assert self.ssh("imds meta-data/instance-id").strip() == self.id
        assert not self.fetch(), "nobody opened this port"


@pytest.fixture(scope="module")
def lan():
    # With an address of its own: else it takes one of its members', and neighbours lose it when those come and go.
    shell(f"ip link add lan address 02:00:00:00:00:01 type bridge && ip addr add {CONTROL}/24 dev lan && ip link set lan up")
    yield
    shell("ip link del lan")


@pytest.fixture(scope="module")
def control(lan):
    port = free_port()
    running = Control("auto", hosts_listen=f"{CONTROL}:{port}")
    running.hosts = port
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="module")
def machines(control):
    made = []
    try:
        for name in ("h1", "h2"):
            made.append(Machine(control, name))
            made[-1].start()
        yield made
    finally:
        for machine in made:
            machine.close()


@pytest.fixture(scope="module")
def guests(control, machines):
    until("both joined", 20, lambda: joined(control) == {"h1": True, "h2": True})
    tenant = Tenant(control, "acme")
    return [Guest(tenant, machine) for machine in machines]


def joined(control):
    return {h["Host"]["id"]: h["Alive"] for h in control.admin("host", "list")}


def test_two_hosts_join_and_run_guests_from_images_that_they_did_not_have(control, machines, guests):
    listed = {h["Host"]["id"]: h for h in control.admin("host", "list")}
    for machine in machines:
        host = listed[machine.name]
        assert host["Alive"] and host["Instances"] == 1
        assert host["Host"]["zone"] == ZONES[machine.name]
        assert host["Host"]["accelerator"] in ("kvm", "tcg")
        assert bool(host["Host"]["note"]) == (host["Host"]["accelerator"] == "tcg")
        assert "fetched from the control plane" in machine.log()
        assert (machine.data / "out").read_text().startswith(f"ready http://{CONTROL}:{control.hosts} host={machine.name} ")
    for guest in guests:
        guest.is_as_it_was()
    control.audit()


class Sniffer:
    """Source and destination of every IPv4 packet on the machines' own network."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self.socket.setblocking(False)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def pairs(self):
        found = set()
        try:
            while True:
                frame = self.socket.recv(65536)
                if frame[12:14] == b"\x08\x00":
                    found.add((socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])))
        except BlockingIOError:
            return found


def test_what_guests_of_two_hosts_send_each_other_is_dropped_and_leaves_no_host(guests):
    a, b = guests
    private = [g.tenant.about(g.id)["PrivateIpAddress"] for g in guests]
    for address in (private[1], b.address):
        with Sniffer() as sniffer:
            assert a.machine.inside(["ping", "-c", "1", "-W", "2", CONTROL]).returncode == 0
            assert a.try_ssh(f"ping -c 2 -W 1 {address}").returncode != 0
            pairs = sniffer.pairs()
        assert (ADDRESSES["h1"], CONTROL) in pairs, "the sniffer sees what there is"
        theirs = {a.address, b.address, *private}
        assert not [pair for pair in pairs if theirs & set(pair)], pairs


def test_guests_of_both_hosts_reach_the_api_of_the_control_plane_through_an_endpoint(control, guests):
    ec2, about = guests[0].tenant.ec2, guests[0].tenant.about(guests[0].id)
    # The API itself listens on its own machine alone.
    url = signed(control.account("caller"), SERVICE)
    asks = lambda guest: "<regionName>us-east-1</regionName>" in guest.try_ssh(f"timeout 4 wget -q -O - '{url}'").stdout
    asked = {"VpcId": about["VpcId"], "VpcEndpointType": "Interface", "SubnetIds": [about["SubnetId"]]}
    made = ec2.create_vpc_endpoint(ServiceName="com.amazonaws.us-east-1.ec2", **asked)["VpcEndpoint"]
    for guest in guests:
        until("the API's answer", 20, lambda: asks(guest), 0.3)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])
    for guest in guests:
        until("no answer", 10, lambda: not asks(guest), 0.3)
    control.audit()


def test_while_the_control_plane_is_away_nothing_changes(control, machines, guests):
    a, b = guests
    rule = a.tenant.rule(8080)
    control.kill()
    until("noticed", 30, lambda: all("the control plane is away" in m.log() for m in machines))
    for guest in guests:
        guest.is_as_it_was()
        assert guest.machine.process.poll() is None
    # A host that ends and begins meanwhile takes over what runs, rules and metadata included.
    a.machine.kill()
    assert a.try_ssh("true").returncode == 0, "a guest does not need its host's process"
    a.machine.start()
    until("metadata again", 30, lambda: a.try_ssh("imds meta-data/instance-id").stdout.strip() == a.id, 0.2)
    for guest in guests:
        guest.is_as_it_was()

    control.start()
    until("both are back", 30, lambda: joined(control) == {"h1": True, "h2": True})
    ids = [a.id, b.id]
    assert states(a.tenant.ec2, ids) == dict.fromkeys(ids, "running")
    for guest in guests:
        guest.is_as_it_was()
    control.audit()
    a.tenant.ec2.authorize_security_group_ingress(GroupId=a.tenant.group, IpPermissions=rule)
    for guest in guests:
        until("open", 20, guest.fetch, 0.1)
    a.tenant.ec2.revoke_security_group_ingress(GroupId=a.tenant.group, IpPermissions=rule)
    for guest in guests:
        until("closed", 5, lambda: not guest.fetch(), 0.1)
    control.audit()


def test_a_stop_given_while_its_host_is_away_is_done_when_it_returns_and_logs_are_read_of_all_hosts(control, guests):
    a, b = guests
    abouts = [guest.tenant.about(guest.id) for guest in guests]
    to = {"LogGroupName": "both", "DeliverLogsPermissionArn": "arn:aws:iam::123456789012:role/flows"}
    a.tenant.ec2.create_flow_logs(ResourceType="VPC", ResourceIds=[abouts[0]["VpcId"]], TrafficType="ALL", **to)
    logs = control.client(a.tenant.keys, "logs")
    assert logs.filter_log_events(logGroupName="both")["events"] == []
    control.audit()
    a.machine.kill()
    a.tenant.ec2.stop_instances(InstanceIds=[a.id, b.id])
    a.tenant.wait("instance_stopped", b.id)
    # What the other host knows is not all.
    with pytest.raises(logs.exceptions.ServiceUnavailableException):
        logs.filter_log_events(logGroupName="both")
    assert states(a.tenant.ec2, [a.id]) == {a.id: "stopping"}
    assert a.machine.guests() == {a.id: a.pid}
    a.machine.start()
    a.tenant.wait("instance_stopped", a.id)
    assert a.machine.guests() == {} == b.machine.guests()
    control.audit()
    told = logs.filter_log_events(logGroupName="both")["events"]
    enis = [about["NetworkInterfaces"][0]["NetworkInterfaceId"] for about in abouts]
    assert {event["logStreamName"] for event in told} == {f"{eni}-all" for eni in enis}, told
    a.tenant.ec2.start_instances(InstanceIds=[a.id])
    a.tenant.wait("instance_running", a.id)
    a.address = a.tenant.about(a.id)["PublicIpAddress"]
    assert a.ssh("cat /root/kept") == "written\n"
    a.tenant.terminate(a.id, b.id)
    control.audit()


@pytest.fixture
def third(control):
    made = []

    def make(**how):
        made.append(Machine(control, "h3", **how))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


def ends_saying(machine, *words):
    machine.start(wait=False)
    until("its end", 30, lambda: machine.process.poll() is not None)
    assert machine.process.returncode == 1
    last = machine.log().splitlines()[-1]
    assert last.startswith("awan: ") and all(word in last for word in words), last


def test_a_host_with_another_token_is_refused(third):
    ends_saying(third(token="0" * 32), "join token", "DIR/join-token")


def test_a_host_without_a_token_says_where_it_belongs(third):
    ends_saying(third(token=False), "join-token")


def test_a_name_that_another_machine_has_is_refused(control, machines, third):
    other = third(host_name="h1")
    ends_saying(other, "h1", "--host-name")
    assert joined(control)["h1"], "who has it is not disturbed"
    machines[0].kill()
    ends_saying(other, "h1", "--host-name")
    machines[0].start()
    until("it is back", 30, lambda: joined(control)["h1"])


def test_a_host_that_starts_while_the_control_plane_is_away_waits_for_it_and_is_forgotten_when_it_is_gone(control, third):
    control.kill()
    machine = third().start()
    until("said so", 10, lambda: "the control plane is away" in machine.log())
    control.start()
    until("joined", 30, lambda: joined(control).get("h3"))
    control.audit()
    tenant = Tenant(control, "curious")
    (id,) = tenant.launch(Placement={"AvailabilityZone": ZONES["h3"]})
    images = machine.data / "images"
    # Killed while it fetches, it fetches again.
    until("fetching", 30, lambda: [name for name in os.listdir(images) if name.startswith("fetch-")], 0.005)
    machine.kill()
    assert not [name for name in os.listdir(images) if name.startswith("ami-")]
    machine.start()
    tenant.wait("instance_running", id)
    assert [name[:4] for name in os.listdir(images)] == ["ami-"]
    with pytest.raises(AssertionError, match="end it first"):
        control.admin("host", "forget", "h3")
    tenant.terminate(id)
    control.audit()
    machine.kill()
    until("away", 40, lambda: joined(control)["h3"] is False, 0.5)
    control.admin("host", "forget", "h3")
    assert "h3" not in joined(control)
    control.audit()
