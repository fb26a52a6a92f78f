"""Many clients at once: what there is one of is given once, and nobody is answered with an error of ours."""

import threading

import botocore.exceptions
from awan import states
from clients import refused

CLIENTS = 8


def at_once(tenant, call, count=CLIENTS):
    """What each of several clients got: its answer, or its refusal's code."""
    results, start = [None] * count, threading.Barrier(count)

    def one(n):
        ec2 = tenant.awan.client(tenant.keys)
        start.wait(30)
        try:
            results[n] = call(ec2, n)
        except botocore.exceptions.ClientError as error:
            results[n] = error.response["Error"]["Code"]

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert None not in results
    return results


def instances(answer):
    return [i["InstanceId"] for i in answer["Instances"]]


def test_one_client_token_launches_once(tenant):
    launch = {"ImageId": tenant.image, "MinCount": 3, "MaxCount": 3, "ClientToken": "once"}
    made = at_once(tenant, lambda ec2, _: instances(ec2.run_instances(**launch)))
    assert len(made[0]) == 3 and all(ids == made[0] for ids in made)
    assert set(states(tenant.ec2)) == set(made[0])


def test_a_thousand_calls_with_one_token_make_one_thing(tenant):
    """By fifty connections, and other parameters among them are refused by each."""
    launch = {"ImageId": tenant.image, "MinCount": 2, "MaxCount": 2, "ClientToken": "a-thousand"}

    def twenty(ec2, n):
        made = {tuple(instances(ec2.run_instances(**launch))) for _ in range(20)}
        if n % 10 == 0:
            with refused("IdempotentParameterMismatch"):
                ec2.run_instances(**{**launch, "MaxCount": 3})
        return made

    made = at_once(tenant, twenty, 50)
    assert made == [made[0]] * 50 and len(made[0]) == 1
    assert set(states(tenant.ec2)) == set(*made[0])


def test_a_name_goes_to_one(tenant):
    made = at_once(tenant, lambda ec2, _: ec2.create_key_pair(KeyName="k", KeyType="ed25519")["KeyPairId"])
    assert sorted(made)[:-1] == ["InvalidKeyPair.Duplicate"] * (CLIENTS - 1)
    made = at_once(tenant, lambda ec2, _: ec2.create_security_group(GroupName="g", Description="d")["GroupId"])
    assert sorted(made)[:-1] == ["InvalidGroup.Duplicate"] * (CLIENTS - 1)


def test_addresses_go_to_one_each(tenant):
    launch = {"ImageId": tenant.image, "MinCount": 5, "MaxCount": 5}
    at_once(tenant, lambda ec2, _: ec2.run_instances(**launch))
    found = [i for r in tenant.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    assert len({i["PrivateIpAddress"] for i in found}) == len(found) == 5 * CLIENTS
    made = at_once(tenant, lambda ec2, _: ec2.allocate_address(Domain="vpc")["PublicIp"])
    public = [i["PublicIpAddress"] for i in found if "PublicIpAddress" in i]
    assert len({*made, *public}) == len(made) + len(public) and len(public) == len(found)


def test_a_private_address_goes_to_one(tenant):
    subnet = tenant.ec2.describe_subnets()["Subnets"][0]
    ip = subnet["CidrBlock"].rsplit(".", 1)[0] + ".200"
    launch = {"ImageId": tenant.image, "MinCount": 1, "MaxCount": 1, "SubnetId": subnet["SubnetId"], "PrivateIpAddress": ip}
    made = at_once(tenant, lambda ec2, _: instances(ec2.run_instances(**launch))[0])
    assert sorted(made)[:-1] == ["InvalidIPAddress.InUse"] * (CLIENTS - 1) or made.count("InvalidIPAddress.InUse") == CLIENTS - 1


def test_one_rule_is_added_once(tenant):
    group = tenant.default_group()
    rule = [{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    made = at_once(tenant, lambda ec2, _: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)["Return"])
    assert made.count(True) == 1 and made.count("InvalidPermission.Duplicate") == CLIENTS - 1
    ports = [dict(rule[0], FromPort=n + 10, ToPort=n + 10) for n in range(CLIENTS)]
    at_once(tenant, lambda ec2, n: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ports[n]]))
    shown = tenant.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert {p.get("FromPort") for p in shown} == {None, 1, *range(10, 10 + CLIENTS)}, "none is lost"


def test_a_launch_and_the_end_of_its_group(tenant):
    """Either the group is gone and nothing was launched, or it is in use."""
    for n in range(5):
        group = tenant.ec2.create_security_group(GroupName=f"g{n}", Description="d")["GroupId"]
        launch = {"ImageId": tenant.image, "MinCount": 1, "MaxCount": 1, "SecurityGroupIds": [group]}

        def race(ec2, m):
            return instances(ec2.run_instances(**launch)) if m else ec2.delete_security_group(GroupId=group)["Return"]

        deleted, launched = at_once(tenant, race, 2)
        assert (deleted is True and launched == "InvalidGroup.NotFound") or (deleted == "DependencyViolation" and len(launched) == 1)


def test_a_volume_goes_to_one_instance(tenant):
    """A hundred times to two, who ask at the same moment."""
    both = tenant.run(2)
    zone = tenant.ec2.describe_instances(InstanceIds=both)["Reservations"][0]["Instances"][0]["Placement"]["AvailabilityZone"]
    volumes = [tenant.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"] for _ in range(4)]
    end = {"Delay": 0.1, "MaxAttempts": 300}
    for volume in volumes * 25:
        ask = lambda ec2, n: ec2.attach_volume(VolumeId=volume, InstanceId=both[n], Device="/dev/sdf")["InstanceId"]
        made = at_once(tenant, ask, 2)
        assert sum(got in both for got in made) == 1 and "VolumeInUse" in made, made
        (attachment,) = tenant.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]
        assert attachment["InstanceId"] in made
        tenant.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=end)
        tenant.ec2.detach_volume(VolumeId=volume, Force=True)
        tenant.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=end)


def test_a_crowd_that_starts_stops_and_terminates(tenant):
    ids = tenant.run(6)
    calls = ("start_instances", "stop_instances", "reboot_instances", "terminate_instances")

    def meddle(ec2, n):
        codes = set()
        for step in range(12):
            try:
                getattr(ec2, calls[(n + step) % (4 if step == 11 else 3)])(InstanceIds=[ids[(n * 5 + step) % 6]])
            except botocore.exceptions.ClientError as error:
                codes.add(error.response["Error"]["Code"])
        return codes

    codes = set().union(*at_once(tenant, meddle))
    assert codes <= {"IncorrectInstanceState"}, codes
    tenant.ec2.terminate_instances(InstanceIds=ids)
    tenant.wait("instance_terminated", *ids)
    with refused("IncorrectInstanceState"):
        tenant.ec2.start_instances(InstanceIds=[ids[0]])
