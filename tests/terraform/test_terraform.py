"""Terraform's AWS provider against a simulated cloud: `AREA.tf` is one configuration, and one test.

A configuration has `variable "stage"`, 1 and then 2, from which its updatable arguments follow. What is proven of it:

1. it applies at stage 1, and a second plan is empty;
2. at stage 2 it is updated in place (a resource that may be replaced is named in a line `# replaces: ADDRESS`), and a second plan is empty;
3. what its output `import` names, address to import id, can be imported into an empty state without a change
   (`# import differs: ADDRESS` where an argument is only written, never read);
4. it is destroyed, its account has what it had before, and the audit is clean.

Needs `terraform` and a mirror of the provider; both are looked for, nothing is downloaded. Alone, with a binary that is built:

    AWAN_BINARY=... PYTHONPATH=tests:tests/conformance .venv/bin/python -m pytest tests/terraform -k AREA -x
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
VERSION = "5.100.0"
PROVIDER = f"registry.terraform.io/hashicorp/aws/{VERSION}"
CONFIGURATIONS = sorted(HERE.glob("*.tf"))


def mirror():
    """A folder with the provider, where Terraform's own documentation would have one or the operator of this machine put it."""
    usual = [Path.home() / ".terraform.d/plugins", Path.home() / ".local/share/terraform/plugins"]
    usual += [Path("/usr/local/share/terraform/plugins"), Path("/usr/share/terraform/plugins"), *sorted(Path("/opt").glob("*"))]
    named = os.environ.get("AWAN_TERRAFORM_MIRROR")
    found = [place for place in ([Path(named)] if named else []) + usual if (place / PROVIDER).is_dir()]
    return found[0] if found else None


TERRAFORM, MIRROR = shutil.which("terraform"), mirror()
LACKS = "no terraform" if not TERRAFORM else f"no mirror of the provider {VERSION}" if not MIRROR else ""
pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS)

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
  max_retries             = 1
  endpoints {
    ec2 = "%(endpoint)s"
    iam = "%(endpoint)s"
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
    """A working folder with one configuration."""

    def __init__(self, folder, configuration, tenant):
        self.folder = folder
        folder.mkdir()
        endpoint = f"http://127.0.0.1:{tenant.awan.api}"
        (folder / "settings.tf").write_text(SETTINGS % {**tenant.keys, "endpoint": endpoint, "version": VERSION})
        (folder / configuration.name).write_text(configuration.read_text())
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
        assert done.returncode in codes, f"terraform {' '.join(words)}: {done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def init(self):
        self.run("init", "-input=false", "-no-color")
        return self

    def apply(self):
        """What was planned last."""
        self.run("apply", "-input=false", "-no-color", "plan")

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


def said(configuration, word):
    return set(re.findall(rf"^# {word}: (\S+)$", configuration.read_text(), re.M))


def without_the_dead(everything):
    """What an account has; instances, gateways and the like that are gone are shown for a while yet."""
    ids = re.compile(r"\b(?:vpc|subnet|sg|sgr|rtb|igw|acl|dopt|vol|snap|ami|eni|eipalloc|key|lt|pg|pl|pcx|vpce|eigw|fl|cr)-[0-9a-f]{17}\b")
    return {action: sorted(set(ids.findall(text))) for action, text in everything.items() if not action.startswith(GRAVES)}


GRAVES = ("DescribeInstance", "DescribeNatGateways", "DescribeVpcPeering", "DescribeTags", "DescribeFleet", "DescribeCapacityReservation", "DescribeVolumesModifications")


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda path: path.stem)
def test_it_applies_plans_empty_updates_imports_and_goes(awan, configuration, tmp_path):
    from clients import Tenant

    tenant = Tenant(awan, f"terraform-{configuration.stem}")
    before = without_the_dead(tenant.everything())
    terraform = Terraform(tmp_path / "first", configuration, tenant).init()
    try:
        assert [change for change in terraform.plan(1).values() if change["actions"] == ["create"]], "there is something to make"
        terraform.apply()
        assert terraform.pending(1) == {}, "a second plan is empty"
        replaced = {a for a, change in terraform.plan(2).items() if "delete" in change["actions"]}
        assert replaced <= said(configuration, "replaces"), "updates are in place"
        terraform.apply()
        assert terraform.pending(2) == {}, "a second plan after the update is empty"
        imports = terraform.outputs().get("import", {})
        if imports:
            imported(Terraform(tmp_path / "import", configuration, tenant), imports, said(configuration, "import differs"))
    finally:
        terraform.destroy()
    assert without_the_dead(tenant.everything()) == before, "nothing is left"


def imported(terraform, imports, write_only):
    blocks = (f'import {{\n  to = {address}\n  id = "{id}"\n}}\n' for address, id in imports.items())
    (terraform.folder / "imports.tf").write_text("".join(blocks))
    plan = terraform.init().plan(2)
    assert all(plan[address].get("importing") for address in imports)
    changed = {a: differs(plan[a]) for a in imports if plan[a]["actions"] != ["no-op"] and a not in write_only}
    assert changed == {}, "an import changes nothing"
