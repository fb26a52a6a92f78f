"""What instances are launched from, and with, by the aws CLI: templates, fleets, groups, roles, parameters, key pairs."""

import hashlib
import json

from clients import refused
from test_cli import FAILED
from test_keys import colons, private_file, tool

TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]}


def written(tenant, name, text):
    """A file of the user's, as `file://` names it."""
    path = tenant.awan.data / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"file://{path}"


def test_servers_are_launched_found_changed_and_ended(tenant):
    aws = tenant.shell
    subnet = tenant.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    script = written(tenant, "my_script.txt", "#!/bin/bash\necho hello\n")
    launch = (
        f"ec2 run-instances --image-id {tenant.image} --count 2 --instance-type t3.micro --security-group-ids {tenant.default_group()} --subnet-id {subnet}"
        f" --user-data {script} --block-device-mappings '[{{\"DeviceName\":\"/dev/sdf\",\"Ebs\":{{\"VolumeSize\":20,\"DeleteOnTermination\":false}}}}]'"
        " --tag-specifications 'ResourceType=instance,Tags=[{Key=webserver,Value=production}]' 'ResourceType=volume,Tags=[{Key=cost-center,Value=cc123}]'"
    )
    complaint = aws(f"{launch} --dry-run", code=FAILED)
    assert "(DryRunOperation) when calling the RunInstances operation: Request would have succeeded, but DryRun flag is set." in complaint, complaint
    ids = aws(f"{launch} --query Instances[].InstanceId --output text").split()
    aws(f"ec2 wait instance-running --instance-ids {' '.join(ids)}")
    found = aws(
        'ec2 describe-instances --filters "Name=tag:webserver,Values=production" "Name=instance-state-name,Values=pending,running"'
        ' --query "Reservations[].Instances[].[InstanceId,InstanceType,State.Name]" --output text'
    )
    assert sorted(line.split() for line in found.splitlines()) == sorted([id, "t3.micro", "running"] for id in ids)
    aws(f"ec2 create-tags --resources {' '.join(ids)} --tags Key=Name,Value=MyInstance Key=stack,Value=")
    named = aws('ec2 describe-tags --filters "Name=key,Values=Name,stack" --query "Tags[].[Key,ResourceType,Value]"')
    assert sorted(named) == [["Name", "instance", "MyInstance"]] * 2 + [["stack", "instance", ""]] * 2
    aws(f"ec2 delete-tags --resources {ids[0]} --tags Key=stack")
    assert tenant.about(ids[0])["Tags"] == [{"Key": "Name", "Value": "MyInstance"}, {"Key": "webserver", "Value": "production"}]
    data = aws(f"ec2 describe-instance-attribute --instance-id {ids[0]} --attribute userData --query UserData.Value --output text")
    assert data == "IyEvYmluL2Jhc2gKZWNobyBoZWxsbwo="
    options = aws(f"ec2 modify-instance-metadata-options --instance-id {ids[0]} --http-tokens required --http-endpoint enabled --http-put-response-hop-limit 3")
    assert options["InstanceMetadataOptions"]["HttpTokens"] == "required" and options["InstanceMetadataOptions"]["HttpPutResponseHopLimit"] == 3
    aws(f"ec2 modify-instance-attribute --instance-id {ids[0]} --disable-api-termination")
    complaint = aws(f"ec2 terminate-instances --instance-ids {ids[0]}", code=FAILED)
    assert f"(OperationNotPermitted) when calling the TerminateInstances operation: The instance '{ids[0]}' may not be terminated" in complaint, complaint
    aws(f"ec2 modify-instance-attribute --instance-id {ids[0]} --no-disable-api-termination")
    assert ids[0] in aws(f"ec2 get-console-output --instance-id {ids[0]} --output text")
    aws(f"ec2 terminate-instances --instance-ids {' '.join(ids)}")
    tenant.wait("instance_terminated", *ids)
    complaint = aws(f"ec2 wait instance-running --instance-ids {ids[0]}", code=FAILED)
    assert "Waiter InstanceRunning failed: Waiter encountered a terminal failure state" in complaint, complaint


