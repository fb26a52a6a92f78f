"""Awan with the simulated hypervisor and SQLite beside `moto_server`: the same requests, one after the other, one run."""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import load

# Beside the build, not in /tmp: a commit must reach a disk.
DISK = Path(__file__).resolve().parents[2] / "target" / "bench"
# Where a flush costs nothing, as `moto_server` has none.
MEMORY = Path("/dev/shm/awan-bench")
SECONDS = 4
PAGE = 1000
PER_CALL = 100
SINGLE = 400
ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]


class Moto:
    name = "moto_server"

    def __init__(self):
        from awan import free_port, until

        port = free_port()
        program = Path(os.path.dirname(os.sys.executable)) / "moto_server"
        self.process = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.server = load.Server(port)
        until("moto_server", 60, self.answers)
        self.image = re.search(r"<imageId>(ami-\w+)", self.server.ask("DescribeImages"))[1]

    def answers(self):
        try:
            return self.server.ask("DescribeRegions")
        except OSError:
            return None

    def pid(self):
        return self.process.pid

    def close(self):
        self.process.kill()
        self.process.wait(10)


class Awan:
    name = "Awan"

    def __init__(self, place):
        import awan

        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(place)
        self.awan = awan.Awan("simulated").start()
        tempfile.tempdir = None
        keys = self.awan.account("bench")
        self.server = load.Server(self.awan.api, keys["AccessKeyId"], keys["SecretAccessKey"])
        self.image = re.search(r"<imageId>(ami-\w+)", self.server.ask("DescribeImages", **{"Owner.1": "amazon"}))[1]

    def pid(self):
        return self.awan.process.pid

    def close(self):
        self.awan.close()
        shutil.rmtree(self.place, ignore_errors=True)


def memory(side):
    """Resident now, and at most so far, in MiB."""
    status = Path(f"/proc/{side.pid()}/status").read_text()
    return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in ("VmRSS", "VmHWM")]


