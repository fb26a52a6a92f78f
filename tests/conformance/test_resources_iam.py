"""boto3's resources of IAM, every one that its model has: what can be read is walked, what can be done is done in a story.

Awan has no passwords, second factors, certificates and identity providers; what asks for them is named here."""

import json

import pytest
from clients import Tenant, refused
from resources import called, definitions, kind, promised, walk

CLASSES = definitions("iam")
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]})
NARROW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]})
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]})
READ_ONLY = "arn:aws:iam::aws:policy/AmazonEC2ReadOnlyAccess"


class Staff:
    """An account with one of each, and boto3's resources to see it by: of its owner, and of one of its users."""

    def __init__(self, awan):
        self.tenant = Tenant(awan, "staff")
        self.iam = iam = self.tenant.resource("iam")
        self.boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=DOCUMENT).arn
        alice = iam.create_user(UserName="alice", Path="/staff/", PermissionsBoundary=self.boundary, Tags=[{"Key": "Name", "Value": "Alice"}])
        group = iam.create_group(GroupName="admins")
        role = iam.create_role(RoleName="web", AssumeRolePolicyDocument=TRUST, Description="text", PermissionsBoundary=self.boundary)
        profile = iam.create_instance_profile(InstanceProfileName="web", Tags=[{"Key": "Name", "Value": "web"}])
        self.policy = iam.create_policy(PolicyName="all", PolicyDocument=DOCUMENT, Description="text", Tags=[{"Key": "Name", "Value": "all"}]).arn
        role.meta.client.tag_role(RoleName="web", Tags=[{"Key": "Name", "Value": "web"}])
        group.add_user(UserName="alice")
        profile.add_role(RoleName="web")
        for one in (alice, group, role):
            one.attach_policy(PolicyArn=self.policy)
        alice.create_policy(PolicyName="inline", PolicyDocument=DOCUMENT)
        group.create_policy(PolicyName="inline", PolicyDocument=DOCUMENT)
        role.Policy("inline").put(PolicyDocument=DOCUMENT)
        self.pair = alice.create_access_key_pair()
        session = self.tenant.session().__class__(self.pair.id, self.pair.secret, region_name="us-east-1")
        self.alices = session.resource("iam", endpoint_url=iam.meta.client.meta.endpoint_url)


@pytest.fixture(scope="module")
def furnished(cloud):
    return Staff(cloud)


@pytest.fixture
def staff(awan, furnished):
    return furnished


@pytest.fixture
def iam(staff):
    return staff.iam


# How to come to one of each, not read yet where it can load itself.
ONE = {
    "AccessKey": lambda iam, staff: next(iter(iam.User("alice").access_keys.all())),
    "AccessKeyPair": lambda iam, staff: staff.pair,
    "AccountPasswordPolicy": lambda iam, staff: iam.AccountPasswordPolicy(),
    "AccountSummary": lambda iam, staff: iam.AccountSummary(),
    "AssumeRolePolicy": lambda iam, staff: iam.AssumeRolePolicy("web"),
    "CurrentUser": lambda iam, staff: staff.alices.CurrentUser(),
    "Group": lambda iam, staff: iam.Group("admins"),
    "GroupPolicy": lambda iam, staff: iam.GroupPolicy("admins", "inline"),
    "InstanceProfile": lambda iam, staff: iam.InstanceProfile("web"),
    "LoginProfile": lambda iam, staff: iam.LoginProfile("alice"),
    "MfaDevice": lambda iam, staff: iam.MfaDevice("alice", "GAHT12345678"),
    "Policy": lambda iam, staff: iam.Policy(staff.policy),
    "PolicyVersion": lambda iam, staff: iam.PolicyVersion(staff.policy, "v1"),
    "Role": lambda iam, staff: iam.Role("web"),
    "RolePolicy": lambda iam, staff: iam.RolePolicy("web", "inline"),
    "SamlProvider": lambda iam, staff: iam.SamlProvider(f"arn:aws:iam::{staff.tenant.id}:saml-provider/x"),
    "ServerCertificate": lambda iam, staff: iam.ServerCertificate("x"),
    "SigningCertificate": lambda iam, staff: iam.SigningCertificate("alice", "TA7SMP42TDN5Z26OBPJE7EXAMPLE"),
    "User": lambda iam, staff: iam.User("alice"),
    "UserPolicy": lambda iam, staff: iam.UserPolicy("alice", "inline"),
    "VirtualMfaDevice": lambda iam, staff: iam.VirtualMfaDevice(f"arn:aws:iam::{staff.tenant.id}:mfa/x"),
}


