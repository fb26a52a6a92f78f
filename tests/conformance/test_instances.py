"""Instances: what a launch may ask for, what may be done in which state, and what is shown of it."""

import base64

import pytest
from clients import ABSENT, refused

# The attribute, how it is changed, how it is shown then.
ATTRIBUTES = [
    ("disableApiTermination", {"DisableApiTermination": {"Value": True}}, {"DisableApiTermination": {"Value": True}}),
    ("disableApiStop", {"DisableApiStop": {"Value": True}}, {"DisableApiStop": {"Value": True}}),
    ("sourceDestCheck", {"SourceDestCheck": {"Value": False}}, {"SourceDestCheck": {"Value": False}}),
    ("instanceType", {"InstanceType": {"Value": "m5.large"}}, {"InstanceType": {"Value": "m5.large"}}),
    ("instanceType", {"Attribute": "instanceType", "Value": "m5.xlarge"}, {"InstanceType": {"Value": "m5.xlarge"}}),
    ("userData", {"UserData": {"Value": b"#!/bin/sh\n"}}, {"UserData": {"Value": base64.b64encode(b"#!/bin/sh\n").decode()}}),
    ("ebsOptimized", {"EbsOptimized": {"Value": True}}, {"EbsOptimized": {"Value": True}}),
    (
        "instanceInitiatedShutdownBehavior",
        {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}},
        {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}},
    ),
]


def test_each_attribute_that_can_be_changed(tenant):
    (id,) = tenant.run()
    tenant.ec2.stop_instances(InstanceIds=[id])
    tenant.wait("instance_stopped", id)
    for name, change, expected in ATTRIBUTES:
        tenant.ec2.modify_instance_attribute(InstanceId=id, **change)
        shown = tenant.ec2.describe_instance_attribute(InstanceId=id, Attribute=name)
        assert {key: shown[key] for key in expected} == expected, name
    device = {"DeviceName": tenant.about(id)["RootDeviceName"], "Ebs": {"DeleteOnTermination": False}}
    tenant.ec2.modify_instance_attribute(InstanceId=id, BlockDeviceMappings=[device])
    shown = tenant.ec2.describe_instance_attribute(InstanceId=id, Attribute="blockDeviceMapping")["BlockDeviceMappings"]
    assert [d["Ebs"]["DeleteOnTermination"] for d in shown] == [False]


