"""The operator's commands, and the commands for users who have no AWS tools yet."""

import os
import re
import subprocess
import threading
import urllib.request

import boto3
import botocore.exceptions
import pytest
from awan import BINARY, CONFIG, Awan, until
from clients import ABSENT, Tenant, refused
from showcase import Home


def awan_command(awan, *words, code=0, **environment):
    command = [str(BINARY), *words]
    environment = {"PATH": os.environ["PATH"], "AWAN_DATA_DIR": str(awan.data), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def names(awan):
    return [account["name"] for account in awan.admin("account", "list")]


def test_an_account_opens_with_the_id_that_was_asked_for(awan):
    made = awan.admin("account", "create", "chosen", "--id", "123456789012")
    assert set(made) == {"AccountId", "AccessKeyId", "SecretAccessKey"} and made["AccountId"] == "123456789012"
    assert re.fullmatch(r"AKIA[A-Z0-9]{16}", made["AccessKeyId"]) and len(made["SecretAccessKey"]) == 40
    assert awan.client(made, "sts").get_caller_identity()["Account"] == "123456789012"
    assert "chosen" in names(awan)
    for wrong in (["again", "--id", "123456789012"], ["short", "--id", "12"], ["text", "--id", "abcdefghijkl"]):
        complaint = awan_command(awan, "admin", "account", "create", *wrong, code=1)
        assert complaint.strip() and "panicked" not in complaint
    awan.admin("account", "delete", "123456789012", "--force")


def test_a_deleted_account_takes_all_that_it_owned_with_it(awan):
    before, hosts = names(awan), awan.admin("host", "list")
    home = Home(awan, "doomed")
    home.new_stopped()
    home.ec2.modify_instance_attribute(InstanceId=home.instance, DisableApiTermination={"Value": True})
    complaint = awan_command(awan, "admin", "account", "delete", home.tenant.id, code=1)
    assert "force" in complaint, complaint
    assert home.tenant.about(home.instance)["State"]["Name"] == "running"
    assert awan.admin("account", "delete", home.tenant.id, "--force") == {"Deleted": True}
    with refused("AuthFailure", 401):
        home.ec2.describe_regions()
    assert names(awan) == before
    for id in (home.instance, home.volume, home.group, home.allocation, home.key, home.vpc):
        assert "no record" in awan_command(awan, "admin", "why", id, code=1)
    assert [h["Instances"] for h in awan.admin("host", "list")] == [h["Instances"] for h in hosts]
    assert awan_command(awan, "admin", "account", "delete", home.tenant.id, "--force", code=1)


def test_hosts_are_listed(awan):
    (host,) = awan.admin("host", "list")
    assert host["Alive"] is True and host["Host"]["accelerator"] == "simulated"
    assert "simulated" in awan_command(awan, "admin", "host", "list")


def test_audit_says_what_it_found(awan):
    assert awan.admin("audit") == {"differences": []}
    assert awan_command(awan, "admin", "audit").strip() == "0 differences"


def test_why_tells_the_whole_story_of_an_instance(awan, tenant):
    (id,) = tenant.run()
    stop = tenant.ec2.stop_instances(InstanceIds=[id])["ResponseMetadata"]["RequestId"]
    tenant.wait("instance_stopped", id)
    story = awan.admin("why", id)
    assert (story["Id"], story["Kind"], story["Account"], story["State"]) == (id, "instance", tenant.id, "stopped")
    assert [c["to"] for c in story["Changes"]] == ["pending", "running", "stopping", "stopped"]
    assert story["Intent"]["Wish"] == "Off" and story["Report"]["phase"] == "Exited"
    assert [c["cause"] for c in story["Changes"] if c["to"] == "stopping"] == [stop], "the request that did it is named"
    assert all(c["cause"] for c in story["Changes"])
    for other in (tenant.default_group(), tenant.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]):
        assert awan.admin("why", other)["Account"] == tenant.id
    assert "no record" in awan_command(awan, "admin", "why", f"i-{ABSENT}", code=1)