# What this one has nothing to show as, because of what it is.
EMPTY = {
    "CurrentUser": "mfa_devices password_last_used signing_certificates",
    "Role": "max_signin_session_duration role_last_used source_role_template",
    "User": "mfa_devices password_last_used signing_certificates",
}

# Passwords, second factors, certificates, identity providers: there are none, and none can be made.
ABSENT = {"AccountPasswordPolicy", "LoginProfile", "MfaDevice", "SamlProvider", "ServerCertificate", "SigningCertificate", "VirtualMfaDevice"}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - ABSENT))
def test_what_can_be_read_of_a_resource(iam, staff, name):
    thing = ONE[name](iam, staff)
    assert kind(thing) == name
    walk(thing, empty=EMPTY.get(name, "").split(), unsupported=ABSENT)


def test_what_can_be_read_of_the_service(iam):
    walk(iam, empty=["saml_providers", "server_certificates", "virtual_mfa_devices"], unsupported=ABSENT)


# ---- what can be done ------------------------------------------------------------------------------------------------


def of_the_service(iam, staff):
    iam.create_account_alias(AccountAlias=f"staff-{staff.tenant.id}")
    user = iam.create_user(UserName="bob")
    group = iam.create_group(GroupName="night")
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument=TRUST)
    profile = iam.create_instance_profile(InstanceProfileName="batch")
    policy = iam.create_policy(PolicyName="narrow", PolicyDocument=NARROW)
    for thing in (user, group, role, profile, policy):
        thing.load()
        assert thing.arn.startswith(f"arn:aws:iam::{staff.tenant.id}:")
        thing.delete()
        with refused("NoSuchEntity", 404):
            thing.reload()


def of_an_access_key(iam, staff):
    iam.create_user(UserName="keys")
    iam.User("keys").create_access_key_pair()
    (key,) = iam.User("keys").access_keys.all()
    key.deactivate()
    status = lambda: next(iter(iam.User("keys").access_keys.all())).status
    assert status() == "Inactive"
    key.activate()
    assert status() == "Active"
    key.delete()
    assert not list(iam.User("keys").access_keys.all())
    iam.User("keys").delete()


def of_a_pair_of_keys(iam, staff):
    user = iam.create_user(UserName="pairs")
    pair = user.create_access_key_pair()
    assert pair.secret and pair.status == "Active"
    pair.deactivate()
    pair.activate()
    pair.delete()
    user.delete()


def of_a_group(iam, staff):
    group = iam.Group("day").create()
    user = iam.create_user(UserName="carol")
    group.add_user(UserName="carol")
    assert list(group.users.all()) == [user] and list(user.groups.all()) == [group]
    group.attach_policy(PolicyArn=READ_ONLY)
    assert [policy.arn for policy in group.attached_policies.all()] == [READ_ONLY]
    inline = group.create_policy(PolicyName="inline", PolicyDocument=DOCUMENT)
    with refused("DeleteConflict", 409):
        group.delete()
    inline.delete()
    group.detach_policy(PolicyArn=READ_ONLY)
    group.remove_user(UserName="carol")
    renamed = group.update(NewGroupName="evening")
    assert renamed.name == "evening"
    renamed.delete()
    user.delete()


