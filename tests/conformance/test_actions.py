"""Each action by a real client: it works, its answer is whole, and `DryRun` only tries."""

import pytest
from areas import AREAS
from clients import ACTIONS, OURS, refused
from showcase import CALLS, READS, Home, lacks


@pytest.fixture(scope="module")
def furnished(cloud):
    return Home(cloud, "furnished")


@pytest.fixture
def home(awan, furnished):
    return furnished


def test_no_action_is_left_out():
    """Other services have tests of their own, `test_ebs.py`, `test_identity.py`, `test_logs.py` and `test_recycle_bin.py`."""
    assert sorted(CALLS) == sorted(READS) == OURS
    assert {service for service, _ in ACTIONS} == {"ebs", "ec2", "iam", "logs", "rbin", "ssm", "sts"}


@pytest.mark.parametrize("action", OURS)
def test_an_action_answers_all_that_a_client_reads(home, action):
    answer = home.tenant.call(action, **CALLS[action](home))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert [missing for path in READS[action].split() if (missing := lacks(answer, path))] == []


def strangers(shape, value, path):
    """Values that the API's model does not list where it lists all."""
    if shape.type_name == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from strangers(shape.members[name], inner, f"{path}.{name}")
    elif shape.type_name == "list":
        for member in value:
            yield from strangers(shape.member, member, path)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield path, value


# What EC2 itself answers and its model does not list: an attached internet gateway is "available".
UNLISTED = [("DescribeInternetGateways.InternetGateways.Attachments.State", "available")]
UNLISTED += [one for area in AREAS for one in area.UNLISTED]


@pytest.mark.parametrize("action", OURS)
def test_an_answer_has_only_values_that_the_api_has(home, action):
    shape = home.ec2.meta.service_model.operation_model(action).output_shape
    if shape:
        answer = home.tenant.call(action, **CALLS[action](home))
        assert [one for one in strangers(shape, answer, action) if one not in UNLISTED] == []


# EC2 has no DryRun for these.
ALWAYS_WET = {"ModifySubnetAttribute", "ModifyVpcAttribute"}.union(*(area.ALWAYS_WET for area in AREAS))


@pytest.mark.parametrize("action", [action for action in OURS if action not in ALWAYS_WET])
def test_a_dry_run_changes_nothing(home, action):
    parameters = CALLS[action](home)
    before = home.tenant.settled()
    with refused("DryRunOperation", 412, "Request would have succeeded, but DryRun flag is set."):
        home.tenant.call(action, DryRun=True, **parameters)
    assert home.tenant.everything() == before


@pytest.mark.parametrize("action", ["StopInstances", "TerminateInstances", "RebootInstances", "StartInstances"])
def test_a_dry_run_of_what_would_be_refused_is_refused(home, action):
    with refused("InvalidInstanceID.NotFound"):
        home.tenant.call(action, DryRun=True, InstanceIds=["i-0123456789abcdef0"])


def test_the_caller_is_told_who_it_is(tenant):
    told = tenant.sts.get_caller_identity()
    assert (told["Account"], told["Arn"]) == (tenant.id, f"arn:aws:iam::{tenant.id}:root")
    assert told["UserId"] == tenant.id
