"""A running Awan for tests: started, spoken to, killed, and gone without a trace."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import boto3
import botocore.config

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("AWAN_BINARY", ROOT / "target/debug/awan"))
IMAGES = os.environ.get("AWAN_TEST_IMAGES")
CONFIG = botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=60)


def until(what, seconds, check, pause=0.05):
    """Waits for a condition; never longer than it says."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Awan:
    def __init__(self, hypervisor="simulated", **options):
        self.data = Path(tempfile.mkdtemp(prefix="awan-test-"))
        self.hypervisor = hypervisor
        self.exports = self.data / "exports"
        self.options = {"export_dir": self.exports, **options}
        self.api, self.metrics = free_port(), free_port()
        self.process = None
        if hypervisor != "simulated" and IMAGES:
            (self.data / "images").symlink_to(IMAGES)

    def start(self, wait=120, role="serve"):
        """Waits until it serves; `wait=0`: for nothing."""
        arguments = [str(BINARY), role, "--data-dir", str(self.data), "--hypervisor", self.hypervisor]
        arguments += ["--listen", f"127.0.0.1:{self.api}", "--metrics-listen", f"127.0.0.1:{self.metrics}"]
        for name, value in self.options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        self.out = open(self.data / "out", "w")
        self.err = open(self.data / "err", "a")
        self.process = subprocess.Popen(arguments, stdout=self.out, stderr=self.err, stdin=subprocess.DEVNULL)
        if wait:
            until("ready", wait, self.ready)
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError("awan ended: " + self.log()[-2000:])
        return (self.data / "out").read_text().startswith("ready ")

    def log(self):
        return (self.data / "err").read_text()

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(5) == 0

    def admin(self, *words, check=True):
        command = [str(BINARY), "admin", "--json", "--data-dir", str(self.data), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
        if check and done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return json.loads(done.stdout)

    def audit(self, seconds=20):
        """Waits until nothing differs; says what does."""
        end = time.monotonic() + seconds
        while True:
            found = self.admin("audit", check=False)["differences"]
            if not found:
                return
            if time.monotonic() > end:
                raise AssertionError(found)
            time.sleep(0.2)

    def account(self, name):
        return self.admin("account", "create", name)

    def root(self):
        text = (self.data / "credentials").read_text()
        get = lambda key: re.search(rf"{key} = (\S+)", text).group(1)
        return {"AccessKeyId": get("aws_access_key_id"), "SecretAccessKey": get("aws_secret_access_key")}

    def client(self, keys=None, service="ec2"):
        keys = keys or self.root()
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{self.api}",
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            config=CONFIG,
        )

    def tag(self):
        return (self.data / "tag").read_text().strip()

    def guests(self, tag=None):
        """Process ids of this installation's machines, by instance; of a host's where it has a tag of its own."""
        tag = tag or self.tag()
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                match = re.search(rf"guest=awan-{tag}-(i-[0-9a-f]+)-\d+", line)
                if match:
                    found[match.group(1)] = int(entry.name)
        return found

    def close(self):
        """Ends everything, whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.kill()
        if self.hypervisor != "simulated" and (self.data / "tag").exists():
            done = subprocess.run([str(BINARY), "purge", "--data-dir", str(self.data)], capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
        shutil.rmtree(self.data, ignore_errors=True)
        self.master_key().unlink(missing_ok=True)

    def master_key(self):
        return self.data.with_name(f"{self.data.name}-master.key")


def states(ec2, ids=None):
    found = ec2.describe_instances(**({"InstanceIds": ids} if ids else {}))
    return {i["InstanceId"]: i["State"]["Name"] for r in found["Reservations"] for i in r["Instances"]}


def tiny(ec2):
    return ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
