"""The whole life of an instance by the aws CLI, unchanged."""

import json
import subprocess

FAILED = 255


def states(tenant, id):
    found = tenant.aws("ec2", "describe-instances", "--instance-ids", id)
    return found["Reservations"][0]["Instances"][0]


def test_the_whole_life_of_an_instance(tenant):
    aws = tenant.aws
    assert aws("sts", "get-caller-identity")["Account"] == tenant.id
    key = aws("ec2", "create-key-pair", "--key-name", "key", "--key-type", "ed25519")
    path = tenant.awan.data / "cli.pem"
    path.write_text(key["KeyMaterial"])
    path.chmod(0o600)
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    assert public.startswith("ssh-ed25519 ")

    image = aws("ec2", "describe-images", "--owners", "amazon", "--query", "Images[0].ImageId")
    tags = 'ResourceType=instance,Tags=[{Key=Name,Value="a name, with comma"}]'
    made = aws(
        *("ec2", "run-instances", "--image-id", image, "--instance-type", "t3.micro", "--key-name", "key", "--count", "1"),
        *("--tag-specifications", tags, "--user-data", "#!/bin/sh\necho häł\n"),
    )
    id = made["Instances"][0]["InstanceId"]
    assert made["Instances"][0]["State"] == {"Code": 0, "Name": "pending"}
    aws("ec2", "wait", "instance-running", "--instance-ids", id)
    aws("ec2", "wait", "instance-status-ok", "--instance-ids", id)
    about = states(tenant, id)
    assert about["State"] == {"Code": 16, "Name": "running"}
    assert (about["KeyName"], about["ImageId"], about["InstanceType"]) == ("key", image, "t3.micro")
    assert about["Tags"] == [{"Key": "Name", "Value": "a name, with comma"}]
    status = aws("ec2", "describe-instance-status", "--instance-ids", id)["InstanceStatuses"][0]
    assert (status["InstanceStatus"]["Status"], status["SystemStatus"]["Status"]) == ("ok", "ok")
    assert id in aws("ec2", "get-console-output", "--instance-id", id, "--latest")["Output"]

    change = aws("ec2", "stop-instances", "--instance-ids", id)["StoppingInstances"][0]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "stopping")
    aws("ec2", "wait", "instance-stopped", "--instance-ids", id)
    aws("ec2", "modify-instance-attribute", "--instance-id", id, "--instance-type", json.dumps({"Value": "m5.large"}))
    attribute = aws("ec2", "describe-instance-attribute", "--instance-id", id, "--attribute", "instanceType")
    assert attribute["InstanceType"] == {"Value": "m5.large"} and "UserData" not in attribute
    change = aws("ec2", "start-instances", "--instance-ids", id)["StartingInstances"][0]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("stopped", "pending")
    aws("ec2", "wait", "instance-running", "--instance-ids", id)
    assert states(tenant, id)["InstanceType"] == "m5.large"
    aws("ec2", "reboot-instances", "--instance-ids", id)
    aws("ec2", "wait", "instance-status-ok", "--instance-ids", id)
    change = aws("ec2", "terminate-instances", "--instance-ids", id)["TerminatingInstances"][0]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down")
    aws("ec2", "wait", "instance-terminated", "--instance-ids", id)
    assert states(tenant, id)["State"] == {"Code": 48, "Name": "terminated"}


def test_the_shorthands_of_the_cli(tenant):
    aws = tenant.aws
    group = aws("ec2", "create-security-group", "--group-name", "web", "--description", "a web server")["GroupId"]
    aws("ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "80-81", "--cidr", "10.0.0.0/8")
    shown = aws("ec2", "describe-security-groups", "--group-ids", group)["SecurityGroups"][0]["IpPermissions"]
    assert [(p["IpProtocol"], p["FromPort"], p["ToPort"], p["IpRanges"]) for p in shown] == [("tcp", 80, 81, [{"CidrIp": "10.0.0.0/8"}])]
    aws("ec2", "revoke-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "80-81", "--cidr", "10.0.0.0/8")
    subnet = aws("ec2", "describe-subnets", "--query", "Subnets[0].SubnetId")
    made = aws(
        *("ec2", "run-instances", "--image-id", tenant.image, "--count", "1:2", "--subnet-id", subnet, "--security-group-ids", group),
        *("--no-associate-public-ip-address", "--metadata-options", "HttpTokens=required,HttpPutResponseHopLimit=2"),
        *("--block-device-mappings", '[{"DeviceName":"/dev/xvda","Ebs":{"VolumeSize":9}}]', "--monitoring", "Enabled=true"),
    )
    about = made["Instances"][0]
    assert len(made["Instances"]) == 2 and about["SubnetId"] == subnet
    assert [g["GroupId"] for g in about["SecurityGroups"]] == [group]
    assert (about["MetadataOptions"]["HttpTokens"], about["MetadataOptions"]["HttpPutResponseHopLimit"]) == ("required", 2)
    tenant.wait("instance_running", *(i["InstanceId"] for i in made["Instances"]))
    assert "PublicIpAddress" not in tenant.about(about["InstanceId"])
    listed = aws("ec2", "describe-instances", "--filters", "Name=instance-state-name,Values=running", "--page-size", "5")
    assert len([i for r in listed["Reservations"] for i in r["Instances"]]) == 2
    complaint = aws("ec2", "terminate-instances", "--instance-ids", about["InstanceId"], "--dry-run", code=FAILED)
    assert "(DryRunOperation)" in complaint, complaint