def test_key_pairs_as_users_keep_them(tenant):
    aws = tenant.shell
    material = aws("ec2 create-key-pair --key-name MyKeyPair --query KeyMaterial --output text")
    key = private_file(tenant, material + "\n")
    der = tool("openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", key)
    shown = aws("ec2 describe-key-pairs --key-names MyKeyPair")["KeyPairs"][0]
    assert (shown["KeyName"], shown["KeyFingerprint"], shown["KeyType"]) == ("MyKeyPair", colons(hashlib.sha1(der).hexdigest()), "rsa")
    public = written(tenant, "my-key.pub", tool("ssh-keygen", "-y", "-f", key))
    imported = aws(f"ec2 import-key-pair --key-name my-key --public-key-material {public.replace('file:', 'fileb:')}")
    der = tool("openssl", "rsa", "-in", key, "-pubout", "-outform", "DER")
    assert imported["KeyFingerprint"] == colons(hashlib.md5(der).hexdigest()), "of the public half alone, as it was imported"
    assert set(aws("ec2 describe-key-pairs --query KeyPairs[].KeyName")) == {"MyKeyPair", "my-key"}
    with refused("InvalidKeyPair.Duplicate", message="The keypair already exists"):
        tenant.ec2.create_key_pair(KeyName="my-key")
    aws("ec2 delete-key-pair --key-name MyKeyPair")
    assert [pair["KeyName"] for pair in tenant.ec2.describe_key_pairs()["KeyPairs"]] == ["my-key"]


