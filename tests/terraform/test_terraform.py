"""Terraform's AWS provider against a simulated cloud: `AREA.tf` is one configuration, and one test.

A configuration has `variable "stage"`, 1 and then 2, from which its updatable arguments follow. What is proven of it:

1. it applies at stage 1, and a second plan is empty;
2. at stage 2 it is updated in place (a resource that may be replaced is named in a line `# replaces: ADDRESS`), and a second plan is empty;
3. what its output `import` names, address to import id, can be imported into an empty state without a change
   (`# import differs: ADDRESS` where an argument is only written, never read);
4. it is destroyed, its account has what it had before, and the audit is clean.

Needs `terraform` and a mirror of the provider (`tests/configuration.py`). Alone, with a binary that is built:

    AWAN_BINARY=... PYTHONPATH=tests:tests/conformance .venv/bin/python -m pytest tests/terraform -k AREA -x
"""

import re
from pathlib import Path

import pytest
from configuration import LACKS, Terraform, differs

HERE = Path(__file__).resolve().parent
CONFIGURATIONS = sorted(HERE.glob("*.tf"))
pytestmark = pytest.mark.skipif(bool(LACKS), reason=LACKS)


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
    terraform = Terraform(tmp_path / "first", tenant, configuration).init()
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
            imported(Terraform(tmp_path / "import", tenant, configuration), imports, said(configuration, "import differs"))
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
