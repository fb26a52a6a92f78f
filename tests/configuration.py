"""Terraform and its AWS provider, against a running Awan. Both are looked for, nothing is downloaded."""

import json
import os
import shutil
import subprocess
from pathlib import Path

VERSION = "5.100.0"
PROVIDER = f"registry.terraform.io/hashicorp/aws/{VERSION}"


def mirror():
    """A folder with the provider, where Terraform's own documentation would have one or the operator of this machine put it."""
    usual = [Path.home() / ".terraform.d/plugins", Path.home() / ".local/share/terraform/plugins"]
    usual += [Path("/usr/local/share/terraform/plugins"), Path("/usr/share/terraform/plugins"), *sorted(Path("/opt").glob("*"))]
    named = os.environ.get("AWAN_TERRAFORM_MIRROR")
    found = [place for place in ([Path(named)] if named else []) + usual if (place / PROVIDER).is_dir()]
    return found[0] if found else None


TERRAFORM, MIRROR = shutil.which("terraform"), mirror()
LACKS = "no terraform" if not TERRAFORM else f"no mirror of the provider {VERSION}" if not MIRROR else ""

# As in use, what a connection lost on its way is asked again; what was refused is not.
SETTINGS = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "%(version)s"
    }
  }
}
provider "aws" {
  region                  = "us-east-1"
  access_key              = "%(AccessKeyId)s"
  secret_key              = "%(SecretAccessKey)s"
  skip_metadata_api_check = true
  max_retries             = 3
  endpoints {
    ec2 = "%(endpoint)s"
    iam = "%(endpoint)s"
    logs = "%(endpoint)s"
    rbin = "%(endpoint)s"
    ssm = "%(endpoint)s"
    sts = "%(endpoint)s"
  }
}
variable "stage" {
  type    = number
  default = 1
}
"""


class Terraform:
    """A working folder with a configuration, which may be in several files."""

    def __init__(self, folder, tenant, *files):
        self.folder = folder
        folder.mkdir()
        endpoint = f"http://127.0.0.1:{tenant.awan.api}"
        (folder / "settings.tf").write_text(SETTINGS % {**tenant.keys, "endpoint": endpoint, "version": VERSION})
        for file in files:
            (folder / file.name).write_text(file.read_text())
        (folder / "cli").write_text(f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = "{MIRROR}"\n  }}\n}}\n')

    def run(self, *words, codes=(0,), seconds=600):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TF_CLI_CONFIG_FILE": str(self.folder / "cli"),
            "TF_IN_AUTOMATION": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        done = subprocess.run([TERRAFORM, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=seconds)
        assert done.returncode in codes, f"terraform {' '.join(words)}: {done.stderr[-4000:]}\n{done.stdout[-2000:]}"
        return done.stdout

    def init(self):
        self.run("init", "-input=false", "-no-color")
        return self

    def apply(self, *words):
        """What was planned last, or what the words say."""
        self.run("apply", "-input=false", "-no-color", *(words or ["plan"]))

    def plan(self, stage):
        """What would change, by address."""
        self.run("plan", "-input=false", "-no-color", "-out=plan", f"-var=stage={stage}")
        plan = json.loads(self.run("show", "-json", "plan"))
        return {change["address"]: change["change"] for change in plan.get("resource_changes", [])}

    def pending(self, stage):
        """What a plan finds to do: nothing, if all is as it was told."""
        return {address: differs(change) for address, change in self.plan(stage).items() if change["actions"] not in (["no-op"], ["read"])}

    def outputs(self):
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}

    def destroy(self):
        self.run("destroy", "-auto-approve", "-input=false", "-no-color")


def differs(change):
    """The actions, and the arguments that a plan would change."""
    before, after = change["before"] or {}, change["after"] or {}
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return {"actions": change["actions"], **{name: (before.get(name), after.get(name, "?")) for name in names}}
