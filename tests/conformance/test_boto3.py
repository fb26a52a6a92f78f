"""The whole life of an instance by boto3: its client with its waiters, and its resources."""

from clients import QUICK


def test_the_whole_life_by_the_client(tenant):
    ec2 = tenant.ec2
    key = ec2.create_key_pair(KeyName="key", KeyType="ed25519")
    assert key["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (id,) = tenant.launch(KeyName="key", UserData="#!/bin/sh\n")
    for name in ("instance_exists", "instance_running", "instance_status_ok", "system_status_ok"):
        tenant.wait(name, id)
    assert id in ec2.get_console_output(InstanceId=id)["Output"]
    about = tenant.about(id)
    assert about["PublicIpAddress"] and about["PublicDnsName"] and about["PrivateDnsName"]
    ec2.stop_instances(InstanceIds=[id])
    tenant.wait("instance_stopped", id)
    stopped = tenant.about(id)
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["StateTransitionReason"].startswith("User initiated (2")
    assert "PublicIpAddress" not in stopped
    assert stopped["PrivateIpAddress"] == about["PrivateIpAddress"]
    assert not ec2.describe_instance_status(InstanceIds=[id])["InstanceStatuses"], "only what runs, unless asked for all"
    ec2.modify_instance_attribute(InstanceId=id, InstanceType={"Value": "c5.xlarge"})
    ec2.start_instances(InstanceIds=[id])
    tenant.wait("instance_running", id)
    started = tenant.about(id)
    assert started["InstanceType"] == "c5.xlarge" and started["StateTransitionReason"] == "" and "StateReason" not in started
    assert started["LaunchTime"] >= about["LaunchTime"]
    ec2.reboot_instances(InstanceIds=[id])
    tenant.wait("instance_status_ok", id)
    ec2.stop_instances(InstanceIds=[id], Force=True)
    tenant.wait("instance_stopped", id)
    ec2.terminate_instances(InstanceIds=[id])
    tenant.wait("instance_terminated", id)
    gone = tenant.about(id)
    assert gone["State"] == {"Code": 48, "Name": "terminated"}
    assert not gone["NetworkInterfaces"] and not gone["BlockDeviceMappings"] and "PrivateIpAddress" not in gone
    assert not ec2.describe_network_interfaces()["NetworkInterfaces"]
    again = ec2.terminate_instances(InstanceIds=[id])["TerminatingInstances"][0]
    assert again["PreviousState"]["Name"] == again["CurrentState"]["Name"] == "terminated"


def test_the_whole_life_by_resources(tenant):
    ec2 = tenant.resource()
    group = ec2.create_security_group(GroupName="web", Description="web")
    group.authorize_ingress(IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
    group.reload()
    assert group.ip_permissions[0]["FromPort"] == 80 and group.vpc_id
    pair = ec2.create_key_pair(KeyName="key", KeyType="ed25519")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}]
    (instance,) = ec2.create_instances(
        ImageId=tenant.image, MinCount=1, MaxCount=1, KeyName=pair.name, SecurityGroupIds=[group.id], TagSpecifications=tags
    )
    instance.wait_until_exists(WaiterConfig=QUICK)
    instance.wait_until_running(WaiterConfig=QUICK)
    instance.load()
    assert instance.state["Name"] == "running" and instance.tags == [{"Key": "Name", "Value": "web"}]
    assert instance.key_pair.name == "key" and instance.image.id == tenant.image
    assert [i.id for i in ec2.instances.filter(Filters=[{"Name": "tag:Name", "Values": ["w*"]}])] == [instance.id]
    assert instance.vpc.is_default and instance.subnet.vpc_id == instance.vpc_id
    assert [i.id for i in instance.subnet.instances.all()] == [instance.id]
    assert [e.private_ip_address for e in instance.network_interfaces] == [instance.private_ip_address]
    assert instance.describe_attribute(Attribute="disableApiTermination")["DisableApiTermination"] == {"Value": False}
    instance.modify_attribute(DisableApiTermination={"Value": True})
    assert instance.describe_attribute(Attribute="disableApiTermination")["DisableApiTermination"] == {"Value": True}
    instance.modify_attribute(DisableApiTermination={"Value": False})
    instance.create_tags(Tags=[{"Key": "colour", "Value": "blue"}])
    instance.reload()
    assert {t["Key"] for t in instance.tags} == {"Name", "colour"}
    address = ec2.VpcAddress(ec2.meta.client.allocate_address(Domain="vpc")["AllocationId"])
    address.associate(InstanceId=instance.id)
    instance.reload()
    assert instance.public_ip_address == address.public_ip
    address.association.delete()
    address.release()
    assert instance.id in instance.console_output()["Output"]
    instance.stop()
    instance.wait_until_stopped(WaiterConfig=QUICK)
    instance.modify_attribute(Attribute="instanceType", Value="t3.large")
    instance.start()
    instance.wait_until_running(WaiterConfig=QUICK)
    instance.reload()
    assert instance.instance_type == "t3.large"
    instance.reboot()
    instance.terminate()
    instance.wait_until_terminated(WaiterConfig=QUICK)
    group.delete()
    pair.delete()
    assert [g.group_name for g in ec2.security_groups.all()] == ["default"]
