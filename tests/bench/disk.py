"""Volumes of real guests: beside the bare QEMU command on a file of its own, and what snapshots cost.

I/O is fio's, of guests and of the same files without a guest; how long single writes take while snapshots are taken tells
`io.rs`. Both pass the guest's own cache. Without KVM most of what a guest's I/O takes is the processor's emulation.
"""

import argparse
import contextlib
import io as streams
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
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
READ_SECONDS = 2


def main(words):
    parser = argparse.ArgumentParser(prog="bench disk")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--written-mib", type=int, default=2048, help="what the volume holds whose snapshots are taken")
    parser.add_argument("--only-snapshots", action="store_true")
    options = parser.parse_args(words)
    if os.geteuid() != 0:
        sys.exit("bench disk runs real guests and needs root")
    if not shutil.which("fio"):
        sys.exit("bench disk needs fio: apt-get install fio")
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
            for told in side_by_side(cloud, bare, io, options.rounds):
                print(told + "\n", flush=True)
        print(snapshots(cloud, io, options), flush=True)
    finally:
        if served:
            served.kill()
        awan.close()


class Guest:
    def __init__(self, address, key, io):
        self.login = [*launch.SSH.split(), "-i", str(key), f"root@{address}"]
        launch.reached(address, key, time.monotonic())
        self.give(io.read_bytes(), "cat > /root/io && chmod 755 /root/io")

    def give(self, data, command):
        """A command whose standard input this is."""
        there = [word for word in self.login if word != "-n"]
        subprocess.run([*there, command], input=data, check=True, timeout=300)

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

    def fio(self, path, *job):
        """Needs `FIO`, in its folder: see `bundle`."""
        there = f"{FIO}/loader --library-path {FIO} {FIO}/fio"
        return measured(self.run(" ".join([there, *fio(path, *job)])))

    def disk(self, volume):
        find = f"grep -lx {volume.replace('-', '')} /sys/block/vd*/serial | cut -d / -f 4"
        end = time.monotonic() + 60
        while not (name := self.run(find + " || true").strip()):
            if time.monotonic() > end:
                raise AssertionError(f"{volume} does not come")
            time.sleep(0.1)
        return f"/dev/{name}"


FIO = "/root/fio"
JOBS = {
    "write": ["--rw=write", "--bs=1M", "--end_fsync=1"],
    "random": ["--rw=randread", "--bs=4k", "--time_based", f"--runtime={READ_SECONDS}"],
    "read": ["--rw=read", "--bs=1M"],
}


def fio(path, *job):
    return ["--name=bench", f"--size={FILE_MIB}M", "--thread", "--output-format=json", *path, *job]


def measured(said):
    """Operations per second, the µs that 99 of 100 take at most, MiB per second."""
    (job,) = json.loads(said[said.index("{"):])["jobs"]
    done = max(job["read"], job["write"], key=lambda side: side["total_ios"])
    return done["iops"], done["clat_ns"]["percentile"]["99.000000"] / 1000, done["bw_bytes"] / (1 << 20)


def rounds_of(runs, rounds):
    """Reads of 4 KiB per second, what 99 of 100 take, written, read: of each side in each round. One side does a job right after
    the other, and who begins changes, because what else the machine does changes from second to second."""
    results = {name: [] for name in runs}
    for n in range(rounds):
        order = list(runs) if n % 2 == 0 else list(runs)[::-1]
        told = {(name, job): runs[name](job) for job in JOBS for name in order}
        for name, all in results.items():
            reads, p99, _ = told[name, "random"]
            all.append((reads, p99, told[name, "write"][2], told[name, "read"][2]))
            print(f"{n + 1}/{rounds} {name}: {all[-1]}", file=sys.stderr, flush=True)
    return results


def bundle():
    """This machine's fio and all that it is linked to, for a guest that has none of it."""
    there = shutil.which("fio")
    linked = subprocess.run(["ldd", there], capture_output=True, text=True, check=True).stdout
    libraries = {Path(path) for path in re.findall(r"(/\S+) \(0x", linked)}
    packed = streams.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as out:
        out.add(there, "fio/fio")
        for path in libraries:
            name = "loader" if path.name.startswith("ld-linux") else path.name
            out.add(path.resolve(), f"fio/{name}")
    return packed.getvalue()


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
    names = ["Awan", "bare QEMU"]
    try:
        guests = [Guest(cloud.address(instance), cloud.key, io), Guest(surroundings.GUEST, cloud.key, io)]
        packed = bundle()
        for guest in guests:
            guest.give(packed, "tar -C /root -xf -")
        path = ["--filename=/root/file", "--direct=1", "--ioengine=psync"]
        runs = {name: lambda job, guest=guest: guest.fio(path, *JOBS[job]) for name, guest in zip(names, guests)}
        yield table("a guest's root disk", rounds_of(runs, rounds))
    finally:
        process.kill()
        process.wait(10)
        stop(cloud.ec2, instance["InstanceId"])
    below = str(bare.image / "disk.qcow2")
    mine = [{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    (volume,) = cloud.ec2.describe_volumes(Filters=mine)["Volumes"]
    files = [bare.work / "volumes" / f"{volume['VolumeId']}.qcow2", bare.work / "disk.qcow2"]
    with contextlib.ExitStack() as stack:
        runs = {name: stack.enter_context(without_guest(file, below)) for name, file in zip(names, files)}
        yield table("the same files, served by `qemu-nbd`", rounds_of(runs, rounds))
    cloud.end(instance["InstanceId"])


def stop(ec2, instance):
    ec2.stop_instances(InstanceIds=[instance], Force=True)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@contextlib.contextmanager
def without_guest(file, below):
    """What has fio do a job on a disk that no machine has open, by the same part of QEMU."""
    layer = lambda path, backing: {"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}, "backing": backing}
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/nbd"
        words = ["qemu-nbd", "--cache=writeback", "--aio=threads", "--persistent", "-k", socket]
        served = subprocess.Popen([*words, "json:" + json.dumps(layer(file, layer(below, None)))])
        try:
            end = time.monotonic() + 10
            while not Path(socket).exists():
                if served.poll() is not None or time.monotonic() > end:
                    raise AssertionError("qemu-nbd serves nothing")
                time.sleep(0.01)
            path = ["--ioengine=nbd", f"--uri=nbd+unix:///?socket={socket}"]
            run = lambda job: subprocess.run(["fio", *fio(path, *JOBS[job])], capture_output=True, text=True, check=True, timeout=120)
            yield lambda job: measured(run(job).stdout)
        finally:
            served.kill()
            served.wait(10)


def table(of, sides):
    head = f"| {of} | random reads of 4 KiB, /s | 99 of 100 within, µs | written, MiB/s | read, MiB/s |"
    lines = [head, "| --- | --- | --- | --- | --- |"]
    for name, results in sides.items():
        cells = " | ".join(f"{statistics.median(column):,.0f}" for column in zip(*results))
        lines.append(f"| {name}, median | {cells} |")
    pairs = [[ours / theirs for ours, theirs in zip(*pair)] for pair in zip(*sides.values())]
    ratios = {"median of the rounds' ratios": statistics.median, "least": min, "most": max}
    for name, of in ratios.items():
        lines.append(f"| Awan over bare, {name} | {' | '.join(f'{of(column):.2f}' for column in zip(*pairs))} |")
    return "\n".join(lines)


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
