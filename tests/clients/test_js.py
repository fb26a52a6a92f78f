"""The AWS SDK for JavaScript, version 3."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = Path(sys.prefix) / "js"
NODE = shutil.which("node", path=f"{sys.prefix}/bin:{os.environ.get('PATH', '')}")
LACKS = "no node" if not NODE else "" if (MODULES / "node_modules/@aws-sdk/client-ec2").is_dir() else "the SDK could not be installed"
pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS)


def test_a_servers_life(tenant):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tenant.awan.data),
        "MODULES": str(MODULES),
        "ENDPOINT": f"http://127.0.0.1:{tenant.awan.api}",
        "IMAGE": tenant.image,
        "AWS_ACCESS_KEY_ID": tenant.keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": tenant.keys["SecretAccessKey"],
    }
    flow = Path(__file__).with_name("flow.mjs")
    done = subprocess.run([NODE, str(flow)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {
        "account": tenant.id,
        "key": True,
        "pages": [5, 2],
        "state": "running",
        "launched": True,
        "text": "<é&+ %41>",
        "error": "InvalidInstanceID.NotFound",
    }
