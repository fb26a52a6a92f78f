"""Volumes of real guests: beside the bare QEMU command on a file of its own, and what snapshots cost.

A guest's I/O passes its own cache (`io.rs`). Without KVM most of what it takes is the processor's emulation, in both.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import launch
import surroundings

HERE = Path(__file__).resolve().parent
FILE_MIB = 256
# More than the host's disk can do, so that what is measured is not what the volume is allowed.
UNLIMITED = {"VolumeType": "io2", "Iops": 64_000}
SECONDS = 3


def main(words):
    parser = argparse.ArgumentParser(prog="bench disk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--written-mib", type=int, default=2048, help="what the volume holds whose snapshots are taken")
    parser.add_argument("--only-snapshots", action="store_true")
    options = parser.parse_args(words)
    if os.geteuid() != 0:
        sys.exit("bench disk runs real guests and needs root")
    if os.environ.get("AWAN_ISOLATED") != "1":
        os.environ.setdefault("AWAN_TEST_IMAGES", str(launch.images()))
        again = [sys.executable, str(HERE / "bench.py"), "disk", *words]
        os.execv("/bin/sh", ["sh", str(launch.ISOLATED), *again])
    with tempfile.TemporaryDirectory(prefix="awan-bench-") as work:
        bench(Path(work), options)


def bench(work, options):
    from awan import Awan

    io = work / "io"
    command = ["rustc", "--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o", str(io), str(HERE / "io.rs")]
    subprocess.run(command, check=True)
    # Volumes lie on the disk of the build directory, as the bare QEMU's file does.
    os.environ["TMPDIR"] = tempfile.tempdir = str(HERE.parents[1] / "target")
    awan, served = Awan("auto"), None
    try:
        cloud = launch.Cloud(awan.start(), work)
        if not options.only_snapshots:
            bare = Bare(awan.data, cloud)
            served = multiprocessing.get_context("fork").Process(target=surroundings.serve, args=(cloud.public_key(),), daemon=True)
            served.start()
            print(side_by_side(cloud, bare, io, options.rounds), flush=True)
        print(snapshots(cloud, io, options), flush=True)
    finally:
        if served:
            served.kill()
        awan.close()


class Guest:
    def __init__(self, address, key, io):
        self.login = [*launch.SSH.split(), "-i", str(key), f"root@{address}"]
        launch.reached(address, key, time.monotonic())
        # Its standard input is what it gets.
        there = [word for word in self.login if word != "-n"]
        subprocess.run([*there, "cat > /root/io && chmod 755 /root/io"], input=io.read_bytes(), check=True, timeout=60)

    def run(self, command, seconds=300):
        done = subprocess.run([*self.login, command], capture_output=True, text=True, timeout=seconds)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.stderr}")
        return done.stdout

    def io(self, *words):
        return json.loads(self.run("/root/io " + " ".join(map(str, words))))

    def begin(self, *words):
        """Told later, by the process that is returned."""
        command = [*self.login, "/root/io " + " ".join(map(str, words))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def disk(self, volume):
        find = f"grep -lx {volume.replace('-', '')} /sys/block/vd*/serial | cut -d / -f 4"
        end = time.monotonic() + 60
        while not (name := self.run(find + " || true").strip()):
            if time.monotonic() > end:
                raise AssertionError(f"{volume} does not come")
            time.sleep(0.1)
        return f"/dev/{name}"


class Bare(launch.Bare):
    """The bare QEMU, with its disk where Awan's volumes lie."""

    def start(self):
        disk = self.work / "disk.qcow2"
        disk.unlink(missing_ok=True)
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(self.image / "disk.qcow2"), "-F", "qcow2", str(disk), "1G"]
        subprocess.run(make, check=True)
        return subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def side_by_side(cloud, bare, io, rounds):
    image = cloud.ec2.describe_images(ImageIds=[cloud.image])["Images"][0]
    root = {"DeviceName": image["RootDeviceName"], "Ebs": {"VolumeSize": 64, **UNLIMITED}}
    instance, process = cloud.launch(BlockDeviceMappings=[root]), bare.start()
    sides = {"Awan": [], "bare QEMU": []}
    try:
        guests = [Guest(cloud.address(instance), cloud.key, io), Guest(surroundings.GUEST, cloud.key, io)]
        for n in range(rounds):
            for (name, results), guest in zip(sides.items(), guests):
                write = guest.io("write", "/root/file", FILE_MIB)
                reads, p99 = guest.io("random", "/root/file", FILE_MIB, SECONDS)
                results.append((reads, p99, write, guest.io("read", "/root/file", FILE_MIB)))
                print(f"{n + 1}/{rounds} {name}: {results[-1]}", file=sys.stderr, flush=True)
    finally:
        process.kill()
        process.wait(10)
        cloud.end(instance["InstanceId"])
    head = "| a guest's root disk | random reads of 4 KiB, /s | 99 of 100 within, µs | written, MiB/s | read, MiB/s |"
    lines = [head, "| --- | --- | --- | --- | --- |"]
    for name, results in sides.items():
        cells = " | ".join(f"{statistics.median(column):,.0f}" for column in zip(*results))
        lines.append(f"| {name}, median | {cells} |")
    pairs = [[ours / theirs for ours, theirs in zip(*pair)] for pair in zip(*sides.values())]
    cells = " | ".join(f"{statistics.median(column):.2f}" for column in zip(*pairs))
    return "\n".join([*lines, f"| Awan over bare, median of the rounds' ratios | {cells} |"])