def test_a_launch_template_and_its_versions(tenant):
    aws = tenant.shell
    data = {"ImageId": tenant.image, "InstanceType": "t3.micro", "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "webserver"}]}]}
    made = aws(
        "ec2 create-launch-template --launch-template-name TemplateForWebServer --version-description WebVersion1"
        " --tag-specifications 'ResourceType=launch-template,Tags=[{Key=purpose,Value=production}]'"
        f" --launch-template-data '{json.dumps(data)}'"
    )["LaunchTemplate"]
    template = made["LaunchTemplateId"]
    assert (made["LatestVersionNumber"], made["DefaultVersionNumber"]) == (1, 1)
    version = aws(
        f"ec2 create-launch-template-version --launch-template-id {template} --version-description WebVersion2 --source-version 1"
        " --launch-template-data '{\"InstanceType\":\"t3.small\"}'"
    )["LaunchTemplateVersion"]
    assert (version["VersionNumber"], version["LaunchTemplateData"]["ImageId"], version["LaunchTemplateData"]["InstanceType"]) == (2, tenant.image, "t3.small")
    assert aws(f"ec2 modify-launch-template --launch-template-id {template} --default-version 2")["LaunchTemplate"]["DefaultVersionNumber"] == 2
    query = "--query LaunchTemplateVersions[].[VersionNumber,VersionDescription,DefaultVersion] --output text"
    assert aws(f"ec2 describe-launch-template-versions --launch-template-id {template} --versions '$Default' {query}").split() == ["2", "WebVersion2", "True"]
    kinds = [
        aws(f"ec2 run-instances --launch-template LaunchTemplateName=TemplateForWebServer{version} --query Instances[0].[InstanceType,Tags[0].Value]")
        for version in ("", ",Version=1")
    ]
    assert kinds == [["t3.small", "webserver"], ["t3.micro", "webserver"]]
    config = {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"}, "Overrides": [{"InstanceType": "t3.nano"}]}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "on-demand"},
    }
    fleet = aws(f"ec2 create-fleet --cli-input-json {written(tenant, 'config.json', json.dumps(config))}")
    assert [(i["InstanceType"], len(i["InstanceIds"]), i["Lifecycle"]) for i in fleet["Instances"]] == [("t3.nano", 2, "on-demand")] and not fleet["Errors"]
    gone = aws(f"ec2 delete-launch-template-versions --launch-template-id {template} --versions 1 2")
    assert [v["VersionNumber"] for v in gone["SuccessfullyDeletedLaunchTemplateVersions"]] == [1]
    assert [v["VersionNumber"] for v in gone["UnsuccessfullyDeletedLaunchTemplateVersions"]] == [2], "the default one stays"
    assert aws("ec2 delete-launch-template --launch-template-name TemplateForWebServer")["LaunchTemplate"]["LaunchTemplateId"] == template


def test_placement_groups(tenant):
    aws = tenant.shell
    made = aws("ec2 create-placement-group --group-name HDFS-Group-A --strategy partition --partition-count 5")["PlacementGroup"]
    assert (made["State"], made["Strategy"], made["PartitionCount"]) == ("available", "partition", 5)
    placed = aws(
        f'ec2 run-instances --image-id {tenant.image} --instance-type t3.micro --placement "GroupName = HDFS-Group-A, PartitionNumber = 3"'
        " --query Instances[0].Placement"
    )
    assert (placed["GroupName"], placed["PartitionNumber"]) == ("HDFS-Group-A", 3)
    found = aws('ec2 describe-instances --filters "Name=placement-group-name,Values=HDFS-Group-A" --query "length(Reservations)"')
    assert found == 1
    complaint = aws("ec2 delete-placement-group --group-name HDFS-Group-A", code=FAILED)
    assert "(InvalidPlacementGroup.InUse) when calling the DeletePlacementGroup operation: The placement group 'HDFS-Group-A' is in use" in complaint, complaint


def test_a_role_for_a_server(tenant):
    aws = tenant.shell
    trust = written(tenant, "ec2-role-trust-policy.json", json.dumps(TRUST))
    role = aws(f"iam create-role --role-name s3access --assume-role-policy-document {trust}")["Role"]
    assert role["Arn"] == f"arn:aws:iam::{tenant.id}:role/s3access" and role["AssumeRolePolicyDocument"] == TRUST
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}
    aws(f"iam put-role-policy --role-name s3access --policy-name S3-Permissions --policy-document {written(tenant, 'policy.json', json.dumps(document))}")
    profile = aws("iam create-instance-profile --instance-profile-name s3access-profile")["InstanceProfile"]
    aws("iam add-role-to-instance-profile --instance-profile-name s3access-profile --role-name s3access")
    launched = aws(
        f'ec2 run-instances --image-id {tenant.image} --iam-instance-profile Name="s3access-profile" --instance-type t3.micro'
        " --query Instances[0].[InstanceId,IamInstanceProfile.Arn] --output text"
    )
    instance, arn = launched.split()
    assert arn == profile["Arn"]
    (association,) = aws(f"ec2 describe-iam-instance-profile-associations --filters Name=instance-id,Values={instance}")["IamInstanceProfileAssociations"]
    gone = aws(f"ec2 disassociate-iam-instance-profile --association-id {association['AssociationId']}")["IamInstanceProfileAssociation"]
    assert gone["State"] == "disassociating"
    again = aws(f"ec2 associate-iam-instance-profile --instance-id {instance} --iam-instance-profile Name=s3access-profile")
    assert again["IamInstanceProfileAssociation"]["State"] == "associating"


def test_the_newest_image_by_its_parameter(tenant):
    aws = tenant.shell
    listed = aws("ssm get-parameters-by-path --path /aws/service/awan --recursive --query Parameters[].[Name,Value]")
    alias = "/aws/service/awan/tiny/latest/image_id"
    assert dict(listed)[alias] == tenant.image
    launched = aws(f"ec2 run-instances --image-id resolve:ssm:{alias} --count 1 --instance-type t3.micro --query Instances[0].ImageId --output text")
    assert launched == tenant.image
