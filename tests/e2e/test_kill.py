"""Killed at any moment of a launch: all of it happened or nothing, nothing is left over, and a bystander never notices.

`AWAN_KILL_SEED` replays a run, `AWAN_KILL_ROUNDS` says how many kills.
"""

import os
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import botocore.exceptions
import pytest
from awan import BINARY, Awan, free_port, states, tiny, until
from test_guests import Tenant

ROUNDS = int(os.environ.get("AWAN_KILL_ROUNDS", "50"))
SEED = int(os.environ.get("AWAN_KILL_SEED", random.randrange(1 << 32)))
COUNT = 20

# Seconds from the moment the launch is asked for until the kill. A request takes some 50 ms; then machines start, a few
# at a time, for some seconds.
MOMENTS = {"before": (0, 0.01), "during": (0.01, 0.08), "starting": (0.08, 3)}
# Some rounds have a second kill: so long after the start, or after the request to terminate them.
STARTING, ENDING = (0, 0.8), (0, 1)


class Apart(Awan):
    """Control plane and host in processes of their own; a kill takes one of them, or both."""

    def __init__(self, dice, **options):
        self.port = free_port()
        super().__init__("auto", hosts_listen=f"127.0.0.1:{self.port}", **options)
        self.dice, self.host = dice, None

    def start(self, wait=120):
        if self.process is None or self.process.poll() is not None:
            super().start(wait, "control")
        if self.host is None or self.host.poll() is not None:
            arguments = ["host", "--data-dir", self.data, "--join", f"http://127.0.0.1:{self.port}", "--host-name", "one"]
            with open(self.data / "host-out", "w") as out, open(self.data / "err", "a") as err:
                self.host = subprocess.Popen([BINARY, *map(str, arguments)], stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        if wait:
            # It may run since a start that waited for nothing.
            until("ready", wait, self.ready)
            until("the host is there", wait, lambda: [h for h in self.admin("host", "list") if h["Alive"]])
        return self

    def kill(self):
        which = self.dice.choice(("control", "host", "both"))
        if which != "control":
            self.host.kill()
            self.host.wait(10)
        if which != "host":
            super().kill()

    def close(self):
        for process in (self.host, self.process):
            if process and process.poll() is None:
                process.kill()
                process.wait(10)
        super().close()


class Launch(threading.Thread):
    """One RunInstances whose answer may never come."""

    def __init__(self, crowd, token):
        super().__init__()
        self.crowd, self.token, self.answer = crowd, token, None

    def run(self):
        try:
            self.answer = self.crowd.launch(self.token)
        except (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError):
            pass  # The server died first.


class Crowd:
    """A tenant whose networks and machines come and go with each round."""

    def __init__(self, awan):
        self.ec2 = awan.client(awan.account("crowd"))
        self.image = tiny(self.ec2)

    def launch(self, token):
        asked = {"ImageId": self.image, "InstanceType": "t3.nano", "MinCount": COUNT, "MaxCount": COUNT}
        made = self.ec2.run_instances(ClientToken=token, **asked)
        return sorted(i["InstanceId"] for i in made["Instances"])

    def of(self, token):
        found = self.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])
        return sorted(i["InstanceId"] for r in found["Reservations"] for i in r["Instances"])

    def are(self, ids, state):
        return set(states(self.ec2, ids).values()) == {state}

    def reasons(self, ids):
        found = self.ec2.describe_instances(InstanceIds=ids)
        return {i["StateReason"]["Code"] for r in found["Reservations"] for i in r["Instances"]}