def milliseconds(began):
    return (time.monotonic() - began) * 1000


class Snapshots:
    """A guest with a volume of 100 GiB, of which some is written."""

    def __init__(self, cloud, io, written_mib):
        self.cloud, self.ec2, self.written = cloud, cloud.ec2, written_mib
        instance = cloud.launch()
        self.id, self.zone = instance["InstanceId"], instance["Placement"]["AvailabilityZone"]
        self.guest = Guest(cloud.address(instance), cloud.key, io)
        self.volume = self.attached("/dev/sdf", Size=100)
        self.disk = self.guest.disk(self.volume)
        self.guest.io("write", self.disk, written_mib)

    def until(self, described, state):
        while (found := described()) != state:
            if found == "error":
                raise AssertionError(found)
            time.sleep(0.002)

    def made(self, **how):
        """A volume, and the milliseconds until it was available."""
        began = time.monotonic()
        volume = self.ec2.create_volume(AvailabilityZone=self.zone, **UNLIMITED, **how)["VolumeId"]
        self.until(lambda: self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["State"], "available")
        return volume, milliseconds(began)

    def attached(self, device, **how):
        volume, _ = self.made(**how)
        self.attach(volume, device)
        return volume

    def attach(self, volume, device):
        self.ec2.attach_volume(VolumeId=volume, InstanceId=self.id, Device=device)

    def taken(self):
        """A snapshot, and the milliseconds of the call and until it was completed."""
        began = time.monotonic()
        snapshot = self.ec2.create_snapshot(VolumeId=self.volume)["SnapshotId"]
        called = milliseconds(began)
        self.until(lambda: self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"], "completed")
        return snapshot, called, milliseconds(began)

    def paused(self, snapshot):
        """The longest that one flushed write takes in some seconds, with a snapshot amid them or without."""
        writes = self.guest.begin("flush", self.disk, SECONDS)
        time.sleep(SECONDS / 2)
        taken = self.taken() if snapshot else None
        _, longest = json.loads(writes.communicate(timeout=60)[0])
        return longest / 1000, taken

    def read_again(self, snapshot):
        """How fast a new volume of the snapshot is read, the first time, of the rate of the one that it was taken of. The
        host has the same bytes in its cache for both: the same files are below them."""
        copy, available = self.made(SnapshotId=snapshot)
        self.attach(copy, "/dev/sdg")
        rates = [self.guest.io("read", disk, FILE_MIB) for disk in (self.disk, self.guest.disk(copy))]
        self.ec2.detach_volume(VolumeId=copy)
        self.until(lambda: self.ec2.describe_volumes(VolumeIds=[copy])["Volumes"][0]["State"], "available")
        self.ec2.delete_volume(VolumeId=copy)
        return rates[1] / rates[0], available


def snapshots(cloud, io, options):
    it = Snapshots(cloud, io, options.written_mib)
    columns = {"call": [], "completed": [], "with": [], "without": [], "available": [], "read": []}
    for n in range(options.rounds):
        without, _ = it.paused(False)
        longest, (snapshot, called, completed) = it.paused(True)
        read, available = it.read_again(snapshot)
        for column, value in zip(columns.values(), (called, completed, longest, without, available, read)):
            column.append(value)
        print(f"{n + 1}/{options.rounds} {called:.1f} {completed:.1f} {longest:.1f} {without:.1f} {available:.1f} {read:.2f}", file=sys.stderr)
    cloud.end(it.id)
    names = {
        "call": "CreateSnapshot answers, ms",
        "completed": "it is completed, ms",
        "with": "longest flushed write of the guest meanwhile, ms",
        "without": "the same without a snapshot, ms",
        "available": "a volume of it is available, ms",
        "read": "the guest reads that one, of the rate of the first",
    }
    lines = [f"| a volume of 100 GiB, {options.written_mib} MiB of it written | median | most |", "| --- | --- | --- |"]
    for key, name in names.items():
        shown = "{:.2f}" if key == "read" else "{:.1f}"
        worst = min(columns[key]) if key == "read" else max(columns[key])
        lines.append(f"| {name} | {shown.format(statistics.median(columns[key]))} | {shown.format(worst)} |")
    return "\n".join(lines)