def test_the_environment_is_one_for_a_shell(awan):
    text = awan_command(awan, "env")
    script = f"{text}\nenv"
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("AWS_"))
    assert seen["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{awan.api}" and seen["AWS_REGION"] == "us-east-1"
    keys = {"AccessKeyId": seen["AWS_ACCESS_KEY_ID"], "SecretAccessKey": seen["AWS_SECRET_ACCESS_KEY"]}
    assert keys == awan.root()
    assert awan.client(keys, "sts").get_caller_identity()["Account"] in [a["id"] for a in awan.admin("account", "list")]
    assert (awan.data / "credentials").stat().st_mode & 0o777 == 0o600
    assert (awan.data / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_the_credentials_are_a_profile_for_aws_clients(awan, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(awan.data / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    session = boto3.Session(profile_name="awan")
    assert session.region_name == "us-east-1"
    ec2 = session.client("ec2", endpoint_url=f"http://127.0.0.1:{awan.api}", config=CONFIG)
    assert ec2.describe_vpcs()["Vpcs"][0]["IsDefault"]


def test_a_user_without_aws_tools(awan):
    root = awan.client()
    key = awan_command(awan, "key", "laptop").strip()
    assert os.stat(key).st_mode & 0o777 == 0o600 and awan_command(awan, "key", "laptop").strip() == key
    (awan.data / "script").write_text("#!/bin/sh\necho hello\n")
    words = ["launch", "--type", "t3.small", "--key", "laptop", "--name", "box & co", "--user-data", str(awan.data / "script")]
    id = awan_command(awan, *words).strip()
    root.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    about = root.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]
    assert (about["InstanceType"], about["KeyName"], about["Tags"]) == ("t3.small", "laptop", [{"Key": "Name", "Value": "box & co"}])
    line = awan_command(awan, "list", "--name", "box & co").split()
    assert line[:4] == [id, "running", "t3.small", about["PublicIpAddress"]]
    until("it has spoken", 10, lambda: id in awan_command(awan, "console", "box & co"))
    awan_command(awan, "open", "8080", "--from", "10.0.0.0/8")
    awan_command(awan, "open", "8080", "--from", "10.0.0.0/8")
    rules = root.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["IpPermissions"]
    assert [r["IpRanges"] for r in rules if r.get("FromPort") == 8080] == [[{"CidrIp": "10.0.0.0/8"}]]
    assert awan_command(awan, "stop", id).split() == [id, "stopping"]
    root.get_waiter("instance_stopped").wait(InstanceIds=[id], WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    assert awan_command(awan, "start", "box & co").split() == [id, "pending"]
    assert awan_command(awan, "terminate", "box & co").split() == [id, "shutting-down"]
    assert "InvalidParameterValue" in awan_command(awan, "launch", "--type", "t9.giant", code=1)
    assert "no instance" in awan_command(awan, "terminate", "box & co", code=1)


def test_health_and_metrics_are_served_apart(awan):
    def fetch(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{awan.metrics}{path}", timeout=10) as answer:
            return answer.read().decode()

    assert fetch("/healthz") == fetch("/readyz") == "ok\n"
    awan.client().describe_regions()
    assert re.search(r'DescribeRegions.*\} [1-9]', fetch("/metrics"))


@pytest.fixture
def wide():
    """Two regions, two zones, keys that were chosen before the first start."""
    running = Awan("simulated", zones=2, sim_hosts=3)
    (running.data / "awan.toml").write_text('region = ["us-east-1", "eu-west-1"]\n')
    chosen = {"AWAN_ROOT_ACCESS_KEY_ID": "AKIACHOSENCHOSEN1234", "AWAN_ROOT_SECRET_ACCESS_KEY": "a-secret-that-the-operator-chose-1234567"}
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in chosen.items():
                patch.setenv(name, value)
            running.start()
        yield running, chosen
        running.audit()
    finally:
        running.close()


def test_regions_are_apart(wide):
    awan, chosen = wide
    assert awan.root() == {"AccessKeyId": chosen["AWAN_ROOT_ACCESS_KEY_ID"], "SecretAccessKey": chosen["AWAN_ROOT_SECRET_ACCESS_KEY"]}
    until("all hosts have reported", 20, lambda: len(awan.admin("host", "list")) == 3)
    tenant = Tenant(awan, "acme")
    session = tenant.session()
    east, west = (session.client("ec2", region_name=r, endpoint_url=f"http://127.0.0.1:{awan.api}") for r in ("us-east-1", "eu-west-1"))
    assert [r["RegionName"] for r in west.describe_regions()["Regions"]] == ["us-east-1", "eu-west-1"]
    assert [z["ZoneName"] for z in west.describe_availability_zones()["AvailabilityZones"]] == ["eu-west-1a", "eu-west-1b"]
    image = west.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    id = west.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    assert east.describe_instances()["Reservations"] == []
    with refused("InvalidInstanceID.NotFound"):
        east.terminate_instances(InstanceIds=[id])
    west.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
    assert east.describe_vpcs()["Vpcs"][0]["VpcId"] != west.describe_vpcs()["Vpcs"][0]["VpcId"]
    assert awan.admin("account", "delete", tenant.id, "--force") == {"Deleted": True}


def test_an_account_is_closed_in_the_middle_of_its_work(awan):
    """However the deletion falls between the requests, nothing is left and nothing fails on our side."""
    for _ in range(3):
        tenant, codes = Tenant(awan, "busy"), set()

        def work():
            ec2 = awan.client(tenant.keys)
            for n in range(500):
                try:
                    ec2.run_instances(ImageId=tenant.image, MinCount=2, MaxCount=2)
                    ec2.allocate_address(Domain="vpc")
                    ec2.create_key_pair(KeyName=f"{threading.get_ident()}-{n}", KeyType="ed25519")
                except botocore.exceptions.ClientError as error:
                    codes.add(error.response["Error"]["Code"])
                    return

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        until("it has begun", 20, lambda: len(tenant.ec2.describe_instances()["Reservations"]) > 3)
        assert awan.admin("account", "delete", tenant.id, "--force") == {"Deleted": True}
        for thread in threads:
            thread.join(60)
        assert codes == {"AuthFailure"}
        awan.audit()
        assert tenant.id not in [a["id"] for a in awan.admin("account", "list")]


def test_a_cloud_in_memory():
    running = Awan("simulated", store="memory")
    try:
        running.start()
        home = Home(running, "acme")
        home.tenant.ec2.terminate_instances(InstanceIds=[home.instance])
        home.tenant.wait("instance_terminated", home.instance)
        running.audit()
        assert not (running.data / "state.db").exists()
    finally:
        running.close()


def test_a_file_of_keys_that_was_lost_is_written_again():
    running = Awan("simulated")
    try:
        running.start()
        file = running.data / "credentials"
        first = file.read_text()
        running.kill()
        file.unlink()
        running.start()
        assert file.read_text() == first and file.stat().st_mode & 0o777 == 0o600
        assert running.client(service="sts").get_caller_identity()["Account"]
    finally:
        running.close()
