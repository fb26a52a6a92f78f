"""Who asks: users, roles and their sessions by real clients; names that resolve to images."""

import json
import urllib.parse

import boto3
import pytest
from clients import Tenant, refused
from awan import CONFIG

DOCUMENT = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}


def trust(who):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": who}]})


def client(awan, service, keys):
    """With keys as IAM or STS give them."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{awan.api}",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
        config=CONFIG,
    )


@pytest.fixture
def mine(awan):
    return Tenant(awan, "identity-mine")


@pytest.fixture
def iam(awan, mine):
    return awan.client(mine.keys, "iam")


def test_a_users_key_signs_and_the_log_says_who(awan, mine, iam):
    iam.create_user(UserName="alice", Path="/staff/", Tags=[{"Key": "team", "Value": "web"}])
    keys = iam.create_access_key(UserName="alice")["AccessKey"]
    arn = f"arn:aws:iam::{mine.id}:user/staff/alice"
    told = client(awan, "sts", keys).get_caller_identity()
    assert (told["Arn"], told["Account"], told["UserId"][:4]) == (arn, mine.id, "AIDA")
    assert client(awan, "ec2", keys).describe_vpcs()["Vpcs"]
    assert client(awan, "iam", keys).get_user()["User"]["UserName"] == "alice"
    assert any(arn in line and "DescribeVpcs" in line for line in awan.log().splitlines())
    iam.update_access_key(UserName="alice", AccessKeyId=keys["AccessKeyId"], Status="Inactive")
    with refused("AuthFailure", 401):
        client(awan, "ec2", keys).describe_vpcs()
    with refused("InvalidClientTokenId", 403):
        client(awan, "sts", keys).get_caller_identity()
    with refused("DeleteConflict", 409):
        iam.delete_user(UserName="alice")
    iam.delete_access_key(UserName="alice", AccessKeyId=keys["AccessKeyId"])
    iam.delete_user(UserName="alice")
    with refused("NoSuchEntity", 404, "The user with name alice cannot be found."):
        iam.get_user(UserName="alice")


def test_a_role_is_assumed_by_whom_it_trusts(awan, mine, iam):
    made = iam.create_role(RoleName="deploy", AssumeRolePolicyDocument=trust({"AWS": mine.id}))["Role"]
    assert made["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole"
    keys = mine.sts.assume_role(RoleArn=made["Arn"], RoleSessionName="s1")
    session = client(awan, "sts", keys["Credentials"])
    assert session.get_caller_identity()["Arn"] == f"arn:aws:sts::{mine.id}:assumed-role/deploy/s1" == keys["AssumedRoleUser"]["Arn"]
    assert client(awan, "ec2", keys["Credentials"]).describe_vpcs()["Vpcs"]
    stranger = Tenant(awan, "identity-stranger")
    for arn in (made["Arn"], made["Arn"].replace("deploy", "nothing")):
        with refused("AccessDenied", 403):
            stranger.sts.assume_role(RoleArn=arn, RoleSessionName="s1")
    iam.update_assume_role_policy(RoleName="deploy", PolicyDocument=trust({"Service": "ec2.amazonaws.com"}))
    with refused("AccessDenied", 403):
        mine.sts.assume_role(RoleArn=made["Arn"], RoleSessionName="s1")
    with refused("MalformedPolicyDocument"):
        iam.update_assume_role_policy(RoleName="deploy", PolicyDocument="{}")
    iam.delete_role(RoleName="deploy")
    with refused("InvalidClientTokenId", 403):
        session.get_caller_identity()


def test_policies_come_back_as_they_were_given(mine, iam):
    document = json.dumps(DOCUMENT, indent=2)
    made = iam.create_policy(PolicyName="all", PolicyDocument=document)["Policy"]
    version = iam.get_policy_version(PolicyArn=made["Arn"], VersionId="v1")["PolicyVersion"]
    assert version["Document"] == DOCUMENT and version["IsDefaultVersion"]
    iam.create_user(UserName="bob")
    iam.put_user_policy(UserName="bob", PolicyName="inline", PolicyDocument=document)
    assert iam.get_user_policy(UserName="bob", PolicyName="inline")["PolicyDocument"] == DOCUMENT
    iam.attach_user_policy(UserName="bob", PolicyArn=made["Arn"])
    assert [p["PolicyName"] for p in iam.list_attached_user_policies(UserName="bob")["AttachedPolicies"]] == ["all"]
    assert [u["UserName"] for u in iam.list_entities_for_policy(PolicyArn=made["Arn"])["PolicyUsers"]] == ["bob"]
    names = [page["Policies"] for page in iam.get_paginator("list_policies").paginate(PaginationConfig={"PageSize": 2})]
    assert len(names) == 3 and "AdministratorAccess" in {p["PolicyName"] for page in names for p in page}
    assert iam.get_account_summary()["SummaryMap"]["Users"] == 1
    assert mine.aws("iam", "list-users")["Users"][0]["UserName"] == "bob"
    with refused("UnsupportedOperation"):
        iam.create_saml_provider(SAMLMetadataDocument="x" * 1000, Name="x")
    assert iam.list_mfa_devices()["MFADevices"] == []


def test_a_profile_goes_with_an_instance(mine, iam):
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"}))
    profile = iam.create_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    iam.get_waiter("instance_profile_exists").wait(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
    (id,) = mine.run(IamInstanceProfile={"Name": "web"})
    assert mine.about(id)["IamInstanceProfile"] == {"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]}
    (one,) = mine.ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert one["State"] == "associated"
    mine.ec2.disassociate_iam_instance_profile(AssociationId=one["AssociationId"])
    assert "IamInstanceProfile" not in mine.about(id)
    mine.ec2.associate_iam_instance_profile(InstanceId=id, IamInstanceProfile={"Arn": profile["Arn"]})
    mine.ec2.terminate_instances(InstanceIds=[id])
    mine.wait("instance_terminated", id)
    with refused("InvalidParameterValue", message="Invalid IAM Instance Profile name"):
        mine.launch(IamInstanceProfile={"Name": "nothing"})


def test_parameters_name_images(awan, mine):
    ssm = awan.client(mine.keys, "ssm")
    image = ssm.get_parameter(Name="/aws/service/awan/tiny/latest/image_id")["Parameter"]
    assert image["Value"] == mine.image and image["LastModifiedDate"].year > 2000
    ssm.put_parameter(Name="/app/image", Type="String", Value=mine.image, Tags=[{"Key": "a", "Value": "b"}])
    assert ssm.put_parameter(Name="/app/image", Value=mine.image, Overwrite=True)["Version"] == 2
    assert [p["Name"] for p in ssm.get_parameters_by_path(Path="/app")["Parameters"]] == ["/app/image"]
    told = ssm.get_parameters(Names=["/app/image", "nothing"])
    assert (len(told["Parameters"]), told["InvalidParameters"]) == (1, ["nothing"])
    assert ssm.describe_parameters()["Parameters"][0]["LastModifiedUser"] == f"arn:aws:iam::{mine.id}:root"
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/app/image")["TagList"] == [{"Key": "a", "Value": "b"}]
    (id,) = mine.launch(ImageId="resolve:ssm:/app/image")
    assert mine.about(id)["ImageId"] == mine.image
    mine.ec2.terminate_instances(InstanceIds=[id])
    with refused("ParameterNotFound"):
        awan.client(Tenant(awan, "identity-other").keys, "ssm").get_parameter(Name="/app/image")
    with refused("UnsupportedParameterType"):
        ssm.put_parameter(Name="secret", Type="SecureString", Value="x")
    with refused("ValidationException"):
        ssm.get_parameters_by_path(Path="app")
    with refused("UnsupportedOperationException"):
        ssm.create_activation(IamRole="x")
    assert mine.aws("ssm", "get-parameter", "--name", "/app/image:1")["Parameter"]["Version"] == 1


def test_documents_are_encoded_on_the_wire(mine, iam):
    heard = []
    iam.meta.events.register("after-call.iam", lambda http_response, **_: heard.append(http_response.content.decode()))
    iam.create_role(RoleName="wire", AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"}))
    assert urllib.parse.quote('"Service": "ec2.amazonaws.com"', safe="") in heard[-1]
