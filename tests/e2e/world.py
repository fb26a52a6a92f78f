"""A world behind this machine: another network namespace, which sends the pool of public addresses to the machine."""

import contextlib
import ipaddress
import json
import os
import subprocess
import sys

from awan import until


@contextlib.contextmanager
def world(machine, address, pool):
    """With the machine's address towards it and its own, both with the length of their network's prefix."""
    asleep = subprocess.Popen(["unshare", "--net", "sleep", "1800"], stdin=subprocess.DEVNULL)
    machines, its = ipaddress.ip_interface(machine), ipaddress.ip_interface(address)
    made = World(asleep.pid, str(its.ip))
    add = lambda interface: f"ip addr add {interface} dev wan" + " nodad" * (interface.version == 6)
    try:
        network = lambda of: os.readlink(f"/proc/{of}/ns/net")
        until("another network", 10, lambda: network(asleep.pid) != network("self"))
        run(*f"ip link add wan type veth peer name wan netns {asleep.pid}".split())
        run(*"ip link set wan up".split())
        run(*add(machines).split())
        for command in ("ip link set lo up", "ip link set wan up", add(its), f"ip route add {pool} via {machines.ip}"):
            made.do(command)
        yield made
    finally:
        # The link first: a namespace takes its links with it only some time after its last process.
        subprocess.run("ip link del wan".split(), capture_output=True, timeout=10)
        asleep.kill()
        asleep.wait(10)


def run(*command):
    subprocess.run(command, check=True, timeout=10)


class World:
    def __init__(self, pid, address):
        self.address = address
        self.enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]

    def do(self, command):
        return subprocess.run([*self.enter, "sh", "-c", command], check=True, capture_output=True, text=True, timeout=10).stdout

    def try_(self, command):
        return subprocess.run([*self.enter, "sh", "-c", command], capture_output=True, text=True, timeout=20)

    def count_visitors(self):
        """From now on it knows who began something here."""
        self.do(
            "nft 'table ip visitors { set them { type ipv4_addr; flags dynamic; size 1000; };"
            " chain input { type filter hook input priority 0; ct state new add @them { ip saddr }; }; }'"
        )

    def visitors(self):
        """The addresses of those that began something here since this was last asked."""
        (them,) = (part["set"] for part in json.loads(self.do("nft -j list set ip visitors them"))["nftables"] if "set" in part)
        self.do("nft flush set ip visitors them")
        return set(them.get("elem", []))

    @contextlib.contextmanager
    def web(self, folder):
        """A web server of the world, with the files of a folder."""
        serve = [sys.executable, "-m", "http.server", "80", "--bind", self.address, "--directory", str(folder)]
        server = subprocess.Popen([*self.enter, *serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until("the web server", 20, lambda: self.try_(f"curl -s -m 1 http://{self.address}/").returncode == 0)
            yield
        finally:
            server.kill()
            server.wait(10)
