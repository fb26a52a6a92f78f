"""From the wish for a machine to a login on it: RunInstances of Awan beside the bare QEMU command, turn by turn.

The bare command is Awan's own, read from a running guest, with files in place of inherited descriptors and without what
Awan puts around it. The disk is a fresh child of the same image, made before the clock starts; for Awan, making it counts.
"""

import argparse
import json
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import surroundings

ISOLATED = Path(__file__).resolve().parents[1] / "isolated.sh"
WITHIN = 120
SSH = "ssh -F none -n -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
SSH += " -o LogLevel=ERROR -o ConnectTimeout=3"


def main(words):
    parser = argparse.ArgumentParser(prog="bench launch")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(words)
    if os.geteuid() != 0:
        sys.exit("bench launch runs real guests and needs root")
    if os.environ.get("AWAN_ISOLATED") != "1":
        os.environ.setdefault("AWAN_TEST_IMAGES", str(images()))
        os.execv("/bin/sh", ["sh", str(ISOLATED), sys.executable, str(Path(__file__).with_name("bench.py")), "launch", *words])
    with tempfile.TemporaryDirectory(prefix="awan-bench-") as work:
        bench(Path(work), options.rounds)


def images():
    """The tiny image, built where the package mirror can be reached; the benchmark's own network leads nowhere."""
    root = Path(__file__).resolve().parents[2]
    folder = root / "target/bench/images"
    if not list(folder.glob("ami-*")):
        new = folder / "new"
        subprocess.run([str(root / "images/tiny/build.sh"), str(new), str(folder / "debs")], check=True, timeout=600)
        new.rename(folder / ("ami-" + json.loads((new / "manifest.json").read_text())["sha256"][:17]))
    return folder


def bench(work, rounds):
    from awan import Awan

    awan = Awan("auto")
    served = None
    try:
        cloud = Cloud(awan.start(), work)
        bare = Bare(work, cloud)
        served = multiprocessing.get_context("fork").Process(target=surroundings.serve, args=(cloud.public_key(),), daemon=True)
        served.start()
        results = {"Awan": [], "bare QEMU": []}
        for n in range(rounds):
            for name, side in (("Awan", cloud), ("bare QEMU", bare)):
                banner, login = side.round()
                results[name].append((banner, login))
                print(f"{n + 1}/{rounds} {name}: banner {banner:.2f} s, login {login:.2f} s", flush=True)
        print(markdown(results))
    finally:
        if served:
            served.kill()
        awan.close()


def markdown(results):
    lines = ["| from the wish | first SSH banner, s | key login done, s | all logins, s |", "| --- | --- | --- | --- |"]
    for name, rounds in results.items():
        banner, login = (statistics.median(column) for column in zip(*rounds))
        every = " ".join(f"{login:.2f}" for _, login in rounds)
        lines.append(f"| {name}, median | {banner:.2f} | {login:.2f} | {every} |")
    # By pairs: what else the machine does changes from one round to the next.
    pairs = [[a - b for a, b in zip(ours, bare)] for ours, bare in zip(*results.values())]
    banner, login = (statistics.median(column) for column in zip(*pairs))
    every = " ".join(f"{login:+.2f}" for _, login in pairs)
    lines.append(f"| Awan over bare, median of the rounds' differences | {banner:+.2f} | {login:+.2f} | {every} |")
    return "\n".join(lines)


def reached(address, key, began):
    """Seconds until the banner, and until a command ran."""
    while not banner(address):
        if time.monotonic() - began > WITHIN:
            raise AssertionError(f"no SSH at {address}")
        time.sleep(0.01)
    seen = time.monotonic() - began
    while subprocess.run([*SSH.split(), "-i", key, f"root@{address}", "true"], capture_output=True).returncode != 0:
        if time.monotonic() - began > WITHIN:
            raise AssertionError(f"no login at {address}")
    return seen, time.monotonic() - began