def test_what_a_launch_asks_for_is_what_it_shows(tenant):
    group = tenant.ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    subnet = tenant.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1b"]}])["Subnets"][0]
    ip = subnet["CidrBlock"].rsplit(".", 1)[0] + ".99"
    asked = {
        "InstanceType": "c5.large",
        "SubnetId": subnet["SubnetId"],
        "PrivateIpAddress": ip,
        "SecurityGroupIds": [group, tenant.default_group()],
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 12, "VolumeType": "gp3", "DeleteOnTermination": False}}],
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 3, "HttpEndpoint": "enabled", "InstanceMetadataTags": "enabled"},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "DisableApiTermination": True,
        "Monitoring": {"Enabled": True},
        "UserData": "hello",
        "ClientToken": "a-token",
    }
    (id,) = tenant.run(**asked)
    about = tenant.about(id)
    assert (about["InstanceType"], about["SubnetId"], about["PrivateIpAddress"]) == ("c5.large", subnet["SubnetId"], ip)
    assert about["Placement"]["AvailabilityZone"] == "us-east-1b" and about["ClientToken"] == "a-token"
    assert about["PrivateDnsName"] == f"ip-{ip.replace('.', '-')}.ec2.internal"
    assert {g["GroupId"] for g in about["SecurityGroups"]} == {group, tenant.default_group()}
    assert about["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is False
    assert {k: about["MetadataOptions"][k] for k in asked["MetadataOptions"]} == asked["MetadataOptions"]
    assert about["Monitoring"]["State"] == "enabled"
    data = tenant.ec2.describe_instance_attribute(InstanceId=id, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(data) == b"hello"
    with refused("OperationNotPermitted"):
        tenant.ec2.terminate_instances(InstanceIds=[id])
    with refused("InvalidIPAddress.InUse"):
        tenant.launch(SubnetId=subnet["SubnetId"], PrivateIpAddress=ip)


def test_a_launch_is_one_reservation_in_order(tenant):
    made = tenant.ec2.run_instances(ImageId=tenant.image, MinCount=2, MaxCount=7)
    assert sorted(i["AmiLaunchIndex"] for i in made["Instances"]) == list(range(7)), "as many as fit"
    (found,) = tenant.ec2.describe_instances(Filters=[{"Name": "reservation-id", "Values": [made["ReservationId"]]}])["Reservations"]
    assert {i["InstanceId"] for i in found["Instances"]} == {i["InstanceId"] for i in made["Instances"]}
    assert len({i["PrivateIpAddress"] for i in found["Instances"]}) == 7


@pytest.mark.parametrize("call", ["start_instances", "stop_instances"])
def test_what_is_terminated_is_over(tenant, call):
    (id,) = tenant.run()
    tenant.ec2.terminate_instances(InstanceIds=[id])
    tenant.wait("instance_terminated", id)
    with refused("IncorrectInstanceState"):
        getattr(tenant.ec2, call)(InstanceIds=[id])
    # "Requests to reboot terminated instances are ignored."
    tenant.ec2.reboot_instances(InstanceIds=[id])


def test_states_that_refuse(tenant):
    (id,) = tenant.run()
    for change in ({"InstanceType": {"Value": "m5.large"}}, {"UserData": {"Value": b"x"}}):
        with refused("IncorrectInstanceState"):
            tenant.ec2.modify_instance_attribute(InstanceId=id, **change)
    for call in (tenant.ec2.start_instances, tenant.ec2.stop_instances):
        again = {"start_instances": "StartingInstances", "stop_instances": "StoppingInstances"}
        first = call(InstanceIds=[id])
        assert first[again[call.__name__]][0]["PreviousState"]["Name"] == "running"
    tenant.wait("instance_stopped", id)
    with refused("IncorrectInstanceState"):
        tenant.ec2.reboot_instances(InstanceIds=[id])
    tenant.ec2.modify_instance_attribute(InstanceId=id, DisableApiStop={"Value": True})
    tenant.ec2.start_instances(InstanceIds=[id])
    tenant.wait("instance_running", id)
    with refused("OperationNotPermitted"):
        tenant.ec2.stop_instances(InstanceIds=[id])
    with refused("InvalidInstanceID.NotFound"):
        tenant.ec2.terminate_instances(InstanceIds=[id, f"i-{ABSENT}"])
    assert tenant.about(id)["State"]["Name"] == "running", "all or none"


def test_an_impossible_launch_leaves_nothing(tenant):
    for asked, code in [
        ({"ImageId": f"ami-{ABSENT}"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "image"}, "InvalidAMIID.Malformed"),
        ({"InstanceType": "t9.giant"}, "InvalidParameterValue"),
        ({"SecurityGroupIds": [f"sg-{ABSENT}"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroups": ["no such"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": f"subnet-{ABSENT}"}, "InvalidSubnetID.NotFound"),
        ({"PrivateIpAddress": "10.9.9.9"}, "InvalidParameterValue"),
        ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
        ({"MinCount": 0, "MaxCount": 0}, "InvalidParameterValue"),
        ({"MinCount": 1, "MaxCount": 100_000}, "InstanceLimitExceeded"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 99_999}}]}, "InvalidParameterValue"),
        ({"UserData": "x" * 16_385}, "InvalidParameterValue"),
        ({"LaunchTemplate": {"LaunchTemplateName": "t"}}, "InvalidLaunchTemplateName.NotFoundException"),
        ({"IamInstanceProfile": {"Name": "p"}}, "InvalidParameterValue"),
        ({"TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "aws:x", "Value": ""}]}]}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "us-east-1z"}}, "InvalidParameterValue"),
    ]:
        with refused(code):
            tenant.ec2.run_instances(**{"ImageId": tenant.image, "MinCount": 1, "MaxCount": 1, **asked})
    assert tenant.ec2.describe_instances()["Reservations"] == []
    assert tenant.ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_a_hundred_at_once(tenant):
    ids = tenant.run(100)
    assert len(set(ids)) == 100
    tenant.ec2.terminate_instances(InstanceIds=ids)
    tenant.wait("instance_terminated", *ids)


def test_states_on_the_way(tenant):
    (id,) = tenant.launch()
    change = tenant.ec2.terminate_instances(InstanceIds=[id])["TerminatingInstances"][0]
    assert change["CurrentState"]["Name"] in ("shutting-down", "terminated")
    tenant.wait("instance_terminated", id)
    (id,) = tenant.run()
    tenant.ec2.stop_instances(InstanceIds=[id])
    tenant.wait("instance_stopped", id)
    assert tenant.ec2.stop_instances(InstanceIds=[id])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopped"
    tenant.ec2.terminate_instances(InstanceIds=[id])
    tenant.wait("instance_terminated", id)


def test_an_automatic_address_goes_with_a_stop_and_an_elastic_one_stays(tenant):
    a, b = tenant.run(2)
    made = tenant.ec2.allocate_address(Domain="vpc")
    tenant.ec2.associate_address(AllocationId=made["AllocationId"], InstanceId=b)
    tenant.ec2.stop_instances(InstanceIds=[a, b])
    tenant.wait("instance_stopped", a, b)
    assert "PublicIpAddress" not in tenant.about(a) and tenant.about(b)["PublicIpAddress"] == made["PublicIp"]
    tenant.ec2.start_instances(InstanceIds=[a, b])
    tenant.wait("instance_running", a, b)
    assert tenant.about(a)["PublicIpAddress"] and tenant.about(b)["PublicIpAddress"] == made["PublicIp"]
    tenant.ec2.disassociate_address(PublicIp=made["PublicIp"])
    assert tenant.about(b).get("PublicIpAddress") != made["PublicIp"]


def test_an_interface_of_a_launch(tenant):
    group = tenant.ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    subnet = tenant.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    spec = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": False, "Description": "mine", "DeleteOnTermination": True}
    (id,) = tenant.run(NetworkInterfaces=[spec])
    (interface,) = tenant.about(id)["NetworkInterfaces"]
    assert (interface["SubnetId"], interface["Description"], [g["GroupId"] for g in interface["Groups"]]) == (subnet, "mine", [group])
    assert "Association" not in interface and "PublicIpAddress" not in tenant.about(id)
    with refused("InvalidParameterCombination"):
        tenant.launch(NetworkInterfaces=[spec], SecurityGroupIds=[group])


def test_what_is_read_of_each_console(tenant):
    (id,) = tenant.run()
    assert f"{id}: simulated run 1" in tenant.ec2.get_console_output(InstanceId=id)["Output"]
    tenant.ec2.stop_instances(InstanceIds=[id])
    tenant.wait("instance_stopped", id)
    assert f"{id}: simulated run 1" in tenant.ec2.get_console_output(InstanceId=id)["Output"], "the last run's"
    tenant.ec2.start_instances(InstanceIds=[id])
    tenant.wait("instance_running", id)
    assert f"{id}: simulated run 2" in tenant.ec2.get_console_output(InstanceId=id)["Output"]


def test_a_thousand_in_one_launch(tenant):
    ids = tenant.launch(1000)
    assert len(set(ids)) == 1000
    with refused("InstanceLimitExceeded"):
        tenant.launch(1001)
    pages = tenant.ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 300})
    seen = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
    assert sorted(seen) == sorted(ids)
    tenant.ec2.terminate_instances(InstanceIds=ids)