def launch_requests(side, calls, count, zone=None):
    more = {"Placement.AvailabilityZone": zone} if zone else {}
    common = {"ImageId": side.image, "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count}
    return [[side.server.signed("RunInstances", **common, **more)] for _ in range(calls)]


def some_ids(side, count):
    page = side.server.ask("DescribeInstances", MaxResults=PAGE)
    ids = re.findall(r"<instanceId>(i-\w+)", page)
    return list(dict.fromkeys(ids))[:count]


def pages(side, instances):
    """The requests of a walk over all pages, learnt by walking once."""
    steps, token, shown = [], None, 0
    while True:
        asked = {"MaxResults": PAGE, **({"NextToken": token} if token else {})}
        steps.append(side.server.signed("DescribeInstances", **asked))
        page = side.server.ask("DescribeInstances", **asked)
        shown += page.count("<instanceState>")
        found = re.search(r"<nextToken>([^<]+)</nextToken>", page)
        if not found:
            if shown != instances:
                raise AssertionError(f"{side.name} shows {shown} instances, not {instances}")
            return steps
        token = found[1]


class Table:
    def __init__(self, sides):
        self.sides, self.rows, self.notes = sides, [], []

    def row(self, what, connections, requests, seconds=SECONDS, unit=1):
        """`unit`: how many things one request is, for the rate."""
        measured = []
        for side in self.sides:
            took = load.run(side.server, requests(side), connections, seconds)
            measured.append((took.rate * unit, took.at(0.5) * 1000, took.at(0.99) * 1000))
        self.rows.append((what, connections, measured))
        shown = "  ".join(f"{side.name} {m[0]:.1f}/s p50 {m[1]:.2f} ms p99 {m[2]:.2f} ms" for side, m in zip(self.sides, measured))
        print(f"{what} ({connections}): {shown}", flush=True)

    def note_memory(self, when):
        self.notes.append((when, [memory(side) for side in self.sides]))

    def markdown(self):
        names = [side.name for side in self.sides]
        head = ["work", "connections"] + [f"{n} {c}" for n in names for c in ("/s", "p50 ms", "p99 ms")] + ["throughput ratio"]
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for what, connections, measured in self.rows:
            cells = [f"{v:,.1f}" if v >= 10 else f"{v:.2f}" for m in measured for v in m]
            ratio = f"{measured[0][0] / measured[1][0]:.0f} ×" if len(measured) == 2 else ""
            lines.append("| " + " | ".join([what, str(connections), *cells, ratio]) + " |")
        head = ["resident memory, MiB"] + [f"{n} {c}" for n in names for c in ("now", "at most")] + ["ratio of the most"]
        lines += ["", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for when, numbers in self.notes:
            cells = [f"{v:.0f}" for m in numbers for v in m]
            ratio = f"{numbers[0][1] / numbers[1][1]:.2f}" if len(numbers) == 2 else ""
            lines.append("| " + " | ".join([when, *cells, ratio]) + " |")
        return "\n".join(lines)


def many(side, missing):
    """Launches so many more, in all zones: a default subnet has 4,091 addresses."""
    for n in range(missing // PER_CALL):
        load.run(side.server, launch_requests(side, 1, PER_CALL, ZONES[n % len(ZONES)]))


def quiet(side, seconds=60):
    """Waits until nothing is pending."""
    pending = {"Filter.1.Name": "instance-state-name", "Filter.1.Value.1": "pending", "MaxResults": 5}
    end = time.monotonic() + seconds
    while "<instanceId>" in side.server.ask("DescribeInstances", **pending):
        if time.monotonic() > end:
            raise AssertionError(f"{side.name}: instances are still pending")
        time.sleep(0.2)


def main(words):
    parser = argparse.ArgumentParser(prog="bench api")
    parser.add_argument("--instances", type=int, default=10_000, help="how many the paged row walks over")
    parser.add_argument("--only-awan", action="store_true")
    parser.add_argument("--memory", action="store_true", help="Awan's store in memory (tmpfs): no disk, as moto_server")
    options = parser.parse_args(words)
    sides = []
    try:
        sides.append(Awan(MEMORY if options.memory else DISK))
        if not options.only_awan:
            sides.append(Moto())
        print(measure(sides, options.instances))
    finally:
        for side in sides:
            side.close()


def measure(sides, instances):
    table = Table(sides)
    table.note_memory("at start")
    table.row("DescribeRegions", 2, lambda side: [[side.server.signed("DescribeRegions")]] * 2)
    table.row("RunInstances of 100, 10 calls", 1, lambda side: launch_requests(side, 10, PER_CALL), seconds=0)
    for side in sides:
        quiet(side)
    table.note_memory("with 1,000 instances")
    ids = {side.name: some_ids(side, PAGE) for side in sides}
    one = lambda side: [[side.server.signed("DescribeInstances", **{"InstanceId.1": id})] for id in ids[side.name][:64]]
    table.row("DescribeInstances of 1", 2, one)
    page = lambda side: [[side.server.signed("DescribeInstances", MaxResults=PAGE)]] * 2
    table.row("DescribeInstances of 1,000, one page", 2, page)
    tags = lambda side: [tag(side, id) for id in ids[side.name][:64]]
    table.row("CreateTags", 1, tags)
    table.row("CreateTags", 16, tags)
    table.row("RunInstances of 100, 10 calls", 5, lambda side: launch_requests(side, 10, PER_CALL, ZONES[1]), seconds=0)
    table.row("RunInstances of 1", 16, lambda side: launch_requests(side, SINGLE, 1, ZONES[2]), seconds=0)
    for side in sides:
        many(side, instances - 2_000 - SINGLE)
        quiet(side)
    table.note_memory(f"with {instances:,} instances")
    table.row(f"DescribeInstances of {instances:,}, {PAGE:,} a page (a walk)", 1, lambda side: [pages(side, instances)])
    table.row(f"DescribeInstances of 1, among {instances:,}", 2, one)
    table.row(f"RunInstances of 100, among {instances:,}", 1, lambda side: launch_requests(side, 10, PER_CALL, ZONES[2]), seconds=0)
    table.note_memory("at the end")
    return table.markdown()


def tag(side, id):
    return [side.server.signed("CreateTags", **{"ResourceId.1": id, "Tag.1.Key": "stage", "Tag.1.Value": "bench"})]
