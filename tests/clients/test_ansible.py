"""Ansible's amazon.aws: a playbook changes what differs, once; what it made it takes away again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
VENV = Path(sys.prefix)
COLLECTIONS = VENV / "collections"
LACKS = "" if (COLLECTIONS / "ansible_collections/amazon/aws").is_dir() else "amazon.aws could not be installed"
pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS)


def play(tenant, name, **variables):
    """The counts of the recap."""
    environment = {
        "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tenant.awan.data),
        "LC_ALL": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": tenant.keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": tenant.keys["SecretAccessKey"],
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{tenant.awan.api}",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    extra = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    command = [str(VENV / "bin/ansible-playbook"), "-i", "localhost,", "-c", "local", str(HERE / name), *extra]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    changed = re.findall(r"^TASK \[(.*?)\].*\n+changed:", done.stdout, re.M)
    recap = re.search(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=0", done.stdout)
    return int(recap.group(1)), int(recap.group(2)), changed


def test_a_second_run_changes_nothing_and_absent_leaves_nothing(tenant):
    before = tenant.ec2.describe_vpcs()["Vpcs"]
    ok, changed, _ = play(tenant, "playbook.yml", image=tenant.image)
    assert ok >= 30 and changed >= 15
    assert play(tenant, "playbook.yml", image=tenant.image)[1:] == (0, [])
    play(tenant, "absent.yml")
    assert tenant.ec2.describe_vpcs()["Vpcs"] == before
    assert tenant.ec2.describe_volumes()["Volumes"] == []
    assert tenant.ec2.describe_addresses()["Addresses"] == []
    assert tenant.ec2.describe_key_pairs()["KeyPairs"] == []
