"""A disk that others have filled: what adds something is refused, what exists can be read and ended, a restart works, and
as soon as there is room everything works again."""

import os
import subprocess
import urllib.error
import urllib.request

import botocore.exceptions
import pytest
from awan import Awan, states, tiny, until

SIZE_MIB = 64


class Small(Awan):
    """Its data lies on a file system of its own."""

    def __init__(self):
        super().__init__()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "small", str(self.data)], check=True)
        self.others = self.data / "others"

    def fill(self):
        """Takes what is left, as guests' disks do."""
        with open(self.others, "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    pass

    def fetch(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def serves(self):
        assert self.process.poll() is None, self.log()[-2000:]
        try:
            return self.fetch("/healthz") == (200, "ok\n")
        except urllib.error.URLError:
            return False

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        subprocess.run(["umount", "--lazy", str(self.data)], check=True)
        super().close()


@pytest.fixture
def small():
    if os.environ.get("AWAN_ISOLATED") != "1":
        pytest.skip("mounts a file system: run it under tests/isolated.sh")
    awan = Small()
    yield awan
    awan.close()


def launch(ec2, image, count=1):
    made = ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, InstanceType="t3.nano")
    return [instance["InstanceId"] for instance in made["Instances"]]


def refusal(ec2, image):
    """How a launch is refused; none where it is not."""
    try:
        launch(ec2, image)
    except botocore.exceptions.ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def test_a_full_disk_refuses_what_adds_and_nothing_else(small):
    small.start()
    ec2 = small.client()
    image = tiny(ec2)
    ids = launch(ec2, image, 3)
    until("they run", 30, lambda: set(states(ec2, ids).values()) == {"running"})
    assert small.fetch("/readyz") == (200, "ok\n")
    small.fill()
    # The last blocks that the store has taken already go first.
    until("a launch is refused", 60, lambda: refusal(ec2, image), pause=0)
    before = states(ec2)
    for _ in range(5):
        assert refusal(ec2, image) == (503, "Unavailable")
    status, why = small.fetch("/readyz")
    assert status == 503 and "no room" in why
    assert "\nawan_store_refusing 1\n" in small.fetch("/metrics")[1]
    assert small.fetch("/healthz") == (200, "ok\n")
    assert states(ec2).keys() == before.keys()

    ec2.terminate_instances(InstanceIds=ids[:1])
    ec2.stop_instances(InstanceIds=ids[1:2])
    wanted = {ids[0]: "terminated", ids[1]: "stopped", ids[2]: "running"}
    until("they end", 30, lambda: states(ec2, ids) == wanted)

    small.kill()
    small.start(wait=0)
    # There is no room for the line that says so, either.
    until("it serves", 60, small.serves)
    assert states(ec2, ids) == wanted
    assert refusal(ec2, image) == (503, "Unavailable")
    ec2.terminate_instances(InstanceIds=ids[1:2])
    until("it ends", 30, lambda: states(ec2, ids[1:2]) == {ids[1]: "terminated"})

    small.others.unlink()
    assert small.fetch("/readyz") == (200, "ok\n")
    more = launch(ec2, image)
    until("it runs", 30, lambda: states(ec2, more) == {more[0]: "running"})
    assert "\nawan_store_refusing 0\n" in small.fetch("/metrics")[1]
    small.audit()