class Bystander:
    """A guest that runs all the time, asked all the time whether it is there."""

    def __init__(self, awan):
        self.awan, self.tenant = awan, Tenant(awan, "bystander")
        (self.id,) = self.tenant.launch()
        self.boot = self.tenant.ssh(self.id, "cat /proc/sys/kernel/random/boot_id")
        self.pid = awan.guests()[self.id]
        self.address = self.tenant.about(self.id)["PublicIpAddress"]
        echo = [{"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "198.18.0.0/16"}]}]
        self.tenant.ec2.authorize_security_group_ingress(GroupId=self.tenant.group, IpPermissions=echo)
        once = ["ping", "-c", "1", "-W", "1", self.address]
        until("the rule", 5, lambda: subprocess.run(once, capture_output=True).returncode == 0)
        self.ping = subprocess.Popen(["ping", "-i", "0.1", "-q", self.address], stdout=subprocess.PIPE, text=True)

    def lives(self):
        assert self.awan.guests().get(self.id) == self.pid, "another process, or none"
        assert self.ping.poll() is None

    def never_noticed(self):
        self.lives()
        assert self.tenant.ssh(self.id, "cat /proc/sys/kernel/random/boot_id") == self.boot
        self.ping.send_signal(signal.SIGINT)
        said = self.ping.communicate(timeout=10)[0]
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
        # The last may be on its way.
        assert sent - received <= 1, said

    def close(self):
        self.ping.kill()
        self.ping.wait(10)


def probes():
    """Hypervisors in our own network namespace, where no machine is."""
    here, found = os.readlink("/proc/self/ns/net"), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"qemu-system" in (entry / "cmdline").read_bytes().split(b"\0")[0] and os.readlink(entry / "ns/net") == here:
                found.append(f"probe {entry.name}")
        except OSError:
            pass
    return found


def leftovers(awan, keep):
    """What this installation has on the machine beyond one instance, its volume and its network."""
    mine, groups = f"awan-{awan.tag()}", Path("/sys/fs/cgroup")
    found = [f"process of {id}" for id in awan.guests() if id != keep]
    for folder in [awan.data / "vms", Path("/run", mine, "vm"), *groups.glob(mine), *groups.glob(f"*/{mine}")]:
        # Control groups also hold the kernel's own files.
        names = [name for name in os.listdir(folder) if name.startswith("i-") and not name.startswith(keep)]
        found += [f"{folder}/{name}" for name in names]
    found += probes()
    volumes, spaces = os.listdir(awan.data / "volumes"), os.listdir("/run/netns")
    spaces = [name for name in spaces if name.startswith(f"{mine}-") and not name.endswith("-edge")]
    return found + (volumes if len(volumes) != 1 else []) + (spaces if len(spaces) != 1 else [])


def clean(awan, keep):
    awan.audit()
    try:
        until("nothing is left over", 10, lambda: not leftovers(awan, keep))
    except AssertionError:
        raise AssertionError(leftovers(awan, keep))


def one_round(awan, crowd, token, round, dice):
    """Returns what happened."""
    moment = list(MOMENTS)[round % len(MOMENTS)]
    delay, starting, ending = (dice.uniform(*span) for span in (MOMENTS[moment], STARTING, ENDING))
    asked = Launch(crowd, token)
    asked.start()
    time.sleep(delay)
    awan.kill()
    asked.join(70)
    assert not asked.is_alive()
    if round % 5 == 3:
        awan.start(wait=0)
        time.sleep(starting)
        awan.kill()
    awan.start()
    there = crowd.of(token)
    assert len(there) in (0, COUNT), f"{len(there)} of {COUNT}"
    if asked.answer:
        assert there == asked.answer, "what was answered is durable"
    again = crowd.launch(token)
    assert len(again) == COUNT and there in ([], again), "the token makes them once"
    assert crowd.of(token) == again
    if round % 5 == 4:
        until("all run", 90, lambda: crowd.are(again, "running"), 0.2)
        assert set(again) < set(awan.guests())
    crowd.ec2.terminate_instances(InstanceIds=again, SkipOsShutdown=True)
    if round % 4 == 3:
        time.sleep(ending)
        awan.kill()
        awan.start()
    until("all terminated", 60, lambda: crowd.are(again, "terminated"), 0.1)
    assert crowd.reasons(again) == {"Client.UserInitiatedShutdown"}, "none failed by itself"
    return f"killed after {delay:.3f} s, {len(there)} there, answered: {bool(asked.answer)}"


@pytest.mark.parametrize("roles", ["together", "apart"])
def test_a_kill_at_any_moment_of_a_launch_leaves_all_or_nothing(roles):
    print(f"\nAWAN_KILL_SEED={SEED} AWAN_KILL_ROUNDS={ROUNDS} replays this")
    dice = random.Random(SEED)
    awan, rounds = (Awan("auto", shutdown_grace=20), ROUNDS) if roles == "together" else (Apart(dice), max(1, ROUNDS // 5))
    bystander = None
    try:
        awan.start()
        bystander, crowd = Bystander(awan), Crowd(awan)
        for round in range(rounds):
            began = time.monotonic()
            said = one_round(awan, crowd, f"{SEED}-{round}", round, dice)
            bystander.lives()
            clean(awan, bystander.id)
            print(f"round {round}: {said}; {time.monotonic() - began:.1f} s", flush=True)
        bystander.never_noticed()
    finally:
        if bystander:
            bystander.close()
        awan.close()


def test_a_guest_whose_launch_was_killed_twice_works():
    print(f"\nAWAN_KILL_SEED={SEED} replays this")
    dice = random.Random(SEED)
    awan = Awan("auto", shutdown_grace=20)
    try:
        tenant = Tenant(awan.start(), "acme")
        for _ in range(max(1, ROUNDS // 12)):
            # Its network comes and goes with it.
            (id,) = tenant.launch()
            for span in ((0, 0.5), STARTING):
                time.sleep(dice.uniform(*span))
                awan.kill()
                awan.start(wait=0)
            until("ready", 60, awan.ready)
            assert tenant.ssh(id, "imds meta-data/instance-id").strip() == id
            tenant.terminate(id)
            awan.audit()
    finally:
        awan.close()
