"""What was acknowledged is there: at once, and after the server was killed and started again."""

import random
import threading

import botocore.exceptions
import pytest
from awan import Awan, states, until
from clients import Tenant, ids_in, refused
from showcase import CALLS, Home
from test_documented import tokened

KILLS = 6
SECONDS_BEFORE_A_KILL = 0.4


@pytest.fixture
def mortal():
    """A cloud of its own, to be killed."""
    running = Awan("simulated")
    try:
        yield running.start()
        running.audit()
        assert "panicked" not in running.log()
    finally:
        running.close()


def test_a_killed_server_forgets_nothing(mortal):
    home = Home(mortal, "acme")
    stopped = home.new_stopped()
    before, keys = home.tenant.everything(), mortal.admin("account", "list")
    mortal.kill()
    mortal.start()
    until("the host reports", 10, lambda: states(home.ec2, [home.instance])[home.instance] == "running")
    until("all is as it was", 10, lambda: home.tenant.everything() == before)
    assert mortal.admin("account", "list") == keys
    assert home.tenant.sts.get_caller_identity()["Account"] == home.tenant.id
    home.ec2.start_instances(InstanceIds=[stopped])
    home.tenant.wait("instance_running", stopped)
    assert home.instance in home.ec2.get_console_output(InstanceId=home.instance)["Output"]
    again = home.tenant.launch(2)
    assert len(set(again) | {home.instance, stopped}) == 4


def test_a_client_token_and_a_page_token_outlive_the_server(mortal):
    tenant = Tenant(mortal, "acme")
    ids = tenant.launch(8, ClientToken="once")
    first = tenant.ec2.describe_instances(MaxResults=5)
    mortal.kill()
    mortal.start()
    assert tenant.launch(8, ClientToken="once") == ids
    with refused("IdempotentParameterMismatch"):
        tenant.launch(7, ClientToken="once")
    rest = tenant.ec2.describe_instances(MaxResults=5, NextToken=first["NextToken"])
    shown = [i["InstanceId"] for page in (first, rest) for r in page["Reservations"] for i in r["Instances"]]
    assert sorted(shown) == sorted(ids)


def test_every_client_token_outlives_the_server(mortal):
    home = Home(mortal, "acme")
    asked = {action: {**CALLS[action](home), "ClientToken": f"once-{action}"} for action in tokened(home)}
    made = {action: ids_in(home.tenant.answer(action, **parameters)[1]) for action, parameters in asked.items()}
    assert all(made.values())
    mortal.kill()
    mortal.start()
    assert {action: ids_in(home.tenant.answer(action, **parameters)[1]) for action, parameters in asked.items()} == made


class Writer(threading.Thread):
    """Writes until the server is gone, and notes what was acknowledged."""

    def __init__(self, tenant, work):
        super().__init__(daemon=True)
        self.tenant, self.work, self.acknowledged, self.failed = tenant, work, [], None

    def run(self):
        try:
            for n in range(10_000):
                self.acknowledged.append(self.work(self.tenant, n))
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError):
            pass
        except BaseException as error:
            self.failed = error


def launches(tenant, n):
    token = f"{tenant.round}-{n}"
    ids = tenant.launch(5, ClientToken=token)
    assert set(states(tenant.ec2, ids)) == set(ids), "what was written is read at once"
    return ids


def tags(tenant, n):
    key = f"{tenant.round}-{n % 40}"
    tenant.ec2.create_tags(Resources=[tenant.default_vpc], Tags=[{"Key": key, "Value": str(n)}])
    (found,) = tenant.ec2.describe_tags(Filters=[{"Name": "key", "Values": [key]}])["Tags"]
    assert found["Value"] == str(n)
    return key, n


def addresses(tenant, _):
    made = tenant.ec2.allocate_address(Domain="vpc")
    assert tenant.ec2.describe_addresses(AllocationIds=[made["AllocationId"]])["Addresses"][0]["PublicIp"] == made["PublicIp"]
    tenant.ec2.release_address(AllocationId=made["AllocationId"])
    with refused("InvalidAllocationID.NotFound"):
        tenant.ec2.describe_addresses(AllocationIds=[made["AllocationId"]])
    return made["AllocationId"]


def groups(tenant, n):
    made = tenant.ec2.create_security_group(GroupName=f"{tenant.round}-{n}", Description="d")["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    tenant.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[rule])
    return made


def test_what_was_acknowledged_survives_kills_in_the_middle_of_work(mortal):
    chance = random.Random()
    for round in range(KILLS):
        writers = [Writer(Tenant(mortal, f"{work.__name__}-{round}"), work) for work in (launches, tags, addresses, groups)]
        for writer in writers:
            writer.tenant.round = round
            writer.tenant.default_vpc = writer.tenant.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
            writer.start()
        threading.Event().wait(chance.uniform(0, SECONDS_BEFORE_A_KILL))
        mortal.kill()
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive() and writer.failed is None, writer.failed
        mortal.start()
        launched, tagged, released, grouped = writers
        check_launches(launched.tenant.ec2, launched.acknowledged)
        kept = {t["Key"]: int(t["Value"]) for t in tagged.tenant.ec2.describe_tags()["Tags"]}
        for key, n in dict(tagged.acknowledged).items():
            assert kept[key] >= n
        there = {a["AllocationId"] for a in released.tenant.ec2.describe_addresses()["Addresses"]}
        assert not there & set(released.acknowledged) and len(there) <= 1
        found = {g["GroupId"]: g for g in grouped.tenant.ec2.describe_security_groups()["SecurityGroups"]}
        assert all(found[id]["IpPermissions"] for id in grouped.acknowledged)
        mortal.audit()


def check_launches(ec2, acknowledged):
    reservations = ec2.describe_instances()["Reservations"]
    assert all(len(r["Instances"]) == 5 for r in reservations), "all of a launch, or nothing"
    there = {i["InstanceId"] for r in reservations for i in r["Instances"]}
    assert {id for ids in acknowledged for id in ids} <= there
    assert len(reservations) - len(acknowledged) in (0, 1)


def test_a_server_that_is_asked_to_stop_stops(mortal):
    tenant = Tenant(mortal, "acme")
    (id,) = tenant.run()
    mortal.terminate()
    mortal.start()
    until("still running", 10, lambda: states(tenant.ec2, [id])[id] == "running")