def banner(address):
    try:
        # A lost first packet is sent again only after a second, so the wait is short and the attempt a new one.
        with socket.create_connection((address, 22), timeout=0.2) as s:
            s.settimeout(5)
            return s.recv(4) == b"SSH-"
    except OSError:
        return False


class Cloud:
    def __init__(self, awan, work):
        self.awan, self.ec2 = awan, awan.client()
        self.key = work / "key"
        self.key.write_text(self.ec2.create_key_pair(KeyName="key", KeyType="ed25519")["KeyMaterial"])
        self.key.chmod(0o600)
        group = self.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        self.image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        self.command = self.learn()

    def public_key(self):
        return subprocess.run(["ssh-keygen", "-y", "-f", self.key], check=True, capture_output=True).stdout

    def launch(self, **how):
        asked = {"ImageId": self.image, "InstanceType": "t3.nano", "KeyName": "key", "MinCount": 1, "MaxCount": 1, **how}
        return self.ec2.run_instances(**asked)["Instances"][0]

    def address(self, instance):
        while "PublicIpAddress" not in instance:
            found = self.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])
            instance = found["Reservations"][0]["Instances"][0]
        return instance["PublicIpAddress"]

    def round(self):
        began = time.monotonic()
        instance = self.launch()
        try:
            return reached(self.address(instance), self.key, began)
        finally:
            self.end(instance["InstanceId"])

    def end(self, id):
        self.ec2.terminate_instances(InstanceIds=[id], Force=True)
        self.ec2.get_waiter("instance_terminated").wait(InstanceIds=[id], WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    def learn(self):
        """The command line of a guest, and a round that warms up caches: not counted."""
        id = self.launch()["InstanceId"]
        end = time.monotonic() + 30
        while id not in self.awan.guests():
            if time.monotonic() > end:
                raise AssertionError("no guest: " + self.awan.log()[-1000:])
            time.sleep(0.1)
        pid = self.awan.guests()[id]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        self.end(id)
        return command


class Bare:
    """QEMU as one would start it by hand."""

    def __init__(self, work, cloud):
        self.work, self.key = work, cloud.key
        self.image = next(p for p in (cloud.awan.data / "images").glob("ami-*"))
        self.command = by_path(cloud.command, work, self.image)
        surroundings.make_tap()

    def round(self):
        disk = self.work / "disk.qcow2"
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(self.image / "disk.qcow2"), "-F", "qcow2", str(disk), "1G"]
        subprocess.run(make, check=True)
        began = time.monotonic()
        guest = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            return reached(surroundings.GUEST, self.key, began)
        finally:
            guest.kill()
            guest.wait(10)
            disk.unlink()


ALONE = ("-nodefaults", "-no-user-config", "-no-shutdown")


def by_path(command, work, image):
    """A command with files in place of descriptors."""
    out, rest = [command[0]], iter(command[1:])
    for flag in rest:
        if flag in ALONE:
            out.append(flag)
            continue
        value = next(rest)
        if flag != "-add-fd":
            out += [flag, plain(flag, value, work, image)]
    return out


def plain(flag, value, work, image):
    match flag:
        case "-name":
            return "guest=bare"
        case "-kernel":
            return str(image / "vmlinux")
        case "-initrd":
            return str(image / "initrd.cpio")
        case "-netdev":
            id = re.search("id=([^,]+)", value)[1]
            return f"tap,id={id},ifname={surroundings.TAP},script=no,downscript=no,vhost=off"
        case "-chardev" if "id=ser0" in value:
            return f"socket,id=ser0,path={work}/serial.sock,server=on,wait=off,logfile={work}/console.log"
        case "-chardev":
            return f"socket,id=qmp0,path={work}/qmp.sock,server=on,wait=off"
        case "-blockdev":
            node = json.loads(value)
            node["file"]["filename"] = str(work / "disk.qcow2")
            node["backing"]["file"]["filename"] = str(image / "disk.qcow2")
            return json.dumps(node)
    return value