def of_a_policy_of_a_group(iam, staff):
    policy = iam.Group("admins").Policy("more")
    policy.put(PolicyDocument=NARROW)
    assert policy.policy_document == json.loads(NARROW) and policy in iam.Group("admins").policies.all()
    policy.delete()
    with refused("NoSuchEntity", 404):
        policy.reload()


def of_a_policy_of_a_role(iam, staff):
    policy = iam.Role("web").Policy("more")
    policy.put(PolicyDocument=NARROW)
    assert policy.policy_document == json.loads(NARROW) and policy in iam.Role("web").policies.all()
    policy.delete()
    with refused("NoSuchEntity", 404):
        policy.reload()


def of_a_policy_of_a_user(iam, staff):
    policy = iam.User("alice").Policy("more")
    policy.put(PolicyDocument=NARROW)
    assert policy.policy_document == json.loads(NARROW) and policy in iam.User("alice").policies.all()
    policy.delete()
    with refused("NoSuchEntity", 404):
        policy.reload()


def of_an_instance_profile(iam, staff):
    profile, role = iam.create_instance_profile(InstanceProfileName="new"), iam.create_role(RoleName="new", AssumeRolePolicyDocument=TRUST)
    profile.add_role(RoleName="new")
    profile.reload()
    assert profile.roles == [role] and list(role.instance_profiles.all()) == [profile]
    with refused("DeleteConflict", 409):
        role.delete()
    profile.remove_role(RoleName="new")
    profile.delete()
    role.delete()


def of_a_managed_policy(iam, staff):
    policy = iam.create_policy(PolicyName="managed", PolicyDocument=DOCUMENT)
    ends = [(policy.attach_group, policy.detach_group, "GroupName", "admins"), (policy.attach_role, policy.detach_role, "RoleName", "web")]
    ends.append((policy.attach_user, policy.detach_user, "UserName", "alice"))
    for attach, _, parameter, name in ends:
        attach(**{parameter: name})
    policy.reload()
    assert policy.attachment_count == 3 and [user.name for user in policy.attached_users.all()] == ["alice"]
    with refused("DeleteConflict", 409):
        policy.delete()
    for _, detach, parameter, name in ends:
        detach(**{parameter: name})
    version = policy.create_version(PolicyDocument=NARROW)
    assert version.version_id == "v2" and {each.version_id for each in policy.versions.all()} == {"v1", "v2"}
    version.delete()
    policy.delete()


def of_a_version_of_a_policy(iam, staff):
    policy = iam.create_policy(PolicyName="versions", PolicyDocument=DOCUMENT)
    second = policy.create_version(PolicyDocument=NARROW)
    assert policy.default_version.version_id == "v1" and second.document == json.loads(NARROW)
    second.set_as_default()
    policy.reload()
    assert policy.default_version.version_id == "v2"
    with refused("DeleteConflict", 409):
        second.delete()
    iam.PolicyVersion(policy.arn, "v1").delete()
    policy.delete()


def of_a_role(iam, staff):
    role = iam.create_role(RoleName="roles", AssumeRolePolicyDocument=TRUST)
    assert role.assume_role_policy_document == json.loads(TRUST)
    role.attach_policy(PolicyArn=READ_ONLY)
    with refused("DeleteConflict", 409):
        role.delete()
    role.detach_policy(PolicyArn=READ_ONLY)
    role.delete()


def of_whom_a_role_trusts(iam, staff):
    role = iam.create_role(RoleName="trusts", AssumeRolePolicyDocument=TRUST)
    other = json.loads(TRUST) | {"Statement": [{**json.loads(TRUST)["Statement"][0], "Principal": {"AWS": staff.tenant.id}}]}
    role.AssumeRolePolicy().update(PolicyDocument=json.dumps(other))
    role.reload()
    assert "AWS" in role.assume_role_policy_document["Statement"][0]["Principal"]
    role.delete()


