"""Each action by a real client: it works, its answer is whole, and `DryRun` only tries."""

import pytest
from clients import ACTIONS, OURS, refused
from showcase import CALLS, READS, Home, lacks


@pytest.fixture(scope="module")
def furnished(cloud):
    return Home(cloud, "furnished")


@pytest.fixture
def home(awan, furnished):
    return furnished


def test_no_action_is_left_out():
    assert sorted(CALLS) == sorted(READS) == OURS
    assert [name for service, name in ACTIONS if service != "ec2"] == ["GetCallerIdentity"]


@pytest.mark.parametrize("action", OURS)
def test_an_action_answers_all_that_a_client_reads(home, action):
    answer = home.tenant.call(action, **CALLS[action](home))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert [missing for path in READS[action].split() if (missing := lacks(answer, path))] == []


@pytest.mark.parametrize("action", OURS)
def test_a_dry_run_changes_nothing(home, action):
    parameters = CALLS[action](home)
    before = home.tenant.everything()
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