def of_a_user(iam, staff):
    user = iam.User("dora").create(Path="/staff/")
    assert user.path == "/staff/" and user in iam.users.filter(PathPrefix="/staff/")
    user.add_group(GroupName="admins")
    user.attach_policy(PolicyArn=READ_ONLY)
    inline = user.create_policy(PolicyName="inline", PolicyDocument=DOCUMENT)
    pair = user.create_access_key_pair()
    with refused("DeleteConflict", 409):
        user.delete()
    pair.delete()
    inline.delete()
    user.detach_policy(PolicyArn=READ_ONLY)
    user.remove_group(GroupName="admins")
    unique = user.user_id
    renamed = user.update(NewUserName="eve")
    renamed.load()
    assert renamed.user_id == unique
    renamed.delete()


def nothing(iam, staff):
    """Nothing can be done with it, or nothing that is supported."""


STORIES = dict.fromkeys(ABSENT | {"AccountSummary", "CurrentUser"}, nothing) | {
    "iam": of_the_service,
    "AccessKey": of_an_access_key,
    "AccessKeyPair": of_a_pair_of_keys,
    "AssumeRolePolicy": of_whom_a_role_trusts,
    "Group": of_a_group,
    "GroupPolicy": of_a_policy_of_a_group,
    "InstanceProfile": of_an_instance_profile,
    "Policy": of_a_managed_policy,
    "PolicyVersion": of_a_version_of_a_policy,
    "Role": of_a_role,
    "RolePolicy": of_a_policy_of_a_role,
    "User": of_a_user,
    "UserPolicy": of_a_policy_of_a_user,
}

CODES = {"AuthenticationCode1": "123456", "AuthenticationCode2": "654321"}
METADATA = "x" * 1000

# What is refused with `UnsupportedOperation`, with what is sent: all that makes, changes or asks for what is absent.
UNSUPPORTED = {
    "iam": {
        "change_password": {"OldPassword": "correct horse", "NewPassword": "battery staple"},
        "create_account_password_policy": {"MinimumPasswordLength": 12},
        "create_saml_provider": {"SAMLMetadataDocument": METADATA, "Name": "x"},
        "create_server_certificate": {"ServerCertificateName": "x", "CertificateBody": "x", "PrivateKey": "x"},
        "create_signing_certificate": {"CertificateBody": "x"},
        "create_virtual_mfa_device": {"VirtualMFADeviceName": "x"},
    },
    "AccountPasswordPolicy": {"load": {}, "update": {"MinimumPasswordLength": 12}, "delete": {}},
    "LoginProfile": {"load": {}, "create": {"Password": "correct horse"}, "update": {"PasswordResetRequired": True}, "delete": {}},
    "MfaDevice": {"associate": CODES, "disassociate": {}, "resync": CODES},
    "SamlProvider": {"load": {}, "update": {"SAMLMetadataDocument": METADATA}, "delete": {}},
    "ServerCertificate": {"load": {}, "update": {"NewServerCertificateName": "y"}, "delete": {}},
    "SigningCertificate": {"activate": {}, "deactivate": {}, "delete": {}},
    "User": {"create_login_profile": {"Password": "correct horse"}, "enable_mfa": {"SerialNumber": "GAHT12345678", **CODES}},
    "VirtualMfaDevice": {"delete": {}},
}


@pytest.mark.parametrize("name", ["iam", *CLASSES])
def test_all_that_can_be_done_with_a_resource(iam, staff, name):
    thing = iam if name == "iam" else ONE[name](iam, staff)
    refusals = UNSUPPORTED.get(name, {})
    with called() as heard:
        STORIES[name](iam, staff)
    left = promised(thing) - heard.get(name, set()) - set(refusals)
    assert not left, f"no story calls {sorted(left)} of {name}"
    for action, parameters in refusals.items():
        with refused("UnsupportedOperation"):
            getattr(thing, action)(**parameters)
